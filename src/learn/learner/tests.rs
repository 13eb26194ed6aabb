use super::*;
use crate::engine::{Builder, Dense};
use crate::learn::config::{Keep, LabelsConfig};
use crate::learn::npz::tests::write_reference;
use crate::learn::random::{Purpose, Random};
use crate::units::TimeSpan;

const A: StreamId = StreamId(0);

/// A classifier of vectors.
fn model(inputs: usize, hidden: usize, classes: usize, softmax: bool) -> Model {
    let mut graph = Builder::new("toy", 5);
    let x = graph.input("x", DType::F32, &[None, Some(inputs)]).unwrap();
    let value = Dense::new("hidden", hidden).apply(&mut graph, &x).unwrap();
    let value = graph.relu(&value).unwrap();
    let y = Dense::new("out", classes).apply(&mut graph, &value).unwrap();
    let y = if softmax { graph.node("Softmax", &[&y], &[]).unwrap() } else { y };
    graph.output("y", &y).unwrap();
    graph.finish()
}

/// Vectors around the corners of a cube, each corner a class; turned by an angle in the first two dimensions.
struct World {
    random: Random,
    classes: usize,
    noise: f64,
}

impl World {
    fn new(seed: u64) -> Self {
        World { random: Random::new(seed, Purpose::Seeds), classes: 3, noise: 0.25 }
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.unit()).sum::<f64>() - 6.0
    }

    /// In world 0 class k lies at angle 120°·k in the plane; in world 1 turned by 60° and raised in the third dimension.
    fn draw(&mut self, world: usize) -> (Vec<f32>, usize) {
        let class = self.random.below(self.classes);
        let angle = (class as f64 / 3.0 + world as f64 / 6.0) * std::f64::consts::TAU;
        let place = [angle.cos(), angle.sin(), 0.6 * world as f64];
        let noise = self.noise;
        (place.map(|value| (value + noise * self.normal()) as f32).to_vec(), class)
    }

    fn sample(&mut self, world: usize) -> Sample {
        let (input, class) = self.draw(world);
        sample(input, Target::Class(class))
    }
}

fn sample(input: Vec<f32>, target: Target) -> Sample {
    Sample { input: Tensor::from_vec(input), target, stream: A, start: Timestamp::ZERO }
}

fn config() -> LearnConfig {
    let mut config = LearnConfig {
        labels: LabelsConfig { from: Some("corrections".into()), ..LabelsConfig::default() },
        optimizer: crate::engine::Optimizer::Adam(crate::engine::optimizers::Adam {
            learning_rate: 0.01,
            ..Default::default()
        }),
        ..LearnConfig::default()
    };
    config.promote.every_s = 1.0;
    config
}

fn at(second: i64) -> Timestamp {
    Timestamp::ZERO + TimeSpan::from_millis(second * 1000)
}

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|name| (*name).to_owned()).collect()
}

/// A model that knows world 0.
fn trained() -> Model {
    let mut world = World::new(100);
    let mut learner = Learner::new(&model(3, 16, 3, false), &config(), "x", Vec::new()).unwrap();
    for _ in 0..800 {
        learner.offer(world.sample(0));
        while learner.train() {}
    }
    learner.shadow()
}

fn accuracy(model: &Model, world: usize) -> f64 {
    let mut draws = World::new(999);
    let mut network = Network::new(model).unwrap();
    let right = (0..1000)
        .filter(|_| {
            let (input, class) = draws.draw(world);
            let scores = network.run(&[("x", &Tensor::new(vec![1, 3], input).unwrap())]).unwrap();
            let scores = scores[0].as_slice::<f32>().unwrap();
            (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])) == Some(class)
        })
        .count();
    right as f64 / 10.0
}

