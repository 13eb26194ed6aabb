//! Floor 4: model cards, the cache, and fetching.
//!
//! A *card* is a `card.yaml` in a folder of its own: what a model is, who may use it, which files it needs and from where, its
//! ports, its state, whether it may be batched or padded, and what it expects of its input ([`CardSpec`]). A few cards are part of
//! percept ([`BUILT_IN`]); users write their own. [`find`] reads a pipeline's `model:`, [`Card::locate`] says where a file is on
//! this machine, and [`fetch`] brings what is missing: checked byte by byte, in one piece or not at all.
//!
//! ```no_run
//! use percept::cards::{Cache, Located, Model, Silent, fetch, find};
//!
//! # fn main() -> Result<(), percept::cards::CardError> {
//! let cache = Cache::from_env()?;
//! if let Model::Card(card) = find("moonshine-tiny", ".".as_ref())? {
//!     fetch(&card, &cache, &mut Silent)?;
//!     if let Located::Ready(path) = card.locate("encoder", &cache)? {
//!         println!("the encoder is {}", path.display());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! percept itself makes no network connection: pip and curl do, with the settings their owner gave them.

mod archive;
mod builtin;
mod cache;
mod card;
mod check;
mod digest;
mod download;
mod error;
mod fetch;
mod find;
mod platform;
mod port;
mod progress;
mod schema;
mod tools;

#[cfg(test)]
mod testing;

pub use builtin::{BUILT_IN, BuiltIn};
pub use cache::{Cache, FileState, Located, NotFetched, Verified};
pub use card::{CARD_FILE, Card};
pub use digest::{NotASum, Sha256};
pub use error::{CardError, Difference, MemberProblem};
pub use fetch::{Fetched, fetch, fetch_with};
pub use find::{MODELS_FOLDER, Model, find, list};
pub use platform::Platform;
pub use port::{Port, Ports};
pub use progress::{Phase, Progress, Silent};
pub use schema::{CardSpec, Download, Exactness, FileSpec, FromDownload, Labels, Origin, Preprocess, Tags, VERSION};
pub use tools::Tools;
