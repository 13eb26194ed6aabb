//! Speaking to the program: recordings are played into a virtual microphone in real time, and what comes out is what was
//! said, soon after it was said, also when the microphone was away for a while.
//!
//! Latency is measured at two places, and printed (`cargo test --test hear -- --nocapture`):
//!
//! * from the end of an utterance's first word to the first transcript of it that contains that word,
//! * from the end of the silence that ends an utterance, `min_silence_ms` after its speech, to the final transcript.
//!
//! A sample is said when its last moment has passed: the feeder writes it then, not before.

#![cfg(all(target_os = "linux", feature = "microphone", feature = "onnxruntime", feature = "codecs", feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod common;
#[path = "common/virtual_microphone.rs"]
mod virtual_microphone;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{models_are_here, reference, root, transcript, word_errors, words};
use percept::Pipeline;
use percept::codec::AudioReader;
use percept::pipeline::PipelineFile;
use percept::runtime::{Events, PipelineEvent, Running};
use percept::stage::{EventKind, Settings};
use percept::stages::REGISTRY;
use percept::stages::sink::collect::{Collected, NoPacket, Received};
use virtual_microphone::{FIFO_DEVICE, RATE, bytes, fifo, in_child, is_child};

/// Each recording and when its first word ends, in milliseconds: a forced alignment of its transcript (pocketsphinx
/// 5.1.1 with its own English model), but the end of the voice where a pause follows that the aligner gave to the word
/// (cards-002, cards-004).
const FIRST_WORD_ENDS_MS: [(&str, u64); 10] = [
    ("librivox-0870", 370),
    ("librivox-0880", 330),
    ("librivox-0890", 590),
    ("librivox-0920", 440),
    ("librivox-0930", 380),
    ("cards-001", 340),
    ("cards-002", 700),
    ("cards-003", 570),
    ("cards-004", 760),
    ("cards-005", 420),
];
/// How often each is said; in between the microphone is away.
const ROUNDS: usize = 2;
const AWAY: Duration = Duration::from_secs(3);
/// After each recording, and before the first of a round.
const PAUSE: Duration = Duration::from_millis(800);
/// `endpoint`'s.
const MIN_SILENCE: Duration = Duration::from_millis(500);
/// How long the voice gate's windows are, and from which probability on it counts as voice: see reference.json.
const WINDOW: usize = 512;
const VOICE: f64 = 0.35;
/// Frames written at a time: 10 ms.
const STEP: usize = RATE / 100;
/// Beyond this, what was heard before the first word is printed.
const FIRST_WORD_GOAL_MS: f64 = 1200.0;
/// When nothing came for so long, nothing more will.
const QUIET: Duration = Duration::from_secs(1);
/// Frames that a device may swallow while it is opened again.
const REOPENING: u64 = RATE as u64 / 2;

/// A recording to say.
struct Clip {
    name: &'static str,
    sound: Vec<f32>,
    first_word_end: Duration,
    speech_end: Duration,
    /// Word errors that the models make in it, by the reference.
    word_errors: usize,
}

/// A recording that was said, and when.
struct Said {
    clip: usize,
    begin: Instant,
}

/// A transcript, and when it came.
struct Heard {
    at: Instant,
    /// Its place in the stream.
    span: Range<Duration>,
    words: Vec<String>,
    is_final: bool,
}

fn span(frames: usize) -> Duration {
    Duration::from_secs_f64(frames as f64 / RATE as f64)
}

fn clips() -> Vec<Clip> {
    let reference = reference("reference.json");
    let clip = |&(name, first_word_end_ms): &(&'static str, u64)| {
        let known = reference["clips"].as_array().unwrap().iter().find(|clip| clip["name"] == name).unwrap();
        let voice = known["voice"].as_array().unwrap();
        let silent = voice.iter().rev().take_while(|probability| probability.as_f64().unwrap() < VOICE).count();
        let mut reader = AudioReader::open(&root().join(known["file"].as_str().unwrap())).unwrap();
        let mut sound = Vec::new();
        while reader.read(&mut sound).unwrap() > 0 {}
        assert_eq!(sound.len() as u64, known["samples"].as_u64().unwrap());
        Clip {
            name,
            sound,
            first_word_end: Duration::from_millis(first_word_end_ms),
            speech_end: span((voice.len() - silent) * WINDOW),
            word_errors: known["word_errors"].as_u64().unwrap() as usize,
        }
    };
    FIRST_WORD_ENDS_MS.iter().map(clip).collect()
}

/// Writes to the FIFO as time goes by.
struct Speaker {
    fifo: File,
    /// When the frames written since then began.
    began: Instant,
    frames: usize,
    total: u64,
}

