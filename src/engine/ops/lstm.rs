//! LSTM: long short-term memory, with all that ONNX has: directions, peepholes, coupled gates, clipping, any activations.
//!
//! `i = f(Uᵢ + Rᵢ·h + Pᵢ∘c)`, `f = f(U_f + R_f·h + P_f∘c)` (or `1 - i` with `input_forget`), `g = g(U_c + R_c·h)`,
//! `C = f∘c + i∘g`, `o = f(Uₒ + Rₒ·h + Pₒ∘C)`, `H = o∘h(C)`, where `h` and `c` are the states before. Backward, with `'` for
//! the derivative of an activation: `dO = dH∘h(C)∘o'`, `dC = dc + dH∘o∘h' + Pₒ∘dO`, `dG = dC∘i∘g'`, `dI = dC∘g∘i'`,
//! `dF = dC∘c∘f'`, `dc = dC∘f + Pᵢ∘dI + P_f∘dF`, `dh = Rᵀ·[dI, dO, dF, dG]`.
//! `X` is `[T, N, I]`, `Y` is `[T, D, N, H]`. ONNX: <https://onnx.ai/onnx/operators/onnx__LSTM.html>.
//! Source: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9 (1997); peepholes: Gers and
//! Schmidhuber (2000).

use super::activation::{Activation, Function};
use super::recurrent::{At, Given, Making, Recurrent, Settings, Sizes, Unit, slots};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Kernel, bytes};
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::recurrent_simd::{Lanes, Packed};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "LSTM", since: 7, parse };

const DEFAULTS: [Function; 3] = [Function::Sigmoid, Function::Tanh, Function::Tanh];

#[derive(Clone, Debug)]
struct Lstm {
    settings: Settings,
    /// `input_forget`: the forget gate is one minus the input gate.
    coupled: bool,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Lstm { settings: Settings::read(node, &DEFAULTS)?, coupled: node.flag("input_forget", false)? }))
}

impl Op for Lstm {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.settings.attributes(&DEFAULTS);
        attributes.extend(self.coupled.then_some(("input_forget", AttributeValue::Int(1))));
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=8, 0..=3)?;
        self.settings.infer(inputs, 4)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let dtype = signature.input(0)?.dtype;
        with_float!(dtype, T => Box::new(Recurrent::<T, LstmUnit<T>>::new(&self.settings, &self.coupled, signature)?))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index != 4
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1, 2], &[])
    }
}

/// One time step. Gates lie in the order of ONNX: input, output, forget, cell.
struct LstmUnit<T> {
    sizes: Sizes,
    activations: [Activation; 3],
    clip: Option<f32>,
    coupled: bool,
    forward: Packed<T>,
    backward: Option<Packed<T>>,
    /// Weights of the peepholes of input, output and forget gate; empty without.
    peepholes: Vec<T>,
    /// `time + 1` slots.
    c: Vec<T>,
    /// `h(C)` at each time step.
    squashed: Vec<T>,
    dc: Vec<T>,
    /// Derivatives of the gates' activations, and of `h`, at all time steps; empty where they follow from the values.
    gate_slopes: Vec<T>,
    squash_slopes: Vec<T>,
    /// Those of one time step.
    slopes: Vec<T>,
    squash: Vec<T>,
}

impl<T: Lanes> LstmUnit<T> {
    /// Applies activation `which` to `values`, elements `at` of all time steps of their kind.
    fn activate(&mut self, which: usize, values: &mut [T], at: usize, of_gate: bool) {
        let slopes = if of_gate { &mut self.gate_slopes } else { &mut self.squash_slopes };
        match slopes.get_mut(at..at + values.len()) {
            Some(slopes) if !slopes.is_empty() => {
                self.activations[which].apply_with_slopes(self.clip, values, slopes);
            }
            _ => self.activations[which].apply(self.clip, values),
        }
    }
}

impl<T: Lanes> Unit<T> for LstmUnit<T> {
    const GATES: usize = 4;

