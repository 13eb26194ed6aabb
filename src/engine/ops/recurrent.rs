//! What LSTM, GRU and RNN share: attributes, shapes, both directions, sequences of unequal length, and the passes
//! through time. An operator adds a [`Unit`]: the arithmetic of one time step.
//!
//! With `U = Xₜ·Wᵀ + b` (one product for all time steps) a unit computes `Hₜ` from `Uₜ`, `Hₜ₋₁` and `R`. Backward goes
//! through time from the last step to the first and keeps the gradient of every pre-activation, so that those of `X`, `W`
//! and `R` are one product each over all time steps.
//!
//! Where a sequence has ended (`sequence_lens`), `Y` is zero, the state stays as it is, and no gradient arises.
//! Source: Werbos, "Backpropagation through time: what it does and how to do it", Proc. IEEE 78 (1990).

use super::activation::{Activation, Function};
use crate::engine::attributes::NodeReader;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::matrix::{View, ViewMut, multiply};
use crate::engine::kernels::recurrent_simd::Lanes;
use crate::engine::op::{Inputs, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

/// The most elements that a value may have.
const MAX_ELEMENTS: usize = 1 << 34;

/// Which way through time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Reverse,
    Bidirectional,
}

/// The attributes that all three operators have.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    direction: Direction,
    hidden_size: Option<usize>,
    /// Those of one direction after those of the other.
    activations: Vec<Activation>,
    clip: Option<f32>,
    /// `layout` 1: the batch is the first dimension, not the time.
    batch_first: bool,
}

impl Settings {
    /// Reads them; `defaults` are the activations of one direction.
    pub fn read(node: &NodeReader<'_>, defaults: &[Function]) -> Result<Self, OpError> {
        let direction = match node.string("direction")? {
            None | Some("forward") => Direction::Forward,
            Some("reverse") => Direction::Reverse,
            Some("bidirectional") => Direction::Bidirectional,
            Some(found) => {
                return Err(OpError::Attribute {
                    name: "direction".into(),
                    expected: "forward, reverse or bidirectional".into(),
                    found: format!("`{found}`"),
                });
            }
        };
        let out_of_range = |name: &str, expected: &str, found: String| OpError::Attribute {
            name: name.into(),
            expected: expected.into(),
            found,
        };
        let hidden_size = match node.int("hidden_size")? {
            None => None,
            Some(size) => match usize::try_from(size) {
                Ok(size) if size > 0 => Some(size),
                _ => return Err(out_of_range("hidden_size", "a size above 0", size.to_string())),
            },
        };
        let clip = match node.float("clip")? {
            Some(clip) if clip.is_nan() || clip < 0.0 => {
                return Err(out_of_range("clip", "a number that is not negative", clip.to_string()));
            }
            clip => clip,
        };
        let directions = if direction == Direction::Bidirectional { 2 } else { 1 };
        let activations = Activation::read(node, defaults, directions)?;
        Ok(Settings { direction, hidden_size, activations, clip, batch_first: node.flag("layout", false)? })
    }

