//! What a judgement says, and what it is based on.

use serde::{Deserialize, Serialize};

use crate::learn::guard::GuardFigures;
use crate::onnx::Model;

/// What a judgement is based on. Measures are those of [`Measured`](crate::learn::Measured): less is better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Figures {
    /// The version that serves.
    pub serving_version: u64,
    /// Steps that the shadow has learned since it was last the serving version.
    pub steps: u64,
    /// Samples that both were compared on.
    pub samples: usize,
    /// The mean measure of the serving version on them.
    pub serving: f64,
    /// That of the other: the shadow, or the version to go back to.
    pub other: f64,
    /// The probability of such a gain by chance; compared with `alpha`.
    pub p_value: f64,
    /// The error probability that this look may spend.
    pub alpha: f64,
    /// What the guard saw, where there is one and it was asked.
    pub guard: Option<GuardFigures>,
    /// The live measure before the last promotion and since, where a fall was looked for.
    pub live: Option<LiveFigures>,
}

/// The live measure before and after a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveFigures {
    /// The mean measure of the version before, on its last answers.
    pub before: f64,
    /// That of the serving version, on its own.
    pub after: f64,
    /// Answers before and since.
    pub samples: (u64, u64),
    /// The probability of such a rise by chance.
    pub p_value: f64,
}

/// A version that may serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The model, ready to be saved and to be run.
    pub model: Model,
    /// The names of its classes, where they are known.
    pub classes: Vec<String>,
    /// Why it may.
    pub figures: Figures,
}

/// Why the serving version stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was learned since the last look.
    NothingNew,
    /// Fewer held-out samples than `promote.min_samples`.
    FewSamples,
    /// The shadow is not better by `promote.min_gain`, or that may be chance.
    NoGain,
    /// The shadow is better on the stream, and too much worse on the reference set.
    Guarded,
    /// The shadow's weights or answers were not finite: it starts again from the serving version.
    Diverged,
    /// A model could not be run.
    Failed(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is not time to look, or a candidate waits to be adopted.
    Wait,
    /// The serving version stays.
    Keep {
        /// Why.
        reason: Reason,
        /// By what.
        figures: Figures,
    },
    /// The candidate is better: adopt it and say so by [`Learner::adopted`](super::Learner::adopted), or [`Learner::not_adopted`](super::Learner::not_adopted).
    Promote(Box<Candidate>),
    /// The serving version is worse than the one before: go back and say so by [`Learner::rolled_back`](super::Learner::rolled_back).
    RollBack {
        /// The version to go back to.
        to: u64,
        /// Why.
        figures: Figures,
    },
}

/// What became of samples and steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearnCounts {
    /// Samples offered.
    pub offered: u64,
    /// Of them kept to learn from.
    pub kept: u64,
    /// Held out.
    pub held_out: u64,
    /// Passed over by chance, or as too large for the buffer.
    pub passed_over: u64,
    /// Refused: not finite, of another type or shape than the model takes or gives.
    pub malformed: u64,
    /// Refused: classes that the model does not have, and that may not join it.
    pub unknown_class: u64,
    /// Classes that joined.
    pub new_classes: u64,
    /// Minibatches learned.
    pub steps: u64,
    /// Steps that were owed and given up, as more samples came than there was time for.
    pub steps_given_up: u64,
    /// Times that the shadow diverged and started again.
    pub diverged: u64,
    /// Times that it started again after `promote.patience`.
    pub restarted: u64,
    /// Steps and looks that failed for another reason.
    pub failed: u64,
    /// Looks at shadow and serving version.
    pub considered: u64,
    /// Candidates that the guard refused.
    pub guarded: u64,
    /// Versions adopted.
    pub promoted: u64,
    /// Versions taken back.
    pub rolled_back: u64,
    /// Live answers measured.
    pub live: u64,
    /// Live answers of a version that does not serve any more, or that could not be measured.
    pub live_stale: u64,
}
