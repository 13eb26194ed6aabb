//! Connectionist temporal classification: `−ln p(target | logits)`, summed over all alignments, divided by the length of
//! the target, and averaged over the batch.
//!
//! - Logits: f32 or f64 `[N, T, C]`; their softmax is taken here.
//! - Targets: i64 `[N, L]`, each row padded at its end with negative numbers.
//! - Lengths (optional third input): i64 `[N]`, how many of the `T` frames of each row count; all, when left out.
//! - `blank_index`: the class that stands for nothing, 0 unless given.
//!
//! With `y` the softmax and `αβ` the forward and backward variables of the labels with blanks between them,
//! `∂/∂logit[t, k] = (y[t, k] − Σ_{s: l[s] = k} α[t, s]·β[t, s] / p) / (N·|l|)`. All sums are formed in the logarithmic
//! domain in f64, so thousands of frames do not underflow.
//!
//! Source: Graves, Fernández, Gomez and Schmidhuber, ICML 2006, equations 6 to 16.

use std::marker::PhantomData;

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::engine::ops::DOMAIN;
use crate::onnx::AttributeValue;
use crate::tensor::DType;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "Ctc", since: 1, parse };

/// The most states of one row, frames times labels with blanks between them: a gigabyte of them.
const MAX_STATES: usize = 1 << 27;

#[derive(Clone, Debug)]
struct Ctc {
    blank: i64,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let blank = node.int("blank_index")?.unwrap_or(0);
    if blank < 0 {
        let expected = "a class index".into();
        return Err(OpError::Attribute { name: "blank_index".into(), expected, found: blank.to_string() });
    }
    Ok(Box::new(Ctc { blank }))
}

