//! The books: every packet that enters a stage ends in exactly one column, and both ends of each link count.
//!
//! The writing end of a link counts what it handed over, the reading end what it took out, and the link itself what its
//! policy dropped. A run's books balance when these agree for every link and every stage; [`Books::imbalances`] says
//! where they do not.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// What one stage did with the packets that entered it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StageBook {
    /// The stage.
    pub id: Arc<str>,
    /// Packets that entered it.
    pub entered: u64,
    /// Packets that it processed.
    pub done: u64,
    /// Packets that it, or its stream's failure, skipped with an error.
    pub skipped: u64,
    /// Partial results given up while they were worked on, because the final one, or what was expected to be it, came
    /// meanwhile: what would have become of them came too late. No loss.
    pub late: u64,
    /// Packets lost when the stage was restarted.
    pub lost: u64,
    /// Packets taken back when the pipeline was stopped.
    pub cancelled: u64,
    /// Packets that it wrote to its ports.
    pub written: u64,
    /// Packets that it tried to write with a start before the one before; they were refused.
    pub refused: u64,
    /// Times that it was restarted.
    pub restarts: u64,
    /// Threads that did not come back from a call and were abandoned.
    pub abandoned: u64,
    /// Calls into the stage (fewer than packets when it batches).
    pub calls: u64,
    /// Nanoseconds spent in these calls.
    pub busy_ns: u64,
    /// For captures: samples that the devices or files delivered.
    pub samples_delivered: u64,
    /// For captures: samples lost before they became packets.
    pub samples_overrun: u64,
    /// For captures: blocks that could not be decoded.
    pub blocks_damaged: u64,
    /// For captures: samples that were written in packets.
    pub samples_written: u64,
}

impl StageBook {
    /// Adds the counts of one round.
    pub(crate) fn add(&mut self, round: &StageBook) {
        self.entered += round.entered;
        self.done += round.done;
        self.skipped += round.skipped;
        self.late += round.late;
        self.lost += round.lost;
        self.cancelled += round.cancelled;
        self.written += round.written;
        self.refused += round.refused;
        self.calls += round.calls;
        self.busy_ns += round.busy_ns;
        self.samples_delivered += round.samples_delivered;
        self.samples_overrun += round.samples_overrun;
        self.blocks_damaged += round.blocks_damaged;
        self.samples_written += round.samples_written;
    }
}

/// What passed one link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LinkBook {
    /// The link, as `resample → endpoint.audio`.
    pub name: String,
    /// Packets that the writing stage handed over.
    pub sent: u64,
    /// Packets that the reading stage took out.
    pub received: u64,
    /// Packets dropped by the link's policy.
    pub dropped: u64,
    /// Partial results replaced by newer ones before they were read.
    pub superseded: u64,
    /// Packets left inside when the pipeline was stopped.
    pub cancelled: u64,
    /// Frames of audio that the writing stage handed over.
    pub frames_sent: u64,
    /// Frames of audio that the reading stage took out.
    pub frames_received: u64,
    /// Frames of audio in packets that were dropped, superseded or cancelled.
    pub frames_removed: u64,
    /// Most packets that waited at a time, over all streams.
    pub deepest: u64,
}

/// The books of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Books {
    /// One for each stage, in the order of the plan.
    pub stages: Vec<StageBook>,
    /// One for each link, in the order of the plan.
    pub links: Vec<LinkBook>,
}

/// A place where the books of a finished run do not balance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// The stage or link.
    pub place: String,
    /// What does not add up.
    pub what: String,
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl Books {
    /// Takes these stages out, which read and write nothing for others, and the links to them.
    pub fn without(&mut self, stages: &[Arc<str>]) {
        self.stages.retain(|stage| !stages.contains(&stage.id));
        let into = |link: &LinkBook, id: &str| {
            let reader = link.name.split_once(" → ").map_or("", |(_, reader)| reader);
            reader.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest == ".in")
        };
        self.links.retain(|link| !stages.iter().any(|id| into(link, id)));
    }

    /// Every place where a finished run's books do not balance. Empty: nothing was lost in silence.
    pub fn imbalances(&self) -> Vec<Imbalance> {
        let mut found = Vec::new();
        let mut expect = |place: &str, left: (&str, u64), right: (&str, u64)| {
            if left.1 != right.1 {
                let what = format!("{} {} but {} {}", left.1, left.0, right.1, right.0);
                found.push(Imbalance { place: place.to_owned(), what });
            }
        };
        for link in &self.links {
            let out = link.received + link.dropped + link.superseded + link.cancelled;
            expect(&link.name, ("packets sent", link.sent), ("packets received, dropped or cancelled", out));
            let frames = link.frames_received + link.frames_removed;
            expect(&link.name, ("audio frames sent", link.frames_sent), ("audio frames received or dropped", frames));
        }
        for stage in &self.stages {
            let ended = stage.done + stage.skipped + stage.late + stage.lost + stage.cancelled;
            expect(
                &stage.id,
                ("packets entered", stage.entered),
                ("packets done, skipped, late, lost or cancelled", ended),
            );
            if stage.samples_delivered > 0 {
                let kept = stage.samples_written + stage.samples_overrun;
                expect(&stage.id, ("samples delivered", stage.samples_delivered), ("samples written or overrun", kept));
            }
        }
        found
    }

    /// Packets and blocks that were lost without the pipeline's file having asked for it.
    pub fn unplanned_losses(&self) -> u64 {
        self.stages
            .iter()
            // A restart costs at least the state of the stream that it befell.
            .map(|stage| {
                stage.skipped
                    + stage.lost
                    + stage.refused
                    + stage.restarts
                    + stage.samples_overrun
                    + stage.blocks_damaged
            })
            .sum()
    }

    /// Packets dropped by policies that the pipeline's file asked for.
    pub fn planned_drops(&self) -> u64 {
        self.links.iter().map(|link| link.dropped).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(sent: u64, received: u64, entered: u64, done: u64) -> Books {
        Books {
            stages: vec![StageBook { id: "b".into(), entered, done, ..StageBook::default() }],
            links: vec![LinkBook { name: "a → b".into(), sent, received, ..LinkBook::default() }],
        }
    }

    #[test]
    fn a_lost_packet_is_found_wherever_it_was_lost() {
        assert_eq!(books(9, 9, 9, 9).imbalances(), []);
        assert_eq!(
            books(9, 8, 8, 8).imbalances()[0].to_string(),
            "a → b: 9 packets sent but 8 packets received, dropped or cancelled"
        );
        assert_eq!(books(9, 9, 9, 8).imbalances()[0].place, "b");
    }

    #[test]
    fn samples_balance_too() {
        let mut books = books(1, 1, 1, 1);
        books.stages[0].samples_delivered = 100;
        books.stages[0].samples_written = 90;
        assert_eq!(books.imbalances().len(), 1);
        books.stages[0].samples_overrun = 10;
        assert_eq!(books.imbalances(), []);
        assert_eq!(books.unplanned_losses(), 10);
    }
}
