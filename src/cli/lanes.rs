//! A pipeline drawn in lines of text, from top to bottom: a row for each stage, a lane for each output that is still to be
//! read, and under each stage what it writes.
//!
//! ```text
//! ●    microphone  capture
//! │    audio of 1 channel
//! ●    resample    preprocess
//! │    audio 16000 Hz, 1 channel
//! ├─●  vad         model: onnx
//! │ │  tensor f32 [1]
//! ●─╯  endpoint    decoder     voice ← vad, audio ← resample
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::graph::{format, role, settings};
use super::terminal::Terminal;
use super::text;
use crate::pipeline::Plan;
use crate::stage::PortIndex;

/// An output that some stages further down read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Lane {
    from: (usize, PortIndex),
    /// Links that are not drawn yet.
    readers: usize,
}

/// The lanes at one place of the picture, each in its column; `None`: free.
#[derive(Default)]
struct Lanes(Vec<Option<Lane>>);

/// A line of the picture: the lanes, and the text beside them.
struct Row {
    art: String,
    text: String,
}

/// Draws the plan; the first line is its name.
pub(super) fn draw(plan: &Plan, terminal: &Terminal) -> String {
    let mut lanes = Lanes::default();
    let mut rows = Vec::new();
    let id_width = plan.stages.iter().map(|stage| text::width(&stage.id)).max().unwrap_or_default();
    let role_width = (0..plan.stages.len()).map(|stage| text::width(&role(plan, stage))).max().unwrap_or_default();
    for stage in order(plan) {
        let (art, column) = lanes.stage(plan, stage);
        let id = text::pad(&plan.stages[stage].id, id_width);
        let role = text::pad(&role(plan, stage), role_width);
        let sources = sources(plan, stage);
        rows.push(Row { art, text: format!("{}  {}  {sources}", terminal.name(id), terminal.faint(role)) });
        let outputs = &plan.stages[stage].contract.outputs;
        for (port, output) in outputs.iter().enumerate() {
            let readers =
                plan.links.iter().filter(|link| link.from == (stage, port) && !link.settings.feedback).count();
            if readers == 0 {
                continue;
            }
            let art = lanes.output(Lane { from: (stage, port), readers }, column);
            let format = format(plan, stage, port).unwrap_or_default();
            let text = if outputs.len() > 1 { format!(".{}  {format}", output.name) } else { format };
            rows.push(Row { art, text: terminal.faint(text.trim_end()).to_string() });
        }
    }
    let art_width = rows.iter().map(|row| text::width(&row.art)).max().unwrap_or_default();
    let mut picture = format!("{}\n\n", terminal.heading(&plan.name));
    for row in rows {
        picture.push_str(format!("{}  {}", text::pad(&row.art, art_width), row.text).trim_end());
        picture.push('\n');
    }
    picture
}

