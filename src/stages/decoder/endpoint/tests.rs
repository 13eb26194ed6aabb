//! Tests of `endpoint`.

mod kit;
mod partials;
mod reference;
mod trouble;
