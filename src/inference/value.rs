//! What goes into a session and comes out of it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::InferenceError;
use crate::tensor::{DType, Tensor};

/// A tensor in a backend's own keeping, perhaps in a device's memory. A backend knows its own again by
/// [`NativeValue::as_any`]; any other reads it through [`NativeValue::to_tensor`].
pub trait NativeValue: fmt::Debug + Send + Sync {
    /// The sizes of its dimensions.
    fn shape(&self) -> &[usize];

    /// The data type of its elements.
    fn dtype(&self) -> DType;

    /// Its elements, copied into percept's memory. Fails when the backend cannot give them.
    fn to_tensor(&self) -> Result<Tensor, InferenceError>;

    /// Itself, to be recognised by the backend that made it.
    fn as_any(&self) -> &dyn Any;
}

/// An input or output of a session: a [`Tensor`], or a tensor that still lies with the backend that computed it.
///
/// Results come as the latter. Fed back into a session of the same backend (a key/value cache, an RNN's state) they are
/// not copied. Cloning copies no element.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Tensor(Tensor),
    Native(Arc<dyn NativeValue>),
}

impl Value {
    /// A value that lies with its backend.
    pub fn native(value: impl NativeValue + 'static) -> Self {
        Value(Repr::Native(Arc::new(value)))
    }

    /// The sizes of its dimensions.
    pub fn shape(&self) -> &[usize] {
        match &self.0 {
            Repr::Tensor(tensor) => tensor.shape(),
            Repr::Native(native) => native.shape(),
        }
    }

    /// The data type of its elements.
    pub fn dtype(&self) -> DType {
        match &self.0 {
            Repr::Tensor(tensor) => tensor.dtype(),
            Repr::Native(native) => native.dtype(),
        }
    }

    /// The tensor, when it is one.
    pub fn as_tensor(&self) -> Option<&Tensor> {
        match &self.0 {
            Repr::Tensor(tensor) => Some(tensor),
            Repr::Native(_) => None,
        }
    }

    /// The backend's own, when it is that.
    pub fn as_native(&self) -> Option<&dyn NativeValue> {
        match &self.0 {
            Repr::Tensor(_) => None,
            Repr::Native(native) => Some(&**native),
        }
    }

    /// As a tensor: shared when it is one, copied out of the backend otherwise. Fails when the backend cannot give it.
    pub fn to_tensor(&self) -> Result<Tensor, InferenceError> {
        match &self.0 {
            Repr::Tensor(tensor) => Ok(tensor.clone()),
            Repr::Native(native) => native.to_tensor(),
        }
    }

    /// Like [`Value::to_tensor`], giving up the value.
    pub fn into_tensor(self) -> Result<Tensor, InferenceError> {
        match self.0 {
            Repr::Tensor(tensor) => Ok(tensor),
            Repr::Native(native) => native.to_tensor(),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Value(Repr::Tensor(tensor))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Tensor(tensor) => tensor.fmt(f),
            Repr::Native(native) => native.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_goes_in_and_out_without_a_copy() {
        let tensor = Tensor::new(vec![2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
        let address = tensor.as_slice::<f32>().unwrap().as_ptr();
        let value = Value::from(tensor.clone());
        assert_eq!((value.shape(), value.dtype()), ([2, 2].as_slice(), DType::F32));
        assert!(value.as_native().is_none());
        assert_eq!(value.clone().to_tensor().unwrap().as_slice::<f32>().unwrap().as_ptr(), address);
        assert_eq!(value.into_tensor().unwrap().as_slice::<f32>().unwrap().as_ptr(), address);
    }
}
