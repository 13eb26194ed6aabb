//! GRU: the gated recurrent unit, with its reset gate before or after the product (`linear_before_reset`).
//!
//! `z = f(U_z + R_z·h)`, `r = f(U_r + R_r·h)`, `n = g(U_h + R_h·(r∘h))`, or `n = g(U_h + r∘(R_h·h + Rb_h))` with
//! `linear_before_reset`, `H = (1 - z)∘n + z∘h`, where `h` is the state before. Backward, with `'` for the derivative of
//! an activation: `dN = dH∘(1 - z)∘n'`, `dZ = dH∘(h - n)∘z'`; `dR = (R_hᵀ·dN)∘h∘r'` (linear: `dN∘(R_h·h + Rb_h)∘r'`);
//! `dh = dH∘z + [R_z R_r]ᵀ·[dZ dR]` plus `(R_hᵀ·dN)∘r` (linear: `R_hᵀ·(dN∘r)`).
//! `X` is `[T, N, I]`, `Y` is `[T, D, N, H]`. ONNX: <https://onnx.ai/onnx/operators/onnx__GRU.html>.
//! Source: Cho et al., "Learning phrase representations using RNN encoder–decoder", EMNLP 2014.

use super::activation::{Activation, Function};
use super::recurrent::{At, Given, Making, Recurrent, Settings, Sizes, Unit, column_sums, weight_gradient};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Kernel, bytes};
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::recurrent_simd::{Lanes, Packed};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "GRU", since: 7, parse };

const DEFAULTS: [Function; 2] = [Function::Sigmoid, Function::Tanh];

#[derive(Clone, Debug)]
struct Gru {
    settings: Settings,
    /// `linear_before_reset`
    linear: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    // Any number but 0 means yes: that is how ONNX words it.
    let linear = node.int("linear_before_reset")?.unwrap_or(0) != 0;
    Ok(Box::new(Gru { settings: Settings::read(node, &DEFAULTS)?, linear }))
}

impl Op for Gru {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.settings.attributes(&DEFAULTS);
        attributes.extend(self.linear.then_some(("linear_before_reset", AttributeValue::Int(1))));
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=6, 0..=2)?;
        self.settings.infer(inputs, 3)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let dtype = signature.input(0)?.dtype;
        with_float!(dtype, T => Box::new(Recurrent::<T, GruUnit<T>>::new(&self.settings, &self.linear, signature)?))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index != 4
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1, 2], &[])
    }
}

/// Weights as a step needs them: those of update and reset gate together, those of the hidden gate apart.
struct Weights<T> {
    gates: Packed<T>,
    hidden: Packed<T>,
}

/// One time step. Gates lie in the order of ONNX: update, reset, hidden.
struct GruUnit<T> {
    sizes: Sizes,
    activations: [Activation; 2],
    clip: Option<f32>,
    linear: bool,
    forward: Weights<T>,
    backward: Option<Weights<T>>,
    /// The bias `Rb` of the hidden gate, where it is inside the reset.
    inner_bias: Vec<T>,
    /// At all time steps what the reset gate touches: `r∘h`, or `R_h·h + Rb_h` where the product comes first.
    touched: Vec<T>,
    /// The gradient of `R_h·h + Rb_h` at all time steps, where the product comes first.
    d_touched: Vec<T>,
    /// Derivatives of the activations at all time steps; empty where they follow from the values.
    all_slopes: Vec<T>,
    /// Those of one time step.
    slopes: Vec<T>,
    /// `R_hᵀ·dN` of one time step, where the reset comes first.
    d_reset: Vec<T>,
}

impl<T: Lanes> Unit<T> for GruUnit<T> {
    const GATES: usize = 3;

    type Options = bool;

