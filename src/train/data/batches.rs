//! Minibatches of a data set, one after the other.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::augment::Augmenter;
use super::buckets::{Buckets, Placed};
use super::{DataError, DataSet, Sample, collate};
use crate::tensor::{DType, Element, Tensor};

/// How samples become minibatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchSettings {
    /// Samples in a minibatch. Default: 32.
    #[serde(default = "default_size")]
    #[schemars(range(min = 1))]
    pub size: usize,
    /// Leaves out a last minibatch that is not full. Default: false.
    #[serde(default)]
    pub drop_last: bool,
    /// Bad samples that are passed over, [those known before](Batches::knowing) among them; one more ends the pass with an
    /// error. Default: 0.
    #[serde(default)]
    pub max_bad: usize,
    /// Minibatches that are read ahead in the background. Default: 4.
    #[serde(default = "default_ahead")]
    #[schemars(range(min = 1, max = 1024))]
    pub ahead: usize,
}

fn default_size() -> usize {
    32
}

fn default_ahead() -> usize {
    4
}

impl Default for BatchSettings {
    fn default() -> Self {
        BatchSettings { size: default_size(), drop_last: false, max_bad: 0, ahead: default_ahead() }
    }
}

/// A place in a pass through the data, between two minibatches: what a checkpoint keeps to go on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Minibatches before it.
    pub batches: u64,
    /// Entries of the order before it, bad samples included.
    pub samples: usize,
}

/// A minibatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The inputs, stacked along a new first dimension.
    pub inputs: Tensor,
    /// The targets, stacked likewise.
    pub targets: Tensor,
    /// The numbers of its samples.
    pub indices: Vec<usize>,
    /// How many steps each sample has of its own; none without [buckets](Batches::with_buckets).
    pub lengths: Vec<usize>,
    /// Where the next minibatch begins.
    pub next: Position,
}

/// A sample that was passed over.
#[derive(Debug)]
pub struct BadSample {
    /// Its number.
    pub index: usize,
    /// What is wrong with it.
    pub error: DataError,
}

/// Reads minibatches as they are asked for. A bad sample (one that cannot be read, that holds NaN or an infinity, or
/// whose shape differs from the first of its minibatch) is passed over and the next takes its place.
pub struct Batches {
    data: Arc<dyn DataSet>,
    order: Vec<usize>,
    settings: BatchSettings,
    epoch: u64,
    augmenter: Option<Arc<Augmenter>>,
    position: Position,
    bad: Vec<BadSample>,
    known: BTreeSet<usize>,
    ended: bool,
    sorting: Option<Sorting>,
}

/// Samples on their way through buckets.
struct Sorting {
    buckets: Arc<Buckets>,
    /// By bucket: those that wait for more of their length.
    waiting: Vec<Vec<Placed>>,
    /// Types and shapes of the first sample, which all others share but for their steps.
    kind: Option<[(DType, Vec<usize>); 2]>,
    /// Minibatches that were given in an earlier pass.
    skip: u64,
}

impl Batches {
    /// The samples of `data` in this order, from the start. `epoch` serves the augmentation's random choices.
    ///
    /// Fails when a minibatch has no sample or the order names a sample that is not there.
    pub fn new(
        data: Arc<dyn DataSet>,
        order: Vec<usize>,
        settings: BatchSettings,
        epoch: u64,
        augmenter: Option<Arc<Augmenter>>,
    ) -> Result<Self, DataError> {
        if settings.size == 0 {
            return Err(DataError::setting("size", "at least 1 sample in a minibatch", 0));
        }
        order.iter().try_for_each(|index| super::expect_index(*index, data.len()))?;
        let (position, bad, known) = (Position::default(), Vec::new(), BTreeSet::new());
        Ok(Batches { data, order, settings, epoch, augmenter, position, bad, known, ended: false, sorting: None })
    }

    /// Samples that an earlier pass found bad. Where they are so again, they are passed over and not told again.
    pub fn knowing(mut self, bad: BTreeSet<usize>) -> Self {
        self.known = bad;
        self
    }

    /// Puts samples of similar length together. Without it all samples of a minibatch must have one shape.
    ///
    /// Fails when the bounds do not ascend, or when samples would be mixed with one another: one step would be mixed
    /// with filling.
    pub fn with_buckets(mut self, buckets: Arc<Buckets>) -> Result<Self, DataError> {
        buckets.check()?;
        if self.augmenter.as_ref().is_some_and(|augmenter| augmenter.mixes()) {
            let expected = "augmentation without `mixup`, as lengths vary";
            return Err(DataError::setting("buckets", expected, "`mixup`"));
        }
        let waiting = vec![Vec::new(); buckets.lengths.len()];
        self.sorting = Some(Sorting { buckets, waiting, kind: None, skip: 0 });
        Ok(self)
    }

