//! Axes: where a value lies between two pixels, round ticks, and numbers as text.

/// The largest magnitude that is drawn: differences of two such values are finite.
const LARGEST: f64 = 1e300;

/// The most ticks of an axis, whatever its span.
const MOST_TICKS: u32 = 40;

/// The value, where it can be drawn: finite, and at most 1e300 in magnitude.
pub(super) fn drawable(value: f64) -> Option<f64> {
    (value.abs() <= LARGEST).then_some(value)
}

/// A round value on an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Its pixel.
    pub(super) at: f64,
    /// Its text; none for the lesser lines of a logarithmic axis.
    pub(super) label: Option<String>,
}

/// What the values of an axis are, for its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Plain numbers.
    Number,
    /// Shares, written in percent.
    Share,
    /// Whole numbers.
    Count,
}

/// Maps values to pixels, linearly or by the logarithm.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// The values at both ends; their decimal logarithms on a logarithmic axis. `low < high`.
    low: f64,
    high: f64,
    logarithmic: bool,
    unit: Unit,
    /// The pixels at both ends.
    from: f64,
    to: f64,
}

impl Scale {
    /// An axis of losses: logarithmic where all are above 0 and span more than a factor of 20. `low` and `high` are the
    /// extremes of what is drawn. A linear axis begins at 0 where the least loss is under a third of the greatest.
    pub(super) fn losses(low: f64, high: f64, from: f64, to: f64) -> Self {
        if low > 0.0 && high.log10() - low.log10() > 20f64.log10() {
            let margin = 0.04 * (high.log10() - low.log10());
            let (low, high) = (low.log10() - margin, high.log10() + margin);
            return Scale { low, high, logarithmic: true, unit: Unit::Number, from, to };
        }
        let low = if low > 0.0 && low < high / 3.0 { 0.0 } else { low };
        Scale::padded(low, high, Unit::Number, f64::INFINITY, from, to)
    }

    /// An axis of shares, which does not go below 0 nor above 1 unless the values do.
    pub(super) fn shares(low: f64, high: f64, from: f64, to: f64) -> Self {
        Scale::padded(low, high, Unit::Share, 1.0, from, to)
    }

    /// An axis of epochs, which does not waste room beyond its ends.
    pub(super) fn epochs(first: f64, last: f64, from: f64, to: f64) -> Self {
        let margin = ((last - first) * 0.015).max(if first < last { 0.0 } else { 0.5 });
        // One number may be too large for a margin of half an epoch to make a difference.
        let margin = margin.max(last * 1e-9);
        Scale { low: first - margin, high: last + margin, logarithmic: false, unit: Unit::Count, from, to }
    }

    /// A linear axis a little wider than its values, which crosses 0 and `ceiling` only where the values do.
    fn padded(low: f64, high: f64, unit: Unit, ceiling: f64, from: f64, to: f64) -> Self {
        let size = low.abs().max(high.abs());
        let margin = match (high - low > size * 1e-6, unit) {
            (true, _) => 0.06 * (high - low),
            (false, Unit::Number) if size > 0.0 => 0.02 * size,
            (false, _) => 0.02 * size.max(1.0),
        };
        let margin = margin.max(1e-290);
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let ceiling = if high <= ceiling { ceiling } else { f64::INFINITY };
        Scale { low: (low - margin).max(floor), high: (high + margin).min(ceiling), logarithmic: false, unit, from, to }
    }

