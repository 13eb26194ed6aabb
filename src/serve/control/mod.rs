//! The control socket of a run: `percept run … --control PATH|127.0.0.1:PORT`.
//!
//! A unix socket, whose file only its owner can use, or an address with a port, where a token is wanted.
//!
//! At most 16 may be connected at a time. A connection is closed when its first line does not come within 10 seconds, a
//! later one within 5 minutes, or an answer is not read within 10 seconds.
//!
//! # The protocol, version 1
//!
//! Both sides write lines of JSON in UTF-8, one object a line, at most 1 MiB each. Every request gets one answer, in
//! order.
//!
//! A request has `v` (1), `do` (what, see below), and may have `id` (anything, comes back with the answer) and `token`
//! (where one is wanted).
//!
//! | `do` | keys | `result` |
//! |---|---|---|
//! | `stats` | | `pipeline`, `books` (as a run's report has them), `models` (the versions that serve, by stage) |
//! | `version` | `stage` | `stage`, `serving` (the version that serves; 0: the pipeline's file), `newest` (the one that it takes before its next packet), `file` |
//! | `swap` | `stage`, `file`, `classes` (optional: a list of names) | `stage`, `version`, `file` |
//! | `rollback` | `stage`, `to` (optional: a version; the last one before the newest) | `stage`, `version` (what it serves as from now on), `file` |
//! | `label` | `stage`, `label` (a class by its name) or `class` (by its number), `stream` (optional: its name), `at_s` (optional: a time in it; the newest input's) | `stage`, `stream`, `at_s` (what the label was taken for) |
//! | `drain` | | the captures stop, what is under way is finished |
//! | `stop` | | the run is cancelled |
//!
//! `file` is a path as the pipeline's process sees it.
//!
//! An answer has `v`, `id` where the request had one, and `ok`. When `ok` is true it has `result`, else `error`:
//! `code`, a stable word, and `message`, for people.
//!
//! | `code` | meaning |
//! |---|---|
//! | `bad_request` | not a line of the protocol; the connection is closed after it, so that no page in a browser can speak here |
//! | `version` | another version of the protocol |
//! | `token` | the token is missing or wrong; the connection is closed after it |
//! | `not_taken` | the label: the stage does not learn from labels, or there is no such stream |
//! | `busy` | too many are connected; the connection is closed after it |
//! | `unknown_stage` | no stage of that name |
//! | `no_model` | the stage runs nothing that can be exchanged |
//! | `does_not_fit` | the file cannot take the place of the model, or there is no such version; the one that serves goes on |
//!
//! Requests and keys are only added within a version.

mod address;
mod client;
mod handler;
mod protocol;
mod server;
#[cfg(unix)]
mod socket;

pub use address::ControlAddress;
pub use client::{Client, ClientError};
pub use handler::{Control, Done, End, Models};
pub use protocol::{Answer, Code, Refusal, Request, VERSION};
pub use server::Listening;

/// The longest line, in bytes.
pub(crate) const LONGEST_LINE: usize = 1 << 20;
