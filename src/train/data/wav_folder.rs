//! `wav_folder`: recordings with labels.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::folder::ClassFolders;
use super::table::{Column, RowFault, Table, TableFormat, shown};
use super::vocabulary::fitted;
use super::{
    DataError, DataFormat, DataSet, FormatEntry, IGNORED, Known, Raw, Sample, Tokens, Vocabulary, expect_index,
};
use crate::codec::{AudioReader, AudioSpec};
use crate::dsp::{MAX_SAMPLE_RATE_HZ, Resampler, downmix};
use crate::media::{Audio, Format};
use crate::tensor::Tensor;
use crate::units::Rate;

/// What the label of a recording is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WavTarget {
    /// The name of a class: the target is its number, i64.
    #[default]
    Class,
    /// A text: the target is i64 `[T]`, the numbers of its characters; 0, the blank of CTC, is none of them.
    Characters,
    /// A text: the target is i64 `[T]`, the numbers of its words.
    Words,
}

/// Which part of a recording is kept when it is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Keep {
    /// Its beginning.
    #[default]
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A folder of recordings with a table of labels, or with a folder for each class: input f32 `[samples]`, from −1 to 1,
/// mono and at one rate; target i64. Recordings are read when they are needed, in every format that a capture of files
/// reads.
///
/// Samples come in the order of the table, or by class and then by path.
///
/// With a recipe's `preprocess`, its stages get the sound as a capture would give it: at the rate and with the channels
/// of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WavFolder {
    /// The folder. The table's file names start here.
    pub path: PathBuf,
    /// A table of file names and labels, CSV or TSV by its name, with a header. Default: none, each folder is a class.
    #[serde(default)]
    pub table: Option<PathBuf>,
    /// The table's column of file names. Default: file.
    #[serde(default = "file_column")]
    pub file_column: Column,
    /// The table's column of labels. Default: label.
    #[serde(default = "label_column")]
    pub label_column: Column,
    /// The rate of an input, in samples per second; others are resampled. Left out where the recipe has `preprocess`:
    /// `resample` does it there. Default: 16000.
    #[serde(default)]
    #[schemars(range(min = 1, max = 768_000))]
    pub sample_rate_hz: Option<u32>,
    /// The length of an input, in seconds: longer recordings are cut, shorter ones end in silence. Default: each as
    /// long as it is.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub seconds: Option<f64>,
    /// Which part of a longer recording is kept. Default: start.
    #[serde(default)]
    pub keep: Keep,
    /// Puts a dimension of 1 in front: `[1, samples]`. With a recipe's `preprocess` the model says it. Default: false.
    #[serde(default)]
    pub channel_axis: bool,
    /// What the label is. Default: class.
    #[serde(default)]
    pub target: WavTarget,
    /// Turns capital letters of a text into small ones. Default: false.
    #[serde(default)]
    pub lowercase: bool,
    /// The numbers of each text: longer ones are cut, shorter ones filled with −100, which losses ignore. Default: each
    /// as long as it is.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub target_length: Option<usize>,
    /// The names of the classes in the order of their numbers. Default: those of the training data, or all that occur,
    /// in order.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// A file of a text's tokens, one a line, in the order of their numbers: `<pad>`, `<unk>`, then others. Default:
    /// the vocabulary of the training data, or all tokens that occur.
    #[serde(default)]
    pub vocabulary: Option<PathBuf>,
    /// The longest recording that is read, in seconds; a longer one is a bad sample. Default: 600.
    #[serde(default = "default_longest")]
    #[schemars(range(min = 0))]
    pub max_seconds: f64,
}

fn file_column() -> Column {
    Column::Name("file".into())
}

fn label_column() -> Column {
    Column::Name("label".into())
}

/// The rate of an input, unless said.
const DEFAULT_RATE_HZ: u32 = 16_000;

fn default_longest() -> f64 {
    600.0
}

const EXTENSIONS: &[&str] = &["wav", "flac", "mp3", "ogg", "m4a", "aiff", "aif", "caf"];

