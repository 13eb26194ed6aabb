//! The kind as a whole: real models, any cutting, several streams in one call, and everything that is refused.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::testing::{Bench, require_runtime, small_model};
use super::*;
use crate::inference::{self, Backend, Metadata, Port, Provider, Value, check};
use crate::media::{Audio, Packet, Payload, StreamId, View};
use crate::stage::{AnyState, Emitted, EventKind, PortIndex, Solo, StageObject};
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};
use crate::units::{ClockInstant, Rate, TimeSpan};

const SPEECH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/speech");

fn info() -> StreamInfo {
    StreamInfo {
        id: StreamId(0),
        name: "test".into(),
        group: "test".into(),
        live: false,
        zero: ClockInstant::default(),
        wall: None,
        file: None,
    }
}

fn rate() -> Rate {
    Rate::hz(16_000).unwrap()
}

fn sound() -> Format {
    Format::audio(Some(rate()), Some(1))
}

/// Samples `from..` of a stream.
fn audio(from: usize, samples: &[f32]) -> Packet {
    let (from, to) = (from as u64, (from + samples.len()) as u64);
    Packet::new(StreamId(0), rate().time_of(from), rate().span(from, to), Audio::mono(samples.to_vec(), rate()))
}

/// A tensor at this millisecond.
fn tensor(millis: i64, shape: &[usize], elements: &[f32]) -> Packet {
    let tensor = Tensor::new(shape.to_vec(), elements.to_vec()).unwrap();
    Packet::new(StreamId(0), at(millis), TimeSpan::from_millis(1), tensor)
}

fn at(millis: i64) -> Timestamp {
    Timestamp::ZERO + TimeSpan::from_millis(millis)
}

fn floats(packet: &Packet) -> Vec<f32> {
    packet.payload.tensor().unwrap().as_slice().unwrap().to_vec()
}

struct Clip {
    samples: Vec<f32>,
    voice: Vec<f32>,
    name: String,
}