    /// The attributes that [`read`](Settings::read) makes this of.
    pub fn attributes(&self, defaults: &[Function]) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Activation::attributes(&self.activations, defaults);
        let direction: Option<&str> = match self.direction {
            Direction::Forward => None,
            Direction::Reverse => Some("reverse"),
            Direction::Bidirectional => Some("bidirectional"),
        };
        attributes.extend(direction.map(|name| ("direction", AttributeValue::String(name.into()))));
        attributes.extend(self.hidden_size.map(|size| ("hidden_size", AttributeValue::Int(size as i64))));
        attributes.extend(self.clip.map(|clip| ("clip", AttributeValue::Float(clip))));
        attributes.extend(self.batch_first.then_some(("layout", AttributeValue::Int(1))));
        attributes
    }

    fn directions(&self) -> usize {
        if self.direction == Direction::Bidirectional { 2 } else { 1 }
    }

    /// The types of `Y`, `Y_h` and the last state (of the cell, where there is one).
    pub fn infer(&self, inputs: &Inputs<'_>, gates: usize) -> Result<Vec<ValueType>, OpError> {
        let dtype = inputs.float(0)?.dtype;
        for index in [1, 2, 3, 5, 6, 7] {
            inputs.same_dtype(index, dtype)?;
        }
        inputs.same_dtype(4, DType::I32)?;
        let dims = |index: usize| -> Result<[Dim; 3], OpError> {
            Ok(match inputs.dims(index, 3..=3)? {
                Some([a, b, c]) => [a.clone(), b.clone(), c.clone()],
                _ => [Dim::Any, Dim::Any, Dim::Any],
            })
        };
        let [time, batch, width] = dims(0)?;
        let (time, batch) = if self.batch_first { (batch, time) } else { (time, batch) };
        let [_, _, hidden] = dims(2)?;
        let hidden = match (hidden.known(), self.hidden_size) {
            (None, Some(size)) => Dim::Known(size),
            (Some(found), Some(size)) if found != size => {
                let expected = format!("{size} columns (hidden_size)");
                return Err(OpError::Shape { input: 2, expected, found: inputs.required(2)?.shape.clone() });
            }
            _ => hidden,
        };
        let times = |factor: usize| match hidden.known().map(|size| size.checked_mul(factor)) {
            Some(Some(size)) => Dim::Known(size),
            _ => Dim::Any,
        };
        let count = Dim::Known(self.directions());
        let state = match self.batch_first {
            false => vec![count.clone(), batch.clone(), hidden.clone()],
            true => vec![batch.clone(), count.clone(), hidden.clone()],
        };
        for (index, expected) in [
            (1, vec![count.clone(), times(gates), width]),
            (2, vec![count.clone(), times(gates), hidden.clone()]),
            (3, vec![count.clone(), times(2 * gates)]),
            (4, vec![batch.clone()]),
            (5, state.clone()),
            (6, state.clone()),
            (7, vec![count.clone(), times(3)]),
        ] {
            let expected = SymbolicShape::Ranked(expected);
            if let Some(input) = inputs.optional(index)
                && expected.accepts(&input.shape).is_err()
            {
                return Err(OpError::Shape {
                    input: index,
                    expected: expected.to_string(),
                    found: input.shape.clone(),
                });
            }
        }
        let y = match self.batch_first {
            false => vec![time, count, batch, hidden],
            true => vec![batch, time, count, hidden],
        };
        let state = ValueType::ranked(dtype, state);
        Ok(vec![ValueType::ranked(dtype, y), state.clone(), state])
    }
}

/// The sizes of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Time steps.
    pub time: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Elements of an input.
    pub width: usize,
    /// Elements of a state.
    pub hidden: usize,
}

impl Sizes {
    /// Elements of the states of one time step.
    pub fn state(&self) -> usize {
        self.batch * self.hidden
    }

    /// Rows of all time steps together.
    pub fn rows(&self) -> usize {
        self.time * self.batch
    }
}

/// What a unit is made for.
#[derive(Clone, Debug)]
pub struct Making<'a> {
    /// Its sizes.
    pub sizes: Sizes,
    /// The activations of its direction.
    pub activations: &'a [Activation],
    /// The bound of what goes into an activation.
    pub clip: Option<f32>,
    /// Whether there will be a backward pass.
    pub training: bool,
}

impl Making<'_> {
    /// Memory for the derivatives of activations, where those do not follow from their values.
    pub fn slopes<T: Lanes>(&self, len: usize) -> Vec<T> {
        let by_value = self.clip.is_none() && self.activations.iter().all(Activation::is_known_by_value);
        if self.training && !by_value { vec![T::zero(); len] } else { Vec::new() }
    }

    /// Memory that only a backward pass needs.
    pub fn backward<T: Lanes>(&self, len: usize) -> Vec<T> {
        if self.training { vec![T::zero(); len] } else { Vec::new() }
    }
}

/// What the unit of one direction is given.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a, T> {
    /// `gates·hidden × hidden`.
    pub r: &'a [T],
    /// The biases of `W` and of `R`.
    pub bias: Option<(&'a [T], &'a [T])>,
    /// The weights of peepholes.
    pub p: Option<&'a [T]>,
}

impl<T: Lanes> Given<'_, T> {
    /// Writes the sum of both biases to `to`.
    pub fn sum_of_biases(&self, to: &mut [T]) {
        match self.bias {
            Some((w, r)) => to.iter_mut().zip(w).zip(r).for_each(|((to, w), r)| *to = *w + *r),
            None => to.fill(T::zero()),
        }
    }
}

/// Where in time a step is. States are kept in `time + 1` slots; a step leads from one to the one beside it.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// The time step.
    pub time: usize,
    /// The slot of the state before.
    pub before: usize,
    /// The slot of the state after.
    pub after: usize,
}

