//! The program as a user meets it: what they type, what they read, and the exit code that a script sees.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::path::Path;
use std::process::{Command, Stdio};

use percept::cards::Sha256;
use percept::config::{self, Source};
use serde_json::Value as Json;
use tempfile::TempDir;

/// A folder to work in, with a cache of its own.
struct Place(TempDir);

/// What came of a command.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_percept"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PERCEPT_LOG", "COLUMNS", "ORT_DYLIB_PATH"] {
            command.env_remove(variable);
        }
        command.env("PERCEPT_CACHE", self.path().join("cache"));
        command
    }

    fn percept(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments))
    }

    /// A card `small` in `models/`, whose one file comes out of a download that is a local file.
    fn small_card(&self) {
        let sum = Sha256::of(b"weights");
        self.write("models/small/download.bin", "weights");
        self.write(
            "models/small/card.yaml",
            &format!(
                "percept_card: 1\nname: small\nkind: onnx\nsummary: A small model.\nlicence: MIT\nsource:\n  text: Made by a test.\n\
                 \x20 downloads:\n    it: {{file: download.bin, sha256: '{sum}', bytes: 7}}\n\
                 files:\n  model: {{path: model.onnx, sha256: '{sum}', bytes: 7, from: {{download: it}}}}\n"
            ),
        );
    }
}

fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let ended = Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    ended
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    fn code(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that all of these are said on the standard output.
    #[track_caller]
    fn prints(self, parts: &[&str]) -> Ended {
        for part in parts {
            assert!(self.stdout.contains(part), "`{part}` is not in:\n{}", self.stdout);
        }
        self
    }

    /// Checks that all of these are said on the standard error.
    #[track_caller]
    fn tells(self, parts: &[&str]) -> Ended {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in:\n{}", self.stderr);
        }
        self
    }
}

/// The kinds of this build, as `kinds --json` gives them.
fn kinds(place: &Place) -> Vec<Json> {
    let text = place.percept(&["kinds", "--json"]).code(0).stdout;
    let Json::Array(kinds) = serde_json::from_str(&text).unwrap() else { panic!("no list: {text}") };
    assert!(!kinds.is_empty());
    kinds
}

fn word<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

#[test]
fn help_names_every_verb_and_every_exit_code() {
    let place = Place::new();
    let verbs = [
        "run",
        "record",
        "live",
        "check",
        "graph",
        "kinds",
        "train",
        "eval",
        "models",
        "setup",
        "devices",
        "schema",
        "completions",
    ];
    place.percept(&["--help"]).code(0).prints(&verbs).prints(&["Exit codes:", "    4  ", "  130  ", "--model-threads"]);
    place.percept(&["-h"]).code(0).prints(&verbs);
    place.percept(&["--version"]).code(0).prints(&[concat!("percept ", env!("CARGO_PKG_VERSION"))]);
    for verb in verbs {
        place.percept(&[verb, "--help"]).code(0).prints(&["Usage: percept", "--onnxruntime"]);
    }
    let nothing = place.percept(&[]).code(2).tells(&["Usage: percept"]);
    assert_eq!(nothing.stdout, "");
}

#[test]
fn a_wrong_command_line_is_refused_with_a_remedy() {
    let place = Place::new();
    for (line, says) in [
        ("kindz", "'kinds'"),
        ("kinds --jsn", "--json"),
        ("kinds --color sometimes", "possible values: auto, always, never"),
        ("kinds --model-threads 0", "--model-threads"),
        ("kinds --log percept=loud", "--log does not understand"),
        ("completions tcl", "possible values"),
        ("graph", "<FILE>"),
        ("graph nowhere.yaml", "cannot be read"),
        ("setup nowhere.yaml", "cannot be read"),
        ("models pull", "<NAME>"),
        ("models shw", "'show'"),
        ("models show silero-vat", "did you mean `silero-vad`?"),
        ("models pull silero-vad nosuch", "no model named `nosuch`"),
        ("models verify ./nowhere", "nowhere"),
    ] {
        let ended = place.percept(&line.split(' ').collect::<Vec<_>>()).code(2).tells(&[says]);
        assert_eq!(ended.stdout, "", "{line}");
    }
    let mut command = place.command(&["kinds"]);
    command.env("PERCEPT_LOG", "a=b=c");
    ended(command).code(2).tells(&["PERCEPT_LOG does not understand `a=b=c`"]);
}

