//! The classic experiments, small: what each architecture is known to learn, it learns.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::path::Path;
use std::sync::Arc;

use percept::engine::{Loss, Optimizer, Training, TrainingOptions, optimizers};
use percept::tensor::Tensor;
use percept::train::data::{
    Column, Csv, DataFormat, DataSet, Known, Memory, Sample, Subset, TextLines, TextTarget, Tokens,
};
use percept::train::{Evaluation, Then, Trainer, TrainerOptions};
use percept::zoo::{Architecture, Autoencoder, Cell, Lenet5, Mlp, Perceptron, RecurrentClassifier, RecurrentTagger};

fn adam(learning_rate: f64) -> Optimizer {
    Optimizer::Adam(optimizers::Adam { learning_rate, ..Default::default() })
}

fn sgd(learning_rate: f64) -> Optimizer {
    Optimizer::Sgd(optimizers::Sgd { learning_rate })
}

fn training(model: &dyn Architecture, loss: &str, optimizer: Optimizer) -> Training {
    Training::new(&model.build(1).unwrap(), TrainingOptions::new(Loss::new(loss).unwrap(), optimizer)).unwrap()
}

/// Trains on one part of the data, measures on the other.
fn learned(
    training: Training,
    train: Arc<dyn DataSet>,
    test: Arc<dyn DataSet>,
    batch: usize,
    epochs: u64,
    classes: usize,
) -> Evaluation {
    let options = TrainerOptions { classes: Some(classes), seed: 1, ..TrainerOptions::new("x", batch, epochs) };
    let mut trainer = Trainer::new(training, train, None, options).unwrap();
    trainer.run(|_| Then::Continue).unwrap();
    trainer.evaluate(test).unwrap()
}

fn models() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

/// Samples `range` of `data`, in steps.
fn part(data: &Arc<dyn DataSet>, indices: impl Iterator<Item = usize>) -> Arc<dyn DataSet> {
    Arc::new(Subset::new(data.clone(), indices.collect()).unwrap())
}

/// Numbers that look random, from −1 to 1 (Weyl's sequence).
fn spread(index: usize, dimension: usize) -> f32 {
    let roots = [2.0f64, 3.0, 5.0, 7.0];
    ((index + 1) as f64 * roots[dimension % 4].sqrt()).fract() as f32 * 2.0 - 1.0
}

/// Points of a plane with a margin around the line x + 2y = 0.3: their distance from it is at least `margin`.
fn separable(margin: f32) -> Vec<([f32; 2], bool)> {
    let distance = |[x, y]: [f32; 2]| (x + 2.0 * y - 0.3) / 5f32.sqrt();
    let points = (0..400).map(|index| [spread(index, 0), spread(index, 1)]);
    points.filter(|point| distance(*point).abs() >= margin).map(|point| (point, distance(point) > 0.0)).collect()
}

/// The perceptron rule stops making mistakes on separable data, after at most (R/γ)² of them: R is the length of the
/// longest input and γ the margin by which a unit vector separates them, both with the constant input 1 that the bias is
/// the weight of (Novikoff, *On convergence proofs on perceptrons*, 1962).
#[test]
fn the_perceptron_rule_converges_within_novikoffs_bound() {
    let points = separable(0.05);
    let longest = points.iter().map(|([x, y], _)| 1.0 + x * x + y * y).fold(0.0, f32::max).sqrt();
    let unit = [-0.3f32, 1.0, 2.0].map(|w| w / (0.09f32 + 1.0 + 4.0).sqrt());
    let side =
        |([x, y], above): &([f32; 2], bool)| (unit[0] + unit[1] * x + unit[2] * y) * if *above { 1. } else { -1. };
    let margin = points.iter().map(side).fold(f32::INFINITY, f32::min);
    let bound = f64::from((longest / margin).powi(2));

    let mut training = training(&Perceptron { inputs: 2, outputs: 1 }, "perceptron", sgd(1.0));
    let mut mistakes = 0;
    let mut last = usize::MAX;
    while last > 0 {
        last = 0;
        for (point, above) in &points {
            let x = Tensor::new(vec![1, 2], point.to_vec()).unwrap();
            let target = Tensor::new(vec![1, 1], vec![if *above { 1.0f32 } else { -1.0 }]).unwrap();
            let before = weights(&training);
            training.step(&[("x", &x), ("target", &target)]).unwrap();
            // A mistake is what changes the weights.
            last += usize::from(weights(&training) != before);
        }
        mistakes += last;
        assert!(mistakes as f64 <= bound, "{mistakes} mistakes, at most {bound} expected");
    }
    assert!(mistakes > 2, "{mistakes}: the points were no task");
}

