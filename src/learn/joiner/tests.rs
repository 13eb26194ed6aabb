use proptest::prelude::*;

use super::*;
use crate::learn::config::LabelsConfig;

const A: StreamId = StreamId(1);
const B: StreamId = StreamId(2);

fn at(millis: i64) -> Timestamp {
    Timestamp::ZERO + TimeSpan::from_millis(millis)
}

fn config(wait_ms: u32, tolerance_ms: u32) -> LearnConfig {
    LearnConfig { labels: LabelsConfig { wait_ms, tolerance_ms, ..LabelsConfig::default() }, ..LearnConfig::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Input(StreamId, i64, i64),
    Bad(StreamId, i64),
    Label(StreamId, i64, i64, usize),
    Advance(StreamId, i64),
    End(StreamId),
}

fn take(joiner: &mut Joiner, step: &Step) {
    match *step {
        Step::Input(stream, start, length) => {
            joiner.input(stream, at(start), TimeSpan::from_millis(length), Tensor::from_vec(vec![start as f32]));
        }
        Step::Bad(stream, start) => {
            joiner.input(stream, at(start), TimeSpan::ZERO, Tensor::from_vec(vec![f32::NAN]));
        }
        Step::Label(stream, start, length, class) => {
            joiner.label(stream, at(start), TimeSpan::from_millis(length), Target::Class(class));
        }
        Step::Advance(stream, now) => joiner.advance(stream, at(now)),
        Step::End(stream) => joiner.end(stream),
    }
}

fn run(config: &LearnConfig, steps: &[Step]) -> (Vec<(u32, i64, usize)>, Counts) {
    let mut joiner = Joiner::new(config);
    let mut joined = Vec::new();
    for step in steps {
        take(&mut joiner, step);
        while let Some(sample) = joiner.pop() {
            assert_eq!(sample.input.as_slice::<f32>().unwrap()[0] as i64, sample.start.as_nanos() / 1_000_000);
            let Target::Class(class) = sample.target else { panic!("{:?}", sample.target) };
            joined.push((sample.stream.0, sample.start.as_nanos() / 1_000_000, class));
        }
    }
    joined.sort();
    (joined, joiner.counts())
}

use Step::{Advance, Bad, End, Input, Label};

/// What it is about, what is done, the samples (stream, start, class), and the counts.
type Case = (&'static str, Vec<Step>, Vec<(u32, i64, usize)>, Counts);

#[test]
fn each_end_of_an_input_and_of_a_label_has_a_name() {
    let count = |change: fn(&mut Counts)| {
        let mut counts = Counts::default();
        change(&mut counts);
        counts
    };
    let cases: &[Case] = &[
        (
            "the label starts with its input, and is joined at once",
            vec![Input(A, 0, 10), Label(A, 0, 0, 7)],
            vec![(1, 0, 7)],
            count(|c| (c.inputs, c.labels, c.joined) = (1, 1, 1)),
        ),
        (
            "inside the input: joined when a later input starts",
            vec![Input(A, 0, 10), Label(A, 5, 0, 7), Input(A, 10, 10)],
            vec![(1, 0, 7)],
            count(|c| (c.inputs, c.labels, c.joined, c.early) = (2, 1, 1, 1)),
        ),
        (
            "of overlapping inputs the one that starts last",
            vec![Input(A, 0, 30), Input(A, 10, 30), Input(A, 20, 30), Label(A, 15, 0, 7)],
            vec![(1, 10, 7)],
            count(|c| (c.inputs, c.labels, c.joined) = (3, 1, 1)),
        ),
        (
            "in a hole: the nearer one, within the tolerance",
            vec![Input(A, 0, 10), Input(A, 30, 10), Label(A, 12, 0, 1), Label(A, 28, 0, 2), Advance(A, 100)],
            vec![(1, 0, 1), (1, 30, 2)],
            count(|c| (c.inputs, c.labels, c.joined) = (2, 2, 2)),
        ),
        (
            "in a hole, too far",
            vec![Input(A, 0, 10), Input(A, 100, 10), Label(A, 50, 0, 1), Advance(A, 200)],
            vec![],
            count(|c| (c.inputs, c.labels, c.unmatched) = (2, 1, 1)),
        ),
        (
            "early: the label waits for its input",
            vec![Label(A, 0, 0, 7), Input(A, 0, 10)],
            vec![(1, 0, 7)],
            count(|c| (c.inputs, c.labels, c.joined, c.early) = (1, 1, 1, 1)),
        ),
        (
            "missing, and then late",
            vec![Input(A, 0, 10), Advance(A, 1011), Label(A, 0, 0, 7), Advance(A, 1012)],
            vec![],
            count(|c| (c.inputs, c.labels, c.missing, c.late) = (1, 1, 1, 1)),
        ),
        (
            "late, after the end of the stream",
            vec![Input(A, 0, 10), End(A), Label(A, 0, 0, 7)],
            vec![],
            count(|c| (c.inputs, c.labels, c.missing, c.late) = (1, 1, 1, 1)),
        ),
        (
            "duplicate",
            vec![Input(A, 0, 10), Label(A, 0, 0, 7), Label(A, 0, 0, 8)],
            vec![(1, 0, 7)],
            count(|c| (c.inputs, c.labels, c.joined, c.duplicate) = (1, 2, 1, 1)),
        ),
        (
            "wrong stream",
            vec![Input(A, 0, 10), Label(B, 0, 0, 7), End(B), End(A)],
            vec![],
            count(|c| (c.inputs, c.labels, c.early, c.missing, c.wrong_stream) = (1, 1, 1, 1, 1)),
        ),
        (
            "malformed: not finite, backward, of negative length",
            vec![Input(A, 10, 10), Bad(A, 20), Input(A, 0, 10), Input(A, 20, -1), Label(A, 10, -1, 0), End(A)],
            vec![],
            count(|c| (c.inputs, c.labels, c.malformed, c.missing) = (4, 1, 4, 1)),
        ),
        (
            "one that waits is counted as waiting",
            vec![Label(A, 5, 0, 7)],
            vec![],
            count(|c| (c.labels, c.early, c.early_waiting) = (1, 1, 1)),
        ),
    ];
    for (what, steps, expected, counts) in cases {
        let (joined, found) = run(&config(1000, 5), steps);
        assert_eq!((&joined, &found), (expected, counts), "{what}");
    }
}

#[test]
fn a_label_of_a_stream_is_for_all_of_its_inputs_and_one_of_a_span_for_those_in_it() {
    let config = LearnConfig { per: Per::Stream, ..config(1000, 0) };
    let whole = [Input(A, 0, 10), Input(B, 0, 10), Label(A, 0, 0, 3), Input(A, 10, 10), End(A), End(B)];
    let (joined, counts) = run(&config, &whole);
    assert_eq!(joined, [(1, 0, 3), (1, 10, 3)]);
    assert_eq!((counts.joined, counts.missing, counts.unmatched), (2, 1, 0));
    let span = [Input(A, 0, 10), Input(A, 10, 10), Input(A, 20, 10), Label(A, 10, 10, 5), End(A)];
    let (joined, counts) = run(&config, &span);
    assert_eq!(joined, [(1, 10, 5)]);
    assert_eq!((counts.missing, counts.unmatched), (2, 0));
    let nothing = [Input(A, 0, 10), Label(A, 500, 10, 5), Input(A, 2000, 10), End(A)];
    let (joined, counts) = run(&config, &nothing);
    assert_eq!((joined.len(), counts.missing, counts.unmatched), (0, 2, 1));
}

#[test]
fn a_flood_is_held_in_bounds_and_every_end_is_counted() {
    let mut settings = config(60_000, 0);
    settings.labels.waiting = 100;
    settings.replay.bytes = 20_000;
    let mut joiner = Joiner::new(&settings);
    let big = || Tensor::from_vec(vec![1.0f32; 200]);
    let name = || Target::Name("a name that takes more than nothing".into());
    for step in 0..2000i64 {
        joiner.label(StreamId((step % 7) as u32), at(step + 500), TimeSpan::ZERO, name());
        if step % 3 == 0 {
            joiner.input(A, at(step), TimeSpan::from_millis(1), big());
        }
        if step % 5 == 0 {
            joiner.label(A, at(step - step % 3), TimeSpan::ZERO, Target::Class(1));
        }
        assert!(joiner.byte_len() <= 20_000, "{} bytes at step {step}", joiner.byte_len());
    }
    for stream in 0..7 {
        joiner.end(StreamId(stream));
    }
    let mut popped = 0;
    while joiner.pop().is_some() {
        popped += 1;
    }
    let counts = joiner.counts();
    assert_eq!(joiner.byte_len(), 0, "{counts:?}");
    assert_eq!(counts.early_waiting, 0);
    assert!(counts.evicted > 0 && counts.wrong_stream > 0 && popped > 0 && popped <= counts.joined, "{counts:?}");
    let ends = counts.joined + counts.late + counts.duplicate + counts.wrong_stream + counts.unmatched;
    assert!(ends <= counts.labels && ends + counts.evicted >= counts.labels, "{counts:?}");
}

/// Inputs in order and labels in order, laid into each other.
fn interleave(inputs: &[Step], labels: &[Step], choices: &[bool]) -> Vec<Step> {
    let (mut inputs, mut labels) = (inputs.iter(), labels.iter());
    let mut steps: Vec<Step> =
        choices.iter().filter_map(|input| if *input { inputs.next() } else { labels.next() }.cloned()).collect();
    steps.extend(inputs.cloned());
    steps.extend(labels.cloned());
    steps.extend([Advance(A, 1 << 20), End(A), End(B)]);
    steps
}

proptest! {
    #[test]
    fn any_order_gives_the_same_samples(
        gaps in prop::collection::vec((1i64..40, 1i64..60), 1..30),
        places in prop::collection::btree_map((any::<bool>(), 0i64..900), 0usize..10, 0..25),
        tolerance in 0u32..20,
        choices in prop::collection::vec(any::<bool>(), 0..60),
        swaps in prop::collection::vec((0usize..25, 0usize..25), 0..20),
    ) {
        let (mut inputs, mut start) = (Vec::new(), 0);
        for (at, (gap, length)) in gaps.iter().enumerate() {
            let stream = if at % 3 == 0 { B } else { A };
            inputs.push(Input(stream, start, *length));
            start += gap;
        }
        let config = config(10_000_000, tolerance);
        let label = |((first, at), class): (&(bool, i64), &usize)| Label(if *first { A } else { B }, *at, 0, *class);
        // Of two labels for one input the first one counts: only one of each is given in another order.
        let mut labels = Vec::new();
        for one in places.iter().map(label) {
            let steps: Vec<Step> = labels.iter().cloned().chain([one.clone()]).collect();
            if run(&config, &interleave(&inputs, &steps, &[])).1.duplicate == 0 {
                labels.push(one);
            }
        }
        let expected = run(&config, &interleave(&inputs, &labels, &[]));
        let mut shuffled = labels.clone();
        for (from, to) in swaps {
            if from < labels.len() && to < labels.len() {
                shuffled.swap(from, to);
            }
        }
        for order in [&labels, &shuffled] {
            let (joined, counts) = run(&config, &interleave(&inputs, order, &choices));
            prop_assert_eq!(&joined, &expected.0);
            prop_assert_eq!((counts.unmatched, counts.missing), (expected.1.unmatched, expected.1.missing));
        }
    }
}