pub(super) const FORMAT: FormatEntry = FormatEntry::of::<WavFolder>(
    "wav_folder",
    "recordings, with a table of labels or in a folder for each class",
    "path: recordings\nsample_rate_hz: 16000\nseconds: 1.0\n",
);

impl WavFolder {
    /// The folder at `path`, each of whose folders is a class.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        WavFolder {
            path: path.into(),
            table: None,
            file_column: file_column(),
            label_column: label_column(),
            sample_rate_hz: None,
            seconds: None,
            keep: Keep::Start,
            channel_axis: false,
            target: WavTarget::Class,
            lowercase: false,
            target_length: None,
            classes: None,
            vocabulary: None,
            max_seconds: default_longest(),
        }
    }

    /// The recording at `path` as an input.
    fn load(&self, path: &Path) -> Result<Tensor, DataError> {
        let signal = |source| DataError::Signal { path: path.display().to_string(), source };
        let hz = self.sample_rate_hz.unwrap_or(DEFAULT_RATE_HZ);
        let mut resampler: Option<Resampler> = None;
        let (mut mono, mut samples) = (Vec::new(), Vec::new());
        self.read(path, |spec, block| {
            let rate = spec.sample_rate.as_hz();
            if rate.fract() != 0.0 || !(1.0..=f64::from(MAX_SAMPLE_RATE_HZ)).contains(&rate) {
                let expected = format!("a whole sample rate from 1 to {MAX_SAMPLE_RATE_HZ} Hz");
                return Err(DataError::format(path, "", expected, spec.sample_rate.to_string()));
            }
            let resampler = match &mut resampler {
                Some(resampler) => resampler,
                None => resampler.insert(Resampler::new(rate as u32, hz, 1).map_err(signal)?),
            };
            mono.clear();
            downmix(block, usize::from(spec.channels), &mut mono).map_err(signal)?;
            resampler.push(&mono, &mut samples).map_err(signal)?;
            Ok(())
        })?;
        if let Some(mut resampler) = resampler {
            resampler.finish(&mut samples);
        }
        if samples.is_empty() {
            return Err(silent(path));
        }
        let samples = match frames_of(self.seconds, f64::from(hz))? {
            Some(frames) => self.fitted(samples, frames, 1),
            None => samples,
        };
        let shape = if self.channel_axis { vec![1, samples.len()] } else { vec![samples.len()] };
        Ok(Tensor::new(shape, samples)?)
    }

    /// The recording at `path` as a capture would give it.
    fn sound(&self, path: &Path) -> Result<Audio, DataError> {
        if let Some(hz) = self.sample_rate_hz {
            let expected = "none beside `preprocess`, where `- preprocess: resample` brings sound to a rate";
            return Err(DataError::setting("sample_rate_hz", expected, hz));
        }
        let (mut known, mut samples): (Option<AudioSpec>, Vec<f32>) = (None, Vec::new());
        self.read(path, |spec, block| {
            known = Some(*spec);
            samples.extend_from_slice(block);
            Ok(())
        })?;
        let Some(spec) = known.filter(|_| !samples.is_empty()) else { return Err(silent(path)) };
        let samples = match frames_of(self.seconds, spec.sample_rate.as_hz())? {
            Some(frames) => self.fitted(samples, frames, usize::from(spec.channels)),
            None => samples,
        };
        Audio::new(samples, spec.channels, spec.sample_rate)
            .map_err(|error| DataError::format(path, "", "whole frames of all channels", error.to_string()))
    }

    /// Gives the file at `path` to `take`, block by block; fails when it is too long or damaged.
    fn read(
        &self,
        path: &Path,
        mut take: impl FnMut(&AudioSpec, &[f32]) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let mut reader = AudioReader::open(path)?;
        let spec = reader.spec();
        let mut block = Vec::new();
        while reader.read(&mut block)? > 0 {
            if reader.position() as f64 > self.max_seconds * spec.sample_rate.as_hz() {
                let expected = format!("at most {} s (`max_seconds`)", self.max_seconds);
                return Err(DataError::format(path, "", expected, "more"));
            }
            take(&spec, &block)?;
            block.clear();
        }
        if reader.damaged() > 0 {
            let found = format!("{} damaged places", reader.damaged());
            return Err(DataError::format(path, "", "sound without damage", found));
        }
        Ok(())
    }

    /// As many frames of interleaved samples as asked for.
    fn fitted(&self, mut samples: Vec<f32>, frames: usize, channels: usize) -> Vec<f32> {
        let extra = (samples.len() / channels).saturating_sub(frames);
        let first = match self.keep {
            Keep::Start => 0,
            Keep::Middle => extra / 2,
            Keep::End => extra,
        };
        samples.drain(..first * channels);
        samples.resize(frames * channels, 0.0);
        samples
    }

    fn table_rows(&self, path: &Path, root: &Path) -> Result<Vec<Result<Entry, RowFault>>, DataError> {
        let format = TableFormat { delimiter: TableFormat::delimiter(None, path)?, header: true, quotes: true };
        let mut table = Table::open(path, format)?;
        let (file, label) = (table.number_of(&self.file_column)?, table.number_of(&self.label_column)?);
        let mut entries = Vec::new();
        while let Some(row) = table.next()? {
            let entry = || {
                row.expect_width()?;
                let (name, text) = (row.text(file)?.trim(), row.text(label)?.trim());
                if name.is_empty() {
                    return Err(row.fault(format!("a file name in column {file}"), "nothing"));
                }
                if text.is_empty() {
                    return Err(row.fault(format!("a label in column {label}"), "nothing"));
                }
                let text = if self.lowercase { text.to_lowercase() } else { text.to_owned() };
                Ok(Entry { line: row.line, file: root.join(name), label: text })
            };
            entries.push(entry());
        }
        if entries.iter().all(Result::is_err) {
            return Err(match entries.first() {
                Some(Err(fault)) => fault.error(path),
                _ => DataError::format(path, "", "rows", "a header alone"),
            });
        }
        Ok(entries)
    }
}

