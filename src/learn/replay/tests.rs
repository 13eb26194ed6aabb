use proptest::prelude::*;

use super::*;
use crate::learn::config::ReplayConfig;
use crate::media::StreamId;
use crate::tensor::Tensor;
use crate::units::Timestamp;

fn sample(number: usize, class: usize, len: usize) -> Sample {
    let input = Tensor::from_vec(vec![number as f32; len.max(1)]);
    Sample { input, target: Target::Class(class), stream: StreamId(0), start: Timestamp::from_nanos(number as i64) }
}

fn config(size: usize, keep: Keep, holdout: f64) -> LearnConfig {
    LearnConfig { replay: ReplayConfig { size, keep, ..ReplayConfig::default() }, holdout, ..LearnConfig::default() }
}

fn number(sample: &Sample) -> usize {
    sample.start.as_nanos() as usize
}

/// Each of 200 samples must stay with the same probability, a quarter: χ² of 199 degrees of freedom is below 266 in 999
/// of 1000 cases.
#[test]
fn a_reservoir_is_uniform() {
    let (rounds, of, size) = (2000u64, 200, 50);
    let mut stayed = vec![0u64; of];
    for seed in 0..rounds {
        let mut replay = Replay::new(&LearnConfig { seed, ..config(size, Keep::Reservoir, 1e-12) });
        for number in 0..of {
            replay.offer(sample(number, 0, 1));
        }
        assert_eq!(replay.kept().len(), size);
        replay.kept().for_each(|kept| stayed[number(kept)] += 1);
    }
    let probability = size as f64 / of as f64;
    let expected = rounds as f64 * probability;
    let chi_square: f64 =
        stayed.iter().map(|count| (*count as f64 - expected).powi(2) / (expected * (1.0 - probability))).sum();
    assert!(chi_square < 266.0 && chi_square > 140.0, "{chi_square}");
}

#[test]
fn a_balanced_reservoir_keeps_rare_classes() {
    let mut replay = Replay::new(&config(60, Keep::Balanced, 1e-12));
    // Of 3000 samples 20 are of class 1, and 100 of class 2.
    for number in 0..3000 {
        let class = if number % 150 == 7 {
            1
        } else if number % 30 == 3 {
            2
        } else {
            0
        };
        replay.offer(sample(number, class, 1));
    }
    let count = |class| replay.kept().filter(|kept| kept.target == Target::Class(class)).count();
    assert_eq!(count(1), 20, "each of the rarest stays");
    assert!(count(2) >= 18 && count(0) >= 18, "{} {}", count(2), count(0));
    assert_eq!(replay.kept().len(), 60);
}

#[test]
fn recent_ones_are_the_last() {
    let mut replay = Replay::new(&config(10, Keep::Recent, 1e-12));
    (0..100).for_each(|number| {
        let _ = replay.offer(sample(number, 0, 1));
    });
    assert_eq!(replay.kept().map(number).collect::<Vec<_>>(), (90..100).collect::<Vec<_>>());
}

#[test]
fn what_is_held_out_is_never_learned_from_and_follows_from_the_seed() {
    let held = |seed| {
        let mut replay = Replay::new(&LearnConfig { seed, ..config(1000, Keep::Reservoir, 0.2) });
        let places: Vec<Place> = (0..1000).map(|number| replay.offer(sample(number, 0, 1))).collect();
        let held: BTreeSet<usize> = replay.held_out().map(number).collect();
        assert!(replay.kept().all(|kept| !held.contains(&number(kept))));
        for _ in 0..50 {
            assert!(replay.minibatch(16).iter().all(|one| places[number(one)] == Place::Kept));
        }
        assert!((150..=200).contains(&held.len()), "{}", held.len());
        held
    };
    assert_eq!(held(1), held(1));
    assert_ne!(held(1), held(2));
}

#[test]
fn a_minibatch_has_its_share_of_the_old_task_and_one_shape() {
    let mut settings = config(1000, Keep::Reservoir, 0.2);
    settings.replay.seed_share = 0.3;
    let mut replay = Replay::new(&settings);
    (0..50).for_each(|number| {
        let _ = replay.seed(sample(number, 1, 1));
    });
    assert!(replay.minibatch(10).is_empty(), "nothing of this stream yet");
    (50..100).for_each(|number| {
        let _ = replay.offer(sample(number, 0, 1));
    });
    let batches: Vec<Sample> = (0..500).flat_map(|_| replay.minibatch(16)).collect();
    assert_eq!(batches.len(), 8000);
    let old = batches.iter().filter(|one| number(one) < 50).count() as f64 / 8000.0;
    assert!((old - 0.3).abs() < 0.01, "{old}");
    (100..150).for_each(|number| {
        let _ = replay.offer(sample(number, 0, 2));
    });
    for _ in 0..50 {
        let batch = replay.minibatch(16);
        assert!(batch.iter().all(|one| one.input.shape() == batch[0].input.shape()));
    }
}

proptest! {
    #[test]
    fn bounds_hold_in_samples_and_bytes(
        lens in prop::collection::vec((0usize..3000, 0usize..5), 1..300),
        size in 1usize..60,
        bytes in 1024usize..40_000,
        keep in prop::sample::select(vec![Keep::Reservoir, Keep::Balanced, Keep::Recent]),
    ) {
        let mut settings = config(size, keep, 0.3);
        settings.replay.bytes = bytes;
        settings.promote.min_samples = 2;
        let mut replay = Replay::new(&settings);
        for (number, (len, class)) in lens.into_iter().enumerate() {
            let one = sample(number, class, len);
            let fits = one.byte_len() <= bytes;
            prop_assert_eq!(replay.seed(one.clone()) && !fits, false);
            let place = replay.offer(one);
            prop_assert!(fits || place == Place::PassedOver);
            let sum = |samples: &mut dyn Iterator<Item = &Sample>| samples.map(Sample::byte_len).sum::<usize>();
            let held = (sum(&mut replay.kept()), sum(&mut replay.seeds()), sum(&mut replay.held_out()));
            prop_assert_eq!(held, replay.byte_len());
            prop_assert!(held.0 <= bytes && held.1 <= bytes && held.2 <= bytes);
            prop_assert!(replay.kept().len() <= size && replay.seeds().len() <= size);
        }
    }
}
