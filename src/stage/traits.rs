//! The stage trait, and its form for stages of any kind.

use std::any::Any;
use std::sync::Arc;

use super::{Output, PortIndex, StageError};
use crate::media::{Format, Packet, StreamInfo};
use crate::units::Timestamp;

/// What opening a stream gives: its state, and the formats of the output ports for this stream.
#[derive(Debug)]
pub struct Opened<S> {
    /// The stream's state.
    pub state: S,
    /// A format for each output port, in the contract's order.
    pub outputs: Vec<Format>,
}

/// A packet on an input port.
#[derive(Clone, Debug)]
pub struct Input {
    /// The input port: its place in the contract.
    pub port: PortIndex,
    /// The packet.
    pub packet: Packet,
}

/// One packet of a batch, with its stream's state and the place for what comes of it.
#[derive(Debug)]
pub struct Item<'a, S> {
    /// The state of the packet's stream.
    pub state: &'a mut S,
    /// The packet.
    pub input: Input,
    /// Where to emit.
    pub out: &'a mut Output,
    /// What became of it; `Ok` unless the stage says otherwise.
    pub result: Result<(), StageError>,
}

/// A running stage of one kind: what its streams share, and the computation. See the [module](super) for its guarantees.
pub trait Stage: Send + 'static {
    /// What belongs to one stream.
    type State: Send + 'static;

    /// Begins a stream whose input ports carry `inputs` (in the contract's order; [`Format::Any`] where a port is not
    /// connected). An error ends the stream.
    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<Self::State>, StageError>;

    /// Takes one packet.
    fn process(&mut self, state: &mut Self::State, input: Input, out: &mut Output) -> Result<(), StageError>;

    /// Takes packets of different streams in one call, at most the contract's `batch.max`. A stage that gains nothing
    /// from batches leaves this as it is.
    fn process_batch(&mut self, items: &mut [Item<'_, Self::State>]) {
        for item in items {
            item.result = self.process(item.state, item.input.clone(), item.out);
        }
    }

    /// The clock stands at stream time `now`. Called for each open stream at the contract's interval.
    fn tick(&mut self, state: &mut Self::State, now: Timestamp, out: &mut Output) -> Result<(), StageError> {
        let _ = (state, now, out);
        Ok(())
    }

    /// The stream is over: gives what is left in its state.
    fn flush(&mut self, state: &mut Self::State, out: &mut Output) -> Result<(), StageError> {
        let _ = (state, out);
        Ok(())
    }

    /// The earliest start that a later output of this stream may still have, when that is before the newest input's
    /// start. `None`: no later output starts before the newest input.
    fn hold_back(&self, state: &Self::State) -> Option<Timestamp> {
        let _ = state;
        None
    }

    /// How a call that is under way can be asked to come back, for stages whose calls can take long. Such a call then
    /// returns an error, and the next call works as ever.
    fn canceller(&self) -> Option<Canceller> {
        None
    }
}

/// Asks a stage's call that is under way in another thread to come back soon with an error.
#[derive(Clone)]
pub struct Canceller(Arc<dyn Fn() + Send + Sync>);

impl Canceller {
    /// Asks by calling `cancel`.
    pub fn new(cancel: impl Fn() + Send + Sync + 'static) -> Self {
        Canceller(Arc::new(cancel))
    }

    /// Asks.
    pub fn cancel(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canceller")
    }
}

/// A stream's state of any kind of stage.
pub type AnyState = Box<dyn Any + Send>;

/// A stage of any kind, as the runtime holds it.
pub trait AnyStage: Send {
    /// See [`Stage::open`].
    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<AnyState>, StageError>;
    /// See [`Stage::process`].
    fn process(&mut self, state: &mut AnyState, input: Input, out: &mut Output) -> Result<(), StageError>;
    /// See [`Stage::process_batch`].
    fn process_batch(&mut self, items: &mut [Item<'_, AnyState>]);
    /// See [`Stage::tick`].
    fn tick(&mut self, state: &mut AnyState, now: Timestamp, out: &mut Output) -> Result<(), StageError>;
    /// See [`Stage::flush`].
    fn flush(&mut self, state: &mut AnyState, out: &mut Output) -> Result<(), StageError>;
    /// See [`Stage::hold_back`].
    fn hold_back(&self, state: &AnyState) -> Option<Timestamp>;
    /// See [`Stage::canceller`].
    fn canceller(&self) -> Option<Canceller>;
}

/// A stage of any kind.
pub type StageObject = Box<dyn AnyStage>;

const OWN_STATE: &str = "a state is only handed back to the kind of stage that made it";

impl<T: Stage> AnyStage for T {
    fn open(&mut self, stream: &StreamInfo, inputs: &[Format]) -> Result<Opened<AnyState>, StageError> {
        let Opened { state, outputs } = Stage::open(self, stream, inputs)?;
        Ok(Opened { state: Box::new(state), outputs })
    }

    fn process(&mut self, state: &mut AnyState, input: Input, out: &mut Output) -> Result<(), StageError> {
        Stage::process(self, state.downcast_mut().expect(OWN_STATE), input, out)
    }

    fn process_batch(&mut self, items: &mut [Item<'_, AnyState>]) {
        let mut typed: Vec<Item<'_, T::State>> = items
            .iter_mut()
            .map(|item| Item {
                state: item.state.downcast_mut().expect(OWN_STATE),
                input: item.input.clone(),
                out: &mut *item.out,
                result: Ok(()),
            })
            .collect();
        Stage::process_batch(self, &mut typed);
        let results: Vec<_> = typed.into_iter().map(|item| item.result).collect();
        for (item, result) in items.iter_mut().zip(results) {
            item.result = result;
        }
    }

    fn tick(&mut self, state: &mut AnyState, now: Timestamp, out: &mut Output) -> Result<(), StageError> {
        Stage::tick(self, state.downcast_mut().expect(OWN_STATE), now, out)
    }

    fn flush(&mut self, state: &mut AnyState, out: &mut Output) -> Result<(), StageError> {
        Stage::flush(self, state.downcast_mut().expect(OWN_STATE), out)
    }

    fn hold_back(&self, state: &AnyState) -> Option<Timestamp> {
        Stage::hold_back(self, state.downcast_ref().expect(OWN_STATE))
    }

    fn canceller(&self) -> Option<Canceller> {
        Stage::canceller(self)
    }
}
