//! Every pipeline that comes with percept is checked, and run where its models are at hand; so are the examples and the
//! blocks of the README.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{models_are_here, percept, records, root, run};
use percept::pipeline::PipelineFile;
use percept::stages::REGISTRY;

fn pipelines() -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join("pipelines"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

#[test]
fn every_pipeline_is_without_fault_and_can_be_drawn() {
    if !models_are_here() {
        return;
    }
    // Videos are read and written by another program, which check looks for.
    let ffmpeg = Command::new("ffmpeg").arg("-version").output().is_ok();
    // Recordings that are spoken first; tests/adapt.rs checks and runs what hears them.
    let here = |path: &PathBuf| (ffmpeg || !path.ends_with("video.yaml")) && !path.ends_with("digits-adapt.yaml");
    for path in pipelines().into_iter().filter(here) {
        let (code, _, stderr) = run(percept().arg("check").arg(&path));
        assert_eq!(code, 0, "{}\n{stderr}", path.display());
        for format in ["text", "mermaid", "dot"] {
            let (code, stdout, stderr) = run(percept().arg("graph").arg(&path).args(["--format", format]));
            assert_eq!(code, 0, "{}\n{stderr}", path.display());
            assert!(stdout.lines().count() > 3, "{stdout}");
        }
    }
}

#[test]
fn files_become_subtitles_and_utterances() {
    if !models_are_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // The sinks write beside the pipeline, so it is copied.
    for name in ["subtitles", "utterances"] {
        fs::copy(root().join(format!("pipelines/{name}.yaml")), folder.path().join(format!("{name}.yaml"))).unwrap();
        let file = folder.path().join(format!("{name}.yaml"));
        let (code, _, stderr) = run(percept().arg("run").arg(file).args(["--input", "tests/data/speech"]));
        assert_eq!(code, 0, "{name}\n{stderr}");
        assert!(stderr.contains("10 streams"), "{stderr}");
    }
    let written = |extension: &str| {
        let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|found| found == extension)).collect::<Vec<_>>()
    };
    let subtitles = written("srt");
    assert_eq!(subtitles.len(), 10, "one for each recording: {subtitles:?}");
    let amiable = subtitles.iter().find(|path| path.display().to_string().contains("0930")).unwrap();
    let text = fs::read_to_string(amiable).unwrap();
    assert!(text.starts_with("1\n00:00:0") && text.contains(" --> ") && text.contains("amiable himself"), "{text}");
    let lines = records(&folder.path().join("utterances.jsonl"));
    assert_eq!(written("wav").len(), lines.len(), "a file and a line for each utterance");
    for line in &lines {
        assert!(line["end_s"].as_f64().unwrap() > line["start_s"].as_f64().unwrap(), "{line}");
    }
}

