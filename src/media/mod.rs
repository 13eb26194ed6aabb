//! Floor 2: packets, payloads and formats: what travels between stages.
