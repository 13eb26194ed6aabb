//! What a stream gave, kept to be learned again, and what is held out.
//!
//! - [`Keep::Reservoir`]: algorithm R (Vitter, *Random sampling with a reservoir*, ACM TOMS 11, 1985, section 2).
//! - [`Keep::Balanced`]: the class-balancing reservoir (Chrysakis and Moens, *Online continual learning from imbalanced
//!   data*, ICML 2020, algorithm 1).
//! - [`Keep::Recent`]: the last ones.
//!
//! Samples of the old task are kept apart and rehearsed (Robins, *Catastrophic forgetting, rehearsal and pseudorehearsal*,
//! Connection Science 7, 1995).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::config::{Keep, LearnConfig};
use super::random::{Purpose, Random};
use super::sample::{Sample, Target};

#[cfg(test)]
mod tests;

/// Where a sample that was offered went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// It may be learned from.
    Kept,
    /// It is measured by, and never learned from.
    HeldOut,
    /// There was no room for it.
    PassedOver,
}

/// Samples to learn from, samples to measure by, and samples of the old task; each bounded in count and bytes.
pub struct Replay {
    keep: Keep,
    kept: Buffer,
    seeds: Buffer,
    held_out: VecDeque<Sample>,
    held_out_bytes: usize,
    /// Bounds of the held-out ones.
    held_out_room: (usize, usize),
    holdout: f64,
    seed_share: f64,
    choice: Random,
    order: Random,
    draw: Random,
    seed_order: Random,
}

/// Samples with a bound.
struct Buffer {
    samples: VecDeque<Sample>,
    /// With `Keep::Balanced`: the class of each.
    classes: VecDeque<u64>,
    /// The bytes of the largest sample that ever came: as many as fit are kept, so that room depends on no chance.
    largest: usize,
    held: usize,
    size: usize,
    bytes: usize,
    /// Samples that ever came.
    seen: u64,
    /// With `Keep::Balanced`, by class: how many ever came.
    seen_of: BTreeMap<u64, u64>,
    /// Classes that were once the largest when there was no room.
    full: BTreeSet<u64>,
}

impl Replay {
    /// Buffers by these settings, empty.
    pub fn new(config: &LearnConfig) -> Self {
        let (size, bytes) = (config.replay.size, config.replay.bytes);
        let random = |purpose| Random::new(config.seed, purpose);
        let held_out_size = ((size as f64 * config.holdout).ceil() as usize).max(config.promote.min_samples);
        Replay {
            keep: config.replay.keep,
            kept: Buffer::new(size, bytes),
            seeds: Buffer::new(size, bytes),
            held_out: VecDeque::new(),
            held_out_bytes: 0,
            held_out_room: (held_out_size, bytes),
            holdout: config.holdout,
            seed_share: config.replay.seed_share,
            choice: random(Purpose::Holdout),
            order: random(Purpose::Keep),
            draw: random(Purpose::Minibatch),
            seed_order: random(Purpose::Seeds),
        }
    }

    /// Takes a sample: as many as `holdout` says are held out, by chance.
    pub fn offer(&mut self, sample: Sample) -> Place {
        if self.choice.unit() >= self.holdout {
            return match self.kept.add(sample, self.keep, &mut self.order) {
                true => Place::Kept,
                false => Place::PassedOver,
            };
        }
        let (size, bytes) = self.held_out_room;
        let own = sample.byte_len();
        if own > bytes {
            return Place::PassedOver;
        }
        self.held_out_bytes += own;
        self.held_out.push_back(sample);
        while self.held_out.len() > size || self.held_out_bytes > bytes {
            let Some(gone) = self.held_out.pop_front() else { break };
            self.held_out_bytes = self.held_out_bytes.saturating_sub(gone.byte_len());
        }
        Place::HeldOut
    }

    /// Takes a sample of the old task.
    pub fn seed(&mut self, sample: Sample) -> bool {
        self.seeds.add(sample, Keep::Reservoir, &mut self.seed_order)
    }

    /// `count` samples to learn from, by chance, of one shape (that of the first): so many of the old task as
    /// `seed_share` says. Empty while this stream has given none.
    pub fn minibatch(&mut self, count: usize) -> Vec<Sample> {
        let (kept, seeds) = (&self.kept.samples, &self.seeds.samples);
        if kept.is_empty() {
            return Vec::new();
        }
        let old = if seeds.is_empty() { 0.0 } else { self.seed_share * count as f64 };
        // The part of one that is over comes by chance.
        let old = (old.floor() as usize + usize::from(self.draw.unit() < old.fract())).min(count);
        let mut batch: Vec<Sample> = Vec::with_capacity(count);
        for at in 0..count {
            let from = if at < count - old { kept } else { seeds };
            // Samples of another shape are passed by, a few times.
            for _ in 0..8 {
                let Some(sample) = from.get(self.draw.below(from.len())) else { break };
                if batch.first().is_none_or(|first| is_alike(first, sample)) {
                    batch.push(sample.clone());
                    break;
                }
            }
        }
        batch
    }

    /// Gives each sample another target, where there is one for it; the others are removed.
    pub fn retarget(&mut self, target: impl Fn(&Target) -> Option<Target>) {
        self.kept.retarget(&target);
        self.seeds.retarget(&target);
        let held_out = std::mem::take(&mut self.held_out).into_iter();
        self.held_out =
            held_out.filter_map(|sample| Some(Sample { target: target(&sample.target)?, ..sample })).collect();
        self.held_out_bytes = self.held_out.iter().map(Sample::byte_len).sum();
    }