    /// Goes on from `position`, as [`Batch::next`] gave it in an earlier pass with the same order and settings. With
    /// buckets what came before is read again, as samples of it may still be waiting.
    pub fn starting_at(mut self, position: Position) -> Self {
        match &mut self.sorting {
            Some(sorting) => sorting.skip = position.batches,
            None => self.position = position,
        }
        self
    }

    /// The bad samples so far.
    pub fn bad(&self) -> &[BadSample] {
        &self.bad
    }

    pub(super) fn settings(&self) -> &BatchSettings {
        &self.settings
    }

    /// The bad samples that were found since the last call.
    pub(super) fn take_bad(&mut self) -> Vec<BadSample> {
        std::mem::take(&mut self.bad)
    }

    /// The next sample that `read` does not find bad, and its number.
    fn good<S>(
        &mut self,
        bad_before: usize,
        read: impl Fn(&Self, usize) -> Result<S, DataError>,
    ) -> Result<Option<(S, usize)>, DataError> {
        while let Some(index) = self.order.get(self.position.samples).copied() {
            self.position.samples += 1;
            match read(self, index) {
                Ok(sample) => return Ok(Some((sample, index))),
                Err(_) if self.known.contains(&index) => {}
                Err(error) => {
                    let bad = self.known.len() + bad_before + self.bad.len() + 1;
                    if bad > self.settings.max_bad {
                        let limit = self.settings.max_bad;
                        return Err(DataError::TooManyBad { bad, limit, index, last: Box::new(error) });
                    }
                    self.bad.push(BadSample { index, error });
                }
            }
        }
        Ok(None)
    }

    fn read(&mut self, bad_before: usize) -> Result<Option<Batch>, DataError> {
        let mut samples: Vec<Sample> = Vec::new();
        let mut indices = Vec::new();
        while samples.len() < self.settings.size
            && let Some((sample, index)) = self.good(bad_before, |own, index| own.sample(index, samples.first()))?
        {
            samples.push(sample);
            indices.push(index);
        }
        if samples.is_empty() || (self.settings.drop_last && samples.len() < self.settings.size) {
            return Ok(None);
        }
        let (mut inputs, mut targets) = collate(&samples)?;
        if let Some(augmenter) = &self.augmenter {
            (inputs, targets) = augmenter.batch(inputs, targets, self.epoch, self.position.batches)?;
        }
        self.position.batches += 1;
        Ok(Some(Batch { inputs, targets, indices, lengths: Vec::new(), next: self.position }))
    }

    /// The same by way of buckets: samples until one bucket is full, then what is left in them.
    fn read_sorted(&mut self, bad_before: usize) -> Result<Option<Batch>, DataError> {
        let size = self.settings.size;
        while let Some(((bucket, placed), _)) = self.good(bad_before, Self::placed)? {
            let Some(sorting) = &mut self.sorting else { return Ok(None) };
            sorting.kind.get_or_insert_with(|| sorting.buckets.kind(&placed.sample));
            let waiting = &mut sorting.waiting[bucket];
            waiting.push(placed);
            if waiting.len() == size {
                let (placed, bound) = (std::mem::take(waiting), sorting.buckets.lengths[bucket]);
                return self.filled(placed, bound).map(Some);
            }
        }
        let Some(sorting) = &mut self.sorting else { return Ok(None) };
        let (mut rest, mut bound) = (Vec::with_capacity(size), 0);
        for (waiting, length) in sorting.waiting.iter_mut().zip(&sorting.buckets.lengths) {
            let taken = waiting.len().min(size - rest.len());
            if taken > 0 {
                rest.extend(waiting.drain(..taken));
                bound = *length;
            }
        }
        if rest.len() < size {
            // One shape whatever is left over, pass by pass.
            bound = sorting.buckets.longest();
        }
        if rest.is_empty() || (self.settings.drop_last && rest.len() < size) {
            return Ok(None);
        }
        self.filled(rest, bound).map(Some)
    }

    /// Sample `index` in its bucket.
    fn placed(&self, index: usize) -> Result<(usize, Placed), DataError> {
        let Some(sorting) = &self.sorting else {
            return Err(DataError::setting("buckets", "bounds", "none"));
        };
        let (bucket, placed) = sorting.buckets.place(index, self.sample(index, None)?)?;
        let found = sorting.buckets.kind(&placed.sample);
        match &sorting.kind {
            Some(kind) if *kind != found => Err(DataError::Shape {
                index,
                expected: format!("{}, as the first sample, but for its steps", described(kind)),
                found: described(&found),
            }),
            _ => Ok((bucket, placed)),
        }
    }

