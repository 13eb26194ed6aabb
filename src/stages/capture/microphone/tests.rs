use super::*;
use crate::config::{self, Source as Text, parse};
use crate::stage::{ReadContext, Settings};

fn read(text: &str) -> Result<Box<dyn Blueprint>, config::Faults> {
    let source = Text::new("p.yaml", text);
    let node = parse(&source).unwrap();
    let settings = Settings::default();
    (KIND.read)(&ReadContext { node: &node, model: None, source: &source, settings: &settings })
}

#[test]
fn check_knows_what_is_set() {
    for (text, format) in [
        ("{}", Format::audio(None, Some(1))),
        ("sample_rate_hz: 16000", Format::audio(Rate::hz(16_000).ok(), Some(1))),
        ("channels: 4", Format::audio(None, Some(4))),
    ] {
        assert_eq!(read(text).unwrap().outputs(&[]).unwrap(), [format], "{text}");
    }
}

#[test]
fn keys_out_of_range_are_refused() {
    for text in [
        "packet_ms: 0",
        "channels: 0",
        "sample_rate_hz: 0",
        "reopen_ms: 0",
        "buffer_ms: 0",
        "silent_after_ms: 0",
        "mic: x",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn defaults_are_the_same_from_a_file_and_from_rust() {
    let source = Text::new("p.yaml", "{}");
    let from_file: Microphone = config::read(&parse(&source).unwrap(), &source).unwrap();
    assert_eq!(format!("{from_file:?}"), format!("{:?}", Microphone::default()));
}

#[test]
fn an_absent_device_is_a_warning_that_says_what_there_is() {
    let faults = read("device: no such microphone").unwrap().probe();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].severity, config::Severity::Warning);
    assert!(faults[0].message.starts_with("no microphone `no such microphone`; "), "{}", faults[0]);
}

#[tokio::test]
async fn an_absent_device_ends_the_capture_at_once() {
    let microphone = Microphone { device: Some("no such microphone".into()), ..Microphone::default() };
    let mut capture = crate::stages::capture::trial::capture(&microphone).unwrap();
    let context = crate::stages::capture::trial::context();
    let error = capture.next_stream(&context).await.err().unwrap();
    assert!(matches!(error, StageError::Fatal(_)));
    assert!(error.to_string().starts_with("no microphone `no such microphone`; "), "{error}");
    assert!(capture.next_stream(&context).await.unwrap().is_none());
}
