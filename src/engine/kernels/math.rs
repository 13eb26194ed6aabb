//! Elementary functions over slices: exp, ln, tanh, the logistic function and the error function.
//!
//! f32 has polynomials and rational functions of its own, without branches, tables or calls, so that loops over them
//! become vector code: within 1e-6 of the true value, relative ([`tanh`], [`sigmoid`], [`erf`]), or 2 units in the last
//! place ([`exp`], [`ln`]). They use no fused multiply-add: every machine gives the same bits. f64 is as exact as the
//! standard library.
//!
//! Sources: exp and ln reduce their argument as in W. J. Cody and W. Waite, *Software Manual for the Elementary
//! Functions* (1980), with the polynomials of S. Moshier's Cephes library (`expf`, `logf`). tanh and erf are
//! x·P(x²)/Q(x²), fitted for the least relative error by iteratively reweighted least squares. erf in f64 is W. J. Cody,
//! "Rational Chebyshev approximations for the error function", *Mathematics of Computation* 23 (1969).

use super::Float;

/// Runs `work` compiled for the widest vectors that the machine has, found out at run time; the bits are the same for all.
/// Worth it for a loop of a hundred numbers or more; mark what it calls `#[inline(always)]`.
#[inline]
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// `y = eˣ`; infinite above 88.73 (f64: 709.8), zero below −103.98 (f64: −745.2).
///
/// Of slices of different lengths, the shorter one counts, here and below.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn exp<T: Float>(x: &[T], y: &mut [T]) {
    map(x, y, T::quick_exp);
}

/// `y = ln x`; −∞ for 0, not a number below.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn ln<T: Float>(x: &[T], y: &mut [T]) {
    map(x, y, T::quick_ln);
}

/// `y = tanh x`.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn tanh<T: Float>(x: &[T], y: &mut [T]) {
    map(x, y, T::quick_tanh);
}

/// `y = 1/(1 + e⁻ˣ)`, the logistic function.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn sigmoid<T: Float>(x: &[T], y: &mut [T]) {
    map(x, y, T::quick_sigmoid);
}

/// `y = erf x`, the error function.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn erf<T: Float>(x: &[T], y: &mut [T]) {
    map(x, y, T::quick_erf);
}

/// `y[i] = f(x[i])` in vector code, where `f` is inlined.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn map<T: Float>(x: &[T], y: &mut [T], f: impl Fn(T) -> T) {
    vectorised(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = f(*x);
            }
        },
    );
}

/// `x[i] = f(x[i])` in vector code, where `f` is inlined: `update(x, T::quick_tanh)`.
#[allow(dead_code, reason = "for operators that compute with slices")]
pub fn update<T: Float>(x: &mut [T], f: impl Fn(T) -> T) {
    vectorised(
        #[inline(always)]
        || {
            for x in x {
                *x = f(*x);
            }
        },
    );
}

/// The functions for one number; in a loop under [`vectorised`] they become vector code (f32).
pub trait Elementary: Sized {
    /// `eˣ`.
    fn quick_exp(self) -> Self;
    /// `ln x`.
    fn quick_ln(self) -> Self;
    /// `tanh x`.
    fn quick_tanh(self) -> Self;
    /// `1/(1 + e⁻ˣ)`.
    fn quick_sigmoid(self) -> Self;
    /// `erf x`.
    fn quick_erf(self) -> Self;
    /// `ln(1 + x)` for `0 ≤ x ≤ 1`, exact near zero.
    fn quick_ln_1p(self) -> Self;
    /// `eˣ − 1` for `x ≤ 0`, exact near zero.
    fn quick_exp_m1(self) -> Self;
}

impl Elementary for f32 {
    #[inline(always)]
    fn quick_exp(self) -> f32 {
        // 1.5·2²³: adding it leaves the nearest integer in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // ln 2 in two parts, the first of nine bits: its product with an integer of eight is exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self > 89.0 { 89.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = x - n * LN_2_HIGH - n * LN_2_LOW;
        let p = polynomial(r, [0.5, 0.166_666_65, 0.041_665_796, 0.008_333_452, 0.001_398_2, 1.987_569_1e-4]);
        let y = p * (r * r) + r + 1.0;
        // 2ⁿ in two factors: n may lie beyond the exponents of normal numbers.
        let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
        let half = n >> 1;
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        y * power(half) * power(n.wrapping_sub(half))
    }

