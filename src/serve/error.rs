//! Why a pipeline cannot be served.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a pipeline cannot be served.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's word.
        source: io::Error,
    },
    /// The token is no good.
    #[error("expected a token of {least} to {most} letters, digits and `-._~`, found {found}")]
    Token {
        /// The fewest characters.
        least: usize,
        /// The most characters.
        most: usize,
        /// What is wrong with it; never the token itself.
        found: String,
    },
    /// The system gives no random numbers to make a token of.
    #[error("no token can be made, the system gives no random numbers: {reason}; give one of your own")]
    Random {
        /// The system's word.
        reason: String,
    },
    /// Another process listens at the socket.
    #[error("a process listens at {} already: choose another path, or end that one", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket lies there.
    #[error("{} is there and is no socket: choose another path", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// The address says neither a path nor where to listen.
    #[error("expected a path, or an address and port such as 127.0.0.1:9200, found `{found}`")]
    Address {
        /// What was given.
        found: String,
    },
    /// The system has no such sockets.
    #[error("this system has no unix sockets: give an address and port, as in 127.0.0.1:9200")]
    NoUnixSockets,
}
