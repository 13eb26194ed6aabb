//! One loaded model, whoever runs it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Backend, InferenceError, Provider, Value};
use crate::onnx::{ValueInfo, ValueKind};
use crate::tensor::{DType, SymbolicShape};

/// A named tensor that a model takes or gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// The data type of its elements.
    pub dtype: DType,
    /// Its shape as the model declares it.
    pub shape: SymbolicShape,
}

impl Port {
    /// The port that a graph's input or output is. `None` where it is no tensor that percept can hold.
    pub fn of_value(value: &ValueInfo) -> Option<Port> {
        let dtype = value.dtype.filter(|_| value.kind == ValueKind::Tensor)?;
        Some(Port { name: value.name.clone(), dtype, shape: value.shape.clone() })
    }
}

impl fmt::Display for Port {
    /// `state: f32 [2, batch, 128]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.dtype, self.shape)
    }
}

/// What a model file says about itself. Fields it leaves out are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The tool that wrote it.
    pub producer: String,
    /// The name of its graph.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its version, when it states one.
    pub version: Option<i64>,
    /// The version of the default operator set that it uses.
    pub opset: Option<u32>,
    /// Its custom properties (labels and the like).
    pub custom: BTreeMap<String, String>,
}

/// One loaded model.
///
/// It keeps no state between runs: what a model remembers goes out as a value and comes in again. A run occupies the
/// session; whoever wants two at a time loads two.
pub trait Session: Send {
    /// The model's name in messages: its file's name.
    fn model(&self) -> &str;

    /// Every input, in the order of the graph. All must be given to a run.
    fn inputs(&self) -> &[Port];

    /// Every output, in the order of the graph.
    fn outputs(&self) -> &[Port];

    /// What runs it: ONNX Runtime or the engine.
    fn backend(&self) -> Backend;

    /// The provider that really serves this session.
    fn provider(&self) -> Provider;

    /// What the model file says about itself.
    fn metadata(&self) -> &Metadata;

    /// A handle that cancels this session's runs from any thread.
    fn canceller(&self) -> Canceller;

    /// Runs the model on named inputs, in any order, and gives the outputs asked for, in the order asked.
    ///
    /// Names, data types and shapes are checked against the ports first, so a wrong input never reaches the backend.
    /// Elements of tensors are read where they lie. Fails as well when the backend fails and when the run is
    /// cancelled; the session can be used again after any of these.
    fn run(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, InferenceError>;
}

/// How a backend is told to stop a run in progress, and that it may run again.
pub trait Cancel: Send + Sync {
    /// Stops the run in progress soon, and every later one at its start.
    fn cancel(&self);

    /// Allows runs again.
    fn reset(&self);
}

/// Cancels the runs of one session. Clones act on the same session, and outlive it harmlessly.
///
/// Cancelling lasts: every run fails with [`InferenceError::Cancelled`] until [`Canceller::reset`].
#[derive(Clone)]
pub struct Canceller(Arc<Shared>);

struct Shared {
    /// Written under the gate, together with the backend's own flag, so that the two never disagree.
    cancelled: AtomicBool,
    gate: Mutex<()>,
    backend: Box<dyn Cancel>,
}

impl Canceller {
    /// A canceller that passes on to `backend`.
    pub fn new(backend: impl Cancel + 'static) -> Self {
        Canceller(Arc::new(Shared {
            cancelled: AtomicBool::new(false),
            gate: Mutex::new(()),
            backend: Box::new(backend),
        }))
    }

    /// Stops the run in progress, if there is one, and refuses later ones. Returns at once.
    pub fn cancel(&self) {
        let _gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.cancelled.store(true, Ordering::Release);
        self.0.backend.cancel();
    }

    /// Allows runs again.
    pub fn reset(&self) {
        let _gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.backend.reset();
        self.0.cancelled.store(false, Ordering::Release);
    }

    /// Whether runs are refused.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<&'static str>>);

    impl Cancel for Arc<Recorder> {
        fn cancel(&self) {
            self.0.lock().unwrap().push("cancel");
        }

        fn reset(&self) {
            self.0.lock().unwrap().push("reset");
        }
    }

    #[test]
    fn cancelling_lasts_until_reset_for_every_clone() {
        let recorder = Arc::new(Recorder::default());
        let canceller = Canceller::new(recorder.clone());
        let clone = canceller.clone();
        assert!(!clone.is_cancelled());
        canceller.cancel();
        assert!(clone.is_cancelled());
        clone.reset();
        assert!(!canceller.is_cancelled());
        assert_eq!(*recorder.0.lock().unwrap(), ["cancel", "reset"]);
    }
}
