use super::*;
use crate::engine::optimizers::{Adam, Sgd};
use crate::engine::{Loss, Optimizer, TrainingOptions};
use crate::train::data::{DataError, Memory, Sample};
use crate::zoo::{Architecture, Mlp, Perceptron};

/// Points in a square, class 1 inside a circle; every `bad`-th cannot be read.
struct Circle {
    count: usize,
    bad: Option<usize>,
}

fn circle(count: usize, bad: Option<usize>) -> Arc<dyn DataSet> {
    Arc::new(Circle { count, bad })
}

impl DataSet for Circle {
    fn len(&self) -> usize {
        self.count
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        if self.bad.is_some_and(|bad| index.is_multiple_of(bad)) {
            let (path, place) = ("circle".into(), format!(", sample {index}"));
            return Err(DataError::Format { path, place, expected: "a point".into(), found: "none".into() });
        }
        let at = |k: usize| ((index * k) as f32 * 0.618).fract() * 2.0 - 1.0;
        let (x, y) = (at(1), at(7));
        let class = i64::from(x * x + y * y < 0.6);
        Ok(Sample { input: Tensor::from_vec(vec![x, y]), target: Tensor::scalar(class) })
    }
}

fn training() -> Training {
    let model = Mlp { inputs: vec![2], hidden: vec![16], outputs: 2 }.build(1).unwrap();
    let optimizer = Optimizer::Adam(Adam { learning_rate: 0.02, ..Adam::default() });
    Training::new(&model, TrainingOptions::new(Loss::cross_entropy(), optimizer)).unwrap()
}

fn options(epochs: u64) -> TrainerOptions {
    TrainerOptions { classes: Some(2), ..TrainerOptions::new("x", 16, epochs) }
}

#[test]
fn it_learns_a_circle() {
    let (train, validation) = (circle(300, None), circle(100, None));
    let mut trainer = Trainer::new(training(), train, Some(validation), options(20)).unwrap();
    let mut steps = 0;
    trainer
        .run(|progress| {
            steps += usize::from(matches!(progress, Progress::Step { .. }));
            Then::Continue
        })
        .unwrap();
    assert_eq!((steps, trainer.history().len()), (20 * 19, 20));
    let last = trainer.history().last().unwrap();
    assert!(last.validation_accuracy.unwrap() > 0.95, "{last:?}");
    assert!(last.loss < trainer.history()[0].loss / 3.0);
}

#[test]
fn a_resumed_training_is_the_same_bit_for_bit() {
    let (train, validation) = (circle(90, None), circle(30, None));
    let folder = tempfile::tempdir().unwrap();
    let options = |epochs, name: &str| TrainerOptions {
        checkpoint: Some(folder.path().join(name)),
        patience: Some(50),
        ..options(epochs)
    };
    let mut straight = Trainer::new(training(), train.clone(), Some(validation.clone()), options(6, "a")).unwrap();
    straight.run(|_| Then::Continue).unwrap();
    // Stopped in the middle of the fourth epoch, which is begun anew.
    let mut first = Trainer::new(training(), train.clone(), Some(validation.clone()), options(6, "b")).unwrap();
    let stop = |progress: Progress<'_>| match progress {
        Progress::Step { epoch: 4, step: 3, .. } => Then::Stop,
        _ => Then::Continue,
    };
    assert!(!first.resume().unwrap());
    first.run(stop).unwrap();
    let mut second = Trainer::new(training(), train.clone(), Some(validation.clone()), options(6, "b")).unwrap();
    assert!(second.resume().unwrap());
    assert_eq!(second.history().len(), 3);
    second.run(|_| Then::Continue).unwrap();
    assert_eq!(straight.history(), second.history());
    assert_eq!(straight.training().state(), second.training().state());
}