    #[inline(always)]
    #[allow(clippy::excessive_precision, clippy::approx_constant, reason = "coefficients as published")]
    fn quick_ln(self) -> f32 {
        // √½: what is taken from the bits leaves a number between √½ and √2.
        const LEAST: u32 = 0x3f35_04f3;
        let small = self < f32::MIN_POSITIVE;
        let x = if small { self * 8_388_608.0 } else { self };
        let bits = x.to_bits().wrapping_sub(LEAST);
        let exponent = ((bits as i32) >> 23) as f32 - if small { 23.0 } else { 0.0 };
        let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(LEAST)) - 1.0;
        let p = polynomial(
            f,
            [
                0.333_333_31,
                -0.249_999_94,
                0.200_007_15,
                -0.166_680_58,
                0.142_493_23,
                -0.124_201_41,
                0.116_769_99,
                -0.115_146_1,
                0.070_376_836,
            ],
        );
        let square = f * f;
        let low = p * f * square + exponent * -2.121_944_4e-4 - 0.5 * square;
        let y = f + low + exponent * 0.693_359_375;
        let y = if self == 0.0 { f32::NEG_INFINITY } else { y };
        let y = if self < 0.0 { f32::NAN } else { y };
        // Infinity and what is not a number stay what they are.
        if self < f32::INFINITY { y } else { self }
    }

    #[inline(always)]
    #[allow(clippy::excessive_precision, reason = "coefficients as fitted")]
    fn quick_tanh(self) -> f32 {
        // Beyond it, tanh is 1 in f32.
        const MOST: f32 = 9.02;
        let x = if self > MOST { MOST } else { self };
        let x = if x < -MOST { -MOST } else { x };
        let z = x * x;
        let p = polynomial(z, [1.0, 0.133_797_24, 3.494_041_5e-3, 2.058_358_7e-5, 1.331_920_4e-8]);
        let q = polynomial(z, [1.0, 0.467_130_4, 0.025_871_1, 3.283_103_8e-4, 7.762_076_7e-7]);
        bounded(x * p / q)
    }

    #[inline(always)]
    fn quick_sigmoid(self) -> f32 {
        1.0 / (1.0 + (-self).quick_exp())
    }

    #[inline(always)]
    #[allow(clippy::excessive_precision, clippy::approx_constant, reason = "2/√π within the error of the fit")]
    fn quick_erf(self) -> f32 {
        // Beyond it, erf is 1 in f32.
        const MOST: f32 = 3.93;
        let x = if self > MOST { MOST } else { self };
        let x = if x < -MOST { -MOST } else { x };
        let z = x * x;
        let p =
            polynomial(z, [1.128_379_1, 0.190_782_74, 0.052_790_143, 3.779_562_6e-3, 2.848_075_4e-4, 2.041_979_3e-6]);
        let q = polynomial(z, [1.0, 0.502_409_34, 0.114_257_075, 0.014_997_345, 1.165_201_4e-3, 3.800_410_7e-5]);
        bounded(x * p / q)
    }

    #[inline(always)]
    fn quick_ln_1p(self) -> f32 {
        // What rounding `1 + x` lost is put back to first order.
        let sum = 1.0 + self;
        sum.quick_ln() + (self - (sum - 1.0)) / sum
    }

    #[inline(always)]
    fn quick_exp_m1(self) -> f32 {
        let t = (0.5 * self).quick_tanh();
        2.0 * t / (1.0 - t)
    }
}

/// `c₀ + c₁x + c₂x² + …`
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    let mut at = N - 1;
    while at > 0 {
        at -= 1;
        sum = sum * x + coefficients[at];
    }
    sum
}

/// Between −1 and 1; not a number stays so.
#[inline(always)]
fn bounded(y: f32) -> f32 {
    let y = if y > 1.0 { 1.0 } else { y };
    if y < -1.0 { -1.0 } else { y }
}

impl Elementary for f64 {
    #[inline]
    fn quick_exp(self) -> f64 {
        self.exp()
    }

    #[inline]
    fn quick_ln(self) -> f64 {
        self.ln()
    }

    #[inline]
    fn quick_tanh(self) -> f64 {
        self.tanh()
    }