/// Slot `before` to be read and slot `after` to be written.
pub fn slots<T>(all: &mut [T], at: At, len: usize) -> (&[T], &mut [T]) {
    if at.before < at.after {
        let (before, after) = all.split_at_mut(at.after * len);
        (&before[at.before * len..][..len], &mut after[..len])
    } else {
        let (after, before) = all.split_at_mut(at.before * len);
        (&before[..len], &mut after[at.after * len..][..len])
    }
}

/// The arithmetic of one time step, and what it has to remember for the backward pass.
pub trait Unit<T: Lanes>: Send + Sized {
    /// Gates: how many times `hidden` rows `W` has.
    const GATES: usize;

    /// Options of the operator that its siblings lack.
    type Options: Clone + Send + 'static;

    /// A unit, with all the memory that it will need.
    fn new(options: &Self::Options, making: &Making<'_>) -> Self;

    /// Bytes of that memory which grow with the number of steps.
    fn owned_bytes(&self) -> usize;

    /// Before the first step: takes the weights, and writes what is added to every `X·Wᵀ`.
    fn begin(&mut self, given: Given<'_, T>, bias: &mut [T]);

    /// The state beside the output, where there is one: `time + 1` slots.
    fn state(&mut self) -> Option<&mut [T]> {
        None
    }

    /// From pre-activations `gates` (`batch × GATES·hidden`, without their recurrent part) and `h_before` makes `h`;
    /// leaves in `gates` what [`backward`](Unit::backward) reads.
    fn forward(&mut self, at: At, gates: &mut [T], h_before: &[T], h: &mut [T]);

    /// Before the first step of the backward pass.
    fn begin_backward(&mut self, r: &[T]);

    /// The gradient of the state beside the output, where there is one.
    fn d_state(&mut self) -> Option<&mut [T]> {
        None
    }

    /// From the gradient of `h` makes that of all pre-activations and of `h_before`, overwriting both.
    fn backward(&mut self, at: At, gates: &[T], h_before: &[T], dh: &[T], d_gates: &mut [T], dh_before: &mut [T]);

    /// `dR`, from the gradients of all pre-activations and the states before each step.
    fn d_recurrent(&self, rows: usize, hidden: usize, d_gates: &[T], h_before: &[T], dr: &mut [T], threads: usize) {
        let width = Self::GATES * hidden;
        weight_gradient(rows, (d_gates, width, width), (h_before, hidden, hidden), dr, threads);
    }

    /// `dB`: the biases of `W`, then those of `R`.
    fn d_bias(&self, hidden: usize, d_gates: &[T], db: &mut [T]) {
        let (w, r) = db.split_at_mut(Self::GATES * hidden);
        column_sums(d_gates, w);
        r.copy_from_slice(w);
    }

    /// `dP`.
    fn d_peepholes(&self, states_before: usize, states_after: usize, d_gates: &[T], dp: &mut [T]) {
        let _ = (states_before, states_after, d_gates);
        dp.fill(T::zero());
    }
}

/// `to = gᵀ·x`, for `rows` rows of `g` and `x`, each given as (elements, columns, distance between rows).
pub fn weight_gradient<T: Lanes>(
    rows: usize,
    (g, outputs, g_stride): (&[T], usize, usize),
    (x, inputs, x_stride): (&[T], usize, usize),
    to: &mut [T],
    threads: usize,
) {
    let (g, x) = (View::strided(g, 1, g_stride), View::strided(x, x_stride, 1));
    multiply(outputs, inputs, rows, ViewMut::rows(to, inputs), g, x, false, threads);
}

/// The sum of all rows of a matrix with `to.len()` columns.
pub fn column_sums<T: Lanes>(matrix: &[T], to: &mut [T]) {
    to.fill(T::zero());
    if to.is_empty() {
        return;
    }
    for row in matrix.chunks_exact(to.len()) {
        to.iter_mut().zip(row).for_each(|(to, value)| *to += *value);
    }
}

/// One direction through time.
struct Pass<T, U> {
    unit: U,
    reversed: bool,
    /// For each time and sequence what the unit left of its pre-activations.
    gates: Vec<T>,
    /// `time + 1` slots.
    h: Vec<T>,
    bias: Vec<T>,
    d_gates: Vec<T>,
    dh: Vec<T>,
    dh_before: Vec<T>,
    /// Gradients of the states of sequences that have ended.
    held: Vec<T>,
}

impl<T: Lanes, U: Unit<T>> Pass<T, U> {
    fn at(&self, step: usize, time: usize) -> At {
        match self.reversed {
            false => At { time: step, before: step, after: step + 1 },
            true => At { time: time - 1 - step, before: time - step, after: time - 1 - step },
        }
    }

    /// The slots in which the first state and the last lie.
    fn ends(&self, time: usize) -> (usize, usize) {
        if self.reversed { (time, 0) } else { (0, time) }
    }

    fn forward(&mut self, sizes: Sizes, x: &[T], w: &[T], given: Given<'_, T>, lens: &[usize], threads: usize) {
        let (width, state) = (U::GATES * sizes.hidden, sizes.state());
        self.unit.begin(given, &mut self.bias);
        if width > 0 {
            self.gates.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(&self.bias));
        }
        let (to, x) = (ViewMut::rows(&mut self.gates, width), View::rows(x, sizes.width));
        multiply(sizes.rows(), width, sizes.width, to, x, View::transposed(w, sizes.width), true, threads);
        for step in 0..sizes.time {
            let at = self.at(step, sizes.time);
            let gates = &mut self.gates[at.time * sizes.batch * width..][..sizes.batch * width];
            let (h_before, h) = slots(&mut self.h, at, state);
            self.unit.forward(at, gates, h_before, h);
            for row in ended(lens, at.time) {
                let row = row * sizes.hidden..(row + 1) * sizes.hidden;
                h[row.clone()].copy_from_slice(&h_before[row.clone()]);
                if let Some(all) = self.unit.state() {
                    let (before, after) = slots(all, at, state);
                    after[row.clone()].copy_from_slice(&before[row]);
                }
            }
        }
    }

    /// Through time from the last step to the first; `dh` holds the gradient of the last state.
    fn backward(
        &mut self,
        sizes: Sizes,
        dy: impl Fn(usize, usize) -> Option<usize>,
        dys: &[T],
        r: &[T],
        lens: &[usize],
    ) {
        let (width, hidden, state) = (U::GATES * sizes.hidden, sizes.hidden, sizes.state());
        self.unit.begin_backward(r);
        for step in (0..sizes.time).rev() {
            let at = self.at(step, sizes.time);
            for (row, dh) in self.dh.chunks_exact_mut(hidden.max(1)).enumerate() {
                if let Some(from) = dy(at.time, row).filter(|_| lens.get(row).is_none_or(|len| at.time < *len)) {
                    dh.iter_mut().zip(&dys[from..from + hidden]).for_each(|(dh, dy)| *dh += *dy);
                }
            }
            for row in ended(lens, at.time) {
                let row = row * hidden..(row + 1) * hidden;
                self.held[row.clone()].copy_from_slice(&self.dh[row.clone()]);
                self.dh[row.clone()].fill(T::zero());
                if let Some(d_state) = self.unit.d_state() {
                    self.held[state..][row.clone()].copy_from_slice(&d_state[row.clone()]);
                    d_state[row].fill(T::zero());
                }
            }
            let rows = at.time * sizes.batch * width..(at.time + 1) * sizes.batch * width;
            let h_before = &self.h[at.before * state..][..state];
            let d_gates = &mut self.d_gates[rows.clone()];
            self.unit.backward(at, &self.gates[rows], h_before, &self.dh, d_gates, &mut self.dh_before);
            std::mem::swap(&mut self.dh, &mut self.dh_before);
            for row in ended(lens, at.time) {
                d_gates[row * width..(row + 1) * width].fill(T::zero());
                let row = row * hidden..(row + 1) * hidden;
                self.dh[row.clone()].copy_from_slice(&self.held[row.clone()]);
                if let Some(d_state) = self.unit.d_state() {
                    d_state[row.clone()].copy_from_slice(&self.held[state..][row]);
                }
            }
        }
    }
}

/// The sequences that have ended at `time`.
fn ended(lens: &[usize], time: usize) -> impl Iterator<Item = usize> {
    lens.iter().enumerate().filter(move |(_, len)| **len <= time).map(|(row, _)| row)
}

/// The kernel of all three operators.
pub struct Recurrent<T, U> {
    sizes: Sizes,
    batch_first: bool,
    passes: Vec<Pass<T, U>>,
    /// The length of each sequence; empty where all are whole.
    lens: Vec<usize>,
    /// `X` and its gradient with the time first, where they come otherwise.
    x: Vec<T>,
    dx: Vec<T>,
}

impl<T: Lanes, U: Unit<T>> Recurrent<T, U> {
    /// A kernel for the shapes of `signature`.
    pub fn new(settings: &Settings, options: &U::Options, signature: &Signature) -> Result<Self, OpError> {
        let (x, r) = (signature.input(0)?, signature.input(2)?);
        let (&[first, second, width], &[_, _, hidden]) = (x.shape.as_slice(), r.shape.as_slice()) else {
            return Err(OpError::Plan { what: "an input of other ranks than 3".into() });
        };
        let (time, batch) = if settings.batch_first { (second, first) } else { (first, second) };
        let sizes = Sizes { time, batch, width, hidden };
        let training = signature.wants.iter().any(|wanted| *wanted);
        let elements = |shape: &[usize]| {
            let len = shape.iter().try_fold(1usize, |len, size| len.checked_mul(*size));
            len.filter(|len| *len <= MAX_ELEMENTS).ok_or_else(|| OpError::TooLarge { shape: format!("{shape:?}") })
        };
        let gates = elements(&[time, batch, U::GATES, hidden])?;
        let states = elements(&[time.saturating_add(1), batch, hidden])?;
        let zeros = |len: usize| vec![T::zero(); len];
        let count = settings.activations.len() / settings.directions();
        let passes = (0..settings.directions()).map(|index| {
            let activations = &settings.activations[index * count..][..count];
            let making = Making { sizes, activations, clip: settings.clip, training };
            Pass {
                unit: U::new(options, &making),
                reversed: index == 1 || settings.direction == Direction::Reverse,
                gates: zeros(gates),
                h: zeros(states),
                bias: zeros(U::GATES * hidden),
                d_gates: making.backward(gates),
                dh: making.backward(sizes.state()),
                dh_before: making.backward(sizes.state()),
                held: making.backward(2 * sizes.state()),
            }
        });
        let passes = passes.collect();
        let turned = if settings.batch_first && batch > 1 && time > 1 { x.len() } else { 0 };
        let dx = zeros(if signature.wants(0) { turned } else { 0 });
        Ok(Recurrent { sizes, batch_first: settings.batch_first, passes, lens: Vec::new(), x: zeros(turned), dx })
    }

