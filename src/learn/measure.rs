//! How far an answer is from its target, sample by sample.

use super::config::{LearnConfig, Measured};
use super::error::LearnError;
use super::sample::{Sample, Target, numbers};
use crate::engine::optimizers::Sgd;
use crate::engine::{Loss, Network, Optimizer, Training, TrainingOptions};
use crate::onnx::{Graph, Model, Node, ValueInfo};
use crate::tensor::{DType, SymbolicShape, Tensor};

/// The name under which the loss takes its target: no graph has it.
pub(super) const TARGET: &str = "percept.target";
const SCORES: &str = "percept.scores";

/// Losses that tell one class from others.
const OF_CLASSES: &[&str] = &["cross_entropy", "binary_cross_entropy", "hinge", "perceptron", "kl"];
/// Those whose two classes are −1 and 1.
const OF_SIGNS: &[&str] = &["hinge", "perceptron"];

/// What a model is measured by.
pub(super) struct Measure {
    loss: &'static str,
    kind: Measured,
    /// The loss alone, over scores that are given.
    alone: Training,
    dtype: DType,
}

impl Measure {
    /// By these settings, for scores of this type.
    pub fn new(config: &LearnConfig, loss: &Loss, dtype: DType) -> Result<Self, LearnError> {
        let kind = config.measure.unwrap_or(match OF_CLASSES.contains(&loss.name()) {
            true => Measured::Error,
            false => Measured::Loss,
        });
        let graph = Graph {
            name: "loss".into(),
            inputs: vec![ValueInfo::tensor(SCORES, dtype, SymbolicShape::Unranked)],
            outputs: vec![ValueInfo::tensor("y", dtype, SymbolicShape::Unranked)],
            nodes: vec![Node::new("Identity", [SCORES], ["y"])],
            ..Graph::default()
        };
        let options = TrainingOptions::new(loss.clone().of(&["y"]).targets(&[TARGET]), Optimizer::Sgd(Sgd::default()));
        let mut alone = Training::new(&Model::new(graph, 17), options)?;
        alone.network().set_plan_memory(8 << 20);
        Ok(Measure { loss: loss.name(), kind, alone, dtype })
    }

    pub fn kind(&self) -> Measured {
        self.kind
    }

    /// The target as the loss takes it, for one sample whose scores have `shape` (the batch axis, of size 1, first).
    pub fn target(&self, target: &Target, shape: &[usize]) -> Result<Tensor, String> {
        let classes = shape.get(1).copied().unwrap_or(1);
        let positions: Vec<usize> =
            shape.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, size)| *size).collect();
        let wrong = |error: crate::tensor::TensorError| error.to_string();
        match target {
            Target::Name(name) => Err(format!("the class `{name}` is unknown")),
            Target::Class(_) if self.loss == "ctc" => {
                Err("expected a sequence of classes (i64), found one class".into())
            }
            Target::Class(class) => {
                let least = if classes == 1 { 2 } else { classes };
                if *class >= least {
                    return Err(format!("expected a class below {least}, found {class}"));
                }
                let count: usize = positions.iter().product();
                if self.loss == "cross_entropy" {
                    return Tensor::new(positions, vec![*class as i64; count]).map_err(wrong);
                }
                let no = if OF_SIGNS.contains(&self.loss) { -1.0 } else { 0.0 };
                let inner: usize = shape.get(2..).unwrap_or_default().iter().product();
                let values: Vec<f64> = (0..shape.iter().product())
                    .map(|at| {
                        let own = if classes == 1 { *class == 1 } else { at / inner.max(1) % classes == *class };
                        if own { 1.0 } else { no }
                    })
                    .collect();
                self.floats(shape.to_vec(), values)
            }
            Target::Tensor(tensor) if tensor.dtype() == DType::I64 && self.loss == "ctc" => {
                let length = tensor.len();
                tensor.reshape(vec![1, length]).map_err(wrong)
            }
            Target::Tensor(tensor) if tensor.dtype() == DType::I64 && self.loss == "cross_entropy" => {
                let found = tensor.as_slice::<i64>().map_err(wrong)?;
                if let Some(class) =
                    found.iter().find(|class| usize::try_from(**class).is_ok_and(|class| class >= classes))
                {
                    return Err(format!("expected classes below {classes}, found {class}"));
                }
                let own = tensor.reshape(positions);
                own.map_err(|_| {
                    format!("expected the shape of {shape:?} without its classes, found {:?}", tensor.shape())
                })
            }
            Target::Tensor(tensor) => {
                if tensor.shape() != shape && tensor.shape() != &shape[1.min(shape.len())..] {
                    return Err(format!("expected the shape of the scores, {shape:?}, found {:?}", tensor.shape()));
                }
                let values = numbers(tensor).ok_or("expected numbers, found text")?;
                let values = if self.loss == "cross_entropy" { probabilities(values, shape) } else { values };
                self.floats(shape.to_vec(), values)
            }
        }
    }

    fn floats(&self, shape: Vec<usize>, values: Vec<f64>) -> Result<Tensor, String> {
        match self.dtype {
            DType::F64 => Tensor::new(shape, values),
            _ => Tensor::new(shape, values.into_iter().map(|value| value as f32).collect::<Vec<_>>()),
        }
        .map_err(|error| error.to_string())
    }

    /// How wrong these scores of one sample are: 0 or more. Infinite where a score is not finite, or cannot be measured.
    pub fn of(&mut self, scores: &Tensor, target: &Target) -> f64 {
        let Some(values) = numbers(scores).filter(|values| values.iter().all(|value| value.is_finite())) else {
            return f64::INFINITY;
        };
        match self.kind {
            Measured::Error => error(&values, scores.shape(), target, self.loss).unwrap_or(f64::INFINITY),
            Measured::Loss => {
                let Ok(target) = self.target(target, scores.shape()) else { return f64::INFINITY };
                match self.alone.evaluate(&[(SCORES, scores), (TARGET, &target)]) {
                    Ok(loss) if loss.is_finite() => loss,
                    _ => f64::INFINITY,
                }
            }
        }
    }
}

