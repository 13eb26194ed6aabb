//! Training steps beside PyTorch: forward, loss, backward and update by gradient descent, on the works that the engine
//! was designed for; and one-sample updates of a linear model beside a NumPy loop.
//!
//! `cargo bench --bench training -- [WORK…]`: all works whose name begins so, `lenet5` or `lenet5/64`. Ours and the peer's
//! take turns on the same work in chunks of about 0.2 s, and each row is the median over rounds, of CPU time and of wall
//! time; a ratio is the median over the rounds' own ratios, so that what else the machine does falls on both. The peer is
//! one long-lived process, `peers/python/training.py`. Prints a table as it goes; asserts nothing.

#![allow(clippy::unwrap_used, reason = "a bench stops where something is wrong")]

#[path = "measure/process.rs"]
mod measure;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use measure::{Meter, cell, load, middle, root, rounds};
use percept::engine::optimizers::Sgd;
use percept::engine::{
    Builder, Conv, Dense, EngineError, Initializer, Loss, Network, Optimizer, Slice, Training, TrainingOptions, Value,
};
use percept::onnx::{AttributeValue, Model};
use percept::tensor::{DType, Tensor};
use percept::zoo::{Architecture, Lenet5, Mlp, Perceptron, Tdnn};
use serde_json::{Value as Json, json};

/// How long one chunk takes.
const CHUNK: Duration = Duration::from_millis(200);
const CLASSES: usize = 10;
/// Units of the recurrent layers, their inputs, and how many steps in time they make.
const UNITS: usize = 128;
const FEATURES: usize = 40;
const TIME: usize = 100;
/// Samples that the online works go round.
const SAMPLES: usize = 256;

/// One step, or many: something that is done `n` times.
type Steps = Box<dyn FnMut(usize)>;

