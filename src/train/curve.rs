//! The curve of a training as a picture: losses above, accuracies below, for files and reports.

mod layout;
mod raster;
mod scale;
mod scene;
mod series;
mod svg;

use super::{Epoch, TrainError};

/// The curve as the text of an SVG file, 1200 × 750 pixels.
///
/// The upper panel shows the training and the validation loss, on a logarithmic axis where they are above 0 and span
/// more than a factor of 20; the lower the validation accuracy, where there is any. The epoch with the lowest
/// validation loss is marked (the lowest training loss, where nothing was validated), and each line ends with its last
/// value. What is not finite, or beyond 1e300, is left out and leaves a gap. `title` is one line, cut where it is too
/// long; an empty history gives a picture that says so. Paths have the classes `training loss`, `validation loss` and
/// `validation accuracy`.
pub fn svg(title: &str, history: &[Epoch]) -> String {
    svg::svg(&layout::scene(title, history))
}

/// The curve as the bytes of a PNG file, 1200 × 750 pixels: the picture of [`svg()`] in the bundled font, which has
/// Latin, Greek and Cyrillic letters and draws a box for others.
///
/// # Errors
///
/// [`TrainError::Output`] when there is no memory for the picture.
pub fn png(title: &str, history: &[Epoch]) -> Result<Vec<u8>, TrainError> {
    raster::png(&layout::scene(title, history))
        .map_err(|reason| TrainError::Output { path: "the training curve as PNG".into(), reason })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Training loss, validation loss and accuracy of an epoch.
    type Row = (f64, Option<f64>, Option<f64>);

    pub(super) fn history(rows: impl IntoIterator<Item = Row>) -> Vec<Epoch> {
        let rows = rows.into_iter().zip(1u64..);
        rows.map(|((loss, validation_loss, validation_accuracy), epoch)| Epoch {
            epoch,
            steps: 100 * epoch,
            learning_rate: 0.01,
            loss,
            validation_loss,
            validation_accuracy,
            ..Epoch::default()
        })
        .collect()
    }

    /// A training of `count` epochs that begins to overfit at two thirds.
    fn usual(count: u32) -> Vec<Epoch> {
        history((0..count).map(|index| {
            let time = f64::from(index) / f64::from(count);
            let noise = f64::from(index.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5;
            let loss = 2.2 * (-4.0 * time).exp() + 0.1 + 0.04 * noise;
            let validation = 2.1 * (-5.0 * time).exp() + 0.25 + 0.4 * (time - 0.6).max(0.0) + 0.05 * noise;
            (loss, Some(validation), Some(0.92 - 0.8 * (-6.0 * time).exp() - 0.02 * noise))
        }))
    }

    pub(super) fn cases() -> Vec<(&'static str, Vec<Epoch>)> {
        const NAN: f64 = f64::NAN;
        vec![
            ("empty", Vec::new()),
            ("one", usual(1)),
            ("two", usual(2)),
            ("usual", usual(30)),
            ("thousand", usual(1000)),
            ("training", history((1..=20).map(|index| (1.0 / f64::from(index), None, None)))),
            (
                "logarithmic",
                history((0..80).map(|index| {
                    let loss = 10f64.powf(1.0 - f64::from(index) / 16.0);
                    (loss, Some(loss * 1.4 + 1e-3), Some(1.0 - 0.9 * (-f64::from(index) / 9.0).exp()))
                })),
            ),
            (
                "gaps",
                history([
                    (2.3, Some(2.2), Some(0.1)),
                    (1.8, Some(1.9), Some(0.35)),
                    (1.5, Some(NAN), Some(NAN)),
                    (NAN, Some(1.6), Some(0.5)),
                    (1.2, Some(f64::INFINITY), Some(f64::INFINITY)),
                    (1.1, Some(1.4), Some(0.55)),
                    (1.0, Some(1.3), Some(0.6)),
                    (f64::NEG_INFINITY, None, None),
                ]),
            ),
            ("nothing finite", history([(NAN, Some(f64::INFINITY), Some(NAN)), (NAN, None, None)])),
            ("constant", history((0..9).map(|_| (0.0, Some(0.0), Some(1.0))))),
            ("diverging", history((0..30).map(|index| (10f64.powi(index * 10), Some(-10f64.powi(index * 10)), None)))),
            ("extremes", history([(1e300, Some(-1e300), Some(1e300)), (5e-324, Some(f64::MAX), Some(-1e300))])),
        ]
    }

    /// Reads as much XML as SVG files of ours have: the names of all elements and how many of each there are, with all
    /// attributes and texts. Panics where tags do not match.
    fn elements(svg: &str) -> (BTreeMap<String, usize>, Vec<String>) {
        let (mut open, mut count, mut texts) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            texts.push(rest[..start].to_owned());
            let end = start + rest[start..].find('>').expect("an end of the tag");
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
                (Some(name), _) => assert_eq!(open.pop().as_deref(), Some(name), "{svg}"),
                (None, closed) => {
                    let tag = closed.unwrap_or(tag);
                    let name = tag.split(' ').next().expect("a name").to_owned();
                    let quotes: Vec<&str> = tag.split('"').collect();
                    assert!(quotes.len() % 2 == 1, "{tag}");
                    texts.extend(quotes.iter().skip(1).step_by(2).map(|text| (*text).to_owned()));
                    *count.entry(name.clone()).or_insert(0) += 1;
                    if closed.is_none() {
                        open.push(name);
                    }
                }
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "not closed: {open:?}");
        for text in &texts {
            for part in text.split('&').skip(1) {
                let name = part.split(';').next().expect("a part");
                assert!(["amp", "lt", "gt", "quot"].contains(&name), "{text}");
            }
        }
        (count, texts)
    }

    #[test]
    fn svg_is_well_formed_and_shows_every_series() {
        for (name, history) in cases() {
            let svg = svg(&format!("{name} <&> \"a\""), &history);
            let (count, texts) = elements(&svg);
            assert!(texts.iter().any(|text| text == &format!("{name} &lt;&amp;&gt; &quot;a&quot;")), "{name}");
            for number in ["NaN", "inf"] {
                assert!(!svg.contains(number), "{name}: {number} in {svg}");
            }
            let of =
                |value: fn(&Epoch) -> Option<f64>| history.iter().filter_map(value).any(|value| value.abs() <= 1e300);
            let expected = [
                ("training loss", of(|epoch| Some(epoch.loss))),
                ("validation loss", of(|epoch| epoch.validation_loss)),
                ("validation accuracy", of(|epoch| epoch.validation_accuracy)),
            ];
            for (class, expected) in expected {
                assert_eq!(texts.iter().any(|text| text == class), expected, "{name}: {class}");
            }
            let lines = expected.iter().filter(|(_, expected)| *expected).count();
            assert_eq!(count.get("path").copied().unwrap_or(0), lines, "{name}");
            assert!(svg.len() < 200_000, "{name}: {} bytes", svg.len());
        }
    }

    #[test]
    fn svg_says_what_matters() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("empty", &["no epochs yet"], &["epoch", "loss", "accuracy"]),
            ("one", &["1 epoch · best: epoch 1, validation loss ", "accuracy", "1"], &["logarithmic"]),
            ("usual", &["30 epochs · best: epoch ", "training", "validation", "epoch"], &["logarithmic"]),
            ("training", &["20 epochs · best: epoch 20, training loss 0.05000", "training 0.05000"], &["accuracy"]),
            ("logarithmic", &["logarithmic", "0.001", "10"], &[]),
            ("gaps", &["8 epochs · best: epoch 7, validation loss 1.300, accuracy 60.00 %", "training 1.000"], &[]),
            ("nothing finite", &["no finite values", "2 epochs"], &["accuracy", "training", "validation"]),
            ("constant", &["training 0", "validation 0", "validation 100.00 %"], &["logarithmic"]),
        ];
        for (name, present, absent) in table {
            let (_, history) = cases().into_iter().find(|(other, _)| other == name).expect("a case");
            let (_, texts) = elements(&svg("title", &history));
            for text in *present {
                assert!(texts.iter().any(|other| other.starts_with(text)), "{name}: no {text:?} in {texts:?}");
            }
            for text in *absent {
                assert!(texts.iter().all(|other| other != text), "{name}: {text:?} in {texts:?}");
            }
        }
    }

    #[test]
    fn the_order_of_a_history_does_not_matter() {
        let forth = usual(12);
        let back: Vec<Epoch> = forth.iter().rev().cloned().collect();
        assert_eq!(svg("t", &forth), svg("t", &back));
    }

    #[test]
    fn titles_are_one_line_that_fits() {
        let long = "digits ".repeat(2000);
        let (_, texts) = elements(&svg(&long, &usual(3)));
        let title = texts.iter().find(|text| text.starts_with("digits") && text.ends_with('…')).expect("a title");
        assert!(title.len() > 70 && title.len() < 120, "{title}");
        let (_, texts) = elements(&svg("two\nlines\u{1b}", &[]));
        assert!(texts.iter().any(|text| text == "two lines "), "{texts:?}");
    }

    #[test]
    fn png_has_the_size_and_the_colours() {
        for (name, history) in cases() {
            let png = png(name, &history).expect("a picture");
            let picture = image::load_from_memory_with_format(&png, image::ImageFormat::Png).expect("a PNG").to_rgb8();
            assert_eq!(picture.dimensions(), (1200, 750), "{name}");
            let count = |colour: [u8; 3]| picture.pixels().filter(|pixel| pixel.0 == colour).count();
            let known = history.iter().any(|epoch| epoch.loss.abs() <= 1e300);
            assert_eq!(count([0, 114, 178]) > 50, known, "{name}: blue");
            assert!(count([255; 3]) > 700_000, "{name}: white");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_history_gives_a_picture(
            title in any::<String>(),
            rows in proptest::collection::vec(
                (any::<u64>(), any::<f64>(), any::<Option<f64>>(), any::<Option<f64>>()),
                0..20,
            ),
        ) {
            let mut epochs = history(rows.iter().map(|row| (row.1, row.2, row.3)));
            for (epoch, row) in epochs.iter_mut().zip(&rows) {
                epoch.epoch = row.0;
            }
            let svg = svg(&title, &epochs);
            elements(&svg);
            let scene = layout::scene("t", &epochs);
            for mark in &scene.marks {
                let inside = |(x, y): scene::Point| (0.0..=1200.0).contains(&x) && (0.0..=750.0).contains(&y);
                let fits = match mark {
                    scene::Mark::Line { from, to, .. } => inside(*from) && inside(*to),
                    scene::Mark::Curve { pieces, .. } => pieces.iter().flatten().all(|point| inside(*point)),
                    scene::Mark::Dot { at, .. } | scene::Mark::Text { at, .. } => inside(*at),
                };
                prop_assert!(fits, "{mark:?}");
            }
        }
    }
}