fn clips() -> Vec<Clip> {
    let text = std::fs::read_to_string(format!("{SPEECH}/reference.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let clips = json["clips"].as_array().unwrap().iter();
    clips
        .filter(|clip| clip["file"].as_str().unwrap().starts_with("tests/data/speech/"))
        .map(|clip| {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(clip["file"].as_str().unwrap());
            let samples = hound::WavReader::open(path).unwrap().into_samples::<i16>();
            Clip {
                samples: samples.map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect(),
                voice: clip["voice"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap() as f32).collect(),
                name: clip["name"].as_str().unwrap().to_owned(),
            }
        })
        .collect()
}

/// Puts small models beside the pipeline.
fn bench(models: &[&str]) -> Bench {
    let bench = Bench::new();
    for model in models {
        bench.write(model, std::fs::read(small_model(model)).unwrap());
    }
    bench
}

/// Silero without its card.
fn bare_silero(bench: &Bench) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/silero-vad/silero_vad_16k_op15.onnx");
    bench.write("vad.onnx", std::fs::read(path).unwrap());
}

const BARE_SILERO: &str =
    "model: vad.onnx\ninput: input\noutput: output\nconstants: {sr: 16000}\nstate: {state: stateN}\n";

fn read(bench: &Bench, yaml: &str) -> Arc<dyn Blueprint> {
    Arc::from(bench.read(&KIND, yaml).unwrap_or_else(|faults| panic!("{yaml}\n{faults}")))
}

fn solo(bench: &Bench, yaml: &str, inputs: Vec<Format>) -> Solo {
    Solo::open(&*read(bench, yaml), info(), inputs).unwrap_or_else(|error| panic!("{yaml}\n{error}"))
}

/// Start, duration and gap of each packet of port 0, and its elements.
fn voice(packets: &[(PortIndex, Packet)]) -> Vec<(Timestamp, TimeSpan, bool, Vec<f32>)> {
    let first = packets.iter().filter(|(port, _)| *port == 0);
    first.map(|(_, packet)| (packet.start, packet.duration, packet.flags.gap, floats(packet))).collect()
}

/// Everything that comes of samples cut at the sizes of `cuts`, over and over.
fn cut(solo: &mut Solo, samples: &[f32], cuts: &[usize]) -> Vec<(Timestamp, TimeSpan, bool, Vec<f32>)> {
    let (mut found, mut from, mut sizes) = (Vec::new(), 0, cuts.iter().cycle());
    while from < samples.len() {
        let to = (from + sizes.next().unwrap()).min(samples.len());
        found.extend(solo.push(0, audio(from, &samples[from..to])).unwrap());
        from = to;
    }
    found.extend(solo.flush().unwrap());
    voice(&found)
}

#[test]
fn silero_gives_the_frozen_probabilities() {
    if !require_runtime() {
        return;
    }
    let bench = Bench::new();
    let blueprint = read(&bench, "model: silero-vad\n");
    let mut worst = 0.0f32;
    for clip in clips() {
        let mut solo = Solo::open(&*blueprint, info(), vec![sound()]).unwrap();
        let found = cut(&mut solo, &clip.samples, &[1600]);
        assert_eq!(found.len(), clip.voice.len(), "{}", clip.name);
        for (place, ((start, duration, gap, p), expected)) in found.iter().zip(&clip.voice).enumerate() {
            let (from, to) = (512 * place, (512 * (place + 1)).min(clip.samples.len()));
            assert_eq!((*start, *duration), (rate().time_of(from as u64), rate().span(from as u64, to as u64)));
            assert!(!gap && p.len() == 1);
            worst = worst.max((p[0] - expected).abs());
        }
    }
    assert!(worst <= 1e-6, "off by {worst}");
}

#[test]
fn any_cutting_gives_the_same_bit_for_bit() {
    if !require_runtime() {
        return;
    }
    let bench = Bench::new();
    let clip = clips().into_iter().min_by_key(|clip| clip.samples.len()).unwrap();
    for yaml in ["model: silero-vad\n", "model: silero-vad\nhop_samples: 200\n", "model: silero-vad\npad_last: false\n"]
    {
        let blueprint = read(&bench, yaml);
        let all =
            |cuts: &[usize]| cut(&mut Solo::open(&*blueprint, info(), vec![sound()]).unwrap(), &clip.samples, cuts);
        let whole = all(&[clip.samples.len()]);
        assert!(whole.len() > 30, "{yaml}");
        for cuts in [&[1][..], &[512], &[511, 1, 0, 513], &[7, 4000, 64], &[100_000]] {
            assert_eq!(all(cuts), whole, "{yaml} {cuts:?}");
        }
    }
}

#[test]
fn after_a_reset_and_after_a_gap_a_stream_begins_anew() {
    if !require_runtime() {
        return;
    }
    let clip = &clips()[5];
    let (part, rest) = clip.samples.split_at(5000);
    let mut solo = solo(&Bench::new(), "model: silero-vad\n", vec![sound()]);
    let first = cut(&mut solo, part, &[1000]);
    solo.reset().unwrap();
    assert_eq!(cut(&mut solo, part, &[333]), first);

    let alone = cut(&mut self::solo(&Bench::new(), "model: silero-vad\n", vec![sound()]), rest, &[1000]);
    for (after, flagged) in [(20_000, false), (5000, true)] {
        solo.reset().unwrap();
        let mut found = voice(&solo.push(0, audio(0, part)).unwrap());
        assert!(solo.hold_back().unwrap() <= rate().time_of(5000));
        let mut packet = audio(after, rest);
        packet.flags.gap = flagged;
        found.extend(voice(&solo.push(0, packet).unwrap()));
        found.extend(voice(&solo.flush().unwrap()));
        let (before, after_gap) = found.split_at(first.len());
        assert_eq!(before, first);
        let moved: Vec<_> = alone
            .iter()
            .enumerate()
            .map(|(place, (start, duration, _, p))| {
                let start = rate().time_of(rate().index_at(*start) + after as u64);
                (start, *duration, place == 0, p.clone())
            })
            .collect();
        let (times, expected): (Vec<_>, Vec<_>) = (
            after_gap.iter().map(|(start, _, gap, p)| (*start, *gap, p.clone())).collect(),
            moved.iter().map(|(start, _, gap, p)| (*start, *gap, p.clone())).collect(),
        );
        assert_eq!(times, expected);
    }
}

#[test]
fn no_output_starts_before_what_was_held_back() {
    if !require_runtime() {
        return;
    }
    let clip = &clips()[5];
    let mut solo = solo(&Bench::new(), "model: silero-vad\nhop_samples: 100\n", vec![sound()]);
    assert_eq!(solo.hold_back(), None);
    let (mut from, mut promised) = (0, Timestamp::MIN);
    for size in [1, 700, 30, 511, 0, 2000, 99] {
        for (_, packet) in solo.push(0, audio(from, &clip.samples[from..from + size])).unwrap() {
            assert!(packet.start >= promised, "{} before {promised}", packet.start);
        }
        promised = solo.hold_back().unwrap();
        assert!(promised <= rate().time_of((from + size) as u64));
        from += size;
    }
    let rest = solo.flush().unwrap();
    assert_eq!(rest[0].1.start, promised);
}

/// A stage with several streams.
struct Many {
    stage: StageObject,
    states: Vec<AnyState>,
}

type Results = Vec<(Vec<Emitted>, Result<(), StageError>)>;

impl Many {
    fn new(bench: &Bench, yaml: &str, streams: usize, input: Format) -> Many {
        let Runnable::Stage(mut stage) = read(bench, yaml).build().unwrap() else { panic!() };
        let states = (0..streams).map(|_| stage.open(&info(), std::slice::from_ref(&input)).unwrap().state).collect();
        Many { stage, states }
    }

    /// One call with a packet for each of these streams, in their order.
    fn call(&mut self, packets: Vec<(usize, Packet)>) -> Results {
        let mut outs: Vec<Output> = packets.iter().map(|_| Output::new()).collect();
        let mut items = Vec::new();
        let mut states: Vec<Option<&mut AnyState>> = self.states.iter_mut().map(Some).collect();
        for ((stream, packet), out) in packets.into_iter().zip(&mut outs) {
            let state = states[stream].take().unwrap();
            items.push(Item { state, input: Input { port: 0, packet }, out, result: Ok(()) });
        }
        self.stage.process_batch(&mut items);
        let results: Vec<_> = items.into_iter().map(|item| item.result).collect();
        outs.iter_mut().map(|out| out.drain_emitted().collect()).zip(results).collect()
    }
}

fn emitted(results: &Results) -> Vec<Vec<Vec<f32>>> {
    let floats = |emitted: &Emitted| emitted.draft.payload.tensor().unwrap().as_slice::<f32>().unwrap().to_vec();
    results.iter().map(|(emitted, _)| emitted.iter().map(floats).collect()).collect()
}

/// States of streams that are run together lie together; each stream finds its own again whoever it comes with.
#[test]
fn streams_keep_their_states_whatever_the_order_they_come_in() {
    if !require_runtime() {
        return;
    }
    let clips = clips();
    let bench = Bench::new();
    let mut together = Many::new(&bench, "model: silero-vad\nbatch: {max: 8}\n", 3, sound());
    let mut alone = Many::new(&bench, "model: silero-vad\n", 3, sound());
    let mut at = [0; 3];
    for order in
        [&[0, 1, 2][..], &[0, 1, 2], &[2, 0, 1], &[1, 0], &[1, 0], &[2], &[0, 1, 2], &[0, 1], &[1, 2], &[0, 1, 2]]
    {
        // Several windows each: the same streams come again within a call, too.
        let packet = |stream: usize, at: usize| audio(at, &clips[5 + stream].samples[at..at + 1024]);
        let packets: Vec<_> = order.iter().map(|&stream| (stream, packet(stream, at[stream]))).collect();
        order.iter().for_each(|&stream| at[stream] += 1024);
        let batched = emitted(&together.call(packets.clone()));
        let single: Vec<_> = packets.into_iter().flat_map(|packet| emitted(&alone.call(vec![packet]))).collect();
        for (stream, (batched, single)) in order.iter().zip(batched.iter().zip(&single)) {
            assert_eq!(batched.len(), 2, "{order:?}, stream {stream}");
            for (batched, single) in batched.iter().zip(single) {
                assert!((batched[0] - single[0]).abs() <= 1e-5, "{order:?}, stream {stream}: {batched:?}, {single:?}");
            }
        }
    }
}

#[test]
fn several_streams_in_one_call_give_what_each_gives_alone() {
    if !require_runtime() {
        return;
    }
    let clips = clips();
    let bench = Bench::new();
    let mut together = Many::new(&bench, "model: silero-vad\nbatch: {max: 8}\n", 3, sound());
    let mut alone = Many::new(&bench, "model: silero-vad\n", 3, sound());
    let mut worst = 0.0f32;
    let mut count = 0;
    // Packets of different lengths, so that streams have one, several or no windows in a call.
    for round in 0..8 {
        let packets: Vec<_> = (0..3)
            .map(|stream| {
                let size = 400 + 800 * stream;
                (stream, audio(round * size, &clips[5 + stream].samples[round * size..(round + 1) * size]))
            })
            .collect();
        let batched = emitted(&together.call(packets.clone()));
        let single = emitted(&alone.call(packets));
        for (batched, single) in batched.iter().flatten().zip(single.iter().flatten()) {
            worst = worst.max((batched[0] - single[0]).abs());
            count += 1;
        }
        let lengths = |results: &[Vec<Vec<f32>>]| results.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&batched), lengths(&single));
    }
    assert!(count > 50 && worst <= 1e-5, "{count} windows, off by {worst}");
}

