//! What the black-box tests share: running the program, reading its records, the frozen speech reference.
#![allow(dead_code, reason = "each test uses a part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;

/// The folder of the package.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The program, run at the package's folder.
pub fn percept() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_percept"));
    command.current_dir(root()).env("NO_COLOR", "1").env_remove("PERCEPT_LOG");
    command
}

/// Runs it, and gives its exit code, what it wrote to the standard output, and to the standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    (status.code().expect("it was not killed"), text(stdout), text(stderr))
}

/// The records of a JSON Lines file.
pub fn records(path: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// A frozen reference, see tests/reference.
pub fn reference(name: &str) -> Json {
    let path = root().join("tests/data/speech").join(name);
    serde_json::from_slice(&std::fs::read(&path).expect("the reference is committed")).expect("it is JSON")
}

/// Words as tests/reference/words.py takes them.
pub fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace(['\'', '\u{2019}'], "");
    let spoken = |word: &str| match word {
        "mr" => "mister".to_owned(),
        "mrs" => "missis".to_owned(),
        "dr" => "doctor".to_owned(),
        other => other.to_owned(),
    };
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(spoken).collect()
}

/// Fewest substitutions, deletions and insertions between two lists of words (Levenshtein, 1966).
pub fn word_errors(expected: &[String], found: &[String]) -> usize {
    percept::train::metrics::edit_distance(expected, found)
}

/// What is said in a recording, by its name in transcripts.txt.
pub fn transcript(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("tests/data/speech/transcripts.txt")).expect("it is committed");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).expect("it is transcribed");
    words(line)
}

/// Whether the speech models can be run here. Without them the tests fail and say what to type, unless the environment
/// allows it.
pub fn models_are_here() -> bool {
    let (code, _, _) = run(percept().args(["check", "pipelines/speech.yaml", "--input", "examples/recordings", "-q"]));
    if code == 0 {
        return true;
    }
    let allowed = std::env::var_os("PERCEPT_ALLOW_MISSING_MODELS").is_some();
    assert!(
        allowed,
        "the speech models or ONNX Runtime are missing: type `percept setup pipelines/speech.yaml` (make test does), or \
         set PERCEPT_ALLOW_MISSING_MODELS=1 to leave out the tests that need them"
    );
    false
}
