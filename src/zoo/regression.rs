//! Linear and logistic regression.
//!
//! Sources: Legendre, *Nouvelles méthodes pour la détermination des orbites des comètes*, 1805; Cox, *The regression
//! analysis of binary sequences*, 1958.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Architecture, perceptron};
use crate::engine::EngineError;
use crate::onnx::Model;

/// `x` `[batch, inputs]` → `y = W·x + b` `[batch, outputs]`, weights zero at first. Trained with the loss `squared` (least
/// squares), or `absolute` or `huber` against outliers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinearRegression {
    /// Features.
    #[schemars(range(min = 1))]
    pub inputs: usize,
    /// Numbers to predict. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub outputs: usize,
}

/// `x` `[batch, inputs]` → `y = W·x + b` `[batch, classes]`, logits, weights zero at first. Trained with the loss
/// `cross_entropy`; with one output, the log-odds of a yes, with `binary_cross_entropy` and targets 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogisticRegression {
    /// Features.
    #[schemars(range(min = 1))]
    pub inputs: usize,
    /// Classes, each with an output; 1: the log-odds of a yes. Default: 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub classes: usize,
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

impl Architecture for LinearRegression {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        perceptron::one_layer("linear_regression", self.inputs, self.outputs, seed)
    }
}

impl Architecture for LogisticRegression {
    fn build(&self, seed: u64) -> Result<Model, EngineError> {
        perceptron::one_layer("logistic_regression", self.inputs, self.classes, seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::optimizers::Sgd;
    use crate::engine::{Loss, Optimizer, Training, TrainingOptions};
    use crate::tensor::Tensor;

    fn train(model: &Model, loss: &str, x: &Tensor, target: &Tensor, steps: usize) -> Training {
        let optimizer = Optimizer::Sgd(Sgd { learning_rate: 0.1 });
        let mut training = Training::new(model, TrainingOptions::new(Loss::new(loss).unwrap(), optimizer)).unwrap();
        for _ in 0..steps {
            training.step(&[("x", x), ("target", target)]).unwrap();
        }
        training
    }

    fn weight(training: &Training, name: &str) -> Vec<f32> {
        training.model().graph.initializer(name).unwrap().as_slice::<f32>().unwrap().to_vec()
    }

    #[test]
    fn least_squares_finds_the_line() {
        let (slopes, offset) = ([2.0f32, -0.5], 0.25f32);
        let rows: Vec<f32> = (0..40).map(|at| (at as f32 * 1.7).sin()).collect();
        let targets = rows.chunks(2).map(|row| slopes[0] * row[0] + slopes[1] * row[1] + offset).collect::<Vec<f32>>();
        let (x, target) = (Tensor::new(vec![20, 2], rows).unwrap(), Tensor::new(vec![20, 1], targets).unwrap());
        let model = LinearRegression { inputs: 2, outputs: 1 }.build(1).unwrap();
        let training = train(&model, "squared", &x, &target, 400);
        for (found, expected) in weight(&training, "out.weight").iter().zip(slopes) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
        assert!((weight(&training, "out.bias")[0] - offset).abs() < 1e-3);
    }

    #[test]
    fn log_odds_are_those_of_the_data() {
        // Yes in 3 of 4 cases where x is 1, in 1 of 4 where it is 0: odds of 3 and 1/3.
        let x = Tensor::new(vec![8, 1], vec![1.0f32, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        let yes = [1i64, 1, 1, 0, 0, 0, 0, 1];
        let odds = 3f32.ln();
        let target = Tensor::new(vec![8, 1], yes.map(|yes| yes as f32).to_vec()).unwrap();
        let model = LogisticRegression { inputs: 1, classes: 1 }.build(1).unwrap();
        let training = train(&model, "binary_cross_entropy", &x, &target, 2000);
        let (slope, offset) = (weight(&training, "out.weight")[0], weight(&training, "out.bias")[0]);
        assert!((slope - 2.0 * odds).abs() < 0.02 && (offset + odds).abs() < 0.02, "{slope} {offset}");
        // Two outputs say the same by their difference.
        let model = LogisticRegression { inputs: 1, classes: 2 }.build(1).unwrap();
        let training = train(&model, "cross_entropy", &x, &Tensor::from_vec(yes.to_vec()), 2000);
        let (slopes, offsets) = (weight(&training, "out.weight"), weight(&training, "out.bias"));
        let (slope, offset) = (slopes[1] - slopes[0], offsets[1] - offsets[0]);
        assert!((slope - 2.0 * odds).abs() < 0.02 && (offset + odds).abs() < 0.02, "{slope} {offset}");
    }
}
