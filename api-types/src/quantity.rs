//! Amounts of resources: `100m` of CPU, `1536Mi` of memory.
//!
//! A [`Quantity`] is exact: a whole number times a power of ten, never a float. It prints as upstream prints
//! it, which means that a text already in canonical form is kept letter by letter. The rules are those of the
//! API documentation of `resource.Quantity`.
//!
//! Two limits differ from upstream, which has none: a number has at most 38 significant digits, and a sum that
//! would need more is rounded away from zero.

use std::{
    cmp::Ordering,
    fmt,
    ops::{AddAssign, Neg, SubAssign},
    str::FromStr,
};

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    #[default]
    DecimalSi,
}

/// An exact amount. Two quantities are equal when their values are, however they are written.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    mantissa: i128,
    /// The power of ten `mantissa` is multiplied with.
    scale: i32,
    format: Format,
    /// The text it was read from, if that is kept.
    text: Option<Box<str>>,
}

/// Why a text is no quantity; the texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It does not look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number has too many digits.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix means nothing.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// Nothing finer is kept: a smaller amount is rounded up to a billionth.
const FINEST_SCALE: i32 = -9;
/// Exponents end here: far beyond any amount, and small enough that they can be added without care. A multiple of three, as
/// exponents are when they are written.
const COARSEST_SCALE: i32 = 999_999;
/// The most digits of a mantissa.
const MANTISSA_DIGITS: i32 = 39;
const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

// === impl Quantity ===

impl Quantity {
    /// A whole number.
    pub fn new(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: 0, format, text: None }
    }

    /// A number of thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: -3, format, text: None }
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// It is nothing.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.mantissa.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The amount, rounded away from zero to a whole number; the largest one if it does not fit.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// The amount in thousandths, rounded away from zero; the largest one if it does not fit.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// The amount in units of `10^scale`, rounded away from zero; the largest one if it does not fit.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (scaled, _) = rescale(self.mantissa, self.scale, scale);
        let limit = if self.mantissa < 0 { i64::MIN } else { i64::MAX };
        scaled.and_then(|value| i64::try_from(value).ok()).unwrap_or(limit)
    }

    /// The amount, if it is a whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        let (scaled, exact) = rescale(self.mantissa, self.scale, 0);
        scaled.filter(|_| exact).and_then(|value| i64::try_from(value).ok())
    }

    /// The nearest floating point number, for scores and ratios.
    pub fn as_f64(&self) -> f64 {
        format!("{}e{}", self.mantissa, self.scale).parse().unwrap_or(f64::NAN)
    }

    /// Multiplies by a whole number.
    #[must_use]
    pub fn times(&self, by: i64) -> Self {
        let mantissa = self.mantissa.saturating_mul(i128::from(by));
        Self { mantissa, scale: self.scale, format: self.format, text: None }
    }

    fn add(&mut self, mantissa: i128, scale: i32, format: Format) {
        self.text = None;
        if self.is_zero() {
            (self.mantissa, self.scale, self.format) = (mantissa, scale, format);
        } else if mantissa != 0 {
            (self.mantissa, self.scale) = sum((self.mantissa, self.scale), (mantissa, scale));
        }
    }

    fn canonical(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySi
            && let (Some(whole), true) = rescale(self.mantissa, self.scale, 0)
            && whole.unsigned_abs() >= 1024
        {
            let (mut amount, mut suffix) = (whole, "");
            for (next, _) in BINARY_SUFFIXES {
                if amount % 1024 != 0 {
                    break;
                }
                (amount, suffix) = (amount / 1024, next);
            }
            return write!(f, "{amount}{suffix}");
        }
        let (mut amount, mut exponent) = without_trailing_zeros(self.mantissa, self.scale);
        while exponent % 3 != 0 {
            // Without room for another digit the exponent stays odd, which still reads back as the same amount.
            let Some(more) = amount.checked_mul(10) else { break };
            (amount, exponent) = (more, exponent - 1);
        }
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, of)| *of == exponent).map(|(suffix, _)| *suffix);
        match suffix {
            Some(suffix) if exponent == 0 || self.format != Format::DecimalExponent => {
                write!(f, "{amount}{suffix}")
            }
            _ => write!(f, "{amount}e{exponent}"),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => self.canonical(f),
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = self.sign().cmp(&other.sign());
        if by_sign != Ordering::Equal || self.mantissa == 0 {
            return by_sign;
        }
        let magnitudes = compare_magnitudes((self.mantissa, self.scale), (other.mantissa, other.scale));
        if self.mantissa < 0 { magnitudes.reverse() } else { magnitudes }
    }
}

