//! Whether a JPEG file is all there. The decoder goes on without an error where one ends early, and paints the rest gray.

/// Whether the markers of these bytes lead to an end-of-image marker (ITU-T T.81, annex B). Bytes after it are not
/// looked at; pictures within segments, as EXIF thumbnails are, do not count.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 0;
    loop {
        // The next marker: 0xFF and a byte that is neither a stuffed zero nor fill. Entropy-coded data is passed over,
        // and with it the restart markers in it.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) else {
            return false;
        };
        at += found + 1;
        let Some(&marker) = bytes.get(at) else { return false };
        match marker {
            END_OF_IMAGE => return true,
            // Fill: the next byte may be the marker's.
            0xff => {}
            // Stuffing, TEM, restarts and start of image stand alone.
            0x00 | 0x01 | 0xd0..=0xd8 => at += 1,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 1..).and_then(|rest| rest.first_chunk()) else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                // A segment's length counts its own two bytes.
                at += 1 + length.max(2);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        let cases: &[(&[u8], bool)] = &[
            (&[], false),
            (&[0xff, 0xd8], false),
            (&[0xff, 0xd8, 0xff, 0xd9], true),
            (&[0xff, 0xd8, 0xff, 0xd9, 1, 2, 3], true),
            // An end within a segment does not count.
            (&[0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9], false),
            (&[0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9, 0xff, 0xd9], true),
            // Stuffing, restarts and fill in a scan.
            (&[0xff, 0xd8, 0xff, 0xda, 0, 2, 7, 0xff, 0, 0xff, 0xd0, 7, 0xff, 0xff, 0xd9], true),
            (&[0xff, 0xd8, 0xff, 0xda, 0, 2, 7, 0xff, 0, 0xff, 0xd0, 7, 0xff], false),
            // Segments that reach beyond the file, or are too short to hold their own length.
            (&[0xff, 0xd8, 0xff, 0xe1, 0xff, 0xff, 0xff, 0xd9], false),
            (&[0xff, 0xd8, 0xff, 0xe1, 0], false),
            (&[0xff, 0xd8, 0xff, 0xe1, 0, 0, 0xff, 0xd9], true),
        ];
        for (bytes, whole) in cases {
            assert_eq!(is_whole(bytes), *whole, "{bytes:02x?}");
        }
    }
}
