use std::time::{Duration, SystemTime};

use super::*;
use crate::codec::record::{RecordWriter, RecordedStream};
use crate::config::{Source as Text, parse};
use crate::media::{Audio, Classes, Label, Labels, Packet, Payload, StreamId, StreamInfo};
use crate::stage::{EventKind, Flow, Output, Settings};
use crate::stages::capture::trial::{self, Ran};
use crate::units::{Rate, TimeSpan, Timestamp, VirtualClock};

const PORTS: [&str; 2] = ["audio", "labels"];

fn ms(milliseconds: i64) -> Timestamp {
    Timestamp::from_nanos(milliseconds * 1_000_000)
}

fn sound_format() -> Format {
    Format::audio(Rate::hz(8000).ok(), Some(1))
}

fn sound(at: i64) -> Packet {
    let audio = Audio::mono(vec![at as f32; 80], Rate::hz(8000).unwrap());
    Packet::new(StreamId(0), ms(at), TimeSpan::from_millis(10), audio)
}

fn label(at: i64) -> Packet {
    let labels = Labels { entries: [Label { index: 1, name: Some("one".into()), score: f32::NAN }].into() };
    let mut packet = Packet::new(StreamId(0), ms(at), TimeSpan::ZERO, labels);
    (packet.revision, packet.weights, packet.flags.partial) = (3, 7, true);
    packet.classes = Some(Classes::new(["zero".into(), "one".into()]));
    packet
}

fn stream(name: &str, zero: i64) -> RecordedStream {
    RecordedStream::of(&StreamInfo {
        id: StreamId(0),
        name: name.into(),
        group: "room".into(),
        live: true,
        zero: ClockInstant::from_nanos(zero * 1_000_000),
        wall: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
        file: None,
    })
}

fn writer(path: &Path) -> RecordWriter<std::fs::File> {
    RecordWriter::new(std::fs::File::create(path).unwrap(), &PORTS.map(str::to_owned)).unwrap()
}

/// A record of streams, one after the other or together: each has two packets of sound, and a label between them.
fn write(path: &Path, names: &[&str], together: bool, finish: bool) {
    let mut writer = writer(path);
    let mut open = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let stream = writer.open(stream(name, 100 * number as i64), &[sound_format(), Format::Labels]).unwrap();
        for (port, packet) in [(0, sound(0)), (1, label(5)), (0, sound(10))] {
            writer.write(stream, port, &packet).unwrap();
        }
        open.push(stream);
        if !together {
            writer.close(open.remove(0), *name == "failed").unwrap();
        }
    }
    for stream in open {
        writer.close(stream, false).unwrap();
    }
    writer.flush().unwrap();
    if finish {
        writer.finish().unwrap();
    }
}

