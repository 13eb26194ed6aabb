//! A pipeline that runs, asked and changed from another process: `percept run … --control` and `percept live`.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use percept::engine::{Builder, Dense};
use percept::onnx::Model;
use percept::tensor::{DType, Dim, SymbolicShape};
use serde_json::Value as Json;
use tempfile::TempDir;

use common::{percept, records, root, run};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Windows of four samples through a model that is Relu at first.
const PIPELINE: &str = "\
percept: 1
name: live
stages:
  - capture: stdin
    format: raw
    sample_format: s16le
    sample_rate_hz: 8000
    channels: 1
    live: true
  - model: relu.onnx
    id: gate
    backend: engine
    window_samples: 4
  - sink: jsonl
    path: out.jsonl
";

/// Samples of one push: two packets of 100 ms, 400 windows.
const PUSH: usize = 1600;

/// A pipeline that runs and hears what the test pushes.
struct Live {
    folder: TempDir,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
    control: String,
    pushed: usize,
}

impl Live {
    fn start(control: &str) -> Live {
        let folder = tempfile::tempdir().unwrap();
        Live::start_in(folder, control)
    }

    fn start_in(folder: TempDir, control: &str) -> Live {
        Live::start_with(folder, control, PIPELINE)
    }

    fn start_with(folder: TempDir, control: &str, pipeline: &str) -> Live {
        let control = &control.replace("{folder}", &folder.path().display().to_string());
        std::fs::write(folder.path().join("live.yaml"), pipeline).unwrap();
        std::fs::copy(root().join("tests/data/inference/relu.onnx"), folder.path().join("relu.onnx")).unwrap();
        let mut command = percept();
        command.args(["run", "live.yaml", "--control", control]).current_dir(folder.path());
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, said) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let words = loop {
            let line: String = said.recv_timeout(PATIENCE).expect("it says where it can be reached");
            if let Some((_, words)) = line.split_once("reaches it with --control ") {
                break words.to_owned();
            }
        };
        let stdin = child.stdin.take();
        Live { folder, child, stdin, said, control: words, pushed: 0 }
    }

    /// `percept live …` with exit code, standard output and standard error.
    fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let address: Vec<&str> =
            self.control.split([' ', ',']).filter(|word| !word.is_empty() && *word != "with").collect();
        let mut command = percept();
        run(command.arg("live").args(arguments).arg("--control").args(address).current_dir(self.folder.path()))
    }

    /// Brings more sound, half of it below zero, and waits until all that was brought is written.
    fn push(&mut self) {
        let samples = (0..PUSH).flat_map(|at| if at % 2 == 0 { 8192i16 } else { -8192 }.to_le_bytes());
        self.stdin.as_mut().unwrap().write_all(&samples.collect::<Vec<_>>()).unwrap();
        self.pushed += PUSH;
        let wanted = self.pushed / 4;
        self.wait(|live| {
            let text = std::fs::read_to_string(live.folder.path().join("out.jsonl")).unwrap_or_default();
            text.lines().count() >= wanted && text.ends_with('\n')
        });
    }

    fn wait(&mut self, done: impl Fn(&Live) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < PATIENCE, "nothing comes");
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "it ended: {:?}",
                self.said.try_iter().collect::<Vec<_>>()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The exit code, once it ends by itself, and what it said.
    fn end(&mut self) -> (i32, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        (status.code().unwrap(), self.said.iter().collect::<Vec<_>>().join("\n"))
    }

    fn records(&self) -> Vec<Json> {
        records(&self.folder.path().join("out.jsonl"))
    }

    /// The first model, changed.
    fn model(&self, name: &str, change: impl FnOnce(&mut Model)) -> PathBuf {
        let mut model = Model::load(self.folder.path().join("relu.onnx")).unwrap();
        change(&mut model);
        let path = self.folder.path().join(name);
        model.save(&path).unwrap();
        path
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Only what this test started.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn negates(model: &mut Model) {
    model.graph.nodes.iter_mut().for_each(|node| node.op_type = "Neg".into());
}

fn wider(model: &mut Model) {
    let wide = SymbolicShape::Ranked(vec![Dim::Known(1), Dim::Known(5)]);
    model.graph.inputs.iter_mut().chain(&mut model.graph.outputs).for_each(|value| value.shape = wide.clone());
}

#[test]
fn a_model_is_exchanged_between_two_packets_and_nothing_is_lost() {
    let mut live = Live::start("{folder}/c.sock");
    let socket = live.folder.path().join("c.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    live.model("neg.onnx", negates);
    live.model("wide.onnx", wider);
    live.push();

    let (code, out, err) = live.ask(&["version", "gate"]);
    assert_eq!((code, out.starts_with("gate: version 0 from ")), (0, true), "{out}{err}");
    // As the user types it: relative to where they are.
    let (code, out, err) = live.ask(&["swap", "gate", "neg.onnx"]);
    assert_eq!((code, out.starts_with("gate: version 1 from /"), err.as_str()), (0, true, ""), "{out}");
    assert!(live.ask(&["version", "gate"]).1.contains("before its next packet it takes version 1"));
    live.push();

    // What does not fit is refused, and the one that serves goes on.
    for (arguments, says) in [
        (&["swap", "gate", "wide.onnx"][..], "expected f32 [1, 4], found f32 [1, 5]"),
        (&["swap", "gate", "none.onnx"], "none.onnx cannot take the place of model"),
        (&["swap", "gate", "live.yaml"], "live.yaml cannot take the place of model"),
        (&["swap", "gate", "relu.onnx", "--labels", "live.yaml"], "scores for 4 classes, and 15 names were given"),
        (&["rollback", "gate", "--to", "7"], "has no version to go back to: expected version 7, found [0]"),
        (&["swap", "gaet", "neg.onnx"], "did you mean `gate`?"),
        (&["version", "jsonl"], "runs no model that can be exchanged; these do: gate"),
    ] {
        let (code, out, err) = live.ask(arguments);
        let err = err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!((code, out.as_str(), err.contains(says)), (2, "", true), "{arguments:?}: {err}");
    }
    live.push();
    assert_eq!(live.ask(&["version", "gate"]).1.split(" from ").next(), Some("gate: version 1"));

    let (code, out, _) = live.ask(&["stats", "--json"]);
    let stats: Json = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &stats["pipeline"], &stats["models"]["gate"]), (0, &"live".into(), &1.into()));
    assert_eq!(stats["books"]["stages"][1]["written"], 3 * PUSH / 4);
    assert!(live.ask(&["stats"]).1.lines().any(|line| line.starts_with("gate ") && line.ends_with(" 1")));

    // Back to the first file: a version of its own.
    assert_eq!(live.ask(&["swap", "gate", "relu.onnx"]).0, 0);
    live.push();
    assert_eq!(live.ask(&["stop"]).0, 0);
    let (code, said) = live.end();
    assert_eq!(code, 0, "{said}");
    assert!(!socket.exists(), "the socket's file goes with the run");

    let records = live.records();
    assert_eq!(records.len(), live.pushed / 4, "no packet is lost");
    for (at, record) in records.iter().enumerate() {
        let (version, negative) = [(0, 0.0), (1, 0.25), (1, 0.25), (2, 0.0)][at / (PUSH / 4)];
        assert_eq!(record["sequence"], at);
        assert_eq!(record["weights"].as_u64().unwrap_or(0), version, "{record}");
        assert_eq!(record["values"][1].as_f64().unwrap().abs(), negative, "the values are of that version: {record}");
    }
}