impl AddAssign<&Quantity> for Quantity {
    /// Adds; zero takes over the other's format.
    fn add_assign(&mut self, other: &Quantity) {
        self.add(other.mantissa, other.scale, other.format);
    }
}

impl SubAssign<&Quantity> for Quantity {
    /// Subtracts; zero takes over the other's format.
    fn sub_assign(&mut self, other: &Quantity) {
        self.add(other.mantissa.saturating_neg(), other.scale, other.format);
    }
}

impl Neg for Quantity {
    type Output = Quantity;

    fn neg(self) -> Quantity {
        Quantity { mantissa: self.mantissa.saturating_neg(), text: None, ..self }
    }
}

impl serde::Serialize for Quantity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Quantity {
    /// From a string or a number, as the API takes both.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            serde_json::Value::Null => return Ok(Quantity::default()),
            other => other.to_string(),
        };
        text.trim().parse().map_err(serde::de::Error::custom)
    }
}

// === reading ===

/// A quantity's text in pieces.
struct Pieces<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros, but at least one.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        if text == "0" {
            return Ok(Quantity { text: Some(text.into()), ..Quantity::default() });
        }
        let pieces = split(text)?;
        match suffix(pieces.suffix)? {
            Suffix::Decimal { exponent, format } => decimal(text, &pieces, exponent, format),
            Suffix::Binary { exponent } => binary(text, &pieces, exponent),
        }
    }
}

fn split(text: &str) -> Result<Pieces<'_>, ParseError> {
    let is_digit = |letter: char| letter.is_ascii_digit();
    let negative = text.starts_with('-');
    let number = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let rest = number.trim_start_matches(is_digit);
    let whole = number.get(..number.len() - rest.len()).filter(|digits| !digits.is_empty()).unwrap_or("0");
    let (fraction, suffix) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => {
            let suffix = rest.trim_start_matches(is_digit);
            (rest.get(..rest.len() - suffix.len()).unwrap_or_default(), suffix)
        }
    };
    let exponent = suffix.trim_start_matches(['e', 'E', 'i', 'n', 'u', 'm', 'k', 'K', 'M', 'G', 'T', 'P']);
    let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    if !digits.chars().all(is_digit) {
        return Err(ParseError::Format);
    }
    Ok(Pieces { negative, whole, fraction, suffix })
}

enum Suffix {
    Decimal { exponent: i32, format: Format },
    Binary { exponent: u32 },
}

fn suffix(text: &str) -> Result<Suffix, ParseError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(suffix, _)| *suffix == text) {
        return Ok(Suffix::Decimal { exponent: *exponent, format: Format::DecimalSi });
    }
    if let Some((_, exponent)) = BINARY_SUFFIXES.iter().find(|(suffix, _)| *suffix == text) {
        return Ok(Suffix::Binary { exponent: *exponent });
    }
    let digits = text.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
    let exponent: i64 = digits.parse().ok().ok_or(ParseError::Suffix)?;
    let most = i64::from(COARSEST_SCALE);
    let exponent = i32::try_from(exponent.clamp(-most, most)).ok().ok_or(ParseError::Suffix)?;
    Ok(Suffix::Decimal { exponent, format: Format::DecimalExponent })
}

