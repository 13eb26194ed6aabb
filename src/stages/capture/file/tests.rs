use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::codec::{WavSampleFormat, WavWriter};
use crate::config::Source as Text;
use crate::stage::{EventKind, Output, Settings};
use crate::stages::capture::trial::{self, Ran};
use crate::units::{Clock, ClockInstant, Rate, TimeSpan, VirtualClock};

const DATA: &str = "tests/data/audio";

fn write(folder: &Path, name: &str, rate: u32, channels: u16, samples: &[f32]) {
    let path = folder.join(name);
    let mut writer = WavWriter::create(&path, Rate::hz(rate).unwrap(), channels, WavSampleFormat::F32).unwrap();
    writer.write(samples).unwrap();
    writer.finalize().unwrap();
}

fn ramp(samples: usize) -> Vec<f32> {
    (0..samples).map(|sample| sample as f32 / 1e6).collect()
}

fn only(mut streams: Vec<Ran>) -> Ran {
    assert_eq!(streams.len(), 1);
    streams.remove(0)
}

#[tokio::test]
async fn a_folder_is_a_stream_a_file() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "b.wav", 8000, 1, &ramp(1000));
    write(folder.path(), "a.wav", 16_000, 2, &ramp(2000));
    std::fs::write(folder.path().join("notes.txt"), "no sound").unwrap();
    let file = File::new(".").base(folder.path());
    assert!(file.contract().many_streams);
    assert_eq!(file.outputs(&[]).unwrap(), [Format::ANY_AUDIO], "they differ");
    let (streams, errors) = trial::run(&file).await;
    assert_eq!(errors, [""; 0]);
    let names: Vec<_> = streams.iter().map(|stream| stream.info.name.as_str()).collect();
    assert_eq!(names, ["./a.wav", "./b.wav"]);
    assert_eq!(streams[0].samples(), ramp(2000));
    assert_eq!(streams[1].samples(), ramp(1000));
    assert_eq!(streams[1].lengths(), [800, 200]);
    assert_eq!(streams[1].info.seconds, Some(0.125));
    assert_eq!(streams[1].info.formats, [Format::audio(Rate::hz(8000).ok(), Some(1))]);
    let notice = "1 file was left out, as its name does not look like sound: 1 .txt";
    assert_eq!(streams[0].told(), [(EventKind::Notice, notice)]);
    assert_eq!(streams[1].told(), []);
}

#[tokio::test]
async fn the_sound_is_the_same_for_any_packet_length() {
    let whole = {
        let mut samples = Vec::new();
        let mut reader = AudioReader::open(Path::new(DATA).join("stereo.flac").as_ref()).unwrap();
        while reader.read(&mut samples).unwrap() > 0 {}
        samples
    };
    for packet_ms in [1, 7, 100, 1000, 60_000] {
        let mut file = File::new("stereo.flac").base(DATA);
        file.packet_ms = packet_ms;
        let ran = only(trial::run(&file).await.0);
        assert_eq!(ran.samples(), whole, "{packet_ms}");
        let packet = Rate::hz(44_100).map_or(0, |_| ran.lengths()[0]);
        assert!(ran.lengths().iter().rev().skip(1).all(|length| *length == packet), "all but the last are equal");
    }
}

#[test]
fn check_knows_what_the_headers_agree_on() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.wav", 16_000, 1, &[]);
    write(folder.path(), "b.wav", 16_000, 2, &[]);
    write(folder.path(), "c.wav", 8000, 2, &[]);
    let rate = |hz| Rate::hz(hz).ok();
    for (paths, format, many) in [
        (vec!["a.wav"], Format::audio(rate(16_000), Some(1)), false),
        (vec!["a.wav", "b.wav"], Format::audio(rate(16_000), None), true),
        (vec!["b.wav", "c.wav"], Format::audio(None, Some(2)), true),
        (vec!["a.wav", "c.wav"], Format::ANY_AUDIO, true),
    ] {
        let paths: Vec<String> = paths.into_iter().map(String::from).collect();
        let file = File::new(paths.clone()).base(folder.path());
        assert_eq!(file.outputs(&[]).unwrap(), [format], "{paths:?}");
        assert_eq!(file.contract().many_streams, many, "{paths:?}");
        assert_eq!(file.probe(), [], "{paths:?}");
    }
}