#[test]
fn a_person_tells_a_running_model_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut graph = Builder::new("head", 1);
    let x = graph.input("x", DType::F32, &[None, Some(4)]).unwrap();
    let y = Dense::new("head", 2).apply(&mut graph, &x).unwrap();
    graph.output("y", &y).unwrap();
    graph.finish().save(folder.path().join("head.onnx")).unwrap();
    let learns = "  - preprocess: frame\n    window: 4\n  - model: head.onnx\n    id: gate\n    backend: engine\n    learn:\n      \
                  labels: {from: control, wait_ms: 60000}\n  - sink: jsonl\n    path: out.jsonl\n";
    let pipeline = format!("{}{learns}", PIPELINE.split("  - model").next().unwrap());
    let mut live = Live::start_with(folder, "{folder}/c.sock", &pipeline);
    let (code, _, err) = live.ask(&["label", "gate", "--class", "1"]);
    let nothing = err.contains("works on no such stream") || err.contains("has brought nothing yet");
    assert_eq!((code, nothing), (2, true), "{err}");
    live.push();
    let (code, out, err) = live.ask(&["label", "gate", "--class", "1", "--at", "0.1"]);
    assert_eq!((code, &*out), (0, "gate: class 1 at 0.100 s of stdin\n"), "{err}");
    let (code, out, err) = live.ask(&["label", "gate", "one"]);
    assert_eq!((code, out.starts_with("gate: one at 0.")), (0, true), "{out}{err}");
    for (arguments, says) in [
        (&["label", "stdin", "one"][..], "runs no model that can be exchanged"),
        (&["label", "gate", "one", "--stream", "other"], "expected `other`, found stdin"),
        (&["label", "gate"], "required"),
        (&["label", "gate", "one", "--class", "1"], "cannot be used with"),
    ] {
        let (code, _, err) = live.ask(arguments);
        assert_eq!((code, err.contains(says)), (2, true), "{arguments:?}: {err}");
    }
    drop(live.stdin.take());
    assert_eq!(live.end().0, 0);
}

