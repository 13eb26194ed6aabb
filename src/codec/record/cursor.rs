//! Little-endian numbers, strings and lists in a run of bytes: written, and read back without trusting a single length.

use std::sync::Arc;

/// What is wrong with a run of bytes, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// The least bytes that text takes: its length.
pub(super) const TEXT_BYTES: usize = 4;

/// Bytes that are read from the front. Nothing is allocated that the bytes at hand could not fill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

macro_rules! numbers {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        /// The next number.
        pub(super) fn $name(&mut self) -> Result<$type, Malformed> {
            Ok(<$type>::from_le_bytes(self.array()?))
        }
    )*};
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    numbers!(u8: u8, u16: u16, u32: u32, u64: u64, i64: i64, f32: f32, f64: f64);

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Malformed(format!("expected {count} bytes, found the last {}", self.rest.len()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Bytes that are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// A byte that is 0 or 1.
    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Malformed(format!("expected 0 or 1, found the byte {other}"))),
        }
    }

    /// A value behind a byte that says whether there is one.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A u32 that counts things of at least `bytes` bytes each, which must all be here.
    pub(super) fn count(&mut self, bytes: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        self.fits(count, bytes)?;
        Ok(count)
    }

    /// Whether `count` things of at least `bytes` bytes each can be here.
    pub(super) fn fits(&self, count: usize, bytes: usize) -> Result<(), Malformed> {
        match count.checked_mul(bytes) {
            Some(needed) if needed <= self.rest.len() => Ok(()),
            _ => Err(Malformed(format!("expected {count} values of {bytes} bytes, found {} bytes", self.rest.len()))),
        }
    }

    /// `count` things of at least `bytes` bytes each.
    pub(super) fn list<T>(
        &mut self,
        count: usize,
        bytes: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        self.fits(count, bytes)?;
        (0..count).map(|_| read(self)).collect()
    }

    /// Text behind its length in bytes.
    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|error| Malformed(format!("expected UTF-8 text: {error}")))
    }

    /// The same, shared.
    pub(super) fn shared_text(&mut self) -> Result<Arc<str>, Malformed> {
        self.text().map(Arc::from)
    }

    /// Fails when something is left.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Malformed(format!("expected the end, found {left} more bytes"))),
        }
    }
}

/// Writes text behind its length. Lengths are held below 4 GiB by the limit on a packet.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Writes a count or a length as a u32; one that has no place in it makes the packet too large, which is refused.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Writes a byte that says whether there is a value, and the value.
pub(super) fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        put_text(&mut out, "größe");
        put_option(&mut out, Some(7u16), |out, value| out.extend(value.to_le_bytes()));
        put_option(&mut out, None::<u16>, |_, _| unreachable!());
        put_count(&mut out, 1);
        out.push(9);
        let mut cursor = Cursor::new(&out);
        assert_eq!(cursor.text().unwrap(), "größe");
        assert_eq!(cursor.option(Cursor::u16).unwrap(), Some(7));
        assert_eq!(cursor.option(Cursor::u16).unwrap(), None);
        assert_eq!(cursor.count(1).unwrap(), 1);
        assert!(cursor.end().is_err());
        assert_eq!(cursor.rest(), [9]);
        assert_eq!(cursor.end(), Ok(()));
    }

    #[test]
    fn lengths_are_not_trusted() {
        let huge = [0xff; 12];
        let all = |read: fn(&mut Cursor<'_>) -> bool| assert!(read(&mut Cursor::new(&huge)));
        all(|cursor| cursor.text().is_err());
        all(|cursor| cursor.count(1).is_err());
        all(|cursor| cursor.count(usize::MAX).is_err());
        all(|cursor| cursor.bool().is_err());
        all(|cursor| cursor.take(13).is_err());
        all(|cursor| cursor.list(usize::MAX, 1, Cursor::u8).is_err());
        assert!(Cursor::new(&[2, 0, 0, 0, 0xc3, 0x28]).text().is_err(), "no UTF-8");
    }
}
