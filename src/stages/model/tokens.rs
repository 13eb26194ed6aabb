//! What the tokens of a model stand for, as a `tokenizer.bin` lists it.
//!
//! The file holds one entry for each token, from 0: the length of its piece, then the bytes of the piece. A length
//! under 128 is one byte; a longer one is two, `first − 128 + 128 × second`. There is no header and no end mark.
//!
//! | piece | says |
//! |---|---|
//! | `<0xNN>` (two hexadecimal digits) | one byte |
//! | any other `<…>` with something between | nothing: a control token |
//! | anything else, `<>` and an empty piece too | its bytes |
//!
//! The bytes of a run of tokens are UTF-8 in which U+2581 stands for a space; bytes that make no character become
//! U+FFFD.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use thiserror::Error;

/// The largest file that is read: larger vocabularies than any model has.
const MAX_BYTES: u64 = 64 << 20;

/// The piece of each token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// What each token adds to the text, still with U+2581.
    said: Vec<Box<[u8]>>,
}

/// Why a token file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It cannot be read.
    #[error("cannot read it: {source}")]
    Io {
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than any vocabulary.
    #[error("expected at most {MAX_BYTES} bytes of tokens, found more; is it another kind of file?")]
    TooLarge,
    /// It ends inside a piece.
    #[error(
        "the piece of token {token} should have {expected} bytes, found {found} before the end of the file; is it \
         whole, and a tokenizer.bin?"
    )]
    CutShort {
        /// The token.
        token: usize,
        /// Bytes that its length announces.
        expected: usize,
        /// Bytes that are there.
        found: usize,
    },
    /// It holds no token.
    #[error("expected at least one token, found an empty file")]
    Empty,
}

impl Tokens {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Tokens, TokensError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| TokensError::Io { source })?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(TokensError::TooLarge);
        }
        Tokens::parse(&bytes)
    }

    /// Reads the content of a file.
    pub fn parse(mut bytes: &[u8]) -> Result<Tokens, TokensError> {
        let mut said = Vec::new();
        while let Some((&first, rest)) = bytes.split_first() {
            let (length, rest) = match (first, rest) {
                (0..128, rest) => (usize::from(first), rest),
                (_, [second, rest @ ..]) => (usize::from(first) - 128 + 128 * usize::from(*second), rest),
                (_, []) => {
                    return Err(TokensError::CutShort { token: said.len(), expected: 128, found: 0 });
                }
            };
            let Some((piece, rest)) = rest.split_at_checked(length) else {
                return Err(TokensError::CutShort { token: said.len(), expected: length, found: rest.len() });
            };
            said.push(meaning(piece));
            bytes = rest;
        }
        if said.is_empty() { Err(TokensError::Empty) } else { Ok(Tokens { said }) }
    }

    /// How many tokens there are: one more than the last token's number.
    pub fn count(&self) -> usize {
        self.said.len()
    }

    /// The text that each of `tokens` adds, in their order, spaces included. Put together they are the text that the
    /// tokens say.
    ///
    /// A character whose bytes are spread over several tokens belongs to the last of them. Tokens that are not in the
    /// table say nothing.
    pub fn pieces(&self, tokens: &[usize]) -> Vec<String> {
        let mut pending = Vec::new();
        let mut pieces: Vec<String> = tokens
            .iter()
            .map(|&token| {
                pending.extend_from_slice(self.said.get(token).map_or(&[][..], |said| said));
                take_text(&mut pending, false)
            })
            .collect();
        if let Some(last) = pieces.last_mut() {
            last.push_str(&take_text(&mut pending, true));
        }
        pieces
    }
}

/// What a piece adds to the text.
fn meaning(piece: &[u8]) -> Box<[u8]> {
    let [b'<', inside @ .., b'>'] = piece else {
        return piece.into();
    };
    if inside.is_empty() {
        return piece.into();
    }
    let byte = match inside {
        [b'0', b'x', digits @ ..] if digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit) => {
            str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok())
        }
        _ => None,
    };
    byte.into_iter().collect()
}