#[test]
fn the_reference_has_a_page_for_every_kind() {
    let place = Place::new();
    let list = place.percept(&["kinds"]).code(0);
    for kind in kinds(&place) {
        let (name, role) = (word(&kind, "name"), word(&kind, "role"));
        assert!(list.stdout.contains(&format!("\n  {name} ")), "{name}\n{}", list.stdout);
        let page = place.percept(&["kinds", name]).code(0).prints(&[
            &format!("{role}: {name}"),
            "Keys",
            "Example",
            "percept: 1",
        ]);
        for key in kind["schema"]["properties"].as_object().into_iter().flatten().map(|(key, _)| key) {
            assert!(page.stdout.contains(&format!("\n  {key}  ")), "{name}: {key}\n{}", page.stdout);
        }
    }
    let first = kinds(&place)[0]["name"].as_str().unwrap().to_owned();
    place.percept(&["kinds", &format!("{first}x")]).code(2).tells(&[&format!("did you mean `{first}`?")]);
}

#[test]
fn the_schema_accepts_a_pipeline_and_refuses_a_wrong_key() {
    let place = Place::new();
    let text = place.percept(&["schema"]).code(0).stdout;
    let schema: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let faults = |text: &str| {
        let source = Source::new("a.yaml", text);
        config::validate(&config::parse(&source).unwrap(), &schema, &source)
    };
    assert!(faults("percept: 1\nstages:\n- model: nosuch\n  id: [1]\n").has_errors());
    assert!(faults("percept: 1\nstages:\n- {capture: nosuch}\n").has_errors());
    assert!(faults("percept: 1\nstagez: []\n").has_errors());
    for kind in kinds(&place) {
        let key = word(&kind, "role");
        if key != "model" {
            let stage = format!("percept: 1\nstages:\n- {key}: {}\n  no_such_key: 1\n", word(&kind, "name"));
            assert!(faults(&stage).has_errors(), "{stage}");
        }
    }
    let silent = place.percept(&["schema", "-o", "percept.schema.json"]).code(0);
    assert_eq!((silent.stdout.as_str(), silent.stderr.as_str()), ("", ""));
    assert_eq!(std::fs::read_to_string(place.path().join("percept.schema.json")).unwrap(), text);
    place.percept(&["schema", "-o", "no/such/folder"]).code(1).tells(&["no/such/folder could not be written"]);
}

#[test]
fn pipelines_are_drawn_or_refused() {
    let place = Place::new();
    place.write("bad.yaml", "percept: 1\nstages:\n- capture: nosuch\n- sink: nosuch\n");
    let refused = place.percept(&["graph", "bad.yaml"]).code(2).tells(&["unknown-kind", "bad.yaml:3:", "bad.yaml:4:"]);
    assert_eq!(refused.stdout, "");
    for kind in kinds(&place) {
        place.write("example.yaml", word(&kind, "example"));
        let text = place.percept(&["graph", "example.yaml"]);
        match text.code {
            Some(0) => {
                let text = text.prints(&["●"]);
                assert!(text.stdout.lines().count() > 3, "{}", text.stdout);
                place
                    .percept(&["graph", "example.yaml", "--format", "mermaid"])
                    .code(0)
                    .prints(&["flowchart LR\n", "-->"]);
                place.percept(&["graph", "example.yaml", "--format", "dot"]).code(0).prints(&["digraph \"", " -> "]);
            }
            // What the example names, a recording or a model, is not on this machine.
            Some(2 | 4) => assert!(!text.stderr.is_empty() && text.stdout.is_empty()),
            other => panic!("{}: {other:?}\n{}", word(&kind, "name"), text.stderr),
        }
    }
}

