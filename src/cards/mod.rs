//! Floor 4: model cards, the cache, and fetching.
