//! Schedules of CronJobs: five fields or a descriptor such as `@daily`, read and followed as upstream's library does,
//! with its words for what cannot be read.

use std::fmt;

use jiff::{Timestamp, civil, tz::TimeZone};

use crate::field::go_quote;

/// How many years ahead to look for a time that fits.
const HORIZON_YEARS: i16 = 5;
const SECONDS_OF_HOUR: i64 = 3600;
const NANOSECONDS_OF_SECOND: i128 = 1_000_000_000;

/// A schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    times: Times,
    /// As the text names it.
    zone: Option<TimeZone>,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

#[derive(Clone, Debug, PartialEq)]
enum Times {
    /// At the full minutes that fit.
    Matching(Box<Fields>),
    /// Every so many seconds.
    Every(i64),
}

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

/// The values a field may have, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Field {
    bits: u64,
    /// Whether it says `*` and means all.
    is_star: bool,
}

/// What may stand in a field.
struct Bounds {
    min: u64,
    max: u64,
    names: &'static [(&'static str, u64)],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &[
        ("jan", 1),
        ("feb", 2),
        ("mar", 3),
        ("apr", 4),
        ("may", 5),
        ("jun", 6),
        ("jul", 7),
        ("aug", 8),
        ("sep", 9),
        ("oct", 10),
        ("nov", 11),
        ("dec", 12),
    ],
};
const WEEKDAYS: Bounds = Bounds {
    min: 0,
    max: 6,
    names: &[("sun", 0), ("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6)],
};

// === impl Error ===

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

fn refuse<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error(why.into()))
}

// === impl Schedule ===

impl Schedule {
    /// Reads a schedule: five fields or a descriptor, after `TZ=<zone> ` or `CRON_TZ=<zone> ` if it keeps the time of
    /// another zone than the one asked in.
    ///
    /// # Errors
    /// When it is none, with upstream's words.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return refuse("empty spec string");
        }
        let (zone, rest) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            None => (None, text),
            Some(named) => {
                let Some((name, rest)) = named.split_once(' ') else {
                    // Upstream runs out of bounds here, and says so.
                    let start = text.len() - named.len();
                    return refuse(format!(
                        "invalid schedule format: runtime error: slice bounds out of range [{start}:-1]"
                    ));
                };
                let zone =
                    time_zone(name).map_err(|why| Error(format!("provided bad location {name}: {why}")))?;
                (Some(zone), rest.trim())
            }
        };
        let times = if rest.starts_with('@') { descriptor(rest)? } else { fields(rest)? };
        Ok(Self { times, zone })
    }

    /// The first time after the given one, which is at least a second later. `zone` is whose time to keep if the
    /// schedule does not name one. `None` if there is no such time within five years.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let seconds = after.as_second();
        // Seconds are cut off downwards.
        let seconds = if after.subsec_nanosecond() < 0 { seconds - 1 } else { seconds };
        match &self.times {
            Times::Every(delay) => Timestamp::from_second(seconds + delay).ok(),
            Times::Matching(fields) => {
                let zone = self.zone.as_ref().unwrap_or(zone);
                fields.next(Clock { seconds: seconds + 1, zone })
            }
        }
    }
}

/// The zone of an IANA name. Unlike the database's own look-up, this minds the case.
///
/// # Errors
/// When there is none, with Go's words.
pub fn time_zone(name: &str) -> Result<TimeZone, Error> {
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(TimeZone::UTC);
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return refuse("time: invalid location name");
    }
    TimeZone::get(name)
        .ok()
        .filter(|zone| zone.iana_name() == Some(name))
        .ok_or_else(|| Error(format!("unknown time zone {name}")))
}

// --- reading

fn descriptor(text: &str) -> Result<Times, Error> {
    let standard = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(every) = text.strip_prefix("@every ") else {
                return refuse(format!("unrecognized descriptor: {text}"));
            };
            let nanoseconds =
                duration(every).map_err(|why| Error(format!("failed to parse duration {text}: {why}")))?;
            let seconds = i64::try_from(nanoseconds / NANOSECONDS_OF_SECOND).unwrap_or(i64::MAX);
            return Ok(Times::Every(seconds.max(1)));
        }
    };
    fields(standard)
}

