//! Times on the wire: what Go's `time.Parse` takes in the two layouts of the API, and what it says of the rest.
//!
//! A time is seconds since 1970 and nanoseconds; years run from 0 to 9999. No clock is read here.

use super::go;

/// A layout of the API.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// `metav1.Time`: whole seconds are written, a fraction is taken and dropped.
    Seconds,
    /// `metav1.MicroTime`: exactly six digits of a second.
    Micros,
}

/// Seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Instant {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// Go's zero time, 0001-01-01T00:00:00Z, which stands for "not set".
pub(super) const ZERO: Instant = Instant { seconds: -62_135_596_800, nanos: 0 };

/// How a piece of the text failed.
enum Fault<'a> {
    /// It does not look like this element of the layout.
    Element { element: &'static str, at: &'a str },
    /// It is a number, but too large or too small.
    Range(&'static str),
    /// Something follows.
    Extra(&'a str),
}

impl Layout {
    fn text(self) -> &'static str {
        match self {
            Layout::Seconds => "2006-01-02T15:04:05Z07:00",
            Layout::Micros => "2006-01-02T15:04:05.000000Z07:00",
        }
    }

    /// Reads a time, in any zone.
    ///
    /// # Errors
    /// Go's message.
    pub(super) fn parse(self, text: &str) -> Result<Instant, String> {
        self.read(text).map_err(|fault| {
            let value = quote(text);
            match fault {
                Fault::Element { element, at } => {
                    let (layout, at, element) = (quote(self.text()), quote(at), quote(element));
                    format!("parsing time {value} as {layout}: cannot parse {at} as {element}")
                }
                Fault::Range(what) => format!("parsing time {value}: {what} out of range"),
                Fault::Extra(rest) => format!("parsing time {value}: extra text: {}", quote(rest)),
            }
        })
    }

    fn read(self, text: &str) -> Result<Instant, Fault<'_>> {
        let mut rest = text;
        let year = year(&mut rest)?;
        literal(&mut rest, "-")?;
        let month = two_digits(&mut rest, "01", true)?;
        in_range(month, 1, 12, "month")?;
        literal(&mut rest, "-")?;
        let day = two_digits(&mut rest, "02", true)?;
        literal(&mut rest, "T")?;
        let hour = two_digits(&mut rest, "15", false)?;
        in_range(hour, 0, 23, "hour")?;
        literal(&mut rest, ":")?;
        let minute = two_digits(&mut rest, "04", true)?;
        in_range(minute, 0, 59, "minute")?;
        literal(&mut rest, ":")?;
        let second = two_digits(&mut rest, "05", true)?;
        in_range(second, 0, 59, "second")?;
        let nanos = match self {
            Layout::Seconds => any_fraction(&mut rest),
            Layout::Micros => six_digits(&mut rest)?,
        };
        let offset = zone(&mut rest)?;
        if !rest.is_empty() {
            return Err(Fault::Extra(rest));
        }
        in_range(day, 1, days_in(year, month), "day")?;
        let seconds =
            days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        Ok(Instant { seconds, nanos })
    }

    /// Writes a time in UTC; a finer fraction than the layout's is cut off.
    pub(super) fn format(self, instant: Instant) -> String {
        let (year, month, day) = date(instant.seconds.div_euclid(86_400));
        let of_day = instant.seconds.rem_euclid(86_400);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let fraction = match self {
            Layout::Seconds => String::new(),
            Layout::Micros => format!(".{:06}", instant.nanos / 1000),
        };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }
}

// === pieces of the layout ===

fn digit(text: &str, at: usize) -> Option<i64> {
    text.as_bytes().get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| i64::from(byte - b'0'))
}

/// Cuts `len` bytes off the front, which the caller has seen to be ASCII.
fn advance(rest: &mut &str, len: usize) {
    *rest = rest.get(len..).unwrap_or_default();
}

fn literal<'a>(rest: &mut &'a str, prefix: &'static str) -> Result<(), Fault<'a>> {
    *rest = rest.strip_prefix(prefix).ok_or(Fault::Element { element: prefix, at: rest })?;
    Ok(())
}

fn year<'a>(rest: &mut &'a str) -> Result<i64, Fault<'a>> {
    let fault = Fault::Element { element: "2006", at: rest };
    let digits: Option<Vec<i64>> = (0..4).map(|at| digit(rest, at)).collect();
    let year = digits.ok_or(fault)?.into_iter().fold(0, |year, digit| year * 10 + digit);
    advance(rest, 4);
    Ok(year)
}

fn two_digits<'a>(rest: &mut &'a str, element: &'static str, fixed: bool) -> Result<i64, Fault<'a>> {
    let (number, len) = match (digit(rest, 0), digit(rest, 1)) {
        (Some(tens), Some(ones)) => (tens * 10 + ones, 2),
        (Some(ones), None) if !fixed => (ones, 1),
        _ => return Err(Fault::Element { element, at: rest }),
    };
    advance(rest, len);
    Ok(number)
}

fn in_range<'a>(number: i64, min: i64, max: i64, what: &'static str) -> Result<(), Fault<'a>> {
    if (min..=max).contains(&number) { Ok(()) } else { Err(Fault::Range(what)) }
}