    fn new(linear: &bool, making: &Making<'_>) -> Self {
        let sizes = making.sizes;
        let (hidden, state) = (sizes.hidden, sizes.state());
        let activation =
            |index: usize| making.activations.get(index).copied().unwrap_or_else(|| Activation::new(DEFAULTS[index]));
        GruUnit {
            sizes,
            activations: [activation(0), activation(1)],
            clip: making.clip,
            linear: *linear,
            forward: Weights { gates: Packed::new(hidden, 2 * hidden), hidden: Packed::new(hidden, hidden) },
            backward: making
                .training
                .then(|| Weights { gates: Packed::new(2 * hidden, hidden), hidden: Packed::new(hidden, hidden) }),
            inner_bias: vec![T::zero(); hidden],
            touched: vec![T::zero(); sizes.time * state],
            d_touched: making.backward(if *linear { sizes.time * state } else { 0 }),
            all_slopes: making.slopes(3 * sizes.time * state),
            slopes: making.backward(3 * state),
            d_reset: making.backward(if *linear { 0 } else { state }),
        }
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.touched) + bytes(&self.d_touched) + bytes(&self.all_slopes)
    }

    fn begin(&mut self, given: Given<'_, T>, bias: &mut [T]) {
        let hidden = self.sizes.hidden;
        let (gates, inner) = given.r.split_at(2 * hidden * hidden);
        self.forward.gates.pack_transposed(gates);
        self.forward.hidden.pack_transposed(inner);
        given.sum_of_biases(bias);
        if self.linear {
            match given.bias {
                Some((w, r)) => {
                    bias[2 * hidden..].copy_from_slice(&w[2 * hidden..]);
                    self.inner_bias.copy_from_slice(&r[2 * hidden..]);
                }
                None => self.inner_bias.fill(T::zero()),
            }
        }
    }

    fn forward(&mut self, at: At, gates: &mut [T], h_before: &[T], h: &mut [T]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, state) = (3 * hidden, self.sizes.state());
        let touched = &mut self.touched[at.time * state..][..state];
        self.forward.gates.product(batch, h_before, hidden, gates, width, true);
        if self.linear {
            touched.chunks_exact_mut(hidden.max(1)).for_each(|row| row.copy_from_slice(&self.inner_bias));
            self.forward.hidden.product(batch, h_before, hidden, touched, hidden, true);
        }
        let mut activate =
            |which: usize, values: &mut [T], at: usize| match self.all_slopes.get_mut(at..at + values.len()) {
                Some(slopes) => self.activations[which].apply_with_slopes(self.clip, values, slopes),
                None => self.activations[which].apply(self.clip, values),
            };
        for row in 0..batch {
            let at_gates = (at.time * batch + row) * width;
            let at_state = row * hidden..(row + 1) * hidden;
            let (gates, inner) = gates[row * width..][..width].split_at_mut(2 * hidden);
            activate(0, gates, at_gates);
            let (touched, reset) = (&mut touched[at_state.clone()], &gates[hidden..]);
            if self.linear {
                inner.iter_mut().zip(reset).zip(&*touched).for_each(|((n, reset), product)| *n += *reset * *product);
            } else {
                let h_before = &h_before[at_state];
                touched.iter_mut().zip(reset).zip(h_before).for_each(|((to, reset), h)| *to = *reset * *h);
            }
        }
        if !self.linear && batch > 0 && hidden > 0 {
            self.forward.hidden.product(batch, touched, hidden, &mut gates[2 * hidden..], width, true);
        }
        for row in 0..batch {
            let at_gates = (at.time * batch + row) * width;
            let at_state = row * hidden..(row + 1) * hidden;
            let (gates, n) = gates[row * width..][..width].split_at_mut(2 * hidden);
            activate(1, n, at_gates + 2 * hidden);
            let (update, n) = (&gates[..hidden], &n[..hidden]);
            let (h_before, h) = (&h_before[at_state.clone()], &mut h[at_state]);
            for j in 0..hidden {
                h[j] = n[j] + update[j] * (h_before[j] - n[j]);
            }
        }
    }

    fn begin_backward(&mut self, r: &[T]) {
        if let Some(backward) = &mut self.backward {
            let (gates, hidden) = r.split_at(2 * self.sizes.hidden * self.sizes.hidden);
            backward.gates.pack(gates);
            backward.hidden.pack(hidden);
        }
    }

    fn backward(&mut self, at: At, gates: &[T], h_before: &[T], dh: &[T], d_gates: &mut [T], dh_before: &mut [T]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, state) = (3 * hidden, self.sizes.state());
        let Some(weights) = &self.backward else { return };
        if state == 0 {
            return;
        }
        let slopes = match self.all_slopes.get(at.time * batch * width..(at.time + 1) * batch * width) {
            Some(known) => known,
            None => {
                for (y, to) in gates.chunks_exact(width).zip(self.slopes.chunks_exact_mut(width)) {
                    self.activations[0].slopes(&y[..2 * hidden], &mut to[..2 * hidden]);
                    self.activations[1].slopes(&y[2 * hidden..], &mut to[2 * hidden..]);
                }
                &self.slopes
            }
        };
        let rows = || (0..batch).map(|row| (row * width..(row + 1) * width, row * hidden..(row + 1) * hidden));
        for (at_gates, at_state) in rows() {
            let (dh, h_before) = (&dh[at_state.clone()], &h_before[at_state.clone()]);
            let dh_before = &mut dh_before[at_state];
            let (z, _, n) = thirds(&gates[at_gates.clone()], hidden);
            let (z_slope, _, n_slope) = thirds(&slopes[at_gates.clone()], hidden);
            let (dz, rest) = d_gates[at_gates].split_at_mut(hidden);
            let dn = &mut rest[hidden..][..hidden];
            for j in 0..hidden {
                dz[j] = dh[j] * (h_before[j] - n[j]) * z_slope[j];
                dn[j] = dh[j] * (T::one() - z[j]) * n_slope[j];
                dh_before[j] = dh[j] * z[j];
            }
        }
        let touched = &self.touched[at.time * state..][..state];
        if self.linear {
            let d_touched = &mut self.d_touched[at.time * state..][..state];
            for (at_gates, at_state) in rows() {
                let (touched, d_touched) = (&touched[at_state.clone()], &mut d_touched[at_state]);
                let (_, r, _) = thirds(&gates[at_gates.clone()], hidden);
                let (_, r_slope, _) = thirds(&slopes[at_gates.clone()], hidden);
                let (_, rest) = d_gates[at_gates].split_at_mut(hidden);
                let (dr, dn) = rest.split_at_mut(hidden);
                let dn = &dn[..hidden];
                for j in 0..hidden {
                    d_touched[j] = dn[j] * r[j];
                    dr[j] = dn[j] * touched[j] * r_slope[j];
                }
            }
            weights.hidden.product(batch, d_touched, hidden, dh_before, hidden, true);
        } else {
            weights.hidden.product(batch, &d_gates[2 * hidden..], width, &mut self.d_reset, hidden, false);
            for (at_gates, at_state) in rows() {
                let (d_reset, h_before) = (&self.d_reset[at_state.clone()], &h_before[at_state.clone()]);
                let dh_before = &mut dh_before[at_state];
                let (_, r, _) = thirds(&gates[at_gates.clone()], hidden);
                let (_, r_slope, _) = thirds(&slopes[at_gates.clone()], hidden);
                let dr = &mut d_gates[at_gates][hidden..][..hidden];
                for j in 0..hidden {
                    dh_before[j] += d_reset[j] * r[j];
                    dr[j] = d_reset[j] * h_before[j] * r_slope[j];
                }
            }
        }
        weights.gates.product(batch, d_gates, width, dh_before, hidden, true);
    }

    fn d_recurrent(&self, rows: usize, hidden: usize, d_gates: &[T], h_before: &[T], dr: &mut [T], threads: usize) {
        let width = 3 * hidden;
        let (gates, inner) = dr.split_at_mut(2 * hidden * hidden);
        weight_gradient(rows, (d_gates, 2 * hidden, width), (h_before, hidden, hidden), gates, threads);
        if self.linear {
            let (g, h) = ((self.d_touched.as_slice(), hidden, hidden), (h_before, hidden, hidden));
            weight_gradient(rows, g, h, inner, threads);
        } else {
            let g = (d_gates.get(2 * hidden..).unwrap_or_default(), hidden, width);
            weight_gradient(rows, g, (&self.touched, hidden, hidden), inner, threads);
        }
    }

    fn d_bias(&self, hidden: usize, d_gates: &[T], db: &mut [T]) {
        let (w, r) = db.split_at_mut(3 * hidden);
        column_sums(d_gates, w);
        r.copy_from_slice(w);
        if self.linear {
            column_sums(&self.d_touched, &mut r[2 * hidden..]);
        }
    }
}

