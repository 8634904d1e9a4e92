//! What the labels of a namespace demand of its Pods.

use std::fmt;

use api_types::field::{Fault, Faults, Path};

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much a Pod may do, the freest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// Of which release the standards are: they grow stricter with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Latest,
    /// `v1.` and this.
    Minor(u32),
}

/// A level as of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

/// What a namespace demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Pods that violate this are refused.
    pub(super) enforce: Standard,
    /// Writers of what violates this are warned.
    pub(super) warn: Standard,
    pub(super) audit: Standard,
}

impl Policy {
    /// Whether nothing is demanded at all.
    pub(super) fn is_privileged(&self) -> bool {
        [self.enforce, self.warn, self.audit].iter().all(|it| it.level == Level::Privileged)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Version::Latest => f.write_str(":latest"),
            Version::Minor(minor) => write!(f, ":v1.{minor}"),
        }
    }
}

/// The policy that labels of a namespace say, and what is wrong with them: then `enforce` is the strictest, the others
/// nothing.
pub(super) fn policy<'a>(label: impl Fn(&str) -> Option<&'a str>) -> (Policy, Faults) {
    let mut faults = Vec::new();
    let (mut warns, mut enforces) = ((false, false), false);
    let mut read = |mode: &str, when_wrong: Level| {
        let mut standard = Standard { level: Level::Privileged, version: Version::Latest };
        let (key, version_key) = (format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version"));
        let (text, version) = (label(&key), label(&version_key));
        if let Some(text) = text {
            standard.level = self::level(text).unwrap_or_else(|| {
                let why = "must be one of privileged, baseline, restricted";
                faults.push(Fault::invalid(&Path::new("metadata.labels").key(&key), text, why));
                when_wrong
            });
        }
        if let Some(text) = version {
            standard.version = self::version(text).unwrap_or_else(|| {
                let why = "must be \"latest\" or \"v1.x\"";
                faults.push(Fault::invalid(&Path::new("metadata.labels").key(&version_key), text, why));
                Version::Latest
            });
        }
        match mode {
            "warn" => warns = (text.is_some(), version.is_some()),
            "enforce" => enforces = text.is_some_and(|text| self::level(text).is_some()),
            _ => {}
        }
        standard
    };
    let enforce = read("enforce", Level::Restricted);
    let audit = read("audit", Level::Privileged);
    let mut warn = read("warn", Level::Privileged);
    // Who enforces more than they warn of warns of all of it.
    if !warns.0 && enforces && enforce.level > warn.level {
        warn.level = enforce.level;
        if !warns.1 {
            warn.version = enforce.version;
        }
    }
    (Policy { enforce, warn, audit }, faults)
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let minor = text.strip_prefix("v1.")?;
    let is_number =
        minor == "0" || !minor.starts_with('0') && minor.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { minor.parse().ok().map(Version::Minor) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&str, &str)]) -> (String, String, Vec<String>) {
        let (policy, faults) = policy(|asked| {
            labels.iter().find(|(key, _)| format!("{PREFIX}{key}") == asked).map(|(_, value)| *value)
        });
        let faults = faults.iter().map(ToString::to_string).collect();
        (policy.enforce.to_string(), policy.warn.to_string(), faults)
    }

    #[test]
    fn what_is_enforced_is_warned_of_unless_said() {
        let good = |enforce: &str, warn: &str| (enforce.to_owned(), warn.to_owned(), Vec::new());
        assert_eq!(of(&[]), good("privileged:latest", "privileged:latest"));
        assert_eq!(
            of(&[("enforce", "baseline"), ("enforce-version", "v1.20")]),
            good("baseline:v1.20", "baseline:v1.20")
        );
        assert_eq!(
            of(&[("enforce", "baseline"), ("warn", "privileged")]),
            good("baseline:latest", "privileged:latest")
        );
        assert_eq!(
            of(&[("enforce", "restricted"), ("warn-version", "v1.9")]),
            good("restricted:latest", "restricted:v1.9")
        );
    }

    #[test]
    fn labels_name_levels_and_releases() {
        let (enforce, warn, faults) = of(&[("enforce", "odd"), ("warn-version", "v1.09"), ("audit", "x")]);
        assert_eq!((enforce.as_str(), warn.as_str()), ("restricted:latest", "privileged:latest"));
        assert_eq!(
            faults,
            [
                r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "odd": must be one of privileged, baseline, restricted"#,
                r#"metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "x": must be one of privileged, baseline, restricted"#,
                r#"metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "v1.09": must be "latest" or "v1.x""#,
            ]
        );
    }
}