fn check_stream(ran: &Ran, name: &str) {
    assert_eq!((ran.info.name.as_str(), ran.info.group.as_deref(), ran.info.live), (name, Some("room"), false));
    assert_eq!(ran.info.wall, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
    assert_eq!(ran.info.formats, [sound_format(), Format::Labels]);
    assert_eq!(ran.info.seconds, Some(0.02));
    let starts: Vec<_> = ran.drafts.iter().map(|draft| draft.start).collect();
    assert_eq!(starts, [ms(0), ms(5), ms(10)]);
    for (draft, packet) in ran.drafts.iter().zip([sound(0), label(5), sound(10)]) {
        assert_eq!(
            (draft.duration, draft.flags, draft.revision, draft.weights),
            (packet.duration, packet.flags, packet.revision, packet.weights)
        );
        assert_eq!(draft.classes, packet.classes);
        match (&draft.payload, &packet.payload) {
            (Payload::Audio(found), Payload::Audio(expected)) => assert_eq!(found, expected),
            (Payload::Labels(found), Payload::Labels(_)) => assert!(found.entries[0].score.is_nan()),
            (found, _) => panic!("{found:?}"),
        }
    }
}

#[tokio::test]
async fn streams_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.mcap"), &["x", "y"], true, true);
    write(&folder.path().join("b.mcap"), &["z", "failed"], false, true);
    std::fs::write(folder.path().join("c.mcap"), "no record").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "x").unwrap();
    let replay = Replay::new(".").base(folder.path());
    let contract = replay.contract();
    assert_eq!(
        contract.outputs.iter().map(|port| (port.name.as_str(), port.optional)).collect::<Vec<_>>(),
        [("audio", true), ("labels", true)]
    );
    assert_eq!(replay.outputs(&[]).unwrap(), [sound_format(), Format::Labels]);
    for (path, many) in [(".", true), ("a.mcap", true), ("*.mcap", true), ("one.mc", false)] {
        write(&folder.path().join("one.mc"), &["x"], false, true);
        assert_eq!(Replay::new(path).base(folder.path()).contract().many_streams, many, "{path}");
        std::fs::remove_file(folder.path().join("one.mc")).unwrap();
    }
    let faults = replay.probe();
    assert_eq!((faults.len(), faults[0].code), (1, "unreadable-record"), "{faults:?}");
    let (streams, errors) = trial::run(&replay).await;
    assert_eq!(streams.len(), 4);
    for (ran, name) in streams.iter().zip(["x", "y", "z", "failed"]) {
        check_stream(ran, name);
        let error = (name == "failed").then_some("failed: it failed here when it was recorded, so it ends here");
        assert_eq!(ran.error.as_deref(), error);
        assert_eq!(ran.loss.damaged, 0);
    }
    let notice = "1 file was left out, as its name does not look like a record: 1 .txt";
    assert_eq!(streams[0].told(), [(EventKind::Notice, notice)]);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("c.mcap: expected a record") && errors[0].contains("found `no recor`"), "{errors:?}");
}

#[tokio::test]
async fn a_cut_record_gives_what_is_whole_and_a_damaged_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let cut = |finish: bool| {
        let mut writer = writer(&path);
        let stream = writer.open(stream("x", 0), &[sound_format(), Format::Labels]).unwrap();
        for at in 0..200 {
            writer.write(stream, 0, &sound(at * 10)).unwrap();
        }
        if finish {
            writer.finish().unwrap();
        }
    };
    cut(false);
    let replay = Replay::new("run.mcap").base(folder.path());
    let faults = replay.probe();
    assert_eq!((faults.len(), faults[0].code), (1, "cut-record"));
    assert!(!Faults::from(faults[0].clone()).has_errors());
    let (streams, errors) = trial::run(&replay).await;
    let [ran] = &streams[..] else { panic!("{streams:?}") };
    // A chunk holds a second: the packets behind it were never written.
    assert_eq!((ran.drafts.len(), ran.loss.damaged, ran.error.as_deref()), (101, 1, None));
    assert!(matches!(&ran.told()[..], [(EventKind::Damaged, text)] if text.contains("cut off after byte")));
    assert_eq!(errors.len(), 0);

    cut(true);
    let (streams, _) = trial::run(&Replay::new("run.mcap").base(folder.path())).await;
    assert_eq!((streams[0].drafts.len(), streams[0].error.as_deref()), (200, None));
    assert_eq!(streams[0].told(), [(EventKind::Notice, "the recorded run was stopped before this stream's end")]);

    let mut bytes = std::fs::read(&path).unwrap();
    // In the second chunk.
    bytes[50_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (streams, errors) = trial::run(&Replay::new("run.mcap").base(folder.path())).await;
    assert_eq!((streams[0].drafts.len(), errors.len()), (101, 0));
    assert!(streams[0].error.as_deref().is_some_and(|error| error.contains("expected the checksum")), "{streams:?}");
}

