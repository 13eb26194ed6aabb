//! `percept train`: trains a model by a recipe.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::global::Global;
use super::signals::{Signal, interrupted};
use super::{CliError, Exit, output};
use crate::files;
use crate::train::curve;
use crate::train::{CHECKPOINT_FILE, Epoch, Evaluation, MODEL_FILE, Prepared, Progress, Recipe, RecipeSettings, Then};
use crate::units::{Clock, SystemClock};

/// A line of JSON for each epoch.
const LOG_FILE: &str = "log.jsonl";

/// Trains a model by a recipe, and writes it as ONNX
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, or the folder with `recipe.yaml`
    recipe: PathBuf,

    /// Goes on from the last checkpoint
    #[arg(long)]
    resume: bool,

    /// Checks the recipe, opens its data and builds its model, and trains nothing
    #[arg(long)]
    check: bool,

    /// Sets a key of the recipe, as in --set optimizer.learning_rate=0.01
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let recipe = Recipe::open(&args.recipe, &args.set)?;
    global.warn(recipe.warnings());
    let folder = recipe.output();
    if !args.check && !args.resume {
        expect_no_earlier(&folder)?;
    }
    let mut prepared = recipe.prepare()?;
    let model = recipe.model();
    let weights: usize = model.graph.initializers.iter().map(|(_, tensor)| tensor.len()).sum();
    let (train, validation) = prepared.samples;
    let test = prepared.test.as_ref().map_or(0, |test| test.len());
    global.note(format!(
        "{}: {weights} weights; {train} samples to train on, {validation} to compare by, {test} to test on",
        recipe.settings.name
    ));
    if args.check {
        return Ok(Exit::Done);
    }
    fs::create_dir_all(&folder).map_err(|source| CliError::Write { path: folder.clone(), source })?;
    let mut before = Vec::new();
    if args.resume {
        match recipe.resume(&mut prepared)? {
            true => before = prepared.trainer.history().to_vec(),
            false => {
                expect_no_earlier(&folder)?;
                global.note("there is no checkpoint: the training starts anew");
            }
        }
    }
    let log = Log::open(&folder.join(LOG_FILE), &before)?;
    let stopped = train_to_the_end(&mut prepared, &recipe, log, global)?;
    if let Some(signal) = stopped {
        draw(&prepared, &recipe, &folder)?;
        let command = format!("percept train {} --resume", args.recipe.display());
        global.note(format!("stopped; the last whole epoch is kept. Go on with: {command}"));
        return Ok(match signal {
            Signal::Interrupt => Exit::Interrupted,
            Signal::Terminate => Exit::Terminated,
        });
    }
    finish(&mut prepared, &recipe, &folder, global)
}

/// Fails when an earlier training left something in `folder` that a new one would write over.
fn expect_no_earlier(folder: &Path) -> Result<(), CliError> {
    let is_kept = |name: &&&str| fs::metadata(folder.join(name)).is_ok_and(|file| file.len() > 0);
    let Some(kept) = [CHECKPOINT_FILE, MODEL_FILE, LOG_FILE].iter().find(is_kept) else { return Ok(()) };
    let message = format!("an earlier training lies in {}: {kept} would be written over", folder.display());
    Err(CliError::usage(message).help(
        "go on with it (`--resume`), let this one write to another folder (`--set output=NAME`), or move that one away",
    ))
}

/// Trains; says what stopped it, if anything did.
fn train_to_the_end(
    prepared: &mut Prepared,
    recipe: &Recipe,
    mut log: Log,
    global: &Global,
) -> Result<Option<Signal>, CliError> {
    let seen = Arc::new(AtomicU8::new(0));
    let _listening = listen(seen.clone())?;
    let clock = SystemClock::new();
    let began = clock.now();
    let mut show = Show::new(global, &recipe.settings, prepared.trainer.history().len() as u64);
    let mut failed = None;
    let history = prepared.trainer.history().len();
    prepared.trainer.run(|progress| {
        show.progress(&progress, clock.now().since(began).as_seconds());
        if let Progress::Epoch(epoch) = progress
            && let Err(error) = log.write(epoch)
        {
            failed = Some(error);
            return Then::Stop;
        }
        match seen.load(Ordering::Relaxed) {
            0 => Then::Continue,
            _ => Then::Stop,
        }
    })?;
    show.clear();
    if let Some(error) = failed {
        return Err(error);
    }
    let trained = prepared.trainer.history().len() - history;
    let seconds = clock.now().since(began).as_seconds();
    if trained > 0 {
        global.note(format!("{trained} epochs in {}", duration(seconds)));
    }
    Ok(match seen.load(Ordering::Relaxed) {
        0 => None,
        1 => Some(Signal::Interrupt),
        _ => Some(Signal::Terminate),
    })
}

