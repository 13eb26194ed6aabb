use proptest::prelude::*;

use super::*;

const RED: Colour = [255, 0, 0];

/// What is drawn on black, as the red of each pixel.
fn drawn(width: u32, height: u32, draw: impl FnOnce(&mut Canvas<'_>)) -> Vec<Vec<u8>> {
    let mut pixels = vec![0; width as usize * height as usize * 3];
    draw(&mut Canvas::new(&mut pixels, width, height).unwrap());
    pixels.chunks(width as usize * 3).map(|row| row.chunks(3).map(|pixel| pixel[0]).collect()).collect()
}

#[test]
fn a_canvas_needs_its_pixels() {
    let mut pixels = [0; 12];
    assert!(Canvas::new(&mut pixels, 2, 2).is_some());
    for (width, height) in [(2, 1), (3, 2), (u32::MAX, u32::MAX)] {
        assert!(Canvas::new(&mut pixels, width, height).is_none());
    }
}

#[test]
fn rectangles_are_filled_by_how_much_of_a_pixel_they_cover() {
    for (from, to, opacity, expected) in [
        ((1.0, 0.0), (3.0, 1.0), 1.0, [0, 255, 255, 0]),
        ((0.5, 0.0), (1.25, 1.0), 1.0, [128, 64, 0, 0]),
        ((-9.0, -9.0), (2.0, 9.0), 0.5, [128, 128, 0, 0]),
        ((3.0, 0.0), (1.0, 1.0), 1.0, [0, 0, 0, 0]),
        ((f32::NAN, 0.0), (1.0, 1.0), 1.0, [0, 0, 0, 0]),
        ((-1e30, -1e30), (1e30, 1e30), 1.0, [255, 255, 255, 255]),
    ] {
        assert_eq!(drawn(4, 1, |canvas| canvas.fill(from, to, RED, opacity))[0], expected, "{from:?} {to:?}");
    }
}

#[test]
fn outlines_lie_on_their_edge() {
    let found = drawn(6, 5, |canvas| canvas.rectangle((1.0, 1.0), (5.0, 4.0), 2.0, RED));
    let expected = [
        [255, 255, 255, 255, 255, 255],
        [255, 255, 255, 255, 255, 255],
        [255, 255, 0, 0, 255, 255],
        [255, 255, 255, 255, 255, 255],
        [255, 255, 255, 255, 255, 255],
    ];
    assert_eq!(found, expected.map(Vec::from));
}

#[test]
fn lines_and_discs() {
    let row = drawn(6, 3, |canvas| canvas.line((1.5, 1.5), (4.5, 1.5), 1.0, RED));
    assert_eq!(row[1][1..5], [255; 4]);
    assert_eq!((row[0][3], row[2][3]), (0, 0));
    let disc = drawn(9, 9, |canvas| canvas.disc((4.5, 4.5), 3.0, RED));
    assert_eq!((disc[4][4], disc[4][2], disc[4][8], disc[0][0]), (255, 255, 0, 0));
    let area: f32 = disc.iter().flatten().map(|level| f32::from(*level) / 255.0).sum();
    assert!((area - 9.0 * std::f32::consts::PI).abs() < 1.0, "{area}");
    let nothing = drawn(4, 4, |canvas| canvas.line((f32::INFINITY, 0.0), (1.0, 1.0), 2.0, RED));
    assert!(nothing.iter().flatten().all(|level| *level == 0));
}

#[test]
fn texts_are_written_on_their_base_line() {
    let mut lettering = Lettering::new(20.0);
    let width = lettering.width("Hx");
    let (above, below) = lettering.reach();
    assert!(above > 14.0 && above < 24.0 && below > 2.0 && below < 8.0, "{above} {below}");
    let mut end = 0.0;
    let found = drawn(60, 40, |canvas| end = canvas.text(&mut lettering, (5.0, 30.0), "Hx", RED));
    assert!((end - 5.0 - width).abs() < 1e-3);
    let rows: Vec<usize> = (0..40).filter(|row| found[*row].iter().any(|level| *level > 128)).collect();
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    // A capital of Roboto is 0.71 em high.
    assert!((15..=17).contains(&first) && last == 29, "{first}..={last}");
    let columns = (0..60).filter(|column| found.iter().any(|row| row[*column] > 128)).collect::<Vec<_>>();
    assert!(columns[0] >= 5 && *columns.last().unwrap() < 5 + width.ceil() as usize);
    for at in [(f32::NAN, 0.0), (-1e9, 5.0), (5.0, 1e9)] {
        let nothing = drawn(20, 20, |canvas| {
            canvas.text(&mut lettering, at, "Hx", RED);
        });
        assert!(nothing.iter().flatten().all(|level| *level == 0), "{at:?}");
    }
}

#[test]
fn overlays_see_the_centres_of_pixels() {
    let mut seen = Vec::new();
    let found = drawn(3, 2, |canvas| {
        canvas.overlay((1.0, 0.0), (3.0, 1.0), |x, y| {
            seen.push((x, y));
            (x > 2.0).then_some((RED, 100))
        });
    });
    assert_eq!(seen, [(1.5, 0.5), (2.5, 0.5)]);
    assert_eq!(found, [[0, 0, 100], [0, 0, 0]].map(Vec::from));
}

proptest! {
    #[test]
    fn nothing_drawn_anywhere_is_a_panic(
        (a, b, c, d) in (any::<f32>(), any::<f32>(), -20f32..40.0, -20f32..40.0),
        thickness in 0f32..50.0,
        text in "\\PC{0,8}",
    ) {
        let mut lettering = Lettering::new(f64::from(thickness));
        drawn(16, 9, |canvas| {
            canvas.rectangle((c, d), (a, b), thickness, RED);
            canvas.line((c, d), (d, c), thickness, RED);
            canvas.line((a, b), (c, d), thickness, RED);
            canvas.text(&mut lettering, (a, d), &text, RED);
            canvas.text(&mut lettering, (c, d), &text, RED);
        });
    }
}
