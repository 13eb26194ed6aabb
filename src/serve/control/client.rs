//! The asking side, blocking.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::LONGEST_LINE;
use super::address::ControlAddress;
use super::protocol::{Answer, Refusal, Request, VERSION, line};

/// How long a pipeline may take to be reached.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take to answer: opening a large model takes a while.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Why a request came to nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No pipeline answers there.
    #[error("no pipeline answers at {address}: {source}")]
    Connect {
        /// Where.
        address: ControlAddress,
        /// The system's word.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the pipeline at {address} went away before it answered: {source}")]
    Broken {
        /// Where.
        address: ControlAddress,
        /// The system's word.
        source: io::Error,
    },
    /// What answers is no pipeline, or one of another version.
    #[error("what answers at {address} does not speak version {VERSION} of percept's protocol: {found}")]
    Foreign {
        /// Where.
        address: ControlAddress,
        /// What it said.
        found: String,
    },
    /// The pipeline refused it.
    #[error("{}", .0.message)]
    Refused(Refusal),
}

/// A connection to a pipeline's control socket.
pub struct Client {
    address: ControlAddress,
    token: Option<String>,
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Client {
    /// Connects.
    pub fn connect(address: &ControlAddress, token: Option<&str>) -> Result<Client, ClientError> {
        let stream = open(address).map_err(|source| ClientError::Connect { address: address.clone(), source })?;
        Ok(Client { address: address.clone(), token: token.map(str::to_owned), stream: BufReader::new(stream) })
    }

    /// Sends a request and waits for what comes of it.
    pub fn ask(&mut self, request: &Request) -> Result<Value, ClientError> {
        let broken = |source| ClientError::Broken { address: self.address.clone(), source };
        let foreign = |found: String| ClientError::Foreign { address: self.address.clone(), found };
        let text = line(request, self.token.as_deref()).map_err(|error| broken(io::Error::other(error)))?;
        let sent = self.stream.get_mut().write_all(text.as_bytes()).and_then(|()| self.stream.get_mut().flush());
        sent.map_err(broken)?;
        let mut bytes = Vec::new();
        // An answer may be longer than a request: books of many links.
        let most = 16 * LONGEST_LINE as u64;
        (&mut self.stream).take(most).read_until(b'\n', &mut bytes).map_err(broken)?;
        if bytes.is_empty() {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let shown = || String::from_utf8_lossy(bytes.get(..80).unwrap_or(&bytes)).trim_end().to_owned();
        let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| foreign(shown()))?;
        match answer {
            Answer { v: VERSION, ok: true, result, .. } => Ok(result.unwrap_or_default()),
            Answer { ok: false, error: Some(refusal), .. } => Err(ClientError::Refused(refusal)),
            _ => Err(foreign(shown())),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

fn open(address: &ControlAddress) -> io::Result<Box<dyn Stream>> {
    match address {
        ControlAddress::Net(address) => {
            let stream = TcpStream::connect_timeout(address, CONNECT_WITHIN)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        ControlAddress::Path(path) => {
            let stream = std::os::unix::net::UnixStream::connect(path)?;
            stream.set_read_timeout(Some(ANSWER_WITHIN))?;
            Ok(Box::new(stream))
        }
        #[cfg(not(unix))]
        ControlAddress::Path(_) => Err(io::Error::other(super::super::ServeError::NoUnixSockets)),
    }
}
