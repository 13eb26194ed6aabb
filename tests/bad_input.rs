//! Bad input, each with the message that a user gets and the exit code that a script gets.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{models_are_here, percept, records, root, run};
use percept::onnx::{Graph, Model, Node, ValueInfo};
use percept::tensor::{DType, SymbolicShape};

/// A pipeline that needs nothing but the runtime: files in, levels out.
const LEVELS: &str = "percept: 1\nname: levels\nstages:\n  - capture: file\n    path: IN\n  - preprocess: mono\n  - \
                      preprocess: resample\n    sample_rate_hz: 16000\n  - sink: jsonl\n    path: out.jsonl\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Runs a pipeline of this text, with `IN` replaced.
    fn run(&self, yaml: &str, input: &Path) -> (i32, String) {
        let yaml = self.write("pipeline.yaml", yaml.replace("IN", &input.display().to_string()));
        let (code, _, stderr) = run(percept().arg("run").arg(yaml));
        (code, stderr)
    }
}

fn wav(path: &Path, channels: u16, rate: u32, samples: impl Iterator<Item = f32>) {
    let spec =
        hound::WavSpec { channels, sample_rate: rate, bits_per_sample: 32, sample_format: hound::SampleFormat::Float };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    samples.for_each(|sample| writer.write_sample(sample).unwrap());
    writer.finalize().unwrap();
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is not in:\n{text}");
    }
}

#[test]
fn files_that_are_no_sound() {
    let folder = Folder::new();
    let mp3 = fs::read(root().join("tests/data/audio/speech.mp3")).unwrap();
    let cases: [(&str, Vec<u8>, &[&str]); 3] = [
        ("empty.wav", Vec::new(), &["empty.wav", "empty"]),
        ("text.wav", b"Dear Sir or Madam,\n".to_vec(), &["text.wav", "expected", "found"]),
        ("cut.mp3", mp3[..mp3.len() * 2 / 3].to_vec(), &["cut.mp3", "truncated"]),
    ];
    for (name, bytes, words) in cases {
        let path = folder.write(name, bytes);
        let (code, stderr) = folder.run(LEVELS, &path);
        // What is no sound at all is refused; what ends too early is read as far as it goes.
        assert_eq!(code, if name == "cut.mp3" { 3 } else { 2 }, "{name}\n{stderr}");
        says(&stderr, words);
        assert!(!stderr.contains("panicked"), "{name}: {stderr}");
    }
}

#[test]
fn unusual_sound_is_sound() {
    let folder = Folder::new();
    let loud = folder.path("eight.wav");
    wav(&loud, 8, 192_000, (0..192_000 * 8 / 10).map(|i| (i as f32 * 0.001).sin() * 0.5));
    let (code, stderr) = folder.run(LEVELS, &loud);
    assert_eq!(code, 0, "{stderr}");
    let frames: u64 = records(&folder.path("out.jsonl")).iter().map(|record| record["frames"].as_u64().unwrap()).sum();
    assert_eq!(frames, 1600, "a tenth of a second at 16 kHz");

    let nan = folder.path("nan.wav");
    wav(&nan, 1, 16_000, (0..16_000).map(|i| if i % 100 == 0 { f32::NAN } else { 0.1 }));
    let (_, stderr) = folder.run(LEVELS, &nan);
    says(&stderr, &["nan.wav", "160"]);

    let none = folder.path("none.wav");
    wav(&none, 1, 16_000, std::iter::empty());
    let (code, stderr) = folder.run(LEVELS, &none);
    assert_eq!(code, 0, "a stream without a sample is a stream\n{stderr}");
}

#[test]
fn files_that_are_no_pipeline() {
    let folder = Folder::new();
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned()
        + &(0..9)
            .map(|i| format!("{}: &{} [{}]\n", next(i), next(i), vec![format!("*{}", letter(i)); 9].join(", ")))
            .collect::<String>();
    let cases: [(&str, Vec<u8>, &[&str]); 5] = [
        ("bomb.yaml", bomb.into_bytes(), &["bomb.yaml"]),
        ("key.yaml", format!("percept: 1\n{}: 1\n", "k".repeat(1 << 20)).into_bytes(), &["key.yaml", "key"]),
        ("binary.yaml", (0..=255u8).cycle().take(5000).collect(), &["binary.yaml"]),
        ("nothing.yaml", Vec::new(), &["nothing.yaml", "empty"]),
        ("tabs.yaml", b"percept: 1\nstages:\n\t- capture: file\n".to_vec(), &["tabs.yaml:3"]),
    ];
    for (name, bytes, words) in cases {
        let path = folder.write(name, bytes);
        let (code, _, stderr) = run(percept().arg("check").arg(&path));
        assert_eq!(code, 2, "{name}: {stderr}");
        says(&stderr, words);
        assert!(stderr.len() < 20_000, "{name}: {} bytes of message", stderr.len());
    }
}

