//! Resampling along the axes of a tensor, one after the other: every output position is a weighted sum of some input
//! positions. Derivative: the same weights, backwards.

use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::pool::Pool;

/// Elements that a piece of work has at least, for another thread.
const PIECE: usize = 4096;

/// How an output position is mapped to a coordinate in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ONNX")]
pub enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// How a coordinate is rounded to the nearest position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ONNX")]
pub enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// Down where the axis grows, up where it shrinks: version 10.
    Simple,
}

/// What an output position is computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// One position.
    Nearest(Nearest),
    /// The two around it.
    Linear,
    /// The four around it, with this coefficient. Source: Keys, *Cubic convolution interpolation for digital image
    /// processing*, 1981.
    Cubic(f32),
}

/// One axis: its sizes, and how far the output's is stretched.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// The size in the input, not 0.
    pub from: usize,
    /// The size in the output.
    pub to: usize,
    /// Above 0 and finite.
    pub scale: f64,
    /// The part of the input that is stretched, `(0, 1)` for all of it: for [`Coordinates::TfCropAndResize`] alone.
    pub region: (f64, f64),
}

impl Stretch {
    /// The coordinate in the input of output position `at`; `None` where it lies outside and that matters.
    fn coordinate(&self, coordinates: Coordinates, at: usize) -> Option<f64> {
        let (at, from) = (at as f64, self.from as f64);
        let width = self.scale * from;
        let half_pixel = (at + 0.5) / self.scale - 0.5;
        let x = match coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => from / 2.0 * (1.0 - self.to as f64 / width) + half_pixel,
            Coordinates::PytorchHalfPixel if width == 1.0 => -0.5,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if width == 1.0 => 0.0,
            Coordinates::AlignCorners => at * (from - 1.0) / (width - 1.0),
            Coordinates::Asymmetric => at / self.scale,
            Coordinates::TfHalfPixelForNn => (at + 0.5) / self.scale,
            Coordinates::TfCropAndResize => {
                let (start, end) = self.region;
                let within = match width == 1.0 {
                    true => (end - start) * (from - 1.0) / 2.0,
                    false => at * (end - start) * (from - 1.0) / (width - 1.0),
                };
                let x = within + start * (from - 1.0);
                if !(0.0..=from - 1.0).contains(&x) {
                    return None;
                }
                x
            }
        };
        // Far outside everything is the same.
        Some(if x.is_nan() { 0.0 } else { x.clamp(-1e12, 1e12) })
    }

    /// The nearest input position of each output position; `None` where it is extrapolated.
    pub fn nearest(&self, coordinates: Coordinates, nearest: Nearest) -> Vec<Option<usize>> {
        let round = |x: f64| match nearest {
            Nearest::RoundPreferFloor => (x - 0.5).ceil(),
            Nearest::RoundPreferCeil => (x + 0.5).floor(),
            Nearest::Floor => x.floor(),
            Nearest::Ceil => x.ceil(),
            Nearest::Simple if self.scale < 1.0 => x.ceil(),
            Nearest::Simple => x.floor(),
        };
        let last = self.from.saturating_sub(1) as f64;
        let position = |at| self.coordinate(coordinates, at).map(|x| round(x).clamp(0.0, last) as usize);
        (0..self.to).map(position).collect()
    }

    /// Whether nothing changes.
    pub fn is_identity(&self) -> bool {
        (self.scale - 1.0).abs() <= 1e-9 && self.from == self.to && self.region == (0.0, 1.0)
    }
}

/// How positions between those of the input are weighted.
#[derive(Clone, Copy, Debug)]
pub struct Weighting {
    /// How positions are mapped.
    pub coordinates: Coordinates,
    /// The coefficient of cubic interpolation; linear without one.
    pub cubic: Option<f32>,
    /// Whether more positions are taken in where an axis shrinks, so that none is skipped.
    pub antialias: bool,
    /// Whether positions outside of the input weigh nothing, instead of as much as the outermost ones.
    pub exclude_outside: bool,
}

impl Weighting {
    fn weight(&self, distance: f64) -> f64 {
        let x = distance.abs();
        match self.cubic {
            None => (1.0 - x).max(0.0),
            Some(a) => {
                let a = f64::from(a);
                match x {
                    x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
                    x if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
                    _ => 0.0,
                }
            }
        }
    }
}

