//! Metrics of a running pipeline, through the `metrics` facade: whoever runs the process installs a recorder or does not.
//!
//! Every metric carries the labels `pipeline` and `stage` (links: `link`, their name as in the books).
//!
//! | metric | type | meaning |
//! |---|---|---|
//! | `percept_packets_in_total` | counter | packets that entered the stage |
//! | `percept_packets_out_total` | counter | packets that it wrote |
//! | `percept_packets_dropped_total` | counter, `reason` | skipped, late, lost, refused; on links: overflow, superseded |
//! | `percept_process_seconds` | histogram | time of a call into the stage; a stage on the pool is timed by rounds of up to 128 calls, each counted at their mean |
//! | `percept_calls_total` | counter | calls into the stage: with batching fewer than packets |
//! | `percept_batch_size` | histogram | packets in a call |
//! | `percept_restarts_total` | counter | restarts of the stage |
//! | `percept_latency_seconds` | histogram | sinks, live streams: from the end of what was captured to the result written |
//! | `percept_queue_depth` | gauge, `link` | packets that wait on the link |
//! | `percept_queued_bytes` | gauge | bytes that wait in all links of the pipeline |

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::books::StageBook;
use crate::units::TimeSpan;

/// The handles of one stage. Looked up once: a macro's look-up costs more than the count.
pub(crate) struct StageMeters {
    packets_in: Counter,
    packets_out: Counter,
    skipped: Counter,
    late: Counter,
    lost: Counter,
    refused: Counter,
    calls: Counter,
    process: Histogram,
    batch: Histogram,
    latency: Histogram,
    restarts: Counter,
}

impl StageMeters {
    pub(crate) fn new(pipeline: &Arc<str>, stage: &Arc<str>) -> Self {
        let labels = [("pipeline", pipeline.to_string()), ("stage", stage.to_string())];
        let dropped = |reason: &'static str| {
            let [pipeline, stage] = labels.clone();
            counter!("percept_packets_dropped_total", &[pipeline, stage, ("reason", reason.to_string())])
        };
        StageMeters {
            packets_in: counter!("percept_packets_in_total", &labels),
            packets_out: counter!("percept_packets_out_total", &labels),
            skipped: dropped("skipped"),
            late: dropped("late"),
            lost: dropped("lost"),
            refused: dropped("refused"),
            calls: counter!("percept_calls_total", &labels),
            process: histogram!("percept_process_seconds", &labels),
            batch: histogram!("percept_batch_size", &labels),
            latency: histogram!("percept_latency_seconds", &labels),
            restarts: counter!("percept_restarts_total", &labels),
        }
    }

    /// Counts one round: its packets, and its calls at their mean duration.
    pub(crate) fn round(&self, tally: &StageBook) {
        let entered = tally.done + tally.skipped + tally.late + tally.lost;
        self.packets_in.increment(entered);
        self.packets_out.increment(tally.written);
        for (counter, count) in [
            (&self.skipped, tally.skipped),
            (&self.late, tally.late),
            (&self.lost, tally.lost),
            (&self.refused, tally.refused),
        ] {
            if count > 0 {
                counter.increment(count);
            }
        }
        if let Ok(calls) = usize::try_from(tally.calls)
            && calls > 0
        {
            self.calls.increment(tally.calls);
            self.process.record_many(tally.busy_ns as f64 / 1e9 / calls as f64, calls);
            self.batch.record_many(entered as f64 / calls as f64, calls);
        }
    }

    pub(crate) fn latency(&self, span: TimeSpan) {
        self.latency.record(span.as_seconds().max(0.0));
    }

    pub(crate) fn restarted(&self) {
        self.restarts.increment(1);
    }
}

impl std::fmt::Debug for StageMeters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StageMeters")
    }
}

/// The handles of one link, set from its book now and then.
pub(crate) struct LinkMeters {
    depth: Gauge,
    overflow: Counter,
    superseded: Counter,
}

impl LinkMeters {
    pub(crate) fn new(pipeline: &Arc<str>, link: &str) -> Self {
        let labels = [("pipeline", pipeline.to_string()), ("link", link.to_string())];
        let dropped = |reason: &'static str| {
            let [pipeline, link] = labels.clone();
            counter!("percept_packets_dropped_total", &[pipeline, link, ("reason", reason.to_string())])
        };
        LinkMeters {
            depth: gauge!("percept_queue_depth", &labels),
            overflow: dropped("overflow"),
            superseded: dropped("superseded"),
        }
    }

    pub(crate) fn set(&self, depth: u64, dropped: u64, superseded: u64) {
        self.depth.set(depth as f64);
        self.overflow.absolute(dropped);
        self.superseded.absolute(superseded);
    }
}