#[test]
fn sound_that_is_no_number_is_skipped_and_stays_in_its_stream() {
    if !require_runtime() {
        return;
    }
    let samples = &clips()[5].samples;
    let bench = Bench::new();
    let mut together = Many::new(&bench, "model: silero-vad\nbatch: {max: 8}\n", 2, sound());
    let mut alone = Many::new(&bench, "model: silero-vad\nbatch: {max: 8}\n", 2, sound());
    for round in 0..6 {
        let good = &samples[round * 512..(round + 1) * 512];
        let mut bad = good.to_vec();
        if round == 2 {
            bad[500] = f32::NAN;
        }
        if round == 4 {
            bad[0] = f32::INFINITY;
        }
        let results = together.call(vec![(0, audio(round * 512, good)), (1, audio(round * 512, &bad))]);
        let expected = alone.call(vec![(0, audio(round * 512, good))]);
        let (found, expected) = (emitted(&results), emitted(&expected));
        assert!((found[0][0][0] - expected[0][0][0]).abs() <= 1e-5, "round {round}");
        // The NaN stands in the context of the window after it as well.
        let skipped = matches!(round, 2..=4);
        match &results[1].1 {
            Ok(()) => assert!(!skipped, "round {round}"),
            Err(error) => {
                assert!(skipped && matches!(error, StageError::Skip(_)), "round {round}: {error}");
                assert!(error.to_string().contains("`silero-vad`") && error.to_string().contains("no finite numbers"));
            }
        }
        assert_eq!(results[1].0.len(), usize::from(!skipped));
        if let Some(emitted) = results[1].0.first() {
            assert_eq!(emitted.draft.flags.gap, round == 5);
            assert!(found[1][0][0].is_finite());
        }
    }
}

#[test]
fn a_batch_with_nan_in_it_leaves_the_other_items_as_they_are() {
    if !require_runtime() {
        return;
    }
    // Without a state that would carry it on, NaN goes in as it is.
    let bench = bench(&["image.onnx"]);
    let yaml = "model: image.onnx\nbatch: {max: 4}\nbatch_exact: true\n";
    let mut many = Many::new(&bench, yaml, 3, Format::ANY_TENSOR);
    let image = |fill: f32| tensor(0, &[3, 2, 2], &[fill; 12]);
    let results = many.call(vec![(0, image(1.0)), (1, image(f32::NAN)), (2, image(-1.0))]);
    let found = emitted(&results);
    assert_eq!((found[0][0][0], found[2][0][0]), (1.0, 0.0));
    assert!(found[1][0].iter().all(|y| y.is_nan()) && results.iter().all(|(_, result)| result.is_ok()));
    assert_eq!(results[0].0[0].draft.payload.tensor().unwrap().shape(), [3, 2, 2]);
    // The graph of silero itself leaves the other row, and its state, as they are.
    let bench = Bench::new();
    bare_silero(&bench);
    let Runnable::Stage(_) = read(&bench, BARE_SILERO).build().unwrap() else { panic!() };
    let files = bench.files("vad.onnx").unwrap();
    let graph = Graph::read(&files, files.graph_role()).unwrap();
    let mut session = Runtime::new(bench.settings(), Default::default()).open(&graph).unwrap();
    let good: Vec<f32> = clips()[5].samples[8000..8576].to_vec();
    let run = |session: &mut dyn Session, rows: &[&[f32]]| {
        let input = Tensor::new(vec![rows.len(), 576], rows.concat()).unwrap().into();
        let state = Tensor::zeros(DType::F32, vec![2, rows.len(), 128]).unwrap().into();
        let sr = Tensor::scalar(16_000i64).into();
        let found = session.run(&[("input", &input), ("state", &state), ("sr", &sr)], &["output", "stateN"]).unwrap();
        found.into_iter().map(|value| value.into_tensor().unwrap()).collect::<Vec<_>>()
    };
    let alone = run(&mut *session, &[&good]);
    let both = run(&mut *session, &[&good, &[f32::NAN; 576]]);
    let p = |tensor: &Tensor, place: usize| tensor.as_slice::<f32>().unwrap()[place];
    assert!((p(&both[0], 0) - p(&alone[0], 0)).abs() <= 1e-5);
    let state = both[1].narrow(1, 0, 1).unwrap();
    assert!(
        state
            .as_slice::<f32>()
            .unwrap()
            .iter()
            .zip(alone[1].as_slice::<f32>().unwrap())
            .all(|(a, b)| (a - b).abs() <= 1e-5)
    );
}