fn fields(text: &str) -> Result<Times, Error> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = parts.as_slice() else {
        return refuse(format!("expected exactly 5 fields, found {}: [{}]", parts.len(), parts.join(" ")));
    };
    Ok(Times::Matching(Box::new(Fields {
        minute: Field::parse(minute, &MINUTES)?,
        hour: Field::parse(hour, &HOURS)?,
        day: Field::parse(day, &DAYS)?,
        month: Field::parse(month, &MONTHS)?,
        weekday: Field::parse(weekday, &WEEKDAYS)?,
    })))
}

// === impl Field ===

impl Field {
    fn parse(text: &str, bounds: &Bounds) -> Result<Self, Error> {
        let mut field = Self::default();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let range = Self::parse_range(range, bounds)?;
            field.bits |= range.bits;
            field.is_star |= range.is_star;
        }
        Ok(field)
    }

    /// `*`, `a` or `a-b`, each perhaps with `/step`.
    fn parse_range(text: &str, bounds: &Bounds) -> Result<Self, Error> {
        let mut by_slash = text.split('/');
        let range = by_slash.next().unwrap_or_default();
        let (step, more) = (by_slash.next(), by_slash.next());
        let mut by_hyphen = range.split('-');
        let low = by_hyphen.next().unwrap_or_default();
        let (high, more_highs) = (by_hyphen.next(), by_hyphen.next());
        let mut is_star = matches!(low, "*" | "?");
        let (start, mut end) = if is_star {
            (bounds.min, bounds.max)
        } else {
            let start = number_or_name(low, bounds)?;
            let end = match (high, more_highs) {
                (None, _) => start,
                (Some(high), None) => number_or_name(high, bounds)?,
                (Some(_), Some(_)) => return refuse(format!("too many hyphens: {text}")),
            };
            (start, end)
        };
        let step = match (step, more) {
            (None, _) => 1,
            (Some(step), None) => {
                let step = number(step)?;
                // A single value with a step goes to the end.
                if high.is_none() {
                    end = bounds.max;
                }
                is_star &= step <= 1;
                step
            }
            (Some(_), Some(_)) => return refuse(format!("too many slashes: {text}")),
        };
        if start < bounds.min {
            return refuse(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
        }
        if end > bounds.max {
            return refuse(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
        }
        if start > end {
            return refuse(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return refuse(format!("step of range should be a positive number: {text}"));
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        let bits = (start..=end).step_by(step).fold(0, |bits, value| bits | 1 << value);
        Ok(Self { bits, is_star })
    }

    fn has(self, value: i64) -> bool {
        self.bits & (1 << value) != 0
    }
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, Error> {
    match bounds.names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        Some((_, value)) => Ok(*value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, Error> {
    let failed = |why: &str| {
        refuse(format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", go_quote(text)))
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return failed("invalid syntax");
    }
    match text.parse::<i64>() {
        Err(_) => failed("value out of range"),
        Ok(value) => match u64::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => refuse(format!("negative number ({value}) not allowed: {text}")),
        },
    }
}

/// A duration as Go writes it, such as `1h30m`, in nanoseconds.
fn duration(text: &str) -> Result<i128, Error> {
    let quoted = || go_quote(text);
    let invalid = || Error(format!("time: invalid duration {}", quoted()));
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).unwrap_or((after, ""));
        let scale: i128 = match unit {
            "" => return refuse(format!("time: missing unit in duration {}", quoted())),
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return refuse(format!("time: unknown unit {} in duration {}", go_quote(unit), quoted()));
            }
        };
        let whole: i128 =
            if whole.is_empty() { 0 } else { i128::from(whole.parse::<i64>().ok().ok_or_else(invalid)?) };
        total += whole * scale;
        // More digits than these do not make a nanosecond.
        let mut weight = scale;
        for digit in fraction.bytes().take(13) {
            total += i128::from(digit - b'0') * weight / 10;
            weight /= 10;
        }
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    Ok(if is_negative { -total } else { total })
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

// --- following

/// A time, and the zone whose clocks show it.
#[derive(Clone, Copy)]
struct Clock<'a> {
    seconds: i64,
    zone: &'a TimeZone,
}

// === impl Clock ===

impl Clock<'_> {
    /// What clocks show.
    fn shown(self) -> Option<civil::DateTime> {
        Some(self.zone.to_datetime(Timestamp::from_second(self.seconds).ok()?))
    }

    /// When clocks show this. Where they show it twice or not at all, the answer is Go's.
    fn at(self, shown: civil::DateTime) -> Option<Self> {
        let as_if_utc = TimeZone::UTC.to_timestamp(shown).ok()?.as_second();
        let offset = |seconds: i64| -> Option<i64> {
            let at = Timestamp::from_second(seconds).ok()?;
            Some(i64::from(self.zone.to_offset(at).seconds()))
        };
        let guess = as_if_utc - offset(as_if_utc)?;
        Some(Self { seconds: as_if_utc - offset(guess)?, ..self })
    }

    /// Midnight of the day that many days on; where there is no midnight, what is closest.
    fn midnight_after(self, days: i64) -> Option<Self> {
        let shown = self.shown()?;
        let date = shown.date().checked_add(jiff::Span::new().days(days)).ok()?;
        let moved = self.at(date.to_datetime(shown.time()))?;
        let hour = i64::from(moved.shown()?.hour());
        let correction = match hour {
            0 => 0,
            13.. => 24 - hour,
            _ => -hour,
        };
        Some(Self { seconds: moved.seconds + correction * SECONDS_OF_HOUR, ..self })
    }
}

// === impl Fields ===

impl Fields {
    /// The first time from the given one on that fits.
    fn next(&self, mut clock: Clock<'_>) -> Option<Timestamp> {
        if [self.minute, self.hour, self.month].iter().any(|field| field.bits == 0) {
            return None;
        }
        let last_year = clock.shown()?.year().checked_add(HORIZON_YEARS)?;
        // Whether what is finer than the field at hand was set to its beginning.
        let mut is_reset = false;
        'wrapped: loop {
            if clock.shown()?.year() > last_year {
                return None;
            }
            while !self.month.has(i64::from(clock.shown()?.month())) {
                let mut first = clock.shown()?;
                if !is_reset {
                    is_reset = true;
                    first = first.date().first_of_month().to_datetime(civil::Time::midnight());
                }
                let next = first.date().checked_add(jiff::Span::new().months(1)).ok()?;
                clock = clock.at(next.to_datetime(first.time()))?;
                if clock.shown()?.month() == 1 {
                    continue 'wrapped;
                }
            }
            while !self.fits_day(clock.shown()?.date()) {
                if !is_reset {
                    is_reset = true;
                    clock = clock.at(clock.shown()?.date().to_datetime(civil::Time::midnight()))?;
                }
                clock = clock.midnight_after(1)?;
                if clock.shown()?.day() == 1 {
                    continue 'wrapped;
                }
            }
            while !self.hour.has(i64::from(clock.shown()?.hour())) {
                if !is_reset {
                    is_reset = true;
                    let shown = clock.shown()?;
                    clock = clock.at(shown.date().at(shown.hour(), 0, 0, 0))?;
                }
                clock.seconds += SECONDS_OF_HOUR;
                if clock.shown()?.hour() == 0 {
                    continue 'wrapped;
                }
            }
            while !self.minute.has(i64::from(clock.shown()?.minute())) {
                if !is_reset {
                    is_reset = true;
                    clock.seconds -= clock.seconds.rem_euclid(60);
                }
                clock.seconds += 60;
                if clock.shown()?.minute() == 0 {
                    continue 'wrapped;
                }
            }
            while clock.shown()?.second() != 0 {
                is_reset = true;
                clock.seconds += 1;
                if clock.shown()?.second() == 0 {
                    continue 'wrapped;
                }
            }
            return Timestamp::from_second(clock.seconds).ok();
        }
    }

    /// Whether the day fits: both fields if one of them says `*`, else either.
    fn fits_day(&self, date: civil::Date) -> bool {
        let day = self.day.has(i64::from(date.day()));
        let weekday = self.weekday.has(i64::from(date.weekday().to_sunday_zero_offset()));
        if self.day.is_star || self.weekday.is_star { day && weekday } else { day || weekday }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERROR: &[&str] = &["ERR"];
    const NEVER: &[&str] = &["never", "never"];

    /// The next four times after noon, half a minute past, of the days before clocks go forward and back in New York,
    /// as upstream's controller finds them.
    const NEXT: &[(&str, &[&str])] = &[
        (
            "* * * * *",
            &[
                "2025-03-08T17:01:00Z",
                "2025-03-08T17:02:00Z",
                "2025-03-08T17:03:00Z",
                "2025-03-08T17:04:00Z",
                "2025-11-01T16:01:00Z",
                "2025-11-01T16:02:00Z",
                "2025-11-01T16:03:00Z",
                "2025-11-01T16:04:00Z",
            ],
        ),
        (
            "*/5 * * * *",
            &[
                "2025-03-08T17:05:00Z",
                "2025-03-08T17:10:00Z",
                "2025-03-08T17:15:00Z",
                "2025-03-08T17:20:00Z",
                "2025-11-01T16:05:00Z",
                "2025-11-01T16:10:00Z",
                "2025-11-01T16:15:00Z",
                "2025-11-01T16:20:00Z",
            ],
        ),
        (
            "0 * * * *",
            &[
                "2025-03-08T18:00:00Z",
                "2025-03-08T19:00:00Z",
                "2025-03-08T20:00:00Z",
                "2025-03-08T21:00:00Z",
                "2025-11-01T17:00:00Z",
                "2025-11-01T18:00:00Z",
                "2025-11-01T19:00:00Z",
                "2025-11-01T20:00:00Z",
            ],
        ),
        (
            "30 2 * * *",
            &[
                "2025-03-10T06:30:00Z",
                "2025-03-11T06:30:00Z",
                "2025-03-12T06:30:00Z",
                "2025-03-13T06:30:00Z",
                "2025-11-02T07:30:00Z",
                "2025-11-03T07:30:00Z",
                "2025-11-04T07:30:00Z",
                "2025-11-05T07:30:00Z",
            ],
        ),
        (
            "0 2 * * *",
            &[
                "2025-03-10T06:00:00Z",
                "2025-03-11T06:00:00Z",
                "2025-03-12T06:00:00Z",
                "2025-03-13T06:00:00Z",
                "2025-11-02T07:00:00Z",
                "2025-11-03T07:00:00Z",
                "2025-11-04T07:00:00Z",
                "2025-11-05T07:00:00Z",
            ],
        ),
        (
            "15 1 * * *",
            &[
                "2025-03-09T06:15:00Z",
                "2025-03-10T05:15:00Z",
                "2025-03-11T05:15:00Z",
                "2025-03-12T05:15:00Z",
                "2025-11-02T05:15:00Z",
                "2025-11-02T06:15:00Z",
                "2025-11-03T06:15:00Z",
                "2025-11-04T06:15:00Z",
            ],
        ),
        (
            "30 1 * * *",
            &[
                "2025-03-09T06:30:00Z",
                "2025-03-10T05:30:00Z",
                "2025-03-11T05:30:00Z",
                "2025-03-12T05:30:00Z",
                "2025-11-02T05:30:00Z",
                "2025-11-02T06:30:00Z",
                "2025-11-03T06:30:00Z",
                "2025-11-04T06:30:00Z",
            ],
        ),
        (
            "*/30 * * * *",
            &[
                "2025-03-08T17:30:00Z",
                "2025-03-08T18:00:00Z",
                "2025-03-08T18:30:00Z",
                "2025-03-08T19:00:00Z",
                "2025-11-01T16:30:00Z",
                "2025-11-01T17:00:00Z",
                "2025-11-01T17:30:00Z",
                "2025-11-01T18:00:00Z",
            ],
        ),
        (
            "0 */2 * * *",
            &[
                "2025-03-08T19:00:00Z",
                "2025-03-08T21:00:00Z",
                "2025-03-08T23:00:00Z",
                "2025-03-09T01:00:00Z",
                "2025-11-01T18:00:00Z",
                "2025-11-01T20:00:00Z",
                "2025-11-01T22:00:00Z",
                "2025-11-02T00:00:00Z",
            ],
        ),
        (
            "0 0 1 * 1",
            &[
                "2025-03-10T04:00:00Z",
                "2025-03-17T04:00:00Z",
                "2025-03-24T04:00:00Z",
                "2025-03-31T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-10T05:00:00Z",
                "2025-11-17T05:00:00Z",
                "2025-11-24T05:00:00Z",
            ],
        ),
        (
            "0 0 13 * 5",
            &[
                "2025-03-13T04:00:00Z",
                "2025-03-14T04:00:00Z",
                "2025-03-21T04:00:00Z",
                "2025-03-28T04:00:00Z",
                "2025-11-07T05:00:00Z",
                "2025-11-13T05:00:00Z",
                "2025-11-14T05:00:00Z",
                "2025-11-21T05:00:00Z",
            ],
        ),
        (
            "0 0 * * 0",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-16T04:00:00Z",
                "2025-03-23T04:00:00Z",
                "2025-03-30T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-09T05:00:00Z",
                "2025-11-16T05:00:00Z",
                "2025-11-23T05:00:00Z",
            ],
        ),
        ("0 0 * * 7", ERROR),
        (
            "0 0 * * SUN",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-16T04:00:00Z",
                "2025-03-23T04:00:00Z",
                "2025-03-30T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-09T05:00:00Z",
                "2025-11-16T05:00:00Z",
                "2025-11-23T05:00:00Z",
            ],
        ),
        (
            "0 0 * * sun-tue",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-16T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-09T05:00:00Z",
            ],
        ),
        (
            "0 0 1 JAN *",
            &[
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
            ],
        ),
        (
            "0 0 1 jan,MAR *",
            &[
                "2026-01-01T05:00:00Z",
                "2026-03-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2027-03-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                "2026-03-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2027-03-01T05:00:00Z",
            ],
        ),
        ("59 23 31 2 *", NEVER),
        (
            "5/10 * * * *",
            &[
                "2025-03-08T17:05:00Z",
                "2025-03-08T17:15:00Z",
                "2025-03-08T17:25:00Z",
                "2025-03-08T17:35:00Z",
                "2025-11-01T16:05:00Z",
                "2025-11-01T16:15:00Z",
                "2025-11-01T16:25:00Z",
                "2025-11-01T16:35:00Z",
            ],
        ),
        (
            "0-30/7 * * * *",
            &[
                "2025-03-08T17:07:00Z",
                "2025-03-08T17:14:00Z",
                "2025-03-08T17:21:00Z",
                "2025-03-08T17:28:00Z",
                "2025-11-01T16:07:00Z",
                "2025-11-01T16:14:00Z",
                "2025-11-01T16:21:00Z",
                "2025-11-01T16:28:00Z",
            ],
        ),
        (
            "? * * * *",
            &[
                "2025-03-08T17:01:00Z",
                "2025-03-08T17:02:00Z",
                "2025-03-08T17:03:00Z",
                "2025-03-08T17:04:00Z",
                "2025-11-01T16:01:00Z",
                "2025-11-01T16:02:00Z",
                "2025-11-01T16:03:00Z",
                "2025-11-01T16:04:00Z",
            ],
        ),
        (
            "0 0 ? * 1",
            &[
                "2025-03-10T04:00:00Z",
                "2025-03-17T04:00:00Z",
                "2025-03-24T04:00:00Z",
                "2025-03-31T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-10T05:00:00Z",
                "2025-11-17T05:00:00Z",
                "2025-11-24T05:00:00Z",
            ],
        ),
        (
            "0 0 * * ?",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-12T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-05T05:00:00Z",
            ],
        ),
        (
            "@hourly",
            &[
                "2025-03-08T18:00:00Z",
                "2025-03-08T19:00:00Z",
                "2025-03-08T20:00:00Z",
                "2025-03-08T21:00:00Z",
                "2025-11-01T17:00:00Z",
                "2025-11-01T18:00:00Z",
                "2025-11-01T19:00:00Z",
                "2025-11-01T20:00:00Z",
            ],
        ),
        (
            "@daily",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-12T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-05T05:00:00Z",
            ],
        ),
        (
            "@midnight",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-12T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-05T05:00:00Z",
            ],
        ),
        (
            "@weekly",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-16T04:00:00Z",
                "2025-03-23T04:00:00Z",
                "2025-03-30T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-09T05:00:00Z",
                "2025-11-16T05:00:00Z",
                "2025-11-23T05:00:00Z",
            ],
        ),
        (
            "@monthly",
            &[
                "2025-04-01T04:00:00Z",
                "2025-05-01T04:00:00Z",
                "2025-06-01T04:00:00Z",
                "2025-07-01T04:00:00Z",
                "2025-12-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                "2026-02-01T05:00:00Z",
                "2026-03-01T05:00:00Z",
            ],
        ),
        (
            "@yearly",
            &[
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
            ],
        ),
        (
            "@annually",
            &[
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
            ],
        ),
        (
            "@every 1h30m",
            &[
                "2025-03-08T18:30:30Z",
                "2025-03-08T20:00:30Z",
                "2025-03-08T21:30:30Z",
                "2025-03-08T23:00:30Z",
                "2025-11-01T17:30:30Z",
                "2025-11-01T19:00:30Z",
                "2025-11-01T20:30:30Z",
                "2025-11-01T22:00:30Z",
            ],
        ),
        (
            "@every 90s",
            &[
                "2025-03-08T17:02:00Z",
                "2025-03-08T17:03:30Z",
                "2025-03-08T17:05:00Z",
                "2025-03-08T17:06:30Z",
                "2025-11-01T16:02:00Z",
                "2025-11-01T16:03:30Z",
                "2025-11-01T16:05:00Z",
                "2025-11-01T16:06:30Z",
            ],
        ),
        ("@reboot", ERROR),
        ("0 0 L * *", ERROR),
        ("0 0 15W * *", ERROR),
        ("0 0 * * 5#2", ERROR),
        ("0 0 * * 5L", ERROR),
        ("* * * * * *", ERROR),
        ("0 0 0 * * *", ERROR),
        ("60 * * * *", ERROR),
        ("0 24 * * *", ERROR),
        ("0 0 0 * *", ERROR),
        ("0 0 32 * *", ERROR),
        ("0 0 * 13 *", ERROR),
        ("0 0 * * 8", ERROR),
        (
            "1,2,3 * * * *",
            &[
                "2025-03-08T17:01:00Z",
                "2025-03-08T17:02:00Z",
                "2025-03-08T17:03:00Z",
                "2025-03-08T18:01:00Z",
                "2025-11-01T16:01:00Z",
                "2025-11-01T16:02:00Z",
                "2025-11-01T16:03:00Z",
                "2025-11-01T17:01:00Z",
            ],
        ),
        (
            "1-5,10-15/2 * * * *",
            &[
                "2025-03-08T17:01:00Z",
                "2025-03-08T17:02:00Z",
                "2025-03-08T17:03:00Z",
                "2025-03-08T17:04:00Z",
                "2025-11-01T16:01:00Z",
                "2025-11-01T16:02:00Z",
                "2025-11-01T16:03:00Z",
                "2025-11-01T16:04:00Z",
            ],
        ),
        ("5-1 * * * *", ERROR),
        ("0 22-2 * * *", ERROR),
        ("*/0 * * * *", ERROR),
        (
            "*/61 * * * *",
            &[
                "2025-03-08T18:00:00Z",
                "2025-03-08T19:00:00Z",
                "2025-03-08T20:00:00Z",
                "2025-03-08T21:00:00Z",
                "2025-11-01T17:00:00Z",
                "2025-11-01T18:00:00Z",
                "2025-11-01T19:00:00Z",
                "2025-11-01T20:00:00Z",
            ],
        ),
        ("TZ=UTC 0 0 * * *", ERROR),
        ("CRON_TZ=Asia/Tokyo 0 6 * * *", ERROR),
        (
            "0 0 * * MON-FRI",
            &[
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-12T04:00:00Z",
                "2025-03-13T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-05T05:00:00Z",
                "2025-11-06T05:00:00Z",
            ],
        ),
        (
            "0 0 29 2 *",
            &[
                "2028-02-29T05:00:00Z",
                "2032-02-29T05:00:00Z",
                "2036-02-29T05:00:00Z",
                "2040-02-29T05:00:00Z",
                "2028-02-29T05:00:00Z",
                "2032-02-29T05:00:00Z",
                "2036-02-29T05:00:00Z",
                "2040-02-29T05:00:00Z",
            ],
        ),
        (
            "  0   0  * * *  ",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-12T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-05T05:00:00Z",
            ],
        ),
        (
            "0 0 * * 1,",
            &[
                "2025-03-10T04:00:00Z",
                "2025-03-17T04:00:00Z",
                "2025-03-24T04:00:00Z",
                "2025-03-31T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-10T05:00:00Z",
                "2025-11-17T05:00:00Z",
                "2025-11-24T05:00:00Z",
            ],
        ),
        (
            "*/15,3 * * * *",
            &[
                "2025-03-08T17:03:00Z",
                "2025-03-08T17:15:00Z",
                "2025-03-08T17:30:00Z",
                "2025-03-08T17:45:00Z",
                "2025-11-01T16:03:00Z",
                "2025-11-01T16:15:00Z",
                "2025-11-01T16:30:00Z",
                "2025-11-01T16:45:00Z",
            ],
        ),
        (
            "0 0 1-7 * MON",
            &[
                "2025-03-10T04:00:00Z",
                "2025-03-17T04:00:00Z",
                "2025-03-24T04:00:00Z",
                "2025-03-31T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-05T05:00:00Z",
            ],
        ),
        (
            "0 0 */2 * 1",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-10T04:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-13T04:00:00Z",
                "2025-11-03T05:00:00Z",
                "2025-11-05T05:00:00Z",
                "2025-11-07T05:00:00Z",
                "2025-11-09T05:00:00Z",
            ],
        ),
        (
            "0 0 * * */2",
            &[
                "2025-03-09T05:00:00Z",
                "2025-03-11T04:00:00Z",
                "2025-03-13T04:00:00Z",
                "2025-03-15T04:00:00Z",
                "2025-11-02T04:00:00Z",
                "2025-11-04T05:00:00Z",
                "2025-11-06T05:00:00Z",
                "2025-11-08T05:00:00Z",
            ],
        ),
        ("@Hourly", ERROR),
        ("0 0 * * 0-7", ERROR),
        (
            "00 00 01 01 *",
            &[
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                "2027-01-01T05:00:00Z",
                "2028-01-01T05:00:00Z",
                "2029-01-01T05:00:00Z",
            ],
        ),
        (
            "1-5/10 * * * *",
            &[
                "2025-03-08T17:01:00Z",
                "2025-03-08T18:01:00Z",
                "2025-03-08T19:01:00Z",
                "2025-03-08T20:01:00Z",
                "2025-11-01T16:01:00Z",
                "2025-11-01T17:01:00Z",
                "2025-11-01T18:01:00Z",
                "2025-11-01T19:01:00Z",
            ],
        ),
        (
            "* 1/3 * * *",
            &[
                "2025-03-08T18:00:00Z",
                "2025-03-08T18:01:00Z",
                "2025-03-08T18:02:00Z",
                "2025-03-08T18:03:00Z",
                "2025-11-01T17:00:00Z",
                "2025-11-01T17:01:00Z",
                "2025-11-01T17:02:00Z",
                "2025-11-01T17:03:00Z",
            ],
        ),
    ];

    fn times(schedule: &Schedule, start: &str, zone: &TimeZone) -> Vec<String> {
        let mut at: Timestamp = start.parse().unwrap();
        let mut times = Vec::new();
        for _ in 0..4 {
            match schedule.next(at, zone) {
                Some(next) => {
                    times.push(next.to_string());
                    at = next;
                }
                None => {
                    times.push("never".to_owned());
                    break;
                }
            }
        }
        times
    }

    #[test]
    fn next_times_are_upstreams() {
        for (text, expected) in NEXT {
            let schedule = match Schedule::parse(&format!("TZ=America/New_York {text}")) {
                Ok(schedule) => schedule,
                Err(error) => {
                    assert_eq!(*expected, ERROR, "{text}: {error}");
                    continue;
                }
            };
            let mut found = times(&schedule, "2025-03-08T17:00:30Z", &TimeZone::UTC);
            found.extend(times(&schedule, "2025-11-01T16:00:30Z", &TimeZone::UTC));
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn the_callers_zone_counts_where_the_schedule_names_none() {
        let zone = time_zone("America/New_York").unwrap();
        for (text, expected) in NEXT {
            let Ok(schedule) = Schedule::parse(text) else { continue };
            if text.contains("TZ=") {
                continue;
            }
            let mut found = times(&schedule, "2025-03-08T17:00:30Z", &zone);
            found.extend(times(&schedule, "2025-11-01T16:00:30Z", &zone));
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_upstreams_words() {
        for (text, expected) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
            ("@often", "unrecognized descriptor: @often"),
            ("@Hourly", "unrecognized descriptor: @Hourly"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", r#"failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax"#),
            ("-5 * * * *", r#"failed to parse int from : strconv.Atoi: parsing "": invalid syntax"#),
            (
                "99999999999999999999 * * * *",
                r#"failed to parse int from 99999999999999999999: strconv.Atoi: parsing "99999999999999999999": value out of range"#,
            ),
            ("TZ=Nowhere * * * * *", "provided bad location Nowhere: unknown time zone Nowhere"),
            (
                "TZ=america/new_york * * * * *",
                "provided bad location america/new_york: unknown time zone america/new_york",
            ),
            ("TZ=0", "invalid schedule format: runtime error: slice bounds out of range [3:-1]"),
            ("@every soon", r#"failed to parse duration @every soon: time: invalid duration "soon""#),
            ("@every 5", r#"failed to parse duration @every 5: time: missing unit in duration "5""#),
            ("@every 5d", r#"failed to parse duration @every 5d: time: unknown unit "d" in duration "5d""#),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn intervals_are_whole_seconds_and_at_least_one() {
        for (text, seconds) in
            [("1h30m", 5400), ("1.5h", 5400), ("90s", 90), ("1500ms", 1), ("1ns", 1), ("-5m", 1), ("0", 1)]
        {
            let schedule = Schedule::parse(&format!("@every {text}")).unwrap();
            assert_eq!(
                schedule.next("1970-01-01T00:00:00.7Z".parse().unwrap(), &TimeZone::UTC),
                Some(Timestamp::from_second(seconds).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn a_day_without_midnight_begins_at_one() {
        let zone = time_zone("America/Sao_Paulo").unwrap();
        let schedule = Schedule::parse("0 1 * * *").unwrap();
        assert_eq!(
            schedule.next("2018-11-03T12:00:00Z".parse().unwrap(), &zone),
            Some("2018-11-04T03:00:00Z".parse().unwrap())
        );
    }
}
