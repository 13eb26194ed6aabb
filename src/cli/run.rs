//! `percept run`: runs a pipeline until its streams end or it is interrupted.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::global::Global;
use super::load::Changes;
use super::serving::Serving;
use super::signals::{Signal, interrupted};
use super::speed::Speed;
use super::{CliError, Exit};
use crate::runtime::{Books, Outcome, Pipeline, Report, Running, StartOptions};
use crate::units::{Clock, SystemClock};

/// How long an interrupted pipeline may take to finish what is under way.
const DRAIN: Duration = Duration::from_secs(15);

/// Runs a pipeline file
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The pipeline file
    file: PathBuf,

    #[command(flatten)]
    changes: Changes,

    #[command(flatten)]
    attention: Attention,
}

/// What looks into a run.
#[derive(Debug, ClapArgs)]
pub(super) struct Attention {
    /// Serves metrics as Prometheus text, as in --metrics 127.0.0.1:9100
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,

    #[command(flatten)]
    serving: Serving,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    drive(&args.changes.load(&args.file, global)?, &args.attention, global)
}

/// Runs a pipeline to its end, with what looks into it, and prints its books.
pub(super) fn drive(pipeline: &Pipeline, attention: &Attention, global: &Global) -> Result<Exit, CliError> {
    // Everything that waits for several things at once here: signals, progress, the end, the metrics' listener.
    let waiting = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("no thread could be started: {error}")))?;
    let entered = waiting.enter();
    if let Some(address) = attention.metrics {
        serve_metrics(address)?;
    }
    let mut progress = Speed::new(global, pipeline);
    let mut served = attention.serving.open(pipeline, global)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut plan = pipeline.plan().clone();
    served.attach(&mut plan, clock.clone());
    let options = StartOptions { clock: Some(clock), ..StartOptions::default() };
    let running = Running::start(plan, options).map_err(|error| CliError::failed(error.to_string()))?;
    let running = Arc::new(running);
    served.begin(&running);
    let (report, interrupts, stopped_by) = waiting.block_on(attend(&running, &mut progress));
    progress.finish(&report);
    let books = waiting.block_on(served.finish(&report, interrupts == 0, global));
    drop((served, running, entered));
    // A request may be under way; nobody waits for it any more.
    waiting.shutdown_background();
    Ok(close(&report, &books, stopped_by, global))
}

/// Waits for the end. The first interrupt lets the pipeline finish what is under way, the second stops it. Gives how
/// many there were, and which one stopped it.
async fn attend(running: &Running, progress: &mut Speed) -> (Report, u32, Option<Signal>) {
    let mut events = running.events();
    let mut finished = running.finished();
    let mut interrupts = 0u32;
    let mut stopped_by = None;
    let mut interrupt = Box::pin(interrupted());
    loop {
        tokio::select! {
            report = &mut finished => return (report, interrupts, stopped_by),
            signal = &mut interrupt => {
                interrupts += 1;
                interrupt = Box::pin(interrupted());
                if interrupts == 1 {
                    progress.say("finishing what is under way; interrupt again to stop at once");
                    running.drain(DRAIN);
                } else {
                    stopped_by = Some(signal);
                    running.stop();
                }
            }
            Some(event) = events.next() => progress.event(&event),
        }
    }
}

fn serve_metrics(address: SocketAddr) -> Result<(), CliError> {
    const SECONDS: [f64; 14] = [1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5];
    const SIZES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    let failed =
        |error: &dyn std::fmt::Display| CliError::failed(format!("metrics cannot be served at {address}: {error}"));
    metrics_exporter_prometheus::PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(metrics_exporter_prometheus::Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(metrics_exporter_prometheus::Matcher::Suffix("_size".into()), &SIZES)
        })
        .and_then(metrics_exporter_prometheus::PrometheusBuilder::install)
        .map_err(|error| failed(&error))
}

/// Prints the books and says how it ended.
fn close(report: &Report, books: &Books, stopped_by: Option<Signal>, global: &Global) -> Exit {
    let imbalances = report.books.imbalances();
    if !global.quiet || !report.is_clean() {
        eprint!("{}", table(books));
    }
    for failure in &report.failures {
        eprintln!("stream {} ended early at stage {}: {}", failure.stream, failure.stage, failure.why);
    }
    let unnamed = report.failed_streams - (report.failures.len() as u64).min(report.failed_streams);
    if unnamed > 0 {
        eprintln!("{unnamed} more streams ended early");
    }
    for imbalance in &imbalances {
        eprintln!("the books do not balance: {imbalance}");
    }
    match &report.outcome {
        Outcome::Finished if report.is_clean() => Exit::Done,
        Outcome::Finished => Exit::Lossy,
        Outcome::Cancelled { reason } => {
            eprintln!("cancelled: {reason}");
            match stopped_by {
                Some(Signal::Interrupt) => Exit::Interrupted,
                Some(Signal::Terminate) => Exit::Terminated,
                None => Exit::Lossy,
            }
        }
        Outcome::Failed { reason } => {
            eprintln!("failed: {reason}");
            Exit::Failed
        }
    }
}

/// The books for people: a line a stage, and a line for each link that dropped something.
fn table(books: &Books) -> String {
    let mut text = String::new();
    let width = books.stages.iter().map(|stage| stage.id.chars().count()).max().unwrap_or(0).max(5);
    let mut line = |cells: [String; 6]| {
        let [stage, rest @ ..] = cells;
        text.push_str(&format!("{stage:<width$}"));
        for cell in rest {
            text.push_str(&format!("  {cell:>9}"));
        }
        while text.ends_with(' ') {
            text.pop();
        }
        text.push('\n');
    };
    line(["stage", "in", "out", "skipped", "lost", "busy"].map(str::to_owned));
    for stage in &books.stages {
        let count = |count: u64| if count == 0 { "·".to_owned() } else { count.to_string() };
        line([
            stage.id.to_string(),
            count(stage.entered),
            count(stage.written),
            count(stage.skipped + stage.refused),
            count(stage.lost + stage.cancelled + stage.samples_overrun + stage.blocks_damaged),
            format!("{:.2} s", stage.busy_ns as f64 / 1e9),
        ]);
    }
    for stage in books.stages.iter().filter(|stage| stage.late > 0) {
        text.push_str(&format!("{}: {} partial results given up for the final one\n", stage.id, stage.late));
    }
    for link in books.links.iter().filter(|link| link.dropped + link.superseded + link.cancelled > 0) {
        text.push_str(&format!(
            "{}: {} dropped by its policy, {} superseded, {} cancelled\n",
            link.name, link.dropped, link.superseded, link.cancelled
        ));
    }
    text
}