    fn read_lens(&mut self, lens: Option<&[i32]>) -> Result<(), OpError> {
        self.lens.clear();
        for len in lens.unwrap_or_default() {
            let known = usize::try_from(*len).ok().filter(|len| *len <= self.sizes.time);
            self.lens.push(known.ok_or_else(|| OpError::Value {
                input: 4,
                expected: format!("lengths from 0 to {}", self.sizes.time),
                found: len.to_string(),
            })?);
        }
        if self.lens.iter().all(|len| *len == self.sizes.time) {
            self.lens.clear();
        }
        Ok(())
    }
}

/// Where a state lies in `initial_h`, `Y_h` and their like, and where in `batch × hidden`, for each sequence.
fn states(
    sizes: Sizes,
    directions: usize,
    batch_first: bool,
    direction: usize,
) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
    let range = move |index: usize| index * sizes.hidden..(index + 1) * sizes.hidden;
    (0..sizes.batch).map(move |row| {
        let outer = if batch_first { row * directions + direction } else { direction * sizes.batch + row };
        (range(outer), range(row))
    })
}

/// Where a row of `Y` begins.
fn y_at(sizes: Sizes, directions: usize, batch_first: bool, direction: usize, time: usize, row: usize) -> usize {
    let index = match batch_first {
        false => (time * directions + direction) * sizes.batch + row,
        true => (row * sizes.time + time) * directions + direction,
    };
    index * sizes.hidden
}