#[test]
fn a_plain_file_is_bound_by_the_keys_alone() {
    if !require_runtime() {
        return;
    }
    let bench = Bench::new();
    bare_silero(&bench);
    let samples = &clips()[5].samples;
    let carded = cut(&mut solo(&bench, "model: silero-vad\n", vec![sound()]), samples, &[4000]);
    let windows = "sample_rate_hz: 16000\nwindow_samples: 512\ncontext_samples: 64\n";
    let bare = cut(&mut solo(&bench, &format!("{BARE_SILERO}{windows}"), vec![sound()]), samples, &[4000]);
    assert_eq!(bare, carded);
    // Windows as tensors, cut by somebody else.
    let mut tensors = solo(&bench, BARE_SILERO, vec![Format::ANY_TENSOR]);
    let mut padded = vec![0.0; 64];
    padded.extend_from_slice(samples);
    for (place, (_, _, _, p)) in carded.iter().take(20).enumerate() {
        let window = &padded[place * 512..place * 512 + 576];
        let found = tensors.push(0, tensor(place as i64, &[576], window)).unwrap();
        assert_eq!(floats(&found[0].1), *p, "window {place}");
    }
    let error = tensors.push(0, tensor(90, &[576], &[f32::NAN; 576])).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
}

#[test]
fn small_graphs() {
    if !require_runtime() {
        return;
    }
    let bench = bench(&["accumulate.onnx", "cache.onnx", "scalar.onnx", "through.onnx", "relu.onnx", "image.onnx"]);
    type Step<'a> = (&'a [usize], &'a [f32], &'a [usize], &'a [f32]);
    let cases: [(&str, &str, &[Step<'_>]); 6] = [
        (
            "a state, and the batch axis added and taken away",
            "model: accumulate.onnx\nstate: {state: stateN}\n",
            &[(&[4], &[1., 2., 3., 4.], &[4], &[2., 4., 6., 8.]), (&[4], &[1.; 4], &[4], &[4., 6., 8., 10.])],
        ),
        (
            "a packet with a batch axis of its own keeps it",
            "model: accumulate.onnx\nstate: {state: stateN}\n",
            &[(&[1, 4], &[1., 2., 3., 4.], &[1, 4], &[2., 4., 6., 8.])],
        ),
        (
            "a state that grows from nothing",
            "model: cache.onnx\nstate: {past: present}\nstate_shape: {past: [1, 0, 2]}\noutput: sum\n\
             batch_axis: {sum: null}\n",
            &[(&[1, 2], &[1., 2.], &[], &[3.]), (&[1, 2], &[3., 4.], &[], &[10.])],
        ),
        ("no axis at all", "model: scalar.onnx\n", &[(&[], &[3.], &[], &[-3.])]),
        (
            "an axis that is not the batch's",
            "model: through.onnx\noutput: y\n",
            &[(&[3], &[-1., 0., 2.], &[3], &[0., 0., 2.])],
        ),
        ("a batch axis that is always 1", "model: relu.onnx\n", &[(&[4], &[-1., 1., 2., 3.], &[4], &[0., 1., 2., 3.])]),
    ];
    for (name, yaml, steps) in cases {
        let mut solo = solo(&bench, yaml, vec![Format::ANY_TENSOR]);
        for (place, (shape, elements, expected_shape, expected)) in steps.iter().enumerate() {
            let found = solo.push(0, tensor(place as i64, shape, elements)).unwrap();
            let (port, packet) = &found[0];
            assert_eq!((*port, packet.start), (0, at(place as i64)), "{name}");
            let found = packet.payload.tensor().unwrap();
            assert_eq!((found.shape(), found.as_slice::<f32>().unwrap()), (*expected_shape, *expected), "{name}");
        }
    }
    // An input that is an output as well has a port of its own.
    let mut solo = solo(&bench, "model: through.onnx\n", vec![Format::ANY_TENSOR]);
    let found = solo.push(0, tensor(0, &[2], &[-1., 1.])).unwrap();
    assert_eq!(
        found.iter().map(|(port, packet)| (*port, floats(packet))).collect::<Vec<_>>(),
        [(0, vec![-1., 1.]), (1, vec![0., 1.]),]
    );
}

#[test]
fn a_partial_packet_leaves_the_state_and_a_gap_begins_it_anew() {
    if !require_runtime() {
        return;
    }
    let bench = bench(&["accumulate.onnx"]);
    let mut solo = solo(&bench, "model: accumulate.onnx\nstate: {state: stateN}\n", vec![Format::ANY_TENSOR]);
    let mut push = |millis: i64, partial: bool, gap: bool| {
        let mut packet = tensor(millis, &[4], &[1.; 4]);
        packet.flags.partial = partial;
        packet.flags.gap = gap;
        packet.revision = 3;
        let (_, found) = solo.push(0, packet).unwrap().remove(0);
        assert_eq!((found.flags.partial, found.flags.gap, found.revision), (partial, gap, 3));
        floats(&found)[0]
    };
    assert_eq!(push(0, false, false), 2.0);
    assert_eq!(push(1, true, false), 4.0);
    assert_eq!(push(1, false, false), 4.0);
    assert_eq!(push(2, false, true), 2.0);
}

#[test]
fn packets_of_equal_start_are_run_together() {
    if !require_runtime() {
        return;
    }
    let bench = bench(&["accumulate.onnx"]);
    let blueprint = read(&bench, "model: accumulate.onnx\ninputs: {b: state}\ninput: x\noutput: y\n");
    let names: Vec<_> = blueprint.contract().inputs.into_iter().map(|port| port.name).collect();
    assert_eq!(names, ["x", "b"]);
    let Runnable::Stage(mut stage) = blueprint.build().unwrap() else { panic!() };
    let mut state = stage.open(&info(), &[Format::ANY_TENSOR, Format::ANY_TENSOR]).unwrap().state;
    let mut out = Output::new();
    let mut push = |port: usize, millis: i64, fill: f32| {
        let packet = tensor(millis, &[4], &[fill; 4]);
        stage.process(&mut state, Input { port, packet }, &mut out).unwrap();
        let found: Vec<_> = out
            .drain_emitted()
            .filter(|emitted| emitted.port == 0)
            .map(|emitted| (emitted.draft.start, emitted.draft.payload.tensor().unwrap().as_slice::<f32>().unwrap()[0]))
            .collect();
        let notices: Vec<_> = out.drain_events().map(|event| (event.kind, event.message)).collect();
        (found, notices)
    };
    assert_eq!(push(0, 0, 1.0), (vec![], vec![]));
    assert_eq!(push(1, 0, 2.0), (vec![(at(0), 6.0)], vec![]));
    assert_eq!(push(0, 1, 1.0), (vec![], vec![]));
    let (found, notices) = push(1, 2, 5.0);
    assert!(
        found.is_empty() && notices[0].0 == EventKind::Notice && notices[0].1.contains("came on `b`"),
        "{notices:?}"
    );
    assert_eq!(push(0, 2, 1.0), (vec![(at(2), 12.0)], vec![]));
}

#[test]
fn a_result_knows_the_picture_of_its_input() {
    let bench = bench(&["relu.onnx"]);
    let mut solo = solo(&bench, "model: relu.onnx\nbackend: engine\n", vec![Format::ANY_TENSOR]);
    for width in [None, Some(8), Some(4)] {
        let view = width.map(|width| Arc::new(View::whole(width, 2)));
        let packet = Packet { view: view.clone(), ..tensor(0, &[1, 4], &[1.0; 4]) };
        assert_eq!(solo.push(0, packet).unwrap()[0].1.view, view);
    }
}

#[test]
fn packets_that_do_not_fit_are_skipped_and_the_stream_goes_on() {
    if !require_runtime() {
        return;
    }
    let bench = bench(&["image.onnx", "reshape.onnx"]);
    let text = || Packet::new(StreamId(0), at(0), TimeSpan::ZERO, Payload::Text(Default::default()));
    let ints = Packet::new(StreamId(0), at(0), TimeSpan::ZERO, Tensor::from_vec(vec![1i64]));
    let stereo = Packet::new(StreamId(0), at(0), TimeSpan::ZERO, Audio::new(vec![0.0; 4], 2, rate()).unwrap());
    let slow = Packet::new(StreamId(0), at(0), TimeSpan::ZERO, Audio::mono(vec![0.0; 4], Rate::hz(8000).unwrap()));
    for (yaml, format, bad, says) in [
        (
            "model: image.onnx\n",
            Format::ANY_TENSOR,
            tensor(0, &[2, 2], &[0.; 4]),
            "`pixels` of model `image.onnx`: expected rank 4 [N, 3, 2, 2], found rank 2 [2, 2]",
        ),
        (
            "model: image.onnx\n",
            Format::ANY_TENSOR,
            tensor(0, &[3, 2, 3], &[0.; 18]),
            "expected shape [N, 3, 2, 2], found [3, 2, 3]",
        ),
        ("model: image.onnx\n", Format::ANY_TENSOR, ints, "expected f32, found i64"),
        ("model: image.onnx\n", Format::Any, text(), "expected a tensor, found text"),
        ("model: reshape.onnx\n", Format::ANY_TENSOR, tensor(0, &[3], &[0.; 3]), "failed on x f32 [3]"),
        ("model: silero-vad\n", sound(), text(), "expected sound, found text"),
        (
            "model: silero-vad\n",
            Format::Any,
            stereo,
            "expected audio 16000 Hz, 1 channel, found audio 16000 Hz, 2 channels",
        ),
        ("model: silero-vad\n", Format::Any, slow, "found audio 8000 Hz"),
    ] {
        let mut solo = solo(&bench, yaml, vec![format]);
        let error = solo.push(0, bad).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{yaml}: {error}");
        let good = match yaml.split_whitespace().nth(1).unwrap() {
            "image.onnx" => tensor(1, &[3, 2, 2], &[1.; 12]),
            "reshape.onnx" => tensor(1, &[4], &[1.; 4]),
            _ => audio(0, &[0.0; 512]),
        };
        let found = solo.push(0, good).unwrap();
        assert_eq!(found.len(), 1, "{yaml}");
    }
    // Sound of no length is nothing to run.
    let mut solo = solo(&bench, "model: silero-vad\n", vec![sound()]);
    assert!(solo.push(0, audio(0, &[])).unwrap().is_empty() && solo.flush().unwrap().is_empty());
}

/// A session that fails whenever 13 goes in.
struct Fussy(Box<dyn Session>);

impl Session for Fussy {
    fn model(&self) -> &str {
        self.0.model()
    }

    fn inputs(&self) -> &[Port] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.0.outputs()
    }

    fn backend(&self) -> Backend {
        self.0.backend()
    }

    fn provider(&self) -> Provider {
        self.0.provider()
    }

    fn metadata(&self) -> &Metadata {
        self.0.metadata()
    }

    fn canceller(&self) -> inference::Canceller {
        self.0.canceller()
    }

    fn run(&mut self, inputs: &[(&str, &Value)], outputs: &[&str]) -> Result<Vec<Value>, InferenceError> {
        let unlucky = |value: &Value| value.to_tensor().unwrap().as_slice::<f32>().unwrap().contains(&13.0);
        if inputs.iter().any(|(_, value)| unlucky(value)) {
            let (model, inputs) = (self.model().to_owned(), check::describe(inputs));
            return Err(InferenceError::Failed { model, inputs, reason: "13".into() });
        }
        self.0.run(inputs, outputs)
    }
}

#[test]
fn a_failure_in_a_batch_is_its_own_streams() {
    if !require_runtime() {
        return;
    }
    let bench = bench(&["accumulate.onnx"]);
    let yaml = "model: accumulate.onnx\nstate: {state: stateN}\nbatch: {max: 4}\nbatch_exact: true\n";
    let onnx = bench.context(yaml, |context| {
        let config: OnnxConfig = crate::config::read(context.node, context.source).unwrap();
        let files = ModelFiles::find(context).unwrap();
        let graph = Graph::read(&files, files.graph_role()).unwrap();
        let binding = Arc::new(Binding::new(&config, &graph, &files, context).unwrap());
        let live = LiveModel::new(binding, graph, Runtime::read(context, config.session).unwrap());
        let (session, serving) = live.begin().unwrap();
        let canceller = Arc::new(Mutex::new(session.canceller()));
        OnnxStage { live: Arc::new(live), session: Box::new(Fussy(session)), serving, canceller }
    });
    let Runnable::Stage(mut stage) = Runnable::stage(onnx) else { panic!() };
    let states = (0..3).map(|_| stage.open(&info(), &[Format::ANY_TENSOR]).unwrap().state).collect();
    let mut many = Many { stage, states };
    let all = |fills: [f32; 3]| (0..3).map(|i| (i, tensor(0, &[4], &[fills[i]; 4]))).collect::<Vec<_>>();
    let rows = |results: &Results| emitted(results).iter().map(|all| all.first().map(|y| y[0])).collect::<Vec<_>>();
    assert_eq!(rows(&many.call(all([1.0, 2.0, 3.0]))), [Some(2.0), Some(4.0), Some(6.0)]);
    let results = many.call(all([1.0, 13.0, 3.0]));
    assert_eq!(rows(&results), [Some(4.0), None, Some(12.0)]);
    let error = results[1].1.as_ref().unwrap_err();
    assert!(
        matches!(error, StageError::Skip(_)) && error.to_string().contains("`accumulate.onnx` failed on"),
        "{error}"
    );
    assert!(results[0].1.is_ok() && results[2].1.is_ok());
    // The stream that failed goes on with the state that it had.
    let results = many.call(all([1.0, 1.0, 1.0]));
    assert_eq!(rows(&results), [Some(6.0), Some(6.0), Some(14.0)]);
    assert_eq!(results.iter().map(|(emitted, _)| emitted[0].draft.flags.gap).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn an_output_without_the_batch_axis_it_should_have_says_which_key_helps() {
    if !require_runtime() {
        return;
    }
    let bench = bench(&["accumulate.onnx"]);
    let yaml = "model: accumulate.onnx\nstate: {state: stateN}\nbatch_axis: {y: 1}\n";
    let error = solo(&bench, yaml, vec![Format::ANY_TENSOR]).push(0, tensor(0, &[4], &[1.0; 4])).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("came out as [1, 4], expected 1 at its batch axis 1; name the right one"), "{text}");
}

#[test]
fn a_cancelled_call_skips_its_packet_and_the_next_works() {
    if !require_runtime() {
        return;
    }
    let bench = Bench::new();
    bench.write("count.onnx", std::fs::read(small_model("count.onnx")).unwrap());
    let Runnable::Stage(mut stage) = read(&bench, "model: count.onnx\n").build().unwrap() else { panic!() };
    let canceller = stage.canceller().unwrap();
    let mut state = stage.open(&info(), &[Format::ANY_TENSOR]).unwrap().state;
    let mut out = Output::new();
    let packet = |trips: i64| Packet::new(StreamId(0), at(trips.min(9)), TimeSpan::ZERO, Tensor::scalar(trips));
    let stop = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        canceller.cancel();
    });
    let error = stage.process(&mut state, Input { port: 0, packet: packet(i64::MAX) }, &mut out).unwrap_err();
    stop.join().unwrap();
    assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("cancelled"), "{error}");
    stage.process(&mut state, Input { port: 0, packet: packet(3) }, &mut out).unwrap();
    let found: Vec<_> = out.drain_emitted().collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].draft.flags.gap);
    assert_eq!(found[0].draft.payload.tensor().unwrap().as_slice::<f32>().unwrap(), [3.0]);
}