#[tokio::test]
async fn bad_files_are_faults_and_failed_streams() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.wav", 16_000, 1, &ramp(160));
    std::fs::write(folder.path().join("empty.wav"), b"").unwrap();
    std::fs::write(folder.path().join("text.wav"), b"this is no sound").unwrap();
    for (name, message) in
        [("empty.wav", "expected sound, found nothing (0 bytes)"), ("text.wav", "found text (\"this is no sound\")")]
    {
        let named = File::new(name).base(folder.path()).probe();
        assert_eq!(named.len(), 1, "{name}");
        assert_eq!(named[0].severity, crate::config::Severity::Error);
        let text = named[0].to_string();
        assert!(text.contains(message) && text.contains(name), "{text}");
    }
    let found = File::new("*.wav").base(folder.path());
    assert!(found.probe().iter().all(|fault| fault.severity == crate::config::Severity::Warning));
    assert_eq!(found.probe().len(), 2);
    let (streams, errors) = trial::run(&found).await;
    assert_eq!(streams.iter().map(|stream| stream.info.name.as_str()).collect::<Vec<_>>(), ["good.wav"]);
    assert_eq!(errors.len(), 2);
    assert!(errors[0].contains("empty.wav") && errors[1].contains("text.wav"), "{errors:?}");
}

#[test]
fn a_missing_file_is_a_fault_at_its_place_in_the_list() {
    let text = "path: [tests/data/audio/speech.wav, tests/data/audio/speach.wav]\n";
    let source = Text::new("pipeline.yaml", text);
    let node = crate::config::parse(&source).unwrap();
    let settings = Settings::default();
    let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
    let blueprint = (KIND.read)(&context).unwrap();
    let faults = blueprint.probe();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].place(), "pipeline.yaml:1:37");
    assert!(faults[0].to_string().contains("did you mean `speech.wav`?"), "{}", faults[0]);
}

#[test]
fn keys_out_of_range_are_refused() {
    for (text, code) in [
        ("path: a.wav\npacket_ms: 0", "out-of-range"),
        ("path: a.wav\nconcurrent: 0", "out-of-range"),
        ("path: []", ""),
        ("packet_ms: 10", "missing-key"),
        ("path: a.wav\nreal_time: true", "unknown-key"),
    ] {
        let source = Text::new("pipeline.yaml", text);
        let node = crate::config::parse(&source).unwrap();
        let settings = Settings::default();
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        let faults = (KIND.read)(&context).err().unwrap_or_else(|| panic!("{text} was accepted"));
        assert!(code.is_empty() || faults.iter().any(|fault| fault.code == code), "{text}: {faults}");
    }
}

#[tokio::test]
async fn a_file_without_frames_is_a_stream_without_packets() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "silent.wav", 16_000, 1, &[]);
    let ran = only(trial::run(&File::new("silent.wav").base(folder.path())).await.0);
    assert!(ran.drafts.is_empty() && ran.error.is_none() && ran.events.is_empty());
}

#[tokio::test]
async fn a_truncated_file_gives_what_it_has_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["speech.mp3", "speech.wav", "speech.flac"] {
        let bytes = std::fs::read(Path::new(DATA).join(name)).unwrap();
        std::fs::write(folder.path().join(name), &bytes[..bytes.len() * 2 / 3]).unwrap();
        let ran = only(trial::run(&File::new(name).base(folder.path())).await.0);
        assert!(!ran.samples().is_empty(), "{name}");
        assert!(ran.error.is_none(), "{name}: {:?}", ran.error);
        assert!(ran.loss.damaged > 0, "{name}");
        let told = ran.told();
        assert!(told.iter().any(|(kind, _)| *kind == EventKind::Damaged), "{name}: {told:?}");
        assert!(told.iter().any(|(_, text)| text.contains("truncated")), "{name}: {told:?}");
    }
}

