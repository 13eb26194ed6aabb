//! Captures run by themselves, for their tests: no actors, no links.

use std::sync::Arc;

use crate::stage::{
    Blueprint, Capture, CaptureContext, Draft, Event, EventKind, Flow, Loss, Output, Runnable, Source, SourceInfo,
    StageError,
};
use crate::units::VirtualClock;

/// What became of one stream.
#[derive(Debug)]
pub struct Ran {
    pub info: SourceInfo,
    pub drafts: Vec<Draft>,
    pub events: Vec<Event>,
    pub loss: Loss,
    pub error: Option<String>,
}

impl Ran {
    /// All samples, after seeing that the packets lie end to end from time zero and add up with the account.
    pub fn samples(&self) -> Vec<f32> {
        let mut all = Vec::new();
        let mut frames = 0;
        for draft in &self.drafts {
            let audio = draft.payload.audio().unwrap();
            assert_eq!(draft.start, audio.rate().time_of(frames), "packets lie end to end");
            assert_eq!(draft.duration, audio.rate().span(frames, frames + audio.frames() as u64));
            frames += audio.frames() as u64;
            all.extend_from_slice(audio.samples());
        }
        assert_eq!(self.loss.delivered, frames + self.loss.overrun, "the account balances");
        all
    }

    pub fn lengths(&self) -> Vec<usize> {
        self.drafts.iter().map(|draft| draft.payload.audio().unwrap().frames()).collect()
    }

    pub fn told(&self) -> Vec<(EventKind, &str)> {
        self.events.iter().map(|event| (event.kind, event.message.as_str())).collect()
    }
}

pub fn capture(blueprint: &dyn Blueprint) -> Result<Box<dyn Capture>, StageError> {
    match blueprint.build()? {
        Runnable::Capture(capture) => Ok(capture),
        Runnable::Stage(_) => panic!("a capture builds a capture"),
    }
}

pub fn context() -> CaptureContext {
    CaptureContext { clock: Arc::new(VirtualClock::new()) }
}

/// Takes what a call said out of `out`.
pub fn collect(ran: &mut Ran, out: &mut Output) {
    ran.drafts.extend(out.drain_emitted().map(|emitted| emitted.draft));
    ran.events.extend(out.drain_events());
}

pub fn begun(source: &dyn Source) -> Ran {
    Ran { info: source.info(), drafts: Vec::new(), events: Vec::new(), loss: Loss::default(), error: None }
}

/// Reads a stream to its end.
pub async fn read_all(mut source: Box<dyn Source>) -> Ran {
    let mut ran = begun(&*source);
    let mut out = Output::new();
    loop {
        let result = source.read(&mut out).await;
        collect(&mut ran, &mut out);
        ran.loss = source.loss();
        match result {
            Ok(Flow::More) => {}
            Ok(Flow::Reopen) => ran.info = source.info(),
            Ok(Flow::End) => return ran,
            Err(error) => {
                ran.error = Some(error.to_string());
                return ran;
            }
        }
    }
}

/// Runs a capture to its end, stream after stream: what its streams did, and why some did not open.
pub async fn run(blueprint: &dyn Blueprint) -> (Vec<Ran>, Vec<String>) {
    let context = context();
    let mut capture = capture(blueprint).unwrap();
    let (mut streams, mut errors) = (Vec::new(), Vec::new());
    loop {
        match capture.next_stream(&context).await {
            Ok(Some(source)) => streams.push(read_all(source).await),
            Ok(None) => return (streams, errors),
            Err(error) => {
                assert!(!matches!(error, StageError::Fatal(_)), "{error}");
                errors.push(error.to_string());
            }
        }
    }
}