impl Speaker {
    fn new() -> Speaker {
        Speaker { fifo: fifo(), began: Instant::now(), frames: 0, total: 0 }
    }

    /// The moment that has been reached.
    fn now(&self) -> Instant {
        self.began + span(self.frames)
    }

    fn say(&mut self, sound: &[f32]) {
        for step in sound.chunks(STEP) {
            self.frames += step.len();
            self.total += step.len() as u64;
            std::thread::sleep(self.now().saturating_duration_since(Instant::now()));
            self.fifo.write_all(&bytes(step)).unwrap();
        }
    }

    fn pause(&mut self) {
        self.say(&vec![0.0; (PAUSE.as_secs_f64() * RATE as f64) as usize]);
    }

    /// Nothing comes, not even silence.
    fn be_away(&mut self) {
        std::thread::sleep(AWAY);
        (self.began, self.frames) = (Instant::now(), 0);
    }
}

/// Says every clip in every round, and keeps silent afterwards until the returned sender is dropped. Gives the frames
/// written in the end.
fn speak(clips: &[Clip], said: mpsc::Sender<Said>) -> (JoinHandle<u64>, mpsc::Sender<()>) {
    let sounds: Vec<Vec<f32>> = clips.iter().map(|clip| clip.sound.clone()).collect();
    let (enough, until) = mpsc::channel();
    let speaker = std::thread::spawn(move || {
        let mut speaker = Speaker::new();
        for round in 0..ROUNDS {
            if round > 0 {
                speaker.be_away();
            }
            speaker.pause();
            for (clip, sound) in sounds.iter().enumerate() {
                said.send(Said { clip, begin: speaker.now() }).unwrap();
                speaker.say(sound);
                speaker.pause();
            }
        }
        drop(said);
        while until.try_recv() == Err(mpsc::TryRecvError::Empty) {
            speaker.say(&[0.0; STEP]);
        }
        speaker.total
    });
    (speaker, enough)
}

fn heard(received: &Received) -> Heard {
    let packet = &received.packet;
    let transcript = packet.payload.transcript().unwrap();
    let at = |nanos: i64| Duration::from_nanos(nanos.max(0).unsigned_abs());
    Heard {
        at: Instant::now(),
        span: at(packet.start.as_nanos())..at(packet.end().as_nanos()),
        words: words(&transcript.text),
        is_final: transcript.is_final,
    }
}

/// What happened.
#[derive(Default)]
struct Course {
    said: Vec<Said>,
    heard: Vec<Heard>,
    told: Vec<EventKind>,
}

/// Receives until everything was said, and then nothing more has come for a while.
fn listen(results: &mut Collected, events: &mut Events, said: &mpsc::Receiver<Said>) -> Course {
    let mut course = Course::default();
    let mut last = Instant::now();
    let mut speaking = true;
    while speaking || last.elapsed() < QUIET {
        match results.recv_timeout(Duration::from_millis(50)) {
            Ok(received) => {
                course.heard.push(heard(&received));
                last = Instant::now();
            }
            Err(NoPacket::Yet) => {}
            Err(error) => panic!("{error}, while somebody speaks"),
        }
        match said.try_recv() {
            Ok(said) => course.said.push(said),
            Err(mpsc::TryRecvError::Disconnected) if speaking => (speaking, last) = (false, Instant::now()),
            Err(_) => {}
        }
        course.told.extend(told_by_the_microphone(events));
    }
    course
}

