//! What Pods do on hollow nodes: data that a user can give in a YAML file.
//!
//! ```yaml
//! # The first stage that matches a Pod is its script.
//! - match: {labels: {app: flaky}}
//!   start: 2s          # from bound to Running
//!   ready: 1s          # from Running to Ready
//!   complete: 10s      # from Ready to the end of its containers; never, if left out
//!   exitCode: 1        # what they end with
//! - match: {owner: Job}
//!   complete: 1s
//! ```

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context as _;
use serde::{Deserialize, Deserializer};

/// Scripts, the first that matches a Pod counts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Stages(Vec<Stage>);

/// What a Pod does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Stage {
    /// Which Pods.
    #[serde(rename = "match")]
    pub matches: Match,
    /// From bound to Running.
    #[serde(deserialize_with = "duration")]
    pub start: Option<Duration>,
    /// From Running to Ready.
    #[serde(deserialize_with = "duration")]
    pub ready: Option<Duration>,
    /// From Ready to the end of the containers; never, if there is none.
    #[serde(deserialize_with = "duration")]
    pub complete: Option<Duration>,
    /// What the containers end with.
    pub exit_code: i32,
    /// From the wish to delete to the end; at most the grace period.
    #[serde(deserialize_with = "duration")]
    pub stop: Option<Duration>,
}

/// Which Pods a stage is for; what is left out matches all.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Match {
    /// The kind of the controlling owner.
    pub owner: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The Pod's restart policy.
    pub restart_policy: Option<String>,
    /// Labels the Pod must have.
    pub labels: BTreeMap<String, String>,
}

/// What a stage is matched against.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The kind of the controlling owner, if there is one.
    pub owner: Option<&'a str>,
    /// The namespace.
    pub namespace: &'a str,
    /// The restart policy.
    pub restart_policy: &'a str,
    /// A label's value.
    pub label: &'a dyn Fn(&str) -> Option<String>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    parse_duration(&text)
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(format!("{text} is no duration like 500ms, 2s or 1m")))
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim() {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

// === impl Stages ===

impl Default for Stages {
    /// Servers run for ever; what is meant to end does so after a second or two.
    fn default() -> Self {
        let ending = |restart_policy: &str| Stage {
            matches: Match { restart_policy: Some(restart_policy.to_owned()), ..Match::default() },
            complete: Some(Duration::from_secs(2)),
            ..Stage::default()
        };
        Self(vec![ending("Never"), ending("OnFailure"), Stage::default()])
    }
}

impl Stages {
    /// Reads a file of stages; Pods that none of them matches do what they do by default.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut stages: Self = serde_yaml::from_str(&text)
            .with_context(|| format!("{} is no list of stages", path.display()))?;
        stages.0.extend(Self::default().0);
        Ok(stages)
    }

    /// Stages of one's own; Pods that none of them matches do what they do by default.
    #[must_use]
    pub fn of_own(mut own: Vec<Stage>) -> Self {
        own.extend(Self::default().0);
        Self(own)
    }

    /// What a Pod does.
    pub fn of(&self, subject: &Subject<'_>) -> Stage {
        self.0.iter().find(|stage| stage.matches.covers(subject)).cloned().unwrap_or_default()
    }
}

// === impl Stage ===

impl Stage {
    /// From bound to Running.
    pub fn start(&self) -> Duration {
        self.start.unwrap_or(Duration::from_millis(200))
    }

    /// From Running to Ready.
    pub fn ready(&self) -> Duration {
        self.ready.unwrap_or(Duration::from_millis(200))
    }

    /// From the wish to delete to the end.
    pub fn stop(&self) -> Duration {
        self.stop.unwrap_or(Duration::from_millis(300))
    }
}

// === impl Match ===

impl Match {
    fn covers(&self, subject: &Subject<'_>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        same(&self.owner, subject.owner)
            && same(&self.namespace, Some(subject.namespace))
            && same(&self.restart_policy, Some(subject.restart_policy))
            && self.labels.iter().all(|(key, value)| (subject.label)(key).as_ref() == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(owner: Option<&'a str>, restart_policy: &'a str) -> Subject<'a> {
        Subject {
            owner,
            namespace: "default",
            restart_policy,
            label: &|key| (key == "app").then(|| "a".to_owned()),
        }
    }

    #[test]
    fn the_first_stage_that_matches_is_the_script() {
        let stages: Stages = serde_yaml::from_str(
            "- match: {owner: Job}\n  complete: 500ms\n  exitCode: 3\n- match: {labels: {app: a}}\n  start: 1m\n",
        )
        .unwrap();
        assert_eq!(stages.of(&subject(Some("Job"), "Never")).exit_code, 3);
        assert_eq!(stages.of(&subject(Some("Job"), "Never")).complete, Some(Duration::from_millis(500)));
        assert_eq!(stages.of(&subject(None, "Always")).start(), Duration::from_secs(60));
    }

    #[test]
    fn by_default_servers_run_and_tasks_end() {
        let stages = Stages::default();
        assert_eq!(stages.of(&subject(Some("ReplicaSet"), "Always")).complete, None);
        assert!(stages.of(&subject(Some("Job"), "Never")).complete.is_some());
    }

    #[test]
    fn a_typing_error_is_told() {
        assert!(serde_yaml::from_str::<Stages>("- strat: 1s\n").is_err());
        assert!(serde_yaml::from_str::<Stages>("- start: soon\n").is_err());
    }
}
