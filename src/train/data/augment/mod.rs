//! Augmentation: random changes of training samples that leave their targets what they are (or, by [`Mixup`], mix
//! them).
//!
//! Inputs are f32: `[width]` (sound), `[height, width]` (a picture, or features with time before frequency) or
//! `[channels, height, width]`. What is drawn for a sample follows from the seed, the epoch, the number of the sample
//! and the place of the step in the list, never from what was read before it or on which thread.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::random::{Purpose, Random};
use super::{DataError, Sample};
use crate::tensor::Tensor;

mod brightness;
mod crop;
mod flip;
mod frequency_mask;
mod mask;
mod mixup;
mod noise;
mod planes;
mod rotate;
mod shift;
#[cfg(test)]
mod testing;
mod time_mask;

pub use brightness::Brightness;
pub use crop::Crop;
pub use flip::Flip;
pub use frequency_mask::FrequencyMask;
pub use mixup::Mixup;
pub use noise::Noise;
pub use rotate::Rotate;
pub use shift::Shift;
pub use time_mask::TimeMask;

/// A change of one input.
trait Change {
    /// Fails when a setting has no meaning.
    fn check(&self) -> Result<(), DataError>;

    /// The changed input. Fails when it has another rank or type than the change works on.
    fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError>;
}

/// A step of augmentation, as a recipe lists it: `- flip: {horizontal: 0.5}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Augmentation {
    /// Another brightness and contrast.
    Brightness(Brightness),
    /// A part at a random place.
    Crop(Crop),
    /// Left and right, or up and down, exchanged.
    Flip(Flip),
    /// Bands of frequency blanked out.
    FrequencyMask(FrequencyMask),
    /// Pairs of samples mixed, with their targets.
    Mixup(Mixup),
    /// Gaussian noise added.
    Noise(Noise),
    /// Turned around the middle.
    Rotate(Rotate),
    /// Moved by whole elements.
    Shift(Shift),
    /// Stretches of time blanked out.
    TimeMask(TimeMask),
}

impl Augmentation {
    /// The change of a sample; `None` for what works on minibatches.
    fn change(&self) -> Option<&dyn Change> {
        Some(match self {
            Augmentation::Brightness(change) => change,
            Augmentation::Crop(change) => change,
            Augmentation::Flip(change) => change,
            Augmentation::FrequencyMask(change) => change,
            Augmentation::Noise(change) => change,
            Augmentation::Rotate(change) => change,
            Augmentation::Shift(change) => change,
            Augmentation::TimeMask(change) => change,
            Augmentation::Mixup(_) => return None,
        })
    }
}

/// Steps of augmentation, done in order: those of samples as each is read, those of minibatches when one is complete.
#[derive(Clone, Debug)]
pub struct Augmenter {
    steps: Vec<Augmentation>,
    seed: u64,
    classes: usize,
}

impl Augmenter {
    /// These steps. `classes` is the number of classes where targets are class numbers (else 0), for [`Mixup`].
    ///
    /// Fails when a setting has no meaning.
    pub fn new(steps: Vec<Augmentation>, seed: u64, classes: usize) -> Result<Self, DataError> {
        for step in &steps {
            match step {
                Augmentation::Mixup(mixup) => mixup.check()?,
                step => step.change().map_or(Ok(()), Change::check)?,
            }
        }
        Ok(Augmenter { steps, seed, classes })
    }

    /// Whether samples are mixed with one another.
    pub(super) fn mixes(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Augmentation::Mixup(_)))
    }

    /// Sample `index` as `epoch` sees it.
    pub fn sample(&self, sample: Sample, epoch: u64, index: usize) -> Result<Sample, DataError> {
        let Sample { mut input, target } = sample;
        for (place, step) in self.steps.iter().enumerate() {
            if let Some(change) = step.change() {
                let place = [epoch, index as u64, place as u64];
                input = change.apply(&input, &mut Random::new(self.seed, Purpose::Sample, &place))?;
            }
        }
        Ok(Sample { input, target })
    }

    /// Minibatch `number` as `epoch` sees it: its inputs and its targets.
    pub fn batch(
        &self,
        inputs: Tensor,
        targets: Tensor,
        epoch: u64,
        number: u64,
    ) -> Result<(Tensor, Tensor), DataError> {
        let mut batch = (inputs, targets);
        for (place, step) in self.steps.iter().enumerate() {
            if let Augmentation::Mixup(mixup) = step {
                let random = &mut Random::new(self.seed, Purpose::Batch, &[epoch, number, place as u64]);
                batch = mixup.apply(&batch.0, &batch.1, self.classes, random)?;
            }
        }
        Ok(batch)
    }
}

