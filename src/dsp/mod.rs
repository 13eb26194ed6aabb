//! Floor 2: pure signal functions on slices of samples.