/// Notes the first signal; the thread ends with what is returned.
fn listen(seen: Arc<AtomicU8>) -> Result<tokio::runtime::Runtime, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("no thread could be started: {error}")))?;
    runtime.spawn(async move {
        let signal = interrupted().await;
        seen.store(if signal == Signal::Interrupt { 1 } else { 2 }, Ordering::Relaxed);
    });
    Ok(runtime)
}

/// Reads the test data once, and writes what came out.
fn finish(prepared: &mut Prepared, recipe: &Recipe, folder: &Path, global: &Global) -> Result<Exit, CliError> {
    let (mut text, mut measured) = (String::new(), None);
    if let Some(test) = prepared.test.clone() {
        let evaluation = prepared.trainer.evaluate(test)?;
        note_bad(&evaluation, "test", global);
        text.push_str(&format!("test loss {:.4}", evaluation.loss));
        if let Some(confusion) = &evaluation.confusion {
            text.push_str(&format!(", accuracy {:.2} %", 100.0 * confusion.accuracy()));
        }
        if let Some(texts) = &evaluation.texts {
            let (characters, words) = (100.0 * texts.characters.rate(), 100.0 * texts.words.rate());
            text.push_str(&format!(", character errors {characters:.2} %, word errors {words:.2} %"));
        }
        text.push_str(&format!(" on {} samples\n", evaluation.samples));
        measured = Some(evaluation);
    }
    draw(prepared, recipe, folder)?;
    let exported = recipe.export(prepared, measured.as_ref())?;
    text.push_str(&format!("written: {}\n", exported.model.display()));
    text.push_str(&format!("a pipeline runs it as `model: {}`\n", model_key(folder)));
    if !global.quiet {
        output::print(&text)?;
    }
    Ok(Exit::Done)
}

/// Names the samples of the `part` data that could not be measured.
pub(super) fn note_bad(evaluation: &Evaluation, part: &str, global: &Global) {
    for (index, error) in &evaluation.bad {
        global.note(bad_line(part, *index, error));
    }
}

fn bad_line(part: &str, index: usize, error: &str) -> String {
    format!("sample {index} of the {part} data is left out: {error}")
}

/// What a pipeline in the current folder calls the model in `folder`: a path, which has a separator.
fn model_key(folder: &Path) -> String {
    let path = folder.display().to_string();
    if path.contains(['/', '\\']) { path } else { format!("./{path}") }
}

/// The curve, as vectors and as a picture.
fn draw(prepared: &Prepared, recipe: &Recipe, folder: &Path) -> Result<(), CliError> {
    let (name, history) = (&recipe.settings.name, prepared.trainer.history());
    files::replace(&folder.join("curve.svg"), curve::svg(name, history).as_bytes())?;
    Ok(files::replace(&folder.join("curve.png"), &curve::png(name, history)?)?)
}

/// A line of JSON for each epoch.
struct Log {
    path: PathBuf,
    file: fs::File,
}

impl Log {
    /// A new file with the epochs there were before.
    fn open(path: &Path, before: &[Epoch]) -> Result<Self, CliError> {
        let file = fs::File::create(path).map_err(|source| CliError::Write { path: path.to_owned(), source })?;
        let mut log = Log { path: path.to_owned(), file };
        before.iter().try_for_each(|epoch| log.write(epoch))?;
        Ok(log)
    }

    fn write(&mut self, epoch: &Epoch) -> Result<(), CliError> {
        let line = serde_json::to_string(epoch).map_err(|error| CliError::failed(error.to_string()))?;
        writeln!(self.file, "{line}").map_err(|source| CliError::Write { path: self.path.clone(), source })
    }
}

/// Shows how far a training is: a bar on a terminal, a line for each epoch everywhere, nothing when quiet.
struct Show<'g> {
    global: &'g Global,
    bar: Option<ProgressBar>,
    /// How many epochs there will be, as far as it is known.
    epochs: Option<f64>,
    /// How many minibatches, where they end the training.
    minibatches: Option<u64>,
    first: u64,
    loss: Option<f64>,
}

