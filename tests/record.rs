//! `percept record` and `capture: replay` as a user meets them: what was recorded comes back bit for bit, and what is
//! computed from it is the same.
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;

use std::fs;
use std::path::Path;

use common::{percept, root, run};
use percept::codec::record::{RecordItem, RecordReader};
use percept::media::Payload;

/// Sound and its features: what one port writes is one to one with the capture, what another writes is not.
const LISTEN: &str = "\
percept: 1
stages:
  - capture: file
    path: clips
  - preprocess: mono
  - preprocess: log_mel
  - sink: jsonl
    path: direct.jsonl
    max_values: 1000000
";

/// A folder with a pipeline and two clips of sound, cut from the example.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("clips")).unwrap();
    let path = root().join("examples/recordings/two_cities.wav");
    let mut reader = percept::codec::AudioReader::open(&path).unwrap();
    let spec = reader.spec();
    let mut samples = Vec::new();
    while samples.len() < 100_000 && reader.read(&mut samples).unwrap() > 0 {}
    for (name, part) in [("a.wav", &samples[..30_000]), ("b.wav", &samples[30_000..50_001])] {
        let path = folder.path().join("clips").join(name);
        let format = percept::codec::WavSampleFormat::S16;
        let mut writer = percept::codec::WavWriter::create(&path, spec.sample_rate, spec.channels, format).unwrap();
        writer.write(part).unwrap();
        writer.finalize().unwrap();
    }
    fs::write(folder.path().join("listen.yaml"), LISTEN).unwrap();
    folder
}

#[track_caller]
fn ends(folder: &Path, arguments: &[&str], code: i32) -> (String, String) {
    let (found, stdout, stderr) = run(percept().args(arguments).current_dir(folder));
    assert_eq!(found, code, "{arguments:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// What a record says of each stream: its opening, and its packets by port. Without origins, unless they are asked for:
/// a replay is a capture and counts its own.
fn streams(path: &Path, origins: bool) -> Vec<(String, Vec<String>)> {
    let mut reader = RecordReader::open(path).unwrap();
    let mut streams: Vec<(String, Vec<String>)> = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        match item {
            RecordItem::Open { info, formats, .. } => {
                streams.push((format!("{} {} {} {formats:?}", info.name, info.group, info.live), Vec::new()));
            }
            RecordItem::Packet { port, packet } => {
                let port = &reader.ports()[port];
                let bits = match &packet.payload {
                    Payload::Audio(audio) => audio.samples().iter().map(|value| value.to_bits()).collect(),
                    Payload::Tensor(tensor) => {
                        tensor.as_slice::<f32>().unwrap().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
                    }
                    other => panic!("{other:?}"),
                };
                let origin = if origins { format!("{:?}", packet.origin) } else { String::new() };
                let head = format!("{port} {} {:?} {:?}", packet.sequence, packet.start, packet.duration);
                let rest = format!("{:?} {origin} {:?} {bits:?}", packet.flags, packet.payload.format());
                streams[packet.stream.0 as usize].1.push(format!("{head} {rest}"));
            }
            RecordItem::Close { failed, .. } => assert!(!failed),
            _ => {}
        }
    }
    streams.sort();
    streams
}

#[test]
fn a_record_played_and_recorded_again_is_the_same_and_so_is_what_comes_of_it() {
    let folder = place();
    let folder = folder.path();
    let (_, told) =
        ends(folder, &["record", "listen.yaml", "-p", "file", "slow=mono", "log_mel", "-o", "first.mcap"], 0);
    assert!(told.contains("recording"), "{told}");
    fs::write(
        folder.join("again.yaml"),
        "percept: 1\nstages:\n  - capture: replay\n    path: first.mcap\n  - preprocess: log_mel\n    from: replay.slow\n\
         \x20 - sink: jsonl\n    path: again.jsonl\n    max_values: 1000000\n  - sink: record\n    path: second.mcap\n    from: {file: replay.file, \
         slow: replay.slow, log_mel: replay.log_mel}\n",
    )
    .unwrap();
    ends(folder, &["check", "again.yaml"], 0);
    ends(folder, &["run", "again.yaml"], 0);
    let (first, second) = (streams(&folder.join("first.mcap"), false), streams(&folder.join("second.mcap"), false));
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|(_, packets)| packets.len() > 20), "{}", first[0].1.len());
    assert!(first == second, "the records differ");
    // What was computed then from the sound is computed again from its record.
    let lines = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines("direct.jsonl"), lines("again.jsonl"));
    assert!(lines("again.jsonl").len() > 50);

    // And of a record in place of another, to the byte where one stream follows the other.
    let one = ["--input", "first.mcap", "--set", "replay.concurrent=1"];
    for name in ["third.mcap", "fourth.mcap"] {
        let arguments = [&["record", "again.yaml", "--port", "replay.slow", "--output", name], &one[..]].concat();
        ends(folder, &arguments, 0);
    }
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    let third = streams(&folder.join("third.mcap"), true);
    assert_eq!(third.len(), 2);
    assert_eq!(third, streams(&folder.join("fourth.mcap"), true));
    assert!(bytes("third.mcap").len() > 50_000);
}

