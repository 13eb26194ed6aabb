//! Packets of several ports that belong together: for the stages that read the outputs of one model, or a picture and what
//! was found in it.

use std::collections::VecDeque;

use crate::media::Packet;
use crate::stage::{Draft, EventKind, Output, PortIndex};
use crate::units::Timestamp;

/// Puts packets of equal start on all ports of a stage together: the outputs of one run of a model, a frame and its regions. Of several runs at
/// one start (the parts of a frame) the first on each port belong together, then the second, and so on.
///
/// Packets come in the order of their start. So those that wait for a partner which starts earlier than what comes will
/// never get it: they are dropped, and a notice says so.
#[derive(Clone, Debug)]
pub struct Join {
    waiting: Vec<VecDeque<Packet>>,
}

impl Join {
    /// A join of so many ports, at least one.
    pub fn new(ports: usize) -> Self {
        Join { waiting: vec![VecDeque::new(); ports.max(1)] }
    }

    /// Takes a packet; gives those that belong together, port by port, when none is wanting.
    pub fn push(&mut self, port: PortIndex, packet: Packet, out: &mut Output) -> Option<Vec<Packet>> {
        if self.hold_back().is_some_and(|start| start < packet.start) {
            self.give_up(out);
        }
        self.waiting.get_mut(port)?.push_back(packet);
        if self.waiting.iter().any(VecDeque::is_empty) {
            return None;
        }
        Some(self.waiting.iter_mut().filter_map(VecDeque::pop_front).collect())
    }

    /// Drops what waits, and says so.
    pub fn give_up(&mut self, out: &mut Output) {
        let Some(start) = self.hold_back() else { return };
        let count: usize = self.waiting.iter().map(VecDeque::len).sum();
        let plural = if count == 1 { "packet" } else { "packets" };
        let message = format!(
            "{count} {plural} at {start} found no partner on the other ports and went no further; all ports must read what \
             comes of the same packets"
        );
        out.event(EventKind::Notice, message);
        self.waiting.iter_mut().for_each(VecDeque::clear);
    }

    /// The start of what waits.
    pub fn hold_back(&self) -> Option<Timestamp> {
        self.waiting.iter().flatten().map(|packet| packet.start).min()
    }
}

/// The times and the marks of packets that belong together, around an empty payload: what comes of them takes it over.
pub(in crate::stages) fn draft_of(packets: &[Packet], payload: impl Into<crate::media::Payload>) -> Option<Draft> {
    let first = packets.first()?;
    let mut draft = Draft::new(first.start, first.duration, payload);
    for packet in packets {
        draft.flags.gap |= packet.flags.gap;
        draft.flags.partial |= packet.flags.partial;
        draft.flags.expected_final |= packet.flags.expected_final;
        draft.flags.late |= packet.flags.late;
        draft.revision = draft.revision.max(packet.revision);
        draft.weights = draft.weights.max(packet.weights);
    }
    Some(draft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::StreamId;
    use crate::tensor::Tensor;
    use crate::units::TimeSpan;

    fn packet(start: i64, number: f32) -> Packet {
        let start = Timestamp::from_nanos(start);
        Packet::new(StreamId(0), start, TimeSpan::from_millis(1), Tensor::scalar(number))
    }

    fn numbers(packets: Option<Vec<Packet>>) -> Vec<f32> {
        let number = |packet: &Packet| packet.payload.tensor().unwrap().as_slice::<f32>().unwrap()[0];
        packets.iter().flatten().map(number).collect()
    }

    #[test]
    fn packets_of_one_start_belong_together() {
        let (mut join, mut out) = (Join::new(2), Output::new());
        for (port, start, number, expected, lost) in [
            (0, 0, 1.0, &[][..], 0),
            (1, 0, 2.0, &[1.0, 2.0], 0),
            // Three parts of one frame.
            (0, 5, 3.0, &[], 0),
            (0, 5, 4.0, &[], 0),
            (0, 5, 5.0, &[], 0),
            (1, 5, 6.0, &[3.0, 6.0], 0),
            (1, 5, 7.0, &[4.0, 7.0], 0),
            // The third has no partner.
            (1, 6, 8.0, &[], 1),
            (0, 6, 9.0, &[9.0, 8.0], 0),
        ] {
            assert_eq!(numbers(join.push(port, packet(start, number), &mut out)), expected, "{number}");
            assert_eq!(out.drain_events().count(), lost, "{number}");
        }
        assert_eq!(join.hold_back(), None);
        assert!(join.push(1, packet(7, 0.0), &mut out).is_none());
        assert_eq!(join.hold_back(), Some(Timestamp::from_nanos(7)));
        join.give_up(&mut out);
        let events: Vec<_> = out.drain_events().collect();
        assert!(events[0].message.starts_with("1 packet at"), "{events:?}");
        assert!(join.push(9, packet(8, 0.0), &mut out).is_none(), "no such port");
    }

    #[test]
    fn marks_of_all_are_those_of_the_result() {
        let (mut a, mut b) = (packet(3, 0.0), packet(3, 0.0));
        (a.flags.gap, b.flags.late, b.revision, a.weights) = (true, true, 4, 2);
        let draft = draft_of(&[a, b], Tensor::scalar(0.0f32)).unwrap();
        assert!(draft.flags.gap && draft.flags.late && !draft.flags.partial);
        assert_eq!((draft.start.as_nanos(), draft.revision, draft.weights), (3, 4, 2));
        assert!(draft_of(&[], Tensor::scalar(0.0f32)).is_none());
    }
}