/// The frames of an input of so many seconds, where that is given.
fn frames_of(seconds: Option<f64>, rate: f64) -> Result<Option<usize>, DataError> {
    let Some(seconds) = seconds else { return Ok(None) };
    let frames = (seconds * rate).round();
    if !(frames >= 1.0 && seconds <= 3600.0) {
        return Err(DataError::setting("seconds", "at least one sample and at most 3600 s", seconds));
    }
    Ok(Some(frames as usize))
}

fn silent(path: &Path) -> DataError {
    DataError::format(path, "", "sound", "a file of 0 samples")
}

struct Entry {
    line: u64,
    file: PathBuf,
    label: String,
}

impl DataFormat for WavFolder {
    fn format(&self) -> Format {
        Format::ANY_AUDIO
    }

    fn input(&self) -> Format {
        Format::audio(Rate::hz(self.sample_rate_hz.unwrap_or(DEFAULT_RATE_HZ)).ok(), Some(1))
    }

    fn is_fixed_length(&self) -> bool {
        self.seconds.is_some()
    }

    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError> {
        let hz = self.sample_rate_hz.unwrap_or(DEFAULT_RATE_HZ);
        Resampler::new(hz, hz, 1)
            .map_err(|error| DataError::setting("sample_rate_hz", "a rate of sound in hertz", error))?;
        frames_of(self.seconds, f64::from(hz))?;
        let root = base_dir.join(&self.path);
        let Some(table) = self.table.as_ref().map(|table| base_dir.join(table)) else {
            if self.target != WavTarget::Class {
                return Err(DataError::setting("table", "a table of texts, as `target` is one", "none"));
            }
            let folders = ClassFolders::scan(&root, EXTENSIONS, self.classes.as_deref(), &known.labels)?;
            let target = |class: usize| Tensor::scalar(class as i64);
            let samples = folders.files.into_iter().map(|(file, class)| Ok((file, target(class)))).collect();
            let (labels, vocabulary) = (folders.classes.names().to_vec(), Vec::new());
            let config = self.clone();
            return Ok(Box::new(WavSet { config, table: root, samples, labels, vocabulary, tokens: None }));
        };
        let entries = self.table_rows(&table, &root)?;
        let texts = || entries.iter().flatten().map(|entry| entry.label.as_str());
        let tokens = match self.target {
            WavTarget::Class => None,
            WavTarget::Characters => Some(Tokens::Characters),
            WavTarget::Words => Some(Tokens::Words),
        };
        let Some(cut) = tokens else {
            let classes = Classes::choose(self.classes.as_deref(), &known.labels, texts())?;
            let number = |entry: &Entry| match classes.number(&entry.label) {
                Some(class) => Ok(Tensor::scalar(class as i64)),
                None => Err(RowFault::new(entry.line, classes.expected(), shown(&entry.label))),
            };
            let samples = numbered(&entries, number);
            let (labels, vocabulary) = (classes.names().to_vec(), Vec::new());
            return Ok(Box::new(WavSet { config: self.clone(), table, samples, labels, vocabulary, tokens }));
        };
        let vocabulary = match &self.vocabulary {
            Some(file) => Vocabulary::load(&base_dir.join(file))?,
            None if !known.vocabulary.is_empty() => Vocabulary::from_tokens(known.vocabulary.clone())?,
            None => Vocabulary::build(texts().flat_map(|text| cut.of(text)), 1, None),
        };
        let encode = |entry: &Entry| {
            let numbers = vocabulary.encode(&cut.of(&entry.label), None).into_iter();
            Ok(Tensor::from_vec(fitted(numbers, self.target_length, IGNORED)))
        };
        let samples = numbered(&entries, encode);
        let (labels, vocabulary) = (Vec::new(), vocabulary.tokens().to_vec());
        Ok(Box::new(WavSet { config: self.clone(), table, samples, labels, vocabulary, tokens }))
    }
}

