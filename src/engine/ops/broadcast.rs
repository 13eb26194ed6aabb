//! Broadcasting: shapes aligned at their last dimensions, sizes equal or 1.
//!
//! ONNX: <https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md>.

use crate::engine::error::OpError;
use crate::tensor::{Dim, SymbolicShape};

/// The shape of what two shapes give together. Unknown sizes give unknown sizes, where they decide.
pub fn shapes(left: &SymbolicShape, right: &SymbolicShape) -> Result<SymbolicShape, OpError> {
    let (Some(a), Some(b)) = (left.dims(), right.dims()) else { return Ok(SymbolicShape::Unranked) };
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], index: usize| match (index + dims.len()).checked_sub(rank) {
        Some(at) => dims.get(at).cloned().unwrap_or(Dim::Known(1)),
        None => Dim::Known(1),
    };
    let dims: Option<Vec<Dim>> = (0..rank)
        .map(|index| match (at(a, index), at(b, index)) {
            (Dim::Known(1), other) | (other, Dim::Known(1)) => Some(other),
            (Dim::Known(x), Dim::Known(y)) => (x == y).then_some(Dim::Known(x)),
            // The unknown one is 1 or the same.
            (Dim::Known(x), _) | (_, Dim::Known(x)) => Some(Dim::Known(x)),
            (x, y) => Some(if x == y { x } else { Dim::Any }),
        })
        .collect();
    let mismatch = || OpError::Broadcast { left: left.clone(), right: right.clone() };
    dims.map(SymbolicShape::Ranked).ok_or_else(mismatch)
}

/// How to walk operands along a broadcast result: runs of equal strides are one dimension.
///
/// For each dimension of the (collapsed) result its size, and for each operand how far its next element lies (0 where it
/// is repeated).
#[derive(Clone, Debug)]
pub struct Walk<const N: usize> {
    sizes: Vec<usize>,
    strides: Vec<[usize; N]>,
}

impl<const N: usize> Walk<N> {
    /// A walk over `to` of operands of these shapes, which broadcast to it.
    pub fn new(to: &[usize], operands: [&[usize]; N]) -> Self {
        let rank = to.len();
        let mut strides = vec![[0; N]; rank];
        for (operand, shape) in operands.iter().enumerate() {
            let mut stride = 1;
            for (index, size) in shape.iter().enumerate().rev() {
                let at = index + rank - shape.len();
                strides[at][operand] = if *size == 1 { 0 } else { stride };
                stride *= size;
            }
        }
        let mut sizes: Vec<usize> = Vec::new();
        let mut kept: Vec<[usize; N]> = Vec::new();
        for (size, stride) in to.iter().zip(strides) {
            if *size == 1 {
                continue;
            }
            match (sizes.last_mut(), kept.last_mut()) {
                (Some(outer), Some(outer_stride)) if (0..N).all(|i| outer_stride[i] == stride[i] * size) => {
                    *outer *= size;
                    *outer_stride = stride;
                }
                _ => {
                    sizes.push(*size);
                    kept.push(stride);
                }
            }
        }
        Walk { sizes, strides: kept }
    }

    /// The strides, when the whole result is one run.
    pub fn single(&self) -> Option<[usize; N]> {
        match self.strides.as_slice() {
            [strides] => Some(*strides),
            _ => None,
        }
    }

    /// Calls `run(first element of the result, first of each operand, length, stride of each)` for each innermost run.
    pub fn runs(&self, mut run: impl FnMut(usize, [usize; N], usize, [usize; N])) {
        if self.sizes.contains(&0) {
            return;
        }
        let Some(((length, outer_sizes), (strides, outer_strides))) =
            self.sizes.split_last().zip(self.strides.split_last())
        else {
            run(0, [0; N], 1, [0; N]);
            return;
        };
        let mut counter: smallvec::SmallVec<[usize; 8]> = smallvec::smallvec![0; outer_sizes.len()];
        let mut offsets = [0; N];
        let mut result = 0;
        loop {
            run(result, offsets, *length, *strides);
            result += length;
            let mut dimension = outer_sizes.len();
            loop {
                if dimension == 0 {
                    return;
                }
                dimension -= 1;
                counter[dimension] += 1;
                for (offset, stride) in offsets.iter_mut().zip(outer_strides[dimension]) {
                    *offset += stride;
                }
                if counter[dimension] < outer_sizes[dimension] {
                    break;
                }
                for (offset, stride) in offsets.iter_mut().zip(outer_strides[dimension]) {
                    *offset -= stride * outer_sizes[dimension];
                }
                counter[dimension] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_cases() {
        let known = SymbolicShape::known;
        let n = || Dim::Symbol("n".into());
        for (left, right, expected) in [
            (known(&[2, 3]), known(&[3]), Some(known(&[2, 3]))),
            (known(&[2, 1]), known(&[1, 4]), Some(known(&[2, 4]))),
            (known(&[]), known(&[5]), Some(known(&[5]))),
            (known(&[0, 3]), known(&[1, 3]), Some(known(&[0, 3]))),
            (known(&[2]), known(&[3]), None),
            (
                SymbolicShape::Ranked(vec![n(), Dim::Known(3)]),
                known(&[3]),
                Some(SymbolicShape::Ranked(vec![n(), Dim::Known(3)])),
            ),
            (SymbolicShape::Ranked(vec![n()]), known(&[4]), Some(known(&[4]))),
            (
                SymbolicShape::Ranked(vec![n()]),
                SymbolicShape::Ranked(vec![Dim::Any]),
                Some(SymbolicShape::Ranked(vec![Dim::Any])),
            ),
            (SymbolicShape::Unranked, known(&[4]), Some(SymbolicShape::Unranked)),
        ] {
            assert_eq!(shapes(&left, &right).ok(), expected, "{left} {right}");
        }
    }

    #[test]
    fn a_walk_visits_what_indexing_says() {
        for (to, a, b) in [
            (vec![2, 3, 4], vec![2, 3, 4], vec![4]),
            (vec![2, 3, 4], vec![3, 1], vec![2, 1, 4]),
            (vec![], vec![], vec![]),
            (vec![3, 0], vec![3, 1], vec![0]),
            (vec![5, 1, 2], vec![5, 1, 2], vec![1, 1, 2]),
            (vec![2, 2, 2, 2], vec![2, 1, 2, 1], vec![1, 2, 1, 2]),
        ] {
            let walk = Walk::new(&to, [&a, &b]);
            let mut found = Vec::new();
            walk.runs(|result, from, length, strides| {
                for i in 0..length {
                    found.push((result + i, from[0] + i * strides[0], from[1] + i * strides[1]));
                }
            });
            let count: usize = to.iter().product();
            let index = |shape: &[usize], mut flat: usize| {
                let mut at = vec![0; to.len()];
                for (at, size) in at.iter_mut().zip(&to).rev() {
                    *at = flat % size;
                    flat /= size;
                }
                let tail = &at[to.len() - shape.len()..];
                tail.iter().zip(shape).fold(0, |sum, (at, size)| sum * size + if *size == 1 { 0 } else { *at })
            };
            let expected: Vec<_> = (0..count).map(|flat| (flat, index(&a, flat), index(&b, flat))).collect();
            assert_eq!(found, expected, "{to:?} {a:?} {b:?}");
        }
    }
}