/// A teacher's answers as probabilities: those that are none (logits) are put through a softmax along axis 1 (Hinton,
/// Vinyals and Dean, *Distilling the knowledge in a neural network*, 2015, at temperature 1).
fn probabilities(mut values: Vec<f64>, shape: &[usize]) -> Vec<f64> {
    let classes = shape.get(1).copied().unwrap_or(1).max(1);
    let inner: usize = shape.get(2..).unwrap_or_default().iter().product::<usize>().max(1);
    let places = |position: usize| {
        let start = position / inner * classes * inner + position % inner;
        (0..classes).map(move |class| start + class * inner)
    };
    for position in 0..values.len() / classes {
        let sum: f64 = places(position).map(|at| values[at]).sum();
        if (sum - 1.0).abs() < 0.01 && places(position).all(|at| values[at] >= 0.0) {
            continue;
        }
        let highest = places(position).map(|at| values[at]).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = places(position).map(|at| (values[at] - highest).exp()).sum();
        places(position).for_each(|at| values[at] = (values[at] - highest).exp() / total);
    }
    values
}

/// The share of positions whose best class is not the target's.
fn error(scores: &[f64], shape: &[usize], target: &Target, loss: &str) -> Option<f64> {
    let classes = shape.get(1).copied().unwrap_or(1);
    let inner: usize = shape.get(2..).unwrap_or_default().iter().product();
    let count = scores.len().checked_div(classes)?;
    let best = |values: &[f64], position: usize| -> Option<usize> {
        let start = position / inner.max(1) * classes * inner + position % inner.max(1);
        let at = |class: usize| values.get(start + class * inner).copied();
        // Of equals the first.
        (1..classes)
            .try_fold((0, at(0)?), |best, class| Some(if at(class)? > best.1 { (class, at(class)?) } else { best }))
            .map(|(class, _)| class)
    };
    let middle = if OF_SIGNS.contains(&loss) { 0.0 } else { 0.5 };
    let wanted = match target {
        Target::Tensor(tensor) => numbers(tensor)?,
        _ => Vec::new(),
    };
    let is_index = matches!(target, Target::Tensor(tensor) if tensor.dtype() == DType::I64);
    let (mut wrong, mut counted) = (0usize, 0usize);
    for position in 0..count {
        let own = if classes == 1 { usize::from(*scores.get(position)? > 0.0) } else { best(scores, position)? };
        let wanted = match target {
            Target::Name(_) => return None,
            Target::Class(class) => *class,
            Target::Tensor(_) if is_index => match usize::try_from(*wanted.get(position)? as i64) {
                Ok(class) => class,
                Err(_) => continue, // A negative one is to be ignored.
            },
            Target::Tensor(_) if classes == 1 => usize::from(*wanted.get(position)? > middle),
            Target::Tensor(_) => best(&wanted, position)?,
        };
        counted += 1;
        wrong += usize::from(own != wanted);
    }
    Some(if counted == 0 { 0.0 } else { wrong as f64 / counted as f64 })
}

/// What a graph takes, of one sample.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub name: String,
    dtype: Option<DType>,
    rank: Option<usize>,
    /// Whether several samples fit in one run.
    pub batches: bool,
}

