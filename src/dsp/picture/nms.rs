//! Keeping one box of many that show the same thing.

use std::cmp::Reverse;

use super::{Bounds, Candidate};

/// How soft suppression lowers the score of a box that overlaps a better one. Bodla et al., "Soft-NMS: Improving Object
/// Detection With One Line of Code" (2017), section 3.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decay {
    /// Times 1 − IoU, where the IoU is over `threshold`.
    Linear {
        /// From 0 to 1; the paper has 0.3.
        threshold: f64,
    },
    /// Times exp(−IoU² / `sigma`).
    Gaussian {
        /// More than 0; the paper has 0.5.
        sigma: f64,
    },
}

impl Decay {
    fn factor(self, iou: f64) -> f64 {
        match self {
            Decay::Linear { threshold } if iou > threshold => 1.0 - iou,
            Decay::Linear { .. } => 1.0,
            // No overlap lowers nothing, whatever sigma is.
            Decay::Gaussian { .. } if iou == 0.0 => 1.0,
            Decay::Gaussian { sigma } => (-iou * iou / sigma).exp(),
        }
    }
}

/// Greedy non-maximum suppression within each class: the best box is kept, those of its class with an IoU over
/// `threshold` with it go, and so on with the best of the rest. Returns the indices of at most `most` kept boxes, best
/// first; of equal scores the first counts as better.
///
/// Candidates whose box or score is not finite, or whose box has no area, are left out.
pub fn nms(candidates: &[Candidate], threshold: f64, most: usize) -> Vec<usize> {
    let mut order = usable(candidates);
    order.sort_by(|a, b| candidates[*b].score.total_cmp(&candidates[*a].score));
    let mut kept: Vec<usize> = Vec::new();
    for index in order {
        if kept.len() == most {
            break;
        }
        let covered = |other: &usize| overlap(&candidates[index], &candidates[*other]) > threshold;
        if !kept.iter().any(covered) {
            kept.push(index);
        }
    }
    kept
}

/// Soft non-maximum suppression within each class: boxes that overlap a better one are not dropped, their scores decay.
/// Returns the index and the new score of at most `most` boxes whose score stays at `min_score` or above, best first;
/// of equal scores the first counts as better.
///
/// Candidates whose box or score is not finite, or whose box has no area, are left out.
pub fn soft_nms(candidates: &[Candidate], decay: Decay, min_score: f32, most: usize) -> Vec<(usize, f32)> {
    let mut rest: Vec<(usize, f32)> =
        usable(candidates).into_iter().map(|index| (index, candidates[index].score)).collect();
    let mut kept = Vec::new();
    while kept.len() < most {
        rest.retain(|(_, score)| *score >= min_score);
        let better = |(at, (index, score)): (usize, &(usize, f32))| (at, *index, *score);
        let best = rest
            .iter()
            .enumerate()
            .map(better)
            .max_by(|a, b| a.2.total_cmp(&b.2).then(Reverse(a.1).cmp(&Reverse(b.1))));
        let Some((at, index, score)) = best else { break };
        rest.swap_remove(at);
        kept.push((index, score));
        for (other, score) in &mut rest {
            *score = (f64::from(*score) * decay.factor(overlap(&candidates[index], &candidates[*other]))) as f32;
        }
    }
    kept
}

/// The indices of candidates that can be compared.
fn usable(candidates: &[Candidate]) -> Vec<usize> {
    let good = |candidate: &Candidate| candidate.score.is_finite() && candidate.bounds.is_proper();
    (0..candidates.len()).filter(|index| good(&candidates[*index])).collect()
}

