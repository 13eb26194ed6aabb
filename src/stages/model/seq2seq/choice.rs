//! The choice of a token from the scores of all.

/// A token that was chosen, and how sure the model was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// The token.
    pub token: usize,
    /// The natural logarithm of its probability: of the softmax of the scores.
    pub log_probability: f32,
}

/// How many partial results are kept at a time, so that the compiler can compute them side by side.
const LANES: usize = 16;

/// The token with the highest score, the first of equals. `None` where there is no score, or where the scores say
/// nothing: one is NaN or +∞, or all are −∞.
pub(super) fn likeliest(scores: &[f32]) -> Option<Choice> {
    let highest = highest(scores)?;
    let token = scores.iter().position(|score| *score == highest)?;
    Some(Choice { token, log_probability: -ln_sum_exp(scores, highest) })
}

/// The highest score; `None` where it is not finite, or where one is NaN.
fn highest(scores: &[f32]) -> Option<f32> {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut nan = [false; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for ((lane, nan), score) in lanes.iter_mut().zip(&mut nan).zip(chunk) {
            *lane = if *score > *lane { *score } else { *lane };
            *nan |= score.is_nan();
        }
    }
    let highest = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    let sound = !nan.contains(&true) && !rest.iter().any(|score| score.is_nan()) && highest.is_finite();
    sound.then_some(highest)
}

/// ln Σ exp(score − highest): 0 or more, since the highest itself adds 1. Within 1e-5 of the exact value.
fn ln_sum_exp(scores: &[f32], highest: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = scores.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, score) in lanes.iter_mut().zip(chunk) {
            *lane += exp(score - highest);
        }
    }
    let rest = rest.iter().map(|score| exp(score - highest));
    let sum: f64 = lanes.into_iter().chain(rest).map(f64::from).sum();
    sum.ln() as f32
}

/// e to the power of `x`, for `x` of 0 and less: within 3e-7 of it, relatively; below −87 it stays at e⁻⁸⁷.
///
/// x = k ln 2 + r with |r| ≤ ln 2 / 2, so eˣ = 2ᵏ eʳ, and eʳ is its Taylor series. Without a branch or a call, so that
/// it can be computed for several `x` at a time: a vocabulary of scores costs about as much as reading it.
fn exp(x: f32) -> f32 {
    /// 1.5 × 2²³: added to a small number, it leaves that number, rounded, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with so few bits that k times it is exact.
    const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
    let x = if x > -87.0 { x } else { -87.0 };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = x - k * LN_2[0] - k * LN_2[1];
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let power = series.into_iter().fold(0.0, |sum, factor| sum * r + factor);
    let two_to_k = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    power * two_to_k
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(scores: &[f32], token: usize) -> f64 {
        let sum: f64 = scores.iter().map(|score| (f64::from(*score) - f64::from(scores[token])).exp()).sum();
        -sum.ln()
    }

    #[test]
    fn choices() {
        let many: Vec<f32> = (0..1000).map(|i| if i == 777 { 9.0 } else { (i % 13) as f32 / 13.0 }).collect();
        for (scores, token) in [
            (&[0.0][..], 0),
            (&[1.0, 3.0, 3.0, 2.0], 1),
            (&[f32::NEG_INFINITY, -5.0], 1),
            (&[-100.0, 100.0, f32::MIN], 1),
            (&[0.0, -0.0], 0),
            (&many, 777),
        ] {
            let choice = likeliest(scores).unwrap();
            assert_eq!(choice.token, token, "{scores:?}");
            assert!((f64::from(choice.log_probability) - exact(scores, token)).abs() < 1e-5, "{choice:?}");
        }
    }

    #[test]
    fn scores_that_say_nothing() {
        let mut many = vec![0.0; 100];
        many[50] = f32::NAN;
        for scores in [&[][..], &[f32::NAN], &[1.0, f32::NAN], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY; 3], &many] {
            assert_eq!(likeliest(scores), None, "{scores:?}");
        }
    }

    #[test]
    fn the_exponential_is_exact_enough() {
        let mut worst = 0.0f64;
        for i in 0..=870_000 {
            let x = -i as f32 / 10_000.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
        }
        assert!(worst < 3e-7, "{worst}");
        for x in [-88.0, -1e30, f32::NEG_INFINITY] {
            assert_eq!(exp(x), exp(-87.0));
        }
    }

    proptest! {
        #[test]
        fn the_log_probability_is_that_of_the_softmax(scores in prop::collection::vec(-50.0f32..50.0, 1..200)) {
            let choice = likeliest(&scores).unwrap();
            let best = scores.iter().copied().fold(f32::MIN, f32::max);
            prop_assert_eq!(scores.iter().position(|score| *score == best), Some(choice.token));
            let expected = exact(&scores, choice.token);
            let found = f64::from(choice.log_probability);
            prop_assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
        }
    }
}