struct Work {
    name: &'static str,
    batch: usize,
    /// What PyTorch's time over ours is to be: `must` or `aim`, and a number.
    goal: (&'static str, f64),
    start: fn(batch: usize, threads: usize) -> Steps,
}

#[rustfmt::skip]
const WORKS: &[Work] = &[
    Work { name: "lenet5", batch: 1, goal: ("must", 10.0), start: lenet5 },
    Work { name: "lenet5", batch: 64, goal: ("must", 4.0), start: lenet5 },
    Work { name: "mlp", batch: 1, goal: ("aim", 2.0), start: mlp },
    Work { name: "mlp", batch: 64, goal: ("aim", 1.8), start: mlp },
    Work { name: "lstm", batch: 1, goal: ("aim", 2.0), start: |batch, threads| recurrent("LSTM", 4, batch, threads) },
    Work { name: "lstm", batch: 16, goal: ("aim", 1.5), start: |batch, threads| recurrent("LSTM", 4, batch, threads) },
    Work { name: "gru", batch: 1, goal: ("must", 10.0), start: |batch, threads| recurrent("GRU", 3, batch, threads) },
    Work { name: "gru", batch: 16, goal: ("must", 3.0), start: |batch, threads| recurrent("GRU", 3, batch, threads) },
    Work { name: "conv", batch: 1, goal: ("aim", 1.0), start: conv },
    Work { name: "tdnn", batch: 16, goal: ("aim", 2.0), start: tdnn },
    Work { name: "resnet18", batch: 8, goal: ("aim", 1.5), start: resnet18 },
];

/// Updates of one sample on 64 features; the goal is a million a second.
#[rustfmt::skip]
const ONLINE: &[Work] = &[
    Work { name: "logistic", batch: 1, goal: ("must", 1.0), start: |_, _| online("binary_cross_entropy", 0.0) },
    Work { name: "perceptron", batch: 1, goal: ("must", 1.0), start: |_, _| online("perceptron", -1.0) },
];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |work: &&Work| {
        let name = format!("{}/{}", work.name, work.batch);
        asked.is_empty() || asked.iter().any(|asked| name.starts_with(asked.as_str()))
    };
    let threads = std::env::var("PERCEPT_BENCH_THREADS").unwrap_or_else(|_| "1".to_owned());
    let threads: Vec<usize> = threads.split(',').map(|count| count.trim().parse().expect("1 or 1,2")).collect();
    let rounds = rounds(5);
    let mut peer = Peer::find();
    let name = peer.as_ref().map_or_else(|| "no peer".to_owned(), |peer| peer.name.clone());
    println!("training steps, ms, median of {rounds} rounds; peer: {name}");
    let before = load();
    for &threads in &threads {
        println!("\n{:>10} {:>5} {:>8} |{:^21} |{:^21} |{:^27} |", "", "", "", "percept", "peer", "peer / percept");
        println!(
            "{:>10} {:>5} {:>8} |{:>10} {:>10} |{:>10} {:>10} |{:>7} {:>7} {:>11} | goal",
            "work", "batch", "threads", "CPU", "wall", "CPU", "wall", "CPU", "wall", "CPU, range"
        );
        for work in WORKS.iter().filter(wanted) {
            let result = compare(work, threads, rounds, peer.as_mut());
            let ratio = middle(result.ratios(cpu));
            let (kind, goal) = work.goal;
            let verdict = match ratio {
                ratio if ratio.is_nan() => "",
                ratio if ratio >= goal => "reached",
                _ => "short",
            };
            println!(
                "{:>10} {:>5} {threads:>8} |{:>10} {:>10} |{:>10} {:>10} |{:>7} {:>7} {:>11} | {kind} {goal} {verdict}",
                work.name,
                work.batch,
                cell(1e3 * result.ours(cpu), 3),
                cell(1e3 * result.ours(wall), 3),
                cell(1e3 * result.theirs(cpu), 3),
                cell(1e3 * result.theirs(wall), 3),
                cell(ratio, 2),
                cell(middle(result.ratios(wall)), 2),
                result.range(),
            );
        }
    }
    if ONLINE.iter().any(|work| wanted(&work)) {
        println!(
            "\nupdates of one sample on 64 features, million per second of CPU time (goal: 1; peer: a NumPy loop)"
        );
        for work in ONLINE.iter().filter(wanted) {
            let result = compare(work, 1, rounds, peer.as_mut());
            let (ours, theirs) = (1e-6 / result.ours(cpu), 1e-6 / result.theirs(cpu));
            println!("{:>10}  percept {}  peer {}", work.name, cell(ours, 3), cell(theirs, 3));
        }
    }
    println!("\nload average {before} before, {} after", load());
}

/// CPU time and wall time of a step, in seconds.
type Figures = (f64, f64);

fn cpu(figures: &Figures) -> f64 {
    figures.0
}

fn wall(figures: &Figures) -> f64 {
    figures.1
}

/// The figures of all rounds; the peer's are as many, or none.
struct Rounds {
    ours: Vec<Figures>,
    theirs: Vec<Figures>,
}

impl Rounds {
    fn ours(&self, of: fn(&Figures) -> f64) -> f64 {
        middle(self.ours.iter().map(of).collect())
    }

    fn theirs(&self, of: fn(&Figures) -> f64) -> f64 {
        middle(self.theirs.iter().map(of).collect())
    }

    /// The peer's time over ours, round by round.
    fn ratios(&self, of: fn(&Figures) -> f64) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| of(theirs) / of(ours)).collect()
    }

    fn range(&self) -> String {
        let mut ratios = self.ratios(cpu);
        ratios.sort_by(f64::total_cmp);
        match (ratios.first(), ratios.last()) {
            (Some(least), Some(most)) => format!("{least:.1}–{most:.1}"),
            _ => "-".to_owned(),
        }
    }
}

