//! Floor 7: offline training. Data sets, recipes, and the trainer that runs them.

pub mod data;
