//! Where everything of a training curve lies.

use super::scale::{Scale, Tick, drawable, measured, percent};
use super::scene::{Anchor, Colour, Mark, Point, Scene};
use super::series::{Series, best, thinned};
use crate::dsp::picture::Font;
use crate::train::Epoch;

/// The size of the picture in pixels.
const WIDTH: u32 = 1200;
const HEIGHT: u32 = 750;

/// The edges of the plots.
const LEFT: f64 = 90.5;
const RIGHT: f64 = 1020.5;
/// Where a title ends at the latest in our font; the viewer's may be wider by a sixth.
const TITLE_RIGHT: f64 = 1040.0;
/// The upper edge of the first plot and the lower of the last.
const TOP: f64 = 158.5;
const BOTTOM: f64 = 676.5;
/// Where the plot of losses ends and the one of accuracies begins, when there are both.
const UPPER_BOTTOM: f64 = 420.5;
const LOWER_TOP: f64 = 486.5;

/// With more epochs than these only the last and the best have a dot.
const MOST_DOTS: usize = 50;
/// With more epochs than these, which may go up and down each time, lines are thin.
const MOST_THICK: usize = 200;

/// Blue and vermilion of Okabe and Ito's palette, the latter a little darker for texts on white.
const TRAINING: Colour = [0, 114, 178];
const VALIDATION: Colour = [201, 80, 0];
const INK: Colour = [34, 34, 34];
const PALE: Colour = [102, 102, 102];
const GRID: Colour = [222, 222, 222];
const FAINT: Colour = [240, 240, 240];
const FRAME: Colour = [136, 136, 136];

/// The picture of a history.
pub(super) fn scene(title: &str, history: &[Epoch]) -> Scene {
    let mut epochs: Vec<&Epoch> = history.iter().collect();
    epochs.sort_by_key(|epoch| epoch.epoch);
    let series = |of: &dyn Fn(&Epoch) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
        epochs.iter().map(|epoch| (epoch.epoch as f64, of(epoch).and_then(drawable))).collect()
    };
    let losses = [
        Series::new("training", "training loss", TRAINING, series(&|epoch| Some(epoch.loss))),
        Series::new("validation", "validation loss", VALIDATION, series(&|epoch| epoch.validation_loss)),
    ];
    let accuracies =
        [Series::new("validation", "validation accuracy", VALIDATION, series(&|epoch| epoch.validation_accuracy))];
    let best = best(&epochs);

    let best_at = best.and_then(|index| Some((index, epochs.get(index)?.epoch as f64)));
    let mut picture = Picture { font: Font::new(), marks: Vec::new(), epochs: epochs.len(), best: best_at };
    let title = picture.fitting(title, 26.0, TITLE_RIGHT - LEFT);
    let summary = summary(&epochs, best);
    let description = format!("{title}: {summary}");
    picture.text((LEFT, 50.0), 26.0, Anchor::Start, INK, title);
    picture.text((LEFT, 80.0), 16.0, Anchor::Start, PALE, summary);
    if let (Some(first), Some(last)) = (epochs.first(), epochs.last()) {
        let across = Scale::epochs(first.epoch as f64, last.epoch as f64, LEFT, RIGHT);
        let both = accuracies.iter().any(|series| series.extent().is_some());
        let bottom = if both { UPPER_BOTTOM } else { BOTTOM };
        let down = extent(&losses).map(|(low, high)| Scale::losses(low, high, bottom, TOP));
        picture.panel("loss", &losses, &across, down, (TOP, bottom), measured);
        if both {
            let down = extent(&accuracies).map(|(low, high)| Scale::shares(low, high, BOTTOM, LOWER_TOP));
            picture.panel("accuracy", &accuracies, &across, down, (LOWER_TOP, BOTTOM), percent);
        }
        picture.text(((LEFT + RIGHT) / 2.0, BOTTOM + 52.0), 16.0, Anchor::Middle, INK, "epoch".into());
    }
    Scene { width: WIDTH, height: HEIGHT, description, marks: picture.marks }
}

/// How many epochs there were, and which was best, in words.
fn summary(epochs: &[&Epoch], best: Option<usize>) -> String {
    let count = match epochs.len() {
        0 => return "no epochs yet".into(),
        1 => "1 epoch".to_owned(),
        count => format!("{count} epochs"),
    };
    let Some(epoch) = best.and_then(|index| epochs.get(index)) else { return count };
    let mut text = format!("{count} · best: epoch {}", epoch.epoch);
    text += &match epoch.validation_loss {
        Some(loss) => format!(", validation loss {}", measured(loss)),
        None => format!(", training loss {}", measured(epoch.loss)),
    };
    if let Some(accuracy) = epoch.validation_accuracy.and_then(drawable) {
        text += &format!(", accuracy {}", percent(accuracy));
    }
    text
}

