use std::io::Write;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::{Source as Text, parse};
use crate::stage::{EventKind, Output, Settings};
use crate::stages::capture::trial::{self, Ran};

/// Runs the capture over a reader.
async fn run(stdin: &Stdin, input: impl Read + Send + Sync + 'static) -> Result<Ran, String> {
    let mut piped = stdin.capture(move || Ok(Box::new(input))).unwrap();
    let context = trial::context();
    let source = piped.next_stream(&context).await.map_err(|error| error.to_string())?.unwrap();
    let ran = trial::read_all(source).await;
    assert!(piped.next_stream(&context).await.unwrap().is_none(), "there is one stream");
    Ok(ran)
}

fn bytes(samples: impl IntoIterator<Item = i16>) -> Vec<u8> {
    samples.into_iter().flat_map(i16::to_le_bytes).collect()
}

/// Gives its bytes in pieces of the given lengths, then, perhaps, an error.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    lengths: Vec<usize>,
    next: usize,
    error: Option<io::ErrorKind>,
}

impl Pieces {
    fn new(bytes: Vec<u8>, lengths: Vec<usize>) -> Self {
        Pieces { bytes, at: 0, lengths, next: 0, error: None }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.bytes[self.at..];
        if let (true, Some(kind)) = (rest.is_empty(), self.error) {
            return Err(kind.into());
        }
        let length = self.lengths[self.next % self.lengths.len()];
        self.next += 1;
        let count = length.min(rest.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[tokio::test]
async fn bare_samples_come_out_whole() {
    let stdin = Stdin::raw(SampleFormat::S16le, 1000, 2);
    let ran = run(&stdin, io::Cursor::new(bytes(0..500))).await.unwrap();
    assert_eq!(ran.info.name, "stdin");
    assert_eq!(ran.info.formats, stdin.outputs(&[]).unwrap());
    assert!(!ran.info.live);
    assert_eq!(ran.lengths(), [100, 100, 50]);
    assert_eq!(ran.samples(), (0..500).map(|sample| sample as f32 / 32_768.0).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn the_sound_does_not_depend_on_how_it_comes(lengths in proptest::collection::vec(1usize..3000, 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let ran = runtime.block_on(run(&Stdin::raw(SampleFormat::S16le, 8000, 1), Pieces::new(bytes(0..20_000), lengths)));
        let ran = ran.unwrap();
        prop_assert_eq!(ran.lengths(), [vec![800; 25], vec![]].concat());
        prop_assert_eq!(ran.samples().len(), 20_000);
    }
}

#[tokio::test]
async fn a_wav_file_in_a_pipe_is_told_by_its_header() {
    let file = std::fs::read("tests/data/audio/speech.wav").unwrap();
    let mut reader = AudioReader::open("tests/data/audio/speech.wav".as_ref()).unwrap();
    let mut samples = Vec::new();
    while reader.read(&mut samples).unwrap() > 0 {}
    for format in [StdinFormat::Auto, StdinFormat::Wav] {
        let ran = run(&Stdin { format, ..Stdin::file() }, io::Cursor::new(file.clone())).await.unwrap();
        assert_eq!(ran.samples(), samples);
        assert_eq!(ran.told(), []);
    }
}

#[tokio::test]
async fn what_ends_too_early_ends_cleanly_and_is_told() {
    let wav = std::fs::read("tests/data/audio/speech.wav").unwrap();
    let half = wav[..wav.len() / 2].to_vec();
    let mut broken = Pieces::new(bytes(0..300), vec![64]);
    broken.error = Some(io::ErrorKind::BrokenPipe);
    let mut failing = Pieces::new(bytes(0..300), vec![64]);
    failing.error = Some(io::ErrorKind::PermissionDenied);
    let odd = [bytes(0..300), vec![1, 2, 3]].concat();
    let raw = Stdin::raw(SampleFormat::S16le, 1000, 2);
    type Case = (&'static str, Stdin, Bytes, Option<&'static str>, Option<&'static str>);
    let cases: Vec<Case> = vec![
        ("half a wav", Stdin::file(), Box::new(io::Cursor::new(half)), Some("truncated after"), None),
        (
            "odd bytes",
            raw.clone(),
            Box::new(io::Cursor::new(odd)),
            Some("3 bytes at the end make no whole frame"),
            None,
        ),
        ("a broken pipe", raw.clone(), Box::new(broken), None, None),
        ("a failing pipe", raw, Box::new(failing), None, Some("-: cannot be read")),
    ];
    for (name, stdin, input, told, error) in cases {
        let ran = run(&stdin, input).await.unwrap();
        assert!(!ran.samples().is_empty(), "{name}");
        match told {
            Some(told) => {
                assert_eq!((ran.events.len(), ran.events[0].kind), (1, EventKind::Damaged), "{name}");
                assert!(ran.events[0].message.contains(told), "{name}: {:?}", ran.events);
                assert_eq!(ran.loss.damaged, 1, "{name}");
            }
            None => assert_eq!((ran.told(), ran.loss.damaged), (vec![], 0), "{name}"),
        }
        match (error, ran.error) {
            (Some(text), Some(error)) => assert!(error.contains(text), "{name}: {error}"),
            (expected, found) => assert_eq!(expected, found.as_deref(), "{name}"),
        }
    }
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_refused() {
    let flac = std::fs::read("tests/data/audio/speech.flac").unwrap();
    for (format, input, text) in [
        (StdinFormat::Wav, flac, "expected wav, found \"fLaC"),
        (StdinFormat::Auto, b"hello, this is text".to_vec(), "found text"),
        (StdinFormat::Auto, Vec::new(), "found nothing (0 bytes)"),
        (StdinFormat::Wav, Vec::new(), "found nothing (0 bytes)"),
        (StdinFormat::Wav, b"RIFF".to_vec(), "expected wav, found \"RIFF\""),
    ] {
        let error = run(&Stdin { format, ..Stdin::file() }, io::Cursor::new(input)).await.unwrap_err();
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn contradictions_are_faults_at_their_key() {
    for (text, place, message) in [
        ("format: raw", "p.yaml:1:9", "`sample_rate_hz` is missing"),
        ("sample_rate_hz: 16000", "p.yaml:1:17", "`sample_rate_hz` is for bare samples only"),
        ("format: wav\nchannels: 2", "p.yaml:2:11", "`channels` is for bare samples only"),
        ("format: raw\nsample_rate_hz: 0", "p.yaml:2:17", "sample_rate_hz"),
        ("format: mp3", "p.yaml:1:9", "format"),
        ("format: raw\nsample_rate_hz: 8000\nsample_format: s17", "p.yaml:3:16", "sample_format"),
    ] {
        let source = Text::new("p.yaml", text);
        let node = parse(&source).unwrap();
        let settings = Settings::default();
        let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
        let faults = (KIND.read)(&context).unwrap_err();
        let found: Vec<_> = faults.iter().map(|fault| (fault.place(), fault.to_string())).collect();
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].0 == place && found[0].1.contains(message), "{text}: {found:?}");
    }
}

#[tokio::test]
async fn a_live_pipe_gives_packets_as_they_come_and_the_rest_when_it_is_stopped() {
    let (reader, mut writer) = io::pipe().unwrap();
    let stdin = Stdin { live: true, ..Stdin::raw(SampleFormat::S16le, 1000, 1) };
    let mut piped = stdin.capture(move || Ok(Box::new(reader))).unwrap();
    let mut source = piped.next_stream(&trial::context()).await.unwrap().unwrap();
    let mut ran = trial::begun(&*source);
    assert!(ran.info.live && ran.info.wall.is_some());
    let mut out = Output::new();
    // 20 ms are a packet; nothing more is written, and yet it comes.
    writer.write_all(&bytes(0..20)).unwrap();
    source.read(&mut out).await.unwrap();
    trial::collect(&mut ran, &mut out);
    assert_eq!(ran.lengths(), [20]);
    let waiting = tokio::time::timeout(Duration::from_millis(20), source.read(&mut out)).await;
    assert!(waiting.is_err() && out.is_empty());
    writer.write_all(&bytes(20..60)).unwrap();
    // The reading thread hands them over in its own time.
    while ran.drafts.len() < 3 {
        source.stop(&mut out);
        trial::collect(&mut ran, &mut out);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ran.loss = source.loss();
    assert_eq!(ran.samples().len(), 60);
}