/// Fails unless `value` is finite and from `least` to `most`.
fn expect_within(setting: &'static str, value: f64, least: f64, most: f64) -> Result<(), DataError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let expected = match most {
        f64::MAX => format!("a number, at least {least}"),
        most => format!("a number from {least} to {most}"),
    };
    Err(DataError::setting(setting, expected, value))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::{BatchSettings, Batches, DataSet, Loader, Memory, epoch_order};
    use super::*;
    use crate::config::{Source, parse, read};

    const ALL: &str = "\
- brightness: {offset: 0.1, factor: 0.2}
- crop: {padding: 1}
- flip: {vertical: 0.5}
- frequency_mask: {max_width: 1}
- noise: {deviation: 0.1}
- rotate: {degrees: 15}
- shift: {x: 1, y: 1}
- time_mask: {max_width: 2}
- mixup: {}
";

    fn steps() -> Vec<Augmentation> {
        let source = Source::new("augment.yaml", ALL);
        read(&parse(&source).unwrap(), &source).unwrap()
    }

    fn pictures(count: usize) -> Memory {
        let picture = |k: usize| Tensor::new(vec![2, 4, 3], (0..24).map(|e| (e * (k + 1)) as f32).collect::<Vec<_>>());
        let sample = |k: usize| Sample { input: picture(k).unwrap(), target: Tensor::scalar((k % 3) as i64) };
        Memory::new((0..count).map(sample).collect())
    }

    #[test]
    fn a_recipes_list_reads_and_unknown_keys_are_refused() {
        assert_eq!(steps().len(), 9);
        for (text, hint) in
            [("- flip: {horizontl: 1}\n", "horizontl"), ("- flop: {}\n", "flop"), ("- crop: {size: 3}\n", "size")]
        {
            let source = Source::new("augment.yaml", text);
            let faults = read::<Vec<Augmentation>>(&parse(&source).unwrap(), &source).unwrap_err();
            assert!(faults.iter().any(|fault| fault.message.contains(hint)), "{faults:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_sample_is_the_same_whatever_the_order(seed: u64, epoch in 0u64..5, count in 1usize..12) {
            let data: Arc<dyn DataSet> = Arc::new(pictures(count));
            let sample_steps: Vec<_> = steps().into_iter().filter(|step| step.change().is_some()).collect();
            let augmenter = Arc::new(Augmenter::new(sample_steps, seed, 3).unwrap());
            let settings = BatchSettings { size: 1, ..BatchSettings::default() };
            for order in [(0..count).collect(), epoch_order(count, seed, epoch)] {
                let batches = Batches::new(data.clone(), order, settings, epoch, Some(augmenter.clone())).unwrap();
                for batch in Loader::start(batches).unwrap() {
                    let batch = batch.unwrap();
                    let index = batch.indices[0];
                    let alone = augmenter.sample(data.sample(index).unwrap(), epoch, index).unwrap();
                    prop_assert_eq!(batch.inputs.reshape(vec![2, 4, 3]).unwrap(), alone.input);
                }
            }
        }
    }

    #[test]
    fn epochs_samples_and_seeds_differ() {
        let sample = pictures(1).sample(0).unwrap();
        let input = |seed, epoch, index| {
            let augmenter = Augmenter::new(steps(), seed, 3).unwrap();
            augmenter.sample(sample.clone(), epoch, index).unwrap().input
        };
        let base = input(1, 0, 0);
        assert_eq!(base, input(1, 0, 0));
        for other in [input(1, 1, 0), input(1, 0, 1), input(2, 0, 0)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn minibatches_are_mixed_the_same_by_the_loader() {
        let data: Arc<dyn DataSet> = Arc::new(pictures(10));
        let augmenter = Arc::new(Augmenter::new(steps(), 1, 3).unwrap());
        let settings = BatchSettings { size: 4, ..BatchSettings::default() };
        let pass = || Batches::new(data.clone(), epoch_order(10, 1, 1), settings, 1, Some(augmenter.clone())).unwrap();
        let direct: Vec<_> = pass().map(Result::unwrap).collect();
        assert_eq!(
            direct.iter().map(|batch| batch.targets.shape().to_vec()).collect::<Vec<_>>(),
            [[4, 3], [4, 3], [2, 3]]
        );
        let loaded: Vec<_> = Loader::start(pass()).unwrap().map(Result::unwrap).collect();
        assert_eq!(direct, loaded);
        let resumed: Vec<_> = pass().starting_at(direct[0].next).map(Result::unwrap).collect();
        assert_eq!(direct[1..], resumed);
    }

    #[test]
    fn inputs_that_are_not_numbers_are_refused() {
        let sample = Sample { input: Tensor::from_vec(vec![1i64, 2]), target: Tensor::scalar(0i64) };
        for step in steps().into_iter().filter(|step| step.change().is_some()) {
            let augmenter = Augmenter::new(vec![step.clone()], 0, 0).unwrap();
            assert!(augmenter.sample(sample.clone(), 0, 0).is_err(), "{step:?}");
        }
    }
}