#[test]
fn stop_now_cancels_and_a_socket_serves_one_run() {
    let mut live = Live::start("{folder}/c.sock");
    let taken = percept()
        .args(["run", "live.yaml", "--control", &live.control])
        .current_dir(live.folder.path())
        .output()
        .unwrap();
    assert_eq!(taken.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&taken.stderr).contains("a process listens at"), "{taken:?}");
    assert_eq!(live.ask(&["stop", "--now"]), (0, "stopping\n".to_owned(), String::new()));
    let (code, said) = live.end();
    assert_eq!(code, 3, "{said}");
    let (code, _, err) = live.ask(&["stats"]);
    assert_eq!((code, err.contains("no pipeline answers at")), (1, true), "{err}");
}

#[test]
fn a_run_that_was_killed_leaves_a_socket_that_the_next_one_replaces() {
    let mut live = Live::start("{folder}/c.sock");
    live.child.kill().unwrap();
    live.child.wait().unwrap();
    let folder = std::mem::replace(&mut live.folder, tempfile::tempdir().unwrap());
    let path = folder.path().join("c.sock");
    assert!(path.exists());
    let next = Live::start_in(folder, path.to_str().unwrap());
    assert_eq!(next.ask(&["version", "gate"]).0, 0);
}

#[test]
fn no_page_of_a_browser_can_speak_here() {
    let live = Live::start("127.0.0.1:0");
    assert_eq!(live.ask(&["version", "gate"]).0, 0);
    let (address, _) = live.control.split_once(", with --token ").expect("on this machine too a token is wanted");
    let mut page = TcpStream::connect(address).unwrap();
    page.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = "{\"v\":1,\"do\":\"stop\"}\n";
    // It may be shut out before it has said everything.
    let _ = write!(page, "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}{body}", 2 * body.len());
    let mut answer = String::new();
    // A reset after the answer is as good as an end.
    let _ = page.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.contains("\"code\":\"bad_request\""), "{answer}");
    assert_eq!(answer.lines().count().min(2), answer.lines().count().min(1), "one answer, then the end: {answer}");
    assert_eq!(live.ask(&["version", "gate"]).0, 0, "it goes on");
}