/// The IoU of boxes of one class, 0 across classes.
fn overlap(a: &Candidate, b: &Candidate) -> f64 {
    if a.class == b.class { Bounds::iou(&a.bounds, &b.bounds) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(x: f32, width: f32, score: f32, class: usize) -> Candidate {
        Candidate { bounds: Bounds { x, y: 0.0, width, height: 10.0 }, score, class }
    }

    /// IoU 9 / 11 with the first, 8 / 12 with the first and 9 / 11 with the second, none with the first.
    fn row() -> [Candidate; 5] {
        [
            candidate(0.0, 10.0, 0.9, 0),
            candidate(1.0, 10.0, 0.8, 0),
            candidate(2.0, 10.0, 0.7, 0),
            candidate(100.0, 10.0, 0.95, 0),
            candidate(0.0, 10.0, 0.5, 1),
        ]
    }

    #[test]
    fn the_best_of_a_heap_stays() {
        for (threshold, most, expected) in [
            (0.5, 10, &[3, 0, 4][..]),
            (0.7, 10, &[3, 0, 2, 4]),
            (0.9, 10, &[3, 0, 1, 2, 4]),
            (0.0, 10, &[3, 0, 4]),
            (0.5, 2, &[3, 0]),
            (0.5, 0, &[]),
        ] {
            assert_eq!(nms(&row(), threshold, most), expected, "{threshold} {most}");
        }
        let equal = [candidate(0.0, 10.0, 0.5, 0), candidate(0.0, 10.0, 0.5, 0)];
        assert_eq!(nms(&equal, 0.5, 10), [0]);
    }

    #[test]
    fn scores_decay() {
        let close = |found: &[(usize, f32)], expected: &[(usize, f64)]| {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(a, b)| a.0 == b.0 && (f64::from(a.1) - b.1).abs() < 1e-6)
        };
        let found = soft_nms(&row(), Decay::Linear { threshold: 0.3 }, 0.0, 10);
        // The second decays beside the first; the third beside the first, and then it is the better of the two.
        let third = 0.7 * (1.0 - 8.0 / 12.0);
        let second = 0.8 * (1.0 - 9.0 / 11.0) * (1.0 - 9.0 / 11.0);
        assert!(close(&found, &[(3, 0.95), (0, 0.9), (4, 0.5), (2, third), (1, second)]), "{found:?}");
        let found = soft_nms(&row(), Decay::Gaussian { sigma: 0.5 }, 0.25, 10);
        let third = 0.7 * (-(8.0f64 / 12.0).powi(2) / 0.5).exp();
        assert!(close(&found, &[(3, 0.95), (0, 0.9), (4, 0.5), (2, third)]), "{found:?}");
        assert_eq!(soft_nms(&row(), Decay::Linear { threshold: 0.3 }, 0.0, 1), [(3, 0.95)]);
        let equal = [candidate(0.0, 10.0, 0.5, 0), candidate(50.0, 10.0, 0.5, 0)];
        assert_eq!(soft_nms(&equal, Decay::Gaussian { sigma: 0.0 }, 0.0, 9), [(0, 0.5), (1, 0.5)]);
    }

    #[test]
    fn bad_candidates_are_left_out() {
        let bad = [
            candidate(f32::NAN, 10.0, 0.9, 0),
            candidate(0.0, f32::INFINITY, 0.9, 0),
            candidate(0.0, -1.0, 0.9, 0),
            candidate(0.0, 0.0, 0.9, 0),
            candidate(0.0, 10.0, f32::NAN, 0),
            candidate(0.0, 10.0, f32::INFINITY, 0),
        ];
        assert!(nms(&bad, 0.5, 10).is_empty());
        assert!(soft_nms(&bad, Decay::Gaussian { sigma: 0.5 }, 0.0, 10).is_empty());
        assert!(nms(&[], 0.5, 10).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_kept_does_not_overlap_and_what_is_gone_did(
            boxes in prop::collection::vec((0.0f32..50.0, 1.0f32..20.0, 0.0f32..1.0, 0usize..3), 0..40),
            threshold in 0.0f64..1.0,
        ) {
            let candidates: Vec<Candidate> =
                boxes.iter().map(|(x, width, score, class)| candidate(*x, *width, *score, *class)).collect();
            let kept = nms(&candidates, threshold, usize::MAX);
            for (at, index) in kept.iter().enumerate() {
                for other in &kept[..at] {
                    prop_assert!(candidates[*other].score >= candidates[*index].score);
                    prop_assert!(overlap(&candidates[*index], &candidates[*other]) <= threshold);
                }
            }
            for index in (0..candidates.len()).filter(|index| !kept.contains(index)) {
                let better = |other: &&usize| candidates[**other].score >= candidates[index].score;
                let covers = |other: &usize| overlap(&candidates[index], &candidates[*other]) > threshold;
                prop_assert!(kept.iter().filter(better).any(covers));
            }
            // Soft suppression drops nothing when nothing is too low, and raises no score.
            let soft = soft_nms(&candidates, Decay::Gaussian { sigma: 0.5 }, 0.0, usize::MAX);
            prop_assert_eq!(soft.len(), candidates.len());
            prop_assert!(soft.is_sorted_by(|a, b| a.1 >= b.1));
            prop_assert!(soft.iter().all(|(index, score)| *score <= candidates[*index].score));
        }
    }
}