    /// Samples that are kept to learn from.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.kept.samples.iter()
    }

    /// Samples of the old task.
    pub fn seeds(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.seeds.samples.iter()
    }

    /// Samples that are held out, the last that came.
    pub fn held_out(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.held_out.iter()
    }

    /// Bytes that are held: to learn from, of the old task, held out.
    pub fn byte_len(&self) -> (usize, usize, usize) {
        (self.kept.held, self.seeds.held, self.held_out_bytes)
    }
}

/// Whether two samples fit in one minibatch.
fn is_alike(one: &Sample, other: &Sample) -> bool {
    let targets = match (&one.target, &other.target) {
        (Target::Tensor(one), Target::Tensor(other)) => one.shape() == other.shape() && one.dtype() == other.dtype(),
        (Target::Tensor(_), _) | (_, Target::Tensor(_)) => false,
        _ => true,
    };
    targets && one.input.shape() == other.input.shape() && one.input.dtype() == other.input.dtype()
}

/// A number of the class of a sample: its index, or that of its name, or of its highest number.
fn class_of(target: &Target) -> u64 {
    match target {
        Target::Class(class) => *class as u64,
        // FNV-1a (Fowler, Noll and Vo), above every index.
        Target::Name(name) => {
            let start = 0xcbf2_9ce4_8422_2325u64;
            name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)) | 1 << 63
        }
        Target::Tensor(tensor) => match (tensor.as_slice::<i64>(), super::sample::numbers(tensor)) {
            (Ok(classes), _) => classes.first().map_or(0, |class| class.unsigned_abs()),
            (Err(_), Some(values)) => {
                values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at as u64)
            }
            (Err(_), None) => 0,
        },
    }
}

impl Buffer {
    fn new(size: usize, bytes: usize) -> Self {
        Buffer {
            samples: VecDeque::new(),
            classes: VecDeque::new(),
            largest: 1,
            held: 0,
            size,
            bytes,
            seen: 0,
            seen_of: BTreeMap::new(),
            full: BTreeSet::new(),
        }
    }

    fn retarget(&mut self, target: impl Fn(&Target) -> Option<Target>) {
        let balanced = !self.classes.is_empty();
        let samples = std::mem::take(&mut self.samples).into_iter();
        self.samples =
            samples.filter_map(|sample| Some(Sample { target: target(&sample.target)?, ..sample })).collect();
        self.held = self.samples.iter().map(Sample::byte_len).sum();
        // What was counted by the old classes begins anew with what is here.
        self.full.clear();
        self.seen_of.clear();
        self.classes.clear();
        if balanced {
            self.classes.extend(self.samples.iter().map(|sample| class_of(&sample.target)));
            self.classes.iter().for_each(|class| *self.seen_of.entry(*class).or_default() += 1);
        }
    }

    /// Takes a sample or passes it over; says which.
    fn add(&mut self, sample: Sample, keep: Keep, random: &mut Random) -> bool {
        let own = sample.byte_len();
        if own > self.bytes {
            return false;
        }
        self.seen += 1;
        self.largest = self.largest.max(own);
        let room = (self.bytes / self.largest).min(self.size);
        while self.samples.len() > room {
            let at = if keep == Keep::Recent { 0 } else { random.below(self.samples.len()) };
            self.remove(at);
        }
        let class = if keep == Keep::Balanced { class_of(&sample.target) } else { 0 };
        if keep == Keep::Balanced {
            *self.seen_of.entry(class).or_default() += 1;
        }
        if self.samples.len() < room {
            self.put(sample, class);
            return true;
        }
        match keep {
            Keep::Recent => {
                self.remove(0);
                self.put(sample, class);
                true
            }
            Keep::Reservoir => {
                let at = random.below(usize::try_from(self.seen).unwrap_or(usize::MAX));
                self.replace(at, sample, class)
            }
            Keep::Balanced => {
                let mut counts: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
                for (at, class) in self.classes.iter().enumerate() {
                    counts.entry(*class).or_default().push(at);
                }
                let most = counts.values().map(Vec::len).max().unwrap_or_default();
                let largest: Vec<u64> =
                    counts.iter().filter(|(_, places)| places.len() == most).map(|(class, _)| *class).collect();
                self.full.extend(&largest);
                let own = counts.get(&class).map(Vec::as_slice).unwrap_or_default();
                if !self.full.contains(&class) {
                    // A class with less than its share takes a place of the largest.
                    let from = largest.get(random.below(largest.len())).and_then(|class| counts.get(class));
                    let from = from.map(Vec::as_slice).unwrap_or_default();
                    let at = from.get(random.below(from.len())).copied();
                    return at.is_some_and(|at| self.replace(at, sample, class));
                }
                let seen = self.seen_of.get(&class).copied().unwrap_or(1).max(1);
                if random.unit() > own.len() as f64 / seen as f64 {
                    return false;
                }
                let at = own.get(random.below(own.len())).copied();
                at.is_some_and(|at| self.replace(at, sample, class))
            }
        }
    }

    fn put(&mut self, sample: Sample, class: u64) {
        self.held += sample.byte_len();
        self.samples.push_back(sample);
        self.classes.push_back(class);
    }

    fn remove(&mut self, at: usize) {
        if let Some(gone) = self.samples.remove(at) {
            self.held = self.held.saturating_sub(gone.byte_len());
            self.classes.remove(at);
        }
    }

    /// Puts the sample in the place of another; says whether there is such a place.
    fn replace(&mut self, at: usize, sample: Sample, class: u64) -> bool {
        let Some(place) = self.samples.get_mut(at) else { return false };
        self.held = (self.held + sample.byte_len()).saturating_sub(place.byte_len());
        *place = sample;
        if let Some(place) = self.classes.get_mut(at) {
            *place = class;
        }
        true
    }
}
