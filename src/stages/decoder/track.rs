//! `track`: the same number for the same thing, from frame to frame.
//!
//! Use it after `boxes` on a video or a camera. A thing keeps its number while its box moves steadily enough that the box
//! of the next frame overlaps the one that is expected: IoU and a Kalman filter of constant velocity, each box to at most
//! one track of its class (Bewley et al., "Simple Online and Realtime Tracking", 2016). Numbers begin at 0 in each stream
//! and are never used again.
//!
//! A thing gets its number once `min_hits` frames in a row have shown it (in the first frames of a stream at once), and
//! keeps it over `max_missed` frames without it. A frame in which nothing was found counts too. Partial results go
//! through as they are.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::dsp::picture::{Bounds, Candidate, Tracker, TrackerConfig};
use crate::media::{Format, Rect, Region, Regions, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};
use crate::stages::join::draft_of;

const REGIONS: &str = "regions";

/// The keys of `track`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Track {
    /// The least intersection over union of a box with the one that is expected, for it to be the same thing.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_iou: f64,
    /// How many frames a thing may be gone.
    #[schemars(range(max = 100_000))]
    pub max_missed: u32,
    /// How many frames in a row must show a thing before it gets its number.
    #[schemars(range(max = 100_000))]
    pub min_hits: u32,
    /// Whether things without a number are left out. Default: false.
    pub confirmed_only: bool,
    /// Whether a box is the one that the filter takes for true, which trembles less and lags more, and not the one that was
    /// found. Default: false.
    pub smooth: bool,
}

impl Default for Track {
    fn default() -> Self {
        let TrackerConfig { min_iou, max_missed, min_hits } = TrackerConfig::default();
        Track { min_iou, max_missed, min_hits, confirmed_only: false, smooth: false }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: who-is-who
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 128
    height: 128
    fit: letterbox
    layout: nhwc
    mean: 0.5
    std: 0.5
  - model: blazeface
  - decoder: boxes
    from: {boxes: blazeface.regressors, scores: blazeface.classificators}
    card: blazeface
  - decoder: track
    max_missed: 10
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind =
    Kind::plain::<Track>("track", Role::Decoder, "the same number for the same thing, from frame to frame", EXAMPLE);

impl Blueprint for Track {
    fn contract(&self) -> Contract {
        Contract::new().input(REGIONS, Format::Regions).output(REGIONS)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Regions])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(*self))
    }
}

fn candidate(region: &Region) -> Candidate {
    let Rect { x, y, width, height } = region.bounds;
    let class = region.label.as_ref().map_or(0, |label| label.index);
    Candidate { bounds: Bounds { x, y, width, height }, score: region.score, class }
}

impl Track {
    /// The regions with their numbers.
    fn tracked(&self, tracker: &mut Tracker, regions: &Regions) -> Regions {
        let candidates: Vec<Candidate> = regions.entries.iter().map(candidate).collect();
        let mut entries: Vec<Region> = regions.entries.to_vec();
        entries.iter_mut().for_each(|region| region.track = None);
        for tracked in tracker.step(&candidates) {
            let Some(region) = entries.get_mut(tracked.candidate) else { continue };
            region.track = Some(tracked.track);
            if self.smooth {
                let Bounds { x, y, width, height } = tracked.bounds;
                region.bounds = Rect { x, y, width, height };
            }
        }
        if self.confirmed_only {
            entries.retain(|region| region.track.is_some());
        }
        Regions { entries: entries.into(), ..*regions }
    }
}

impl Stage for Track {
    type State = Tracker;

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<Tracker>, StageError> {
        let Track { min_iou, max_missed, min_hits, .. } = *self;
        let state = Tracker::new(TrackerConfig { min_iou, max_missed, min_hits });
        Ok(Opened { state, outputs: vec![Format::Regions] })
    }

