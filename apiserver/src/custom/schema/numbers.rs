//! Numbers as validation sees them: integers of 64 bits, or floating ones; and how Go prints them.

use serde_json::Number;

/// The largest float that counts as exact.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
/// How near to an integer a float must be to count as one, relatively.
const EPSILON: f64 = 1e-9;

/// A number of an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    Integer(i64),
    Float(f64),
}

impl Figure {
    pub(super) fn of(number: &Number) -> Self {
        number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or_default()), Self::Integer)
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "upstream loses it too")]
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }

    /// Whether it fits an integer of 64, or of 32 bits.
    pub(super) fn is_integer_of(self, bits: u32) -> bool {
        match self {
            Self::Integer(integer) => bits == 64 || i32::try_from(integer).is_ok(),
            Self::Float(float) => {
                let (least, most) = if bits == 64 {
                    (-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_807.0)
                } else {
                    (f64::from(i32::MIN), f64::from(i32::MAX) + 1.0)
                };
                float.fract() == 0.0 && float >= least && float < most
            }
        }
    }

    /// Whether it fits a float of 32 bits.
    pub(super) fn is_single(self) -> bool {
        self.as_f64().abs() <= f64::from(f32::MAX)
    }
}

/// Whether a float counts as an integer: it has no fraction, or one that may come from rounding.
pub(super) fn is_json_integer(float: f64) -> bool {
    if !float.is_finite() || float.abs() > EXACT_MAX {
        return false;
    }
    let whole = float.trunc();
    if whole == float {
        return true;
    }
    let difference = (float - whole).abs();
    if whole == 0.0 {
        return false;
    }
    difference / (float.abs() + whole.abs()) < EPSILON
}

/// The integer that Go makes of a float.
pub(super) fn truncated(float: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, clippy::as_conversions, reason = "saturates, which is wanted")]
    let integer = float as i64;
    integer
}

/// A float as Go's `%v` prints it: the shortest digits, with an exponent below -4 and from 21 on.
pub(super) fn float_text(float: f64) -> String {
    if float == 0.0 || !float.is_finite() {
        return if float.is_sign_negative() && float == 0.0 { "-0".to_owned() } else { float.to_string() };
    }
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..21).contains(&exponent) => float.to_string(),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        Err(_) => scientific,
    }
}

/// A number as Go's `%v` prints it.
pub(super) fn text(number: &Number) -> String {
    match Figure::of(number) {
        Figure::Integer(integer) => integer.to_string(),
        Figure::Float(float) => float_text(float),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        for (float, text) in [
            (1.5, "1.5"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (2.0, "2"),
        ] {
            assert_eq!(float_text(float), text);
        }
    }

    #[test]
    fn a_float_may_count_as_an_integer() {
        for (float, is) in [(1.0, true), (1.5, false), (1e300, false), (0.1, false), (f64::NAN, false)] {
            assert_eq!(is_json_integer(float), is, "{float}");
        }
    }
}
