//! Local contrast normalization: each position less the mean around it, over the deviation around it.

use super::{Builder, LayerEntry, Value};
use crate::engine::error::EngineError;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: LayerEntry = LayerEntry {
    name: "LocalContrast",
    summary: "each position less the mean around it, over the deviation around it",
    ranks: 4..=4,
    sizes: &[2, 2, 5, 4],
    tokens: None,
    example: |graph, x| LocalContrast::new(3).apply(graph, x),
};

/// Local contrast normalization (Jarrett, Kavukcuoglu, Ranzato and LeCun, *What is the best multi-stage architecture for
/// object recognition?*, ICCV 2009, section 2.1), on pictures: `[N, C, H, W]` → the same shape.
///
/// With Gaussian weights `w` over a square window and all channels, which sum to one:
/// - subtractive: `v = x − Σ w·x`;
/// - divisive: `σ = √(Σ w·v² + ε²)` at each position, `y = v / max(c, σ)`, where `c` is the mean of `σ` over the picture.
///
/// At the border the weights inside the picture are scaled up to sum to one. ε (10⁻⁴) keeps an even picture, and its
/// gradient, finite; the paper has none. Without weights that are trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalContrast {
    window: usize,
    deviation: f64,
    epsilon: f64,
    divisive: bool,
}

impl LocalContrast {
    /// A window of `window × window` (the paper: 9; an odd number), the Gaussian's deviation a quarter of it.
    pub fn new(window: usize) -> Self {
        LocalContrast { window, deviation: window as f64 / 4.0, epsilon: 1e-4, divisive: true }
    }

    /// Another deviation of the Gaussian, in pixels.
    pub fn deviation(mut self, deviation: f64) -> Self {
        self.deviation = deviation;
        self
    }

    /// Only subtractive.
    pub fn subtractive(mut self) -> Self {
        self.divisive = false;
        self
    }

    /// Another ε, in units of the input.
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// Adds it to a graph.
    pub fn apply(&self, graph: &mut Builder, x: &Value) -> Result<Value, EngineError> {
        if x.shape().rank() != Some(4) {
            return Err(graph.misfit("local contrast normalization", "pictures [N, C, H, W]", x));
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self.window.is_multiple_of(2)
            || self.window > MAX_WINDOW
            || !positive(self.deviation)
            || !positive(self.epsilon)
        {
            return Err(graph.fault(format!(
                "local contrast normalization: expected an odd window up to {MAX_WINDOW}, a deviation and an ε above \
                 zero, found {}, {} and {}",
                self.window, self.deviation, self.epsilon
            )));
        }
        let gaussian = self.gaussian();
        let column = graph.numbers(&[1, 1, self.window, 1], &gaussian)?;
        let row = graph.numbers(&[1, 1, 1, self.window], &gaussian)?;
        let kernels = [column, row];
        // What of the window lies inside the picture.
        let (shape, one) =
            (graph.node("Shape", &[x], &[("start", AttributeValue::Int(2))])?, graph.numbers(&[], &[1.0])?);
        let plane = graph.integers(&[1, 1])?;
        let plane = graph.node("Concat", &[&plane, &shape], &[("axis", AttributeValue::Int(0))])?;
        let ones = graph.node("Expand", &[&one, &plane], &[])?;
        let inside = self.blurred(graph, &ones, &kernels)?;

        let mean = self.around(graph, x, &kernels, &inside)?;
        let centred = graph.node("Sub", &[x, &mean], &[])?;
        if !self.divisive {
            return Ok(centred);
        }
        let squares = graph.node("Mul", &[&centred, &centred], &[])?;
        let variance = self.around(graph, &squares, &kernels, &inside)?;
        let least = graph.numbers(&[], &[self.epsilon * self.epsilon])?;
        let variance = graph.node("Add", &[&variance, &least], &[])?;
        let deviation = graph.node("Sqrt", &[&variance], &[])?;
        let axes = graph.integers(&[1, 2, 3])?;
        let general = graph.node("ReduceMean", &[&deviation, &axes], &[])?;
        let divisor = graph.node("Max", &[&deviation, &general], &[])?;
        graph.node("Div", &[&centred, &divisor], &[])
    }

    /// `Σ w·x` at each position `[N, 1, H, W]`.
    fn around(&self, graph: &mut Builder, x: &Value, kernels: &[Value], inside: &Value) -> Result<Value, EngineError> {
        let channels = graph.integers(&[1])?;
        let mean = graph.node("ReduceMean", &[x, &channels], &[])?;
        let sum = self.blurred(graph, &mean, kernels)?;
        graph.node("Div", &[&sum, inside], &[])
    }

    /// One channel convolved with the Gaussian, zeros around the picture: the Gaussian of a square is one of its height
    /// times one of its width.
    fn blurred(&self, graph: &mut Builder, x: &Value, kernels: &[Value]) -> Result<Value, EngineError> {
        let half = (self.window / 2) as i64;
        let mut blurred = x.clone();
        for (kernel, pads) in kernels.iter().zip([[half, 0, half, 0], [0, half, 0, half]]) {
            blurred = graph.node("Conv", &[&blurred, kernel], &[("pads", AttributeValue::Ints(pads.to_vec()))])?;
        }
        Ok(blurred)
    }

    /// The Gaussian over the window, with sum 1.
    fn gaussian(&self) -> Vec<f64> {
        let middle = (self.window / 2) as f64;
        let values = (0..self.window).map(|at| (-0.5 * ((at as f64 - middle) / self.deviation).powi(2)).exp());
        let values: Vec<f64> = values.collect();
        let sum: f64 = values.iter().sum();
        values.into_iter().map(|value| value / sum).collect()
    }
}

/// The widest window.
const MAX_WINDOW: usize = 1 << 12;
