//! Floor 8: actors, links, supervision, accounts and metrics.