/// The sums along one axis.
#[derive(Clone, Debug)]
struct Pass<T> {
    from: usize,
    to: usize,
    inner: usize,
    taps: usize,
    /// For each output position `taps` input positions.
    places: Vec<usize>,
    weights: Vec<T>,
    /// Which output positions are extrapolated.
    outside: Vec<bool>,
}

impl<T: Float> Pass<T> {
    fn new(stretch: &Stretch, weighting: &Weighting, inner: usize) -> Self {
        let shrink = if weighting.antialias { stretch.scale.min(1.0) } else { 1.0 };
        let reach = if weighting.cubic.is_some() { 2.0 } else { 1.0 };
        let first = (-reach / shrink).floor() as i64 + 1;
        let taps = (2 - 2 * first) as usize;
        let mut pass = Pass {
            from: stretch.from,
            to: stretch.to,
            inner,
            taps,
            places: Vec::with_capacity(stretch.to * taps),
            weights: Vec::with_capacity(stretch.to * taps),
            outside: Vec::with_capacity(stretch.to),
        };
        let last = stretch.from as i64 - 1;
        let mut weights = vec![0.0; taps];
        for at in 0..stretch.to {
            let x = stretch.coordinate(weighting.coordinates, at);
            pass.outside.push(x.is_none());
            let x = x.unwrap_or(0.0);
            let start = x.floor() as i64 + first;
            for (place, weight) in (start..).zip(&mut weights) {
                *weight = match weighting.exclude_outside && !(0..=last).contains(&place) {
                    true => 0.0,
                    false => weighting.weight((place as f64 - x) * shrink),
                };
                pass.places.push(place.clamp(0, last) as usize);
            }
            let sum: f64 = weights.iter().sum();
            let normalised = weighting.antialias || weighting.exclude_outside;
            let scale = if normalised && sum != 0.0 { 1.0 / sum } else { 1.0 };
            pass.weights.extend(weights.iter().map(|weight| T::of(weight * scale)));
        }
        pass
    }

    fn taps(&self, at: usize) -> impl Iterator<Item = (usize, T)> {
        let range = at * self.taps..(at + 1) * self.taps;
        self.places[range.clone()].iter().copied().zip(self.weights[range].iter().copied())
    }

    fn forward(&self, x: &[T], y: &mut [T], extrapolation: T, pool: &Pool) {
        let Pass { from, to, inner, taps, .. } = *self;
        if y.is_empty() {
            return;
        }
        let cost = y.len() * taps / 2;
        if inner == 1 {
            let blocks = (PIECE / to).max(1);
            pool.for_pieces(y, blocks * to, cost, |piece, y| {
                for (block, y) in y.chunks_exact_mut(to).enumerate() {
                    self.innermost(&x[(piece * blocks + block) * from..][..from], y, extrapolation);
                }
            });
            return;
        }
        let rows = (PIECE / inner).max(1);
        pool.for_pieces(y, rows * inner, cost, |piece, y| {
            let (mut outer, mut at) = (piece * rows / to, piece * rows % to);
            for y in y.chunks_exact_mut(inner) {
                let x = &x[outer * from * inner..][..from * inner];
                match y {
                    y if self.outside[at] => y.fill(extrapolation),
                    y => {
                        y.fill(T::zero());
                        for (place, weight) in self.taps(at) {
                            let x = &x[place * inner..][..inner];
                            y.iter_mut().zip(x).for_each(|(y, x)| *y += *x * weight);
                        }
                    }
                }
                at += 1;
                if at == to {
                    (outer, at) = (outer + 1, 0);
                }
            }
        });
    }

    /// One line along an axis whose elements lie side by side.
    fn innermost(&self, x: &[T], y: &mut [T], extrapolation: T) {
        let taps = self.places.chunks_exact(self.taps).zip(self.weights.chunks_exact(self.taps));
        for ((y, (places, weights)), outside) in y.iter_mut().zip(taps).zip(&self.outside) {
            *y = match (outside, places, weights) {
                (true, _, _) => extrapolation,
                (false, [p, q], [a, b]) => x[*p] * *a + x[*q] * *b,
                _ => places.iter().zip(weights).fold(T::zero(), |sum, (place, weight)| sum + x[*place] * *weight),
            };
        }
    }