/// A training of everything that draws random numbers or remembers: dropout, changes of samples, a plateau, gradients
/// that wait over the end of an epoch.
fn remembering(path: std::path::PathBuf) -> Trainer {
    use crate::engine::{Builder, Dense, Schedule};
    use crate::train::data::augment::{Augmentation, Noise};
    let mut graph = Builder::new("dropout", 1);
    let x = graph.input("x", DType::F32, &[None, Some(2)]).unwrap();
    let hidden = Dense::new("hidden", 16).apply(&mut graph, &x).unwrap();
    let hidden = graph.relu(&hidden).unwrap();
    let hidden = graph.node("Dropout", &[&hidden], &[]).unwrap();
    let y = Dense::new("out", 2).apply(&mut graph, &hidden).unwrap();
    graph.output("y", &y).unwrap();
    let optimizer = Optimizer::Adam(Adam { learning_rate: 0.5, ..Adam::default() });
    let settings = TrainingOptions::new(Loss::cross_entropy(), optimizer)
        .schedule(Schedule::OnPlateau { factor: 0.5, patience: 0 })
        .accumulate(2);
    let training = Training::new(&graph.finish(), settings).unwrap();
    let noise = serde_json::from_str::<Vec<Augmentation>>(r#"[{"noise": {"deviation": 0.1}}]"#).unwrap();
    assert!(matches!(noise[0], Augmentation::Noise(Noise { .. })));
    let augmenter = Some(Arc::new(Augmenter::new(noise, 5, 2).unwrap()));
    // Five minibatches an epoch.
    let options = TrainerOptions { checkpoint: Some(path), augmenter, ..options(9) };
    Trainer::new(training, circle(80, None), Some(circle(30, None)), options).unwrap()
}

#[test]
fn a_resumed_training_remembers_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let mut straight = remembering(folder.path().join("a"));
    straight.run(|_| Then::Continue).unwrap();
    assert_eq!(straight.training().state().waiting, 1, "it stopped in the middle of a sum");
    assert!(straight.history().iter().any(|epoch| epoch.learning_rate < 0.5), "there was a plateau");
    for end in [1, 4, 7] {
        let path = folder.path().join(format!("b{end}"));
        let mut first = remembering(path.clone());
        first
            .run(|progress| match progress {
                Progress::Step { epoch, step: 2, .. } if epoch == end + 1 => Then::Stop,
                _ => Then::Continue,
            })
            .unwrap();
        let mut second = remembering(path);
        assert!(second.resume().unwrap());
        assert_eq!(second.history().len() as u64, end);
        second.run(|_| Then::Continue).unwrap();
        assert_eq!(straight.history(), second.history(), "{end}");
        assert_eq!(straight.training().state(), second.training().state(), "{end}");
    }
}

/// An epoch that ends with the last step is a part of one; more steps begin the next.
#[test]
fn a_training_may_end_after_so_many_steps() {
    let folder = tempfile::tempdir().unwrap();
    let trainer = |steps, name: &str| {
        let options = TrainerOptions { steps, checkpoint: Some(folder.path().join(name)), ..options(20) };
        // Six minibatches an epoch.
        Trainer::new(training(), circle(90, None), Some(circle(30, None)), options).unwrap()
    };
    let mut straight = trainer(Some(8), "a");
    let mut told = 0;
    straight
        .run(|progress| {
            told += usize::from(matches!(progress, Progress::Step { .. }));
            Then::Continue
        })
        .unwrap();
    let ends: Vec<u64> = straight.history().iter().map(|epoch| epoch.steps).collect();
    assert_eq!((told, straight.training().steps(), ends.as_slice()), (8, 8, &[6, 8][..]));
    let mut first = trainer(Some(8), "b");
    first
        .run(|progress| match progress {
            Progress::Step { epoch: 2, step: 1, .. } => Then::Stop,
            _ => Then::Continue,
        })
        .unwrap();
    let mut second = trainer(Some(8), "b");
    assert!(second.resume().unwrap());
    second.run(|_| Then::Continue).unwrap();
    assert_eq!(straight.training().state(), second.training().state());
    let mut more = trainer(Some(15), "b");
    assert!(more.resume().unwrap());
    more.run(|_| Then::Continue).unwrap();
    assert_eq!(more.history().iter().map(|epoch| epoch.steps).collect::<Vec<_>>(), [6, 8, 14, 15]);
    // All steps are taken: nothing is trained.
    let mut done = trainer(Some(15), "b");
    assert!(done.resume().unwrap());
    done.run(|progress| panic!("{progress:?}")).unwrap();
}

