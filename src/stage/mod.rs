//! Floor 3: what a stage is: its traits, contract, registry type and link ends.