impl Pieces<'_> {
    /// All digits as one number, with the scale that the point gives it.
    fn number(&self) -> Result<(i128, i32), ParseError> {
        let fraction = self.fraction.trim_end_matches('0');
        let digits = [self.whole, fraction].concat();
        let mantissa: i128 = digits.parse().ok().ok_or(ParseError::Number)?;
        let scale = i32::try_from(fraction.len()).ok().ok_or(ParseError::Number)?;
        Ok((if self.negative { -mantissa } else { mantissa }, -scale))
    }

    fn digits(&self) -> usize {
        self.whole.len() + self.fraction.len()
    }
}

fn decimal(text: &str, pieces: &Pieces<'_>, exponent: i32, format: Format) -> Result<Quantity, ParseError> {
    let (mantissa, scale) = pieces.number()?;
    let (mantissa, scale) = not_too_coarse(not_too_fine(mantissa, scale + exponent));
    let written_scale = i64::from(exponent) - i64::try_from(pieces.fraction.len()).unwrap_or(i64::MAX);
    // A number that upstream can take without arithmetic and that seems canonical keeps its text. "Seems": the
    // test looks at digits alone, so 1.500 and +5 are kept, too.
    let seems_canonical = pieces.digits() <= 18
        && written_scale >= i64::from(FINEST_SCALE)
        && written_scale % 3 == 0
        && !pieces.whole.starts_with('0')
        && ![pieces.whole, pieces.fraction].concat().ends_with("000");
    Ok(Quantity { mantissa, scale, format, text: seems_canonical.then(|| text.into()) })
}

fn binary(text: &str, pieces: &Pieces<'_>, exponent: u32) -> Result<Quantity, ParseError> {
    let (mut mantissa, mut scale) = pieces.number()?;
    // As above, for a whole number whose product is sure to be small.
    let seems_canonical = pieces.fraction.is_empty()
        && pieces.digits() + usize::try_from(exponent * 3 / 10).unwrap_or(usize::MAX) <= 14
        && mantissa.unsigned_abs() & 7 != 0;
    let product = loop {
        match mantissa.checked_mul(1_i128 << exponent) {
            Some(product) => break product,
            None => (mantissa, scale) = (mantissa / 10 + mantissa.signum(), scale + 1),
        }
    };
    let (mut mantissa, mut scale) = not_too_fine(product, scale);
    let mut format = Format::BinarySi;
    let largest = (i128::from(i64::MAX), 0);
    if compare_magnitudes((mantissa, scale), largest) == Ordering::Greater {
        (mantissa, scale) = (mantissa.signum() * largest.0, 0);
    }
    if mantissa != 0 && compare_magnitudes((mantissa, scale), (1, 0)) == Ordering::Less {
        format = Format::DecimalSi;
    }
    Ok(Quantity { mantissa, scale, format, text: seems_canonical.then(|| text.into()) })
}

/// A scale that a text can say again.
fn not_too_coarse((mantissa, scale): (i128, i32)) -> (i128, i32) {
    if scale <= COARSEST_SCALE - MANTISSA_DIGITS {
        return (mantissa, scale);
    }
    let (mantissa, scale) = without_trailing_zeros(mantissa, scale);
    (mantissa, scale.min(COARSEST_SCALE))
}

fn not_too_fine(mantissa: i128, scale: i32) -> (i128, i32) {
    if scale >= FINEST_SCALE {
        return (mantissa, scale);
    }
    let (rounded, _) = rescale(mantissa, scale, FINEST_SCALE);
    (rounded.unwrap_or(mantissa), FINEST_SCALE)
}

// === arithmetic on mantissa and power of ten ===

/// `mantissa` at another scale, rounded away from zero, and whether that was exact; `None` if it does not fit.
fn rescale(mantissa: i128, from: i32, to: i32) -> (Option<i128>, bool) {
    if mantissa == 0 || from == to {
        return (Some(mantissa), true);
    }
    let power = 10_i128.checked_pow(from.abs_diff(to));
    match power {
        Some(power) if from > to => (mantissa.checked_mul(power), true),
        None if from > to => (None, true),
        Some(power) => {
            let (whole, rest) = (mantissa / power, mantissa % power);
            (Some(if rest == 0 { whole } else { whole + mantissa.signum() }), rest == 0)
        }
        None => (Some(mantissa.signum()), false),
    }
}