impl Port {
    /// The input `name` of a model whose other inputs are all stored in it.
    pub fn of(model: &Model, name: &str) -> Result<Self, LearnError> {
        let graph = &model.graph;
        let fail = |expected: String, found: String, remedy: &'static str| LearnError::Model {
            model: graph.name.clone(),
            expected,
            found,
            remedy,
        };
        let inputs: Vec<&str> = graph.free_inputs().map(|input| input.name.as_str()).collect();
        let Some(input) = graph.free_inputs().find(|input| input.name == name) else {
            return Err(fail(format!("an input `{name}`"), inputs.join(", "), "name one of these"));
        };
        if inputs.len() != 1 {
            return Err(fail(
                format!("`{name}` as its only input"),
                inputs.join(", "),
                "store the others in the model, or let it serve without learning",
            ));
        }
        let batch = input.shape.dims().map(|dims| dims.first().map(|dim| dim.known()));
        let batches = match batch {
            None | Some(Some(None)) => true,
            Some(Some(Some(1))) => false,
            Some(first) => {
                let found = first.flatten().map_or("none".into(), |size| size.to_string());
                let expected = format!("`{name}` with a batch axis of size 1 or of any size");
                return Err(fail(expected, found, "export the model with a free first axis"));
            }
        };
        Ok(Port { name: name.into(), dtype: input.dtype, rank: input.shape.rank(), batches })
    }

    /// One sample with its batch axis.
    pub fn one(&self, input: &Tensor) -> Result<Tensor, String> {
        if let Some(expected) = self.dtype.filter(|expected| *expected != input.dtype()) {
            return Err(format!("expected an input of {expected}, found {}", input.dtype()));
        }
        let shape = input.shape();
        let has_axis = match self.rank {
            Some(rank) if rank == shape.len() => shape.first() == Some(&1),
            Some(rank) if rank == shape.len() + 1 => false,
            Some(rank) => return Err(format!("expected an input of rank {rank}, or one less; found {shape:?}")),
            None => false,
        };
        if has_axis {
            return Ok(input.clone());
        }
        if self.rank == Some(shape.len()) {
            return Err(format!("expected one sample, found a batch of {}", shape.first().copied().unwrap_or(0)));
        }
        input.reshape([1].into_iter().chain(shape.iter().copied()).collect()).map_err(|error| error.to_string())
    }
}

/// Samples that are computed in one run.
const AT_ONCE: usize = 32;