fn letter(index: u8) -> char {
    char::from(b'a' + index)
}

fn next(index: u8) -> char {
    letter(index + 1)
}

#[test]
fn models_that_do_not_fit() {
    let folder = Folder::new();
    let silero = fs::read(root().join("models/silero-vad/silero_vad_16k_op15.onnx")).unwrap();
    let half = folder.write("half.onnx", &silero[..silero.len() / 2]);
    let pipeline = |model: &Path, more: &str| {
        format!(
            "percept: 1\nstages:\n  - capture: file\n    path: IN\n  - model: {}\n{more}  - sink: jsonl\n    path: out.jsonl\n",
            model.display()
        )
    };
    let tone = folder.path("tone.wav");
    wav(&tone, 1, 16_000, (0..16_000).map(|i| (i as f32 * 0.1).sin()));
    let (code, stderr) = folder.run(&pipeline(&half, ""), &tone);
    assert_eq!(code, 2, "{stderr}");
    says(&stderr, &["half.onnx", "cut off or damaged", "fetch or export the file again"]);

    let text = folder.write("text.onnx", "this is no model");
    let (code, stderr) = folder.run(&pipeline(&text, ""), &tone);
    assert_eq!(code, 2, "{stderr}");
    says(&stderr, &["text.onnx"]);

    let tokens = "  - decoder: ctc_greedy\n    tokens: nowhere.txt\n    frame_ms: 20\n";
    let (code, stderr) = folder.run(&pipeline(Path::new("silero-vad"), tokens), &tone);
    assert_eq!(code, 2, "{stderr}");
    says(&stderr, &["nowhere.txt"]);
}

/// A graph that passes its one input on, of this type and shape.
fn identity(dtype: DType, sizes: &[usize]) -> Vec<u8> {
    let port = |name| ValueInfo::tensor(name, dtype, SymbolicShape::known(sizes));
    let mut graph = Graph::new("identity");
    graph.inputs.push(port("x"));
    graph.outputs.push(port("y"));
    graph.nodes.push(Node::new("Identity", ["x"], ["y"]));
    Model::new(graph, 17).encode()
}

#[test]
fn models_of_another_rank_or_type() {
    if !models_are_here() {
        return;
    }
    let folder = Folder::new();
    let tone = folder.path("tone.wav");
    wav(&tone, 1, 16_000, (0..16_000).map(|i| (i as f32 * 0.1).sin()));
    let voice = folder.write("voice.onnx", identity(DType::F32, &[1, 1]));
    let pipeline = |model: &Path, keys: &str| {
        format!(
            "percept: 1\nstages:\n  - capture: file\n    path: {}\n  - preprocess: mono\n  - preprocess: resample\n    \
             sample_rate_hz: 16000\n  - model: silero-vad\n  - model: {}\n{keys}  - sink: jsonl\n    path: out.jsonl\n",
            tone.display(),
            model.display()
        )
    };
    // Silero gives one probability a stream: [1].
    let (code, _, stderr) = run(percept().arg("check").arg(folder.write("fits.yaml", pipeline(&voice, ""))));
    assert_eq!(code, 0, "{stderr}");
    for (name, bytes, keys, words) in [
        (
            "image.onnx",
            identity(DType::F32, &[1, 3, 8, 8]),
            "",
            &["expected", "[1, 3, 8, 8]", "found tensor f32 [1]"][..],
        ),
        ("vector.onnx", identity(DType::F32, &[1, 64]), "", &["expected", "[1, 64]", "found tensor f32 [1]"]),
        ("numbers.onnx", identity(DType::I64, &[1, 1]), "", &["expected", "i64", "found", "f32"]),
        (
            "windows.onnx",
            identity(DType::F32, &[1, 3, 8, 8]),
            "    window_samples: 512\n",
            &["sound cannot fill input `x`", "rank 1 to 3", "[1, 3, 8, 8]"],
        ),
    ] {
        let model = folder.write(name, bytes);
        let yaml = folder.write("pipeline.yaml", pipeline(&model, keys));
        let (code, _, stderr) = run(percept().arg("check").arg(&yaml));
        assert_eq!(code, 2, "{name}\n{stderr}");
        says(&stderr, words);
        says(&stderr, &["pipeline.yaml:", name]);
        let (code, _, _) = run(percept().arg("run").arg(&yaml));
        assert_eq!(code, 2, "{name} is refused before it starts");
        assert!(!folder.path("out.jsonl").exists(), "{name}: nothing was started");
    }
}