/// What the microphone has told meanwhile; anything else that went wrong is a failure.
fn told_by_the_microphone(events: &mut Events) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    while let Some(event) = events.try_next() {
        match event {
            PipelineEvent::Stage { stage, event, .. } if &*stage == "microphone" => kinds.push(event.kind),
            PipelineEvent::StreamOpened { .. }
            | PipelineEvent::Progress { .. }
            | PipelineEvent::StreamClosed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    kinds
}

fn start() -> (Running, Collected) {
    let mut file = PipelineFile::open(&root().join("pipelines/speech.yaml")).unwrap();
    let device = format!("microphone.device={FIFO_DEVICE}");
    let rate = format!("microphone.sample_rate_hz={RATE}");
    for setting in [&device, &rate, "microphone.silent_after_ms=500", "microphone.reopen_ms=100"] {
        file.set(setting).unwrap();
    }
    let mut pipeline =
        Pipeline::from_file(&file, &REGISTRY, &Settings::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let results = pipeline.subscribe("transcript", 1000).unwrap();
    (pipeline.start().unwrap(), results)
}

/// The clip that was being said for most of a transcript: its place in `said`. The stream began at `zero`, and its times
/// are right to half a pause after the microphone came back.
fn belongs_to(heard: &Heard, said: &[Said], clips: &[Clip], zero: Instant) -> usize {
    let common = |said: &Said| {
        let begin = said.begin - zero;
        let end = begin + span(clips[said.clip].sound.len());
        heard.span.end.min(end).saturating_sub(heard.span.start.max(begin))
    };
    (0..said.len()).max_by_key(|index| common(&said[*index])).unwrap()
}

/// The value below which a share of all lies, by nearest rank.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

/// Prints the figures, and gives the median.
fn median(what: &str, mut late_ms: Vec<f64>) -> f64 {
    late_ms.sort_by(f64::total_cmp);
    let [p50, p95] = [50, 95].map(|percent| percentile(&late_ms, percent));
    let (count, most) = (late_ms.len(), percentile(&late_ms, 100));
    println!("hear: {what}: p50 {p50:.0} ms, p95 {p95:.0} ms, at most {most:.0} ms ({count} utterances)");
    p50
}

/// `after` a moment, in milliseconds.
fn late_ms(at: Instant, after: Instant) -> f64 {
    match at.checked_duration_since(after) {
        Some(late) => late.as_secs_f64() * 1e3,
        None => -(after - at).as_secs_f64() * 1e3,
    }
}

#[test]
fn what_is_said_comes_out_soon_and_whole() {
    if !is_child() && !models_are_here() {
        return;
    }
    if let Some(text) = in_child("what_is_said_comes_out_soon_and_whole", &[]) {
        text.lines().filter(|line| line.starts_with("hear: ")).for_each(|line| println!("{line}"));
        return;
    }
    let clips = clips();
    let (running, mut results) = start();
    let mut events = running.events();
    let (sender, receiver) = mpsc::channel();
    let zero = Instant::now();
    let (speaker, enough) = speak(&clips, sender);
    let mut course = listen(&mut results, &mut events, &receiver);
    running.drain(Duration::from_secs(15));
    course.heard.extend(std::iter::from_fn(|| results.recv()).map(|received| heard(&received)));
    let report = running.wait();
    course.told.extend(told_by_the_microphone(&mut events));
    drop(enough);
    let written = speaker.join().unwrap();

    let Course { said, heard, told } = course;
    assert_eq!(said.len(), ROUNDS * clips.len());
    let owners: Vec<usize> = heard.iter().map(|heard| belongs_to(heard, &said, &clips, zero)).collect();
    assert!(owners.is_sorted(), "transcripts come in the order of what was said: {owners:?}");
    let (mut first_words, mut finals) = (Vec::new(), Vec::new());
    for (index, said) in said.iter().enumerate() {
        let clip = &clips[said.clip];
        let own: Vec<&Heard> = heard.iter().zip(&owners).filter(|pair| *pair.1 == index).map(|pair| pair.0).collect();
        let text: Vec<String> = own.iter().filter(|own| own.is_final).flat_map(|own| own.words.clone()).collect();
        let expected = transcript(clip.name);
        let errors = word_errors(&expected, &text);
        assert!(errors <= clip.word_errors + 1, "utterance {index}, {}: {errors} word errors in {text:?}", clip.name);

        let first = own.iter().find(|own| own.words.contains(&expected[0]));
        let first = first.unwrap_or_else(|| panic!("utterance {index}, {}: `{}` never came", clip.name, expected[0]));
        let last = own.iter().rfind(|own| own.is_final).unwrap();
        let first_ms = late_ms(first.at, said.begin + clip.first_word_end);
        let final_ms = late_ms(last.at, said.begin + clip.speech_end + MIN_SILENCE);
        let partials = own.iter().filter(|own| !own.is_final).count();
        println!(
            "hear: {index:2} {:13} first word after {first_ms:4.0} ms, final after {final_ms:4.0} ms, \
             {partials:2} partial: {}",
            clip.name,
            text.join(" ")
        );
        if first_ms > FIRST_WORD_GOAL_MS {
            // Whether it was slow, or heard something else.
            for early in own.iter().take_while(|own| !own.words.contains(&expected[0])) {
                let at = late_ms(early.at, said.begin + clip.first_word_end);
                println!("hear:    {at:4.0} ms after the first word: {}", early.words.join(" "));
            }
        }
        first_words.push(first_ms);
        finals.push(final_ms);
    }
    // A machine may be busy: the figures are printed, and only what nobody would use is refused.
    assert!(median("first word", first_words) <= 3000.0);
    assert!(median("final", finals) <= 3000.0);

    // Nothing was lost, and the microphone was away once.
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(told, [EventKind::DeviceSilent, EventKind::DeviceBack]);
    let microphone = report.books.stages.iter().find(|stage| &*stage.id == "microphone").unwrap();
    assert_eq!(microphone.samples_overrun, 0);
    assert!(microphone.samples_delivered + REOPENING > written, "{} of {written}", microphone.samples_delivered);
}