    /// Whether equal distances are equal factors.
    pub(super) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// The pixel of a drawable value; of a value above 0 on a logarithmic axis.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.place(if self.logarithmic { value.log10() } else { value })
    }

    /// The pixel of a value that is a logarithm already, where the axis is logarithmic.
    fn place(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// About `about` round values within the axis, in increasing order.
    pub(super) fn ticks(&self, about: u32) -> Vec<Tick> {
        if self.logarithmic { self.powers(about) } else { self.multiples(about) }
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn multiples(&self, about: u32) -> Vec<Tick> {
        let step = round_step((self.high - self.low) / f64::from(about.max(1)));
        let step = if self.unit == Unit::Count { step.max(1.0) } else { step };
        let first = (self.low / step).ceil();
        let mut ticks: Vec<Tick> = Vec::new();
        for index in 0..MOST_TICKS {
            let value = (first + f64::from(index)) * step;
            if value > self.high {
                break;
            }
            let label = match self.unit {
                Unit::Number => multiple(value, step),
                Unit::Share => format!("{} %", multiple(value * 100.0, step * 100.0)),
                Unit::Count => format!("{value:.0}"),
            };
            let label = Some(label);
            // Epochs are counted from 1.
            if self.unit == Unit::Count && value < 1.0 {
                continue;
            }
            if ticks.last().is_none_or(|last| last.label != label) {
                ticks.push(Tick { at: self.place(value), label });
            }
        }
        ticks
    }

    /// Powers of ten; with their doubles and fives where there are few, with all their multiples as lesser lines.
    fn powers(&self, about: u32) -> Vec<Tick> {
        let decades = self.high - self.low;
        let stride = round_step(decades / f64::from(about.saturating_add(2))).max(1.0);
        let mut ticks = Vec::new();
        let mut exponent = (self.low / stride).floor() * stride;
        while exponent <= self.high {
            for digit in 1..10u8 {
                let value = exponent + f64::from(digit).log10();
                let labelled = digit == 1 || (decades < 2.5 && (digit == 2 || digit == 5));
                if value < self.low || value > self.high || !labelled && (stride > 1.0 || decades > 5.0) {
                    continue;
                }
                let label = labelled.then(|| power(digit, exponent as i32));
                ticks.push(Tick { at: self.place(value), label });
            }
            exponent += stride;
        }
        ticks
    }
}

/// The least of 1, 2 and 5 times a power of ten that is at least `least`, which is above 0.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let digits = least / power;
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digits <= digit * (1.0 + 1e-9)).unwrap_or(10.0);
    digit * power
}

/// A multiple of `step`, with as many decimals as `step` has.
fn multiple(value: f64, step: f64) -> String {
    let value = if value.abs() < step / 2.0 { 0.0 } else { value };
    let finest = (step.log10() + 1e-9).floor();
    if value != 0.0 && (value.abs() >= 1e6 || step < 1e-5) {
        let digits = (value.abs().log10().floor() - finest).clamp(0.0, 12.0) as usize;
        return format!("{value:.digits$e}");
    }
    format!("{value:.*}", (-finest).clamp(0.0, 6.0) as usize)
}

