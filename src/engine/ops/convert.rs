//! Converting elements from one type to another, as Cast does.
//!
//! Numbers to integers: towards zero, the nearest end of the range beyond it, zero for what is not a number; integers to
//! integers: the low bits. Numbers to bool: whether they are not zero; bool to numbers: 0 or 1. Numbers to text: the
//! shortest digits that give the number back, with an exponent below 1e-4 and from 1e16 on. Text to numbers: decimal or
//! with an exponent, `INF`, `NaN` in any case.

use crate::engine::cell::Scalar;
use crate::tensor::{bf16, f16};

/// An element that becomes one of another type. `None` where text is not what the other type can be read from.
pub trait Convert<To>: Scalar {
    /// The converted element.
    fn convert(&self) -> Option<To>;
}

/// Numbers to numbers.
macro_rules! numbers {
    ($from:ty => $($to:ty),*) => {$(
        impl Convert<$to> for $from {
            #[inline(always)]
            fn convert(&self) -> Option<$to> {
                Some(*self as $to)
            }
        }
    )*};
}

/// A number to and from all that is not one.
macro_rules! number {
    ($($rust:ty),*) => {$(
        numbers!($rust => f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

        impl Convert<f16> for $rust {
            #[inline(always)]
            fn convert(&self) -> Option<f16> {
                Some(f16::from_f64(*self as f64))
            }
        }

        impl Convert<bf16> for $rust {
            #[inline(always)]
            fn convert(&self) -> Option<bf16> {
                Some(bf16::from_f64(*self as f64))
            }
        }

        impl Convert<bool> for $rust {
            #[inline(always)]
            fn convert(&self) -> Option<bool> {
                Some(*self != 0 as $rust)
            }
        }

        impl Convert<$rust> for bool {
            #[inline(always)]
            fn convert(&self) -> Option<$rust> {
                Some(u8::from(*self) as $rust)
            }
        }

        impl Convert<$rust> for f16 {
            #[inline(always)]
            fn convert(&self) -> Option<$rust> {
                Some(self.to_f32() as $rust)
            }
        }

        impl Convert<$rust> for bf16 {
            #[inline(always)]
            fn convert(&self) -> Option<$rust> {
                Some(self.to_f32() as $rust)
            }
        }

        impl Convert<$rust> for String {
            fn convert(&self) -> Option<$rust> {
                self.trim().parse().ok()
            }
        }
    )*};
}

number!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

macro_rules! integer_text {
    ($($rust:ty),*) => {$(
        impl Convert<String> for $rust {
            fn convert(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

integer_text!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Convert<String> for f32 {
    fn convert(&self) -> Option<String> {
        Some(text(f64::from(*self), &format!("{self:e}")))
    }
}

impl Convert<String> for f64 {
    fn convert(&self) -> Option<String> {
        Some(text(*self, &format!("{self:e}")))
    }
}

/// Half precision, in two kinds.
macro_rules! halves {
    ($half:ty, $other:ty) => {
        impl Convert<$half> for $half {
            #[inline(always)]
            fn convert(&self) -> Option<$half> {
                Some(*self)
            }
        }

        impl Convert<$other> for $half {
            #[inline(always)]
            fn convert(&self) -> Option<$other> {
                Some(<$other>::from_f32(self.to_f32()))
            }
        }

        impl Convert<bool> for $half {
            #[inline(always)]
            fn convert(&self) -> Option<bool> {
                Some(self.to_f32() != 0.0)
            }
        }

        impl Convert<$half> for bool {
            #[inline(always)]
            fn convert(&self) -> Option<$half> {
                Some(if *self { <$half>::ONE } else { <$half>::ZERO })
            }
        }

        impl Convert<$half> for String {
            fn convert(&self) -> Option<$half> {
                self.trim().parse().ok().map(<$half>::from_f64)
            }
        }

        impl Convert<String> for $half {
            fn convert(&self) -> Option<String> {
                // At most five digits tell all numbers of half precision apart.
                let wide = self.to_f32();
                let mut digits = format!("{wide:e}");
                for places in 0..5 {
                    let shorter = format!("{wide:.places$e}");
                    if shorter.parse().map(<$half>::from_f64) == Ok(*self) {
                        // Without the zeros that `places` asked for.
                        digits = shorter;
                        break;
                    }
                }
                Some(text(f64::from(wide), &digits))
            }
        }
    };
}

halves!(f16, bf16);
halves!(bf16, f16);

impl Convert<bool> for bool {
    #[inline(always)]
    fn convert(&self) -> Option<bool> {
        Some(*self)
    }
}

impl Convert<String> for bool {
    fn convert(&self) -> Option<String> {
        Some(if *self { "True" } else { "False" }.to_owned())
    }
}

impl Convert<String> for String {
    fn convert(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Convert<bool> for String {
    fn convert(&self) -> Option<bool> {
        match self.trim() {
            "True" | "true" => Some(true),
            "False" | "false" => Some(false),
            number => number.parse::<f64>().ok().map(|number| number != 0.0),
        }
    }
}

/// `value`, whose shortest digits are `scientific` (`-1.25e-3`), as ONNX's reference writes it.
fn text(value: f64, scientific: &str) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let Some((mantissa, Ok(exponent))) = scientific.split_once('e').map(|(m, e)| (m, e.parse::<i32>())) else {
        return scientific.to_owned();
    };
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let point = usize::try_from(exponent).map_or(0, |exponent| exponent + 1);
    let (whole, part) = if exponent < 0 {
        let zeros = usize::try_from(-1 - exponent).unwrap_or(0);
        ("0".to_owned(), "0".repeat(zeros) + &digits)
    } else if digits.len() <= point {
        (digits.clone() + &"0".repeat(point - digits.len()), "0".to_owned())
    } else {
        (digits[..point].to_owned(), digits[point..].to_owned())
    };
    format!("{sign}{whole}.{part}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to<T>(from: impl Convert<T>) -> Option<T> {
        from.convert()
    }

    #[test]
    fn numbers() {
        assert_eq!(to::<u8>(300.7f32), Some(255));
        assert_eq!(to::<i8>(-1.9f64), Some(-1));
        assert_eq!(to::<i32>(f32::NAN), Some(0));
        assert_eq!(to::<u8>(-1i64), Some(255));
        assert_eq!(to::<bool>(f32::NAN), Some(true));
        assert_eq!(to::<bool>(-0.0f64), Some(false));
        assert_eq!(to::<f16>(1e6f32), Some(f16::INFINITY));
        assert_eq!(to::<f16>(0.1f64).map(f16::to_f32), Some(0.099_975_586));
        assert_eq!(to::<bf16>(f16::ONE), Some(bf16::ONE));
        // Halfway between two of bf16: the even one.
        assert_eq!(to::<bf16>(f32::from_bits(0x3f80_8000)).map(bf16::to_bits), Some(0x3f80));
        assert_eq!(to::<bf16>(f32::from_bits(0x3f81_8000)).map(bf16::to_bits), Some(0x3f82));
    }

    #[test]
    fn text_of_numbers() {
        for (number, text) in [
            (0.47892547f32, "0.47892547"),
            (1_000_000.0, "1000000.0"),
            (1e-7, "1e-07"),
            (-1.5e-7, "-1.5e-07"),
            (1e16, "1e+16"),
            (123.456, "123.456"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
            (f32::NAN, "nan"),
            (f32::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(to::<String>(number).as_deref(), Some(text));
        }
        assert_eq!(to::<String>(0.1f64).as_deref(), Some("0.1"));
        assert_eq!(to::<String>(f16::from_f32(0.1)).as_deref(), Some("0.1"));
        assert_eq!(to::<String>(f16::from_f32(2048.0)).as_deref(), Some("2048.0"));
        assert_eq!(to::<String>(i64::MIN).as_deref(), Some("-9223372036854775808"));
    }

    #[test]
    fn numbers_of_text() {
        let text = |text: &str| text.to_owned();
        for (from, number) in [("3.5", 3.5), (" -1e3 ", -1000.0), ("INF", f32::INFINITY), ("-inf", f32::NEG_INFINITY)] {
            assert_eq!(to::<f32>(text(from)), Some(number));
        }
        assert!(to::<f64>(text("NaN")).is_some_and(f64::is_nan));
        assert_eq!(to::<u8>(text("200")), Some(200));
        assert_eq!(to::<bool>(text("0")), Some(false));
        for wrong in ["", "three", "1,5", "0x10"] {
            assert_eq!(to::<f32>(text(wrong)), None, "{wrong}");
            assert_eq!(to::<f16>(text(wrong)), None, "{wrong}");
            assert_eq!(to::<i64>(text(wrong)), None, "{wrong}");
        }
        assert_eq!(to::<u8>(text("300")), None);
    }
}
