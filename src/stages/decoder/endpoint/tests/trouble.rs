//! Stalls, gaps, bad packets, bad formats, bad keys.

use super::super::*;
use super::kit::{Run, Script, WINDOW, finals, formats, hz, stream, stretches};
use crate::config::{Source, parse};
use crate::media::{Audio, Packet, Payload, StreamId};
use crate::stage::{Settings, Solo};
use crate::tensor::Tensor;

#[test]
fn the_clock_ends_an_utterance_when_nothing_comes() {
    let speaking = Script::new(WINDOW * 50, &stretches(&[(0.0, 10), (1.0, 40)]));
    let mut run = Run::new(Endpoint::default(), true);
    run.push_all(&speaking);
    run.tick(1600);
    run.tick(2600);
    assert_eq!(run.finals(), [], "1000 ms after the sound's end at 1600 ms it may still go on");
    run.tick(2601);
    assert_eq!(run.finals(), [(120, 1600)]);
    assert_eq!(run.events().len(), 1);
    run.tick(9000);
    assert!(run.out.is_empty(), "once is enough");
    // The sound comes back where it ended: the state machine goes on from silence, and no sound is given twice.
    let voice = stretches(&[(0.0, 50), (1.0, 10), (0.0, 20)]);
    let all = Script::new(WINDOW * 80, &voice);
    for (port, packet) in
        all.packets().into_iter().filter(|(_, packet)| packet.start >= Timestamp::from_nanos(1_600_000_000))
    {
        run.push(port, packet);
    }
    assert_eq!(run.finals(), [(1600, 2120)]);
    run.tick(60_000);
    assert!(run.out.is_empty(), "silence needs no clock");
}

/// A microphone opens late, or counts a shorter second than the clock: what comes is never taken for silence.
#[test]
fn sound_that_lags_behind_the_clock_is_not_cut() {
    let mut run = Run::new(Endpoint::default(), true);
    let script = Script::new(WINDOW * 200, &stretches(&[(1.0, 200)]));
    for (count, (port, packet)) in script.packets().into_iter().enumerate() {
        let lag = 30_000 + count as i64;
        let now = packet.start.as_nanos() / 1_000_000 + lag;
        run.push(port, packet);
        run.tick(now);
    }
    run.flush();
    assert_eq!(run.finals(), [(0, 6400)]);
    assert_eq!(run.events().len(), 0);
}

#[test]
fn the_clock_leaves_a_file_alone() {
    let mut run = Run::new(Endpoint::default(), false);
    run.push_all(&Script::new(WINDOW * 50, &stretches(&[(1.0, 50)])));
    run.tick(60_000);
    assert!(run.out.is_empty());
    run.flush();
    assert_eq!(run.finals(), [(0, 1600)]);
}

#[test]
fn an_utterance_ends_before_what_is_missing() {
    let later = |packet: &mut Packet, ms: i64| packet.start = packet.start + TimeSpan::from_millis(ms);
    let script = Script::new(WINDOW * 100, &stretches(&[(1.0, 100)]));
    let half = Timestamp::from_nanos(1_600_000_000);
    type Change = fn(&mut Vec<(usize, Packet)>);
    /// What happens, by how many ms the second half is later, what else is changed, the utterances in ms.
    type Case<'a> = (&'a str, i64, Change, &'a [(i64, i64)]);
    let changes: [Case<'_>; 6] = [
        ("nothing is missing", 0, |_| {}, &[(0, 3200)]),
        ("both jump", 500, |_| {}, &[(0, 1600), (2100, 3700)]),
        (
            "the sound is flagged",
            0,
            |packets| {
                let first = packets
                    .iter_mut()
                    .find(|(port, packet)| *port == AUDIO && packet.start.as_nanos() >= 1_600_000_000);
                first.unwrap().1.flags.gap = true;
            },
            &[(0, 1600), (1600, 3200)],
        ),
        (
            "the voice is flagged",
            0,
            |packets| {
                let first = packets
                    .iter_mut()
                    .find(|(port, packet)| *port == VOICE && packet.start.as_nanos() >= 1_600_000_000);
                first.unwrap().1.flags.gap = true;
            },
            &[(0, 1600), (1600, 3200)],
        ),
        (
            "the gate was silent for 320 ms",
            0,
            |packets| {
                packets.retain(|(port, packet)| {
                    *port == AUDIO || !(1_600_000_000..1_920_000_000).contains(&packet.start.as_nanos())
                });
            },
            // The next utterance has its padding, which was heard though not judged.
            &[(0, 1600), (1720, 3200)],
        ),
        (
            "the gate was silent for the last 480 ms",
            0,
            |packets| packets.retain(|(port, packet)| *port == AUDIO || packet.start.as_nanos() < 2_720_000_000),
            &[(0, 3200)],
        ),
    ];
    for (name, jump, change, expected) in changes {
        let mut packets = script.packets();
        for (_, packet) in packets.iter_mut().filter(|(_, packet)| packet.start >= half) {
            later(packet, jump);
        }
        change(&mut packets);
        let mut run = Run::new(Endpoint::default(), false);
        for (port, packet) in packets {
            run.push(port, packet);
        }
        run.flush();
        assert_eq!(run.finals(), expected, "{name}");
    }
}

