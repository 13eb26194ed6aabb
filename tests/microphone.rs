//! The microphone for real, without hardware: an ALSA device whose sound comes out of a FIFO at the pace of a clock.
//!
//! ALSA reads its configuration from the environment before anything else, so each test runs itself again as a child
//! process with that environment.

#![cfg(all(target_os = "linux", feature = "microphone"))]
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use percept::stage::{Blueprint, Capture, CaptureContext, Draft, Event, EventKind, Flow, Output, Runnable, Source};
use percept::stages::capture::microphone::{Microphone, list};
use percept::units::SystemClock;

/// Set in a child: the folder of its devices.
const FOLDER: &str = "PERCEPT_TEST_MICROPHONE";
const ALSA: &str = "/usr/share/alsa/alsa.conf";
const RATE: usize = 16_000;
/// Frames that the device delivers at a time.
const STEP: usize = 320;

/// Runs the named test of this file again, with an ALSA device `micfifo` that reads `mic.fifo`, and one `micfile` that
/// reads `mic.raw` as fast as it can. True in the child.
fn in_child(test: &str) -> bool {
    if std::env::var_os(FOLDER).is_some() {
        return true;
    }
    assert!(Path::new(ALSA).exists(), "{ALSA} is missing: install libasound2-data");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let device = |name: &str, input: &str, hint: &str| {
        format!(
            "pcm.{name} {{ type file  slave.pcm \"null\"  file /dev/null  infile \"{}\"  format \"raw\"  \
             hint {{ show on  description \"{hint}\" }} }}\n",
            path(input)
        )
    };
    let devices = device("micfifo", "mic.fifo", "fifo microphone") + &device("micfile", "mic.raw", "file microphone");
    std::fs::write(path("asound.conf"), devices).unwrap();
    assert!(Command::new("mkfifo").arg(path("mic.fifo")).status().unwrap().success());
    let sound: Vec<u8> = (0..RATE * 10).flat_map(|frame| sample(frame).to_le_bytes()).collect();
    std::fs::write(path("mic.raw"), sound).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .env("ALSA_CONFIG_PATH", format!("{ALSA}:{}", path("asound.conf")))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "the child failed:\n{text}");
    false
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
    let path = Path::new(&std::env::var_os(FOLDER).unwrap()).join("mic.fifo");
    // Open for reading too: the device opens and closes it while it is looked at.
    let mut fifo = File::options().read(true).write(true).open(path).unwrap();
    let (sender, steps) = mpsc::channel::<usize>();
    std::thread::spawn(move || {
        let mut frame = 0;
        for count in steps {
            let begun = Instant::now();
            for step in 0..count {
                let bytes: Vec<u8> = (frame..frame + STEP).flat_map(|frame| sample(frame).to_le_bytes()).collect();
                frame += STEP;
                fifo.write_all(&bytes).unwrap();
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
    assert!(known.iter().any(|device| device.id == "micfifo" && device.name == "fifo microphone"), "{known:?}");
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
    let mut microphone = microphone("micfile");
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