fn without_trailing_zeros(mut mantissa: i128, mut scale: i32) -> (i128, i32) {
    while mantissa != 0 && mantissa % 10 == 0 {
        (mantissa, scale) = (mantissa / 10, scale + 1);
    }
    (mantissa, scale)
}

/// Compares two amounts other than zero without their signs.
fn compare_magnitudes(left: (i128, i32), right: (i128, i32)) -> Ordering {
    let order = |(mantissa, scale): (i128, i32)| {
        i64::from(mantissa.unsigned_abs().checked_ilog10().unwrap_or_default()) + i64::from(scale)
    };
    order(left).cmp(&order(right)).then_with(|| {
        // As many digits before the point: so lining up the scales takes 38 more digits at most.
        let (left_at, right_at) = (left.0.unsigned_abs(), right.0.unsigned_abs());
        let scaled =
            |mantissa: u128, by: u32| 10_u128.checked_pow(by).and_then(|power| mantissa.checked_mul(power));
        let by = left.1.abs_diff(right.1);
        if left.1 > right.1 {
            scaled(left_at, by).map_or(Ordering::Greater, |left_at| left_at.cmp(&right_at))
        } else {
            scaled(right_at, by).map_or(Ordering::Less, |right_at| left_at.cmp(&right_at))
        }
    })
}