#[test]
fn a_gate_that_falls_silent_ends_speech_and_bounds_memory() {
    for cut in [160, 16_000] {
        let mut script = Script::new(16_000 * 120, &stretches(&[(1.0, 100)]));
        script.cuts = (0..script.total).step_by(cut).collect();
        // `run` checks the bound.
        assert_eq!(finals(script.run(&Endpoint::default(), false)), [(0, WINDOW * 100)], "packets of {cut}");
    }
    // No voice at all.
    assert_eq!(Script::new(16_000 * 60, &[]).run(&Endpoint::default(), true), []);
}

#[test]
fn a_probability_that_is_no_number_is_silence_and_told_once() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut run = Run::new(Endpoint::default(), false);
        run.push_all(&Script::new(WINDOW * 60, &stretches(&[(1.0, 20), (bad, 40)])));
        assert_eq!(run.finals(), [(0, 840)]);
        let events = run.events();
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains(&format!("{bad}")), "{events:?}");
    }
}

#[test]
fn sound_is_passed_on_as_it_is() {
    let blueprint = Endpoint::default();
    let mut solo = Solo::open(&blueprint, stream(false), formats(hz(16_000))).unwrap();
    let voice = Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::from_millis(32), Tensor::scalar(1.0f32));
    solo.push(VOICE, voice).unwrap();
    let empty = Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::ZERO, Audio::mono(vec![], hz(16_000)));
    solo.push(AUDIO, empty).unwrap();
    let samples = vec![f32::NAN; 512];
    let sound = Packet::new(StreamId(0), Timestamp::ZERO, TimeSpan::from_millis(32), Audio::mono(samples, hz(16_000)));
    solo.push(AUDIO, sound).unwrap();
    let flushed = solo.flush().unwrap();
    let [(0, utterance)] = &flushed[..] else { panic!("{flushed:?}") };
    let audio = utterance.payload.audio().unwrap();
    assert!(audio.frames() == 512 && audio.samples().iter().all(|sample| sample.is_nan()));
    assert!(!utterance.flags.partial && utterance.revision == 1);
}

#[test]
fn bad_packets_are_errors_and_change_nothing() {
    let rate = hz(16_000);
    let span = TimeSpan::from_millis(32);
    let packet = |duration, payload: Payload| Packet::new(StreamId(0), Timestamp::ZERO, duration, payload);
    let mut run = Run::new(Endpoint::default(), false);
    run.push_all(&Script::new(WINDOW * 20, &stretches(&[(1.0, 20)])));
    for (port, packet, words) in [
        (VOICE, packet(span, Tensor::from_vec(vec![0.5f32, 0.5]).into()), "found tensor f32 [2]"),
        (VOICE, packet(span, Tensor::from_vec(Vec::<f32>::new()).into()), "found tensor f32 [0]"),
        (VOICE, packet(span, Tensor::scalar(1i64).into()), "found tensor i64"),
        (VOICE, packet(TimeSpan::ZERO, Tensor::scalar(1f32).into()), "without duration"),
        (VOICE, packet(TimeSpan::from_nanos(-5), Tensor::scalar(1f32).into()), "without duration"),
        (VOICE, packet(span, Audio::mono(vec![0.0], rate).into()), "expected a payload of tensor"),
        (AUDIO, packet(span, Tensor::scalar(1f32).into()), "expected a payload of audio"),
        (AUDIO, packet(span, Audio::mono(vec![0.0], hz(8000)).into()), "found audio 8000 Hz"),
        (AUDIO, packet(span, Audio::new(vec![0.0; 2], 2, rate).unwrap().into()), "2 channels"),
    ] {
        let error = run.stage.process(&mut run.state, Input { port, packet }, &mut run.out).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(words), "{error}");
    }
    assert_eq!(run.finals(), []);
    run.flush();
    assert_eq!(run.finals(), [(0, 640)]);
}

