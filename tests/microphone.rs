//! The microphone for real, without hardware: an ALSA device whose sound comes out of a FIFO at the pace of a clock.

#![cfg(all(target_os = "linux", feature = "microphone"))]
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

#[path = "common/virtual_microphone.rs"]
mod virtual_microphone;

use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use percept::stage::{Blueprint, Capture, CaptureContext, Draft, Event, EventKind, Flow, Output, Runnable, Source};
use percept::stages::capture::microphone::{Microphone, list};
use percept::units::SystemClock;
use virtual_microphone::{FIFO_DEVICE, FILE_DEVICE, RATE, bytes, fifo};

/// Frames that the device delivers at a time.
const STEP: usize = 320;

/// True in the child, where the devices are: the FIFO's, and a file's whose ten seconds number their frames.
fn in_child(test: &str) -> bool {
    let sound: Vec<f32> = (0..RATE * 10).map(sample).collect();
    virtual_microphone::in_child(test, &sound).is_none()
}

/// The sample of a frame: its number, exactly.
fn sample(frame: usize) -> f32 {
    frame as f32 / (1 << 20) as f32
}

fn number(sample: f32) -> usize {
    (sample * (1 << 20) as f32) as usize
}

/// Feeds the FIFO in steps of 20 ms by the clock, as many as asked for, numbering the frames on and on.
fn feeder() -> mpsc::Sender<usize> {
    let mut fifo = fifo();
    let (sender, steps) = mpsc::channel::<usize>();
    std::thread::spawn(move || {
        let mut frame = 0;
        for count in steps {
            let begun = Instant::now();
            for step in 0..count {
                let sound: Vec<f32> = (frame..frame + STEP).map(sample).collect();
                frame += STEP;
                fifo.write_all(&bytes(&sound)).unwrap();
                let due = begun + Duration::from_millis(20) * (step as u32 + 1);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
    });
    sender
}

struct Recording {
    source: Box<dyn Source>,
    began: Instant,
    drafts: Vec<Draft>,
    events: Vec<Event>,
}

impl Recording {
    async fn start(microphone: &Microphone) -> Recording {
        let Runnable::Capture(mut capture) = microphone.build().unwrap() else { panic!("a capture") };
        let context = CaptureContext { clock: Arc::new(SystemClock::new()) };
        let source = Capture::next_stream(&mut *capture, &context).await.unwrap().unwrap();
        Recording { source, began: Instant::now(), drafts: Vec::new(), events: Vec::new() }
    }

    fn take(&mut self, out: &mut Output) {
        self.drafts.extend(out.drain_emitted().map(|emitted| emitted.draft));
        self.events.extend(out.drain_events());
    }

    /// Reads until `done`, or fails after 20 s.
    async fn until(&mut self, done: impl Fn(&Recording) -> bool) {
        let mut out = Output::new();
        let late = Instant::now() + Duration::from_secs(20);
        while !done(self) {
            assert!(Instant::now() < late, "{} frames, {:?}", self.frames(), self.events);
            if let Ok(flow) = tokio::time::timeout(Duration::from_millis(200), self.source.read(&mut out)).await {
                assert_eq!(flow.unwrap(), Flow::More);
            }
            self.take(&mut out);
        }
    }

    fn frames(&self) -> usize {
        self.drafts.iter().map(|draft| draft.payload.audio_frames() as usize).sum()
    }

    fn has(&self, kind: EventKind) -> bool {
        self.events.iter().any(|event| event.kind == kind)
    }

    fn numbers(&self) -> Vec<usize> {
        let samples = self.drafts.iter().flat_map(|draft| draft.payload.audio().unwrap().samples().to_vec());
        samples.map(number).collect()
    }
}

fn microphone(device: &str) -> Microphone {
    let mut microphone = Microphone::default();
    microphone.device = Some(device.into());
    microphone.sample_rate_hz = Some(RATE as u32);
    microphone.silent_after_ms = 500;
    microphone.reopen_ms = 100;
    microphone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_device_is_recorded_exactly_taken_away_and_given_back() {
    if !in_child("a_paced_device_is_recorded_exactly_taken_away_and_given_back") {
        return;
    }
    let known = list();
    assert!(known.iter().any(|device| device.id == FIFO_DEVICE && device.name == "fifo microphone"), "{known:?}");
    let feed = feeder();
    let mut recording = Recording::start(&microphone("fifo microphone")).await;
    assert!(recording.source.info().live);

    feed.send(100).unwrap();
    recording.until(|recording| recording.frames() == RATE * 2).await;
    assert_eq!(recording.numbers(), (0..RATE * 2).collect::<Vec<_>>());
    let mut end = recording.drafts[0].start;
    for draft in &recording.drafts {
        assert_eq!((draft.start, draft.flags.gap), (end, false));
        end = end + draft.duration;
    }
    assert_eq!(recording.source.loss().delivered, RATE as u64 * 2);
    assert!(recording.events.is_empty(), "{:?}", recording.events);

    // Nothing comes any more: told, and opened again as soon as the driver lets go.
    recording.until(|recording| recording.has(EventKind::DeviceSilent)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    recording.drafts.clear();
    feed.send(50).unwrap();
    recording.until(|recording| recording.has(EventKind::DeviceBack) && recording.frames() >= RATE / 2).await;
    let first = &recording.drafts[0];
    assert!(first.flags.gap && first.start > end);
    assert!(recording.drafts.iter().skip(1).all(|draft| !draft.flags.gap));
    let late = recording.began.elapsed().as_secs_f64() - (recording.drafts.last().unwrap().start.as_seconds() + 0.02);
    assert!((-0.1..1.0).contains(&late), "the gap was measured by the clock, {late} s");
    let numbers = recording.numbers();
    assert!((RATE * 2..RATE * 2 + RATE / 4).contains(&numbers[0]), "{}", numbers[0]);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "nothing is lost after the gap");
    assert_eq!(recording.source.loss().overrun, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_too_fast_is_bounded_and_its_loss_counted() {
    if !in_child("a_device_that_is_too_fast_is_bounded_and_its_loss_counted") {
        return;
    }
    let mut microphone = microphone(FILE_DEVICE);
    microphone.buffer_ms = 100;
    let mut recording = Recording::start(&microphone).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    recording.until(|recording| recording.has(EventKind::Overrun)).await;
    let mut out = Output::new();
    recording.source.stop(&mut out);
    recording.take(&mut out);
    let loss = recording.source.loss();
    assert!(loss.overrun > 0);
    assert_eq!(loss.delivered, recording.frames() as u64 + loss.overrun);
    assert_eq!(recording.numbers()[..RATE / 10], (0..RATE / 10).collect::<Vec<_>>());
    assert!(recording.drafts.windows(2).all(|pair| pair[0].start + pair[0].duration <= pair[1].start));
}

#[cfg(feature = "cli")]
#[test]
fn a_device_that_cannot_be_opened_is_told_in_one_line_of_our_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // The default device is a card that no machine has; ALSA's library would tell of it in a dozen lines.
    let alsa = "pcm.!default { type hw  card \"nowhere\"  hint { show on  description \"nobody\" } }\n";
    std::fs::write(path("asound.conf"), alsa).unwrap();
    let yaml = "percept: 1\nstages:\n  - capture: microphone\n  - sink: jsonl\n    path: '-'\n";
    std::fs::write(path("pipeline.yaml"), yaml).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_percept"));
    command.arg("run").arg(path("pipeline.yaml"));
    let conf = format!("/usr/share/alsa/alsa.conf:{}", path("asound.conf").display());
    let output = command.env("ALSA_CONFIG_PATH", conf).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("the microphone") && !stderr.contains("ALSA lib"), "{stderr}");
}
