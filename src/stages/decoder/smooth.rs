//! `smooth`: one class that holds, out of classes that flicker.
//!
//! Use it after `top_k` on a stream: a video's scenes, sound events. What a class scores is taken over the last
//! `window_ms`: the mean of its scores (0 where it was not told), or with `by: majority` the share of the packets whose
//! best class it was. Then it is decided with hysteresis: a class is taken on at `enter`, and stays until it falls below
//! `leave`, or until another one has come to `enter` and scores more.
//!
//! Each packet of labels gives one with the class that holds now and what it scores, or with none. So give `top_k` a `k`
//! that is large enough for the classes that matter. Time before a gap counts as long as it lies in the window. Partial
//! results go through as they are.

use std::collections::{BTreeMap, VecDeque};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::Faults;
use crate::media::{Format, Label, Labels, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::stages::join::draft_of;
use crate::units::{TimeSpan, Timestamp};

const LABELS: &str = "labels";

/// The most packets that a window holds; of more the oldest are left out.
pub const MAX_PACKETS: usize = 4096;

/// The keys of `smooth`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Smooth {
    /// How far back packets count, from start to start, in milliseconds; the newest always counts.
    #[schemars(range(min = 0.0, max = 3_600_000))]
    pub window_ms: f64,
    /// What a class scores over the window: the `mean` of its scores, or by `majority` the share of the packets whose best
    /// class it was. Default: mean.
    pub by: Vote,
    /// A class is taken on from this score on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub enter: f32,
    /// It stays until it scores less than this; at most `enter`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub leave: f32,
}

/// What a class scores over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    /// The mean of its scores, 0 where it was not told.
    #[default]
    Mean,
    /// The share of the packets whose best class it was.
    Majority,
}

impl Default for Smooth {
    fn default() -> Self {
        Smooth { window_ms: 500.0, by: Vote::Mean, enter: 0.5, leave: 0.3 }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: steady-voice
stages:
  - capture: file
    path: examples/recordings
  - preprocess: mono
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
  - decoder: top_k
    activation: none
  - decoder: smooth
    window_ms: 300
    enter: 0.6
    leave: 0.4
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind =
    Kind::resolved::<Smooth>("smooth", Role::Decoder, "one class that holds, out of classes that flicker", EXAMPLE);

impl Resolve for Smooth {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        if self.leave > self.enter {
            let message = "a class would be left before it is taken on: `leave` is above `enter`";
            let fault = context.fault("leave", "contradiction", message);
            let fault = fault.expected(format!("at most {}", self.enter)).found(self.leave.to_string());
            return Err(fault.help("lower `leave`, or raise `enter`").into());
        }
        Ok(Box::new(self))
    }
}

impl Blueprint for Smooth {
    fn contract(&self) -> Contract {
        Contract::new().input(LABELS, Format::Labels).output(LABELS).inline()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Labels])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(*self))
    }
}

/// One stream: what was told in the window, and the class that holds.
#[derive(Debug, Default)]
pub struct History {
    told: VecDeque<(Timestamp, Labels)>,
    holds: Option<usize>,
}

impl Smooth {
    /// What each class scores over the window, with its name.
    fn scores(&self, told: &VecDeque<(Timestamp, Labels)>) -> BTreeMap<usize, Label> {
        let mut sums: BTreeMap<usize, (f64, &Label)> = BTreeMap::new();
        for (_, labels) in told {
            let counted = match self.by {
                Vote::Mean => &labels.entries[..],
                Vote::Majority => labels.entries.get(..1).unwrap_or_default(),
            };
            for label in counted.iter().filter(|label| label.score.is_finite()) {
                let vote = if self.by == Vote::Mean { f64::from(label.score) } else { 1.0 };
                sums.entry(label.index).or_insert((0.0, label)).0 += vote;
            }
        }
        let count = told.len().max(1) as f64;
        let label = |(sum, label): (f64, &Label)| Label { score: (sum / count) as f32, ..label.clone() };
        sums.into_iter().map(|(index, entry)| (index, label(entry))).collect()
    }

    /// The class that holds after this packet.
    fn step(&self, history: &mut History, start: Timestamp, labels: &Labels) -> Option<Label> {
        let oldest = start - TimeSpan::from_seconds(self.window_ms / 1000.0);
        history.told.push_back((start, labels.clone()));
        while history.told.len() > MAX_PACKETS || history.told.front().is_some_and(|(at, _)| *at < oldest) {
            history.told.pop_front();
        }
        let scores = self.scores(&history.told);
        let held = history.holds.and_then(|class| scores.get(&class)).filter(|label| label.score >= self.leave);
        // Of equal scores the lower number goes first, as in `top_k`.
        let best = scores.values().reduce(|best, label| if label.score > best.score { label } else { best });
        let best = best.filter(|label| label.score >= self.enter);
        let next = match (held, best) {
            (Some(held), Some(best)) if best.score > held.score => Some(best),
            (None, best) => best,
            (held, _) => held,
        };
        history.holds = next.map(|label| label.index);
        next.cloned()
    }
}

