//! Times and spans of time: how they are read, written and taken apart.

use super::{Native, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::{Duration, Timestamp, Value},
};

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "getFullYear" => |args| part("getFullYear", args, |it| it.year),
        "getMonth" => |args| part("getMonth", args, |it| it.month - 1),
        "getDayOfYear" => |args| part("getDayOfYear", args, |it| it.day_of_year),
        "getDayOfMonth" => |args| part("getDayOfMonth", args, |it| it.day - 1),
        "getDate" => |args| part("getDate", args, |it| it.day),
        "getDayOfWeek" => |args| part("getDayOfWeek", args, |it| it.day_of_week),
        "getHours" => |args| part("getHours", args, |it| it.second_of_day / 3600),
        "getMinutes" => |args| part("getMinutes", args, |it| it.second_of_day / 60 % 60),
        "getSeconds" => |args| part("getSeconds", args, |it| it.second_of_day % 60),
        "getMilliseconds" => |args| part("getMilliseconds", args, |it| it.nanos / 1_000_000),
        _ => return None,
    })
}

/// A point in time as a calendar and a clock show it.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    day_of_year: i64,
    day_of_week: i64,
    second_of_day: i64,
    nanos: i64,
}

fn civil(time: Timestamp, offset: i64) -> Civil {
    let seconds = time.seconds + offset;
    let days = seconds.div_euclid(86_400);
    let (year, month, day) = date(days);
    Civil {
        year,
        month,
        day,
        day_of_year: days - days_to(year, 1, 1),
        day_of_week: (days + 4).rem_euclid(7),
        second_of_day: seconds.rem_euclid(86_400),
        nanos: i64::from(time.nanos),
    }
}

/// Year, month and day of a day counted from 1970, by the usual arithmetic over eras of 400 years.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn part<'v>(name: &str, args: &[Value<'v>], of: fn(&Civil) -> i64) -> Outcome<'v> {
    match args {
        [Value::Timestamp(time)] => Ok(Value::Int(of(&civil(*time, 0)))),
        [Value::Timestamp(time), Value::String(zone)] => {
            Ok(Value::Int(of(&civil(*time, offset(*time, zone)?))))
        }
        [Value::Duration(Duration(nanos))] => Ok(Value::Int(match name {
            "getHours" => nanos / 3_600_000_000_000,
            "getMinutes" => nanos / 60_000_000_000,
            "getSeconds" => nanos / 1_000_000_000,
            "getMilliseconds" => nanos / 1_000_000,
            _ => return unsuited(name),
        })),
        _ => unsuited(name),
    }
}

/// Seconds east of UTC: by the name of a zone, or as `+02:00`.
fn offset(time: Timestamp, zone: &str) -> Result<i64, EvalError> {
    if let Some((hours, minutes)) = zone.split_once(':') {
        let number = |text: &str| {
            text.parse::<i64>()
                .map_err(|_error| EvalError::new(format!("strconv.Atoi: parsing {text:?}: invalid syntax")))
        };
        let (hours_number, minutes) = (number(hours)?, number(minutes)?);
        let minutes = hours_number.saturating_mul(60).saturating_add(if hours.starts_with('-') {
            -minutes
        } else {
            minutes
        });
        if minutes.abs() > 24 * 60 {
            return Err(EvalError::new(format!("unknown time zone {zone}")));
        }
        return Ok(minutes * 60);
    }
    if zone.is_empty() || zone == "UTC" {
        return Ok(0);
    }
    let known = jiff::tz::TimeZone::get(zone)
        .map_err(|_error| EvalError::new(format!("unknown time zone {zone}")))?;
    let at =
        jiff::Timestamp::from_second(time.seconds).map_err(|_error| EvalError::new("timestamp overflow"))?;
    Ok(i64::from(known.to_offset(at).seconds()))
}

/// Why a text is no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadTime {
    Form,
    Range,
}

/// RFC 3339.
pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, BadTime> {
    let (seconds, nanos, offset) = rfc3339(text).ok_or(BadTime::Form)?;
    Timestamp::new(seconds, nanos, offset).ok_or(BadTime::Range)
}