/// Where a stage reads from, when the lanes do not say it: several ports, or links with settings of their own.
fn sources(plan: &Plan, stage: usize) -> String {
    let inputs = &plan.stages[stage].contract.inputs;
    let links = plan.links.iter().filter(|link| link.to.0 == stage);
    let words = links.filter_map(|link| {
        let settings = settings(link).map(|settings| format!(" ({settings})"));
        if inputs.len() < 2 && settings.is_none() {
            return None;
        }
        let port = inputs.get(link.to.1).map(|port| port.name.as_str()).unwrap_or_default();
        let from = plan.output_name(link.from.0, link.from.1);
        Some(format!("{port} ← {from}{}", settings.unwrap_or_default()))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The stages such that writers come before their readers, otherwise in the order of the file.
fn order(plan: &Plan) -> Vec<usize> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); plan.stages.len()];
    let mut waits = vec![0usize; plan.stages.len()];
    for link in plan.links.iter().filter(|link| !link.settings.feedback) {
        readers[link.from.0].push(link.to.0);
        waits[link.to.0] += 1;
    }
    let mut ready: BinaryHeap<_> = (0..waits.len()).filter(|&stage| waits[stage] == 0).map(Reverse).collect();
    let mut order = Vec::new();
    while let Some(Reverse(stage)) = ready.pop() {
        order.push(stage);
        for &reader in &readers[stage] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    order
}

impl Lanes {
    /// Draws the row of a stage: the lanes that it reads run into it, and end there when it is their last reader. Gives the
    /// column of the stage, which is free for its first output.
    fn stage(&mut self, plan: &Plan, stage: usize) -> (String, usize) {
        let mut touched = vec![false; self.0.len()];
        for link in plan.links.iter().filter(|link| link.to.0 == stage && !link.settings.feedback) {
            let lane = self.0.iter_mut().enumerate().find_map(|(column, lane)| {
                lane.as_mut().filter(|lane| lane.from == link.from).map(|lane| (column, lane))
            });
            if let Some((column, lane)) = lane {
                touched[column] = true;
                lane.readers = lane.readers.saturating_sub(1);
            }
        }
        let ends = |lane: &Option<Lane>| lane.is_some_and(|lane| lane.readers == 0);
        let column = match self.0.iter().position(ends) {
            Some(column) => column,
            None => self.free(),
        };
        touched.resize(self.0.len(), false);
        touched[column] = true;
        let first = touched.iter().position(|touched| *touched).unwrap_or(column);
        let last = touched.iter().rposition(|touched| *touched).unwrap_or(column);
        let art = self.art(first, last, |place, lane| {
            let goes_on = lane.is_some_and(|lane| lane.readers > 0);
            match touched[place] {
                _ if place == column => Some('●'),
                false => None,
                true => Some(match (goes_on, place == first, place == last) {
                    (true, true, _) => '├',
                    (true, _, true) => '┤',
                    (true, ..) => '┼',
                    (false, _, true) => '╯',
                    (false, ..) => '┴',
                }),
            }
        });
        for lane in self.0.iter_mut().filter(|lane| ends(lane)) {
            *lane = None;
        }
        self.trim();
        (art, column)
    }

    /// Draws the row under a stage in which the lane of one of its outputs begins.
    fn output(&mut self, lane: Lane, stage: usize) -> String {
        if self.0.len() <= stage {
            self.0.resize(stage + 1, None);
        }
        let column = if self.0[stage].is_none() { stage } else { self.free() };
        let (first, last) = (stage.min(column), stage.max(column));
        self.0[column] = Some(lane);
        self.art(first, last, |place, _| match place {
            _ if first == last => None,
            place if place == stage => Some(if stage < column { '├' } else { '┤' }),
            place if place == column => Some(if stage < column { '╮' } else { '╭' }),
            _ => None,
        })
    }

    /// The first free column; a new one when there is none.
    fn free(&mut self) -> usize {
        self.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        })
    }

    fn trim(&mut self) {
        while self.0.last().is_some_and(Option::is_none) {
            self.0.pop();
        }
    }

    /// A row with a line across the columns from `first` to `last`; `glyph` says what stands where the line meets a lane.
    fn art(&self, first: usize, last: usize, glyph: impl Fn(usize, &Option<Lane>) -> Option<char>) -> String {
        let mut art = String::new();
        for (place, lane) in self.0.iter().enumerate() {
            let across = (first..last).contains(&place);
            let crossed = first < place && place < last;
            art.push(glyph(place, lane).unwrap_or(match lane {
                Some(_) => '│',
                None if crossed => '─',
                None => ' ',
            }));
            art.push(if across { '─' } else { ' ' });
        }
        art.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::{diamond, plan};
    use super::*;
    use crate::media::Format;
    use crate::stage::Role;

    const PLAIN: Terminal = Terminal { color: false, width: 80, interactive: false };

    fn drawn(plan: &Plan) -> String {
        draw(plan, &PLAIN)
    }

    #[test]
    fn a_diamond_and_two_outputs() {
        assert_eq!(
            drawn(&diamond()),
            "a \"name\"\n\n\
             ●    in   capture: file\n\
             │    audio\n\
             ├─●  vad  model: onnx\n\
             │ │  tensor\n\
             ●─╯  cut  decoder        voice ← vad, audio ← in (queue 64, drop_oldest)\n\
             │    .out  audio\n\
             ├─╮  .debug\n\
             ● │  out  sink: jsonl\n\
             \x20 ●  log  sink: jsonl\n"
        );
    }

    #[test]
    fn lanes_that_are_crossed_and_freed() {
        const X: Format = Format::Text;
        let plan = plan(
            &[
                ("a", Role::Capture, "a", &[], &[("o", X)]),
                ("b", Role::Capture, "b", &[], &[("o", X)]),
                ("c", Role::Capture, "c", &[], &[("o", X)]),
                ("d", Role::Decoder, "d", &["1", "2"], &[("o", X)]),
                ("e", Role::Sink, "e", &["i"], &[]),
                ("f", Role::Sink, "f", &["i"], &[]),
                ("g", Role::Sink, "g", &["i"], &[]),
            ],
            &[(0, 0, 3, 0), (2, 0, 3, 1), (1, 0, 4, 0), (3, 0, 5, 0), (0, 0, 6, 0)],
        );
        let art: Vec<_> = drawn(&plan).lines().skip(2).map(|line| line.chars().take(6).collect::<String>()).collect();
        assert_eq!(
            art,
            [
                "●      ",
                "│      ",
                "│ ●    ",
                "│ │    ",
                "│ │ ●  ",
                "│ │ │  ",
                "├─│─●  ",
                "│ │ │  ",
                "│ ● │  ",
                "│   ●  ",
                "●      "
            ]
            .map(|row| row.chars().take(6).collect::<String>())
        );
    }

    #[test]
    fn readers_before_their_writers_in_the_file_and_feedback() {
        let mut plan = plan(
            &[
                ("out", Role::Sink, "out", &["i"], &[]),
                ("in", Role::Capture, "in", &[], &[("o", Format::Text)]),
                ("mix", Role::Preprocess, "mix", &["a", "b"], &[("o", Format::Text)]),
            ],
            &[(1, 0, 2, 0), (2, 0, 2, 1), (2, 0, 0, 0)],
        );
        plan.links[1].settings.feedback = true;
        assert_eq!(
            drawn(&plan),
            "a \"name\"\n\n\
             ●  in   capture\n\
             │  text\n\
             ●  mix  preprocess  a ← in, b ← mix (feedback)\n\
             │  text\n\
             ●  out  sink\n"
        );
    }
}