/// Part number `index` of an input that has one part for each direction.
fn part<T>(all: &[T], index: usize, count: usize) -> &[T] {
    let len = all.len() / count;
    &all[index * len..][..len]
}

/// Copies rows of `width` elements from `a × b` rows to `b × a` rows.
fn turn<T: Copy>(from: &[T], to: &mut [T], a: usize, b: usize, width: usize) {
    for i in 0..a {
        for j in 0..b {
            to[(j * a + i) * width..][..width].copy_from_slice(&from[(i * b + j) * width..][..width]);
        }
    }
}

impl<T: Lanes, U: Unit<T>> Kernel for Recurrent<T, U> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (sizes, count, batch_first) = (self.sizes, self.passes.len(), self.batch_first);
        let (x, w, r) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let (b, p) = (io.optional_input::<T>(3)?, io.optional_input::<T>(7)?);
        self.read_lens(io.optional_input::<i32>(4)?)?;
        let initial = [io.optional_input::<T>(5)?, io.optional_input::<T>(6)?];
        for (index, pass) in self.passes.iter_mut().enumerate() {
            let first = pass.ends(sizes.time).0 * sizes.state();
            let Pass { unit, h, .. } = pass;
            for (given, to) in initial.into_iter().zip([Some(h.as_mut_slice()), unit.state()]) {
                let Some(to) = to else { continue };
                let to = &mut to[first..][..sizes.state()];
                to.fill(T::zero());
                let Some(given) = given else { continue };
                for (outer, row) in states(sizes, count, batch_first, index) {
                    to[row].copy_from_slice(&given[outer]);
                }
            }
        }
        if !self.x.is_empty() {
            turn(x, &mut self.x, sizes.batch, sizes.time, sizes.width);
        }
        let x = if self.x.is_empty() { x } else { &self.x };
        let lens = &self.lens;
        let run = |index: usize, pass: &mut Pass<T, U>, threads: usize| {
            let bias = b.map(|b| part(b, index, count)).map(|b| b.split_at(b.len() / 2));
            let given = Given { r: part(r, index, count), bias, p: p.map(|p| part(p, index, count)) };
            pass.forward(sizes, x, part(w, index, count), given, lens, threads);
        };
        match self.passes.as_mut_slice() {
            [one, two] => {
                io.env.pool.join(|| run(0, one, 1), || run(1, two, 1));
            }
            passes => passes.iter_mut().for_each(|pass| run(0, pass, io.env.pool.threads())),
        }
        if let Some(y) = io.optional_output::<T>(0)? {
            for (direction, pass) in self.passes.iter().enumerate() {
                for step in 0..sizes.time {
                    let at = pass.at(step, sizes.time);
                    for row in 0..sizes.batch {
                        let to = y_at(sizes, count, batch_first, direction, at.time, row);
                        let to = &mut y[to..to + sizes.hidden];
                        match lens_allow(&self.lens, row, at.time) {
                            true => to.copy_from_slice(
                                &pass.h[(at.after * sizes.batch + row) * sizes.hidden..][..sizes.hidden],
                            ),
                            false => to.fill(T::zero()),
                        }
                    }
                }
            }
        }
        let mut last = [io.optional_output::<T>(1)?, io.optional_output::<T>(2)?];
        for (direction, pass) in self.passes.iter_mut().enumerate() {
            let end = pass.ends(sizes.time).1 * sizes.state();
            let Pass { unit, h, .. } = pass;
            for (to, from) in last.iter_mut().zip([Some(h.as_mut_slice()), unit.state()]) {
                let (Some(to), Some(from)) = (to, from) else { continue };
                for (outer, row) in states(sizes, count, batch_first, direction) {
                    to[outer].copy_from_slice(&from[end..][row]);
                }
            }
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (sizes, count, batch_first) = (self.sizes, self.passes.len(), self.batch_first);
        let (x, w, r) = (io.input::<T>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
        let x = if self.x.is_empty() { x } else { &self.x };
        let dy = io.optional_d_output::<T>(0)?;
        let d_last = [io.optional_d_output::<T>(1)?, io.optional_d_output::<T>(2)?];
        let threads = io.env.pool.threads();
        for (direction, pass) in self.passes.iter_mut().enumerate() {
            let Pass { unit, dh, .. } = pass;
            for (given, to) in d_last.into_iter().zip([Some(dh.as_mut_slice()), unit.d_state()]) {
                let Some(to) = to else { continue };
                to.fill(T::zero());
                let Some(given) = given else { continue };
                for (outer, row) in states(sizes, count, batch_first, direction) {
                    to[row].copy_from_slice(&given[outer]);
                }
            }
        }
        let lens = &self.lens;
        let run = |index: usize, pass: &mut Pass<T, U>| {
            let at = |time: usize, row: usize| dy.map(|_| y_at(sizes, count, batch_first, index, time, row));
            pass.backward(sizes, at, dy.unwrap_or_default(), part(r, index, count), lens);
        };
        match self.passes.as_mut_slice() {
            [one, two] => {
                io.env.pool.join(|| run(0, one), || run(1, two));
            }
            passes => passes.iter_mut().for_each(|pass| run(0, pass)),
        }
        let width = U::GATES * sizes.hidden;
        if let Some(dx) = io.d_input::<T>(0)? {
            let to = if self.x.is_empty() { &mut *dx } else { &mut self.dx };
            for (index, pass) in self.passes.iter().enumerate() {
                let (to, w) = (ViewMut::rows(to, sizes.width), View::rows(part(w, index, count), sizes.width));
                let d_gates = View::rows(&pass.d_gates, width);
                multiply(sizes.rows(), sizes.width, width, to, d_gates, w, index > 0, threads);
            }
            if !self.x.is_empty() {
                turn(&self.dx, dx, sizes.time, sizes.batch, sizes.width);
            }
        }
        let d_weights = [io.d_input::<T>(1)?, io.d_input::<T>(2)?, io.d_input::<T>(3)?, io.d_input::<T>(7)?];
        for (which, all) in d_weights.into_iter().enumerate() {
            let Some(all) = all else { continue };
            let len = all.len() / count;
            for (index, pass) in self.passes.iter().enumerate() {
                let to = &mut all[index * len..][..len];
                // The states before all steps lie side by side, in the order of time; so do those after.
                let (before, after) = if pass.reversed { (sizes.state(), 0) } else { (0, sizes.state()) };
                let h_before = &pass.h[before..];
                match which {
                    0 => {
                        let (g, x) = ((pass.d_gates.as_slice(), width, width), (x, sizes.width, sizes.width));
                        weight_gradient(sizes.rows(), g, x, to, threads);
                    }
                    1 => pass.unit.d_recurrent(sizes.rows(), sizes.hidden, &pass.d_gates, h_before, to, threads),
                    2 => pass.unit.d_bias(sizes.hidden, &pass.d_gates, to),
                    _ => pass.unit.d_peepholes(before, after, &pass.d_gates, to),
                }
            }
        }
        let mut d_initial = [io.d_input::<T>(5)?, io.d_input::<T>(6)?];
        for (direction, pass) in self.passes.iter_mut().enumerate() {
            let Pass { unit, dh, .. } = pass;
            for (to, from) in d_initial.iter_mut().zip([Some(dh.as_mut_slice()), unit.d_state()]) {
                let (Some(to), Some(from)) = (to, from) else { continue };
                for (outer, row) in states(sizes, count, batch_first, direction) {
                    to[outer].copy_from_slice(&from[row]);
                }
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        let of = |pass: &Pass<T, U>| {
            let own = [&pass.gates, &pass.h, &pass.bias, &pass.d_gates, &pass.dh, &pass.dh_before, &pass.held];
            own.into_iter().map(|values| bytes(values)).sum::<usize>() + pass.unit.owned_bytes()
        };
        self.passes.iter().map(of).sum::<usize>() + bytes(&self.x) + bytes(&self.dx)
    }
}

/// Whether the sequence of `row` goes on at `time`.
fn lens_allow(lens: &[usize], row: usize, time: usize) -> bool {
    lens.get(row).is_none_or(|len| time < *len)
}

/// Cases whose outputs are computed one number at a time, from what an operator says of a single step.
#[cfg(test)]
#[allow(missing_docs, reason = "for tests")]
pub mod naive {
    use crate::engine::testing::{Case, random};
    use crate::tensor::Tensor;

    /// Weights of one direction.
    pub struct Side {
        pub hidden: usize,
        width: usize,
        w: Vec<f64>,
        r: Vec<f64>,
        b: Vec<f64>,
        p: Vec<f64>,
    }

    impl Side {
        /// Element `j` of `W·x + Wb` of a gate.
        pub fn w(&self, gate: usize, j: usize, x: &[f64]) -> f64 {
            let row = gate * self.hidden + j;
            let sum: f64 = x.iter().enumerate().map(|(k, x)| x * self.w[row * self.width + k]).sum();
            sum + self.b[row]
        }

        /// Element `j` of `R·h` of a gate.
        pub fn r(&self, gate: usize, j: usize, h: &[f64]) -> f64 {
            let row = gate * self.hidden + j;
            h.iter().enumerate().map(|(k, h)| h * self.r[row * self.hidden + k]).sum()
        }

        /// Element `j` of `Rb` of a gate.
        pub fn rb(&self, gate: usize, j: usize) -> f64 {
            self.b[self.b.len() / 2 + gate * self.hidden + j]
        }

        /// Element `j` of the peephole weights number `gate`.
        pub fn p(&self, gate: usize, j: usize) -> f64 {
            self.p[gate * self.hidden + j]
        }
    }

    /// What a case is made of.
    #[derive(Clone, Copy)]
    pub struct Setup {
        /// Time, batch, width, hidden.
        pub sizes: [usize; 4],
        pub direction: &'static str,
        pub batch_first: bool,
        pub bias: bool,
        pub lens: Option<&'static [i32]>,
        pub initial_h: bool,
        pub initial_c: bool,
        pub peepholes: bool,
        pub outputs: usize,
    }

    impl Default for Setup {
        fn default() -> Self {
            Setup {
                sizes: [3, 2, 2, 3],
                direction: "forward",
                batch_first: false,
                bias: true,
                lens: None,
                initial_h: false,
                initial_c: false,
                peepholes: false,
                outputs: 2,
            }
        }
    }

    /// `step(direction, weights, x, h, c)` is the next `h` and `c`.
    pub fn case(
        gates: usize,
        setup: Setup,
        step: impl Fn(usize, &Side, &[f64], &[f64], &[f64]) -> (Vec<f64>, Vec<f64>),
    ) -> Case {
        let [time, batch, width, hidden] = setup.sizes;
        let count = if setup.direction == "bidirectional" { 2 } else { 1 };
        let values = |tensor: &Tensor| tensor.as_slice::<f64>().unwrap().to_vec();
        let order = |a: usize, b: usize, c: usize| if setup.batch_first { [b, a, c] } else { [a, b, c] };
        let given = |wanted: bool, shape: &[usize], seed: u64| wanted.then(|| random(shape, seed));
        let x = random(&order(time, batch, width), 1);
        let w = random(&[count, gates * hidden, width], 2);
        let r = random(&[count, gates * hidden, hidden], 3);
        let b = given(setup.bias, &[count, 2 * gates * hidden], 4);
        let initial_h = given(setup.initial_h, &order(count, batch, hidden), 5);
        let initial_c = given(setup.initial_c, &order(count, batch, hidden), 6);
        let p = given(setup.peepholes, &[count, 3 * hidden], 7);
        let index = |a: usize, b: usize, len_a: usize| if setup.batch_first { b * len_a + a } else { a * batch + b };
        let mut y = vec![0.0; time * count * batch * hidden];
        let mut last = [vec![0.0; count * batch * hidden], vec![0.0; count * batch * hidden]];
        for direction in 0..count {
            let side = |all: Option<&Tensor>, len: usize| match all {
                Some(all) => values(all)[direction * len..][..len].to_vec(),
                None => vec![0.0; len],
            };
            let side = Side {
                hidden,
                width,
                w: side(Some(&w), gates * hidden * width),
                r: side(Some(&r), gates * hidden * hidden),
                b: side(b.as_ref(), 2 * gates * hidden),
                p: side(p.as_ref(), 3 * hidden),
            };
            for row in 0..batch {
                let state_at = index(direction, row, count) * hidden;
                let initial = |given: &Option<Tensor>| match given {
                    Some(given) => values(given)[state_at..][..hidden].to_vec(),
                    None => vec![0.0; hidden],
                };
                let (mut h, mut c) = (initial(&initial_h), initial(&initial_c));
                let len = setup.lens.map_or(time, |lens| lens[row] as usize);
                for at in 0..len {
                    let at = if setup.direction == "reverse" || direction == 1 { len - 1 - at } else { at };
                    (h, c) = step(direction, &side, &values(&x)[index(at, row, time) * width..][..width], &h, &c);
                    let to = match setup.batch_first {
                        false => (at * count + direction) * batch + row,
                        true => (row * time + at) * count + direction,
                    };
                    y[to * hidden..][..hidden].copy_from_slice(&h);
                }
                last[0][state_at..][..hidden].copy_from_slice(&h);
                last[1][state_at..][..hidden].copy_from_slice(&c);
            }
        }
        let y_shape = match setup.batch_first {
            false => [time, count, batch, hidden],
            true => [batch, time, count, hidden],
        };
        let mut case = Case::new().tensor(x).tensor(w).tensor(r);
        let lens = setup.lens.map(|lens| Tensor::from_vec(lens.to_vec()));
        let mut optional = vec![b, lens, initial_h, initial_c, p];
        while let Some(None) = optional.last() {
            optional.pop();
        }
        for input in optional {
            case = match input {
                Some(input) => case.tensor(input),
                None => case.left_out(),
            };
        }
        if setup.direction != "forward" {
            case = case.string("direction", setup.direction);
        }
        if setup.batch_first {
            case = case.int("layout", 1);
        }
        let state_shape = order(count, batch, hidden);
        let all = [(y_shape.to_vec(), &y), (state_shape.to_vec(), &last[0]), (state_shape.to_vec(), &last[1])];
        all.iter().take(setup.outputs).fold(case, |case, (shape, values)| case.output(shape, values))
    }

    /// `1 / (1 + e⁻ˣ)`
    pub fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }
}