    type Options = bool;

    fn new(coupled: &bool, making: &Making<'_>) -> Self {
        let sizes = making.sizes;
        let (hidden, state) = (sizes.hidden, sizes.state());
        let activation =
            |index: usize| making.activations.get(index).copied().unwrap_or_else(|| Activation::new(DEFAULTS[index]));
        LstmUnit {
            sizes,
            activations: [activation(0), activation(1), activation(2)],
            clip: making.clip,
            coupled: *coupled,
            forward: Packed::new(hidden, 4 * hidden),
            backward: making.training.then(|| Packed::new(4 * hidden, hidden)),
            peepholes: Vec::with_capacity(3 * hidden),
            c: vec![T::zero(); (sizes.time + 1) * state],
            squashed: vec![T::zero(); sizes.time * state],
            dc: making.backward(state),
            gate_slopes: making.slopes(4 * sizes.time * state),
            squash_slopes: making.slopes(sizes.time * state),
            slopes: making.backward(4 * state),
            squash: making.backward(state),
        }
    }

    fn owned_bytes(&self) -> usize {
        let LstmUnit { c, squashed, dc, gate_slopes, squash_slopes, .. } = self;
        [c, squashed, dc, gate_slopes, squash_slopes].into_iter().map(|values| bytes(values)).sum()
    }

    fn begin(&mut self, given: Given<'_, T>, bias: &mut [T]) {
        self.forward.pack_transposed(given.r);
        self.peepholes.clear();
        self.peepholes.extend_from_slice(given.p.unwrap_or_default());
        given.sum_of_biases(bias);
    }

    fn state(&mut self) -> Option<&mut [T]> {
        Some(&mut self.c)
    }