    #[inline]
    fn quick_sigmoid(self) -> f64 {
        1.0 / (1.0 + (-self).exp())
    }

    fn quick_erf(self) -> f64 {
        cody(self)
    }

    #[inline]
    fn quick_ln_1p(self) -> f64 {
        self.ln_1p()
    }

    #[inline]
    fn quick_exp_m1(self) -> f64 {
        self.exp_m1()
    }
}

/// erf in f64: Cody's three rational functions, for |x| up to 0.46875, up to 4, and beyond.
#[allow(clippy::excessive_precision, clippy::approx_constant, reason = "coefficients as published")]
fn cody(x: f64) -> f64 {
    const A: [f64; 5] = [
        3.209_377_589_138_469_47e3,
        3.774_852_376_853_020_21e2,
        1.138_641_541_510_501_56e2,
        3.161_123_743_870_565_60e0,
        1.857_777_061_846_031_53e-1,
    ];
    const B: [f64; 5] = [
        2.844_236_833_439_170_62e3,
        1.282_616_526_077_372_28e3,
        2.440_246_379_344_441_73e2,
        2.360_129_095_234_412_09e1,
        1.0,
    ];
    const C: [f64; 9] = [
        1.230_339_354_797_997_25e3,
        2.051_078_377_826_071_47e3,
        1.712_047_612_634_070_58e3,
        8.819_522_212_417_690_90e2,
        2.986_351_381_974_001_31e2,
        6.611_919_063_714_162_95e1,
        8.883_149_794_388_375_94e0,
        5.641_884_969_886_700_89e-1,
        2.153_115_354_744_038_46e-8,
    ];
    const D: [f64; 9] = [
        1.230_339_354_803_749_42e3,
        3.439_367_674_143_721_64e3,
        4.362_619_090_143_247_16e3,
        3.290_799_235_733_459_63e3,
        1.621_389_574_566_690_19e3,
        5.371_811_018_620_098_58e2,
        1.176_939_508_913_124_99e2,
        1.574_492_611_070_983_47e1,
        1.0,
    ];
    const P: [f64; 6] = [
        6.587_491_615_298_378_03e-4,
        1.608_378_514_874_227_66e-2,
        1.257_817_261_112_292_46e-1,
        3.603_448_999_498_044_39e-1,
        3.053_266_349_612_323_44e-1,
        1.631_538_713_730_209_78e-2,
    ];
    const Q: [f64; 6] = [
        2.335_204_976_268_691_85e-3,
        6.051_834_131_244_131_91e-2,
        5.279_051_029_514_284_12e-1,
        1.872_952_849_923_467_25e0,
        2.568_520_192_289_822_42e0,
        1.0,
    ];
    const ONE_OVER_SQRT_PI: f64 = 0.564_189_583_547_756_28;
    let ratio = |z: f64, p: &[f64], q: &[f64]| {
        let sum = |c: &[f64]| c.iter().rev().fold(0.0, |sum, c| sum * z + c);
        sum(p) / sum(q)
    };
    let size = x.abs();
    if size <= 0.468_75 {
        return x * ratio(x * x, &A, &B);
    }
    if size >= 6.0 {
        return x.signum();
    }
    let rest = if size <= 4.0 {
        ratio(size, &C, &D)
    } else {
        let z = 1.0 / (x * x);
        (ONE_OVER_SQRT_PI - z * ratio(z, &P, &Q)) / size
    };
    (1.0 - (-x * x).exp() * rest).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes and both signs.
    fn sweep() -> Vec<f32> {
        let sizes =
            (-140..=40).flat_map(|exponent| (0..64).map(move |i| 2f32.powi(exponent / 4) * (1.0 + i as f32 / 64.0)));
        let fine = (0..40_000).map(|i| i as f32 * 0.002_61);
        let mut all: Vec<f32> = sizes.chain(fine).flat_map(|x| [x, -x]).collect();
        all.extend([1e-40, 1e-45, -1e-45, f32::MAX, f32::MIN]);
        all
    }

    /// The largest relative error where the true value is a normal number; elsewhere it must be within one of the
    /// smallest numbers, or infinite where the true one is too large.
    fn worst(f: impl Fn(&[f32], &mut [f32]), truth: impl Fn(f64) -> f64, xs: &[f32]) -> f64 {
        let mut ys = vec![7.0f32; xs.len()];
        f(xs, &mut ys);
        let mut worst = 0.0f64;
        for (x, y) in xs.iter().zip(&ys) {
            let expected = truth(f64::from(*x));
            let rounded = expected as f32;
            if rounded.is_infinite() || rounded.is_nan() {
                assert!(*y == rounded || y.is_nan() && rounded.is_nan(), "at {x}: expected {rounded}, found {y}");
            } else if rounded.abs() < f32::MIN_POSITIVE {
                assert!((y - rounded).abs() < 1.2e-38, "at {x}: expected {rounded}, found {y}");
            } else {
                let error = ((f64::from(*y) - expected) / expected).abs();
                assert!(error < 1e-4, "at {x}: expected {expected}, found {y}");
                worst = worst.max(error);
            }
        }
        worst
    }

    #[test]
    fn single_precision_is_close_to_double_precision() {
        let all = sweep();
        let positive: Vec<f32> = all.iter().copied().filter(|x| *x >= 0.0).collect();
        let unit: Vec<f32> = positive.iter().copied().filter(|x| *x <= 1.0).collect();
        let negative: Vec<f32> = all.iter().copied().filter(|x| *x <= 0.0).collect();
        // Two units in the last place are 2.4e-7.
        for (name, error, most) in [
            ("exp", worst(exp, f64::exp, &all), 2.4e-7),
            ("ln", worst(ln, f64::ln, &positive), 2.4e-7),
            ("tanh", worst(tanh, f64::tanh, &all), 1e-6),
            ("sigmoid", worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), &all), 1e-6),
            ("erf", worst(erf, cody, &all), 1e-6),
            ("ln_1p", worst(|x, y| map(x, y, f32::quick_ln_1p), f64::ln_1p, &unit), 1e-6),
            ("exp_m1", worst(|x, y| map(x, y, f32::quick_exp_m1), f64::exp_m1, &negative), 1e-6),
        ] {
            assert!(error <= most, "{name}: {error:e}");
        }
    }

    #[test]
    fn in_place_is_the_same() {
        let mut x = sweep();
        let mut y = vec![0.0; x.len()];
        tanh(&x, &mut y);
        update(&mut x, f32::quick_tanh);
        assert_eq!(x, y);
    }

    #[test]
    fn special_values() {
        let inf = f32::INFINITY;
        for (name, f, cases) in [
            ("exp", f32::quick_exp as fn(f32) -> f32, [(inf, inf), (-inf, 0.0), (0.0, 1.0)]),
            ("ln", f32::quick_ln, [(inf, inf), (0.0, -inf), (1.0, 0.0)]),
            ("tanh", f32::quick_tanh, [(inf, 1.0), (-inf, -1.0), (0.0, 0.0)]),
            ("sigmoid", f32::quick_sigmoid, [(inf, 1.0), (-inf, 0.0), (0.0, 0.5)]),
            ("erf", f32::quick_erf, [(inf, 1.0), (-inf, -1.0), (0.0, 0.0)]),
        ] {
            assert!(f(f32::NAN).is_nan(), "{name} of NaN");
            for (x, y) in cases {
                assert_eq!(f(x), y, "{name} of {x}");
            }
        }
        assert!((-1.0f32).quick_ln().is_nan() && (-inf).quick_ln().is_nan());
        assert!((-0.0f32).quick_tanh().is_sign_negative() && (-0.0f32).quick_erf().is_sign_negative());
    }

    #[test]
    fn erf_in_double_precision_is_the_tabulated_one() {
        // Values to 17 digits, from a table of the function.
        for (x, y) in [
            (0.0, 0.0),
            (1e-10, 1.128_379_167_095_512_6e-10),
            (0.1, 0.112_462_916_018_284_9),
            (0.46, 0.484_655_390_001_679_7),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (3.5, 0.999_999_256_901_627_7),
            (4.5, 0.999_999_999_803_383_9),
            (7.0, 1.0),
        ] {
            assert!((cody(x) - y).abs() <= 4e-16 * y.max(1e-300), "erf({x}): {} {y}", cody(x));
            assert_eq!(cody(-x), -cody(x));
        }
        assert!(cody(f64::NAN).is_nan());
    }
}