/// Both in turn, the first one changing from round to round, after each has warmed up.
fn compare(work: &Work, threads: usize, rounds: usize, mut peer: Option<&mut Peer>) -> Rounds {
    let mut steps = (work.start)(work.batch, threads);
    let mut measure = |count: usize| {
        let meter = Meter::start();
        steps(count);
        let reading = meter.stop();
        (reading.cpu().as_secs_f64() / count as f64, reading.wall.as_secs_f64() / count as f64)
    };
    let count = chunk(&mut measure);
    let mut ask = |count: usize| peer.as_mut().and_then(|peer| peer.steps(work, threads, count));
    let peer_count = ask(1).map(|_| chunk(|count| ask(count).expect("it did one")));
    let mut found = Rounds { ours: Vec::new(), theirs: Vec::new() };
    for round in 0..rounds {
        if round % 2 == 0 {
            found.ours.push(measure(count));
        }
        if let Some(peer_count) = peer_count {
            found.theirs.push(ask(peer_count).expect("it did one"));
        }
        if round % 2 == 1 {
            found.ours.push(measure(count));
        }
    }
    found
}

/// How many steps make a chunk; and warms up.
fn chunk(mut measure: impl FnMut(usize) -> Figures) -> usize {
    measure(3);
    let mut count = 1;
    loop {
        let took = measure(count).1 * count as f64;
        let wanted = CHUNK.as_secs_f64();
        if took > 0.1 * wanted {
            return ((count as f64 * wanted / took) as usize).max(1);
        }
        count *= 4;
    }
}

/// The peer's process. It is asked in lines of JSON, and answers in lines of JSON.
struct Peer {
    name: String,
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// The Python that `PERCEPT_BENCH_TORCH` names, or the one that `make bench` prepares under the target folder; none
    /// where neither has PyTorch, or where `PERCEPT_BENCH_PEERS` is 0.
    fn find() -> Option<Peer> {
        if std::env::var("PERCEPT_BENCH_PEERS").is_ok_and(|value| value == "0") {
            return None;
        }
        // This program lies in TARGET/release/deps.
        let here = std::env::current_exe().unwrap_or_default();
        let folder = here.ancestors().nth(3).unwrap_or(Path::new(".")).join("peers/torch");
        let python = std::env::var_os("PERCEPT_BENCH_TORCH").map_or(folder.join("venv/bin/python"), PathBuf::from);
        let mut command = Command::new(&python);
        command.arg(root().join("benches/peers/python/training.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = command.spawn().ok().and_then(|mut child| {
            let (ask, answers) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
            let mut peer = Peer { name: String::new(), child, ask, answers };
            peer.name = peer.answer()?["peer"].as_str()?.to_owned();
            Some(peer)
        });
        if started.is_none() {
            println!("no peer: {} has no PyTorch (`make bench` prepares it)", python.display());
        }
        started
    }

    /// So many steps of a work; `None` where it has no such work.
    fn steps(&mut self, work: &Work, threads: usize, count: usize) -> Option<Figures> {
        let question = json!({ "work": work.name, "batch": work.batch, "threads": threads, "steps": count });
        writeln!(self.ask, "{question}").expect("the peer lives");
        let answer = self.answer().expect("the peer answers");
        let each = |key: &str| Some(answer[key].as_f64()? / count as f64);
        Some((each("cpu_s")?, each("wall_s")?))
    }