    fn forward(&mut self, at: At, gates: &mut [T], h_before: &[T], h: &mut [T]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, state) = (4 * hidden, self.sizes.state());
        self.forward.product(batch, h_before, hidden, gates, width, true);
        for row in 0..batch {
            let gates = &mut gates[row * width..][..width];
            let at_gates = (at.time * batch + row) * width;
            let at_state = row * hidden;
            if !self.peepholes.is_empty() {
                let c = &self.c[at.before * state + at_state..][..hidden];
                for gate in [0, 2] {
                    let (weights, gate) =
                        (&self.peepholes[gate * hidden..][..hidden], &mut gates[gate * hidden..][..hidden]);
                    gate.iter_mut().zip(weights).zip(c).for_each(|((gate, weight), c)| *gate += *weight * *c);
                }
            }
            // The output gate waits for the new state only where it peeps at it.
            let early = if self.peepholes.is_empty() { 3 * hidden } else { hidden };
            self.activate(0, &mut gates[..early], at_gates, true);
            if !self.peepholes.is_empty() {
                self.activate(0, &mut gates[2 * hidden..3 * hidden], at_gates + 2 * hidden, true);
            }
            self.activate(1, &mut gates[3 * hidden..], at_gates + 3 * hidden, true);
            let (i, rest) = gates.split_at_mut(hidden);
            let (o, rest) = rest.split_at_mut(hidden);
            let (f, g) = rest.split_at_mut(hidden);
            if self.coupled {
                f.iter_mut().zip(&*i).for_each(|(f, i)| *f = T::one() - *i);
            }
            let (before, after) = slots(&mut self.c, at, state);
            let (before, c) = (&before[at_state..][..hidden], &mut after[at_state..][..hidden]);
            for j in 0..hidden {
                c[j] = f[j] * before[j] + i[j] * g[j];
            }
            if !self.peepholes.is_empty() {
                let weights = &self.peepholes[hidden..2 * hidden];
                o.iter_mut().zip(weights).zip(&*c).for_each(|((o, weight), c)| *o += *weight * *c);
            }
            let at_squashed = at.time * state + at_state;
            let mut squashed = std::mem::take(&mut self.squashed);
            let to = &mut squashed[at_squashed..][..hidden];
            to.copy_from_slice(&self.c[at.after * state + at_state..][..hidden]);
            if !self.peepholes.is_empty() {
                self.activate(0, o, at_gates + hidden, true);
            }
            self.activate(2, to, at_squashed, false);
            let h = &mut h[at_state..][..hidden];
            h.iter_mut().zip(&*o).zip(&*to).for_each(|((h, o), squashed)| *h = *o * *squashed);
            self.squashed = squashed;
        }
    }

    fn begin_backward(&mut self, r: &[T]) {
        if let Some(backward) = &mut self.backward {
            backward.pack(r);
        }
    }

    fn d_state(&mut self) -> Option<&mut [T]> {
        Some(&mut self.dc)
    }

    fn backward(&mut self, at: At, gates: &[T], _: &[T], dh: &[T], d_gates: &mut [T], dh_before: &mut [T]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let (width, state) = (4 * hidden, self.sizes.state());
        let squashed = &self.squashed[at.time * state..][..state];
        match self.gate_slopes.get(at.time * batch * width..(at.time + 1) * batch * width) {
            Some(known) => self.slopes.copy_from_slice(known),
            None => {
                for (y, to) in gates.chunks_exact(width.max(1)).zip(self.slopes.chunks_exact_mut(width.max(1))) {
                    self.activations[0].slopes(&y[..3 * hidden], &mut to[..3 * hidden]);
                    self.activations[1].slopes(&y[3 * hidden..], &mut to[3 * hidden..]);
                }
            }
        }
        match self.squash_slopes.get(at.time * state..(at.time + 1) * state) {
            Some(known) => self.squash.copy_from_slice(known),
            None => self.activations[2].slopes(squashed, &mut self.squash),
        }
        for row in 0..batch {
            let at_state = row * hidden..(row + 1) * hidden;
            let c_before = &self.c[at.before * state..][at_state.clone()];
            let (dh, squashed) = (&dh[at_state.clone()], &squashed[at_state.clone()]);
            let (squash, dc) = (&self.squash[at_state.clone()], &mut self.dc[at_state]);
            let gates = &gates[row * width..][..width];
            let slopes = &self.slopes[row * width..][..width];
            let (i, o, f, g) = quarters(gates, hidden);
            let (i_slope, o_slope, f_slope, g_slope) = quarters(slopes, hidden);
            let d_gates = &mut d_gates[row * width..][..width];
            let (di, rest) = d_gates.split_at_mut(hidden);
            let (d_o, rest) = rest.split_at_mut(hidden);
            let (df, dg) = rest.split_at_mut(hidden);
            for j in 0..hidden {
                d_o[j] = dh[j] * squashed[j] * o_slope[j];
                dc[j] += dh[j] * o[j] * squash[j];
            }
            if !self.peepholes.is_empty() {
                let weights = &self.peepholes[hidden..2 * hidden];
                dc.iter_mut().zip(weights).zip(&*d_o).for_each(|((dc, weight), d_o)| *dc += *weight * *d_o);
            }
            for j in 0..hidden {
                dg[j] = dc[j] * i[j] * g_slope[j];
                let (by_i, by_f) = (dc[j] * g[j], dc[j] * c_before[j]);
                (di[j], df[j]) = match self.coupled {
                    false => (by_i * i_slope[j], by_f * f_slope[j]),
                    true => ((by_i - by_f) * i_slope[j], T::zero()),
                };
                dc[j] *= f[j];
            }
            if !self.peepholes.is_empty() {
                let (input, forget) = (&self.peepholes[..hidden], &self.peepholes[2 * hidden..]);
                for j in 0..hidden {
                    dc[j] += input[j] * di[j] + forget[j] * df[j];
                }
            }
        }
        if let Some(backward) = &self.backward {
            backward.product(batch, d_gates, width, dh_before, hidden, false);
        }
    }

    fn d_peepholes(&self, before: usize, after: usize, d_gates: &[T], dp: &mut [T]) {
        let Sizes { hidden, .. } = self.sizes;
        dp.fill(T::zero());
        if hidden == 0 {
            return;
        }
        let states = self.c[before..].chunks_exact(hidden).zip(self.c[after..].chunks_exact(hidden));
        for (d_gates, (c_before, c)) in d_gates.chunks_exact(4 * hidden).zip(states) {
            let (di, d_o, df, _) = quarters(d_gates, hidden);
            for (to, gradient, state) in [(0, di, c_before), (1, d_o, c), (2, df, c_before)] {
                let to = &mut dp[to * hidden..][..hidden];
                to.iter_mut().zip(gradient).zip(state).for_each(|((to, gradient), state)| *to += *gradient * *state);
            }
        }
    }
}