#[tokio::test]
async fn samples_that_are_no_numbers_are_silence_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut samples = ramp(32_000);
    for index in [8000, 8001, 31_000] {
        samples[index] = f32::NAN;
    }
    write(folder.path(), "nan.wav", 16_000, 1, &samples);
    let ran = only(trial::run(&File::new("nan.wav").base(folder.path())).await.0);
    let heard = ran.samples();
    assert_eq!([heard[8000], heard[8001], heard[31_000]], [0.0; 3]);
    assert_eq!(heard[7999], samples[7999]);
    let told = ran.told();
    assert_eq!(told.iter().filter(|(kind, _)| *kind == EventKind::Damaged).count(), 1, "{told:?}");
    assert!(
        told[0].1.starts_with("2 samples that are not numbers in the sound at 00:00.500 were made silence"),
        "{told:?}"
    );
    assert_eq!(told[1], (EventKind::Notice, "3 samples were not numbers in all"));
}

#[tokio::test]
async fn eight_channels_at_192_kilohertz_are_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "wide.wav", 192_000, 8, &ramp(8 * 19_300));
    let ran = only(trial::run(&File::new("wide.wav").base(folder.path())).await.0);
    assert_eq!(ran.samples(), ramp(8 * 19_300));
    assert_eq!(ran.lengths(), [19_200, 100]);
}

#[tokio::test]
async fn realtime_goes_with_the_clock_alone() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.wav", 1000, 1, &ramp(250));
    let clock = Arc::new(VirtualClock::new());
    let context = CaptureContext { clock: clock.clone() };
    let mut capture = trial::capture(&File::new("a.wav").base(folder.path()).realtime(true)).unwrap();
    let mut source = capture.next_stream(&context).await.unwrap().unwrap();
    assert!(source.info().live);
    let mut out = Output::new();
    // The first look fixes time zero.
    assert!(tokio::time::timeout(Duration::from_millis(20), source.read(&mut out)).await.is_err());
    for (end_ms, frames) in [(100, 100), (200, 100), (250, 50)] {
        // One step before the packet's end it is still held back, however long one waits.
        clock.advance(ClockInstant::from_nanos((end_ms - 1) * 1_000_000).since(clock.now()));
        let early = tokio::time::timeout(Duration::from_millis(20), source.read(&mut out)).await;
        assert!(early.is_err() && out.is_empty(), "{end_ms}");
        clock.advance(TimeSpan::from_millis(1));
        assert_eq!(source.read(&mut out).await.unwrap(), crate::stage::Flow::More);
        let sent: Vec<_> = out.drain_emitted().collect();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].draft.payload.audio_frames(), frames);
    }
    assert_eq!(source.read(&mut out).await.unwrap(), crate::stage::Flow::End);
}

#[tokio::test]
async fn a_stopped_stream_balances() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.wav", 1000, 1, &ramp(350));
    let mut capture = trial::capture(&File::new("a.wav").base(folder.path()).realtime(true)).unwrap();
    let mut source = capture.next_stream(&trial::context()).await.unwrap().unwrap();
    let mut ran = trial::begun(&*source);
    let mut out = Output::new();
    assert!(tokio::time::timeout(Duration::from_millis(20), source.read(&mut out)).await.is_err());
    source.stop(&mut out);
    trial::collect(&mut ran, &mut out);
    ran.loss = source.loss();
    let samples = ran.samples();
    assert_eq!(samples, ramp(350)[..samples.len()]);
    assert!(!samples.is_empty());
}
