//! The activation functions of recurrent operators, by name, with their `alpha` and `beta`.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__LSTM.html>, "Activation functions".

use crate::engine::attributes::NodeReader;
use crate::engine::error::OpError;
use crate::engine::kernels::recurrent_simd::Lanes;
use crate::onnx::AttributeValue;

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `max(0, x)`
    Relu,
    /// `tanh(x)`
    Tanh,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `alpha·x + beta`
    Affine,
    /// `x` where not negative, else `alpha·x`
    LeakyRelu,
    /// `x` where at least `alpha`, else 0
    ThresholdedRelu,
    /// `alpha·tanh(beta·x)`
    ScaledTanh,
    /// `min(max(alpha·x + beta, 0), 1)`
    HardSigmoid,
    /// `x` where not negative, else `alpha·(eˣ - 1)`
    Elu,
    /// `x / (1 + |x|)`
    Softsign,
    /// `ln(1 + eˣ)`
    Softplus,
}

use Function::*;

/// Each function, its name, and the defaults of those parameters that it takes.
const TABLE: [(Function, &str, Option<f32>, Option<f32>); 11] = [
    (Relu, "Relu", None, None),
    (Tanh, "Tanh", None, None),
    (Sigmoid, "Sigmoid", None, None),
    (Affine, "Affine", Some(1.0), Some(0.0)),
    (LeakyRelu, "LeakyRelu", Some(0.01), None),
    (ThresholdedRelu, "ThresholdedRelu", Some(1.0), None),
    (ScaledTanh, "ScaledTanh", Some(1.0), Some(1.0)),
    (HardSigmoid, "HardSigmoid", Some(0.2), Some(0.5)),
    (Elu, "Elu", Some(1.0), None),
    (Softsign, "Softsign", None, None),
    (Softplus, "Softplus", None, None),
];

/// A function with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation {
    function: Function,
    /// `None` where the function takes none.
    alpha: Option<f32>,
    beta: Option<f32>,
}

impl Activation {
    /// The function with its default parameters.
    pub fn new(function: Function) -> Self {
        let (_, _, alpha, beta) = TABLE[TABLE.iter().position(|(known, ..)| *known == function).unwrap_or(0)];
        Activation { function, alpha, beta }
    }