fn sum(left: (i128, i32), right: (i128, i32)) -> (i128, i32) {
    let (left, right) = (without_trailing_zeros(left.0, left.1), without_trailing_zeros(right.0, right.1));
    let mut scale = left.1.min(right.1);
    loop {
        let both = (rescale(left.0, left.1, scale).0, rescale(right.0, right.1, scale).0);
        if let (Some(left), Some(right)) = both
            && let Some(sum) = left.checked_add(right)
        {
            return (sum, scale);
        }
        // More digits than there is room for: give up the finest.
        scale += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_quantity_prints_as_upstream_prints_it() {
        let cases = [
            ("0", "0"),
            ("0n", "0"),
            ("00", "0"),
            ("0Mi", "0"),
            (".", "0"),
            ("-", "0"),
            ("1", "1"),
            ("-1", "-1"),
            ("+5", "+5"),
            ("05", "05"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5."),
            ("1.500", "1.500"),
            ("0.005", "5m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("2000m", "2"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1000k", "1M"),
            ("1500k", "1500k"),
            ("100M", "100M"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("12Mi", "12Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("1025Ki", "1025Ki"),
            ("1023Ki", "1023Ki"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1.1Ki", "1126400m"),
            ("1.25Mi", "1280Ki"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("1e2", "100"),
            ("10e2", "1e3"),
            ("1e-3", "1e-3"),
            ("1e-1", "100e-3"),
            ("12e6", "12e6"),
            ("1e30", "1e30"),
            ("1E", "1E"),
            ("0.1n", "1n"),
            ("1e-20", "1e-9"),
            ("0.1m", "100u"),
            ("8Ei", "9223372036854775807"),
            ("-8Ei", "-9223372036854775807"),
            ("123456789012345678901", "123456789012345678901"),
            ("7Ei", "7Ei"),
            ("2Ti", "2Ti"),
            ("2048Gi", "2Ti"),
        ];
        for (text, printed) in cases {
            assert_eq!(quantity(text).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_in_upstreams_words() {
        let cases = [
            ("", ParseError::Format),
            ("abc", ParseError::Format),
            ("true", ParseError::Format),
            ("1 Gi", ParseError::Format),
            ("1x", ParseError::Format),
            ("1.2.3", ParseError::Format),
            ("1e5e5", ParseError::Format),
            ("--1", ParseError::Suffix),
            ("1kk", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("1mi", ParseError::Suffix),
            ("1K", ParseError::Suffix),
            ("99999999999999999999999999999999999999999", ParseError::Number),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Quantity>(), Err(error), "{text}");
        }
    }

    #[test]
    fn amounts_compare_by_value_whatever_their_format() {
        let ordered =
            ["-1Gi", "-1", "-1m", "0", "1n", "1m", "0.5", "1", "1k", "1Ki", "1M", "1Mi", "1e30", "1e1000"];
        for (at, left) in ordered.iter().enumerate() {
            for (other, right) in ordered.iter().enumerate() {
                assert_eq!(quantity(left).cmp(&quantity(right)), at.cmp(&other), "{left} and {right}");
            }
        }
        assert_eq!(quantity("1"), quantity("1000m"));
        assert_eq!(quantity("1Mi"), quantity("1048576"));
    }

    #[test]
    fn what_is_beyond_all_exponents_is_written_as_it_is_read_again() {
        for text in
            ["100e2147483647", "1400e42147483647", "1e999999", "10e999998", "1.5e1000000", "123e999000"]
        {
            let printed = quantity(text).to_string();
            assert_eq!(quantity(&printed), quantity(text), "{text} and {printed}");
            assert_eq!(quantity(&printed).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn sums_are_exact_and_zero_takes_over_the_format() {
        let cases = [
            ("1", "1m", "1001m"),
            ("0", "1Gi", "1Gi"),
            ("1Gi", "1Gi", "2Gi"),
            ("1Gi", "1k", "1073742824"),
            ("1", "1Gi", "1073741825"),
            ("500m", "500m", "1"),
            ("1e30", "1", "1000000000000000000000000000001"),
            ("1", "-1", "0"),
        ];
        for (left, right, expected) in cases {
            let mut sum = quantity(left);
            sum += &quantity(right);
            assert_eq!(sum.to_string(), expected, "{left} + {right}");
        }
        let mut rest = quantity("1Gi");
        rest -= &quantity("1Mi");
        assert_eq!(rest.to_string(), "1023Mi");
        assert_eq!((-quantity("1.5")).to_string(), "-1500m");
        assert_eq!(quantity("250m").times(4).to_string(), "1");
    }

    #[test]
    fn whole_numbers_are_rounded_away_from_zero() {
        let cases = [("1", 1, 1000), ("1m", 1, 1), ("1500m", 2, 1500), ("-1500m", -2, -1500), ("1n", 1, 1)];
        for (text, value, milli) in cases {
            assert_eq!((quantity(text).value(), quantity(text).milli_value()), (value, milli), "{text}");
        }
        assert_eq!(quantity("1e1000").value(), i64::MAX);
        assert_eq!((quantity("1000m").as_i64(), quantity("1m").as_i64()), (Some(1), None));
        assert!((quantity("1500m").as_f64() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn serde_takes_strings_and_numbers() {
        let read: Vec<Quantity> = serde_json::from_str(r#"["100m", 2, null]"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"["100m","2","0"]"#);
    }

    proptest! {
        #[test]
        fn printing_keeps_the_value(text in "[+-]?[0-9]{1,12}(\\.[0-9]{0,9})?(n|u|m|k|M|G|Ki|Mi|Gi|Ti|e3|e-4|E7)?") {
            let read = quantity(&text);
            let again = quantity(&read.to_string());
            prop_assert_eq!(&read, &again);
            prop_assert_eq!(read.to_string(), again.to_string());
        }

        #[test]
        fn nothing_panics(text in "[+-.0-9a-zA-Z]{0,50}") {
            if let Ok(read) = text.parse::<Quantity>() {
                let mut sum = read.clone();
                sum += &quantity("1e20");
                sum -= &read;
                let _ = (sum.to_string(), sum.value(), sum.as_f64(), sum.cmp(&read));
            }
        }

        #[test]
        fn adding_and_taking_away_is_nothing(left in any::<i64>(), right in any::<i64>()) {
            let mut sum = Quantity::from_milli(left, Format::DecimalSi);
            sum += &Quantity::new(right, Format::DecimalSi);
            sum -= &Quantity::new(right, Format::DecimalSi);
            prop_assert_eq!(sum, Quantity::from_milli(left, Format::DecimalSi));
        }
    }
}
