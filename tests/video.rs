//! A video through the program: what it shows on each frame, and a copy with that drawn on it.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{percept, records, root, run};

/// Whether ffmpeg is here; where it is not, what needs it is not shown.
fn ffmpeg_is_here() -> bool {
    let here = Command::new("ffmpeg").arg("-version").output().is_ok();
    if !here {
        eprintln!("skipped: ffmpeg is not installed");
    }
    here
}

/// The times of the frames as ffprobe has them, in seconds.
fn probed(path: &Path) -> Vec<f64> {
    let arguments = "-v error -select_streams v:0 -show_entries frame=best_effort_timestamp_time -of csv=p=0";
    let output = Command::new("ffprobe").args(arguments.split(' ')).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_matches([',', ' '])).filter(|line| !line.is_empty());
    lines.map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_video_is_told_and_drawn_frame_by_frame() {
    if !ffmpeg_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (table, copy) = (folder.path().join("video.jsonl"), folder.path().join("copy.mp4"));
    let (code, _, stderr) = run(percept()
        .args(["run", "pipelines/video.yaml", "--input", "examples/clips/photos.mp4"])
        .args(["--set", "efficientnet-lite0.backend=engine", "--set", "video.fps=2"])
        .args(["--set", &format!("jsonl.path={}", table.display())])
        .args(["--set", &format!("annotate.path={}", copy.display())]));
    assert_eq!(code, 0, "{stderr}");
    let records = records(&table);
    // Two frames a second of a clip of 15, each where the clip has it.
    let expected: Vec<f64> = probed(&root().join("examples/clips/photos.mp4"));
    assert_eq!(expected.len(), 90);
    let mut slots: Vec<(i64, f64)> = expected.iter().map(|time| (((time + 1e-6) * 2.0) as i64, *time)).collect();
    slots.dedup_by_key(|(slot, _)| *slot);
    assert_eq!(records.len(), slots.len());
    let drawn = probed(&copy);
    assert_eq!(drawn.len(), slots.len());
    for ((record, drawn), (_, time)) in records.iter().zip(drawn).zip(&slots) {
        assert!((record["start_s"].as_f64().unwrap() - time).abs() < 2e-6, "{record}, expected {time}");
        assert!((drawn - time).abs() < 2e-5, "{drawn}, expected {time}");
        assert_eq!(record["stream"], "examples/clips/photos.mp4");
    }
    let best = |n: usize| records[n]["labels"][0]["name"].as_str().unwrap();
    assert!(best(1).contains("cat") && best(5) == "espresso", "{} {}", best(1), best(5));
}

#[test]
fn without_ffmpeg_the_message_says_what_to_install() {
    let (code, _, stderr) =
        run(percept().args(["check", "pipelines/video.yaml", "--set", "video.ffmpeg=/nowhere/ffmpeg"]));
    assert_ne!(code, 0);
    assert!(stderr.contains("this needs the program") && stderr.contains("apt install ffmpeg"), "{stderr}");
}
