use proptest::prelude::*;

use super::*;
use crate::dsp::picture::reference::{picture, resized};
use crate::dsp::picture::{Area, Fit};

const FILTERS: [Filter; 4] = [Filter::Box, Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

fn run(placement: Placement, filter: Filter, view: &PixelView<'_>, ground: &[u8]) -> Vec<u8> {
    let mut resizer = Resizer::new(placement, filter, view.channels(), ground).unwrap();
    let (mut first, mut second) = (vec![1, 2, 3], Vec::new());
    resizer.run(view, &mut first).unwrap();
    resizer.run(view, &mut second).unwrap();
    assert!(first == second, "the second picture differs from the first");
    first
}

fn stretch(view: &PixelView<'_>, output: (u32, u32), filter: Filter) -> Vec<u8> {
    let input = (view.width() as u32, view.height() as u32);
    run(Placement::new(Fit::Stretch, input, output).unwrap(), filter, view, &vec![0; view.channels()])
}

#[test]
fn pillow_gives_the_same() {
    let cases = resized();
    assert!(cases.len() > 100);
    for case in cases {
        let bytes = picture(case.input.0, case.input.1, case.channels);
        let view = PixelView::packed(&bytes, case.input.0, case.input.1, case.channels).unwrap();
        let target = Area { x: 0, y: 0, width: case.output.0, height: case.output.1 };
        let placement = Placement::from_parts(case.input, case.output, case.source, target);
        let found = run(placement, case.filter, &view, &vec![0; case.channels]);
        let expected = case.pixels();
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        let (input, output) = (case.input, case.output);
        assert_eq!(off, 0, "{input:?} to {output:?}, {} channels, {:?}", case.channels, case.filter);
    }
}

#[test]
fn a_fill_uses_the_part_that_pillow_was_given() {
    // Two of the frozen cases are cut as `fill` cuts.
    for (input, output, source) in [
        ((60, 40), (16, 16), [10.0, 0.0, 50.0, 40.0]),
        ((61, 40), (16, 18), [12.722_222_222_222_221, 0.0, 48.277_777_777_777_78, 40.0]),
    ] {
        assert_eq!(Placement::new(Fit::Fill, input, output).unwrap().source(), source);
    }
}

#[test]
fn a_letterbox_is_the_fitted_picture_on_its_ground() {
    for (channels, ground) in [(1, &[114][..]), (3, &[1, 2, 3]), (4, &[9, 8, 7, 200])] {
        for (input, wanted) in [((40, 20), (24, 24)), ((20, 40), (24, 24)), ((20, 20), (24, 24)), ((300, 2), (16, 9))] {
            let bytes = picture(input.0, input.1, channels);
            let view = PixelView::packed(&bytes, input.0, input.1, channels).unwrap();
            let fitted = run(Placement::new(Fit::Fit, input, wanted).unwrap(), Filter::Lanczos, &view, ground);
            let placement = Placement::new(Fit::Letterbox, input, wanted).unwrap();
            let boxed = run(placement, Filter::Lanczos, &view, ground);
            let Area { x, y, width, height } = placement.target();
            for (at, pixel) in boxed.chunks_exact(channels).enumerate() {
                let (column, row) = (at as u32 % wanted.0, at as u32 / wanted.0);
                let inside = (x..x + width).contains(&column) && (y..y + height).contains(&row);
                let expected = match inside {
                    true => &fitted[((row - y) * width + column - x) as usize * channels..][..channels],
                    false => ground,
                };
                assert_eq!(pixel, expected, "{input:?} {column} {row}");
            }
        }
    }
}

#[test]
fn transparent_pixels_lend_no_colour() {
    // A red pixel beside a transparent green one.
    let bytes = [255, 0, 0, 255, 0, 255, 0, 0];
    let view = PixelView::packed(&bytes, 2, 1, 4).unwrap();
    assert_eq!(stretch(&view, (1, 1), Filter::Box), [255, 0, 0, 128]);
}

#[test]
fn a_picture_of_the_right_size_stays_as_it_is() {
    for channels in [1, 3, 4] {
        let bytes = picture(40, 30, channels);
        let view = PixelView::packed(&bytes, 40, 30, channels).unwrap();
        assert!(stretch(&view, (40, 30), Filter::Lanczos) == bytes, "{channels} channels");
    }
}

#[test]
fn rows_with_a_stride_are_the_same_picture() {
    for channels in [1, 3, 4] {
        let bytes = picture(40, 30, channels);
        // The lower right corner: its last row ends with the last byte.
        let (x, y, width, height) = (11, 7, 29, 23);
        let part = &bytes[(y * 40 + x) * channels..];
        let view = PixelView::new(part, width, height, 40 * channels, channels).unwrap();
        let packed: Vec<u8> = view.rows().flatten().copied().collect();
        let packed = PixelView::packed(&packed, width, height, channels).unwrap();
        for filter in FILTERS {
            for output in [(8, 9), (50, 40), (29, 9), (8, 23), (29, 23)] {
                assert_eq!(stretch(&view, output, filter), stretch(&packed, output, filter), "{filter:?} {output:?}");
            }
        }
    }
}

#[test]
fn bad_input() {
    let placement = Placement::new(Fit::Stretch, (4, 3), (2, 2)).unwrap();
    for (channels, ground, message) in [
        (2, 2, "the channels of a picture must be 1 (gray), 3 (RGB) or 4 (RGBA), found 2"),
        (3, 4, "the ground's colour must hold 3 values, found 4"),
    ] {
        let error = Resizer::new(placement, Filter::Box, channels, &vec![0; ground]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let tall = Placement::new(Fit::Stretch, (1, 1 << 20), (1 << 15, 1)).unwrap();
    assert!(matches!(Resizer::new(tall, Filter::Box, 3, &[0; 3]), Err(DspError::OutOfRange { max: 0x4000_0000, .. })));
    let mut resizer = Resizer::new(placement, Filter::Box, 3, &[0; 3]).unwrap();
    let bytes = [0u8; 48];
    for (width, height, channels, message) in [
        (3, 3, 3, "a row of the picture (in pixels) must hold 4 values, found 3"),
        (4, 4, 3, "the picture (in rows) must hold 3 values, found 4"),
        (4, 3, 4, "a pixel of the picture must hold 3 values, found 4"),
    ] {
        let view = PixelView::packed(&bytes, width, height, channels).unwrap();
        let error = resizer.run(&view, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

/// The same by its definition: two passes over the whole picture, one sample at a time.
fn plainly(view: &PixelView<'_>, placement: &Placement, filter: Filter) -> Vec<u8> {
    let [left, top, right, bottom] = placement.source().map(|edge| edge as f32);
    let (width, height) = placement.output();
    let channels = view.channels();
    let across = Weights::new(view.width(), left, right, width as usize, filter);
    let down = Weights::new(view.height(), top, bottom, height as usize, filter);
    let sum = |(first, weights): (usize, &[i32]), sample: &dyn Fn(usize) -> u8| {
        let sum: i32 = weights.iter().enumerate().map(|(at, weight)| weight * i32::from(sample(first + at))).sum();
        to_sample(HALF + sum)
    };
    let line = |row: &[u8]| -> Vec<u8> {
        (0..width as usize * channels)
            .map(|at| sum(across.of(at / channels), &|x| row[x * channels + at % channels]))
            .collect()
    };
    let lines: Vec<Vec<u8>> = view.rows().map(line).collect();
    (0..height as usize)
        .flat_map(|y| (0..width as usize * channels).map(move |at| (y, at)))
        .map(|(y, at)| sum(down.of(y), &|row| lines[row][at]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn row_by_row_is_the_same_as_pass_by_pass(
        input in (1u32..60, 1u32..60), output in (1u32..60, 1u32..60), gray: bool,
        fit in prop::sample::select(vec![Fit::Stretch, Fit::Fit, Fit::Fill]),
        filter in prop::sample::select(FILTERS.to_vec()),
    ) {
        let channels = if gray { 1 } else { 3 };
        let bytes = picture(input.0, input.1, channels);
        let view = PixelView::packed(&bytes, input.0, input.1, channels).unwrap();
        let placement = Placement::new(fit, input, output).unwrap();
        prop_assert_eq!(run(placement, filter, &view, &vec![0; channels]), plainly(&view, &placement, filter));
    }

    #[test]
    fn a_plain_colour_stays(
        colour in prop::array::uniform3(0u8..), input in (1u32..60, 1u32..60), output in (1u32..60, 1u32..60),
        filter in prop::sample::select(FILTERS.to_vec()),
    ) {
        let bytes = colour.repeat((input.0 * input.1) as usize);
        let view = PixelView::packed(&bytes, input.0, input.1, 3).unwrap();
        prop_assert_eq!(stretch(&view, output, filter), colour.repeat((output.0 * output.1) as usize));
    }
}