fn weights(training: &Training) -> Vec<Tensor> {
    training.state().tensors.into_iter().map(|(_, tensor)| tensor).collect()
}

/// Exclusive or: an MLP learns all four, a perceptron never more than three, whatever it is trained for.
#[test]
fn exclusive_or_needs_a_hidden_layer() {
    let x = Tensor::new(vec![4, 2], vec![0.0f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]).unwrap();
    let target = Tensor::from_vec(vec![0i64, 1, 1, 0]);
    let right = |model: &dyn Architecture| {
        let mut training = training(model, "cross_entropy", adam(0.05));
        for _ in 0..300 {
            training.step(&[("x", &x), ("target", &target)]).unwrap();
        }
        let scores = training.run(&[("x", &x)]).unwrap().remove(0);
        let said = scores.as_slice::<f32>().unwrap().chunks(2).map(|pair| i64::from(pair[1] > pair[0]));
        said.zip([0, 1, 1, 0]).filter(|(said, right)| said == right).count()
    };
    assert_eq!(right(&Mlp { inputs: vec![2], hidden: vec![8], outputs: 2 }), 4);
    assert!(right(&Perceptron { inputs: 2, outputs: 2 }) <= 3);
}

/// Logistic regression, one sample at a time: it finds the separating line, and its loss falls below that of chance.
#[test]
fn logistic_regression_learns_from_one_sample_at_a_time() {
    let samples = separable(0.1).into_iter().map(|(point, above)| Sample {
        input: Tensor::from_vec(point.to_vec()),
        target: Tensor::from_vec(vec![f32::from(u8::from(above))]),
    });
    let data: Arc<dyn DataSet> = Arc::new(Memory::new(samples.collect()));
    let (train, test) = (part(&data, (0..data.len()).step_by(2)), part(&data, (1..data.len()).step_by(2)));
    let mut trainer = Trainer::new(
        training(&Perceptron { inputs: 2, outputs: 1 }, "binary_cross_entropy", sgd(0.5)),
        train.clone(),
        None,
        TrainerOptions { seed: 1, ..TrainerOptions::new("x", 1, 10) },
    )
    .unwrap();
    trainer.run(|_| Then::Continue).unwrap();
    assert_eq!(trainer.training().steps() as usize, 10 * train.len());
    assert!(trainer.evaluate(test.clone()).unwrap().loss < 0.15, "ln 2 = 0.69 is chance");
    for index in 0..test.len() {
        let sample = test.sample(index).unwrap();
        let x = sample.input.reshape(vec![1, 2]).unwrap();
        let score = trainer.training().run(&[("x", &x)]).unwrap()[0].as_slice::<f32>().unwrap()[0];
        assert_eq!(score > 0.0, sample.target.as_slice::<f32>().unwrap()[0] > 0.5, "sample {index}");
    }
}

/// A GRU tells women's first names from men's better than by the larger class: on every eighth name for training and
/// others for the test. The recipe `first-names` goes further.
#[test]
fn a_gru_learns_first_names() {
    let names = TextLines { length: Some(15), ..TextLines::new("names.tsv") };
    let data: Arc<dyn DataSet> = names.open(&models().join("first-names")).unwrap().into();
    let (train, test) = (part(&data, (0..data.len()).step_by(8)), part(&data, (3..data.len()).step_by(24)));
    let women = (0..test.len()).filter(|index| test.target(*index).unwrap() == Tensor::scalar(0i64)).count();
    let chance = women.max(test.len() - women) as f64 / test.len() as f64;
    let model = RecurrentClassifier {
        vocabulary: data.vocabulary().len(),
        classes: 2,
        cell: Cell::Gru,
        embedding: 12,
        hidden: 24,
        lengths: false,
    };
    let result = learned(training(&model, "cross_entropy", adam(0.01)), train, test, 32, 6, 2);
    let accuracy = result.confusion.unwrap().accuracy();
    assert!(accuracy > 0.70 && chance < 0.60, "{accuracy}; chance is {chance}");
}

