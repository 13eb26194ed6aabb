//! What every bench shares: clocks of the process, its memory, medians. Linux only: the figures are read under `/proc`.
#![allow(dead_code, reason = "each bench uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

/// The folder of the package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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

/// How many rounds: `PERCEPT_BENCH_ROUNDS`, or `default`.
pub fn rounds(default: usize) -> usize {
    let rounds = std::env::var("PERCEPT_BENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    rounds.unwrap_or(default).max(1)
}

/// The middle one; NaN where there is none.
pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A figure for a table: `-` where there is none.
pub fn cell(value: f64, digits: usize) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.digits$}") }
}