/// Offers samples, 10 a second; adopts what is promoted and goes back when told. Returns the versions that served.
fn run(learner: &mut Learner, first: &Model, seconds: i64, mut next: impl FnMut(i64) -> Vec<Sample>) -> Vec<Model> {
    let mut versions = vec![first.clone()];
    for second in 0..seconds {
        for sample in next(second) {
            learner.offer(sample);
            while learner.train() {}
        }
        match learner.consider(at(second)) {
            Verdict::Promote(candidate) => {
                versions.push(candidate.model);
                learner.adopted(versions.len() as u64 - 1).unwrap();
            }
            Verdict::RollBack { to, .. } => {
                let model = versions[to as usize].clone();
                versions.push(model.clone());
                learner.rolled_back(versions.len() as u64 - 1, &model, Vec::new()).unwrap();
            }
            Verdict::Keep { reason: Reason::Failed(error), .. } => panic!("{error}"),
            _ => {}
        }
    }
    versions
}

fn ten(world: &mut World, which: usize) -> Vec<Sample> {
    (0..10).map(|_| world.sample(which)).collect()
}

#[test]
fn it_adapts_to_a_new_world_and_rehearsal_keeps_the_old_one() {
    let old = trained();
    let (before_old, before_new) = (accuracy(&old, 0), accuracy(&old, 1));
    let mut after = Vec::new();
    for rehearse in [true, false] {
        let mut world = World::new(1);
        let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
        if rehearse {
            learner.seed((0..300).map(|_| world.sample(0)));
        }
        let versions = run(&mut learner, &old, 60, |_| ten(&mut world, 1));
        let last = versions.last().unwrap();
        assert!(learner.counts().promoted >= 1, "{:?}", learner.counts());
        after.push((accuracy(last, 0), accuracy(last, 1)));
    }
    let [with, without] = after[..] else { panic!() };
    assert!(before_old > 95.0 && before_new < 75.0, "{before_old} {before_new}");
    assert!(with.1 > before_new + 15.0 && without.1 > before_new + 15.0, "{before_new}: {after:?}");
    assert!(with.0 > before_old - 2.0, "{before_old}: {after:?}");
    assert!(without.0 < before_old - 2.0, "without rehearsal the old world is forgotten: {before_old}: {after:?}");
}

fn bits(model: &Model) -> Vec<u32> {
    let floats =
        |tensor: &Tensor| tensor.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    model
        .graph
        .initializers
        .iter()
        .filter(|(_, tensor)| tensor.dtype() == DType::F32)
        .flat_map(|(_, t)| floats(t))
        .collect()
}

#[test]
fn the_same_samples_give_the_same_weights_bit_for_bit() {
    let old = trained();
    let weights = |seed, threads| {
        let mut world = World::new(4);
        let mut config = LearnConfig { seed, ..config() };
        config.budget.threads = threads;
        let mut learner = Learner::new(&old, &config, "x", Vec::new()).unwrap();
        learner.seed((0..50).map(|_| world.sample(0)));
        let versions = run(&mut learner, &old, 20, |_| ten(&mut world, 1));
        (versions.iter().map(bits).collect::<Vec<_>>(), learner.counts())
    };
    assert_eq!(weights(1, 1), weights(1, 1));
    assert_eq!(weights(1, 2), weights(1, 2));
    assert_ne!(weights(1, 1).0.last(), weights(2, 1).0.last());
}