impl Op for Ctc {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.blank == 0 { Vec::new() } else { vec![("blank_index", AttributeValue::Int(self.blank))] }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let logits = inputs.float(0)?;
        inputs.same_dtype(1, DType::I64)?;
        inputs.same_dtype(2, DType::I64)?;
        let (dims, targets) = (inputs.dims(0, 3..=3)?, inputs.dims(1, 2..=2)?);
        if let (Some(dims), Some(targets)) = (dims, targets)
            && !dims[0].accepts(&targets[0])
        {
            let expected = format!("{} rows, as the logits have", dims[0]);
            return Err(OpError::Shape { input: 1, expected, found: inputs.required(1)?.shape.clone() });
        }
        if let (Some(dims), Some(lengths)) = (dims, inputs.optional(2)) {
            let fits = lengths.dims().is_none_or(|found| found.len() == 1 && found[0].accepts(&dims[0]));
            if !fits {
                let expected = format!("shape [{}]", dims[0]);
                return Err(OpError::Shape { input: 2, expected, found: lengths.shape.clone() });
            }
        }
        if let Some(classes) = dims.and_then(|dims| dims[2].known())
            && usize::try_from(self.blank).is_ok_and(|blank| blank >= classes)
        {
            let expected = format!("a class index below {classes}");
            return Err(OpError::Attribute { name: "blank_index".into(), expected, found: self.blank.to_string() });
        }
        Ok(vec![ValueType::known(logits.dtype, &[])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (logits, targets) = (signature.input(0)?, signature.input(1)?);
        let (&[rows, frames, classes], &[_, longest]) = (logits.shape.as_slice(), targets.shape.as_slice()) else {
            return Err(OpError::Plan { what: "logits or targets of another rank".into() });
        };
        // Without a row there is nothing to keep.
        let (kept, width) = if rows == 0 { (0, 0) } else { (frames, longest.saturating_mul(2).saturating_add(1)) };
        let states = kept.checked_mul(width).filter(|states| *states <= MAX_STATES);
        let states = states.ok_or_else(|| OpError::TooLarge { shape: format!("[{frames}, 2·{longest} + 1]") })?;
        let blank = usize::try_from(self.blank).unwrap_or(usize::MAX);
        with_float!(logits.dtype, T => Box::new(CtcKernel::<T> {
            blank,
            rows,
            frames,
            classes,
            longest,
            log_probabilities: vec![0.0; kept * classes],
            alpha: vec![0.0; states],
            beta: vec![0.0; 2 * width],
            gradient: vec![0.0; rows * frames * classes],
            kind: PhantomData,
        }))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct CtcKernel<T> {
    blank: usize,
    rows: usize,
    frames: usize,
    classes: usize,
    longest: usize,
    /// Of one row, `[T, C]`.
    log_probabilities: Vec<f64>,
    /// ln α of one row, `[T, 2L + 1]`.
    alpha: Vec<f64>,
    /// ln β of two neighbouring frames.
    beta: Vec<f64>,
    /// Of the last forward pass, for a loss gradient of 1.
    gradient: Vec<f64>,
    kind: PhantomData<T>,
}

/// `ln(e^a + e^b)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = if a > b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

impl<T: Float> CtcKernel<T> {
    /// The loss of one row, before it is divided; its gradient goes to `self.gradient`.
    fn row(&mut self, row: usize, logits: &[T], target: &[i64], frames: usize, scale: f64) -> Result<f64, OpError> {
        let (classes, blank) = (self.classes, self.blank);
        let wrong = |input, expected: String, found: String| Err(OpError::Value { input, expected, found });
        if let Some(bad) =
            target.iter().find(|label| usize::try_from(**label).map_or(true, |l| l >= classes || l == blank))
        {
            return wrong(
                1,
                format!("labels below {classes} other than the blank {blank}"),
                format!("{bad} in row {row}"),
            );
        }
        let repeats = target.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if target.len() + repeats > frames {
            let expected = format!("at most {frames} labels, repeated ones counted twice, for {frames} frames");
            return wrong(1, expected, format!("{} in row {row}", target.len() + repeats));
        }
        for frame in 0..frames {
            let logits = &logits[frame * classes..(frame + 1) * classes];
            let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, logit| largest.max(logit.wide()));
            let partition = largest + logits.iter().map(|logit| (logit.wide() - largest).exp()).sum::<f64>().ln();
            let to = &mut self.log_probabilities[frame * classes..(frame + 1) * classes];
            to.iter_mut().zip(logits).for_each(|(to, logit)| *to = logit.wide() - partition);
        }
        // State s is a blank when s is even, else label s / 2.
        let states = 2 * target.len() + 1;
        let class = |state: usize| if state.is_multiple_of(2) { blank } else { target[state / 2] as usize };
        // A label may follow the one before at once when they differ.
        let skips = |state: usize| state >= 3 && state % 2 == 1 && target[state / 2] != target[state / 2 - 1];
        let width = 2 * self.longest + 1;
        let none = f64::NEG_INFINITY;
        for frame in 0..frames {
            let (before, now) = self.alpha.split_at_mut(frame * width);
            let before = before.get(before.len().saturating_sub(width)..).unwrap_or(&[]);
            for (state, alpha) in now[..states].iter_mut().enumerate() {
                let reach = if frame == 0 {
                    if state < 2 { 0.0 } else { none }
                } else {
                    let mut reach = before[state];
                    if state >= 1 {
                        reach = log_add(reach, before[state - 1]);
                    }
                    if skips(state) {
                        reach = log_add(reach, before[state - 2]);
                    }
                    reach
                };
                *alpha = reach + self.log_probabilities[frame * classes + class(state)];
            }
        }
        if frames == 0 {
            return Ok(0.0);
        }
        let last = &self.alpha[(frames - 1) * width..];
        let total = if states > 1 { log_add(last[states - 1], last[states - 2]) } else { last[0] };
        let start = row * self.frames * classes;
        for frame in (0..frames).rev() {
            // β excludes the frame's own probability, so that α·β counts it once.
            let (first, second) = self.beta.split_at_mut(width);
            let (now, after) = if frame % 2 == 0 { (first, second) } else { (second, first) };
            for (state, beta) in now[..states].iter_mut().enumerate() {
                *beta = if frame == frames - 1 {
                    if state + 2 >= states { 0.0 } else { none }
                } else {
                    let next = (frame + 1) * classes;
                    let then = |state: usize| after[state] + self.log_probabilities[next + class(state)];
                    let mut reach = then(state);
                    if state + 1 < states {
                        reach = log_add(reach, then(state + 1));
                    }
                    if state + 2 < states && skips(state + 2) {
                        reach = log_add(reach, then(state + 2));
                    }
                    reach
                };
            }
            let gradient = &mut self.gradient[start + frame * classes..start + (frame + 1) * classes];
            let log_probabilities = &self.log_probabilities[frame * classes..(frame + 1) * classes];
            gradient.iter_mut().zip(log_probabilities).for_each(|(to, log)| *to = scale * log.exp());
            for state in 0..states {
                let share = self.alpha[frame * width + state] + now[state] - total;
                gradient[class(state)] -= scale * share.exp();
            }
        }
        Ok(-total)
    }
}

impl<T: Float> Kernel for CtcKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (logits, targets) = (io.input::<T>(0)?, io.input::<i64>(1)?);
        let lengths = io.optional_input::<i64>(2)?;
        self.gradient.fill(0.0);
        let mut sum = 0.0;
        for row in 0..self.rows {
            let frames = match lengths.map(|lengths| lengths[row]) {
                None => self.frames,
                Some(length) => {
                    usize::try_from(length).ok().filter(|length| *length <= self.frames).ok_or_else(|| {
                        let expected = format!("lengths up to {}", self.frames);
                        OpError::Value { input: 2, expected, found: format!("{length} in row {row}") }
                    })?
                }
            };
            let target = &targets[row * self.longest..(row + 1) * self.longest];
            let target = target.split(|label| *label < 0).next().unwrap_or(&[]);
            let divisor = (self.rows * target.len().max(1)) as f64;
            let start = row * self.frames * self.classes;
            let logits = &logits[start..start + self.frames * self.classes];
            sum += self.row(row, logits, target, frames, 1.0 / divisor)? / divisor;
        }
        io.output::<T>(0)?.fill(T::of(sum));
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let d_loss = io.d_output::<T>(0)?.first().copied().unwrap_or(T::zero());
        if let Some(d_logits) = io.d_input::<T>(0)? {
            for (to, gradient) in d_logits.iter_mut().zip(&self.gradient) {
                *to = d_loss * T::of(*gradient);
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.log_probabilities) + bytes(&self.alpha) + bytes(&self.beta) + bytes(&self.gradient)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};

    #[test]
    fn cases() {
        let third = (1.0f64 / 3.0).ln();
        check_in(
            DOMAIN,
            "Ctc",
            &[
                // One frame, one label: its probability.
                Case::new().input(&[1, 1, 3], &[0.0; 3]).ints(&[1, 1], &[2]).output(&[], &[-third]),
                // Two frames: "a", "-a" and "a-" of nine equal paths.
                Case::new().input(&[1, 2, 3], &[0.0; 6]).ints(&[1, 1], &[1]).output(&[], &[-third]),
                // A label twice needs a blank between: one path of 27.
                Case::new().input(&[1, 3, 3], &[0.0; 9]).ints(&[1, 2], &[1, 1]).output(&[], &[-3.0 * third / 2.0]),
                // No label: all blanks.
                Case::new().input(&[1, 2, 3], &[0.0; 6]).ints(&[1, 1], &[-1]).output(&[], &[-2.0 * third]),
                Case::new().random_input(&[2, 5, 4]).ints(&[2, 3], &[1, 2, 2, 3, -1, -1]),
                Case::new().random_input(&[2, 5, 4]).ints(&[2, 2], &[1, 2, 0, -1]).int("blank_index", 3),
                Case::new().random_input(&[2, 5, 4]).ints(&[2, 2], &[1, 2, 3, -1]).ints(&[2], &[4, 2]),
                Case::new().random_input(&[0, 5, 4]).ints(&[0, 2], &[]).output(&[], &[0.0]),
                Case::new().random_input(&[0, 1 << 20, 1 << 20]).ints(&[0, 2], &[]).error("which is more than the"),
                Case::new().random_input(&[0, 1 << 15, 2]).ints(&[0, 1 << 20], &[]).output(&[], &[0.0]),
                Case::new().random_input(&[1, 1 << 14, 2]).ints(&[1, 1 << 13], &[1; 1 << 13]).error("too large"),
                Case::new().random_input(&[1, 2, 4]).ints(&[1, 2], &[1, 1]).error("repeated ones counted twice"),
                Case::new().random_input(&[1, 2, 4]).ints(&[1, 1], &[4]).error("labels below 4"),
                Case::new().random_input(&[1, 2, 4]).ints(&[1, 1], &[0]).error("other than the blank 0"),
                Case::new().random_input(&[1, 2, 4]).ints(&[2, 1], &[1, 1]).error("1 rows"),
                Case::new().random_input(&[1, 2, 4]).ints(&[1, 1], &[1]).ints(&[1], &[3]).error("lengths up to 2"),
                Case::new().random_input(&[1, 2, 4]).ints(&[1, 1], &[1]).int("blank_index", 4).error("below 4"),
            ],
        );
    }

    #[test]
    fn thousands_of_frames_do_not_underflow() {
        let frames = 5000;
        let labels: Vec<i64> = (0..500).map(|i| 1 + i % 3).collect();
        let logits: Vec<f64> = (0..frames * 4).map(|i| (i as f64 * 0.37).sin() * 3.0).collect();
        check_in(
            DOMAIN,
            "Ctc",
            &[
                Case::new().input(&[1, frames, 4], &logits).ints(&[1, 500], &labels).without_gradient(),
                // All mass on one alignment: nothing is lost.
                Case::new()
                    .input(&[1, frames, 2], &(0..frames).flat_map(|_| [50.0, -50.0]).collect::<Vec<f64>>())
                    .ints(&[1, 1], &[-1])
                    .output(&[], &[0.0])
                    .without_gradient(),
            ],
        );
    }
}
