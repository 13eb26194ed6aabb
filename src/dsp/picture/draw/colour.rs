//! Colours to tell things apart by, and to show how much there is of something.

/// Red, green, blue, 0 to 255 each.
pub type Colour = [u8; 3];

/// The colour of number `index`: neighbours differ much, and all stand out from most pictures.
pub fn distinct_colour(index: u64) -> Colour {
    // Steps of the golden section never come near an earlier hue soon.
    let hue = ((index % 100_000) as f64 * 0.618_033_988_749_895 + 0.33).fract() * 6.0;
    let ramp = |shift: f64| {
        let place = (hue + shift) % 6.0;
        let level = if place < 1.0 {
            place
        } else if place < 3.0 {
            1.0
        } else {
            (4.0 - place).max(0.0)
        };
        (40.0 + 215.0 * level).round() as u8
    };
    [ramp(2.0), ramp(0.0), ramp(4.0)]
}

/// From blue (0) over green and yellow to red (255).
pub fn heat_colour(value: u8) -> Colour {
    const STOPS: [Colour; 5] = [[0, 0, 160], [0, 140, 255], [40, 220, 90], [255, 220, 0], [220, 0, 0]];
    let place = usize::from(value) * (STOPS.len() - 1);
    let (from, part) = (place / 255, place % 255);
    let (a, b) = (STOPS[from], STOPS[(from + 1).min(STOPS.len() - 1)]);
    [0, 1, 2].map(|n| ((usize::from(a[n]) * (255 - part) + usize::from(b[n]) * part + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_colours_of_their_own() {
        let colours: Vec<Colour> = (0..12).map(distinct_colour).collect();
        for (n, a) in colours.iter().enumerate() {
            for b in &colours[..n] {
                let apart: u32 = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
                assert!(apart > 40, "{a:?} {b:?}");
            }
        }
        assert_eq!(distinct_colour(u64::MAX), distinct_colour(u64::MAX % 100_000));
    }

    #[test]
    fn heat_goes_from_blue_to_red() {
        assert_eq!(heat_colour(0), [0, 0, 160]);
        assert_eq!(heat_colour(255), [220, 0, 0]);
        for value in 0..255u8 {
            let (a, b) = (heat_colour(value), heat_colour(value + 1));
            assert!(a.iter().zip(b).all(|(a, b)| a.abs_diff(b) < 8), "no jumps: {a:?} {b:?}");
        }
    }
}