/// The parts of a row that belong to the three gates.
fn thirds<T>(row: &[T], hidden: usize) -> (&[T], &[T], &[T]) {
    let (first, rest) = row.split_at(hidden);
    let (second, third) = rest.split_at(hidden);
    (first, second, &third[..hidden])
}

#[cfg(test)]
mod tests {
    use super::super::recurrent::naive::{self, Setup, sigmoid};
    use crate::engine::testing::{Case, check};
    use crate::onnx::AttributeValue;

    /// The formulas of ONNX, one number at a time.
    fn case(setup: Setup, linear: bool, clip: f64, functions: [fn(f64) -> f64; 2]) -> Case {
        naive::case(3, setup, |_, side, x, h, _| {
            let f = |x: f64| functions[0](x.clamp(-clip, clip));
            let g = |x: f64| functions[1](x.clamp(-clip, clip));
            let u = |gate: usize, j: usize| side.w(gate, j, x) + side.r(gate, j, h) + side.rb(gate, j);
            let reset: Vec<f64> = (0..side.hidden).map(|j| f(u(1, j))).collect();
            let reset_h: Vec<f64> = reset.iter().zip(h).map(|(r, h)| r * h).collect();
            let next = (0..side.hidden).map(|j| {
                let inner = match linear {
                    true => reset[j] * (side.r(2, j, h) + side.rb(2, j)),
                    false => side.r(2, j, &reset_h) + side.rb(2, j),
                };
                let z = f(u(0, j));
                (1.0 - z) * g(side.w(2, j, x) + inner) + z * h[j]
            });
            (next.collect(), vec![0.0; side.hidden])
        })
    }

