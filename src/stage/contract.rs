//! What a stage promises before it runs: its ports, where it runs, how it batches.

use std::time::Duration;

use crate::media::Format;
use crate::units::TimeSpan;

/// A port that a stage reads.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPort {
    /// Its name in `from: {name: …}`.
    pub name: String,
    /// What it takes.
    pub format: Format,
    /// Whether the stage can do without it.
    pub optional: bool,
}

/// A port that a stage writes.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputPort {
    /// Its name in `from: stage.name`.
    pub name: String,
    /// Whether it may be left unread without a fault.
    pub optional: bool,
}

/// Where a stage's calls run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// On the pool that moves the packets. Only for calls that take microseconds and never block.
    Inline,
    /// On a thread of the stage's own.
    #[default]
    Thread,
}

/// How many streams' packets go into one call, and how long a half-full batch waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Most packets in one call, each of another stream. 1: no batching.
    pub max: usize,
    /// How long the first packet of a batch waits for others, by a clock that runs; nothing waits under a virtual one.
    pub wait: TimeSpan,
}

impl BatchPolicy {
    /// Every packet in a call of its own.
    pub const ALONE: BatchPolicy = BatchPolicy { max: 1, wait: TimeSpan::ZERO };
}

/// What a stage promises before it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The ports it reads, in the order in which packets with equal starts are delivered.
    pub inputs: Vec<InputPort>,
    /// The ports it writes. The first is the one meant by a bare stage name.
    pub outputs: Vec<OutputPort>,
    /// Where its calls run.
    pub placement: Placement,
    /// How it batches.
    pub batch: BatchPolicy,
    /// How often [`tick`](super::Stage::tick) is called for each open stream, if at all.
    pub tick: Option<TimeSpan>,
    /// How long one call may take before it is given up. Held only for [`Placement::Thread`]. `None`: as long as the
    /// pipeline runs, for sinks whose readers may pause; after the captures have ended the runtime's own deadline holds.
    pub deadline: Option<Duration>,
    /// Whether newer revisions of a partial result replace older ones that still wait, under a clock that runs. The
    /// final one, recognised by its start, or one that is expected to be it, also breaks off a call on a partial one of another length, where the stage has
    /// a [`canceller`](super::Stage::canceller); what that call skips then is counted as late, not as a loss.
    pub supersede: bool,
    /// Whether recorded streams are read one after the other, in the order in which they began: what it does then depends
    /// on no chance. Those that are captured live are read as they come.
    pub in_order: bool,
    /// For sinks: the path it writes, so that check sees two stages, or many streams, behind one file.
    pub writes: Option<String>,
    /// Whether many streams may go to that one path, because what is written names its stream.
    pub shares: bool,
    /// For captures: whether it may bring more than one stream.
    pub many_streams: bool,
}

impl Contract {
    /// No ports, a thread of its own, no batching, no ticks, a deadline of 60 s for a call.
    pub fn new() -> Self {
        Contract {
            inputs: Vec::new(),
            outputs: Vec::new(),
            placement: Placement::Thread,
            batch: BatchPolicy::ALONE,
            tick: None,
            deadline: Some(Duration::from_secs(60)),
            supersede: false,
            in_order: false,
            writes: None,
            shares: false,
            many_streams: false,
        }
    }

    /// Adds a port to read.
    pub fn input(mut self, name: impl Into<String>, format: Format) -> Self {
        self.inputs.push(InputPort { name: name.into(), format, optional: false });
        self
    }

    /// Adds a port to read that the stage can do without.
    pub fn optional_input(mut self, name: impl Into<String>, format: Format) -> Self {
        self.inputs.push(InputPort { name: name.into(), format, optional: true });
        self
    }

    /// Adds a port to write.
    pub fn output(mut self, name: impl Into<String>) -> Self {
        self.outputs.push(OutputPort { name: name.into(), optional: false });
        self
    }

    /// Adds a port to write that may be left unread.
    pub fn optional_output(mut self, name: impl Into<String>) -> Self {
        self.outputs.push(OutputPort { name: name.into(), optional: true });
        self
    }

    /// Reads recorded streams one after the other.
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// Runs its calls on the pool that moves the packets.
    pub fn inline(mut self) -> Self {
        self.placement = Placement::Inline;
        self
    }

    /// Batches.
    pub fn batch(mut self, batch: BatchPolicy) -> Self {
        self.batch = batch;
        self
    }

    /// Asks for ticks.
    pub fn tick(mut self, every: TimeSpan) -> Self {
        self.tick = Some(every);
        self
    }

    /// The most time one call may take; `None` is for ever.
    pub fn deadline(mut self, deadline: Option<Duration>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Lets newer revisions of a partial result replace older ones that still wait.
    pub fn supersede(mut self) -> Self {
        self.supersede = true;
        self
    }

    /// Says that it may bring more than one stream.
    pub fn many_streams(mut self, many: bool) -> Self {
        self.many_streams = many;
        self
    }

    /// Says that many streams may go to the path that it writes.
    pub fn shared(mut self) -> Self {
        self.shares = true;
        self
    }

    /// Names the path that it writes.
    pub fn writes(mut self, path: impl Into<String>) -> Self {
        self.writes = Some(path.into());
        self
    }
}

impl Default for Contract {
    fn default() -> Self {
        Self::new()
    }
}

/// Formats that a stage cannot work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractFault {
    /// The input port at fault.
    pub port: String,
    /// What it takes, in words.
    pub expected: String,
    /// What it would get, in words.
    pub found: String,
    /// What to do: the stage to insert, the key to set.
    pub help: Option<String>,
}
