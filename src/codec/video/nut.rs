//! The NUT container, as far as frames of one stream of raw pictures go through a pipe: it keeps each frame's exact time.
//!
//! Source: "NUT Open Container Format", draft 20130405 (<https://ffmpeg.org/~michael/nut.txt>).

use std::io::{self, Read};

mod read;
mod write;

pub(super) use read::{NutFault, NutReader};
pub(super) use write::NutWriter;

/// What a file begins with, its last zero byte included.
const FILE_ID: &[u8] = b"nut/multimedia container\0";

/// What the parts of a file begin with.
mod startcode {
    pub(super) const MAIN: u64 = 0x4E4D_7A56_1F5F_04AD;
    pub(super) const STREAM: u64 = 0x4E53_1140_5BF2_F9DB;
    pub(super) const SYNCPOINT: u64 = 0x4E4B_E4AD_EECA_4569;
    pub(super) const INDEX: u64 = 0x4E58_DD67_2F23_E64E;
    pub(super) const INFO: u64 = 0x4E49_AB68_B596_BA78;
}

/// What is said of a frame.
mod flag {
    pub(super) const KEY: u64 = 1;
    pub(super) const CODED_PTS: u64 = 8;
    pub(super) const STREAM_ID: u64 = 16;
    pub(super) const SIZE_MSB: u64 = 32;
    pub(super) const CHECKSUM: u64 = 64;
    pub(super) const RESERVED: u64 = 128;
    pub(super) const SIDE_DATA: u64 = 256;
    pub(super) const HEADER_INDEX: u64 = 1024;
    pub(super) const MATCH_TIME: u64 = 2048;
    pub(super) const CODED: u64 = 4096;
    pub(super) const INVALID: u64 = 8192;
}

/// The checksum of the spec: CRC-32 of the polynomial 0x04C11DB7, most significant bit first, from zero on.
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut value = (byte as u32) << 24;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 0x8000_0000 == 0 { value << 1 } else { (value << 1) ^ 0x04C1_1DB7 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

/// Fills `bytes`; how many there were before the end.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match reader.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_spec() {
        // A whole packet with its own checksum at its end has the checksum zero.
        let packet = b"123456789";
        let sum = checksum(packet);
        assert_eq!(checksum(&[&packet[..], &sum.to_be_bytes()].concat()), 0);
        assert_eq!(sum, 0x89A1_897F, "CRC-32/MPEG-2 from zero on");
    }

    proptest! {
        #[test]
        fn frames_come_back_with_their_times(
            times in prop::collection::vec(0i64..1 << 40, 1..20),
            (width, height) in (1u32..40, 1u32..30),
        ) {
            let mut bytes = Vec::new();
            let mut writer = NutWriter::begin(&mut bytes, width, height, (1, 90_000)).unwrap();
            let frame = |n: usize| vec![n as u8; (width * height * 3) as usize];
            for (n, time) in times.iter().enumerate() {
                writer.write(&mut bytes, *time, frame(n).chunks((width * 3) as usize)).unwrap();
            }
            let mut reader = NutReader::begin(&bytes[..]).unwrap();
            prop_assert_eq!((reader.width(), reader.height(), reader.time_base()), (width, height, (1, 90_000)));
            for (n, time) in times.iter().enumerate() {
                let (pts, found) = reader.read(1 << 20).unwrap().unwrap();
                prop_assert_eq!((pts, found), (*time, frame(n)));
            }
            prop_assert!(reader.read(1 << 20).unwrap().is_none());
        }

        #[test]
        fn no_bytes_are_a_panic(junk in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..200, cut in 0usize..400) {
            let mut bytes = Vec::new();
            let mut writer = NutWriter::begin(&mut bytes, 4, 2, (1, 25)).unwrap();
            writer.write(&mut bytes, 7, [[1u8; 24].as_slice()].into_iter()).unwrap();
            bytes.truncate(cut.max(1));
            for (n, byte) in junk.iter().enumerate() {
                if let Some(place) = bytes.get_mut(at + n) {
                    *place = *byte;
                }
            }
            if let Ok(mut reader) = NutReader::begin(&bytes[..]) {
                while let Ok(Some(_)) = reader.read(1 << 10) {}
            }
        }
    }
}
