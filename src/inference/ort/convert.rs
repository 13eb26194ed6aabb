//! Tensors, types and ports between percept and ONNX Runtime.

use std::any::Any;
use std::fmt;

use ::ort::memory::AllocationDevice;
use ::ort::session::SessionInputValue;
use ::ort::value::{
    DynTensorValueType, DynValue, Outlet, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType,
    TensorRef, ValueType,
};

use crate::inference::{InferenceError, NativeValue, Port};
use crate::tensor::{DType, Dim, Element, SymbolicShape, Tensor, TensorData, bf16, f16};

/// The data type, when percept has it.
pub(super) fn dtype(element: TensorElementType) -> Option<DType> {
    Some(match element {
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::String => DType::String,
        _ => return None,
    })
}

/// The port that `outlet` is; what it is instead, when it is no tensor that percept can hold.
///
/// ONNX Runtime reports a scalar and a tensor of unknown rank alike, and checks neither, so both become unranked.
pub(super) fn port(outlet: &Outlet) -> Result<Port, String> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(outlet.dtype().to_string());
    };
    let dtype = dtype(*ty).ok_or_else(|| format!("tensor of {ty}"))?;
    let dims = shape.iter().enumerate().map(|(axis, size)| match usize::try_from(*size) {
        Ok(size) => Dim::Known(size),
        Err(_) => match dimension_symbols.get(axis) {
            Some(symbol) if !symbol.is_empty() => Dim::Symbol(symbol.as_str().into()),
            _ => Dim::Any,
        },
    });
    let shape = if shape.is_empty() { SymbolicShape::Unranked } else { SymbolicShape::Ranked(dims.collect()) };
    Ok(Port { name: outlet.name().to_owned(), dtype, shape })
}

/// Calls `$body` with `$elements` bound to the typed buffer of `$tensor`; strings, which ONNX Runtime keeps in a form of
/// its own, are copied.
macro_rules! as_input {
    ($tensor:expr, $elements:ident => $body:expr) => {
        match $tensor.data() {
            TensorData::F16($elements) => $body,
            TensorData::BF16($elements) => $body,
            TensorData::F32($elements) => $body,
            TensorData::F64($elements) => $body,
            TensorData::I8($elements) => $body,
            TensorData::I16($elements) => $body,
            TensorData::I32($elements) => $body,
            TensorData::I64($elements) => $body,
            TensorData::U8($elements) => $body,
            TensorData::U16($elements) => $body,
            TensorData::U32($elements) => $body,
            TensorData::U64($elements) => $body,
            TensorData::Bool($elements) => $body,
            TensorData::String(strings) => OrtTensor::from_string_array(($tensor.shape(), &**strings))?.into(),
        }
    };
}

/// `tensor` as an input whose elements are read where they lie.
pub(super) fn borrow(tensor: &Tensor) -> ::ort::Result<SessionInputValue<'_>> {
    Ok(as_input!(tensor, elements => TensorRef::from_array_view((tensor.shape(), &**elements))?.into()))
}

/// `tensor` as an input with a copy of its elements, on its way to a device.
///
/// The crate locks itself out when a borrowed tensor is bound whose memory the session could share, so only owned ones
/// may be bound.
pub(super) fn own(tensor: &Tensor) -> ::ort::Result<SessionInputValue<'static>> {
    Ok(as_input!(tensor, elements => OrtTensor::from_array((tensor.shape().to_vec(), elements.to_vec()))?.into()))
}

/// A tensor in ONNX Runtime's memory, or that of a device it drives.
pub(super) struct OrtValue {
    value: DynValue,
    dtype: DType,
    shape: Vec<usize>,
}

impl OrtValue {
    /// Wraps a result. Fails, saying what it is, when it is no tensor percept can hold.
    pub(super) fn new(value: DynValue) -> Result<Self, String> {
        let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
            return Err(value.dtype().to_string());
        };
        let dtype = dtype(*ty).ok_or_else(|| format!("tensor of {ty}"))?;
        let sizes: Result<Vec<usize>, _> = shape.iter().map(|size| usize::try_from(*size)).collect();
        let shape = sizes.map_err(|_| format!("tensor of impossible shape {shape}"))?;
        Ok(OrtValue { value, dtype, shape })
    }

    /// As an input, without a copy.
    pub(super) fn borrow(&self) -> SessionInputValue<'_> {
        (&self.value).into()
    }

    /// Whether the processor can read its elements.
    pub(super) fn is_on_host(&self) -> bool {
        match self.value.view().downcast::<DynTensorValueType>() {
            Ok(tensor) => tensor.memory_info().is_cpu_accessible(),
            Err(_) => false,
        }
    }

    /// Where its elements lie, for the tests that ask whether a buffer is shared.
    #[cfg(test)]
    pub(super) fn address(&self) -> usize {
        self.value.try_extract_tensor::<f32>().expect("a tensor of f32 on the host").1.as_ptr().addr()
    }

    fn copy(&self) -> ::ort::Result<Tensor> {
        let tensor = self.value.view().downcast::<DynTensorValueType>()?;
        if tensor.memory_info().is_cpu_accessible() {
            return self.extract(&self.value);
        }
        self.extract(&tensor.to(AllocationDevice::CPU, 0)?.into_dyn())
    }

    fn extract(&self, value: &DynValue) -> ::ort::Result<Tensor> {
        match self.dtype {
            DType::F16 => self.elements::<f16>(value),
            DType::BF16 => self.elements::<bf16>(value),
            DType::F32 => self.elements::<f32>(value),
            DType::F64 => self.elements::<f64>(value),
            DType::I8 => self.elements::<i8>(value),
            DType::I16 => self.elements::<i16>(value),
            DType::I32 => self.elements::<i32>(value),
            DType::I64 => self.elements::<i64>(value),
            DType::U8 => self.elements::<u8>(value),
            DType::U16 => self.elements::<u16>(value),
            DType::U32 => self.elements::<u32>(value),
            DType::U64 => self.elements::<u64>(value),
            DType::Bool => self.elements::<bool>(value),
            DType::String => self.tensor(value.try_extract_strings()?.1),
        }
    }

    fn elements<T: Element + PrimitiveTensorElementType>(&self, value: &DynValue) -> ::ort::Result<Tensor> {
        self.tensor(value.try_extract_tensor::<T>()?.1.to_vec())
    }

    fn tensor<T: Element>(&self, elements: Vec<T>) -> ::ort::Result<Tensor> {
        Tensor::new(self.shape.clone(), elements).map_err(::ort::Error::wrap)
    }
}

impl NativeValue for OrtValue {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> DType {
        self.dtype
    }

    fn to_tensor(&self) -> Result<Tensor, InferenceError> {
        self.copy().map_err(|error| InferenceError::Unreadable {
            dtype: self.dtype,
            shape: self.shape.clone(),
            reason: error.message().to_owned(),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl fmt::Debug for OrtValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrtValue({} {:?})", self.dtype, self.shape)
    }
}