/// `digit` times ten to the power of `exponent`.
fn power(digit: u8, exponent: i32) -> String {
    match exponent {
        0..=4 => format!("{digit}{}", "0".repeat(exponent.unsigned_abs() as usize)),
        -4..=-1 => format!("0.{}{digit}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        _ => format!("{digit}e{exponent}"),
    }
}

/// A measured number with four significant digits.
pub(super) fn measured(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let exponent = value.abs().log10().floor();
    if (-4.0..6.0).contains(&exponent) {
        return format!("{value:.*}", (3.0 - exponent).clamp(0.0, 7.0) as usize);
    }
    format!("{value:.2e}")
}

/// A measured share in percent, with two decimals.
pub(super) fn percent(share: f64) -> String {
    match (share * 100.0).abs() < 1e6 {
        true => format!("{:.2} %", share * 100.0),
        false => format!("{share:.2e}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(scale: &Scale, about: u32) -> Vec<String> {
        scale.ticks(about).into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round() {
        let table: &[(&str, Scale, u32, &[&str])] = &[
            ("from 0", Scale::losses(0.3, 2.3, 0.0, 1.0), 5, &["0.0", "0.5", "1.0", "1.5", "2.0"]),
            ("far from 0", Scale::losses(2.1, 2.3, 0.0, 1.0), 8, &["2.10", "2.15", "2.20", "2.25", "2.30"]),
            ("below 0", Scale::losses(-1.0, 1.0, 0.0, 1.0), 4, &["-1", "0", "1"]),
            ("one value", Scale::losses(1.0, 1.0, 0.0, 1.0), 4, &["0.98", "0.99", "1.00", "1.01", "1.02"]),
            ("one below 0", Scale::losses(-1.0, -1.0, 0.0, 1.0), 4, &["-1.02", "-1.01", "-1.00", "-0.99", "-0.98"]),
            ("only 0", Scale::losses(0.0, 0.0, 0.0, 1.0), 4, &["0.000", "0.005", "0.010", "0.015", "0.020"]),
            ("two decades", Scale::losses(0.02, 1.0, 0.0, 1.0), 6, &["0.02", "0.05", "0.1", "0.2", "0.5", "1"]),
            ("four decades", Scale::losses(1e-3, 10.0, 0.0, 1.0), 6, &["0.001", "0.01", "0.1", "1", "10"]),
            (
                "many decades",
                Scale::losses(1e-40, 1e20, 0.0, 1.0),
                6,
                &["1e-40", "1e-30", "1e-20", "1e-10", "1", "1e10", "1e20"],
            ),
            ("large", Scale::losses(1e9, 2e9, 0.0, 1.0), 4, &["1.0e9", "1.5e9", "2.0e9"]),
            ("shares", Scale::shares(0.41, 0.93, 0.0, 1.0), 4, &["40 %", "60 %", "80 %"]),
            ("one share", Scale::shares(0.13, 0.13, 0.0, 1.0), 4, &["11 %", "12 %", "13 %", "14 %", "15 %"]),
            ("all right", Scale::shares(1.0, 1.0, 0.0, 1.0), 4, &["98.0 %", "98.5 %", "99.0 %", "99.5 %", "100.0 %"]),
            ("one epoch", Scale::epochs(1.0, 1.0, 0.0, 1.0), 10, &["1"]),
            ("three epochs", Scale::epochs(1.0, 3.0, 0.0, 1.0), 10, &["1", "2", "3"]),
            ("thousand epochs", Scale::epochs(1.0, 1000.0, 0.0, 1.0), 5, &["500", "1000"]),
        ];
        for (name, scale, about, expected) in table {
            assert_eq!(labels(scale, *about), *expected, "{name}");
        }
    }

    #[test]
    fn losses_are_logarithmic_beyond_a_factor_of_twenty() {
        for (low, high, expected) in
            [(0.1, 1.9, false), (0.1, 2.1, true), (0.0, 100.0, false), (-1.0, 100.0, false), (5e-324, 1e300, true)]
        {
            assert_eq!(Scale::losses(low, high, 0.0, 1.0).is_logarithmic(), expected, "{low} to {high}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (2.35159, "2.352"),
            (0.23127, "0.2313"),
            (0.000123, "0.0001230"),
            (123456.0, "123456"),
            (1.5e-9, "1.50e-9"),
            (-3.25e12, "-3.25e12"),
        ] {
            assert_eq!(measured(value), expected);
        }
        assert_eq!(percent(0.91234), "91.23 %");
        assert_eq!(percent(1e300), "1.00e300");
    }

    #[test]
    fn what_is_not_finite_is_not_drawable() {
        for (value, expected) in
            [(f64::NAN, None), (f64::INFINITY, None), (-f64::INFINITY, None), (f64::MAX, None), (1.0, Some(1.0))]
        {
            assert_eq!(drawable(value), expected);
        }
    }

    proptest! {
        #[test]
        fn every_axis_is_finite_ordered_and_holds_its_values(
            a in any::<f64>().prop_filter_map("drawable", drawable),
            b in any::<f64>().prop_filter_map("drawable", drawable),
            same in any::<bool>(),
            first in any::<u64>(),
            count in 0u64..5000,
        ) {
            let b = if same { a } else { b };
            let (low, high) = (a.min(b), a.max(b));
            let (first, last) = (first as f64, first.saturating_add(count) as f64);
            for (scale, low, high) in [
                (Scale::losses(low, high, 100.0, 500.0), low, high),
                (Scale::shares(low, high, 100.0, 500.0), low, high),
                (Scale::epochs(first, last, 100.0, 500.0), first, last),
            ] {
                prop_assert!(scale.low < scale.high, "{scale:?}");
                prop_assert!((100.0..=500.0).contains(&scale.at(low)), "{scale:?}");
                prop_assert!(scale.at(low) <= scale.at(high), "{scale:?}");
                let ticks = scale.ticks(8);
                prop_assert!(ticks.len() <= 60, "{scale:?} {}", ticks.len());
                prop_assert!(ticks.windows(2).all(|pair| pair[0].at <= pair[1].at), "{scale:?}: {ticks:?}");
                prop_assert!(ticks.iter().all(|tick| (100.0..=500.0).contains(&tick.at)));
            }
        }
    }
}