/// A card for one of the small models, with these lines.
fn card(bench: &Bench, file: &str, lines: &str) {
    bench.write(&format!("models/own/{file}"), std::fs::read(small_model(file)).unwrap());
    let text =
        format!("percept_card: 1\nname: own\nkind: onnx\nsummary: s\nlicence: MIT\nsource: {{text: t}}\n{lines}");
    bench.write("models/own/card.yaml", text);
}

#[test]
fn everything_that_does_not_fit_is_a_fault_at_its_place() {
    let bench = bench(&["accumulate.onnx", "image.onnx", "cache.onnx", "relu.onnx", "identity.onnx"]);
    bench.write("half.onnx", &std::fs::read(small_model("identity.onnx")).unwrap()[..600]);
    bare_silero(&bench);
    let accumulate = "model: accumulate.onnx\n";
    for (yaml, place, code, says) in [
        (format!("{accumulate}input: xx\n"), "2:8", "unknown-input", "one of `x`, `state`"),
        (format!("{accumulate}inputs: {{a: y}}\n"), "2:13", "unknown-input", "one of `x`, `state`"),
        (format!("{accumulate}output: Y\n"), "2:9", "unknown-output", "did you mean `y`?"),
        (format!("{accumulate}outputs: [y, z]\n"), "2:10", "unknown-output", "one of `y`, `stateN`"),
        (format!("{accumulate}state: {{sate: stateN}}\n"), "2:15", "unknown-input", "did you mean `state`?"),
        (format!("{accumulate}state: {{state: stateM}}\n"), "2:16", "unknown-output", "did you mean `stateN`?"),
        (format!("{accumulate}constants: {{stat: 1}}\n"), "2:19", "unknown-input", "did you mean `state`?"),
        (format!("{accumulate}constants: {{state: one}}\n"), "2:20", "bad-constant", "expected f32, found \"one\""),
        (
            format!("{accumulate}constants: {{state: 0}}\nstate: {{state: stateN}}\n"),
            "3:16",
            "bound-twice",
            "both a state and a constant",
        ),
        (format!("{accumulate}constants: {{state: 0, x: 0}}\n"), "2:12", "no-input", "no input of `accumulate.onnx`"),
        (format!("{accumulate}input: x\n"), "1:8", "unbound-input", "nothing fills input `state` (f32 [batch, 4])"),
        (format!("{accumulate}inputs: {{a: x, b: x}}\n"), "2:19", "bound-twice", "both `a` and `b`"),
        (format!("{accumulate}state: {{state: y, x: y}}\n"), "2:22", "bound-twice", "feeds both"),
        (format!("{accumulate}state: {{x: y, state: stateN}}\n"), "", "no-output", "every output"),
        (
            format!("{accumulate}state_shape: {{x: [1, 4]}}\nstate: {{state: stateN}}\n"),
            "2:18",
            "unknown-state",
            "`x` is no state",
        ),
        (
            format!("{accumulate}state: {{state: stateN}}\nstate_shape: {{state: [1, 5]}}\n"),
            "3:22",
            "state-shape",
            "expected shape [batch, 4]",
        ),
        (format!("{accumulate}batch_axis: {{x: 2}}\nstate: {{state: stateN}}\n"), "2:17", "batch-axis", "no axis 2"),
        (
            format!("{accumulate}batch_axis: {{z: 0}}\nstate: {{state: stateN}}\n"),
            "2:17",
            "unknown-input",
            "no input or output `z`",
        ),
        (
            format!("{accumulate}state: {{state: stateN}}\nbatch: {{max: 2}}\n"),
            "3:8",
            "batch-never",
            "`batch_exact: true`",
        ),
        ("model: relu.onnx\nbatch: {max: 2}\nbatch_exact: true\n".into(), "2:8", "batch-axis", "is always 1"),
        ("model: cache.onnx\nstate: {past: sum}\n".into(), "2:15", "state-mismatch", "found: f32 []"),
        ("model: image.onnx\nwindow_samples: 5\n".into(), "2:17", "window", "sound cannot fill input `pixels`"),
        ("model: image.onnx\nhop_samples: 5\n".into(), "2:14", "window", "set `window_samples`"),
        ("model: identity.onnx\nwindow_samples: 5\n".into(), "2:17", "window", "packets fill several"),
        ("model: relu.onnx\nwindow_samples: 3\ncontext_samples: 2\n".into(), "2:17", "window", "3 + 2 = 5"),
        ("model: silero-vad\nwindow_samples: 480\n".into(), "2:17", "window", "takes 576 samples at a time"),
        ("model: silero-vad\nstate: {}\n".into(), "1:8", "unbound-input", "input `state`"),
        ("model: half.onnx\n".into(), "1:8", "bad-model", "half.onnx: cut off or damaged"),
        ("model: gone.onnx\n".into(), "1:8", "unknown-model", "found nothing there"),
        ("model: relu.onnx\nproviders: []\n".into(), "2:12", "no-provider", "cpu, cuda, tensorrt"),
        ("model: relu.onnx\nwidow_samples: 5\n".into(), "2:1", "unknown-key", "did you mean `window_samples`?"),
    ] {
        let faults = bench.read(&KIND, &yaml).map(|_| ()).unwrap_err().to_string();
        let fault = faults.split("test.yaml:").find(|fault| fault.contains(&format!("[{code}]"))).unwrap_or_default();
        assert!(fault.starts_with(place) && fault.contains(says), "{yaml}\n{faults}");
    }
    let all =
        "model: accumulate.onnx\ninput: xx\noutput: yy\nstate: {state: stateM}\nbatch_axis: {q: 1}\nproviders: []\n";
    assert_eq!(bench.read(&KIND, all).map(|_| ()).unwrap_err().len(), 5);
}

