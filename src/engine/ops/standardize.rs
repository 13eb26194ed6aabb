//! What the normalisations of one sample share: rows are brought to mean 0 and variance 1 (or to mean square 1), then
//! scaled and shifted.
//!
//! With `z = (x - mean) / √(var + epsilon)`, `y = z·scale + bias` and `g = dy·scale`, over the `n` elements of a row:
//! `dx = (g - Σg/n - z·Σ(g·z)/n) / √(var + epsilon)`; without a mean its term is not there.

use super::axis::{Lanes, sum, sum_of};
use super::broadcast::Walk;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::tensor::DType;

/// Which factor belongs to which element of a row.
#[derive(Clone, Debug)]
pub enum Factors {
    /// One for each element of a row, the same for all rows; repeated along the walk where there are fewer.
    Elements(Option<Walk<1>>),
    /// One for each run of so many elements, starting anew after so many runs.
    Runs {
        /// Elements of a run.
        length: usize,
        /// How many factors there are.
        count: usize,
    },
}

/// The kernel of a normalisation by rows.
pub struct Standardize<T> {
    rows: Lanes,
    /// Whether the mean is subtracted.
    centred: bool,
    epsilon: T,
    factors: Factors,
    /// The mean of each row and the reciprocal of its deviation.
    moments: Vec<[T; 2]>,
    /// The data type of outputs 1 and 2, the moments; `None` when nobody wants them.
    stash: Option<DType>,
    /// Scale, bias and a gradient, where they have to be repeated for a row.
    repeated: [Vec<T>; 3],
}

impl<T: Float> Standardize<T> {
    /// A kernel for `rows`, whose `inner` is 1.
    pub fn new(rows: Lanes, centred: bool, epsilon: f32, factors: Factors, stash: Option<DType>) -> Self {
        let empty = rows.elements() == 0;
        let width = if matches!(factors, Factors::Elements(Some(_))) && !empty { rows.len } else { 0 };
        // Rows without elements are measured only where somebody asks for it.
        let measured = if empty && stash.is_none() { 0 } else { rows.outer };
        Standardize {
            rows,
            centred,
            epsilon: T::of(epsilon.into()),
            factors,
            moments: vec![[T::zero(); 2]; measured],
            stash,
            repeated: std::array::from_fn(|_| vec![T::zero(); width]),
        }
    }

    /// The factors of a row, one for each element (or as they are given, for runs).
    fn repeat<'a>(walk: Option<&Walk<1>>, factors: &'a [T], to: &'a mut [T]) -> &'a [T] {
        let Some(walk) = walk else { return factors };
        walk.runs(|row, [at], length, [step]| {
            for (i, to) in to[row..row + length].iter_mut().enumerate() {
                *to = factors[at + i * step];
            }
        });
        to
    }

    /// Writes the gradient with respect to the scale, or else to the bias: a sum over the rows.
    fn gather(&mut self, gradient: &mut [T], x: &[T], dy: &[T], by_scale: bool) {
        let Standardize { rows, factors, moments, repeated: [_, _, work], .. } = self;
        gradient.fill(T::zero());
        if rows.elements() == 0 {
            return;
        }
        let each_row = x.chunks_exact(rows.len).zip(dy.chunks_exact(rows.len)).zip(moments.iter());
        match factors {
            Factors::Elements(walk) => {
                let to = if walk.is_some() { work.as_mut_slice() } else { &mut *gradient };
                to.fill(T::zero());
                for ((x, dy), [mean, scale]) in each_row {
                    match by_scale {
                        true => {
                            for ((to, x), dy) in to.iter_mut().zip(x).zip(dy) {
                                *to += (*x - *mean) * *scale * *dy;
                            }
                        }
                        false => to.iter_mut().zip(dy).for_each(|(to, dy)| *to += *dy),
                    }
                }
                if let Some(walk) = walk {
                    walk.runs(|row, [at], length, [step]| {
                        for (i, from) in work[row..row + length].iter().enumerate() {
                            gradient[at + i * step] += *from;
                        }
                    });
                }
            }
            Factors::Runs { length, count } => {
                let runs = rows.len / *length;
                for (row, ((x, dy), [mean, scale])) in each_row.enumerate() {
                    for (run, (x, dy)) in x.chunks_exact(*length).zip(dy.chunks_exact(*length)).enumerate() {
                        gradient[(row * runs + run) % *count] += match by_scale {
                            true => sum_of(x, dy, |x, dy| (x - *mean) * dy) * *scale,
                            false => sum(dy, |dy| dy),
                        };
                    }
                }
            }
        }
    }
}