#[test]
fn a_checkpoint_of_another_training_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let trainer = |seed: u64| {
        let identity = [("seed".to_owned(), seed.into())].into_iter().collect();
        let options = TrainerOptions { identity, checkpoint: Some(folder.path().join("a")), ..options(2) };
        Trainer::new(training(), circle(20, None), None, options).unwrap()
    };
    trainer(1).run(|_| Then::Continue).unwrap();
    let mut other = trainer(2);
    let before = other.training().state();
    let error = other.resume().unwrap_err();
    assert!(matches!(&error, TrainError::AnotherTraining { changes, .. } if changes.len() == 1), "{error}");
    assert!(error.to_string().contains("`seed` was 1 and is 2"), "{error}");
    assert_eq!((other.training().state(), other.history().len()), (before, 0));
    assert!(trainer(1).resume().unwrap());
}

#[test]
fn early_stopping_goes_back_to_the_best() {
    let (train, validation) = (circle(40, None), circle(30, None));
    let model = Mlp { inputs: vec![2], hidden: vec![16], outputs: 2 }.build(1).unwrap();
    let optimizer = Optimizer::Adam(Adam { learning_rate: 0.5, ..Adam::default() });
    let training = Training::new(&model, TrainingOptions::new(Loss::cross_entropy(), optimizer)).unwrap();
    let options = TrainerOptions { patience: Some(3), ..options(200) };
    let mut trainer = Trainer::new(training, train, Some(validation.clone()), options).unwrap();
    let mut stopped = None;
    trainer
        .run(|progress| {
            if let Progress::Stopped { best } = progress {
                stopped = Some(best);
            }
            Then::Continue
        })
        .unwrap();
    let best = stopped.expect("it stops");
    let losses: Vec<f64> = trainer.history().iter().map(|epoch| epoch.validation_loss.unwrap()).collect();
    assert_eq!(losses.len() as u64, best + 3);
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[best as usize - 1], lowest);
    assert_eq!(trainer.evaluate(validation).unwrap().loss, lowest);
}

#[test]
fn bad_samples_are_counted_once_up_to_a_limit() {
    let train = circle(40, Some(10));
    let run = |max_bad, validation: Option<Arc<dyn DataSet>>| {
        let mut trainer =
            Trainer::new(training(), train.clone(), validation, TrainerOptions { max_bad, ..options(3) }).unwrap();
        let mut named = Vec::new();
        let result = trainer.run(|progress| {
            if let Progress::Bad { index, error, .. } = progress {
                named.push((index, error.to_owned()));
            }
            Then::Continue
        });
        (result, named, trainer)
    };
    let (result, mut named, trainer) = run(4, None);
    result.unwrap();
    named.sort();
    assert_eq!(named.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 10, 20, 30]);
    assert_eq!(trainer.bad_samples(), 4);
    assert!(named[0].1.contains("expected a point"), "{named:?}");
    let error = run(3, None).0.unwrap_err().to_string();
    assert!(error.contains("bad samples where") && error.contains("max_bad"), "{error}");
    // Those of the validation data are told, and have a limit of their own.
    let (result, named, mut trainer) = run(4, Some(circle(30, Some(8))));
    result.unwrap();
    assert_eq!(named.len(), 8, "{named:?}");
    let evaluation = trainer.evaluate(circle(30, Some(8))).unwrap();
    assert_eq!((evaluation.samples, evaluation.bad.len()), (26, 4));
    assert!(evaluation.to_string().contains("4 bad samples left out"), "{evaluation}");
    assert!(run(4, Some(circle(30, Some(6)))).0.is_err());
}

