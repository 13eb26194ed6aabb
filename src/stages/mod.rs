//! Floor 6: the stage kinds, one file each.