impl<T: Float> Kernel for Standardize<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, scale, bias) = (io.input::<T>(0)?, io.input::<T>(1)?, io.optional_input::<T>(2)?);
        let y = io.output::<T>(0)?;
        let Standardize { rows, centred, epsilon, factors, moments, stash, repeated: [scales, biases, _] } = self;
        let count = T::of(rows.len.max(1) as f64);
        io.env.pool.for_pieces(moments, 1, x.len(), |row, moments| {
            let x = &x[row * rows.len..(row + 1) * rows.len];
            let mean = if *centred { sum(x, |x| x) / count } else { T::zero() };
            let var = sum(x, |x| (x - mean) * (x - mean)) / count;
            moments.fill([mean, (var + *epsilon).sqrt().recip()]);
        });
        let moments = &*moments;
        for which in 0..2 {
            match stash {
                None => {}
                Some(DType::F64) => write(io.optional_output::<f64>(which + 1)?, moments, which),
                Some(_) => write(io.optional_output::<f32>(which + 1)?, moments, which),
            }
        }
        if rows.elements() == 0 {
            return Ok(());
        }
        match factors {
            Factors::Elements(walk) => {
                let scales = Self::repeat(walk.as_ref(), scale, scales);
                let biases = bias.map(|bias| Self::repeat(walk.as_ref(), bias, biases));
                io.env.pool.for_pieces(y, rows.len, x.len(), |row, y| {
                    let [mean, factor] = moments[row];
                    let elements = y.iter_mut().zip(&x[row * rows.len..]).zip(scales);
                    match biases {
                        Some(biases) => {
                            for (((y, x), scale), bias) in elements.zip(biases) {
                                *y = (*x - mean) * factor * *scale + *bias;
                            }
                        }
                        None => elements.for_each(|((y, x), scale)| *y = (*x - mean) * factor * *scale),
                    }
                });
            }
            Factors::Runs { length, count } => {
                let runs = rows.len / *length;
                io.env.pool.for_pieces(y, *length, x.len(), |run, y| {
                    let [mean, factor] = moments[run / runs];
                    let factor = factor * scale[run % *count];
                    let bias = bias.map_or(T::zero(), |bias| bias[run % *count]) - mean * factor;
                    y.iter_mut().zip(&x[run * *length..]).for_each(|(y, x)| *y = *x * factor + bias);
                });
            }
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        if !matches!((io.optional_d_output::<T>(1), io.optional_d_output::<T>(2)), (Ok(None), Ok(None))) {
            return Err(OpError::NotCovered { what: "the derivative of the statistics that it gives out".into() });
        }
        let (x, scale, dy) = (io.input::<T>(0)?, io.input::<T>(1)?, io.d_output::<T>(0)?);
        if let Some(gradient) = io.d_input::<T>(1)? {
            self.gather(gradient, x, dy, true);
        }
        if let Some(gradient) = io.d_input::<T>(2)? {
            self.gather(gradient, x, dy, false);
        }
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        let Standardize { rows, centred, factors, moments, repeated: [scales, ..], .. } = self;
        if rows.elements() == 0 {
            return Ok(());
        }
        let scales = match factors {
            Factors::Elements(walk) => Self::repeat(walk.as_ref(), scale, scales),
            Factors::Runs { .. } => scale,
        };
        let (factors, moments) = (&*factors, &*moments);
        let count = T::of(rows.len.max(1) as f64);
        io.env.pool.for_pieces(dx, rows.len, 2 * x.len(), |row, dx| {
            let at = row * rows.len..(row + 1) * rows.len;
            let (x, dy) = (&x[at.clone()], &dy[at]);
            match factors {
                Factors::Elements(_) => {
                    for ((dx, dy), scale) in dx.iter_mut().zip(dy).zip(scales) {
                        *dx = *dy * *scale;
                    }
                }
                Factors::Runs { length, count } => {
                    let runs = rows.len / *length;
                    let each_run = dx.chunks_mut(*length).zip(dy.chunks(*length)).enumerate();
                    for (run, (dx, dy)) in each_run {
                        let scale = scales[(row * runs + run) % *count];
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = *dy * scale);
                    }
                }
            }
            let [mean, factor] = moments[row];
            let along = sum_of(dx, x, |g, x| g * (x - mean)) * factor / count;
            let average = if *centred { sum(dx, |g| g) / count } else { T::zero() };
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = (*dx - average - (*x - mean) * factor * along) * factor;
            }
        });
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.moments) + self.repeated.iter().map(|repeated| bytes(repeated)).sum::<usize>()
    }
}

fn write<T: Float, S: Float>(to: Option<&mut [S]>, moments: &[[T; 2]], which: usize) {
    for (to, moments) in to.into_iter().flatten().zip(moments) {
        *to = S::of(moments[which].wide());
    }
}