impl Stage for Smooth {
    type State = History;

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<History>, StageError> {
        Ok(Opened { state: History::default(), outputs: vec![Format::Labels] })
    }

    fn process(&mut self, history: &mut History, input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let labels = packet.payload.labels().map_err(StageError::skip)?;
        let labels = match packet.flags.partial {
            true => labels.clone(),
            false => Labels { entries: self.step(history, packet.start, labels).into_iter().collect() },
        };
        if let Some(draft) = draft_of(std::slice::from_ref(packet), labels) {
            out.emit(0, draft);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{open, packet, read};
    use super::*;

    fn labels(scores: &[(usize, f32)]) -> Labels {
        let label = |(index, score): &(usize, f32)| Label { index: *index, name: Some("x".into()), score: *score };
        Labels { entries: scores.iter().map(label).collect() }
    }

    /// The class that holds after each packet, and its score in hundredths; a packet every 100 ms.
    fn run(yaml: &str, packets: &[&[(usize, f32)]]) -> Vec<Option<(usize, i32)>> {
        let mut solo = open(&*read(&KIND, yaml).unwrap());
        let one = |(at, scores): (usize, &&[(usize, f32)])| {
            let found = solo.push(0, packet(100 * at as i64, labels(scores))).unwrap();
            let found = found[0].1.payload.labels().unwrap();
            assert!(found.entries.len() <= 1);
            found.entries.first().map(|label| (label.index, (label.score * 100.0).round() as i32))
        };
        packets.iter().enumerate().map(one).collect()
    }

    #[test]
    fn hysteresis() {
        let alone = "window_ms: 0\nenter: 0.6\nleave: 0.4\n";
        let scores: Vec<[(usize, f32); 1]> = [0.5, 0.6, 0.5, 0.4, 0.39, 0.5, 0.7].map(|score| [(3, score)]).into();
        let packets: Vec<&[(usize, f32)]> = scores.iter().map(|scores| &scores[..]).collect();
        assert_eq!(
            run(alone, &packets),
            [None, Some((3, 60)), Some((3, 50)), Some((3, 40)), None, None, Some((3, 70))]
        );
        // Another one takes over only once it has come to `enter` and scores more.
        let two: [&[(usize, f32)]; 4] =
            [&[(0, 0.7)], &[(1, 0.55), (0, 0.45)], &[(0, 0.62), (1, 0.61)], &[(1, 0.65), (0, 0.6)]];
        assert_eq!(run(alone, &two), [Some((0, 70)), Some((0, 45)), Some((0, 62)), Some((1, 65))]);
        assert_eq!(run(alone, &[&[(2, 0.8), (1, 0.8)], &[]]), [Some((1, 80)), None]);
    }

    #[test]
    fn a_window_of_time() {
        let flicker: [&[(usize, f32)]; 5] =
            [&[(0, 0.9), (1, 0.1)], &[(1, 0.6), (0, 0.4)], &[(0, 0.8), (1, 0.2)], &[(1, 1.0)], &[(1, 1.0)]];
        // Three packets: the newest and what began at most 200 ms before.
        let mean = "window_ms: 200\nenter: 0.5\nleave: 0.3\n";
        assert_eq!(run(mean, &flicker), [Some((0, 90)), Some((0, 65)), Some((0, 70)), Some((1, 60)), Some((1, 73))]);
        let majority = "window_ms: 200\nby: majority\nenter: 0.6\nleave: 0.5\n";
        assert_eq!(
            run(majority, &flicker),
            [Some((0, 100)), Some((0, 50)), Some((0, 67)), Some((1, 67)), Some((1, 67))]
        );
        assert_eq!(run("window_ms: 250\nby: majority\n", &[&[], &[(4, 0.1)], &[(4, 0.1)]])[2], Some((4, 67)));
    }

    #[test]
    fn odd_input() {
        assert_eq!(run("window_ms: 0", &[&[(0, f32::NAN), (1, 0.9)], &[(0, f32::INFINITY)]]), [Some((1, 90)), None]);
        let mut solo = open(&*read(&KIND, "").unwrap());
        let mut guess = packet(0, labels(&[(7, 0.1), (8, 0.05)]));
        guess.flags.partial = true;
        assert_eq!(solo.push(0, guess).unwrap()[0].1.payload.labels().unwrap().entries.len(), 2);
        assert!(matches!(solo.push(0, packet(1, crate::media::Regions::default())), Err(StageError::Skip(_))));
        for (yaml, says) in [
            ("enter: 0.4\nleave: 0.5", "`leave` is above `enter`"),
            ("by: median", "majority"),
            ("window_ms: -1", "window_ms"),
        ] {
            let faults = read(&KIND, yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:"), "{yaml}: {faults}");
        }
    }
}