    /// The minibatch of these samples, filled up to `bound`.
    fn filled(&mut self, placed: Vec<Placed>, bound: usize) -> Result<Batch, DataError> {
        let indices = placed.iter().map(|placed| placed.index).collect();
        let lengths = placed.iter().map(|placed| placed.steps).collect();
        let fill = |placed: Placed| match &self.sorting {
            Some(sorting) => sorting.buckets.filled(placed.index, placed.sample, bound),
            None => Ok(placed.sample),
        };
        let samples: Vec<Sample> = placed.into_iter().map(fill).collect::<Result<_, _>>()?;
        let (inputs, targets) = collate(&samples)?;
        self.position.batches += 1;
        Ok(Batch { inputs, targets, indices, lengths, next: self.position })
    }

    fn sample(&self, index: usize, first: Option<&Sample>) -> Result<Sample, DataError> {
        let sample = self.data.sample(index)?;
        expect_finite(index, "input", &sample.input)?;
        expect_finite(index, "target", &sample.target)?;
        let sample = match &self.augmenter {
            Some(augmenter) => augmenter.sample(sample, self.epoch, index)?,
            None => sample,
        };
        let Some(first) = first else { return Ok(sample) };
        for (first, own) in [(&first.input, &sample.input), (&first.target, &sample.target)] {
            if (own.shape(), own.dtype()) != (first.shape(), first.dtype()) {
                let expected = format!("{} {:?}, as in the rest of its minibatch", first.dtype(), first.shape());
                let found = format!("{} {:?}", own.dtype(), own.shape());
                return Err(DataError::Shape { index, expected, found });
            }
        }
        Ok(sample)
    }

    /// The next minibatch, `bad_before` bad samples of this pass having been taken away before.
    pub(super) fn next_after(&mut self, bad_before: usize) -> Option<Result<Batch, DataError>> {
        if self.ended {
            return None;
        }
        while let Some(sorting) = &mut self.sorting
            && sorting.skip > 0
        {
            sorting.skip -= 1;
            match self.read_sorted(bad_before).transpose() {
                Some(Ok(_)) => self.bad.clear(),
                none_or_fault => {
                    self.ended = true;
                    return none_or_fault;
                }
            }
        }
        let result = match self.sorting {
            Some(_) => self.read_sorted(bad_before),
            None => self.read(bad_before),
        };
        let result = result.transpose();
        self.ended = !matches!(result, Some(Ok(_)));
        result
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    /// The next minibatch; after an error comes nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_after(0)
    }
}

/// Types and shapes of an input and a target; the number of steps is left open.
fn described([input, target]: &[(DType, Vec<usize>); 2]) -> String {
    format!("an input {} {:?} and a target {} {:?}", input.0, input.1, target.0, target.1)
}