#[test]
fn a_wrong_command_line_is_refused() {
    let folder = place();
    let folder = folder.path();
    fs::write(folder.join("file"), "").unwrap();
    for (line, says) in [
        ("record listen.yaml --output run.mcap", "--port"),
        ("record listen.yaml --port file", "--output"),
        ("record listen.yaml -p files -o run.mcap", "did you mean `file`?"),
        ("record listen.yaml -p file.sound -o run.mcap", "`file` has no output `sound`"),
        ("record listen.yaml -p jsonl -o run.mcap", "`jsonl` is a sink and writes to no stage"),
        ("record listen.yaml -p file file -o run.mcap", "two ports of the record would be called `file`"),
        ("record listen.yaml -p file -o .", "a folder"),
        ("record listen.yaml -p file -o file/run.mcap", "is a file"),
        ("record listen.yaml -p file -o run.mcap --input gone.wav", "there is no file or folder `gone.wav`"),
        ("record gone.yaml -p file -o run.mcap", "cannot be read"),
    ] {
        let (stdout, stderr) = ends(folder, &line.split(' ').collect::<Vec<_>>(), 2);
        assert!(stderr.contains(says) && stdout.is_empty(), "{line}\n{stderr}");
        assert!(!folder.join("run.mcap").exists(), "{line}");
    }
}

#[test]
fn files_that_are_no_records_are_refused_and_cut_ones_are_told() {
    let folder = place();
    let folder = folder.path();
    ends(folder, &["record", "listen.yaml", "-p", "mono", "-o", "run.mcap"], 0);
    fs::write(
        folder.join("again.yaml"),
        "percept: 1\nstages:\n  - capture: replay\n    path: run.mcap\n  - sink: jsonl\n    path: '-'\n",
    )
    .unwrap();
    let (whole, _) = ends(folder, &["run", "again.yaml"], 0);
    let bytes = fs::read(folder.join("run.mcap")).unwrap();
    fs::write(folder.join("run.mcap"), &bytes[..bytes.len() / 2]).unwrap();
    // A loss is no clean end, whoever it was.
    let (half, told) = ends(folder, &["run", "again.yaml"], 3);
    assert!(told.contains("the record has no ending: it was cut off") && told.contains("cut off after byte"), "{told}");
    let (whole, half) = (whole.lines().count(), half.lines().count());
    assert!(half > whole / 4 && half < whole, "{half} of {whole}");
    for (content, says) in [(&b"RIFF"[..], "expected a record"), (b"", "found an empty file"), (&bytes[..8], "cut off")]
    {
        fs::write(folder.join("run.mcap"), content).unwrap();
        let (_, told) = ends(folder, &["check", "again.yaml"], 2);
        assert!(told.contains(says), "{told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_no_clean_end() {
    let folder = place();
    let (_, told) = ends(folder.path(), &["record", "listen.yaml", "-p", "file", "-o", "/dev/full"], 3);
    assert!(told.contains("/dev/full: cannot be written (free some space"), "{told}");
}

#[test]
fn the_example_runs_as_it_stands() {
    let (code, stdout, stderr) = run(percept().args(["run", "pipelines/replay.yaml"]));
    assert_eq!(code, 0, "{stderr}");
    let first: serde_json::Value = serde_json::from_str(stdout.lines().next().unwrap()).unwrap();
    assert_eq!((first["stream"].as_str(), first["type"].as_str()), (Some("two_cities.wav"), Some("audio")));
}
