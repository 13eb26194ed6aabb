use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::stage::EventKind;
use crate::stages::capture::trial::{self, Ran};
use crate::tensor::{DType, SymbolicShape, Tensor};
use crate::units::{TimeSpan, Timestamp};

fn draft(start_ms: i64, value: i64) -> Draft {
    Draft::new(Timestamp::from_nanos(start_ms * 1_000_000), TimeSpan::from_millis(1), Tensor::scalar(value))
}

fn tensors() -> Format {
    Format::Tensor { dtype: Some(DType::I64), shape: SymbolicShape::Unranked }
}

/// Runs a capture whose streams may wait for a program in another task or thread.
fn run(push: Push) -> tokio::task::JoinHandle<Vec<Ran>> {
    tokio::spawn(async move {
        let (streams, errors) = trial::run(&push).await;
        assert!(errors.is_empty());
        streams
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_and_tasks_push_what_is_read() {
    let push = Push::sound(1000, 2).unwrap().buffer(2);
    assert_eq!(push.outputs(&[]).unwrap(), [Format::audio(Rate::hz(1000).ok(), Some(2))]);
    let handle = push.handle();
    let (mut first, mut second) = (handle.open_stream("thread").unwrap(), handle.open_stream("task").unwrap());
    drop(handle);
    let samples: Vec<f32> = (0..200).map(|sample| sample as f32).collect();
    let pushed = samples.clone();
    let thread = std::thread::spawn(move || {
        for chunk in pushed.chunks(6) {
            first.push_audio(chunk).unwrap();
        }
        assert_eq!(first.position(), Timestamp::from_nanos(100_000_000));
    });
    let pushed = samples.clone();
    let task = tokio::spawn(async move {
        for chunk in pushed.chunks(14) {
            second.push_audio_async(chunk).await.unwrap();
        }
        second.push_audio(&[]).unwrap();
        second.close();
    });
    let streams = run(push).await.unwrap();
    thread.join().unwrap();
    task.await.unwrap();
    let names: Vec<_> = streams.iter().map(|stream| stream.info.name.as_str()).collect();
    assert_eq!(names, ["thread", "task"]);
    for stream in streams {
        assert!(stream.info.live);
        assert_eq!(stream.samples(), samples);
    }
}

#[tokio::test]
async fn pushing_blocks_inside_a_runtime_without_a_panic() {
    let push = Push::of(tensors()).buffer(1);
    let handle = push.handle();
    let running = run(push);
    let mut stream = handle.open_stream("s").unwrap();
    let pushing = tokio::task::spawn_blocking(move || {
        for number in 0..50 {
            stream.push(draft(number, number)).unwrap();
        }
    });
    pushing.await.unwrap();
    handle.finish();
    let values: Vec<i64> = running.await.unwrap()[0]
        .drafts
        .iter()
        .map(|draft| draft.payload.tensor().unwrap().as_slice::<i64>().unwrap()[0])
        .collect();
    assert_eq!(values, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_full_stream_refuses_and_an_odd_packet_is_an_error() {
    let push = Push::sound(1000, 2).unwrap().buffer(1);
    let mut stream = push.handle().open_stream("ear").unwrap();
    let sound = |rate, start_ms: i64| {
        let audio = crate::media::Audio::mono(vec![0.0; 4], Rate::hz(rate).unwrap());
        Draft::new(Timestamp::from_nanos(start_ms * 1_000_000), TimeSpan::from_millis(2), audio)
    };
    let error = |result: Result<(), PushError>| result.unwrap_err().to_string();
    assert_eq!(error(stream.push_audio(&[0.0; 3])), "expected whole frames of 2 channels, found 3 samples");
    let expected = "expected a packet of audio 1000 Hz, 2 channels, found audio 1000 Hz, 1 channel";
    assert_eq!(error(stream.push(sound(1000, 0))), expected);
    assert_eq!(error(stream.push(draft(0, 1))), "expected a packet of audio 1000 Hz, 2 channels, found tensor i64 []");
    stream.try_push_audio(&[0.0; 4]).unwrap();
    assert!(matches!(stream.try_push_audio(&[0.0; 4]), Err(PushError::Full { .. })));
    assert_eq!(stream.position(), Timestamp::from_nanos(2_000_000), "what was refused takes no time");

    let push = Push::of(tensors());
    let mut stream = push.handle().open_stream("numbers").unwrap();
    stream.push(draft(5, 1)).unwrap();
    assert!(error(stream.push(draft(4, 1))).starts_with("a packet starts at 00:00.004, before the one before it"));
    assert!(error(stream.push_audio(&[0.0])).starts_with("this capture carries tensor i64"));
    assert!(matches!(Push::sound(0, 1), Err(RateError { .. })));
}

#[tokio::test]
async fn a_packet_of_its_own_start_moves_the_samples_behind_it() {
    let push = Push::sound(1000, 1).unwrap();
    let handle = push.handle();
    let mut stream = handle.open_stream("ear").unwrap();
    stream.push_audio(&[1.0; 10]).unwrap();
    let audio = crate::media::Audio::mono(vec![2.0; 5], Rate::hz(1000).unwrap());
    let start = Timestamp::from_nanos(100_000_000);
    stream.push(Draft::new(start, TimeSpan::from_millis(5), audio).gap(true)).unwrap();
    stream.push_audio(&[3.0; 1]).unwrap();
    drop((stream, handle));
    let streams = run(push).await.unwrap();
    let starts: Vec<_> =
        streams[0].drafts.iter().map(|draft| (draft.start.as_nanos() / 1_000_000, draft.flags.gap)).collect();
    assert_eq!(starts, [(0, false), (100, true), (105, false)]);
}

#[tokio::test]
async fn samples_that_are_no_numbers_are_silence_and_told_once() {
    let push = Push::sound(1000, 1).unwrap();
    let handle = push.handle();
    let mut stream = handle.open_stream("ear").unwrap();
    stream.push_audio(&[1.0, f32::NAN]).unwrap();
    stream.push_audio(&[f32::INFINITY, 2.0]).unwrap();
    drop((stream, handle));
    let streams = run(push).await.unwrap();
    assert_eq!(streams[0].samples(), [1.0, 0.0, 0.0, 2.0]);
    let told = streams[0].told();
    assert_eq!((told.len(), told[0].0), (1, EventKind::Damaged));
}

#[tokio::test]
async fn after_the_end_pushing_says_so() {
    let push = Push::sound(1000, 1).unwrap();
    let handle = push.handle();
    let mut taken = handle.open_stream("taken").unwrap();
    let mut capture = trial::capture(&push).unwrap();
    assert!(trial::capture(&push).is_err(), "it runs once");
    let source = capture.next_stream(&trial::context()).await.unwrap().unwrap();
    let mut waiting = handle.open_stream("waiting").unwrap();
    waiting.push_audio(&[0.0]).unwrap();
    drop((source, capture));
    for stream in [&mut taken, &mut waiting] {
        let error = stream.push_audio(&[0.0]).unwrap_err();
        assert!(error.to_string().contains("the pipeline has ended"), "{error}");
    }
    assert!(matches!(handle.open_stream("late"), Err(PushError::Ended { .. })));
}

#[test]
fn a_pipeline_that_never_ran_lets_nobody_wait() {
    let push = Push::sound(1000, 1).unwrap().buffer(1);
    let mut stream = push.handle().open_stream("ear").unwrap();
    stream.push_audio(&[0.0]).unwrap();
    let blocked = std::thread::spawn(move || stream.push_audio(&[0.0]));
    std::thread::sleep(Duration::from_millis(10));
    drop(push);
    assert!(matches!(blocked.join().unwrap(), Err(PushError::Ended { .. })));
}

#[tokio::test]
async fn stopping_takes_what_was_pushed_and_refuses_the_rest() {
    let push = Push::sound(1000, 1).unwrap();
    let handle = push.handle();
    let mut stream = handle.open_stream("ear").unwrap();
    let mut capture = trial::capture(&push).unwrap();
    let mut source = capture.next_stream(&trial::context()).await.unwrap().unwrap();
    let mut ran = trial::begun(&*source);
    stream.push_audio(&[1.0, 2.0]).unwrap();
    let mut out = Output::new();
    source.stop(&mut out);
    trial::collect(&mut ran, &mut out);
    ran.loss = source.loss();
    assert_eq!(ran.samples(), [1.0, 2.0]);
    assert!(matches!(stream.push_audio(&[0.0]), Err(PushError::Ended { .. })));
}

#[tokio::test]
async fn the_inlet_of_the_blueprint_keeps_nothing_open() {
    let push = Push::sound(1000, 1).unwrap();
    let inlet = Blueprint::handle(&push).unwrap().downcast::<PushInlet>().unwrap();
    let handle = inlet.handle();
    drop(handle.open_stream("only").unwrap());
    let other = handle.clone();
    drop(handle);
    assert!(other.open_stream("second").is_ok(), "a clone keeps the capture open");
    drop(other);
    assert_eq!(run(push).await.unwrap().len(), 2);
    drop(inlet);
}

#[test]
fn a_pipeline_file_makes_the_same() {
    let text = "sample_rate_hz: 8000\nchannels: 2\nlive: false\n";
    let source = crate::config::Source::new("p.yaml", text);
    let node = crate::config::parse(&source).unwrap();
    let settings = crate::stage::Settings::default();
    let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
    let blueprint = (KIND.read)(&context).unwrap();
    assert_eq!(blueprint.outputs(&[]).unwrap(), [Format::audio(Rate::hz(8000).ok(), Some(2))]);
    assert!(blueprint.contract().many_streams);
    let inlet: Arc<PushInlet> = blueprint.handle().unwrap().downcast().unwrap();
    assert_eq!(inlet.format(), &blueprint.outputs(&[]).unwrap()[0]);
}