    /// The attributes `activations`, `activation_alpha` and `activation_beta`: `defaults`, once for each direction,
    /// unless given. The numbers go, in order, to the functions that take one; where they end, defaults follow.
    pub fn read(node: &NodeReader<'_>, defaults: &[Function], directions: usize) -> Result<Vec<Self>, OpError> {
        let count = defaults.len() * directions;
        let mut all: Vec<Activation> = Vec::with_capacity(count);
        match node.strings("activations")? {
            None => (0..directions).for_each(|_| all.extend(defaults.iter().copied().map(Activation::new))),
            Some(names) => {
                let wrong = |expected: String, found: String| OpError::Attribute {
                    name: "activations".into(),
                    expected,
                    found,
                };
                if names.len() != count {
                    return Err(wrong(format!("{count} names"), format!("{} names", names.len())));
                }
                for name in names {
                    let known = TABLE.iter().find(|(_, known, ..)| known.eq_ignore_ascii_case(name));
                    let expected = || TABLE.map(|(_, name, ..)| name).join(", ");
                    let known = known.ok_or_else(|| wrong(format!("one of {}", expected()), format!("`{name}`")))?;
                    all.push(Activation::new(known.0));
                }
            }
        }
        let mut give = |name: &'static str, parameter: fn(&mut Activation) -> &mut Option<f32>| {
            let given = node.floats(name)?.unwrap_or_default();
            let mut takers: Vec<&mut f32> = all.iter_mut().filter_map(|one| parameter(one).as_mut()).collect();
            if given.len() > takers.len() {
                return Err(OpError::Attribute {
                    name: name.into(),
                    expected: format!("at most {} numbers, one for each activation that takes it", takers.len()),
                    found: given.len().to_string(),
                });
            }
            takers.iter_mut().zip(given).for_each(|(taker, value)| **taker = value);
            Ok(())
        };
        give("activation_alpha", |one| &mut one.alpha)?;
        give("activation_beta", |one| &mut one.beta)?;
        Ok(all)
    }

    /// The attributes that [`read`](Activation::read) makes `all` of.
    pub fn attributes(all: &[Self], defaults: &[Function]) -> Vec<(&'static str, AttributeValue)> {
        if all.chunks(defaults.len()).all(|part| part.iter().map(|one| one.function).eq(defaults.iter().copied())) {
            return Vec::new();
        }
        let name =
            |one: &Activation| TABLE.iter().find(|(known, ..)| *known == one.function).map(|(_, name, ..)| *name);
        let names = all.iter().filter_map(name).map(|name| name.as_bytes().to_vec()).collect();
        let mut attributes = vec![("activations", AttributeValue::Strings(names))];
        let alphas: Vec<f32> = all.iter().filter_map(|one| one.alpha).collect();
        let betas: Vec<f32> = all.iter().filter_map(|one| one.beta).collect();
        for (name, values) in [("activation_alpha", alphas), ("activation_beta", betas)] {
            if !values.is_empty() {
                attributes.push((name, AttributeValue::Floats(values)));
            }
        }
        attributes
    }

    /// Whether [`slopes`](Activation::slopes) knows the derivative from the value alone.
    pub fn is_known_by_value(&self) -> bool {
        matches!(self.function, Relu | Tanh | Sigmoid)
    }

    /// Replaces each `x` by `f(x)`, of `x` bounded to `±clip` first.
    pub fn apply<T: Lanes>(&self, clip: Option<f32>, values: &mut [T]) {
        if let Some(clip) = clip {
            let clip = T::of(f64::from(clip));
            values.iter_mut().for_each(|x| *x = bounded(*x, clip));
        }
        match self.function {
            Sigmoid => T::sigmoid_all(values),
            Tanh => T::tanh_all(values),
            Relu => values.iter_mut().for_each(|x| *x = positive(*x)),
            _ => values.iter_mut().for_each(|x| *x = self.value_and_slope(*x).0),
        }
    }

    /// The same, and the derivatives.
    pub fn apply_with_slopes<T: Lanes>(&self, clip: Option<f32>, values: &mut [T], slopes: &mut [T]) {
        let clip = clip.map(|clip| T::of(f64::from(clip)));
        for (x, to) in values.iter_mut().zip(slopes) {
            let inside = clip.map_or(*x, |clip| bounded(*x, clip));
            let (value, slope) = self.value_and_slope(inside);
            *to = if inside == *x { slope } else { T::zero() };
            *x = value;
        }
    }

    /// The derivatives where the values are `y`; only for those that are known by value.
    pub fn slopes<T: Lanes>(&self, y: &[T], to: &mut [T]) {
        let one = T::one();
        let pairs = to.iter_mut().zip(y);
        match self.function {
            Sigmoid => pairs.for_each(|(to, y)| *to = *y * (one - *y)),
            Tanh => pairs.for_each(|(to, y)| *to = one - *y * *y),
            _ => pairs.for_each(|(to, y)| *to = if *y > T::zero() { one } else { T::zero() }),
        }
    }

    fn value_and_slope<T: Lanes>(&self, x: T) -> (T, T) {
        let parameter = |value: Option<f32>| T::of(f64::from(value.unwrap_or(0.0)));
        let (alpha, beta) = (parameter(self.alpha), parameter(self.beta));
        let (zero, one) = (T::zero(), T::one());
        match self.function {
            Relu => (positive(x), if x > zero { one } else { zero }),
            Tanh => (x.tanh(), one - x.tanh().powi(2)),
            Sigmoid => {
                let y = one / (one + (-x).exp());
                (y, y * (one - y))
            }
            Affine => (alpha * x + beta, alpha),
            LeakyRelu if x < zero => (alpha * x, alpha),
            ThresholdedRelu if x < alpha => (zero, zero),
            LeakyRelu | ThresholdedRelu => (x, one),
            ScaledTanh => {
                let y = (beta * x).tanh();
                (alpha * y, alpha * beta * (one - y * y))
            }
            HardSigmoid => {
                let y = alpha * x + beta;
                let inside = y > zero && y < one;
                (
                    if y < zero {
                        zero
                    } else if y > one {
                        one
                    } else {
                        y
                    },
                    if inside { alpha } else { zero },
                )
            }
            Elu if x < zero => (alpha * x.exp_m1(), alpha * x.exp()),
            Elu => (x, one),
            Softsign => (x / (one + x.abs()), (one + x.abs()).powi(2).recip()),
            Softplus => (positive(x) + (-x.abs()).exp().ln_1p(), one / (one + (-x).exp())),
        }
    }
}

