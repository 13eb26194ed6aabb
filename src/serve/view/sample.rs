//! From books to what a page shows: rates over the last second, depths of queues, times of calls.

use std::collections::VecDeque;

use serde::Serialize;

use crate::runtime::{Books, LinkBook, StageBook};

/// The span that a rate is of, in seconds.
const SPAN_S: f64 = 1.0;

/// Remembers the books of the last second.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    stages: usize,
    links: usize,
    past: VecDeque<(f64, Books)>,
}

/// The numbers at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Seconds since the run began.
    pub t: f64,
    /// By their place in the plan.
    pub stages: Vec<StageSample>,
    /// By their place in the plan.
    pub links: Vec<LinkSample>,
}

/// What a stage does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct StageSample {
    /// Packets that entered it.
    pub entered: u64,
    /// Packets that it wrote.
    pub written: u64,
    /// Packets that enter it in a second.
    pub in_per_s: f64,
    /// Packets that it writes in a second.
    pub out_per_s: f64,
    /// The part of the time that it spends in calls; above 1 on several threads.
    pub busy: f64,
    /// The mean time of a call, in milliseconds; null where none was made.
    pub call_ms: Option<f64>,
    /// Packets skipped or refused.
    pub skipped: u64,
    /// Packets and samples that were lost.
    pub lost: u64,
    /// Restarts.
    pub restarts: u64,
}

/// What a link holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct LinkSample {
    /// Packets that wait.
    pub depth: u64,
    /// The most that ever waited.
    pub deepest: u64,
    /// Packets that pass in a second.
    pub per_s: f64,
    /// Packets dropped by its policy.
    pub dropped: u64,
    /// Partial results that newer ones replaced.
    pub superseded: u64,
}

impl Sampler {
    /// For the first so many stages and links of the books; what comes behind them is the page's own.
    pub fn new(stages: usize, links: usize) -> Sampler {
        Sampler { stages, links, past: VecDeque::new() }
    }

    /// The numbers at `t` seconds.
    pub fn sample(&mut self, t: f64, books: &Books) -> Sample {
        while self.past.len() > 1 && self.past.get(1).is_some_and(|(at, _)| t - at >= SPAN_S) {
            self.past.pop_front();
        }
        let (since, before) = self.past.front().map_or((0.0, None), |(at, books)| (*at, Some(books)));
        let span = t - since;
        let (no_stage, no_link) = (StageBook::default(), LinkBook::default());
        let stages = books.stages.iter().take(self.stages).enumerate().map(|(place, now)| {
            StageSample::between(before.and_then(|books| books.stages.get(place)).unwrap_or(&no_stage), now, span)
        });
        let links = books.links.iter().take(self.links).enumerate().map(|(place, now)| {
            LinkSample::between(before.and_then(|books| books.links.get(place)).unwrap_or(&no_link), now, span)
        });
        let sample = Sample { t: rounded(t), stages: stages.collect(), links: links.collect() };
        self.past.push_back((t, books.clone()));
        sample
    }
}

/// To a thousandth: what a page shows needs no more digits.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// How much a count grew in a second.
fn rate(before: u64, now: u64, span: f64) -> f64 {
    if span > 0.0 { rounded(now.saturating_sub(before) as f64 / span) } else { 0.0 }
}

impl StageSample {
    fn between(before: &StageBook, now: &StageBook, span: f64) -> StageSample {
        let busy_ns = now.busy_ns.saturating_sub(before.busy_ns) as f64;
        let calls = now.calls.saturating_sub(before.calls);
        StageSample {
            entered: now.entered,
            written: now.written,
            in_per_s: rate(before.entered, now.entered, span),
            out_per_s: rate(before.written, now.written, span),
            busy: if span > 0.0 { rounded(busy_ns / 1e9 / span) } else { 0.0 },
            call_ms: (calls > 0).then(|| rounded(busy_ns / 1e6 / calls as f64)),
            skipped: now.skipped + now.refused,
            lost: now.lost + now.cancelled + now.samples_overrun + now.blocks_damaged,
            restarts: now.restarts,
        }
    }
}

impl LinkSample {
    fn between(before: &LinkBook, now: &LinkBook, span: f64) -> LinkSample {
        let out = now.received + now.dropped + now.superseded + now.cancelled;
        LinkSample {
            // The ends count one after the other, so that a packet between them may be missing for a moment.
            depth: now.sent.saturating_sub(out),
            deepest: now.deepest,
            per_s: rate(before.received, now.received, span),
            dropped: now.dropped,
            superseded: now.superseded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(count: u64) -> Books {
        let stage = |id: &str| StageBook {
            id: id.into(),
            entered: count,
            written: 2 * count,
            calls: count,
            busy_ns: count * 2_000_000,
            ..StageBook::default()
        };
        let link = LinkBook { sent: count + 5, received: count, dropped: 2, deepest: 7, ..LinkBook::default() };
        Books { stages: vec![stage("a"), stage("a.view")], links: vec![link.clone(), link] }
    }

    #[test]
    fn rates_are_of_the_last_second() {
        let mut sampler = Sampler::new(1, 1);
        // 100 a second, then 400 a second.
        let samples: Vec<_> = (0..=8)
            .map(|at| {
                let t = f64::from(at) * 0.25;
                let count = if t <= 1.0 { 100.0 * t } else { 100.0 + 400.0 * (t - 1.0) };
                sampler.sample(t, &books(count as u64))
            })
            .collect();
        let rates: Vec<_> = samples.iter().map(|sample| sample.stages[0].in_per_s).collect();
        assert_eq!(rates, [0.0, 100.0, 100.0, 100.0, 100.0, 175.0, 250.0, 325.0, 400.0]);
        let last = &samples[8];
        assert_eq!((last.stages[0].busy, last.stages[0].call_ms), (0.8, Some(2.0)));
        assert_eq!((last.links[0].depth, last.links[0].deepest, last.links[0].dropped), (3, 7, 2));
        assert_eq!((last.stages.len(), last.links.len()), (1, 1), "the page's own are left out");
    }

    #[test]
    fn nothing_is_divided_by_no_time() {
        let mut sampler = Sampler::new(1, 1);
        for _ in 0..3 {
            let sample = sampler.sample(0.0, &books(3));
            assert_eq!((sample.stages[0].in_per_s, sample.stages[0].busy), (0.0, 0.0));
        }
        assert_eq!(sampler.sample(9.0, &Books::default()).stages, []);
    }
}