#[test]
fn whole_and_single_batches() {
    let train = circle(10, None);
    for (batch, steps) in [(None, 3), (Some(1), 30), (Some(4), 9), (Some(100), 3)] {
        let mut trainer =
            Trainer::new(training(), train.clone(), None, TrainerOptions { batch, ..options(3) }).unwrap();
        trainer.run(|_| Then::Continue).unwrap();
        assert_eq!(trainer.training().steps(), steps, "{batch:?}");
    }
    let none = circle(0, None);
    assert!(Trainer::new(training(), none.clone(), None, options(1)).is_err());
    assert!(Trainer::new(training(), train.clone(), Some(none), options(1)).is_err());
    assert!(Trainer::new(training(), train.clone(), None, TrainerOptions { batch: Some(0), ..options(1) }).is_err());
}

/// Samples of a circle, one of which holds `value` where there is one.
fn spoiled(count: usize, at: Option<usize>, value: f32) -> Arc<dyn DataSet> {
    let circle = circle(count, None);
    let sample = |index: usize| {
        let mut sample = circle.sample(index).unwrap();
        if at == Some(index) {
            sample.input = Tensor::from_vec(vec![0.5, value]);
        }
        sample
    };
    Arc::new(Memory::new((0..count).map(sample).collect()))
}

#[test]
fn a_sample_with_nan_is_named_and_poisons_nothing() {
    // Left out, the training is that without it, bit for bit.
    let without: Vec<Sample> =
        (0..50).filter(|index| *index != 23).map(|index| circle(50, None).sample(index).unwrap()).collect();
    let clean: Arc<dyn DataSet> = Arc::new(Memory::new(without));
    let train = |data: Arc<dyn DataSet>, max_bad: usize| {
        let options = TrainerOptions { max_bad, shuffle: false, ..options(3) };
        let mut trainer = Trainer::new(training(), data, None, options).unwrap();
        let mut named = Vec::new();
        let result = trainer.run(|progress| {
            if let Progress::Bad { index, error, .. } = progress {
                named.push((index, error.to_owned()));
            }
            Then::Continue
        });
        (result, named, trainer)
    };
    let (_, none, mut clean) = train(clean, 0);
    assert!(none.is_empty());
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (result, named, mut trainer) = train(spoiled(50, Some(23), value), 1);
        result.unwrap();
        assert_eq!(named.len(), 1, "once");
        assert!(
            named.iter().all(|(index, error)| *index == 23 && error.contains("element 1 of its input")),
            "{named:?}"
        );
        assert_eq!(trainer.training().state(), clean.training().state(), "{value}");
        // Refused, it is named, and the weights are those of the steps before it.
        let (result, _, mut trainer) = train(spoiled(50, Some(23), value), 0);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("sample 23") && error.contains("max_bad"), "{error}");
        assert_eq!(trainer.training().steps(), 1);
        assert_eq!(not_finite(&trainer.training().state()).next(), None);
    }
}

/// A line through points, learned with this rate.
fn line(rate: f64, epochs: u64, checkpoint: Option<std::path::PathBuf>) -> Trainer {
    let model = Perceptron { inputs: 1, outputs: 1 }.build(1).unwrap();
    let optimizer = Optimizer::Sgd(Sgd { learning_rate: rate });
    let training = Training::new(&model, TrainingOptions::new(Loss::new("squared").unwrap(), optimizer)).unwrap();
    let samples = (0..8).map(|index| {
        let x = index as f32 / 4.0 - 1.0;
        Sample { input: Tensor::from_vec(vec![x]), target: Tensor::from_vec(vec![3.0 * x + 1.0]) }
    });
    let data: Arc<dyn DataSet> = Arc::new(Memory::new(samples.collect()));
    let options = TrainerOptions { checkpoint, ..TrainerOptions::new("x", 8, epochs) };
    Trainer::new(training, data, None, options).unwrap()
}

