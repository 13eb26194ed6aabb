//! RNN: the simple recurrent network, `H = f(U + R·h)`, where `h` is the state before.
//!
//! Backward, with `f'` for the derivative: `dU = dH∘f'`, `dh = Rᵀ·dU`. `X` is `[T, N, I]`, `Y` is `[T, D, N, H]`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__RNN.html>. Source: Elman, "Finding structure in time", Cognitive Science
//! 14 (1990).

use super::activation::{Activation, Function};
use super::recurrent::{At, Given, Making, Recurrent, Settings, Sizes, Unit};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Kernel, bytes};
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::recurrent_simd::{Lanes, Packed};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "RNN", since: 7, parse };

const DEFAULTS: [Function; 1] = [Function::Tanh];

#[derive(Clone, Debug)]
struct Rnn {
    settings: Settings,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Rnn { settings: Settings::read(node, &DEFAULTS)? }))
}

impl Op for Rnn {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.settings.attributes(&DEFAULTS)
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=6, 0..=2)?;
        self.settings.infer(inputs, 1)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let dtype = signature.input(0)?.dtype;
        with_float!(dtype, T => Box::new(Recurrent::<T, RnnUnit<T>>::new(&self.settings, &(), signature)?))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index != 4
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1, 2], &[])
    }
}

/// One time step.
struct RnnUnit<T> {
    sizes: Sizes,
    activation: Activation,
    clip: Option<f32>,
    forward: Packed<T>,
    backward: Option<Packed<T>>,
    /// Derivatives of the activation at all time steps; empty where they follow from the values.
    all_slopes: Vec<T>,
    /// Those of one time step.
    slopes: Vec<T>,
}

impl<T: Lanes> Unit<T> for RnnUnit<T> {
    const GATES: usize = 1;

    type Options = ();

    fn new(_: &(), making: &Making<'_>) -> Self {
        let sizes = making.sizes;
        let hidden = sizes.hidden;
        RnnUnit {
            sizes,
            activation: making.activations.first().copied().unwrap_or_else(|| Activation::new(DEFAULTS[0])),
            clip: making.clip,
            forward: Packed::new(hidden, hidden),
            backward: making.training.then(|| Packed::new(hidden, hidden)),
            all_slopes: making.slopes(sizes.time * sizes.state()),
            slopes: making.backward(sizes.state()),
        }
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.all_slopes)
    }

    fn begin(&mut self, given: Given<'_, T>, bias: &mut [T]) {
        self.forward.pack_transposed(given.r);
        given.sum_of_biases(bias);
    }

    fn forward(&mut self, at: At, gates: &mut [T], h_before: &[T], h: &mut [T]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let state = self.sizes.state();
        self.forward.product(batch, h_before, hidden, gates, hidden, true);
        match self.all_slopes.get_mut(at.time * state..(at.time + 1) * state) {
            Some(slopes) => self.activation.apply_with_slopes(self.clip, gates, slopes),
            None => self.activation.apply(self.clip, gates),
        }
        h.copy_from_slice(gates);
    }

    fn begin_backward(&mut self, r: &[T]) {
        if let Some(backward) = &mut self.backward {
            backward.pack(r);
        }
    }

    fn backward(&mut self, at: At, gates: &[T], _: &[T], dh: &[T], d_gates: &mut [T], dh_before: &mut [T]) {
        let Sizes { batch, hidden, .. } = self.sizes;
        let state = self.sizes.state();
        let slopes = match self.all_slopes.get(at.time * state..(at.time + 1) * state) {
            Some(known) => known,
            None => {
                self.activation.slopes(gates, &mut self.slopes);
                &self.slopes
            }
        };
        d_gates.iter_mut().zip(dh).zip(slopes).for_each(|((d_gate, dh), slope)| *d_gate = *dh * *slope);
        if let Some(backward) = &self.backward {
            backward.product(batch, d_gates, hidden, dh_before, hidden, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recurrent::naive::{self, Setup};
    use crate::engine::testing::{Case, check};
    use crate::onnx::AttributeValue;

    fn case(setup: Setup, f: [fn(f64) -> f64; 2]) -> Case {
        naive::case(1, setup, |direction, side, x, h, _| {
            let u = |j: usize| side.w(0, j, x) + side.r(0, j, h) + side.rb(0, j);
            ((0..side.hidden).map(|j| f[direction](u(j))).collect(), vec![0.0; side.hidden])
        })
    }

    #[test]
    fn cases() {
        let plain = Setup::default();
        let both = Setup { direction: "bidirectional", initial_h: true, ..plain };
        let tanh: [fn(f64) -> f64; 2] = [f64::tanh; 2];
        let names =
            |names: &[&str]| AttributeValue::Strings(names.iter().map(|name| name.as_bytes().to_vec()).collect());
        check(
            "RNN",
            &[
                case(Setup { bias: false, ..plain }, tanh),
                case(plain, tanh).int("hidden_size", 3),
                case(Setup { direction: "reverse", ..plain }, tanh),
                case(both, tanh),
                case(Setup { batch_first: true, ..both }, tanh),
                case(Setup { sizes: [5, 3, 2, 2], lens: Some(&[2, 5, 0]), ..both }, tanh),
                case(Setup { sizes: [4, 2, 2, 2], lens: Some(&[1, 3]), batch_first: true, ..both }, tanh),
                case(Setup { sizes: [3, 1, 2, 70], outputs: 1, ..plain }, tanh),
                case(Setup { sizes: [0, 2, 2, 2], ..both }, tanh),
                case(both, [|x| x.max(0.0), |x| 0.5 * x + 0.25])
                    .attribute("activations", names(&["relu", "Affine"]))
                    .attribute("activation_alpha", AttributeValue::Floats(vec![0.5]))
                    .attribute("activation_beta", AttributeValue::Floats(vec![0.25])),
                case(both, [|x| x.clamp(-0.25, 0.25).tanh(), |x| x.clamp(-0.25, 0.25).tanh()]).float("clip", 0.25),
                case(plain, tanh).output_count(3).error("outputs"),
                case(Setup { initial_c: true, ..plain }, tanh).error("3 to 6 inputs"),
                case(plain, tanh).int("linear_before_reset", 1).error("linear_before_reset"),
                case(plain, tanh).attribute("activations", names(&[])).error("1 names, found 0 names"),
            ],
        );
    }
}
