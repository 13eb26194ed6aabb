//! Memory of a running graph: owned cells, and the slices of them that kernels see.

use crate::tensor::{Buffer, DType, Element, Tensor, TensorData, bf16, f16};

/// A type that kernels compute with: every element type of a tensor.
pub trait Scalar: Element + Default {
    /// Wraps owned elements.
    fn cell(elements: Vec<Self>) -> Cell;
    /// The elements, if that is what `slice` holds.
    fn slice(slice: Slice<'_>) -> Option<&[Self]>;
    /// The elements to be written, if that is what `slice` holds.
    fn slice_mut(slice: SliceMut<'_>) -> Option<&mut [Self]>;
    /// Elements to be read, by those whose type is known only at run time.
    fn slice_of(elements: &[Self]) -> Slice<'_>;
    /// Elements to be written, by those whose type is known only at run time.
    fn slice_mut_of(elements: &mut [Self]) -> SliceMut<'_>;
}

macro_rules! cells {
    ($($variant:ident($rust:ty)),* $(,)?) => {
        /// Owned elements of one type.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each variant is the data type it is named after")]
        pub enum Cell {
            $($variant(Vec<$rust>)),*
        }

        /// Elements to be read.
        #[derive(Clone, Copy, Debug)]
        #[allow(missing_docs, reason = "each variant is the data type it is named after")]
        pub enum Slice<'a> {
            /// An optional value that is not there.
            Absent,
            $($variant(&'a [$rust])),*
        }

        /// Elements to be written.
        #[derive(Debug)]
        #[allow(missing_docs, reason = "each variant is the data type it is named after")]
        pub enum SliceMut<'a> {
            /// An optional value that nobody wants, or one that was taken already.
            Absent,
            $($variant(&'a mut [$rust])),*
        }

        $(impl Scalar for $rust {
            fn cell(elements: Vec<Self>) -> Cell {
                Cell::$variant(elements)
            }

            fn slice(slice: Slice<'_>) -> Option<&[Self]> {
                match slice {
                    Slice::$variant(elements) => Some(elements),
                    _ => None,
                }
            }

            fn slice_mut(slice: SliceMut<'_>) -> Option<&mut [Self]> {
                match slice {
                    SliceMut::$variant(elements) => Some(elements),
                    _ => None,
                }
            }

            fn slice_of(elements: &[Self]) -> Slice<'_> {
                Slice::$variant(elements)
            }

            fn slice_mut_of(elements: &mut [Self]) -> SliceMut<'_> {
                SliceMut::$variant(elements)
            }
        })*

        impl Cell {
            /// `len` elements that are zero, false or empty. `None` for a data type without a cell.
            pub fn zeros(dtype: DType, len: usize) -> Option<Cell> {
                Some(match dtype {
                    $(DType::$variant => Cell::$variant(vec![<$rust>::default(); len]),)*
                    #[allow(unreachable_patterns, reason = "`DType` may grow before this table does")]
                    _ => return None,
                })
            }

            /// The type of its elements.
            pub fn dtype(&self) -> DType {
                match self {
                    $(Cell::$variant(_) => DType::$variant),*
                }
            }

            /// The number of its elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Cell::$variant(elements) => elements.len()),*
                }
            }

            /// Whether it holds no element.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Bytes that its elements take (for strings, without their text).
            pub fn byte_len(&self) -> usize {
                match self {
                    $(Cell::$variant(elements) => std::mem::size_of_val(elements.as_slice())),*
                }
            }

            /// The first `len` elements (fewer, when it is shorter), to be read.
            pub fn slice(&self, len: usize) -> Slice<'_> {
                match self {
                    $(Cell::$variant(elements) => Slice::$variant(&elements[..len.min(elements.len())])),*
                }
            }

            /// The first `len` elements (fewer, when it is shorter), to be written.
            pub fn slice_mut(&mut self, len: usize) -> SliceMut<'_> {
                match self {
                    $(Cell::$variant(elements) => {
                        let len = len.min(elements.len());
                        SliceMut::$variant(&mut elements[..len])
                    }),*
                }
            }

            /// Makes it at least `len` elements long.
            pub fn grow(&mut self, len: usize) {
                match self {
                    $(Cell::$variant(elements) => {
                        if elements.len() < len {
                            elements.resize(len, <$rust>::default());
                        }
                    }),*
                }
            }

            /// Overwrites its first elements with those of `slice`; false when the types differ or it is too short.
            pub fn write(&mut self, slice: Slice<'_>) -> bool {
                match (self, slice) {
                    $((Cell::$variant(to), Slice::$variant(from)) => match to.get_mut(..from.len()) {
                        Some(to) => {
                            to.clone_from_slice(from);
                            true
                        }
                        None => false,
                    },)*
                    _ => false,
                }
            }

            /// A tensor of `shape` with a copy of its first elements. `None` when it has fewer than the shape holds.
            pub fn tensor(&self, shape: &[usize]) -> Option<Tensor> {
                let len = shape.iter().try_fold(1usize, |len, size| len.checked_mul(*size))?;
                match self {
                    $(Cell::$variant(elements) => {
                        Tensor::new(shape.to_vec(), Buffer::from(elements.get(..len)?.to_vec())).ok()
                    }),*
                }
            }
        }

        impl From<&Tensor> for Cell {
            fn from(tensor: &Tensor) -> Self {
                match tensor.data() {
                    $(TensorData::$variant(buffer) => Cell::$variant(buffer.to_vec())),*
                }
            }
        }

        impl<'a> From<&'a Tensor> for Slice<'a> {
            fn from(tensor: &'a Tensor) -> Self {
                match tensor.data() {
                    $(TensorData::$variant(buffer) => Slice::$variant(buffer)),*
                }
            }
        }
    };
}

cells! {
    F16(f16), BF16(bf16), F32(f32), F64(f64),
    I8(i8), I16(i16), I32(i32), I64(i64),
    U8(u8), U16(u16), U32(u32), U64(u64),
    Bool(bool), String(String),
}

impl Default for Cell {
    fn default() -> Self {
        Cell::F32(Vec::new())
    }
}