#[test]
fn other_machines_need_the_token() {
    let live = Live::start("0.0.0.0:0");
    let (address, token) = live.control.split_once(", with --token ").expect("a token was made up and shown");
    assert_eq!(token.len(), 32);
    let port = address.rsplit_once(':').unwrap().1;
    let ask = |more: &[&str]| {
        let mut command = percept();
        run(command.args(["live", "version", "gate", "--control", &format!("127.0.0.1:{port}")]).args(more))
    };
    for wrong in [&[][..], &["--token", "0123456789abcdef"]] {
        let (code, _, err) = ask(wrong);
        assert_eq!((code, err.contains("the token is missing or wrong")), (2, true), "{err}");
    }
    assert_eq!(ask(&["--token", token]).0, 0);
    let mut command = percept();
    command
        .args(["live", "version", "gate"])
        .env("PERCEPT_CONTROL", format!("localhost:{port}"))
        .env("PERCEPT_TOKEN", token);
    assert_eq!(run(&mut command).0, 0);
}

#[test]
fn those_who_say_nothing_lock_nobody_out() {
    let live = Live::start("{folder}/c.sock");
    let idle: Vec<UnixStream> = (0..16).map(|_| UnixStream::connect(&live.control).unwrap()).collect();
    // Who comes now is told so at once, and let in when they have been shut out.
    let began = Instant::now();
    let (code, _, err) = live.ask(&["version", "gate"]);
    assert_eq!((code, err.contains("16 are connected already")), (2, true), "{err}");
    while live.ask(&["version", "gate"]).0 != 0 {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(idle);
}

#[test]
fn the_protocol_as_it_is_documented() {
    let live = Live::start("{folder}/c.sock");
    let mut stream = UnixStream::connect(&live.control).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (request, answer) in [
        (
            "{\"v\":1,\"id\":[7],\"do\":\"version\",\"stage\":\"gate\"}",
            "{\"v\":1,\"id\":[7],\"ok\":true,\"result\":{\"stage\":\"gate\",\"serving\":0,\"newest\":0,",
        ),
        (
            "{\"v\":1,\"do\":\"version\",\"stage\":\"x\"}",
            "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"unknown_stage\",",
        ),
        ("{\"v\":1,\"do\":\"version\",\"stage\":\"stdin\"}", "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"no_model\","),
        (
            "{\"v\":1,\"do\":\"swap\",\"stage\":\"gate\",\"file\":\"/none\"}",
            "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"does_not_fit\",",
        ),
        // A device is no model, and is not read.
        (
            "{\"v\":1,\"do\":\"swap\",\"stage\":\"gate\",\"file\":\"/dev/zero\"}",
            "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"does_not_fit\",\"message\":\"/dev/zero cannot take the place of \
             model `relu.onnx`: expected a file of at most 2048 MiB, found something else",
        ),
        (
            "{\"v\":9,\"id\":\"a\",\"do\":\"stats\"}",
            "{\"v\":1,\"id\":\"a\",\"ok\":false,\"error\":{\"code\":\"version\",",
        ),
        ("{\"v\":1,\"do\":\"dance\"}", "{\"v\":1,\"ok\":false,\"error\":{\"code\":\"bad_request\","),
    ] {
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with(answer), "{request}\n{line}");
    }
    assert_eq!(reader.read(&mut [0]).unwrap(), 0, "the connection is closed after what is no request");
}

#[test]
fn wrong_command_lines() {
    for (arguments, code, says) in [
        (&["live"][..], 2, "Usage"),
        (&["live", "stats"], 2, "name it with --control PATH, or set PERCEPT_CONTROL"),
        (&["live", "stats", "--control", "/nowhere/c.sock"], 1, "no pipeline answers at /nowhere/c.sock"),
        (&["live", "stats", "--control", "127.0.0.1"], 2, "expected a path, or an address and port"),
        (&["run", "x.yaml", "--control-token", "x"], 2, "--control <PATH|ADDRESS>"),
        (&["run", "x.yaml", "--view", "8080"], 2, "--view <ADDRESS>"),
    ] {
        let (found, out, err) = run(percept().args(arguments).env_remove("PERCEPT_CONTROL"));
        assert_eq!((found, format!("{out}{err}").contains(says)), (code, true), "{arguments:?}: {out}{err}");
    }
}