/// An LSTM learns to carry: trained on sums of 12 bits, it adds 40 bits.
#[test]
fn an_lstm_learns_to_add() {
    let lines = |name| TextLines { tokens: Tokens::Words, target: TextTarget::Tags, ..TextLines::new(name) };
    let folder = models().join("addition-tagger");
    let data: Arc<dyn DataSet> = lines("train.tsv").open(&folder).unwrap().into();
    let known = Known::of(&data);
    let long: Arc<dyn DataSet> = lines("test.tsv").open_with(&folder, &known).unwrap().into();
    let model =
        RecurrentTagger { vocabulary: 6, classes: 2, cell: Cell::Lstm, embedding: 4, hidden: 12, lengths: false };
    let (train, test) = (part(&data, 0..400), part(&long, 0..50));
    let result = learned(training(&model, "cross_entropy", adam(0.02)), train, test, 16, 12, 2);
    let confusion = result.confusion.unwrap();
    assert_eq!((confusion.total(), result.samples), (50 * 40, 50));
    assert!(confusion.accuracy() > 0.99, "{}", confusion.accuracy());
}

/// The handwritten digits of the recipe `digits`: 64 pixels from 0 to 16.
fn digits() -> Box<dyn DataSet> {
    let digits = Csv { header: false, ..Csv::new("digits.csv.gz", Column::Number(64)) };
    digits.open(&models().join("digits")).unwrap()
}

/// LeNet-5 on a few hundred of the digits, each pixel as four: pictures of 16 × 16.
#[test]
fn lenet5_learns_digits() {
    let data = digits();
    let samples = (0..900).map(|index| {
        let sample = data.sample(index).unwrap();
        let pixels = sample.input.as_slice::<f32>().unwrap();
        let picture: Vec<f32> = (0..256).map(|at| pixels[at / 32 * 8 + at % 16 / 2] / 16.0).collect();
        Sample { input: Tensor::new(vec![1, 16, 16], picture).unwrap(), target: sample.target }
    });
    let data: Arc<dyn DataSet> = Arc::new(Memory::new(samples.collect()));
    let model = Lenet5 { size: 16, ..Lenet5::default() };
    let (train, test) = (part(&data, (0..900).filter(|index| index % 3 > 0)), part(&data, (0..900).step_by(3)));
    let result = learned(training(&model, "cross_entropy", adam(0.004)), train, test, 16, 6, 10);
    let accuracy = result.confusion.unwrap().accuracy();
    assert!(accuracy > 0.85, "{accuracy}");
}

/// An autoencoder of a code of 8 numbers reproduces digits of 64 better than their mean does.
#[test]
fn an_autoencoder_learns_a_code() {
    let data = digits();
    let pictures: Vec<Vec<f32>> = (0..256)
        .map(|index| data.sample(index).unwrap().input.as_slice::<f32>().unwrap().iter().map(|p| p / 16.0).collect())
        .collect();
    let mean: Vec<f32> = (0..64).map(|at| pictures.iter().map(|picture| picture[at]).sum::<f32>() / 256.0).collect();
    let squares = pictures.iter().flat_map(|picture| picture.iter().zip(&mean).map(|(a, b)| (a - b) * (a - b)));
    let variance = f64::from(squares.sum::<f32>()) / (256.0 * 64.0);
    let samples = pictures.into_iter().map(|picture| {
        let picture = Tensor::from_vec(picture);
        Sample { input: picture.clone(), target: picture }
    });
    let data: Arc<dyn DataSet> = Arc::new(Memory::new(samples.collect()));
    let model = Autoencoder { inputs: vec![64], hidden: vec![32, 8] };
    let training = training(&model, "squared", adam(0.005));
    let options = TrainerOptions { seed: 1, ..TrainerOptions::new("x", 16, 15) };
    let mut trainer = Trainer::new(training, data.clone(), None, options).unwrap();
    let before = trainer.evaluate(data.clone()).unwrap().loss;
    trainer.run(|_| Then::Continue).unwrap();
    let after = trainer.evaluate(data).unwrap().loss;
    assert!(after < 0.5 * variance && after < 0.2 * before, "{before} before, {after} after; variance {variance}");
}