/// `max(0, x)`, a NaN stays one.
fn positive<T: Lanes>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// The nearest number to `x` between `-clip` and `clip`, a NaN stays one.
fn bounded<T: Lanes>(x: T, clip: T) -> T {
    if x > clip {
        clip
    } else if x < -clip {
        -clip
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_its_formula_and_its_slope_the_derivative() {
        type Formula = fn(f64) -> f64;
        let cases: [(Function, Formula); 11] = [
            (Relu, |x| x.max(0.0)),
            (Tanh, |x| (1.0 - (-2.0 * x).exp()) / (1.0 + (-2.0 * x).exp())),
            (Sigmoid, |x| 1.0 / (1.0 + (-x).exp())),
            (Affine, |x| 0.75 * x - 0.5),
            (LeakyRelu, |x| if x >= 0.0 { x } else { 0.75 * x }),
            (ThresholdedRelu, |x| if x >= 0.75 { x } else { 0.0 }),
            (ScaledTanh, |x| 0.75 * (-0.5 * x).tanh()),
            (HardSigmoid, |x| (0.75 * x - 0.5).clamp(0.0, 1.0)),
            (Elu, |x| if x >= 0.0 { x } else { 0.75 * (x.exp() - 1.0) }),
            (Softsign, |x| x / (1.0 + x.abs())),
            (Softplus, |x| (1.0 + x.exp()).ln()),
        ];
        for (function, formula) in cases {
            let mut activation = Activation::new(function);
            activation.alpha = activation.alpha.map(|_| 0.75);
            activation.beta = activation.beta.map(|_| -0.5);
            for x in [-3.1, -1.3, -0.2, 0.1, 0.6, 0.9, 1.7, 2.9] {
                let mut value = [x];
                activation.apply(None, &mut value);
                assert!((value[0] - formula(x)).abs() < 1e-12, "{function:?}({x}): {}", value[0]);
                let (mut again, mut slope) = ([x], [0.0]);
                activation.apply_with_slopes(None, &mut again, &mut slope);
                assert!((value[0] - again[0]).abs() < 1e-12, "{function:?}({x})");
                let expected = (formula(x + 1e-6) - formula(x - 1e-6)) / 2e-6;
                assert!((slope[0] - expected).abs() < 1e-8, "{function:?}'({x}): {} {expected}", slope[0]);
                if activation.is_known_by_value() {
                    let mut by_value = [0.0];
                    activation.slopes(&value, &mut by_value);
                    assert!((by_value[0] - slope[0]).abs() < 1e-12, "{function:?}'({x}) by value");
                }
                let (mut clipped, mut slope) = ([x], [0.0]);
                activation.apply_with_slopes(Some(0.5), &mut clipped, &mut slope);
                assert!((clipped[0] - formula(x.clamp(-0.5, 0.5))).abs() < 1e-12, "{function:?}({x}) clipped");
                assert!(x.abs() < 0.5 || slope[0] == 0.0, "{function:?}'({x}) clipped");
            }
        }
    }

    #[test]
    fn large_numbers_stay_numbers() {
        for x in [1e4f64, -1e4] {
            for (function, name, ..) in TABLE {
                let (value, slope) = Activation::new(function).value_and_slope(x);
                assert!(value.is_finite() && slope.is_finite(), "{name}({x}): {value} {slope}");
            }
        }
    }
}