fn expect_finite(index: usize, part: &'static str, tensor: &Tensor) -> Result<(), DataError> {
    fn first_bad<T: Element + Copy + Into<f64>>(tensor: &Tensor) -> Option<(usize, f64)> {
        let values = tensor.as_slice::<T>().ok()?;
        values.iter().map(|value| (*value).into()).enumerate().find(|(_, value): &(usize, f64)| !value.is_finite())
    }
    match first_bad::<f32>(tensor).or_else(|| first_bad::<f64>(tensor)) {
        Some((element, value)) => Err(DataError::NotFinite { index, part, element, value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::augment::Augmentation;
    use super::super::testing::{floats, integers, numbered};
    use super::super::{Memory, epoch_order};
    use super::*;

    fn settings(size: usize, drop_last: bool, max_bad: usize) -> BatchSettings {
        BatchSettings { size, drop_last, max_bad, ..BatchSettings::default() }
    }

    fn batches(data: Memory, settings: BatchSettings) -> Batches {
        let order = (0..data.len()).collect();
        Batches::new(Arc::new(data), order, settings, 0, None).unwrap()
    }

    /// Numbered samples of which one is not like the others.
    fn with_odd(count: usize, odd: usize, input: Tensor) -> Memory {
        let good = numbered(count);
        Memory::new(
            (0..count)
                .map(|k| match good.sample(k).unwrap() {
                    sample if k == odd => Sample { input: input.clone(), ..sample },
                    sample => sample,
                })
                .collect(),
        )
    }

    #[test]
    fn how_samples_are_divided() {
        for (count, size, drop_last, expected) in [
            (5, 2, false, vec![vec![0, 1], vec![2, 3], vec![4]]),
            (5, 2, true, vec![vec![0, 1], vec![2, 3]]),
            (4, 4, true, vec![vec![0, 1, 2, 3]]),
            (3, 1, false, vec![vec![0], vec![1], vec![2]]),
            (3, 9, false, vec![vec![0, 1, 2]]),
            (3, 9, true, vec![]),
            (0, 2, false, vec![]),
        ] {
            let read: Vec<Batch> = batches(numbered(count), settings(size, drop_last, 0)).map(Result::unwrap).collect();
            let indices: Vec<Vec<usize>> = read.iter().map(|batch| batch.indices.clone()).collect();
            assert_eq!(indices, expected, "{count} by {size}");
            for batch in read {
                assert_eq!(batch.inputs.shape(), [batch.indices.len(), 1]);
                assert_eq!(floats(&batch.inputs), batch.indices.iter().map(|k| *k as f32).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn bad_samples_are_named_and_passed_over() {
        for (odd, place, fault) in [
            (vec![f32::NAN], 0, "sample 0: expected finite numbers, found NaN at element 0 of its input"),
            (vec![1.0, f32::INFINITY], 2, "sample 2: expected finite numbers, found inf at element 1 of its input"),
            (vec![1.0, 2.0], 1, "sample 1: expected f32 [1], as in the rest of its minibatch, found f32 [2]"),
        ] {
            let data = with_odd(5, place, Tensor::from_vec(odd));
            let mut passed = batches(data.clone(), settings(2, false, 1));
            let indices: Vec<Vec<usize>> = passed.by_ref().map(|batch| batch.unwrap().indices).collect();
            let good: Vec<usize> = (0..5).filter(|index| *index != place).collect();
            assert_eq!(indices, [good[..2].to_vec(), good[2..].to_vec()]);
            let named: Vec<(usize, String)> = passed.bad().iter().map(|b| (b.index, b.error.to_string())).collect();
            assert_eq!(named, [(place, fault.to_owned())]);

            let mut strict = batches(data, settings(2, false, 0));
            let error = strict.find_map(Result::err).unwrap().to_string();
            assert_eq!(
                error,
                format!("1 bad samples where 0 are allowed (`max_bad`); the last is sample {place}: {fault}")
            );
            assert!(strict.next().is_none());
        }
    }

    #[test]
    fn bad_samples_known_before_count_and_are_not_told_again() {
        let data = || with_odd(5, 3, Tensor::from_vec(vec![f32::NAN]));
        let mut passed = batches(data(), settings(2, false, 1)).knowing([3].into());
        let indices: Vec<Vec<usize>> = passed.by_ref().map(|batch| batch.unwrap().indices).collect();
        assert_eq!((indices, passed.bad().len()), (vec![vec![0, 1], vec![2, 4]], 0));
        // One more than may be, with one from before.
        let error = batches(data(), settings(2, false, 1)).knowing([0].into()).find_map(Result::err).unwrap();
        assert!(matches!(error, DataError::TooManyBad { bad: 2, limit: 1, index: 3, .. }), "{error}");
        // One that has become good is read.
        assert_eq!(
            batches(numbered(2), settings(2, false, 1)).knowing([0].into()).next().unwrap().unwrap().indices,
            [0, 1]
        );
    }

    #[test]
    fn a_pass_goes_on_where_it_was_left() {
        let data: Arc<dyn DataSet> = Arc::new(with_odd(11, 4, Tensor::from_vec(vec![f32::NAN])));
        let pass = || Batches::new(data.clone(), epoch_order(11, 1, 2), settings(3, false, 1), 2, None).unwrap();
        let whole: Vec<Batch> = pass().map(Result::unwrap).collect();
        assert_eq!(whole.len(), 4);
        for (number, batch) in whole.iter().enumerate() {
            let rest: Vec<Batch> = pass().starting_at(batch.next).map(Result::unwrap).collect();
            assert_eq!(rest, whole[number + 1..]);
        }
    }

    /// Samples of these lengths, of nothing but their own number.
    fn lengths(lengths: &[usize]) -> Arc<dyn DataSet> {
        let sample = |(number, length): (usize, &usize)| Sample {
            input: Tensor::from_vec(vec![number as i64 + 1; *length]),
            target: Tensor::from_vec(vec![number as i64; *length]),
        };
        Arc::new(Memory::new(lengths.iter().enumerate().map(sample).collect()))
    }

    fn sorted(data: &Arc<dyn DataSet>, size: usize, drop_last: bool, max_bad: usize) -> Batches {
        let order = (0..data.len()).collect();
        let batches = Batches::new(data.clone(), order, settings(size, drop_last, max_bad), 0, None).unwrap();
        batches.with_buckets(Arc::new(Buckets::new(vec![2, 4, 8]))).unwrap()
    }

    #[test]
    fn buckets_put_similar_lengths_together() {
        let data = lengths(&[1, 3, 2, 8, 4, 2, 5, 1, 3]);
        let read: Vec<Batch> = sorted(&data, 2, false, 0).map(Result::unwrap).collect();
        let found: Vec<(&[usize], &[usize], usize)> = read
            .iter()
            .map(|batch| (batch.indices.as_slice(), batch.lengths.as_slice(), batch.inputs.shape()[1]))
            .collect();
        let expected: &[(&[usize], &[usize], usize)] = &[
            (&[0, 2], &[1, 2], 2),
            (&[1, 4], &[3, 4], 4),
            (&[3, 6], &[8, 5], 8),
            (&[5, 7], &[2, 1], 2),
            // What is left over.
            (&[8], &[3], 8),
        ];
        assert_eq!(found, expected);
        assert_eq!(integers(&read[1].inputs), [2, 2, 2, 0, 5, 5, 5, 5]);
        assert_eq!(integers(&read[1].targets), [1, 1, 1, -100, 4, 4, 4, 4]);
        assert_eq!(sorted(&data, 2, true, 0).count(), 4);
        // Left over in several buckets: put together, and filled up to the longest.
        let read: Vec<Batch> = sorted(&lengths(&[1, 3, 2, 8, 4]), 3, false, 0).map(Result::unwrap).collect();
        let found: Vec<(Vec<usize>, usize)> =
            read.into_iter().map(|batch| (batch.indices, batch.inputs.shape()[1])).collect();
        assert_eq!(found, [(vec![0, 2, 1], 4), (vec![4, 3], 8)]);
    }

    #[test]
    fn a_pass_through_buckets_goes_on_where_it_was_left() {
        let data = lengths(&[1, 3, 9, 2, 8, 4, 2, 5, 1, 3, 7]);
        let whole: Vec<Batch> = sorted(&data, 2, false, 1).map(Result::unwrap).collect();
        assert_eq!(whole.len(), 5);
        for (number, batch) in whole.iter().enumerate() {
            let rest: Vec<Batch> = sorted(&data, 2, false, 1).starting_at(batch.next).map(Result::unwrap).collect();
            assert_eq!(rest, whole[number + 1..]);
        }
    }

    #[test]
    fn samples_that_fit_in_no_bucket_are_bad() {
        let error = sorted(&lengths(&[1, 9]), 2, false, 0).find_map(Result::err).unwrap().to_string();
        assert!(error.contains("sample 1: expected at most 8 steps (`buckets.lengths`), found 9"), "{error}");
        let odd = Sample { input: Tensor::from_vec(vec![1.0f32]), target: Tensor::from_vec(vec![1i64]) };
        let even = Sample { input: Tensor::from_vec(vec![1i64, 2]), target: Tensor::from_vec(vec![1i64, 2]) };
        let data: Arc<dyn DataSet> = Arc::new(Memory::new(vec![even, odd]));
        let mut passed = sorted(&data, 2, false, 1);
        assert_eq!(passed.by_ref().count(), 1);
        let error = passed.bad()[0].error.to_string();
        assert!(error.starts_with("sample 1: expected an input i64 [0] and a target i64 [0], as the first"), "{error}");
    }

    #[test]
    fn bad_settings() {
        let bad = Buckets::new(vec![4, 2]);
        let error = batches(numbered(1), settings(1, false, 0)).with_buckets(Arc::new(bad)).err().unwrap();
        assert!(matches!(error, DataError::Setting { setting: "buckets.lengths", .. }));
        let mixup = Augmenter::new(vec![Augmentation::Mixup(Default::default())], 0, 2).unwrap();
        let mixed =
            Batches::new(Arc::new(numbered(1)), vec![0], settings(1, false, 0), 0, Some(Arc::new(mixup))).unwrap();
        let error = mixed.with_buckets(Arc::new(Buckets::new(vec![4]))).err().unwrap().to_string();
        assert_eq!(error, "buckets: expected augmentation without `mixup`, as lengths vary, found `mixup`");
        let data: Arc<dyn DataSet> = Arc::new(numbered(3));
        let fail = |order, size| Batches::new(data.clone(), order, settings(size, false, 0), 0, None).err().unwrap();
        assert!(matches!(fail(vec![0], 0), DataError::Setting { setting: "size", .. }));
        assert!(matches!(fail(vec![0, 3], 1), DataError::Index { index: 3, len: 3 }));
    }
}