/// The parts of a row that belong to the four gates.
fn quarters<T>(row: &[T], hidden: usize) -> (&[T], &[T], &[T], &[T]) {
    let (first, rest) = row.split_at(hidden);
    let (second, rest) = rest.split_at(hidden);
    let (third, fourth) = rest.split_at(hidden);
    (first, second, third, &fourth[..hidden])
}

#[cfg(test)]
mod tests {
    use super::super::recurrent::naive::{self, Setup, Side, sigmoid};
    use crate::engine::testing::{Case, check};
    use crate::onnx::AttributeValue;
    use crate::tensor::Tensor;

    type F = fn(f64) -> f64;

    /// The formulas of ONNX, one number at a time.
    fn case_of(setup: Setup, coupled: bool, clip: f64, functions: [F; 6]) -> Case {
        naive::case(4, Setup { outputs: 3, ..setup }, |direction, side: &Side, x, h, c| {
            let at = 3 * direction;
            let f = |x: f64| functions[at](x.clamp(-clip, clip));
            let g = |x: f64| functions[at + 1](x.clamp(-clip, clip));
            let squash = |x: f64| functions[at + 2](x.clamp(-clip, clip));
            let u = |gate: usize, j: usize| side.w(gate, j, x) + side.r(gate, j, h) + side.rb(gate, j);
            let states: Vec<(f64, f64)> = (0..side.hidden)
                .map(|j| {
                    let input = f(u(0, j) + side.p(0, j) * c[j]);
                    let forget = if coupled { 1.0 - input } else { f(u(2, j) + side.p(2, j) * c[j]) };
                    let c = forget * c[j] + input * g(u(3, j));
                    (f(u(1, j) + side.p(1, j) * c) * squash(c), c)
                })
                .collect();
            states.into_iter().unzip()
        })
    }

    fn case(setup: Setup) -> Case {
        case_of(setup, false, f64::INFINITY, [sigmoid, f64::tanh, f64::tanh, sigmoid, f64::tanh, f64::tanh])
    }

    fn names(names: &[&str]) -> AttributeValue {
        AttributeValue::Strings(names.iter().map(|name| name.as_bytes().to_vec()).collect())
    }