/// The format `date-time` of OpenAPI, which is a little more lenient.
pub(crate) fn parse_date_time(text: &str) -> Option<Timestamp> {
    parse_timestamp(&text.to_ascii_uppercase().replacen(' ', "T", 1)).ok()
}

/// The format `date` of OpenAPI.
pub(crate) fn parse_date(text: &str) -> Option<Timestamp> {
    let days = full_date(text)?;
    Timestamp::new(days * 86_400, 0, 0)
}

fn full_date(text: &str) -> Option<i64> {
    let (year, rest) = (text.get(..4)?, text.get(4..)?);
    let (month, day) = rest.strip_prefix('-')?.split_once('-')?;
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=length).contains(&day).then(|| days_to(year, month, day))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    (text.len() == count && text.bytes().all(|it| it.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn rfc3339(text: &str) -> Option<(i64, u32, i32)> {
    let (day, rest) = text.split_once('T')?;
    let days = full_date(day)?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let (clock, fraction) = match clock.split_once(['.', ',']) {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    let (hour, minute, second) =
        (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let nanos = match fraction {
        None => 0,
        Some(fraction) if !fraction.is_empty() && fraction.bytes().all(|it| it.is_ascii_digit()) => {
            let padded: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
            padded.parse().ok()?
        }
        Some(_) => return None,
    };
    let offset = match zone {
        "Z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            if hours > 24 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * 60 * if zone.starts_with('-') { -1 } else { 1 }
        }
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some((seconds, nanos, i32::try_from(offset).ok()?))
}

/// RFC 3339 with as many digits of the second as it has.
pub(crate) fn show(time: Timestamp) -> String {
    let at = civil(time, i64::from(time.offset));
    let (hour, minute, second) = (at.second_of_day / 3600, at.second_of_day / 60 % 60, at.second_of_day % 60);
    let fraction = match time.nanos {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    let zone = match time.offset {
        0 => "Z".to_owned(),
        offset => {
            let sign = if offset < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", offset.abs() / 3600, offset.abs() / 60 % 60)
        }
    };
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}", at.year, at.month, at.day)
}

/// Seconds, with an `s`.
#[expect(clippy::cast_precision_loss, reason = "upstream goes through a float as well")]
pub(crate) fn show_duration(duration: Duration) -> String {
    let (seconds, rest) = (duration.0 / 1_000_000_000, duration.0 % 1_000_000_000);
    format!("{}s", seconds as f64 + rest as f64 / 1e9)
}

/// As Go reads durations: `1h30m`, `-1.5s`, `0`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, ()> {
    let (negative, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(Duration(0));
    }
    if rest.is_empty() {
        return Err(());
    }
    let mut total: i128 = 0;
    let mut rest = rest;
    while !rest.is_empty() {
        let number_end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').ok_or(())?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 20 || fraction.contains('.') {
            return Err(());
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_error| ())? };
        let kept: String = fraction.chars().take(18).collect();
        let scale = 10_i128.pow(u32::try_from(kept.len()).unwrap_or_default());
        let fraction: i128 = if kept.is_empty() { 0 } else { kept.parse().map_err(|_error| ())? };
        total += whole * unit + fraction * unit / scale;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map(Duration).map_err(|_error| ())
}

/// The format `duration` of OpenAPI: as Go reads them, or as `3 days 2 h`.
pub(crate) fn parse_loose_duration(text: &str) -> Option<Duration> {
    if let Ok(duration) = parse_duration(text) {
        return Some(duration);
    }
    let mut total: i64 = 0;
    let mut found = false;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit())?;
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|it: char| !it.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit.to_lowercase().as_str() {
            "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
            "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
            "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
            "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
            "d" | "day" | "days" => 86_400_000_000_000,
            "w" | "wk" | "wks" | "week" | "weeks" => 604_800_000_000_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        found = true;
        rest = after.trim_start();
    }
    found.then_some(Duration(total))
}
