//! What a training starts with.

use crate::engine::error::EngineError;
use crate::engine::losses::Loss;
use crate::engine::optimizers::Optimizer;
use crate::engine::schedule::Schedule;

/// How a gradient is held in bounds before the optimizer sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Clip {
    /// Not at all.
    #[default]
    None,
    /// Scaled down to this Euclidean norm, over all weights together (Pascanu, Mikolov and Bengio, ICML 2013).
    Norm(f64),
    /// Each number held between this and its negative.
    Value(f64),
}

/// A penalty on the size of weights, added to the gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Penalty {
    /// λ of λ·Σ|w|.
    pub l1: f64,
    /// λ of λ/2·Σw²: weight decay.
    pub l2: f64,
}

/// Settings of the weights whose name matches a pattern.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) pattern: String,
    pub(super) rate: Option<f64>,
    pub(super) penalty: Option<Penalty>,
    pub(super) frozen: bool,
    /// Whether scalars are trained.
    pub(super) scalars: bool,
}

impl Group {
    /// No setting for the weights whose name matches `pattern`.
    fn of(pattern: &str) -> Self {
        Group { pattern: pattern.into(), rate: None, penalty: None, frozen: false, scalars: false }
    }
}

/// What a [`Training`](super::Training) starts with.
#[derive(Clone, Debug)]
pub struct TrainingOptions {
    pub(super) loss: Loss,
    pub(super) optimizer: Optimizer,
    pub(super) schedule: Schedule,
    pub(super) clip: Clip,
    pub(super) penalty: Penalty,
    pub(super) groups: Vec<Group>,
    pub(super) accumulate: u64,
    pub(super) threads: usize,
    pub(super) seed: u64,
}

impl TrainingOptions {
    /// This loss and optimizer; no schedule, clipping or penalty; one thread; seed 0.
    pub fn new(loss: Loss, optimizer: Optimizer) -> Self {
        TrainingOptions {
            loss,
            optimizer,
            schedule: Schedule::Constant,
            clip: Clip::None,
            penalty: Penalty::default(),
            groups: Vec::new(),
            accumulate: 1,
            threads: 1,
            seed: 0,
        }
    }

    /// Changes the learning rate from step to step.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Holds gradients in bounds.
    pub fn clip(mut self, clip: Clip) -> Self {
        self.clip = clip;
        self
    }

    /// Adds a penalty to all weights but those of rank 1 or 0 (biases, scales).
    pub fn penalty(mut self, penalty: Penalty) -> Self {
        self.penalty = penalty;
        self
    }

    /// Adds a penalty to the weights whose name matches `pattern` (`*` is anything), of any rank.
    pub fn penalty_for(mut self, pattern: &str, penalty: Penalty) -> Self {
        self.groups.push(Group { penalty: Some(penalty), ..Group::of(pattern) });
        self
    }

    /// Multiplies the learning rate of the weights whose name matches `pattern`.
    pub fn rate_for(mut self, pattern: &str, factor: f64) -> Self {
        self.groups.push(Group { rate: Some(factor), ..Group::of(pattern) });
        self
    }

    /// Leaves the weights whose name matches `pattern` as they are, running statistics as well. A normalization both of
    /// whose running statistics are frozen normalises by them, as it does in inference.
    pub fn freeze(mut self, pattern: &str) -> Self {
        self.groups.push(Group { frozen: true, ..Group::of(pattern) });
        self
    }

    /// Trains the scalars (weights of rank 0) whose name matches `pattern`. All others stay as they are: what a file
    /// stores as a scalar is mostly no parameter but a constant of a formula, such as an exponent or an epsilon.
    pub fn train_scalars(mut self, pattern: &str) -> Self {
        self.groups.push(Group { scalars: true, ..Group::of(pattern) });
        self
    }

    /// Adds up the gradients of `steps` calls of [`Training::step`](super::Training::step) (their mean counts) before the
    /// weights change. Running statistics take note of every call.
    pub fn accumulate(mut self, steps: u64) -> Self {
        self.accumulate = steps;
        self
    }

    /// Uses `threads` threads (0: one for each core).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Where the random numbers of dropout begin.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

impl TrainingOptions {
    pub(super) fn check(&self) -> Result<(), EngineError> {
        let wrong = |what, expected: &str, found: f64| {
            Err(EngineError::Setting { what, expected: expected.into(), found: found.to_string() })
        };
        if self.accumulate == 0 {
            return wrong("accumulate", "at least 1 step", 0.0);
        }
        if let Clip::Norm(bound) | Clip::Value(bound) = self.clip
            && !(bound.is_finite() && bound > 0.0)
        {
            return wrong("clip", "a number above 0", bound);
        }
        let penalties = self.groups.iter().filter_map(|group| group.penalty).chain([self.penalty]);
        for size in penalties.flat_map(|penalty| [penalty.l1, penalty.l2]) {
            if !(size.is_finite() && size >= 0.0) {
                return wrong("penalty", "a number that is not negative", size);
            }
        }
        for rate in self.groups.iter().filter_map(|group| group.rate) {
            if !(rate.is_finite() && rate >= 0.0) {
                return wrong("rate_for", "a number that is not negative", rate);
            }
        }
        Ok(())
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