    fn answer(&mut self) -> Option<Json> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers between −1 and 1 that are the same in every run (Knuth's MMIX generator).
fn random(shape: &[usize]) -> Tensor {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::new(shape.to_vec(), (0..shape.iter().product()).map(|_| next()).collect::<Vec<f32>>()).unwrap()
}

/// Steps of gradient descent on one batch: `x`, and classes in turn.
fn descend(model: &Model, x: Tensor, batch: usize, threads: usize) -> Steps {
    let options = TrainingOptions::new(Loss::cross_entropy(), Optimizer::Sgd(Sgd { learning_rate: 0.001 }));
    let mut training = Training::new(model, options.threads(threads)).unwrap();
    let target = Tensor::from_vec((0..batch).map(|row| (row % CLASSES) as i64).collect::<Vec<_>>());
    Box::new(move |count| {
        for _ in 0..count {
            training.step(&[("x", &x), ("target", &target)]).unwrap();
        }
    })
}

fn lenet5(batch: usize, threads: usize) -> Steps {
    descend(&Lenet5::default().build(1).unwrap(), random(&[batch, 1, 28, 28]), batch, threads)
}

fn mlp(batch: usize, threads: usize) -> Steps {
    let mlp = Mlp { inputs: vec![784], hidden: vec![256], outputs: CLASSES };
    descend(&mlp.build(1).unwrap(), random(&[batch, 784]), batch, threads)
}

fn tdnn(batch: usize, threads: usize) -> Steps {
    let tdnn = Tdnn { features: FEATURES, classes: CLASSES, channels: 128, dilations: vec![1], lengths: false };
    descend(&tdnn.build(1).unwrap(), random(&[batch, FEATURES, 200]), batch, threads)
}

/// A recurrent layer, and a dense one on its last state.
fn recurrent(op_type: &str, gates: usize, batch: usize, threads: usize) -> Steps {
    let build = || -> Result<Model, EngineError> {
        let mut graph = Builder::new("recurrent", 1);
        let x = graph.input("x", DType::F32, &[Some(TIME), None, Some(FEATURES)])?;
        let (rows, fans) = (gates * UNITS, Some((UNITS, UNITS)));
        let w = graph.weight_with_fans("input", &[1, rows, FEATURES], Initializer::FanIn, fans)?;
        let r = graph.weight_with_fans("state", &[1, rows, UNITS], Initializer::FanIn, fans)?;
        let b = graph.weight_with_fans("bias", &[1, 2 * rows], Initializer::FanIn, fans)?;
        let mut attributes = vec![("hidden_size", AttributeValue::Int(UNITS as i64))];
        if op_type == "GRU" {
            // PyTorch's GRU resets after the product.
            attributes.push(("linear_before_reset", AttributeValue::Int(1)));
        }
        let outputs = graph.nodes(op_type, &[Some(&x), Some(&w), Some(&r), Some(&b)], 2, &attributes)?;
        let last = outputs.into_iter().nth(1).flatten().expect("two outputs were asked for");
        let directions = graph.constant("directions", Tensor::from_vec(vec![0i64]))?;
        let last = graph.node("Squeeze", &[&last, &directions], &[])?;
        let y = Dense::new("out", CLASSES).apply(&mut graph, &last)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    };
    descend(&build().unwrap(), random(&[TIME, batch, FEATURES]), batch, threads)
}

/// One convolution, 64 to 64 channels, 3×3 at 56×56, with the gradients of its input and its weights. No update; the
/// three results are read where they lie.
fn conv(batch: usize, threads: usize) -> Steps {
    let build = || -> Result<Model, EngineError> {
        let mut graph = Builder::new("conv", 1);
        let x = graph.input("x", DType::F32, &[None, Some(64), Some(56), Some(56)])?;
        let y = Conv::new("conv", 64, &[3, 3]).padding(1).without_bias().apply(&mut graph, &x)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    };
    let mut network = Network::new(&build().unwrap()).unwrap();
    network.set_threads(threads).unwrap();
    let x = random(&[batch, 64, 56, 56]);
    let cotangent = [random(&[batch, 64, 56, 56])];
    Box::new(move |count| {
        for _ in 0..count {
            let wanted = ["x", "conv.weight"];
            let look = |y: &[Slice<'_>], gradients: &[Option<Slice<'_>>]| {
                std::hint::black_box((y, gradients));
            };
            network.gradients_with(&[("x", &x)], &cotangent, &wanted, 0, look).unwrap();
        }
    })
}

/// ResNet-18 (He et al., CVPR 2016, table 1) on pictures of 64×64, for ten classes.
fn resnet18(batch: usize, threads: usize) -> Steps {
    fn normalized(
        graph: &mut Builder,
        x: &Value,
        name: &str,
        channels: usize,
        kernel: usize,
        stride: usize,
    ) -> Result<Value, EngineError> {
        let conv = Conv::new(name, channels, &[kernel; 2]).stride(stride).padding(kernel / 2).without_bias();
        let y = conv.apply(graph, x)?;
        let mut statistic =
            |what: &str, value: f32| graph.constant(&format!("{name}.{what}"), Tensor::from_vec(vec![value; channels]));
        let (scale, shift) = (statistic("scale", 1.0)?, statistic("shift", 0.0)?);
        let (mean, variance) = (statistic("mean", 0.0)?, statistic("variance", 1.0)?);
        graph.node("BatchNormalization", &[&y, &scale, &shift, &mean, &variance], &[])
    }
    let build = || -> Result<Model, EngineError> {
        let mut graph = Builder::new("resnet18", 1);
        let x = graph.input("x", DType::F32, &[None, Some(3), Some(64), Some(64)])?;
        let mut value = normalized(&mut graph, &x, "stem", 64, 7, 2)?;
        value = graph.relu(&value)?;
        let ints = |value: i64, count: usize| AttributeValue::Ints(vec![value; count]);
        let pool = [("kernel_shape", ints(3, 2)), ("strides", ints(2, 2)), ("pads", ints(1, 4))];
        value = graph.node("MaxPool", &[&value], &pool)?;
        for (stage, channels) in [64, 128, 256, 512].into_iter().enumerate() {
            for block in 0..2 {
                let name = format!("stage{stage}.block{block}");
                let narrows = stage > 0 && block == 0;
                let stride = if narrows { 2 } else { 1 };
                let mut inner = normalized(&mut graph, &value, &format!("{name}.first"), channels, 3, stride)?;
                inner = graph.relu(&inner)?;
                inner = normalized(&mut graph, &inner, &format!("{name}.second"), channels, 3, 1)?;
                if narrows {
                    value = normalized(&mut graph, &value, &format!("{name}.short"), channels, 1, 2)?;
                }
                value = graph.node("Add", &[&inner, &value], &[])?;
                value = graph.relu(&value)?;
            }
        }
        value = graph.node("GlobalAveragePool", &[&value], &[])?;
        value = graph.flatten(&value)?;
        let y = Dense::new("out", CLASSES).apply(&mut graph, &value)?;
        graph.output("y", &y)?;
        Ok(graph.finish())
    };
    descend(&build().unwrap(), random(&[batch, 3, 64, 64]), batch, threads)
}

/// A linear model of 64 features, updated by one sample after another; targets are 1 and `negative`.
fn online(loss: &str, negative: f32) -> Steps {
    const WIDTH: usize = 64;
    let model = Perceptron { inputs: WIDTH, outputs: 1 }.build(1).unwrap();
    let options = TrainingOptions::new(Loss::new(loss).unwrap(), Optimizer::Sgd(Sgd { learning_rate: 0.01 }));
    let mut training = Training::new(&model, options).unwrap();
    let all = random(&[SAMPLES, WIDTH]);
    let rows = all.as_slice::<f32>().unwrap().chunks(WIDTH);
    let samples: Vec<(Tensor, Tensor)> = rows
        .map(|row| {
            let target = if row[0] + row[1] > 0.0 { 1.0 } else { negative };
            (Tensor::new(vec![1, WIDTH], row.to_vec()).unwrap(), Tensor::new(vec![1, 1], vec![target]).unwrap())
        })
        .collect();
    let mut at = 0;
    Box::new(move |count| {
        for _ in 0..count {
            let (x, target) = &samples[at];
            at = (at + 1) % SAMPLES;
            training.step(&[("x", x), ("target", target)]).unwrap();
        }
    })
}