#[test]
fn what_a_card_says_is_held_against_the_graph() {
    let bench = Bench::new();
    let files = "files: {model: {path: relu.onnx}, names: {path: names.txt}}\nlabels: {file: names, size: 4}\n";
    bench.write("models/own/names.txt", "a\nb\nc\nd\n");
    card(&bench, "relu.onnx", files);
    assert!(bench.read(&KIND, "model: own\n").is_ok());
    for (names, lines, code, says) in [
        ("a\nb\n", files.to_owned(), "labels-size", "expected: 4 lines, as the card says"),
        (
            "a\nb\nc\n",
            files.replace("size: 4", "size: 3"),
            "labels-size",
            "expected: 4 labels, as output `y` has ([1, 4])",
        ),
        ("a\nb\nc\nd\n", files.replace("names.txt", "gone.txt"), "model-file", "which is not there"),
        (
            "a\nb\nc\nd\n",
            format!("{files}batch: never\nconfig: {{batch: {{max: 2}}}}\n"),
            "batch-never",
            "`batch: never` in its card",
        ),
    ] {
        bench.write("models/own/names.txt", names);
        card(&bench, "relu.onnx", &lines);
        let faults = bench.read(&KIND, "model: own\n").map(|_| ()).unwrap_err().to_string();
        assert!(faults.contains(&format!("[{code}]")) && faults.contains(says), "{lines}\n{faults}");
    }
}