    fn backward(&self, dy: &[T], dx: &mut [T], pool: &Pool) {
        let Pass { from, to, inner, taps, .. } = *self;
        if dx.is_empty() {
            return;
        }
        let blocks = (PIECE / (from * inner)).max(1);
        let cost = dy.len() * taps / 2 + dx.len() / 4;
        pool.for_pieces(dx, blocks * from * inner, cost, |piece, dx| {
            dx.fill(T::zero());
            for (block, dx) in dx.chunks_exact_mut(from * inner).enumerate() {
                let dy = &dy[(piece * blocks + block) * to * inner..][..to * inner];
                for at in (0..to).filter(|at| !self.outside[*at]) {
                    let dy = &dy[at * inner..][..inner];
                    for (place, weight) in self.taps(at) {
                        let dx = &mut dx[place * inner..][..inner];
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy * weight);
                    }
                }
            }
        });
    }
}

/// All axes of a tensor of floating-point numbers.
#[derive(Clone, Debug)]
pub struct Interpolate<T> {
    passes: Vec<Pass<T>>,
    /// Between the passes.
    buffers: Vec<Vec<T>>,
    extrapolation: T,
}

impl<T: Float> Interpolate<T> {
    /// A tensor with these axes.
    pub fn new(axes: &[Stretch], weighting: &Weighting, extrapolation: f32) -> Self {
        let mut passes = Vec::new();
        let mut buffers: Vec<Vec<T>> = Vec::new();
        let changed: Vec<usize> = (0..axes.len()).filter(|axis| !axes[*axis].is_identity()).collect();
        for (number, axis) in changed.iter().enumerate() {
            let inner = axes[axis + 1..].iter().map(|axis| axis.from).product();
            passes.push(Pass::new(&axes[*axis], weighting, inner));
            if number + 1 < changed.len() {
                let outer: usize = axes[..=*axis].iter().map(|axis| axis.to).product();
                buffers.push(vec![T::zero(); outer * inner]);
            }
        }
        Interpolate { passes, buffers, extrapolation: T::of(f64::from(extrapolation)) }
    }

    fn run(&mut self, x: &[T], y: &mut [T], pool: &Pool) {
        let last = self.passes.len().saturating_sub(1);
        if y.is_empty() {
            return;
        }
        if self.passes.is_empty() {
            y.copy_from_slice(x);
        }
        for (number, pass) in self.passes.iter().enumerate() {
            let (before, after) = self.buffers.split_at_mut(number);
            let from = before.last().map_or(x, Vec::as_slice);
            let to = if number == last { &mut *y } else { after[0].as_mut_slice() };
            pass.forward(from, to, self.extrapolation, pool);
        }
    }
}

impl<T: Float> Kernel for Interpolate<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        self.run(x, io.output::<T>(0)?, io.env.pool);
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        if self.passes.is_empty() {
            dx.copy_from_slice(dy);
        }
        // The buffers now hold the gradients of what they held before.
        for (number, pass) in self.passes.iter().enumerate().rev() {
            let (before, after) = self.buffers.split_at_mut(number);
            let from = after.first().map_or(dy, Vec::as_slice);
            let to = before.last_mut().map_or(&mut *dx, Vec::as_mut_slice);
            pass.backward(from, to, io.env.pool);
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        let passes = self.passes.iter();
        let passes = passes.map(|pass| bytes(&pass.places) + bytes(&pass.weights) + bytes(&pass.outside));
        passes.sum::<usize>() + self.buffers.iter().map(|buffer| bytes(buffer)).sum::<usize>()
    }
}

/// The same for other numbers: computed in f64, rounded (halves to even) and kept within the type's range.
pub struct Rounded<T> {
    inner: Interpolate<f64>,
    from: Vec<f64>,
    to: Vec<f64>,
    kind: std::marker::PhantomData<T>,
}

impl<T> Rounded<T> {
    /// For inputs and outputs of so many elements.
    pub fn new(inner: Interpolate<f64>, from: usize, to: usize) -> Self {
        Rounded { inner, from: vec![0.0; from], to: vec![0.0; to], kind: std::marker::PhantomData }
    }
}

impl<T: Scalar + num_traits::AsPrimitive<f64>> Kernel for Rounded<T>
where
    f64: num_traits::AsPrimitive<T>,
{
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        self.from.iter_mut().zip(x).for_each(|(wide, x)| *wide = x.as_());
        self.inner.run(&self.from, &mut self.to, io.env.pool);
        let y = io.output::<T>(0)?;
        y.iter_mut().zip(&self.to).for_each(|(y, wide)| {
            *y = num_traits::AsPrimitive::<T>::as_(wide.round_ties_even());
        });
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.inner.owned_bytes() + bytes(&self.from) + bytes(&self.to)
    }
}