/// A fraction that the layout does not ask for.
fn any_fraction(rest: &mut &str) -> u32 {
    if !rest.starts_with(['.', ',']) || digit(rest, 1).is_none() {
        return 0;
    }
    let digits = (1..).take_while(|at| digit(rest, *at).is_some()).count();
    let nanos =
        (1..=9).fold(0, |nanos, at| nanos * 10 + if at <= digits { digit(rest, at).unwrap_or(0) } else { 0 });
    advance(rest, digits + 1);
    u32::try_from(nanos).unwrap_or_default()
}

fn six_digits<'a>(rest: &mut &'a str) -> Result<u32, Fault<'a>> {
    let fault = Fault::Element { element: ".000000", at: rest };
    if !rest.starts_with(['.', ',']) {
        return Err(fault);
    }
    let digits: Option<Vec<i64>> = (1..=6).map(|at| digit(rest, at)).collect();
    let micros = digits.ok_or(fault)?.into_iter().fold(0, |micros, digit| micros * 10 + digit);
    advance(rest, 7);
    Ok(u32::try_from(micros * 1000).unwrap_or_default())
}

/// Seconds east of UTC.
fn zone<'a>(rest: &mut &'a str) -> Result<i64, Fault<'a>> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Ok(0);
    }
    let fault = || Fault::Element { element: "Z07:00", at: rest };
    let sign = match rest.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => 0,
    };
    let number = |at| Some(digit(rest, at)? * 10 + digit(rest, at + 1)?);
    let (hours, minutes) = match (number(1), rest.as_bytes().get(3), number(4)) {
        (Some(hours), Some(b':'), Some(minutes)) => (hours, minutes),
        _ => return Err(fault()),
    };
    // A day and an hour are still fine: some people write them.
    in_range(hours, 0, 24, "time zone offset hour")?;
    in_range(minutes, 0, 60, "time zone offset minute")?;
    if sign == 0 {
        return Err(fault());
    }
    advance(rest, 6);
    Ok(sign * (hours * 60 + minutes) * 60)
}

/// `time` quotes bytes, not characters.
fn quote(text: &str) -> String {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return go::quote(text);
    }
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            0x20..0x80 => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

// === the calendar ===

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, counting years from March, so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse of [`days_since_1970`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_normalised_to_utc() {
        let cases = [
            (Layout::Seconds, "2024-02-29T12:30:45Z", "2024-02-29T12:30:45Z"),
            (Layout::Seconds, "2024-01-01T00:00:00.999Z", "2024-01-01T00:00:00Z"),
            (Layout::Seconds, "2024-01-01T00:00:00+02:00", "2023-12-31T22:00:00Z"),
            (Layout::Seconds, "2024-01-01T00:00:00-23:30", "2024-01-01T23:30:00Z"),
            (Layout::Seconds, "2024-01-01T1:00:00Z", "2024-01-01T01:00:00Z"),
            (Layout::Seconds, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            (Layout::Seconds, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            (Layout::Micros, "2024-01-01T00:00:00.123456Z", "2024-01-01T00:00:00.123456Z"),
            (Layout::Micros, "2024-01-01T00:00:00.123456+01:00", "2023-12-31T23:00:00.123456Z"),
        ];
        for (layout, text, expected) in cases {
            assert_eq!(layout.parse(text).map(|instant| layout.format(instant)).as_deref(), Ok(expected));
        }
        assert_eq!(Layout::Seconds.parse("0001-01-01T00:00:00Z"), Ok(ZERO));
    }

    #[test]
    fn what_is_no_time_is_refused_in_gos_words() {
        let cases = [
            ("yesterday", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#),
            ("", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2024-01-01", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#),
            (
                "2024-1-01T00:00:00Z",
                r#" as "2006-01-02T15:04:05Z07:00": cannot parse "1-01T00:00:00Z" as "01""#,
            ),
            ("2024-01-01 00:00:00Z", r#" as "2006-01-02T15:04:05Z07:00": cannot parse " 00:00:00Z" as "T""#),
            ("2024-01-01T00:00:00", r#" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00""#),
            ("2024-13-01T00:00:00Z", ": month out of range"),
            ("2024-02-30T00:00:00Z", ": day out of range"),
            ("2024-01-01T24:00:00Z", ": hour out of range"),
            ("2024-01-01T00:60:00Z", ": minute out of range"),
            ("2024-01-01T00:00:60Z", ": second out of range"),
            ("2024-01-01T00:00:00+25:00", ": time zone offset hour out of range"),
            ("2024-01-01T00:00:00Zx", r#": extra text: "x""#),
        ];
        for (text, expected) in cases {
            assert_eq!(Layout::Seconds.parse(text), Err(format!("parsing time \"{text}\"{expected}")));
        }
        assert_eq!(
            Layout::Micros.parse("2024-01-01T00:00:00Z").unwrap_err(),
            r#"parsing time "2024-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000""#
        );
        assert_eq!(
            Layout::Seconds.parse("ä").unwrap_err(),
            r#"parsing time "\xc3\xa4" as "2006-01-02T15:04:05Z07:00": cannot parse "\xc3\xa4" as "2006""#
        );
    }

    proptest! {
        #[test]
        fn every_second_survives_the_round_trip(seconds in -62_135_596_800_i64..253_402_300_800) {
            let instant = Instant { seconds, nanos: 0 };
            prop_assert_eq!(Layout::Seconds.parse(&Layout::Seconds.format(instant)), Ok(instant));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,30}|[0-9TZ:.,+-]{0,40}") {
            let _ = (Layout::Seconds.parse(&text), Layout::Micros.parse(&text));
        }
    }
}