/// What tests/reference/photos.py says of a photo: the best classes, each with its probability.
fn told_of(photo: &str) -> Vec<(u64, String, f64)> {
    let text = fs::read_to_string(root().join("tests/data/picture/photos.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let best = all["photos"][photo].as_array().unwrap_or_else(|| panic!("{photo} is not in the reference"));
    let entry = |label: &serde_json::Value| {
        let name = label["name"].as_str().unwrap().to_owned();
        (label["index"].as_u64().unwrap(), name, label["probability"].as_f64().unwrap())
    };
    best.iter().map(entry).collect()
}

#[test]
fn photos_are_told_as_the_reference_tells_them() {
    for backend in ["engine", "onnxruntime"] {
        if backend == "onnxruntime" && !models_are_here() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("photos.jsonl");
        let (code, stdout, stderr) = run(percept()
            .args(["run", "pipelines/photos.yaml", "--set", &format!("efficientnet-lite0.backend={backend}")])
            .args(["--set", &format!("jsonl.path={}", file.display())]));
        assert_eq!(code, 0, "{backend}: {stderr}");
        let mut lines: Vec<_> = stdout.lines().filter_map(|line| line.split(" 0.").next()).collect();
        lines.sort_unstable();
        assert_eq!(lines, ["astronaut.png bobsled", "chelsea.png tiger cat", "coffee.png espresso"], "{stdout}");
        let records = records(&file);
        let mut photos = Vec::new();
        for record in &records {
            let stream = record["stream"].as_str().unwrap();
            let photo = stream.strip_prefix("../examples/photos/").unwrap();
            photos.push(photo.to_owned());
            let labels = record["labels"].as_array().unwrap();
            let expected = told_of(photo);
            assert_eq!(labels[0]["name"].as_str(), Some(expected[0].1.as_str()), "{backend}: {photo}");
            for (index, name, probability) in expected {
                let found = labels.iter().find(|label| label["index"].as_u64() == Some(index));
                let found = found.unwrap_or_else(|| panic!("{backend}: {photo} shows no {name}: {labels:?}"));
                let distance = (found["score"].as_f64().unwrap() - probability).abs();
                assert!(distance < 1e-3, "{backend}: {photo}: {name} is {found}, expected {probability}");
            }
        }
        photos.sort();
        assert_eq!(photos, ["astronaut.png", "chelsea.png", "coffee.png"], "{backend}");
    }
}

#[test]
fn photos_are_sorted_into_folders() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(root().join("pipelines/photos.yaml")).unwrap();
    let text = text.replace("../", &format!("{}/", root().display())).replace("# - sink: folder", "  - sink: folder");
    let text = text.replace("#   path: sorted", "    path: sorted");
    let file = folder.path().join("sort.yaml");
    fs::write(&file, text).unwrap();
    // Paths as a user gives them are seen from the current folder, not from the pipeline's.
    for input in [vec![], vec!["--input", "examples/photos"]] {
        let (code, _, stderr) =
            run(percept().arg("run").arg(&file).args(["--set", "efficientnet-lite0.backend=engine"]).args(input));
        assert_eq!(code, 0, "{stderr}");
        for (photo, label) in [("astronaut.png", "bobsled"), ("chelsea.png", "tiger cat"), ("coffee.png", "espresso")] {
            let sorted = fs::read(folder.path().join("sorted").join(label).join(photo)).unwrap();
            assert!(sorted == fs::read(root().join("examples/photos").join(photo)).unwrap(), "{photo}");
        }
        assert_eq!(fs::read_dir(folder.path().join("sorted")).unwrap().count(), 3, "nothing else, and nothing twice");
    }
}

#[test]
fn a_folder_of_photos_may_hold_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let holiday = folder.path().join("holiday");
    fs::create_dir(&holiday).unwrap();
    let photos = root().join("examples/photos");
    fs::copy(photos.join("coffee.png"), holiday.join("cup")).unwrap();
    fs::copy(photos.join("coffee.png"), holiday.join("cup.png")).unwrap();
    fs::write(holiday.join("letter.png"), "Dear all").unwrap();
    let whole = fs::read(photos.join("chelsea.png")).unwrap();
    fs::write(holiday.join("cut.png"), &whole[..whole.len() / 2]).unwrap();
    let file = folder.path().join("photos.jsonl");
    let (code, _, stderr) = run(percept()
        .args(["run", "pipelines/photos.yaml", "--set", "efficientnet-lite0.backend=engine", "--input"])
        .arg(&holiday)
        .args(["--set", &format!("jsonl.path={}", file.display())]));
    assert_ne!(code, 0, "two streams failed: {stderr}");
    for says in ["letter.png: expected a picture", "Dear all", "cut.png: truncated PNG"] {
        assert!(stderr.contains(says), "{says}: {stderr}");
    }
    let records = records(&file);
    assert_eq!(records.len(), 1, "{records:?}");
    assert!(records[0]["stream"].as_str().unwrap().ends_with("holiday/cup.png"), "{}", records[0]);
    assert_eq!(records[0]["labels"][0]["name"], "espresso");
}

#[test]
fn the_readme_s_pipeline_is_the_one_that_comes_with_percept() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.trim_end().to_owned()).collect()
    };
    let file = fs::read_to_string(root().join("pipelines/speech.yaml")).unwrap();
    assert_eq!(lines(block), lines(&file));
}

#[test]
fn the_readme_shows_what_the_program_prints() {
    if !models_are_here() {
        return;
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown: Vec<_> = readme.lines().filter(|line| line.starts_with("[00:")).collect();
    let (code, stdout, stderr) =
        run(percept().args(["run", "pipelines/speech.yaml", "--input", "examples/recordings/two_cities.wav"]));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), shown);
}

#[test]
fn every_kind_s_example_is_a_pipeline() {
    for kind in REGISTRY.kinds() {
        let file = PipelineFile::parse(format!("example of {}", kind.name), kind.example);
        assert!(file.is_ok(), "{kind:?}: {}", file.unwrap_err());
    }
}

#[test]
fn the_examples_run() {
    if !models_are_here() {
        return;
    }
    let program = PathBuf::from(env!("CARGO_BIN_EXE_percept"));
    let examples = program.parent().unwrap().join("examples");
    for (name, says) in
        [("custom_stage", "[0.2, -0.4, 0.6]"), ("robot", "does: Fetch(\"clubs\")"), ("online_learning", "off by 0.0")]
    {
        let (code, stdout, stderr) = run(Command::new(examples.join(name)).current_dir(root()));
        assert_eq!(code, 0, "{name}: {stderr}");
        assert!(stdout.contains(says), "{name}: {stdout}");
    }
}