/// A disk of 64 KiB, as long as it lives.
#[cfg(target_os = "linux")]
struct SmallDisk(PathBuf);

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// `None` where this user may not mount one.
    fn mount(at: PathBuf) -> Option<SmallDisk> {
        fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "percept-test"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(SmallDisk(at))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_becomes_full() {
    let folder = Folder::new();
    let tone = folder.path("tone.wav");
    wav(&tone, 1, 16_000, (0..1_600_000).map(|i| (i as f32 * 0.1).sin()));
    let Some(disk) = SmallDisk::mount(folder.path("disk")) else {
        println!("no small disk can be mounted here (it takes root): only /dev/full is tried");
        let (code, stderr) = folder.run(&LEVELS.replace("out.jsonl", "/dev/full"), &tone);
        assert_eq!(code, 3, "{stderr}");
        says(&stderr, &["/dev/full", "free some space"]);
        return;
    };
    let (code, stderr) = folder.run(&LEVELS.replace("out.jsonl", "disk/out.jsonl"), &tone);
    assert_eq!(code, 3, "{stderr}");
    says(&stderr, &["disk/out.jsonl", "free some space"]);
    assert!(!stderr.contains("panicked") && !stderr.contains("do not balance"), "{stderr}");
    let written = records(&disk.0.join("out.jsonl"));
    assert!(written.len() > 10, "{} records", written.len());
    // Every record is whole, and none is missing in between.
    let numbers: Vec<u64> = written.iter().map(|record| record["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..written.len() as u64).collect::<Vec<_>>());
}

/// The program run by a user who is not root; `None` where that cannot be.
#[cfg(unix)]
fn as_nobody(folder: &Folder) -> Option<Command> {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        return Some(percept());
    }
    // The build folder need not be open to everybody; this one is.
    let program = folder.path("percept");
    fs::copy(env!("CARGO_BIN_EXE_percept"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.current_dir(&folder.0).env("NO_COLOR", "1").env_remove("PERCEPT_LOG").uid(NOBODY).gid(NOBODY);
    Command::new("true").uid(NOBODY).gid(NOBODY).status().is_ok_and(|status| status.success()).then_some(command)
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_only_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let tone = folder.path("tone.wav");
    wav(&tone, 1, 16_000, (0..16_000).map(|i| (i as f32 * 0.1).sin()));
    fs::create_dir(folder.path("locked")).unwrap();
    fs::create_dir(folder.path("open")).unwrap();
    let allow = |name: &str, mode: u32| {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(".", 0o755);
    allow("open", 0o777);
    allow("locked", 0o555);
    for (place, code) in [("open", 0), ("locked", 2)] {
        let Some(mut command) = as_nobody(&folder) else {
            println!("this user is root and cannot become another: nothing is shown");
            return;
        };
        let yaml =
            LEVELS.replace("out.jsonl", &format!("{place}/out.jsonl")).replace("IN", &tone.display().to_string());
        let yaml = folder.write("pipeline.yaml", yaml);
        let (found, _, stderr) = run(command.arg("run").arg(yaml));
        assert_eq!(found, code, "{place}: {stderr}");
        if code != 0 {
            says(&stderr, &["locked/out.jsonl", "Permission denied"]);
        }
    }
    allow("locked", 0o755);
}

#[test]
fn places_that_cannot_be_written() {
    let folder = Folder::new();
    let tone = folder.path("tone.wav");
    wav(&tone, 1, 16_000, (0..160_000).map(|i| (i as f32 * 0.1).sin()));
    // A file stands where a folder would have to be: refused for root too.
    folder.write("file", "x");
    let (code, stderr) = folder.run(&LEVELS.replace("out.jsonl", "file/out.jsonl"), &tone);
    assert_eq!(code, 2, "{stderr}");
    says(&stderr, &["file/out.jsonl"]);

    let (code, stderr) = folder.run(&LEVELS.replace("out.jsonl", "/dev/full"), &tone);
    assert_eq!(code, 3, "{stderr}");
    says(&stderr, &["/dev/full", "space"]);
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away() {
    let folder = Folder::new();
    let tone = folder.path("tone.wav");
    wav(&tone, 1, 16_000, (0..1_600_000).map(|i| (i as f32 * 0.1).sin()));
    let yaml =
        folder.write("pipeline.yaml", LEVELS.replace("out.jsonl", "'-'").replace("IN", &tone.display().to_string()));
    let mut child = percept().arg("run").arg(yaml).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert_eq!(output.status.code(), Some(3), "{stderr}");
}

#[test]
fn raw_sound_from_another_program() {
    if !models_are_here() {
        return;
    }
    let samples = {
        let mut reader = hound::WavReader::open(root().join("tests/data/speech/librivox-0930.wav")).unwrap();
        reader.samples::<i16>().map(|sample| sample.unwrap().to_le_bytes()).collect::<Vec<_>>().concat()
    };
    let mut command: Command = percept();
    let mut child = command
        .args(["run", "pipelines/stdin.yaml"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&samples).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("amiable"), "{text}");
}
