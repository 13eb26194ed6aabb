//! Progress of a run, on the standard error: how far the files are, and how fast against real time.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::global::Global;
use crate::runtime::{Pipeline, PipelineEvent, Report};
use crate::stage::EventKind;
use crate::units::{Clock, SystemClock, TimeSpan, Timestamp};

/// The progress of a run.
pub(super) struct Speed {
    bar: ProgressBar,
    quiet: bool,
    clock: SystemClock,
    /// How far each stream is.
    reached: HashMap<Arc<str>, Timestamp>,
    /// Seconds of all streams whose length is known.
    known_seconds: f64,
}

impl Speed {
    pub(super) fn new(global: &Global, pipeline: &Pipeline) -> Self {
        // A console sink writes to the same terminal; a bar between its lines would tear them.
        let console = pipeline.plan().stages.iter().any(|stage| stage.kind == "console");
        let shown = !global.quiet && std::io::stderr().is_terminal() && !(console && std::io::stdout().is_terminal());
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {wide_bar}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Speed { bar, quiet: global.quiet, clock: SystemClock::new(), reached: HashMap::new(), known_seconds: 0.0 }
    }

    pub(super) fn event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::StreamOpened { seconds, .. } => {
                self.known_seconds += seconds.unwrap_or(0.0);
                self.bar.set_length((self.known_seconds * 1000.0) as u64);
            }
            PipelineEvent::Progress { stream, at } | PipelineEvent::StreamClosed { stream, at } => {
                self.reached.insert(stream.clone(), *at);
                self.update();
            }
            PipelineEvent::Stage { stage, stream, event } if event.kind != EventKind::Notice => {
                self.say(&format!("{stage}: {stream}: {}: {}", event.kind, event.message));
            }
            _ => {}
        }
    }

    /// Says a line without tearing the bar.
    pub(super) fn say(&self, line: &str) {
        if !self.quiet {
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }

    pub(super) fn finish(&mut self, report: &Report) {
        self.bar.finish_and_clear();
        let seconds = self.seconds();
        let elapsed = report.elapsed.as_seconds();
        if !self.quiet && seconds > 0.0 && elapsed > 0.0 {
            let streams =
                if report.streams == 1 { "1 stream".to_owned() } else { format!("{} streams", report.streams) };
            eprintln!("{streams}, {seconds:.1} s in {elapsed:.1} s: {:.1} times real time", seconds / elapsed);
        }
    }

    fn seconds(&self) -> f64 {
        self.reached.values().map(|at| at.as_seconds()).sum()
    }

    fn update(&mut self) {
        let seconds = self.seconds();
        let elapsed = TimeSpan::from_nanos(self.clock.now().as_nanos()).as_seconds();
        self.bar.set_position((seconds * 1000.0) as u64);
        self.bar.set_message(format!("{seconds:.1} s read, {:.1} times real time", seconds / elapsed.max(1e-3)));
    }
}
