//! A running pipeline, seen from outside: nothing lost, nothing reordered, nothing stuck.

mod books;
mod diamond;
mod faults;
mod flow;
mod kit;
mod partials;
mod reopen;
mod shutdown;
