//! What the benches of models share: the peers, processes that measure themselves and tell it in a line of JSON.
#![allow(dead_code, reason = "each bench uses a part")]
#![allow(clippy::unwrap_used, reason = "a bench stops where something is wrong")]

mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use percept::Pipeline;
use percept::codec::AudioReader;
use percept::pipeline::PipelineFile;
use percept::stage::Settings;
use percept::stages::REGISTRY;
pub use process::*;
use serde_json::Value as Json;

/// Frames per second of every recording here.
pub const SAMPLE_RATE_HZ: usize = 16_000;

/// A pipeline whose models share a pool of one thread.
pub fn pipeline(yaml: &str) -> Pipeline {
    let checked =
        PipelineFile::parse("bench.yaml", yaml).and_then(|file| Pipeline::from_file(&file, &REGISTRY, &settings()));
    checked.unwrap_or_else(|faults| {
        eprintln!("{faults}\n`percept setup pipelines/speech.yaml` fetches the models (`make bench` does)");
        std::process::exit(1)
    })
}

/// Settings with one thread for all models.
pub fn settings() -> Settings {
    Settings { model_threads: Some(1), ..Settings::default() }
}

/// Samples of a recording that is mono at 16 kHz.
pub fn samples(path: &Path) -> Vec<f32> {
    let mut reader = AudioReader::open(path).unwrap();
    let mut samples = Vec::new();
    while reader.read(&mut samples).unwrap() > 0 {}
    samples
}

/// Python with the packages of `benches/peers/python/requirements.txt`.
pub struct Peers {
    python: PathBuf,
    wheels: PathBuf,
    /// Whether sherpa-onnx is installed.
    pub sherpa: bool,
}

impl Peers {
    /// The Python that `PERCEPT_BENCH_PYTHON` names, or the one that `make bench` prepares under the target folder; none
    /// where neither has onnxruntime, or where `PERCEPT_BENCH_PEERS` is 0.
    pub fn find() -> Option<Peers> {
        if std::env::var("PERCEPT_BENCH_PEERS").is_ok_and(|value| value == "0") {
            return None;
        }
        // This program lies in TARGET/release/deps.
        let here = std::env::current_exe().unwrap_or_default();
        let folder = here.ancestors().nth(3).unwrap_or(Path::new(".")).join("peers");
        let or = |name: &str, default: PathBuf| std::env::var_os(name).map_or(default, PathBuf::from);
        let python = or("PERCEPT_BENCH_PYTHON", folder.join("venv/bin/python"));
        let wheels = or("PERCEPT_BENCH_WHEELS", folder.join("wheels"));
        let has = |package: &str| {
            let mut command = Command::new(&python);
            let done = command.args(["-c", &format!("import {package}")]).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        if !has("numpy, onnxruntime") {
            println!("no peers: {} has no onnxruntime (`make bench` prepares it)", python.display());
            return None;
        }
        let sherpa = has("sherpa_onnx");
        Some(Peers { python, wheels, sherpa })
    }

    /// Runs one of their scripts on one core, and gives the line that it prints.
    pub fn figures(&self, script: &str, arguments: &[&str]) -> Json {
        let mut command = on_one_core(&self.python);
        command.arg(root().join("benches/peers/python").join(script)).arg("--wheels").arg(&self.wheels);
        figures(command.args(arguments))
    }
}

/// This program again, on one core, with these arguments; and the line that it prints.
pub fn again(arguments: &[&str]) -> Json {
    figures(on_one_core(&std::env::current_exe().expect("it runs")).args(arguments))
}

/// This program again, on all cores.
pub fn again_on_all_cores(arguments: &[&str]) -> Json {
    figures(Command::new(std::env::current_exe().expect("it runs")).args(arguments))
}

/// `program`, kept by `taskset` to the last core that this process may use; on all where there is no `taskset`.
fn on_one_core(program: &Path) -> Command {
    let there = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    match cores.and_then(|cores| cores.rsplit([',', '-']).next()) {
        Some(core) if there.is_ok_and(|status| status.success()) => {
            let mut command = Command::new("taskset");
            command.args(["-c", core.trim()]).arg(program);
            command
        }
        _ => Command::new(program),
    }
}

fn figures(command: &mut Command) -> Json {
    let done = command.stderr(Stdio::inherit()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{command:?}: {}\n{text}", done.status);
    let line = text.lines().rfind(|line| line.starts_with('{'));
    let line = line.unwrap_or_else(|| panic!("{command:?} printed no result:\n{text}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{command:?}: {line}: {error}"))
}

/// The median of a figure over rounds; NaN where none has it.
pub fn median(rounds: &[Json], key: &str) -> f64 {
    middle(rounds.iter().filter_map(|round| round[key].as_f64()).collect())
}

/// The median over rounds of our figure divided by theirs in the same round.
pub fn median_ratio(ours: &[Json], theirs: &[Json], key: &str) -> f64 {
    let both = ours.iter().zip(theirs);
    middle(both.filter_map(|(our, their)| Some(our[key].as_f64()? / their[key].as_f64()?)).collect())
}
