//! What the benches of models share: clocks of the process, its memory, the peers, processes that measure themselves and
//! tell it in a line of JSON. Linux only: the figures are read under `/proc`.
#![allow(dead_code, reason = "each bench uses a part")]
#![allow(clippy::unwrap_used, reason = "a bench stops where something is wrong")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use percept::Pipeline;
use percept::codec::AudioReader;
use percept::pipeline::PipelineFile;
use percept::stage::Settings;
use percept::stages::REGISTRY;
use serde_json::Value as Json;

/// Frames per second of every recording here.
pub const SAMPLE_RATE_HZ: usize = 16_000;

/// The folder of the package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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

/// Wall time, and CPU time of each thread of this process, since it was made. A thread that ends meanwhile is not
/// counted, so the pipeline must outlive the measurement.
pub struct Meter {
    wall: Instant,
    threads: HashMap<String, (String, u64)>,
}

/// What a [`Meter`] read.
pub struct Reading {
    /// Real time.
    pub wall: Duration,
    /// CPU time of every thread, by name.
    threads: Vec<(String, Duration)>,
}

impl Meter {
    /// Begins.
    pub fn start() -> Meter {
        Meter { threads: threads(), wall: Instant::now() }
    }

    /// Ends.
    pub fn stop(self) -> Reading {
        let wall = self.wall.elapsed();
        let used = |(id, (name, now)): (String, (String, u64))| {
            let before = self.threads.get(&id).map_or(0, |(_, before)| *before);
            (name, Duration::from_nanos(now.saturating_sub(before)))
        };
        Reading { wall, threads: threads().into_iter().map(used).collect() }
    }
}

impl Reading {
    /// CPU time of all threads.
    pub fn cpu(&self) -> Duration {
        self.threads.iter().map(|(_, used)| used).sum()
    }

    /// CPU time in seconds by the name of the thread.
    pub fn by_thread(&self) -> BTreeMap<&str, f64> {
        let mut by_thread = BTreeMap::new();
        for (name, used) in &self.threads {
            *by_thread.entry(name.as_str()).or_default() += used.as_secs_f64();
        }
        by_thread
    }

    /// CPU time of the thread of the stage `stage` in the pipeline `pipeline`.
    pub fn cpu_of(&self, pipeline: &str, stage: &str) -> Duration {
        // Linux keeps 15 bytes of a thread's name.
        let name: String = format!("{pipeline}/{stage}").chars().take(15).collect();
        self.threads.iter().filter(|(found, _)| *found == name).map(|(_, used)| used).sum()
    }
}

/// Every thread by its id: its name, and the nanoseconds that it was on a core (`schedstat`'s first number).
fn threads() -> HashMap<String, (String, u64)> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux's /proc").flatten();
    let read = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let used = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let used = used.split_whitespace().next()?.parse().ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), (name.trim().to_owned(), used)))
    };
    tasks.filter_map(read).collect()
}

/// Resident memory of this process in MiB: now (`VmRSS`), or at its highest (`VmHWM`).
pub fn memory_mib(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux's /proc");
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).expect("the kernel tells it");
    line.trim().trim_end_matches("kB").trim().parse::<f64>().expect("a number of KiB") / 1024.0
}

/// The machine's load average of the last minute.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
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

/// How many rounds: `PERCEPT_BENCH_ROUNDS`, or `default`.
pub fn rounds(default: usize) -> usize {
    let rounds = std::env::var("PERCEPT_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    rounds.unwrap_or(default).max(1)
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

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A figure for a table: `-` where there is none.
pub fn cell(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
}