#[test]
fn a_training_that_diverges_goes_back_to_its_best_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let mut good = line(0.1, 5, Some(path.clone()));
    good.run(|_| Then::Continue).unwrap();
    let (kept, history) = (good.training().state(), good.history().to_vec());

    let mut wild = line(1e4, 400, Some(path.clone()));
    assert!(wild.resume().unwrap());
    let error = wild.run(|_| Then::Continue).unwrap_err();
    let TrainError::Diverged { epoch, best: Some(best), checkpoint: Some(_), .. } = &error else { panic!("{error}") };
    assert!(*epoch > 6 && *best == 5, "{error}");
    let said = error.to_string();
    assert!(said.contains("is not finite") && said.contains("lower learning rate"), "{said}");
    assert!(said.contains("checkpoint.safetensors"), "{said}");
    assert_eq!(wild.history(), history);
    assert_eq!(wild.training().state(), kept);

    let mut tamed = line(0.1, 200, Some(path));
    assert!(tamed.resume().unwrap());
    assert_eq!(tamed.history(), history);
    assert_eq!(tamed.training().state(), kept);
    tamed.run(|_| Then::Continue).unwrap();
    assert!(tamed.history().last().unwrap().loss < 1e-3, "{:?}", tamed.history().last());
}

/// A loss after an epoch that is beyond all numbers ends the training, is no best epoch, and is not saved.
#[test]
fn a_validation_loss_that_is_not_finite_is_no_best_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let model = Perceptron { inputs: 1, outputs: 1 }.build(1).unwrap();
    let data = |x: f32| -> Arc<dyn DataSet> {
        let sample = Sample { input: Tensor::from_vec(vec![x]), target: Tensor::from_vec(vec![1.0f32]) };
        Arc::new(Memory::new(vec![sample]))
    };
    let new = |validation: f32| {
        let options = TrainingOptions::new(Loss::squared(), Optimizer::Sgd(Sgd { learning_rate: 0.01 }));
        let training = Training::new(&model, options).unwrap();
        let checkpoint = Some(path.clone());
        let options = TrainerOptions { checkpoint, patience: Some(2), ..TrainerOptions::new("x", 1, 3) };
        Trainer::new(training, data(1.0), Some(data(validation)), options).unwrap()
    };
    let error = new(1e30).run(|_| Then::Continue).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { epoch: 1, best: None, .. }), "{error}");
    assert!(error.to_string().contains("the loss after the epoch"), "{error}");
    assert!(!path.exists());
    new(1.0).run(|_| Then::Continue).unwrap();
    let kept = std::fs::read(&path).unwrap();
    let mut wild = new(1e30);
    wild.options.epochs = 5;
    assert!(wild.resume().unwrap());
    let error = wild.run(|_| Then::Continue).unwrap_err();
    assert!(matches!(error, TrainError::Diverged { epoch: 4, best: Some(3), .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), kept);
}

/// A model whose batch is fixed is given just so many samples, in training and in evaluation.
#[test]
fn a_model_may_have_a_fixed_batch() {
    use crate::engine::{Builder, Dense};
    let fixed = |batch| {
        let mut graph = Builder::new("fixed", 1);
        let x = graph.input("x", DType::F32, &[batch, Some(2)]).unwrap();
        let y = Dense::new("out", 2).apply(&mut graph, &x).unwrap();
        graph.output("y", &y).unwrap();
        let options = TrainingOptions::new(Loss::cross_entropy(), Optimizer::Adam(Adam::default()));
        Training::new(&graph.finish(), options).unwrap()
    };
    let trainer = |size, batch| {
        let options = TrainerOptions { batch, ..options(2) };
        Trainer::new(fixed(size), circle(10, None), Some(circle(7, None)), options)
    };
    let mut any = trainer(None, Some(4)).unwrap();
    let free = any.evaluate(circle(7, None)).unwrap();
    for (size, steps) in [(1, 20), (4, 4), (5, 4)] {
        let mut trainer = trainer(Some(size), Some(size)).unwrap();
        let own = trainer.evaluate(circle(7, None)).unwrap();
        assert!((own.loss - free.loss).abs() < 1e-6, "{size}: {own} {free}");
        assert_eq!((own.samples, &own.confusion), (7, &free.confusion), "{size}");
        trainer.run(|_| Then::Continue).unwrap();
        assert_eq!(trainer.training().steps(), steps, "{size}");
    }
    for batch in [Some(1), Some(8), None] {
        let error = trainer(Some(4), batch).err().unwrap().to_string();
        assert!(error.contains("batch: expected 4"), "{error}");
    }
    // Fewer samples than one minibatch takes.
    assert!(trainer(Some(11), Some(11)).is_err());
}