/// A name, and what a second of the stream offers.
type Poison = (&'static str, fn(&mut World) -> Vec<Sample>);

/// What poisons the labels of a stream.
fn poisons() -> Vec<Poison> {
    vec![
        ("20 % wrong", |world| {
            let mut samples = ten(world, 1);
            for sample in samples.iter_mut().take(2) {
                let Target::Class(class) = sample.target else { continue };
                sample.target = Target::Class((class + 1) % 3);
            }
            samples
        }),
        ("all wrong", |world| {
            let mut samples = ten(world, 0);
            for sample in &mut samples {
                let Target::Class(class) = sample.target else { continue };
                sample.target = Target::Class((class + 1) % 3);
            }
            samples
        }),
        ("one class", |world| {
            ten(world, 0).into_iter().map(|sample| Sample { target: Target::Class(2), ..sample }).collect()
        }),
        ("NaN inputs", |world| {
            let mut samples = ten(world, 1);
            for sample in samples.iter_mut().step_by(2) {
                sample.input = Tensor::from_vec(vec![f32::NAN, 1.0, 0.0]);
            }
            samples
        }),
        ("a flood of wrong labels", |world| {
            (0..1000)
                .map(|_| {
                    let (input, class) = world.draw(0);
                    sample(input, Target::Class((class + 2) % 3))
                })
                .collect()
        }),
    ]
}

#[test]
fn with_a_guard_no_poison_gives_a_version_that_is_worse_on_the_reference() {
    let old = trained();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.npz");
    let mut world = World::new(50);
    write_reference(&path, &(0..400).map(|_| world.draw(0)).collect::<Vec<_>>());
    let before = accuracy(&old, 0);
    for (name, poison) in poisons() {
        for guarded in [true, false] {
            let mut config = config();
            config.guard.reference = guarded.then(|| path.clone());
            let mut world = World::new(6);
            let mut learner = Learner::new(&old, &config, "x", Vec::new()).unwrap();
            learner.seed((0..200).map(|_| world.sample(0)));
            let seconds = if name.starts_with("a flood") { 3 } else { 25 };
            let versions = run(&mut learner, &old, seconds, |_| poison(&mut world));
            let counts = learner.counts();
            let worst = versions.iter().map(|version| accuracy(version, 0)).fold(100.0, f64::min);
            if guarded {
                assert!(worst > before - 2.0 - 1.0, "{name}: {before} became {worst}; {counts:?}");
            }
            match (name, guarded) {
                // Without a guard what is wrong in a consistent way is learned: nothing tells it from what is right.
                ("all wrong" | "one class", true) => {
                    assert!(counts.guarded > 0 && counts.promoted == 0, "{name} {counts:?}")
                }
                ("all wrong", false) => assert!(worst < 80.0 && counts.promoted > 0, "{name}: {worst} {counts:?}"),
                ("NaN inputs", _) => {
                    assert!(counts.malformed == counts.offered / 2 && counts.diverged == 0, "{counts:?}")
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_live_fall_after_a_promotion_takes_the_version_back() {
    let old = trained();
    let mut world = World::new(8);
    // The labels are those of another world for a while; then the truth is told again.
    let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
    let mut versions = Vec::new();
    let wrong = |sample: Sample| {
        let Target::Class(class) = sample.target else { panic!() };
        Sample { target: Target::Class((class + 1) % 3), ..sample }
    };
    for second in 0..100 {
        for _ in 0..10 {
            learner.offer(wrong(world.sample(0)));
            while learner.train() {}
        }
        if let Verdict::Promote(candidate) = learner.consider(at(second)) {
            versions.push(candidate);
            break;
        }
    }
    assert_eq!(versions.len(), 1, "{:?}", learner.counts());
    learner.adopted(7).unwrap();
    let right = |learner: &mut Learner, world: &mut World| {
        for _ in 0..10 {
            learner.offer(world.sample(0));
            while learner.train() {}
        }
    };
    let mut back = None;
    for second in 100..140 {
        right(&mut learner, &mut world);
        match learner.consider(at(second)) {
            Verdict::RollBack { to, figures } => {
                back = Some((to, figures));
                break;
            }
            Verdict::Promote(_) => learner.not_adopted(),
            _ => {}
        }
    }
    let (to, figures) = back.expect("it goes back");
    assert_eq!((to, figures.serving_version), (0, 7));
    assert!(figures.p_value <= figures.alpha && figures.serving > figures.other, "{figures:?}");
    assert_eq!(learner.consider(at(200)), Verdict::Wait, "until it is said what became of it");
    learner.rolled_back(8, &old, Vec::new()).unwrap();
    assert_eq!((learner.version(), learner.counts().rolled_back), (8, 1));
    assert_eq!(bits(&learner.shadow()), bits(&old));
}

#[test]
fn live_answers_alone_take_a_version_back_unless_both_versions_are_alike() {
    let old = trained();
    for alike in [false, true] {
        let mut world = World::new(9);
        let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
        let scores = |class: usize| {
            Tensor::new(vec![1, 3], (0..3).map(|at| if at == class { 1.0f32 } else { 0.0 }).collect::<Vec<_>>())
                .unwrap()
        };
        (0..100).for_each(|at| learner.live(A, &Target::Class(at % 3), &scores(at % 3), 0));
        let mut second = 0;
        while learner.counts().promoted == 0 {
            ten(&mut world, 1).into_iter().for_each(|sample| learner.offer(sample));
            while learner.train() {}
            if let Verdict::Promote(_) = learner.consider(at(second)) {
                learner.adopted(1).unwrap();
            }
            second += 1;
            assert!(second < 100, "{:?}", learner.counts());
        }
        // The answers are wrong from now on. Labels on which both versions are wrong show that it is not the version.
        learner.live(A, &Target::Class(0), &scores(0), 0);
        assert_eq!(learner.counts().live_stale, 1);
        for _ in 0..40 {
            learner.live(A, &Target::Class(0), &scores(1), 1);
        }
        if alike {
            for _ in 0..60 {
                let sample = world.sample(0);
                let Target::Class(class) = sample.target else { panic!() };
                learner.offer(Sample { target: Target::Class((class + 1) % 3), ..sample });
            }
        }
        let verdict = learner.consider(at(second + 10));
        let back = matches!(verdict, Verdict::RollBack { to: 0, .. });
        let (live, samples) = learner.live_measure();
        assert_eq!((live, samples), (1.0, 40));
        if alike {
            // Where the serving one were worse on the labels as well, it would go back all the same.
            assert!(!back || matches!(&verdict, Verdict::RollBack { figures, .. } if figures.serving > figures.other));
        } else {
            assert!(back, "{verdict:?}");
        }
    }
}

/// Nine classes on a circle, and a tenth below its middle.
fn digit(random: &mut World, classes: usize) -> (Vec<f32>, usize) {
    let class = random.random.below(classes);
    let angle = class as f64 / 9.0 * std::f64::consts::TAU;
    let place = if class == 9 { [0.0, 0.0, -2.0] } else { [3.0 * angle.cos(), 3.0 * angle.sin(), 0.0] };
    (place.map(|value| (value + 0.25 * random.normal()) as f32).to_vec(), class)
}

#[test]
fn a_head_grows_from_nine_to_ten_while_it_runs() {
    let all: Vec<String> = (0..10).map(|class| format!("digit {class}")).collect();
    for softmax in [false, true] {
        let old = model(3, 32, 9, softmax);
        let mut settings = config();
        settings.new_classes = 1;
        settings.replay.keep = Keep::Balanced;
        let mut world = World::new(11);
        let mut learner = Learner::new(&old, &settings, "x", all[..9].to_vec()).unwrap();
        let offer = |learner: &mut Learner, world: &mut World, classes| {
            let (input, class) = digit(world, classes);
            learner.offer(sample(input, Target::Name(all[class].as_str().into())));
            while learner.train() {}
        };
        (0..600).for_each(|_| offer(&mut learner, &mut world, 9));
        learner.consider(at(0));
        let Verdict::Promote(first) = learner.consider(at(1)) else { panic!("{:?}", learner.counts()) };
        learner.adopted(1).unwrap();
        assert_eq!((first.classes.len(), first.model.graph.outputs.len()), (9, 1));
        (0..900).for_each(|_| offer(&mut learner, &mut world, 10));
        assert_eq!(learner.classes(), all);
        let Verdict::Promote(second) = learner.consider(at(2)) else { panic!("{:?}", learner.counts()) };
        assert_eq!((&second.classes, second.model.graph.outputs.len()), (&all, 1));
        let mut network = Network::new(&second.model).unwrap();
        let (mut right, mut new, mut new_right) = (0, 0, 0);
        for _ in 0..1000 {
            let (input, class) = digit(&mut world, 10);
            let scores = network.run(&[("x", &Tensor::new(vec![1, 3], input).unwrap())]).unwrap();
            let scores = scores[0].as_slice::<f32>().unwrap();
            assert_eq!(scores.len(), 10);
            let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
            right += usize::from(best == class);
            new += usize::from(class == 9);
            new_right += usize::from(best == class && class == 9);
        }
        assert!(right > 930 && new_right as f64 > 0.93 * new as f64, "{right}, {new_right} of {new}");
        // No more than one may join.
        learner.offer(sample(vec![0.0; 3], Target::Name("e".into())));
        assert_eq!((learner.counts().unknown_class, learner.counts().new_classes), (1, 1));
        // After a step back it is unknown again, and may join again.
        let kept = learner.replay().kept().len();
        learner.rolled_back(3, &old, all[..9].to_vec()).unwrap();
        assert!(learner.replay().kept().all(|sample| matches!(sample.target, Target::Class(..9))));
        assert!(learner.replay().kept().len() < kept && learner.classes() == &all[..9]);
        (0..100).for_each(|_| offer(&mut learner, &mut world, 10));
        assert_eq!((learner.classes(), learner.counts().new_classes), (&all[..], 2));
    }
}

#[test]
fn a_model_with_other_class_names_is_judged_by_those() {
    let old = trained();
    let guard = |world: &mut World| Guard::new((0..400).map(|_| world.sample(0)).collect());
    let mut world = World::new(31);
    let mut learner = Learner::new(&old, &config(), "x", names(&["a", "b", "c"])).unwrap();
    learner = learner.with_guard(guard(&mut world)).unwrap();
    learner.seed((0..200).map(|_| world.sample(0)));
    let original = learner.original.clone();
    let right = original.iter().filter(|measure| **measure == 0.0).count();
    assert!(right > 370, "{right}");
    // The same model with its last layer's rows in another order, and the names with them.
    let mut turned = old.clone();
    for (_, tensor) in turned.graph.initializers.iter_mut().filter(|(name, _)| name.starts_with("out")) {
        let axis = tensor.shape().iter().position(|size| *size == 3).unwrap();
        let (shape, values) = (tensor.shape().to_vec(), tensor.as_slice::<f32>().unwrap());
        let inner: usize = shape[axis + 1..].iter().product();
        let from = |at: usize| at / (3 * inner) * 3 * inner + [2, 0, 1][at / inner % 3] * inner + at % inner;
        let turned = (0..values.len()).map(|at| values[from(at)]).collect::<Vec<_>>();
        *tensor = Tensor::new(shape, turned).unwrap();
    }
    let classes = |learner: &Learner| -> Vec<Target> {
        let (seeds, guard) = (learner.replay().seeds(), learner.guard.as_ref().unwrap().samples());
        seeds.chain(guard).map(|sample| sample.target.clone()).collect()
    };
    let before = classes(&learner);
    learner.replaced(4, &turned, names(&["c", "a", "b"])).unwrap();
    let turn = |target: &Target| match target {
        Target::Class(class) => Target::Class((class + 1) % 3),
        other => other.clone(),
    };
    assert_eq!(classes(&learner), before.iter().map(turn).collect::<Vec<_>>());
    assert_eq!(learner.original, original, "the reference goes on comparing with the first model");
    let measured = |learner: &mut Learner| {
        let Learner { guard, serving, port, output, measure, .. } = learner;
        let samples = guard.as_ref().unwrap().samples();
        crate::learn::measure::evaluate(&mut serving.network, port, output, measure, samples).unwrap()
    };
    assert_eq!(measured(&mut learner), original, "the same model says the same, by other numbers");
    // What it has no name for is not judged by it.
    let two = model(3, 16, 2, false);
    learner.replaced(5, &two, names(&["c", "a"])).unwrap();
    assert!(classes(&learner).iter().all(|target| matches!(target, Target::Class(0 | 1))));
    assert_eq!(learner.guard.as_ref().unwrap().samples().len(), learner.original.len());
    assert!(learner.original.len() < 400 && learner.original.len() > 200);
}

#[test]
fn an_autoencoder_learns_by_its_loss() {
    let old = model(3, 16, 3, false);
    let mut settings = LearnConfig { supervision: crate::learn::Supervision::Input, ..config() };
    settings.labels.from = None;
    let mut learner = Learner::new(&old, &settings, "x", Vec::new()).unwrap();
    let mut supervisor = crate::learn::Supervisor::new(&settings);
    assert_eq!(learner.measured(), Measured::Loss);
    let mut world = World::new(15);
    let versions = run(&mut learner, &old, 40, |second| {
        let inputs = (0..10).map(|_| Tensor::from_vec(world.draw(0).0));
        inputs.filter_map(|input| supervisor.see(A, at(second), &input, None)).collect()
    });
    assert!(versions.len() > 1, "{:?}", learner.counts());
    let rest = |model: &Model| {
        let mut network = Network::new(model).unwrap();
        let mut world = World::new(77);
        let inputs: Vec<f32> = (0..200).flat_map(|_| world.draw(0).0).collect();
        let input = Tensor::new(vec![200, 3], inputs).unwrap();
        let found = network.run(&[("x", &input)]).unwrap();
        let pairs = found[0].as_slice::<f32>().unwrap().iter().zip(input.as_slice::<f32>().unwrap());
        pairs.map(|(one, other)| (one - other).powi(2)).sum::<f32>() / 600.0
    };
    let (before, after) = (rest(&old), rest(versions.last().unwrap()));
    assert!(after < 0.2 * before, "{before} {after}");
}

#[test]
fn what_is_adopted_is_the_candidate_however_long_it_waited() {
    let old = trained();
    let mut world = World::new(16);
    let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
    let candidate = (0..60).find_map(|second| {
        ten(&mut world, 1).into_iter().for_each(|sample| learner.offer(sample));
        while learner.train() {}
        match learner.consider(at(second)) {
            Verdict::Promote(candidate) => Some(candidate),
            _ => None,
        }
    });
    let candidate = candidate.unwrap();
    ten(&mut world, 1).into_iter().for_each(|sample| learner.offer(sample));
    while learner.train() {}
    assert_eq!(learner.consider(at(100)), Verdict::Wait);
    assert_ne!(bits(&learner.shadow()), bits(&candidate.model));
    assert_eq!(bits(&learner.serving()), bits(&old));
    learner.adopted(3).unwrap();
    assert_eq!(bits(&learner.serving()), bits(&candidate.model));
    assert_eq!((learner.version(), learner.counts().promoted), (3, 1));
    learner.adopted(4).unwrap();
    assert_eq!(learner.version(), 3, "there is no candidate");
}

#[test]
fn what_does_not_fit_is_counted_and_goes_no_further() {
    let mut learner = Learner::new(&model(3, 4, 3, false), &config(), "x", names(&["a", "b", "c"])).unwrap();
    let good = || vec![0.0; 3];
    for (sample, malformed, unknown) in [
        (sample(good(), Target::Class(2)), 0, 0),
        (sample(good(), Target::Name("b".into())), 0, 0),
        (sample(good(), Target::Tensor(Tensor::from_vec(vec![0.2f32, 0.3, 0.5]))), 0, 0),
        (sample(good(), Target::Tensor(Tensor::from_vec(vec![5.0f32, -3.0, 0.5]))), 0, 0), // a teacher's logits
        (sample(good(), Target::Tensor(Tensor::from_vec(vec![1i64]))), 0, 0),
        (Sample { input: Tensor::new(vec![1, 3], good()).unwrap(), ..sample(good(), Target::Class(0)) }, 0, 0),
        (sample(good(), Target::Class(3)), 0, 1),
        (sample(good(), Target::Name("z".into())), 0, 1),
        (sample(good(), Target::Tensor(Tensor::from_vec(vec![3i64]))), 1, 0),
        (sample(good(), Target::Tensor(Tensor::from_vec(vec![0.5f32, 0.5]))), 1, 0),
        (sample(good(), Target::Tensor(Tensor::from_vec(vec![f32::NAN, 0.5, 0.5]))), 1, 0),
        (sample(vec![0.0; 2], Target::Class(0)), 1, 0),
        (sample(vec![f32::INFINITY; 3], Target::Class(0)), 1, 0),
        (sample(Vec::new(), Target::Class(0)), 1, 0),
        (Sample { input: Tensor::from_vec(vec![0.0f64; 3]), ..sample(good(), Target::Class(0)) }, 1, 0),
        (Sample { input: Tensor::new(vec![2, 3], vec![0.0f32; 6]).unwrap(), ..sample(good(), Target::Class(0)) }, 1, 0),
    ] {
        let before = learner.counts();
        let shown = format!("{sample:?}");
        learner.offer(sample);
        while learner.train() {}
        let after = learner.counts();
        let found = (after.malformed - before.malformed, after.unknown_class - before.unknown_class);
        assert_eq!(found, (malformed, unknown), "{shown}");
        assert_eq!(after.failed, 0);
    }
}

#[test]
fn a_shadow_that_diverges_starts_again() {
    let old = trained();
    let mut settings = config();
    settings.optimizer = crate::engine::Optimizer::Sgd(crate::engine::optimizers::Sgd { learning_rate: 1e30 });
    settings.clip = crate::learn::ClipConfig { norm: None, value: None };
    let mut world = World::new(12);
    let mut learner = Learner::new(&old, &settings, "x", Vec::new()).unwrap();
    let versions = run(&mut learner, &old, 10, |_| ten(&mut world, 1));
    assert!(learner.counts().diverged > 0, "{:?}", learner.counts());
    assert_eq!(versions.len(), 1, "nothing of it serves");
}

#[test]
fn a_flood_is_not_learned_all_day_and_drift_is_waited_for() {
    let mut settings = config();
    settings.replay.size = 50;
    let mut world = World::new(13);
    let mut learner = Learner::new(&model(3, 4, 3, false), &settings, "x", Vec::new()).unwrap();
    (0..1000).for_each(|_| learner.offer(world.sample(0)));
    let counts = learner.counts();
    assert_eq!(learner.owed(), 50);
    assert_eq!(counts.steps_given_up + 50, counts.kept + counts.passed_over);
    let mut settings = config();
    settings.when = When::Drift;
    let mut learner = Learner::new(&model(3, 4, 3, false), &settings, "x", Vec::new()).unwrap();
    (0..20).for_each(|_| learner.offer(world.sample(0)));
    assert!(!learner.train() && learner.counts().steps == 0);
    learner.drifted();
    assert!(learner.train() && learner.counts().steps == 1);
}

#[test]
fn a_time_that_goes_back_is_that_of_another_stream() {
    let old = trained();
    let mut world = World::new(17);
    let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
    for _ in 0..20 {
        ten(&mut world, 1).into_iter().for_each(|sample| learner.offer(sample));
    }
    while learner.train() {}
    assert_eq!(learner.consider(at(1000)), Verdict::Wait);
    assert_eq!(learner.consider(at(0)), Verdict::Wait);
    assert_ne!(learner.consider(at(1)), Verdict::Wait);
}

#[test]
fn a_model_that_a_person_puts_there_is_learned_from() {
    let (old, other) = (trained(), model(3, 16, 3, true));
    let mut world = World::new(18);
    let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
    ten(&mut world, 1).into_iter().for_each(|sample| learner.offer(sample));
    while learner.train() {}
    learner.replaced(5, &other, Vec::new()).unwrap();
    assert_eq!((bits(&learner.shadow()), learner.version(), learner.counts().rolled_back), (bits(&other), 5, 0));
    ten(&mut world, 1).into_iter().for_each(|sample| learner.offer(sample));
    while learner.train() {}
    assert!(learner.counts().failed == 0 && learner.shadow().graph.outputs.len() == 1, "{:?}", learner.counts());
    let before = bits(&learner.shadow());
    assert!(learner.replaced(6, &Model::new(crate::onnx::Graph::default(), 17), Vec::new()).is_err());
    assert_eq!((bits(&learner.shadow()), learner.version()), (before, 5));
}

#[test]
fn a_model_of_one_sample_a_run_learns_too() {
    let mut graph = Builder::new("one", 5);
    let x = graph.input("x", DType::F32, &[Some(1), Some(3)]).unwrap();
    let y = Dense::new("out", 3).apply(&mut graph, &x).unwrap();
    graph.output("y", &y).unwrap();
    let old = graph.finish();
    let mut world = World::new(14);
    let mut learner = Learner::new(&old, &config(), "x", Vec::new()).unwrap();
    let versions = run(&mut learner, &old, 60, |_| ten(&mut world, 0));
    assert!(accuracy(versions.last().unwrap(), 0) > 93.0, "{:?}", learner.counts());
}

#[test]
fn what_cannot_be_learned_is_refused_with_what_to_do() {
    let two = {
        let mut graph = Builder::new("two", 5);
        let x = graph.input("x", DType::F32, &[None, Some(3)]).unwrap();
        let h = graph.input("h", DType::F32, &[None, Some(3)]).unwrap();
        let sum = graph.node("Add", &[&x, &h], &[]).unwrap();
        let y = Dense::new("out", 3).apply(&mut graph, &sum).unwrap();
        graph.output("y", &y).unwrap();
        graph.finish()
    };
    let eight = {
        let mut graph = Builder::new("eight", 5);
        let x = graph.input("x", DType::F32, &[Some(8), Some(3)]).unwrap();
        let y = Dense::new("out", 3).apply(&mut graph, &x).unwrap();
        graph.output("y", &y).unwrap();
        graph.finish()
    };
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small.npz");
    write_reference(&small, &[(vec![0.0; 3], 0), (vec![1.0; 3], 1)]);
    let wrong = folder.path().join("wrong.npz");
    write_reference(&wrong, &vec![(vec![0.0; 3], 9); 300]);
    let narrow = folder.path().join("narrow.npz");
    write_reference(&narrow, &vec![(vec![0.0, 1.0, 2.0, 3.0], 0); 300]);
    let guarded = |path: &std::path::Path| {
        let mut config = config();
        config.guard.reference = Some(path.to_owned());
        config
    };
    let plain = || model(3, 4, 3, false);
    for (model, config, input, classes, says) in [
        (plain(), config(), "z", vec![], "an input `z`"),
        (two, config(), "x", vec![], "as its only input"),
        (eight, config(), "x", vec![], "batch axis"),
        (plain(), config(), "x", names(&["a"]), "expected 1 classes"),
        (plain(), LearnConfig { new_classes: 1, ..config() }, "x", vec![], "needs the names"),
        (plain(), LearnConfig { holdout: 0.0, ..config() }, "x", vec![], "`learn.holdout`"),
        (plain(), LearnConfig { freeze: vec!["conv*".into()], ..config() }, "x", vec![], "weight that matches `conv*`"),
        (plain(), guarded(&small), "x", vec![], "at least 183 samples"),
        (plain(), LearnConfig { measure: Some(Measured::Loss), ..guarded(&small) }, "x", vec![], "at least 10 samples"),
        (plain(), guarded(&narrow), "x", vec![], "narrow.npz: input `x`: expected f32 [batch, 3]"),
        (plain(), guarded(&folder.path().join("none.npz")), "x", vec![], "none.npz"),
    ] {
        let error = Learner::new(&model, &config, input, classes).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
    }
    // A class that the model does not have is a wrong answer, and no fault.
    assert!(Learner::new(&plain(), &guarded(&wrong), "x", vec![]).is_ok());
}