#[test]
fn formats_flow_through_the_graph() {
    let bench = bench(&["accumulate.onnx", "image.onnx", "through.onnx", "scalar.onnx"]);
    let shape = |text: &str| {
        let dims = text.split_whitespace().map(|dim| match dim.parse() {
            Ok(size) => Dim::Known(size),
            Err(_) => Dim::Symbol(dim.into()),
        });
        SymbolicShape::Ranked(dims.collect())
    };
    let tensor = |text: &str| Format::Tensor { dtype: Some(DType::F32), shape: shape(text) };
    let unranked = Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Unranked };
    let audio = |hz: u32, channels: u16| Format::audio(Some(Rate::hz(hz).unwrap()), Some(channels));
    for (yaml, input, output) in [
        ("model: silero-vad\n", audio(16_000, 1), Ok(tensor("1"))),
        ("model: silero-vad\n", Format::ANY_AUDIO, Ok(tensor("1"))),
        ("model: silero-vad\n", audio(48_000, 1), Err("insert `- preprocess: resample` with `sample_rate_hz: 16000`")),
        ("model: silero-vad\n", audio(16_000, 2), Err("insert `- preprocess: mono`")),
        (
            "model: silero-vad\n",
            tensor("576"),
            Err("expected audio 16000 Hz, 1 channel (cut into windows of 512 samples)"),
        ),
        ("model: image.onnx\n", tensor("3 2 2"), Ok(tensor("3 2 2"))),
        ("model: image.onnx\n", tensor("1 3 2 2"), Ok(tensor("1 3 2 2"))),
        ("model: image.onnx\n", tensor("3 2 4"), Err("expected tensor f32 [N, 3, 2, 2] or [3, 2, 2]")),
        ("model: image.onnx\n", tensor("2 2"), Err("found tensor f32 [2, 2]")),
        ("model: image.onnx\n", Format::ANY_TENSOR, Ok(unranked.clone())),
        ("model: image.onnx\n", Format::Any, Ok(unranked.clone())),
        ("model: image.onnx\n", Format::Text, Err("found text")),
        ("model: through.onnx\noutput: y\n", tensor("7"), Ok(tensor("7"))),
        ("model: through.onnx\noutput: y\n", tensor("frames"), Ok(tensor("n"))),
        ("model: through.onnx\noutput: y\n", audio(8000, 1), Ok(tensor("n"))),
        ("model: accumulate.onnx\nstate: {state: stateN}\n", tensor("batch 4"), Ok(tensor("batch 4"))),
        ("model: scalar.onnx\n", tensor(""), Ok(tensor(""))),
        (
            "model: image.onnx\n",
            Format::Tensor { dtype: Some(DType::I64), shape: shape("3 2 2") },
            Err("found tensor i64 [3, 2, 2]"),
        ),
    ] {
        let blueprint = read(&bench, yaml);
        match (blueprint.outputs(std::slice::from_ref(&input)), output) {
            (Ok(found), Ok(expected)) => assert_eq!(found[0], expected, "{yaml} {input}"),
            (Err(faults), Err(says)) => {
                let fault = &faults[0];
                let text = format!("expected {}, found {}; {:?}", fault.expected, fault.found, fault.help);
                assert!(text.contains(says), "{yaml} {input}: {text}");
            }
            (found, _) => panic!("{yaml} {input}: {found:?}"),
        }
    }
}

#[test]
fn the_contract_follows_the_graph() {
    let bench = bench(&["accumulate.onnx"]);
    let contract = read(&bench, "model: silero-vad\nbatch: {max: 8, wait_ms: 3}\n").contract();
    let [input] = &contract.inputs[..] else { panic!() };
    assert_eq!((input.name.as_str(), &input.format), ("input", &Format::ANY_AUDIO));
    assert_eq!(contract.outputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["output"]);
    assert_eq!((contract.batch.max, contract.batch.wait), (8, TimeSpan::from_millis(3)));
    assert!(contract.deadline.is_some());
    let contract = read(&bench, "model: accumulate.onnx\noutput: stateN\n").contract();
    let outputs: Vec<_> = contract.outputs.iter().map(|port| (port.name.as_str(), port.optional)).collect();
    assert_eq!(outputs, [("stateN", false), ("y", true)]);
}