#[test]
fn absurd_times_are_survived() {
    let mut run = Run::new(Endpoint::default(), true);
    for start in [i64::MIN, -1, 0, i64::MAX - 5, i64::MAX, 3, i64::MIN] {
        for duration in [1, i64::MAX] {
            let (start, duration) = (Timestamp::from_nanos(start), TimeSpan::from_nanos(duration));
            for (port, payload) in [
                (VOICE, Payload::from(Tensor::scalar(0.9f32))),
                (AUDIO, Audio::mono(vec![0.0; 700], hz(16_000)).into()),
            ] {
                let packet = Packet::new(StreamId(0), start, duration, payload);
                let _ = run.stage.process(&mut run.state, Input { port, packet }, &mut run.out);
            }
        }
        run.stage.tick(&mut run.state, Timestamp::MAX, &mut run.out).unwrap();
    }
    run.flush();
    assert!(run.out.drain_emitted().all(|emitted| emitted.draft.payload.audio_frames() > 0));
}

#[test]
fn voice_without_sound_is_refused_in_the_end() {
    let mut run = Run::new(Endpoint::default(), true);
    let packet = |k: i64| {
        let start = Timestamp::ZERO + TimeSpan::from_millis(32 * k);
        Packet::new(StreamId(0), start, TimeSpan::from_millis(32), Tensor::scalar(0.5f32))
    };
    for k in 0..MAX_WAITING as i64 {
        run.push(VOICE, packet(k));
    }
    let input = Input { port: VOICE, packet: packet(MAX_WAITING as i64) };
    let error = run.stage.process(&mut run.state, input, &mut run.out).unwrap_err();
    assert!(error.to_string().contains("windows wait for sound"), "{error}");
}

#[test]
fn formats_are_solved_or_refused_with_help() {
    let voice = |dtype, sizes: &[usize]| Format::Tensor { dtype: Some(dtype), shape: SymbolicShape::known(sizes) };
    let good = voice(DType::F32, &[1, 1]);
    let sound = Format::audio(Some(hz(8000)), Some(1));
    for (inputs, expected) in [
        ([good.clone(), sound.clone()], Ok(sound.clone())),
        ([Format::ANY_TENSOR, Format::ANY_AUDIO], Ok(Format::audio(None, Some(1)))),
        ([voice(DType::F32, &[2]), sound.clone()], Err("voice: connect a voice gate")),
        ([voice(DType::F64, &[1]), sound.clone()], Err("voice: connect a voice gate")),
        ([sound.clone(), sound.clone()], Err("voice: connect a voice gate")),
        ([good.clone(), Format::audio(Some(hz(8000)), Some(2))], Err("audio: insert `- preprocess: mono`")),
        ([good.clone(), good.clone()], Err("audio: connect the sound")),
    ] {
        match (Endpoint::default().outputs(&inputs), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, [expected]),
            (Err(faults), Err(words)) => {
                let [fault] = &faults[..] else { panic!("{faults:?}") };
                let text = format!("{}: {}", fault.port, fault.help.as_deref().unwrap_or_default());
                assert!(text.starts_with(words), "{text}");
            }
            (found, expected) => panic!("{inputs:?}: expected {expected:?}, found {found:?}"),
        }
    }
    let mut stage = Endpointer { settings: Endpoint::default() };
    for format in [Format::ANY_AUDIO, Format::audio(Some(hz(1)), Some(2)), Format::Text] {
        assert!(matches!(stage.open(&stream(true), &[Format::Any, format]), Err(StageError::EndStream(_))));
    }
}

fn read(yaml: &str) -> Result<Box<dyn Blueprint>, Faults> {
    let source = Source::new("test.yaml", yaml);
    let node = parse(&source).unwrap();
    let settings = Settings::default();
    (KIND.read)(&ReadContext { node: &node, model: None, source: &source, settings: &settings })
}

#[test]
fn keys_are_checked() {
    assert!(read("{min_silence_ms: 400, partials: always, eager_final: false}").is_ok());
    for (yaml, words) in [
        ("{threshold_on: 0.3}", "`threshold_off` does not fit"),
        ("{threshold_on: 1.5}", "threshold_on"),
        ("{threshold_off: .nan}", "threshold_off"),
        ("{min_silence_ms: 0}", "min_silence_ms"),
        ("{max_length_ms: 0}", "max_length_ms"),
        ("{max_length_ms: 1000, pad_before_ms: 900}", "expected more than 1245"),
        ("{partial_every_ms: 0}", "partial_every_ms"),
        ("{stall_ms: 0}", "stall_ms"),
        ("{pad_before_ms: -1}", "pad_before_ms"),
        ("{partials: sometimes}", "partials"),
        ("{min_silence: 3}", "min_silence_ms"),
    ] {
        let faults = read(yaml).unwrap_err().to_string();
        assert!(faults.contains(words) && faults.contains("test.yaml:1:"), "{yaml}: {faults}");
    }
    let bad = Endpoint { threshold_on: 0.1, ..Endpoint::default() };
    assert!(matches!(bad.build(), Err(StageError::Fatal(_))));
}
