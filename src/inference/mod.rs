//! Floor 5: one session trait for every way to run a model.
