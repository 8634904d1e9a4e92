//! Conditions in a status: one a type, and `lastTransitionTime` tells when the status of one last changed.
//!
//! Invariant: values only; the time is an argument.

use std::borrow::Cow;

use client::meta::time;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// A condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Which one.
    pub r#type: Cow<'static, str>,
    /// `True`, `False` or `Unknown`.
    pub status: Cow<'static, str>,
    /// Why, in one word.
    pub reason: Cow<'static, str>,
    /// Why, for people.
    pub message: String,
    /// Since when it has this status.
    pub last_transition_time: Option<Timestamp>,
    /// When something about it changed last, where the kind tells.
    pub last_update_time: Option<Timestamp>,
    /// When it was looked at last, where the kind tells.
    pub last_probe_time: Option<Timestamp>,
    /// The generation it tells about, where the kind tells.
    pub observed_generation: i64,
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], which: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.r#type == which)
}

/// Whether the condition of a type is there and `True`.
pub fn is_true(conditions: &[Condition], which: &str) -> bool {
    find(conditions, which).is_some_and(|condition| condition.status == "True")
}

/// Sets a condition, unless it stands there with the same status and reason: then it stays as it is, place, message and
/// times and all. Else it goes to the end; the transition time stays if the status does.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = find(conditions, &new.r#type) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    remove(conditions, &new.r#type);
    conditions.push(new);
}

/// Removes a condition.
pub fn remove(conditions: &mut Vec<Condition>, which: &str) {
    conditions.retain(|condition| condition.r#type != which);
}

/// Conditions for a merge patch: null, which removes the field, if there are none.
pub fn to_value(conditions: &[Condition]) -> Value {
    if conditions.is_empty() { Value::Null } else { conditions.iter().map(Condition::to_value).collect() }
}

/// A count for a merge patch: null, which removes the field, if it is 0, as the API leaves such fields out.
pub fn count(count: i32) -> Value {
    if count == 0 { Value::Null } else { count.into() }
}

// === impl Condition ===

impl Condition {
    /// A condition since now.
    pub fn new(
        which: &'static str,
        status: &'static str,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            r#type: Cow::Borrowed(which),
            status: Cow::Borrowed(status),
            reason: reason.into(),
            message: message.into(),
            last_transition_time: Some(now),
            ..Self::default()
        }
    }

    fn to_value(&self) -> Value {
        let mut value = json!({"type": self.r#type, "status": self.status});
        if let Value::Object(fields) = &mut value {
            let texts = [("reason", &*self.reason), ("message", self.message.as_str())];
            for (name, text) in texts {
                if !text.is_empty() {
                    fields.insert(name.to_owned(), text.into());
                }
            }
            let times = [
                ("lastTransitionTime", self.last_transition_time),
                ("lastUpdateTime", self.last_update_time),
                ("lastProbeTime", self.last_probe_time),
            ];
            for (name, at) in times {
                if let Some(at) = at {
                    fields.insert(name.to_owned(), time(at).into());
                }
            }
            if self.observed_generation != 0 {
                fields.insert("observedGeneration".to_owned(), self.observed_generation.into());
            }
        }
        value
    }
}
