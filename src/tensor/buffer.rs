//! A shared, immutable run of elements.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// A shared, immutable slice: cloning and slicing copy no element.
///
/// It derefs to `[T]`. Made from a `Vec` without copying; [`Buffer::into_vec`] gives the `Vec` back without copying when
/// nobody else holds it.
pub struct Buffer<T> {
    elements: Arc<Vec<T>>,
    range: Range<usize>,
}

impl<T> Buffer<T> {
    /// The part `range` of this buffer, sharing its memory. `None` when the range is not inside it.
    pub fn slice(&self, range: Range<usize>) -> Option<Buffer<T>> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start + range.start;
        Some(Buffer { elements: self.elements.clone(), range: start..start + range.len() })
    }

    /// The elements as a `Vec`: moved out when this is the only holder of all of them, copied otherwise.
    pub fn into_vec(self) -> Vec<T>
    where
        T: Clone,
    {
        if self.range.len() != self.elements.len() {
            return self.to_vec();
        }
        Arc::try_unwrap(self.elements).unwrap_or_else(|shared| shared.to_vec())
    }

    /// Bytes that the visible elements take (for strings, without their text).
    pub fn byte_len(&self) -> usize {
        self.range.len() * size_of::<T>()
    }
}

impl<T> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        Buffer { elements: self.elements.clone(), range: self.range.clone() }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements[self.range.clone()]
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(elements: Vec<T>) -> Self {
        let range = 0..elements.len();
        Buffer { elements: Arc::new(elements), range }
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Buffer<T> {
    /// The first eight elements and the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self[..self.len().min(8)];
        write!(f, "{shown:?}")?;
        if self.len() > shown.len() {
            write!(f, " … {} in all", self.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_memory_and_stay_inside() {
        let buffer: Buffer<i32> = vec![0, 1, 2, 3, 4].into();
        let middle = buffer.slice(1..4).unwrap();
        assert_eq!(&*middle, &[1, 2, 3]);
        assert_eq!(&*middle.slice(1..2).unwrap(), &[2]);
        assert!(std::ptr::eq(&buffer[1], &middle[0]));
        assert!(middle.slice(0..4).is_none());
        #[allow(clippy::reversed_empty_ranges, reason = "the case under test")]
        let reversed = middle.slice(2..1);
        assert!(reversed.is_none());
    }

    #[test]
    fn a_sole_holder_gets_its_vec_back_without_a_copy() {
        let elements = vec![1.0f32; 100];
        let address = elements.as_ptr();
        let buffer = Buffer::from(elements);
        let elements = buffer.into_vec();
        assert_eq!(elements.as_ptr(), address);
    }
}