impl<'g> Show<'g> {
    fn new(global: &'g Global, settings: &RecipeSettings, done: u64) -> Self {
        let terminal = global.stderr();
        let bar = (!global.quiet && terminal.interactive).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let template = match terminal.color {
                true => "{prefix} {bar:24.green} {pos}/{len} {msg}",
                false => "{prefix} {bar:24} {pos}/{len} {msg}",
            };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("━╸─"));
            bar
        });
        let epochs = settings.last_epoch().map(|epochs| epochs as f64);
        let minibatches = settings.steps.map(|steps| steps.saturating_mul(settings.accumulate));
        Show { global, bar, epochs, minibatches, first: done, loss: None }
    }

    fn progress(&mut self, progress: &Progress<'_>, seconds: f64) {
        match *progress {
            Progress::Step { epoch, step, of, loss } => {
                // A running mean, so that the eye can follow it.
                let smooth = self.loss.map_or(loss, |before| before + 0.05 * (loss - before));
                self.loss = Some(smooth);
                let epochs = *self.epochs.get_or_insert(self.minibatches.unwrap_or(0) as f64 / of.max(1) as f64);
                if let Some(bar) = &self.bar {
                    bar.set_length(of as u64);
                    bar.set_position(step as u64);
                    bar.set_prefix(format!("epoch {epoch} of {}", last(epochs, epoch)));
                    let share = (epoch - 1 - self.first) as f64 + step as f64 / of as f64;
                    let left = seconds / share.max(1e-9) * (epochs - self.first as f64 - share).max(0.0);
                    bar.set_message(format!("loss {smooth:.4}  {} left", duration(left)));
                }
            }
            Progress::Epoch(epoch) => {
                self.loss = None;
                self.say(&epoch_line(epoch, last(self.epochs.unwrap_or(0.0), epoch.epoch)));
            }
            Progress::Bad { part, index, error } => {
                self.say(&bad_line(part, index, error));
            }
            Progress::Stopped { best } => {
                self.say(&format!("no better for long enough: back to epoch {best}, the best"));
            }
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.global.note(text)),
            None => self.global.note(text),
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Show<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The number of the last epoch, of which a part is one; that it is `now`, it is at least.
fn last(epochs: f64, now: u64) -> u64 {
    (epochs.ceil() as u64).max(now)
}

fn epoch_line(epoch: &Epoch, of: u64) -> String {
    let width = of.to_string().len();
    let mut line = format!("epoch {:>width$} of {of}  loss {:.4}", epoch.epoch, epoch.loss);
    if let Some(loss) = epoch.validation_loss {
        line.push_str(&format!("  validation {loss:.4}"));
    }
    let rates = [
        ("accuracy", epoch.validation_accuracy),
        ("character errors", epoch.validation_character_errors),
        ("word errors", epoch.validation_word_errors),
    ];
    for (name, rate) in rates {
        if let Some(rate) = rate {
            line.push_str(&format!("  {name} {:.2} %", 100.0 * rate));
        }
    }
    line
}

/// A time as people say it.
fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s < 0.0 => "?".into(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{} min {:02} s", (s / 60.0) as u64, s as u64 % 60),
        s => format!("{} h {:02} min", (s / 3600.0) as u64, (s / 60.0) as u64 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_epoch_may_be_a_part_of_one() {
        for (epochs, now, expected) in [(10.0, 3, 10), (7.2, 3, 8), (7.0, 8, 8), (0.0, 1, 1)] {
            assert_eq!(last(epochs, now), expected);
        }
    }

    #[test]
    fn durations() {
        for (seconds, expected) in [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (61.0, "61 s"),
            (125.0, "2 min 05 s"),
            (7260.0, "2 h 01 min"),
            (f64::INFINITY, "?"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn lines_of_epochs() {
        let mut epoch = Epoch { epoch: 3, steps: 30, learning_rate: 0.1, loss: 0.25, ..Epoch::default() };
        assert_eq!(epoch_line(&epoch, 10), "epoch  3 of 10  loss 0.2500");
        (epoch.validation_loss, epoch.validation_accuracy) = (Some(0.5), Some(0.875));
        assert_eq!(epoch_line(&epoch, 10), "epoch  3 of 10  loss 0.2500  validation 0.5000  accuracy 87.50 %");
        (epoch.validation_accuracy, epoch.validation_character_errors) = (None, Some(0.125));
        epoch.validation_word_errors = Some(0.25);
        let line = "epoch  3 of 10  loss 0.2500  validation 0.5000  character errors 12.50 %  word errors 25.00 %";
        assert_eq!(epoch_line(&epoch, 10), line);
    }
}
