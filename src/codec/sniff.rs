//! What a file is, told from its first bytes. Names and extensions are not trusted.

/// How many bytes [`Content::of`] wants to see.
pub(super) const SNIFF_BYTES: usize = 512;

/// What a file seems to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// RIFF/WAVE, in 32 or 64 bit (RF64).
    Wave,
    /// An ISO base media file: m4a, mp4, mov.
    Mp4,
    /// Another container or stream of sound, by its name. `seekable` if its reader gains from seeking.
    Sound {
        /// As in `flac`.
        name: &'static str,
        /// Whether the reader should be allowed to seek.
        seekable: bool,
    },
    /// Something known that holds no sound; how to call it in a message.
    Foreign(String),
    /// Nothing known. It may still be an mp3 that starts with junk.
    Unknown(String),
}

impl Content {
    /// Looks at the first bytes of a file.
    pub(super) fn of(head: &[u8]) -> Content {
        let sound = |name, seekable| Content::Sound { name, seekable };
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|bytes| bytes.starts_with(magic));
        if (at(0, b"RIFF") || at(0, b"RF64")) && at(8, b"WAVE") {
            return Content::Wave;
        }
        if at(4, b"ftyp") || at(4, b"moov") || at(4, b"mdat") {
            return Content::Mp4;
        }
        if at(0, b"OggS") {
            return sound("ogg", true);
        }
        if at(0, b"fLaC") {
            return sound("flac", false);
        }
        if at(0, b"ID3") {
            return sound("mp3", false);
        }
        if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
            return sound("aiff", true);
        }
        if at(0, b"caff") {
            return sound("caf", true);
        }
        if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
            return sound("matroska", true);
        }
        // Frame sync of MPEG audio: 11 set bits; layer 0 is ADTS.
        if let [0xff, second, ..] = head
            && second & 0xe0 == 0xe0
        {
            return if second & 0xf6 == 0xf0 { sound("aac", false) } else { sound("mp3", false) };
        }
        match foreign(head) {
            Some(name) => Content::Foreign(format!("{name} ({})", first_bytes(head))),
            None if is_text(head) => Content::Foreign(format!("text (\"{}\")", first_words(head))),
            None => Content::Unknown(format!("unknown content ({})", first_bytes(head))),
        }
    }
}

/// What the first bytes of a file look like, for a message that expected something else.
pub(super) fn described(head: &[u8]) -> String {
    match Content::of(head) {
        Content::Wave => "a wav file".to_owned(),
        Content::Mp4 => "an mp4 or HEIF file".to_owned(),
        Content::Sound { name, .. } => format!("a file of sound or video ({name})"),
        Content::Foreign(found) | Content::Unknown(found) => found,
    }
}

fn foreign(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 14] = [
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"%PDF", "a PDF document"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x7fELF", "a program"),
        (b"MThd", "MIDI notes, not sound"),
        (b"#!AMR", "AMR speech"),
        (b"\x30\x26\xb2\x75", "Windows Media"),
        (b"wvpk", "WavPack"),
        (b"MAC ", "Monkey's Audio"),
        (b".snd", "a Sun/NeXT au file"),
        (b"RIFX", "a big-endian wav file"),
    ];
    if head.starts_with(b"RIFF") {
        return Some("a RIFF file without WAVE in it");
    }
    KNOWN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name)
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // A character cut by the end of the sample is no reason to call a text binary.
        Err(error) if error.error_len().is_none() => match std::str::from_utf8(&head[..error.valid_up_to()]) {
            Ok(text) => text,
            Err(_) => return false,
        },
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t' | '\u{c}'))
}

fn first_words(head: &[u8]) -> String {
    let text = String::from_utf8_lossy(head);
    let line = text.trim_start().lines().next().unwrap_or_default();
    let mut words: String = line.chars().take(30).collect();
    if words.len() < line.len() {
        words.push('…');
    }
    words
}

fn first_bytes(head: &[u8]) -> String {
    let hex: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02X}")).collect();
    format!("first bytes {}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        let sound = |name, seekable| Content::Sound { name, seekable };
        let cases: &[(&[u8], Content)] = &[
            (b"RIFF\0\0\0\0WAVE", Content::Wave),
            (b"RF64\xff\xff\xff\xffWAVE", Content::Wave),
            (b"\0\0\0\x20ftypM4A ", Content::Mp4),
            (b"OggS\0\x02", sound("ogg", true)),
            (b"fLaC\0\0\0\x22", sound("flac", false)),
            (b"ID3\x04", sound("mp3", false)),
            (b"\xff\xfb\x90\x64", sound("mp3", false)),
            (b"\xff\xf1\x50\x80", sound("aac", false)),
            (b"FORM\0\0\0\0AIFC", sound("aiff", true)),
            (b"\x1a\x45\xdf\xa3", sound("matroska", true)),
            (
                b"RIFF\0\0\0\0AVI ",
                Content::Foreign("a RIFF file without WAVE in it (first bytes 52 49 46 46 00 00 00 00)".into()),
            ),
            (b"\x89PNG\r\n\x1a\n", Content::Foreign("a PNG picture (first bytes 89 50 4E 47 0D 0A 1A 0A)".into())),
            (b"\xff\xd8\xff\xe0", Content::Foreign("a JPEG picture (first bytes FF D8 FF E0)".into())),
            ("Grüße, das ist kein Ton\nnein".as_bytes(), Content::Foreign("text (\"Grüße, das ist kein Ton\")".into())),
            (&"ä".as_bytes()[..1], Content::Unknown("unknown content (first bytes C3)".into())),
            (b"a\0b", Content::Unknown("unknown content (first bytes 61 00 62)".into())),
            (b"", Content::Unknown("unknown content (first bytes )".into())),
        ];
        for (head, expected) in cases {
            assert_eq!(Content::of(head), *expected, "{head:?}");
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let Content::Foreign(found) = Content::of(&[b'x'; SNIFF_BYTES]) else { panic!("not text") };
        assert_eq!(found, format!("text (\"{}…\")", "x".repeat(30)));
    }
}