/// How wrong a network is on each of these samples, whose inputs have a batch axis of 1.
pub(super) fn evaluate<'s>(
    network: &mut Network,
    port: &Port,
    output: &str,
    measure: &mut Measure,
    samples: impl IntoIterator<Item = &'s Sample>,
) -> Result<Vec<f64>, LearnError> {
    let samples: Vec<&Sample> = samples.into_iter().collect();
    let mut measures = Vec::with_capacity(samples.len());
    let mut at = 0;
    while at < samples.len() {
        let most = if port.batches { AT_ONCE } else { 1 };
        let alike = |sample: &&&Sample| sample.input.shape() == samples[at].input.shape();
        let count = samples[at..].iter().take(most).take_while(alike).count().max(1);
        let run = &samples[at..at + count];
        let inputs: Vec<Tensor> = run.iter().map(|sample| sample.input.clone()).collect();
        let input = match inputs.as_slice() {
            [one] => one.clone(),
            several => Tensor::concat(several, 0).map_err(crate::engine::EngineError::from)?,
        };
        let scores = network.run_for(&[output], &[(&port.name, &input)])?;
        for (row, sample) in run.iter().enumerate() {
            let own = match scores.first() {
                Some(scores) if count == 1 => Some(scores.clone()),
                Some(scores) if scores.shape().first() == Some(&count) => scores.narrow(0, row, row + 1).ok(),
                _ => None,
            };
            measures.push(own.map_or(f64::INFINITY, |own| measure.of(&own, &sample.target)));
        }
        at += count;
    }
    Ok(measures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(loss: &str, kind: Option<Measured>) -> Measure {
        let config = LearnConfig { measure: kind, ..LearnConfig::default() };
        Measure::new(&config, &Loss::new(loss).unwrap(), DType::F32).unwrap()
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn a_target_becomes_what_its_loss_takes() {
        let class = |class| Target::Class(class);
        let tensor = |tensor| Target::Tensor(tensor);
        let i64s = |shape: &[usize], values: &[i64]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        for (loss, target, shape, expected) in [
            ("cross_entropy", class(2), &[1, 3][..], Ok(i64s(&[1], &[2]))),
            ("cross_entropy", class(1), &[1, 3, 2], Ok(i64s(&[1, 2], &[1, 1]))),
            ("cross_entropy", class(3), &[1, 3], Err("below 3")),
            ("cross_entropy", tensor(i64s(&[2], &[0, -100])), &[1, 3, 2], Ok(i64s(&[1, 2], &[0, -100]))),
            ("cross_entropy", tensor(i64s(&[3], &[0, 1, 2])), &[1, 3, 2], Err("without its classes")),
            ("cross_entropy", tensor(floats(&[2], &[0.25, 0.75])), &[1, 2], Ok(floats(&[1, 2], &[0.25, 0.75]))),
            ("cross_entropy", tensor(floats(&[1, 2], &[2.0, 2.0])), &[1, 2], Ok(floats(&[1, 2], &[0.5, 0.5]))),
            (
                "cross_entropy",
                tensor(floats(&[2, 2], &[3.0, 0.1, 3.0, 0.9])),
                &[1, 2, 2],
                Ok(floats(&[1, 2, 2], &[0.5, 0.1, 0.5, 0.9])),
            ),
            ("squared", class(1), &[1, 3], Ok(floats(&[1, 3], &[0.0, 1.0, 0.0]))),
            ("hinge", class(0), &[1, 2], Ok(floats(&[1, 2], &[1.0, -1.0]))),
            ("hinge", class(0), &[1, 1], Ok(floats(&[1, 1], &[-1.0]))),
            ("binary_cross_entropy", class(1), &[1, 1], Ok(floats(&[1, 1], &[1.0]))),
            ("binary_cross_entropy", class(2), &[1, 1], Err("below 2")),
            (
                "squared",
                tensor(floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
                &[1, 2, 2],
                Ok(floats(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])),
            ),
            ("squared", tensor(floats(&[4], &[1.0; 4])), &[1, 2, 2], Err("shape of the scores")),
            ("squared", tensor(Tensor::from_vec(vec!["a".to_owned()])), &[1, 1], Err("found text")),
            ("ctc", tensor(i64s(&[3], &[1, 2, 1])), &[1, 9, 4], Ok(i64s(&[1, 3], &[1, 2, 1]))),
            ("ctc", class(1), &[1, 9, 4], Err("a sequence")),
            ("cross_entropy", Target::Name("seven".into()), &[1, 3], Err("`seven` is unknown")),
        ] {
            let found = measure(loss, None).target(&target, shape);
            match expected {
                Ok(expected) => assert_eq!(found.as_ref(), Ok(&expected), "{loss} {target:?} {shape:?}"),
                Err(says) => assert!(found.as_ref().unwrap_err().contains(says), "{loss} {target:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn wrong_answers_and_losses_are_measured() {
        let mut error = measure("cross_entropy", None);
        let mut loss = measure("cross_entropy", Some(Measured::Loss));
        let scores = floats(&[1, 3], &[0.0, 2.0, 1.0]);
        assert_eq!((error.of(&scores, &Target::Class(1)), error.of(&scores, &Target::Class(2))), (0.0, 1.0));
        assert_eq!(error.of(&scores, &Target::Class(9)), 1.0, "a class that the model does not have is a wrong answer");
        let expected = (0f64.exp() + 1f64.exp() + 2f64.exp()).ln() - 2.0;
        assert!((loss.of(&scores, &Target::Class(1)) - expected).abs() < 1e-6);
        assert_eq!(loss.of(&scores, &Target::Class(9)), f64::INFINITY);
        // Two positions, of which one is wrong; one that is ignored counts nothing.
        let scores = floats(&[1, 2, 2], &[1.0, 0.0, 0.0, 1.0]);
        let classes = |classes: Vec<i64>| Target::Tensor(Tensor::from_vec(classes));
        assert_eq!(error.of(&scores, &classes(vec![0, 0])), 0.5);
        assert_eq!(error.of(&scores, &classes(vec![0, -100])), 0.0);
        assert_eq!(error.of(&scores, &Target::Tensor(floats(&[2, 2], &[0.9, 0.1, 0.1, 0.9]))), 0.0);
        assert_eq!(error.of(&floats(&[1, 2], &[f32::NAN, 0.0]), &Target::Class(0)), f64::INFINITY);
        let mut binary = measure("binary_cross_entropy", None);
        assert_eq!(binary.of(&floats(&[1, 1], &[0.3]), &Target::Class(1)), 0.0);
        assert_eq!(binary.of(&floats(&[1, 1], &[-0.3]), &Target::Class(1)), 1.0);
        let mut squared = measure("squared", None);
        let own = squared.of(&floats(&[1, 2], &[1.0, 3.0]), &Target::Tensor(floats(&[2], &[0.0, 0.0])));
        assert!((own - 5.0).abs() < 1e-6, "{own}");
    }
}
