//! The types of plain scalars: YAML 1.2.2, section 10.3.2, the core schema.

use super::Value;

/// A scalar that looks like a number, but one that no 64 bits hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfRange;

/// The value of a scalar written without quotes. `yes`, `no`, `on` and `off` are text, as YAML 1.2 has it.
///
/// Fails for an integer outside `i64` and for a decimal that would overflow to infinity.
pub(super) fn resolve(text: &str) -> Result<Value, OutOfRange> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return Ok(Value::Float(f64::NAN)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Ok(Value::Float(sign * f64::INFINITY));
    }
    if all(unsigned, |c| c.is_ascii_digit()) {
        return text.parse().map(Value::Int).map_err(|_| OutOfRange);
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && all(digits, |c| c.is_digit(radix))
        {
            return i64::from_str_radix(digits, radix).map(Value::Int).map_err(|_| OutOfRange);
        }
    }
    if is_decimal(unsigned) {
        return match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(OutOfRange),
        };
    }
    Ok(Value::String(text.to_owned()))
}

/// `( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`
fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |part: &str| all(part, |c| c.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa && exponent.is_none_or(digits)
}

fn all(text: &str, accepts: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(accepts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        let text = |text: &str| Value::String(text.into());
        for (plain, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("NULL", Value::Null),
            ("nULL", text("nULL")),
            ("True", Value::Bool(true)),
            ("yes", text("yes")),
            ("off", text("off")),
            ("0", Value::Int(0)),
            ("-12", Value::Int(-12)),
            ("+12", Value::Int(12)),
            ("007", Value::Int(7)),
            ("0o17", Value::Int(15)),
            ("0xFf", Value::Int(255)),
            ("-0x1", text("-0x1")),
            ("0x", text("0x")),
            ("9223372036854775807", Value::Int(i64::MAX)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("1.", Value::Float(1.0)),
            (".5", Value::Float(0.5)),
            ("-.5e-3", Value::Float(-0.0005)),
            ("1e3", Value::Float(1000.0)),
            ("12e03", Value::Float(12000.0)),
            ("-.INF", Value::Float(f64::NEG_INFINITY)),
            (".", text(".")),
            ("+", text("+")),
            ("1e", text("1e")),
            ("1.2.3", text("1.2.3")),
            ("1_000", text("1_000")),
            ("inf", text("inf")),
            ("NaN", text("NaN")),
            ("16 kHz", text("16 kHz")),
            ("12:30", text("12:30")),
        ] {
            assert_eq!(resolve(plain), Ok(value), "{plain:?}");
        }
        assert!(matches!(resolve(".nan"), Ok(Value::Float(number)) if number.is_nan()));
    }

    #[test]
    fn numbers_beyond_64_bits() {
        for plain in ["9223372036854775808", "-9223372036854775809", "0xffffffffffffffff", "1e999", "-1e999"] {
            assert_eq!(resolve(plain), Err(OutOfRange), "{plain}");
        }
    }
}