/// Takes the characters that are complete out of `pending`; at the end of the text (`last`) everything.
fn take_text(pending: &mut Vec<u8>, last: bool) -> String {
    let mut text = String::new();
    let mut rest = pending.as_slice();
    while !rest.is_empty() {
        let error = match str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = &[];
                break;
            }
            Err(error) => error,
        };
        let (valid, after) = rest.split_at(error.valid_up_to());
        text.push_str(str::from_utf8(valid).unwrap_or_default());
        match error.error_len() {
            None if !last => {
                rest = after;
                break;
            }
            wrong => {
                text.push(char::REPLACEMENT_CHARACTER);
                rest = after.get(wrong.unwrap_or(after.len())..).unwrap_or_default();
            }
        }
    }
    let taken = pending.len() - rest.len();
    pending.drain(..taken);
    text.replace('\u{2581}', " ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The file that lists `pieces`.
    fn file(pieces: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece.len() {
                length @ 0..128 => bytes.push(length as u8),
                length => bytes.extend([(length % 128 + 128) as u8, (length / 128) as u8]),
            }
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    #[test]
    fn what_pieces_say() {
        let long = "x".repeat(128);
        let longer = "y".repeat(1000);
        for (pieces, texts) in [
            (vec!["\u{2581}the", "n"], vec![" the", "n"]),
            (vec!["<s>", "a", "</s>", "<unk>"], vec!["", "a", "", ""]),
            (vec!["<0x41>", "<0x4g>", "<0x4>", "<0x041>"], vec!["A", "", "", ""]),
            (vec!["<>", "", "<", ">", "<a"], vec!["<>", "", "<", ">", "<a"]),
            // é as two bytes; a piece that only begins like a byte.
            (vec!["<0xC3>", "<0xA9>", "<0xFF>b"], vec!["", "é", "<0xFF>b"]),
            (vec!["<0xFF>", "b"], vec!["\u{fffd}", "b"]),
            // A character that is broken off by the next piece, and one by the end.
            (vec!["<0xE2>", "<0x96>", "a"], vec!["", "", "\u{fffd}a"]),
            (vec!["a", "<0xE2>", "<0x96>"], vec!["a", "", "\u{fffd}"]),
            // The space mark from three bytes.
            (vec!["<0xE2>", "<0x96>", "<0x81>"], vec!["", "", " "]),
            (vec![&long, &longer], vec![&long, &longer]),
        ] {
            let bytes: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            let tokens = Tokens::parse(&file(&bytes)).unwrap();
            assert_eq!(tokens.count(), pieces.len());
            let all: Vec<usize> = (0..pieces.len()).collect();
            assert_eq!(tokens.pieces(&all), texts, "{pieces:?}");
        }
    }

    #[test]
    fn tokens_that_do_not_exist_say_nothing() {
        let tokens = Tokens::parse(&file(&[b"a"])).unwrap();
        assert_eq!(tokens.pieces(&[0, 1, usize::MAX, 0]), ["a", "", "", "a"]);
        assert!(tokens.pieces(&[]).is_empty());
    }

    #[test]
    fn files_that_are_refused() {
        for (bytes, says) in [
            (&b""[..], "found an empty file"),
            (b"\x01a\x03bc", "the piece of token 1 should have 3 bytes, found 2"),
            (b"\x80", "token 0 should have 128 bytes, found 0"),
            (b"\x01a\xff\xffxyz", "token 1 should have 32767 bytes, found 3"),
            (b"PK\x03\x04 a zip", "token 0 should have 80 bytes, found 9"),
        ] {
            let error = Tokens::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{bytes:?}: {error}");
        }
        let error = Tokens::read(Path::new("no such file")).unwrap_err();
        assert!(matches!(error, TokensError::Io { .. }), "{error}");
    }

    proptest! {
        /// However the bytes are spread over tokens, the pieces together are the text of all bytes.
        #[test]
        fn pieces_put_together_are_the_text(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..8)
        ) {
            let tokens = Tokens { said: pieces.iter().map(|piece| piece.as_slice().into()).collect() };
            let all: Vec<usize> = (0..pieces.len()).collect();
            let whole = String::from_utf8_lossy(&pieces.concat()).replace('\u{2581}', " ");
            prop_assert_eq!(tokens.pieces(&all).concat(), whole);
        }

        #[test]
        fn no_content_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(tokens) = Tokens::parse(&bytes) {
                prop_assert!(tokens.count() > 0);
            }
        }
    }
}
