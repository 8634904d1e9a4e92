//! Semantic versions.

use std::{cmp::Ordering, fmt, sync::Arc};

use super::{Native, Opaque, format::go_quoted, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::Value,
};

/// A version: `1.2.3-pre.1+build`.
#[derive(Debug)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<Part>,
    build: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "semver" => |args| read(args).map(|it| Value::Opaque(Opaque::Semver(Arc::new(it)))),
        "isSemver" => |args| match args {
            [Value::String(_)] | [Value::String(_), Value::Bool(_)] => Ok(Value::Bool(read(args).is_ok())),
            _ => unsuited("isSemver"),
        },
        "major" => |args| number(args, 0),
        "minor" => |args| number(args, 1),
        "patch" => |args| number(args, 2),
        _ => return None,
    })
}

pub(crate) fn parse<'v>(text: &str) -> Outcome<'v> {
    version(text).map(|it| Value::Opaque(Opaque::Semver(Arc::new(it)))).map_err(EvalError::new)
}

fn read(args: &[Value<'_>]) -> Result<Version, EvalError> {
    match args {
        [Value::String(text)] | [Value::String(text), Value::Bool(false)] => {
            version(text).map_err(EvalError::new)
        }
        [Value::String(text), Value::Bool(true)] => normalized(text).map_err(EvalError::new),
        _ => Err(EvalError::new("no such overload: semver")),
    }
}

fn number<'v>(args: &[Value<'v>], index: usize) -> Outcome<'v> {
    match args {
        [Value::Opaque(Opaque::Semver(version))] => {
            let number = version.numbers.get(index).copied().unwrap_or_default();
            Ok(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn normalized(text: &str) -> Result<Version, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() <= 1 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            if trimmed.starts_with(|it: char| it.is_ascii_digit()) {
                trimmed.to_owned()
            } else {
                format!("0{trimmed}")
            }
        })
        .collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|it| it.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
    }
    version(&parts.join("."))
}

fn version(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts.as_slice() else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let (rest, build) = rest.split_once('+').map_or((*rest, None), |(rest, build)| (rest, Some(build)));
    let (patch, pre) = rest.split_once('-').map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
    let numbers = [numeric("Major", major)?, numeric("Minor", minor)?, numeric("Patch", patch)?];
    let mut pre_parts = Vec::new();
    for part in pre.into_iter().flat_map(|it| it.split('.')) {
        if part.is_empty() {
            return Err("Prerelease is empty".to_owned());
        }
        if part.bytes().all(|it| it.is_ascii_digit()) {
            if part.len() > 1 && part.starts_with('0') {
                return Err(format!(
                    "Numeric PreRelease version must not contain leading zeroes {}",
                    go_quoted(part)
                ));
            }
            pre_parts.push(Part::Number(part.parse().map_err(|_error| out_of_range(part))?));
        } else if is_plain(part) {
            pre_parts.push(Part::Text(part.to_owned()));
        } else {
            return Err(format!("Invalid character(s) found in prerelease {}", go_quoted(part)));
        }
    }
    let mut build_parts = Vec::new();
    for part in build.into_iter().flat_map(|it| it.split('.')) {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !is_plain(part) {
            return Err(format!("Invalid character(s) found in build meta data {}", go_quoted(part)));
        }
        build_parts.push(part.to_owned());
    }
    Ok(Version { numbers, pre: pre_parts, build: build_parts })
}

fn is_plain(part: &str) -> bool {
    part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
}

fn out_of_range(part: &str) -> String {
    format!("strconv.ParseUint: parsing {}: value out of range", go_quoted(part))
}

fn numeric(what: &str, text: &str) -> Result<u64, String> {
    if !text.bytes().all(|it| it.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {} number {}",
            what.to_lowercase(),
            go_quoted(text)
        ));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{what} number must not contain leading zeroes {}", go_quoted(text)));
    }
    if text.is_empty() {
        return Err("strconv.ParseUint: parsing \"\": invalid syntax".to_owned());
    }
    text.parse().map_err(|_error| out_of_range(text))
}

impl Version {
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.pre.cmp(&other.pre),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        for (index, part) in self.pre.iter().enumerate() {
            f.write_str(if index == 0 { "-" } else { "." })?;
            match part {
                Part::Number(number) => write!(f, "{number}")?,
                Part::Text(text) => f.write_str(text)?,
            }
        }
        for (index, part) in self.build.iter().enumerate() {
            write!(f, "{}{part}", if index == 0 { "+" } else { "." })?;
        }
        Ok(())
    }
}