/// The least and the greatest value of all series.
fn extent(series: &[Series]) -> Option<(f64, f64)> {
    series.iter().filter_map(Series::extent).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// A picture while it is made.
struct Picture {
    font: Font,
    marks: Vec<Mark>,
    epochs: usize,
    /// Where the best epoch is in all series, and its number.
    best: Option<(usize, f64)>,
}

impl Picture {
    /// One plot between `top` and `bottom` with its name, legend, grid, series and the values that they end with.
    fn panel(
        &mut self,
        name: &str,
        series: &[Series],
        across: &Scale,
        down: Option<Scale>,
        (top, bottom): (f64, f64),
        number: fn(f64) -> String,
    ) {
        let known: Vec<&Series> = series.iter().filter(|series| series.extent().is_some()).collect();
        // Above the first plot there is a line for the best epoch between.
        let header = if top > TOP { top - 16.0 } else { top - 30.0 };
        self.name(name, down.as_ref(), header);
        self.legend(&known, header);
        self.grid(across.ticks(10), Side::Bottom, top, bottom);
        if let Some(down) = &down {
            self.grid(down.ticks(if bottom - top > 350.0 { 8 } else { 5 }), Side::Left, top, bottom);
        }
        for (from, to) in [((LEFT, top), (LEFT, bottom)), ((LEFT, bottom), (RIGHT, bottom))] {
            self.marks.push(Mark::Line { from, to, colour: FRAME, width: 1.0, dashed: false });
        }
        let Some(down) = down else {
            let at = ((LEFT + RIGHT) / 2.0, (top + bottom) / 2.0);
            self.text(at, 16.0, Anchor::Middle, PALE, "no finite values".into());
            return;
        };
        self.best_line(across, top, bottom);
        for series in &known {
            self.series(series, across, &down);
        }
        self.last_values(&known, &down, (top, bottom), number);
    }

    /// The name of a plot, left above it, with the base line at `y`.
    fn name(&mut self, name: &str, down: Option<&Scale>, y: f64) {
        self.text((LEFT, y), 17.0, Anchor::Start, INK, name.into());
        if down.is_some_and(Scale::is_logarithmic) {
            let x = LEFT + self.font.width(name, 17.0) * 1.1 + 10.0;
            self.text((x, y), 14.0, Anchor::Start, PALE, "logarithmic".into());
        }
    }

    /// Which colour is which series, right above a plot, with the base line at `y`.
    fn legend(&mut self, series: &[&Series], y: f64) {
        let mut right = RIGHT;
        for series in series.iter().rev() {
            self.text((right, y), 15.0, Anchor::End, INK, series.name.into());
            // The viewer's font may be wider than ours.
            let end = right - self.font.width(series.name, 15.0) * 1.12 - 8.0;
            let (from, to) = ((end - 28.0, y - 5.0), (end, y - 5.0));
            self.marks.push(Mark::Line { from, to, colour: series.colour, width: 3.0, dashed: false });
            right = from.0 - 24.0;
        }
    }

    /// Lines through a plot, and what they stand for beside it.
    fn grid(&mut self, ticks: Vec<Tick>, side: Side, top: f64, bottom: f64) {
        for Tick { at, label } in ticks {
            let at = at.floor() + 0.5;
            let (from, to, text) = match side {
                Side::Left => ((LEFT, at), (RIGHT, at), (LEFT - 10.0, at + 5.0)),
                Side::Bottom => ((at, top), (at, bottom), (at, bottom + 21.0)),
            };
            let colour = if label.is_some() { GRID } else { FAINT };
            self.marks.push(Mark::Line { from, to, colour, width: 1.0, dashed: false });
            if let Some(label) = label {
                let anchor = if side == Side::Left { Anchor::End } else { Anchor::Middle };
                self.text(text, 14.0, anchor, INK, label);
            }
        }
    }

    /// A line down through a plot at the best epoch, and its name above the first plot.
    fn best_line(&mut self, across: &Scale, top: f64, bottom: f64) {
        let Some((_, epoch)) = self.best else { return };
        let x = across.at(epoch).floor() + 0.5;
        self.marks.push(Mark::Line { from: (x, top), to: (x, bottom), colour: PALE, width: 1.0, dashed: true });
        if top <= TOP {
            self.text((x, top - 7.0), 14.0, Anchor::Middle, PALE, "best".into());
        }
    }

    /// The lines and dots of a series.
    fn series(&mut self, series: &Series, across: &Scale, down: &Scale) {
        let place = |(epoch, value): (f64, f64)| -> Point { (across.at(epoch), down.at(value)) };
        let colour = series.colour;
        let width = if self.epochs <= MOST_THICK { 2.25 } else { 1.5 };
        let pieces: Vec<Vec<Point>> = series.pieces().map(|piece| thinned(piece.into_iter().map(place))).collect();
        let mut dots: Vec<Point> = match self.epochs <= MOST_DOTS {
            true => pieces.iter().flatten().copied().collect(),
            false => pieces.iter().filter(|piece| piece.len() == 1).flatten().copied().collect(),
        };
        dots.extend(series.last().map(place));
        let pieces = pieces.into_iter().filter(|piece| piece.len() > 1).collect();
        self.marks.push(Mark::Curve { class: series.class, pieces, colour, width });
        for at in dots {
            self.marks.push(Mark::Dot { at, radius: 3.25, colour, ring: false });
        }
        if let Some(at) = self.best.and_then(|(index, _)| series.get(index)).map(place) {
            self.marks.push(Mark::Dot { at, radius: 5.5, colour, ring: true });
        }
    }

    /// The last value of each series, right of the plot at its height, one not over the other.
    fn last_values(&mut self, series: &[&Series], down: &Scale, (top, bottom): (f64, f64), number: fn(f64) -> String) {
        const LINE: f64 = 20.0;
        let mut labels: Vec<(f64, Colour, String)> = series
            .iter()
            .filter_map(|series| {
                let (_, value) = series.last()?;
                Some((down.at(value), series.colour, format!("{} {}", series.name, number(value))))
            })
            .collect();
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let [above, below] = labels.as_mut_slice()
            && below.0 - above.0 < LINE
        {
            let middle = ((above.0 + below.0) / 2.0).clamp(top + LINE / 2.0, bottom - LINE / 2.0);
            (above.0, below.0) = (middle - LINE / 2.0, middle + LINE / 2.0);
        }
        for (y, colour, text) in labels {
            self.text((RIGHT + 12.0, y + 5.0), 15.0, Anchor::Start, colour, text);
        }
    }

    fn text(&mut self, at: Point, size: f64, anchor: Anchor, colour: Colour, text: String) {
        self.marks.push(Mark::Text { at, size, anchor, colour, text });
    }

    /// The text on one line, cut where it is wider than `width` pixels.
    fn fitting(&self, text: &str, size: f64, width: f64) -> String {
        // No text of more characters fits, and a longer one need not be measured.
        let mut text: String = text.chars().take(400).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if self.font.width(&text, size) <= width {
            return text;
        }
        while self.font.width(&text, size) + self.font.width("…", size) > width && text.pop().is_some() {}
        text.truncate(text.trim_end().len());
        text + "…"
    }
}

/// Where the numbers of a grid stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Bottom,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cases, history};
    use super::*;

    /// Left, top, right and bottom of each text, and the text.
    fn boxes(scene: &Scene) -> Vec<([f64; 4], &str)> {
        let font = Font::new();
        let texts = scene.marks.iter().filter_map(|mark| match mark {
            Mark::Text { at, size, anchor, text, .. } => Some((at, size, anchor, text)),
            _ => None,
        });
        texts
            .map(|(at, size, anchor, text)| {
                let width = font.width(text, *size);
                let left = match anchor {
                    Anchor::Start => at.0,
                    Anchor::Middle => at.0 - width / 2.0,
                    Anchor::End => at.0 - width,
                };
                ([left, at.1 - 0.75 * size, left + width, at.1 + 0.2 * size], text.as_str())
            })
            .collect()
    }

    #[test]
    fn no_text_lies_over_another_or_outside() {
        for (name, history) in cases() {
            let scene = scene(name, &history);
            let boxes = boxes(&scene);
            for (index, (a, text)) in boxes.iter().enumerate() {
                assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= 1200.0 && a[3] <= 750.0, "{name}: {text:?} at {a:?}");
                for (b, other) in &boxes[..index] {
                    let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
                    assert!(apart, "{name}: {text:?} at {a:?} and {other:?} at {b:?}");
                }
            }
        }
    }

    #[test]
    fn the_best_epoch_is_marked_in_every_panel() {
        let history = history([(3.0, Some(3.0), Some(0.1)), (2.0, Some(1.0), Some(0.5)), (1.0, Some(2.0), Some(0.6))]);
        let scene = scene("t", &history);
        let middle = (LEFT + RIGHT) / 2.0;
        let rings: Vec<Point> = scene
            .marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Dot { at, ring: true, .. } => Some(*at),
                _ => None,
            })
            .collect();
        assert_eq!(rings.len(), 3, "two losses and an accuracy");
        assert!(rings.iter().all(|at| (at.0 - middle).abs() < 0.01), "{rings:?}");
        let lines = scene.marks.iter().filter(|mark| matches!(mark, Mark::Line { dashed: true, .. }));
        assert_eq!(lines.count(), 2, "one a panel");
    }
}