    #[test]
    fn cases() {
        let plain = Setup::default();
        let full = Setup { initial_h: true, initial_c: true, peepholes: true, ..plain };
        let both = Setup { direction: "bidirectional", ..full };
        let standard: [F; 6] = [sigmoid, f64::tanh, f64::tanh, sigmoid, f64::tanh, f64::tanh];
        let odd: [F; 6] = [
            |x| (0.25 * x + 0.375).clamp(0.0, 1.0),
            |x| x / (1.0 + x.abs()),
            |x| 0.75 * x + 0.125,
            |x| 0.875 * (0.5 * x).tanh(),
            |x| if x < 0.0 { 0.125 * x } else { x },
            |x| (1.0 + x.exp()).ln(),
        ];
        let oddly = |case: Case| {
            case.attribute(
                "activations",
                names(&["HardSigmoid", "Softsign", "Affine", "ScaledTanh", "LeakyRelu", "Softplus"]),
            )
            .attribute("activation_alpha", AttributeValue::Floats(vec![0.25, 0.75, 0.875, 0.125]))
            .attribute("activation_beta", AttributeValue::Floats(vec![0.375, 0.125, 0.5]))
        };
        check(
            "LSTM",
            &[
                case(Setup { bias: false, ..plain }),
                case(Setup { direction: "reverse", ..plain }),
                case(full),
                case(both).int("hidden_size", 3),
                case(Setup { batch_first: true, ..both }),
                case(Setup { sizes: [4, 1, 3, 5], batch_first: true, ..plain }),
                case(Setup { sizes: [5, 3, 2, 2], lens: Some(&[2, 5, 0]), ..both }),
                case(Setup { sizes: [4, 2, 2, 2], lens: Some(&[1, 3]), batch_first: true, ..both }),
                case(Setup { sizes: [4, 2, 2, 2], lens: Some(&[4, 4]), ..plain }),
                case(Setup { sizes: [2, 7, 1, 17], ..plain }),
                case(Setup { sizes: [0, 2, 2, 2], ..full }),
                case(Setup { sizes: [2, 0, 2, 2], ..full }),
                case(Setup { sizes: [2, 2, 0, 2], ..full }),
                case_of(full, true, f64::INFINITY, standard).int("input_forget", 1),
                case_of(Setup { peepholes: false, ..both }, true, 0.5, standard)
                    .int("input_forget", 1)
                    .float("clip", 0.5),
                case_of(both, false, 0.25, standard).float("clip", 0.25),
                case(Setup { initial_c: true, ..plain }),
                oddly(case_of(both, false, f64::INFINITY, odd)),
                oddly(case_of(Setup { lens: Some(&[1, 3]), ..both }, true, 0.75, odd))
                    .int("input_forget", 1)
                    .float("clip", 0.75),
            ],
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let inputs =
            |x: &[usize], w: &[usize], r: &[usize]| Case::new().random_input(x).random_input(w).random_input(r);
        let plain = || inputs(&[2, 1, 3], &[1, 8, 3], &[1, 8, 2]);
        check(
            "LSTM",
            &[
                inputs(&[2, 3], &[1, 8, 3], &[1, 8, 2]).error("expected rank 3"),
                inputs(&[2, 1, 3], &[1, 8, 4], &[1, 8, 2]).error("input 1"),
                inputs(&[2, 1, 3], &[1, 6, 3], &[1, 8, 2]).error("input 1"),
                inputs(&[2, 1, 3], &[1, 8, 3], &[1, 6, 2]).error("input 2"),
                plain().random_input(&[1, 8]).error("input 3"),
                plain().left_out().ints(&[1], &[2]).error("expected i32, found i64"),
                plain().left_out().tensor(Tensor::from_vec(vec![3i32])).error("lengths from 0 to 2, found 3"),
                plain().left_out().tensor(Tensor::from_vec(vec![-1i32])).error("lengths from 0 to 2, found -1"),
                plain().left_out().left_out().random_input(&[1, 1, 3]).error("input 5"),
                plain().left_out().left_out().left_out().left_out().random_input(&[1, 8]).error("input 7"),
                plain().string("direction", "bidirectional").error("input 1"),
                plain().string("direction", "backward").error("forward, reverse or bidirectional"),
                plain().int("hidden_size", 3).error("3 columns (hidden_size)"),
                plain().int("hidden_size", -3).error("a size above 0"),
                plain().float("clip", -1.0).error("not negative"),
                plain().int("layout", 2).error("expected 0 or 1"),
                plain().attribute("activations", names(&["Tanh"])).error("3 names"),
                plain().attribute("activations", names(&["Tanh", "Tanh", "Cosh"])).error("`Cosh`"),
                plain().attribute("activation_alpha", AttributeValue::Floats(vec![1.0])).error("at most 0 numbers"),
                plain().output_count(4).error("outputs"),
                Case::new().random_input(&[2, 1, 3]).random_input(&[1, 8, 3]).error("3 to 8 inputs"),
            ],
        );
    }
}
