//! Floor 3: reading and writing sound and subtitles.