type Row = Result<(PathBuf, Tensor), RowFault>;

/// The file and the target of each entry.
fn numbered(entries: &[Result<Entry, RowFault>], target: impl Fn(&Entry) -> Result<Tensor, RowFault>) -> Vec<Row> {
    let row = |entry: &Result<Entry, RowFault>| match entry {
        Ok(entry) => Ok((entry.file.clone(), target(entry)?)),
        Err(fault) => Err(fault.clone()),
    };
    entries.iter().map(row).collect()
}

struct WavSet {
    config: WavFolder,
    /// What bad rows are rows of.
    table: PathBuf,
    samples: Vec<Row>,
    labels: Vec<String>,
    vocabulary: Vec<String>,
    /// What texts were cut into.
    tokens: Option<Tokens>,
}

impl WavSet {
    fn row(&self, index: usize) -> Result<&(PathBuf, Tensor), DataError> {
        expect_index(index, self.samples.len())?;
        self.samples[index].as_ref().map_err(|fault| fault.error(&self.table))
    }
}

impl DataSet for WavSet {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let (file, target) = self.row(index)?;
        Ok(Sample { input: self.config.load(file)?, target: target.clone() })
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        Ok(self.row(index)?.1.clone())
    }

    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let (file, target) = self.row(index)?;
        let payload = self.config.sound(file)?.into();
        Ok(Raw { name: file.display().to_string(), payload, target: target.clone() })
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    fn tokens(&self) -> Option<Tokens> {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{complaint, floats, integers, open, read};
    use super::*;
    use crate::codec::{WavSampleFormat, WavWriter};

    fn write(path: &Path, rate: u32, channels: u16, samples: &[f32]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut writer = WavWriter::create(path, Rate::hz(rate).unwrap(), channels, WavSampleFormat::F32).unwrap();
        writer.write(samples).unwrap();
        writer.finalize().unwrap();
    }

    #[test]
    fn folders_and_lengths() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("no/a.wav"), 100, 1, &[0.1, 0.2, 0.3, 0.4]);
        write(&folder.path().join("yes/b.wav"), 100, 2, &[0.25, 0.75, -0.5, 0.0]);
        for (keys, first, second) in [
            ("", &[0.1, 0.2, 0.3, 0.4][..], &[0.5, -0.25][..]),
            ("seconds: 0.03", &[0.1, 0.2, 0.3], &[0.5, -0.25, 0.0]),
            ("seconds: 0.02\nkeep: middle", &[0.2, 0.3], &[0.5, -0.25]),
            ("seconds: 0.03\nkeep: end", &[0.2, 0.3, 0.4], &[0.5, -0.25, 0.0]),
        ] {
            let data = open(&FORMAT, &format!("path: .\nsample_rate_hz: 100\n{keys}\n"), folder.path()).unwrap();
            let samples: Vec<Sample> = (0..2).map(|index| data.sample(index).unwrap()).collect();
            assert_eq!(floats(&samples[0].input), first, "{keys}");
            assert_eq!(floats(&samples[1].input), second, "{keys}");
            assert_eq!(samples[1].input.shape(), [second.len()]);
            assert_eq!((integers(&samples[1].target), data.labels()), (vec![1], &["no".to_owned(), "yes".into()][..]));
            assert_eq!(data.target(1).unwrap(), samples[1].target);
        }
        let data = open(&FORMAT, "{path: ., sample_rate_hz: 100, channel_axis: true}", folder.path()).unwrap();
        assert_eq!(data.sample(1).unwrap().input.shape(), [1, 2]);
    }

    #[test]
    fn raw_sound_is_that_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a/a.wav"), 100, 2, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
        for (keys, expected) in [
            ("", &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6][..]),
            ("seconds: 0.04", &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.0, 0.0]),
            ("seconds: 0.02", &[0.1, 0.2, 0.3, 0.4]),
            ("seconds: 0.01\nkeep: middle", &[0.3, 0.4]),
            ("seconds: 0.01\nkeep: end", &[0.5, 0.6]),
        ] {
            let data = open(&FORMAT, &format!("path: .\n{keys}\n"), folder.path()).unwrap();
            let raw = data.raw(0).unwrap();
            let audio = raw.payload.audio().unwrap();
            assert_eq!((&audio.samples()[..], audio.channels(), audio.rate().as_hz()), (expected, 2, 100.0), "{keys}");
            assert!(raw.name.ends_with("a.wav"));
        }
        let data = open(&FORMAT, "{path: ., sample_rate_hz: 100}", folder.path()).unwrap();
        let error = data.raw(0).unwrap_err().to_string();
        assert!(error.contains("sample_rate_hz") && error.contains("preprocess: resample"), "{error}");
    }

    #[test]
    fn other_rates_are_resampled() {
        let folder = tempfile::tempdir().unwrap();
        let tone = |rate: f32, count: usize| -> Vec<f32> {
            (0..count).map(|k| (2.0 * std::f32::consts::PI * 300.0 * k as f32 / rate).sin()).collect()
        };
        write(&folder.path().join("a/a.wav"), 16_000, 1, &tone(16_000.0, 8000));
        let data = open(&FORMAT, "{path: ., sample_rate_hz: 8000}", folder.path()).unwrap();
        let found = floats(&data.sample(0).unwrap().input);
        assert_eq!(found.len(), 4000);
        let expected = tone(8000.0, 4000);
        assert!((500..3500).all(|k| (found[k] - expected[k]).abs() < 1e-3));
    }

    #[test]
    fn tables_of_classes_and_of_texts() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("wavs/1.wav"), 100, 1, &[0.5]);
        write(&folder.path().join("wavs/2.wav"), 100, 1, &[0.25]);
        std::fs::write(folder.path().join("t.csv"), "label,file\nAB,1.wav\nb,2.wav\nAB,1.wav\n").unwrap();
        let base = "path: wavs\ntable: t.csv\nsample_rate_hz: 100\n";
        let read_all = |keys: &str| {
            let data = open(&FORMAT, &format!("{base}{keys}"), folder.path()).unwrap();
            let targets: Vec<Vec<i64>> = (0..data.len()).map(|k| integers(&data.sample(k).unwrap().target)).collect();
            (targets, data.labels().to_vec(), data.vocabulary().to_vec())
        };
        let (targets, labels, tokens) = read_all("");
        assert_eq!((targets, labels), (vec![vec![0], vec![1], vec![0]], vec!["AB".to_owned(), "b".into()]));
        assert!(tokens.is_empty());
        let (targets, labels, tokens) = read_all("target: characters\nlowercase: true\ntarget_length: 3\n");
        assert_eq!(targets, [[3, 2, -100], [2, -100, -100], [3, 2, -100]]);
        assert_eq!(tokens, ["<pad>", "<unk>", "b", "a"]);
        assert!(labels.is_empty());
        let (targets, _, tokens) = read_all("target: words\n");
        assert_eq!((targets, &tokens[2..]), (vec![vec![2], vec![3], vec![2]], &["AB".to_owned(), "b".into()][..]));

        let data = read(&FORMAT, base);
        let known = Known { labels: vec!["b".into(), "AB".into()], ..Known::default() };
        assert_eq!(integers(&data.open_with(folder.path(), &known).unwrap().target(0).unwrap()), [1]);
    }

    #[test]
    fn bad_input() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("a/a.wav"), 100, 1, &[0.5; 200]);
        write(&folder.path().join("a/b.wav"), 100, 1, &[]);
        let good = "label,file\nx,a/a.wav\n";
        for (table, keys, expected) in [
            (None, "", "sample 1: ./a/b.wav: expected sound, found a file of 0 samples"),
            (None, "max_seconds: 1.5", "sample 0: ./a/a.wav: expected at most 1.5 s (`max_seconds`), found more"),
            (None, "seconds: 0.001", "seconds: expected at least one sample and at most 3600 s, found 0.001"),
            (None, "target: words", "table: expected a table of texts, as `target` is one, found none"),
            (Some(""), "", "t.csv: expected a header and rows, found an empty file"),
            (Some("file,label\n"), "", "t.csv: expected rows, found a header alone"),
            (Some("file\na\n"), "", "t.csv: expected column `label`, found the columns file"),
            (Some("file,label\n,x\n"), "", "t.csv, line 2: expected a file name in column 0, found nothing"),
            (
                Some("label,file\nx,a/a.wav\n,a/a.wav\n"),
                "",
                "sample 1: t.csv, line 3: expected a label in column 0, found nothing",
            ),
            (Some("label,file\nx,a/a.wav\nx\n"), "", "sample 1: t.csv, line 3: expected 2 fields, found 1"),
            (
                Some("label,file\nx,none.wav\n"),
                "",
                "sample 0: ./none.wav: there is no such file; check the path \
                 (a relative one starts at the current folder)",
            ),
            (Some(good), "classes: [y]", "sample 0: t.csv, line 2: expected one of the classes `y`, found `x`"),
            (Some(good), "", "no complaint"),
        ] {
            let table = table.map_or("", |text| {
                std::fs::write(folder.path().join("t.csv"), text).unwrap();
                "table: t.csv"
            });
            let yaml = format!("path: .\nsample_rate_hz: 100\n{table}\n{keys}\n");
            let found = complaint(&FORMAT, &yaml, folder.path()).replace("sample 0: ././", "sample 0: ./");
            assert_eq!(found, expected, "{yaml}");
        }
        std::fs::write(folder.path().join("a/b.wav"), b"no sound").unwrap();
        let found = complaint(&FORMAT, "{path: ., sample_rate_hz: 100}", folder.path());
        assert!(found.starts_with("sample 1: ") && found.contains("expected sound"), "{found}");
        let zero = WavFolder { sample_rate_hz: Some(0), ..WavFolder::new(".") }.open(folder.path()).err().unwrap();
        assert!(matches!(zero, DataError::Setting { setting: "sample_rate_hz", .. }));
    }
}
