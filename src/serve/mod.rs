//! Floor 9: a running pipeline from outside.
//!
//! [`view`] is the web page of a run, [`control`] the socket through which another process asks and changes it. Both
//! are off unless asked for, answer this machine only unless told otherwise, and want a token from everybody else:
//! [`Access`].

pub mod control;
pub mod view;

mod access;
mod error;

pub use access::Access;
pub use error::ServeError;