#[test]
fn completions_are_scripts_of_their_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        place.percept(&["completions", shell]).code(0).prints(&["percept", "completions", "model-threads"]);
    }
    place.write("percept.bash", &place.percept(&["completions", "bash"]).stdout);
    if let Ok(checked) = Command::new("bash").arg("-n").arg(place.path().join("percept.bash")).output() {
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn models_are_listed_shown_and_verified() {
    let place = Place::new();
    for line in [&["models"][..], &["models", "list"]] {
        place.percept(line).code(0).prints(&[
            "silero-vad",
            "part of percept",
            "moonshine-tiny",
            "not fetched, ",
            "onnxruntime",
        ]);
    }
    place
        .percept(&["models", "show", "silero-vad"])
        .code(0)
        .prints(&["licence        MIT", "state          state ← stateN"]);
    place.percept(&["models", "verify", "silero-vad"]).code(0).prints(&["silero-vad  model  ", "good"]);
    place
        .percept(&["models", "verify", "moonshine-tiny"])
        .code(4)
        .prints(&["not here", "percept models pull moonshine-tiny"]);
    place.percept(&["models", "verify"]).code(0).prints(&["moonshine-tiny  not fetched"]);
    place.write("models/bare/weights.onnx", "");
    place.percept(&["models", "show", "models/bare/weights.onnx"]).code(2).tells(&["a model file without a card"]);
}

#[test]
fn a_model_is_fetched_once_and_spoiled_files_are_found() {
    let place = Place::new();
    place.small_card();
    place.percept(&["models"]).code(0).prints(&["  onnx  MIT  not fetched, 7 B"]);
    place.percept(&["models", "pull", "small"]).code(0).tells(&["small: fetched, 7 B"]);
    place.percept(&["models", "pull", "small"]).code(0).tells(&["small: already there"]);
    place.percept(&["models", "verify", "small"]).code(0).prints(&["good"]);
    let quiet = place.percept(&["--quiet", "models", "pull", "small", "silero-vad"]).code(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));

    let page = place.percept(&["models", "verify", "small"]).stdout;
    let path = page.split_whitespace().find(|word| word.ends_with("model.onnx")).unwrap();
    std::fs::write(path, "Weights").unwrap();
    place.percept(&["models", "verify", "small"]).code(1).prints(&["wrong: expected sha256"]);
    place.write("models/small/download.bin", "other!!");
    place.percept(&["models", "pull", "small"]).code(1).tells(&["error: ", "It was removed"]);
}

#[test]
fn setup_of_a_pipeline() {
    let place = Place::new();
    place.write("none.yaml", "percept: 1\nstages:\n- capture: microphone\n- sink: console\n");
    place.percept(&["setup", "none.yaml"]).code(0).tells(&["Everything is there; nothing was fetched."]);
    place.write("wrong.yaml", "percept: 1\nstages:\n- model: silero-vat\n- model: moonshine-tinny\n");
    place
        .percept(&["setup", "wrong.yaml"])
        .code(2)
        .tells(&["did you mean `silero-vad`?", "did you mean `moonshine-tiny`?"]);
    // A library that the user names and that is not there: nothing else is taken in its place.
    place.small_card();
    place.write("small.yaml", "percept: 1\nstages:\n- model: small\n");
    if cfg!(feature = "onnxruntime") {
        let line = ["setup", "small.yaml", "--onnxruntime", "/nowhere/lib.so"];
        place.percept(&line).code(4).tells(&["ONNX Runtime was not found", "/nowhere/lib.so"]);
    }
}

#[test]
fn devices_are_listed_without_opening_one() {
    let ended = Place::new().percept(&["devices"]);
    if cfg!(feature = "microphone") {
        ended.code(0);
    } else {
        ended.code(4).tells(&["no microphone", "the feature `microphone`"]);
    }
}

#[test]
fn colours_are_a_matter_of_the_user() {
    let place = Place::new();
    let escapes = |line: &str, variables: &[(&str, &str)]| {
        let mut command = place.command(&line.split(' ').collect::<Vec<_>>());
        command.envs(variables.iter().copied());
        let ended = ended(command);
        format!("{}{}", ended.stdout, ended.stderr).contains('\u{1b}')
    };
    for (line, variables, expected) in [
        ("kinds", &[][..], false),
        ("kinds --color always", &[], true),
        ("--color=always --help", &[], true),
        ("--color=always nosuch", &[], true),
        ("--color=always graph nowhere.yaml", &[], true),
        ("models", &[("CLICOLOR_FORCE", "1")], true),
        ("models", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ("--help", &[("NO_COLOR", "1")], false),
        ("graph nowhere.yaml", &[("NO_COLOR", "1")], false),
        ("kinds --color never", &[("CLICOLOR_FORCE", "1")], false),
    ] {
        assert_eq!(escapes(line, variables), expected, "{line} {variables:?}");
    }
}

/// `percept kinds | head -1`: the reader goes before everything is written.
#[test]
fn a_reader_that_goes_is_no_failure() {
    let place = Place::new();
    for line in [&["kinds"][..], &["schema"], &["models"], &["completions", "bash"], &["--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command(line);
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8(output.stderr).unwrap()),
            (Some(0), String::new()),
            "{line:?}"
        );
    }
}