    fn process(&mut self, tracker: &mut Tracker, input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let regions = packet.payload.regions().map_err(StageError::skip)?;
        let regions = match packet.flags.partial {
            true => regions.clone(),
            false => self.tracked(tracker, regions),
        };
        if let Some(draft) = draft_of(std::slice::from_ref(packet), regions) {
            out.emit(0, draft);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{open, packet, read, regions};
    use super::*;
    use crate::media::Label;

    /// Boxes of 10 × 10 pixels at these places, each of a class.
    fn frame(boxes: &[(f32, usize)]) -> Regions {
        let region = |(x, class): &(f32, usize)| {
            let mut region = Region::new(Rect { x: *x, y: 0.0, width: 10.0, height: 10.0 }, 0.5);
            region.label = Some(Label { index: *class, name: None, score: 0.5 });
            region
        };
        Regions { frame_width: 640, frame_height: 480, entries: boxes.iter().map(region).collect() }
    }

    fn run(yaml: &str, frames: &[&[(f32, usize)]]) -> Vec<Vec<Option<u64>>> {
        let mut solo = open(&*read(&KIND, yaml).unwrap());
        let numbers = |(at, boxes): (usize, &&[(f32, usize)])| {
            let found = solo.push(0, packet(at as i64, frame(boxes))).unwrap();
            let found = regions(&found);
            assert_eq!((found.frame_width, found.frame_height), (640, 480));
            found.entries.iter().map(|region| region.track).collect()
        };
        frames.iter().enumerate().map(numbers).collect()
    }

    #[test]
    fn things_keep_their_numbers() {
        let two: [&[(f32, usize)]; 4] =
            [&[(0.0, 0), (100.0, 0)], &[(102.0, 0), (1.0, 0)], &[(2.0, 0), (104.0, 0)], &[(106.0, 0)]];
        assert_eq!(
            run("", &two),
            [vec![Some(0), Some(1)], vec![Some(1), Some(0)], vec![Some(0), Some(1)], vec![Some(1)]]
        );
        // Another class is another thing; a newcomer waits for its number.
        let late: [&[(f32, usize)]; 4] = [&[], &[], &[], &[(0.0, 1)]];
        assert_eq!(run("min_hits: 2", &late)[3], [None]);
        assert!(run("min_hits: 2\nconfirmed_only: true", &late)[3].is_empty());
        assert_eq!(run("min_hits: 0", &late)[3], [Some(0)]);
        assert_eq!(run("", &[&[(0.0, 0)], &[(0.0, 1)]])[1], [Some(1)]);
        // Gone for one frame, for two.
        let gone: [&[(f32, usize)]; 4] = [&[(0.0, 0)], &[], &[], &[(0.0, 0)]];
        assert_eq!(run("max_missed: 1\nmin_hits: 0", &gone)[3], [Some(1)]);
        assert_eq!(run("max_missed: 2\nmin_hits: 0", &gone)[3], [Some(0)]);
    }

    #[test]
    fn a_smoothed_box_moves_less_than_the_one_that_was_found() {
        let at = |yaml: &str| {
            let mut solo = open(&*read(&KIND, yaml).unwrap());
            let mut x = Vec::new();
            for (time, place) in [0.0, 0.0, 0.0, 3.0].iter().enumerate() {
                let found = solo.push(0, packet(time as i64, frame(&[(*place, 0)]))).unwrap();
                x.push(regions(&found).entries[0].bounds.x);
            }
            x[3]
        };
        assert_eq!(at(""), 3.0);
        assert!((0.5..2.9).contains(&at("smooth: true")), "{}", at("smooth: true"));
    }

    #[test]
    fn partial_results_count_no_frame_and_streams_are_apart() {
        let mut solo = open(&*read(&KIND, "min_hits: 2").unwrap());
        let mut guess = packet(0, frame(&[(0.0, 0)]));
        guess.flags.partial = true;
        for _ in 0..3 {
            let found = solo.push(0, guess.clone()).unwrap();
            assert_eq!((regions(&found).entries[0].track, found[0].1.flags.partial), (None, true));
        }
        assert_eq!(regions(&solo.push(0, packet(0, frame(&[(0.0, 0)]))).unwrap()).entries[0].track, Some(0));
        let error = solo.push(0, packet(1, crate::media::Labels::default())).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)), "{error}");
    }

    #[test]
    fn faults_at_their_place() {
        for (yaml, says) in [("min_iou: 2", "min_iou"), ("max_mised: 2", "did you mean `max_missed`?")] {
            let faults = read(&KIND, yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:1:"), "{yaml}: {faults}");
        }
    }
}
