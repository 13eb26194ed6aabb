//! Floor 0: files that are whole, whatever happens while they are written.

mod disk;
mod error;
mod replace;

pub use error::FileError;
pub use replace::replace;