    #[test]
    fn cases() {
        let plain = Setup::default();
        let both = Setup { direction: "bidirectional", initial_h: true, ..plain };
        let mut cases = Vec::new();
        for linear in [false, true] {
            let flagged = |case: Case| if linear { case.int("linear_before_reset", 1) } else { case };
            let standard = |setup: Setup| flagged(case(setup, linear, f64::INFINITY, [sigmoid, f64::tanh]));
            cases.extend([
                standard(Setup { bias: false, ..plain }),
                standard(plain).int("hidden_size", 3),
                standard(Setup { direction: "reverse", ..plain }),
                standard(both),
                standard(Setup { batch_first: true, ..both }),
                standard(Setup { sizes: [5, 3, 2, 2], lens: Some(&[2, 5, 0]), ..both }),
                standard(Setup { sizes: [4, 2, 2, 2], lens: Some(&[1, 3]), batch_first: true, ..both }),
                standard(Setup { sizes: [3, 1, 2, 17], outputs: 1, ..plain }),
                standard(Setup { sizes: [0, 2, 2, 2], ..both }),
                standard(Setup { sizes: [2, 0, 2, 2], ..both }),
                standard(Setup { sizes: [2, 2, 0, 2], ..both }),
                flagged(case(both, linear, 0.25, [sigmoid, f64::tanh])).float("clip", 0.25),
                flagged(case(plain, linear, f64::INFINITY, [|x| x / (1.0 + x.abs()), |x| (1.0 + x.exp()).ln()]))
                    .attribute(
                        "activations",
                        AttributeValue::Strings(vec![b"Softsign".to_vec(), b"Softplus".to_vec()]),
                    ),
            ]);
        }
        let refused = || case(plain, false, f64::INFINITY, [sigmoid, f64::tanh]);
        cases.extend([
            refused().output_count(3).error("outputs"),
            refused().int("input_forget", 1).error("input_forget"),
            refused().string("direction", "both").error("bidirectional"),
            refused().int("hidden_size", 4).error("4 columns"),
            case(Setup { initial_c: true, ..plain }, false, f64::INFINITY, [sigmoid, f64::tanh]).error("3 to 6 inputs"),
        ]);
        check("GRU", &cases);
    }
}
