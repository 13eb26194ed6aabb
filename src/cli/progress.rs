//! How far a fetch is, on the standard error.
