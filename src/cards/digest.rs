//! SHA-256 sums (FIPS 180-4): how a card names the exact bytes it means.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use sha2::Digest;
use thiserror::Error;

/// A SHA-256 sum, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

/// Text that is no SHA-256 sum.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected a SHA-256 sum of 64 hexadecimal digits, found `{found}`")]
pub struct NotASum {
    /// The text.
    pub found: String,
}

impl Sha256 {
    /// The sum of these bytes.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }

    /// The sum and the size of a file, read through once; `on` hears the bytes read so far and ends the reading early
    /// (error kind [`io::ErrorKind::Interrupted`]) by returning false.
    pub fn of_file(path: &Path, on: &mut dyn FnMut(u64) -> bool) -> io::Result<(Sha256, u64)> {
        let mut file = File::open(path)?;
        let mut hash = sha2::Sha256::new();
        let mut block = vec![0; 1 << 18];
        let mut size = 0u64;
        loop {
            let count = match file.read(&mut block) {
                Ok(0) => return Ok((Sha256::from_digest(hash), size)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hash.update(&block[..count]);
            size = size.saturating_add(count as u64);
            if !on(size) {
                return Err(io::Error::from(io::ErrorKind::Interrupted));
            }
        }
    }

    /// The sum of what was put into a hash.
    pub(super) fn from_digest(hash: sha2::Sha256) -> Sha256 {
        Sha256(hash.finalize().into())
    }

    /// The first 16 hexadecimal digits: enough to tell folders apart.
    pub fn short(&self) -> String {
        self.to_string().chars().take(16).collect()
    }
}

impl FromStr for Sha256 {
    type Err = NotASum;

    fn from_str(text: &str) -> Result<Self, NotASum> {
        let wrong = || NotASum { found: text.chars().take(80).collect() };
        if text.len() != 64 {
            return Err(wrong());
        }
        let mut sum = [0; 32];
        for (byte, pair) in sum.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16);
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(wrong());
            };
            *byte = (high * 16 + low) as u8;
        }
        Ok(Sha256(sum))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Sha256 {
    fn schema_name() -> Cow<'static, str> {
        "Sha256".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9A-Fa-f]{64}$", "description": "A SHA-256 sum in hexadecimal."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-4's own examples.
    const KNOWN: [(&str, &str); 3] = [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ];

    #[test]
    fn known_sums_of_bytes_and_files() {
        let folder = tempfile::tempdir().unwrap();
        for (text, sum) in KNOWN {
            assert_eq!(Sha256::of(text.as_bytes()).to_string(), sum);
            let path = folder.path().join("file");
            std::fs::write(&path, text).unwrap();
            let (found, size) = Sha256::of_file(&path, &mut |_| true).unwrap();
            assert_eq!((found.to_string().as_str(), size), (sum, text.len() as u64));
        }
        let stopped = Sha256::of_file(
            &{
                let path = folder.path().join("file");
                std::fs::write(&path, vec![1; 1 << 20]).unwrap();
                path
            },
            &mut |_| false,
        );
        assert_eq!(stopped.unwrap_err().kind(), io::ErrorKind::Interrupted);
    }

    #[test]
    fn text_round_trips_and_bad_text_is_refused() {
        for (_, sum) in KNOWN {
            let parsed: Sha256 = sum.parse().unwrap();
            assert_eq!(parsed.to_string(), sum);
            assert_eq!(sum.to_uppercase().parse(), Ok(parsed));
            assert_eq!(parsed.short(), sum[..16]);
        }
        let good = KNOWN[1].1;
        for bad in ["", "abc", &good[1..], &format!("{good}0"), &good.replacen('b', "g", 1), &"é".repeat(32)] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }
}