#[tokio::test]
async fn formats_change_where_they_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.mcap");
    let mut writer = writer(&path);
    let number = writer.open(stream("x", 0), &[sound_format(), Format::Labels]).unwrap();
    writer.write(number, 0, &sound(0)).unwrap();
    writer.close(number, false).unwrap();
    writer.reopen(number, &[Format::Text, Format::Labels]).unwrap();
    writer.write(number, 1, &label(0)).unwrap();
    writer.close(number, false).unwrap();
    writer.finish().unwrap();
    let replay = Replay::new("run.mcap").base(folder.path());
    assert_eq!(replay.outputs(&[]).unwrap(), [Format::Any, Format::Labels]);
    let context = trial::context();
    let mut capture = trial::capture(&replay).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    let mut out = Output::new();
    assert_eq!(source.info().formats[0], sound_format());
    assert_eq!(source.read(&mut out).await.unwrap(), Flow::More);
    assert_eq!(source.read(&mut out).await.unwrap(), Flow::Reopen);
    assert_eq!(source.info().formats, [Format::Text, Format::Labels]);
    assert_eq!(source.read(&mut out).await.unwrap(), Flow::More);
    assert_eq!(source.read(&mut out).await.unwrap(), Flow::End);
    assert_eq!(out.emitted().iter().map(|emitted| emitted.port).collect::<Vec<_>>(), [0, 1]);
}

/// Whether a future is not ready however often it is asked in a while.
async fn waits<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(Duration::from_millis(50), future).await.is_err()
}

#[tokio::test]
async fn streams_are_open_together_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for (together, concurrent, others_wait) in
        [(true, None, false), (false, None, true), (true, Some(1), true), (false, Some(2), false)]
    {
        write(&folder.path().join("run.mcap"), &["x", "y"], together, true);
        let mut replay = Replay::new("run.mcap").base(folder.path());
        replay.concurrent = concurrent;
        let context = trial::context();
        let mut capture = trial::capture(&replay).unwrap();
        let first = capture.next_stream(&context).await.unwrap().unwrap();
        if others_wait {
            assert!(waits(capture.next_stream(&context)).await);
            drop(first);
        }
        let second = capture.next_stream(&context).await.unwrap().unwrap();
        assert_eq!(second.info().name, "y");
        drop(second);
        assert!(waits(capture.next_stream(&context)).await != (others_wait || concurrent.is_some()));
    }
}

#[tokio::test]
async fn in_real_time_packets_come_when_they_did() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("run.mcap"), &["x", "y"], true, true);
    let replay = Replay::new("run.mcap").base(folder.path()).realtime(true);
    let clock = Arc::new(VirtualClock::new());
    let context = CaptureContext { clock: clock.clone() };
    let mut capture = trial::capture(&replay).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    assert!(source.info().live);
    let mut out = Output::new();
    // Sound of 10 ms is there when it has been heard; the label at 5 ms follows it, as it did.
    for (advance, starts) in [(10, vec![0]), (0, vec![0, 5]), (10, vec![0, 5, 10])] {
        if advance > 0 {
            assert!(waits(source.read(&mut out)).await, "{starts:?}");
            clock.advance(TimeSpan::from_millis(advance));
        }
        assert_eq!(source.read(&mut out).await.unwrap(), Flow::More);
        let found: Vec<_> = out.emitted().iter().map(|emitted| emitted.draft.start).collect();
        assert_eq!(found, starts.into_iter().map(ms).collect::<Vec<_>>());
    }
    // The second stream began 100 ms after the first.
    assert!(waits(capture.next_stream(&context)).await);
    clock.advance(TimeSpan::from_millis(80));
    assert_eq!(capture.next_stream(&context).await.unwrap().unwrap().info().name, "y");
}

#[test]
fn paths_without_records_are_faults() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("talk.wav"), "RIFF").unwrap();
    write(&folder.path().join("run.mcap"), &["x"], false, true);
    for (path, more, says) in [
        ("gone.mcap", "", "there is no file or folder `gone.mcap`"),
        ("talk.wav", "", "expected a record (an MCAP file"),
        ("*.wav", "", "none of these files is a record"),
        ("*.mcp", "", "no file matches `*.mcp`"),
        ("-", "", "records are read from files"),
        ("run.mcap", "concurrent: 0\n", "concurrent"),
        ("run.mcap", "speed: 2\n", "speed"),
    ] {
        let source = Text::new("a.yaml", format!("path: {path:?}\n{more}"));
        let node = parse(&source).unwrap();
        let settings = Settings { base_dir: folder.path().to_owned(), ..Settings::default() };
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        let faults = (KIND.read)(&context).map(|_| ()).unwrap_err();
        assert!(faults.has_errors() && faults.to_string().contains(says), "{path}: {faults}");
    }
}
