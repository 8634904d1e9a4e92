//! What objects use of what a ResourceQuota limits: the rules that admission grants by and the controller counts by.
//!
//! A kind that uses more than its number has a module here: what the rules look at in an object, read from its JSON or
//! filled in from a component's projection; which names of a quota it is measured by; what it uses of them; in which
//! scopes it is. Everything else only counts ([`count_names`]).
//!
//! Invariant: values only. Nothing here knows who asks, or what there is besides the object.

pub mod claims;
pub mod devices;
pub mod pods;
pub mod scopes;
pub mod services;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::{
    kind::GroupResource,
    quantity::{Format, Quantity},
};

/// Amounts by the name of a resource.
pub type Amounts = BTreeMap<Box<str>, Quantity>;

/// What has no objects that are kept, or was never limited: quotas pass it over.
const IGNORED: &[(&str, &str)] = &[
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// What is only counted and has a plain name for that, from before there were names for all.
const PLAIN: &[&str] = &["configmaps", "resourcequotas", "replicationcontrollers", "secrets"];

/// Whether quotas pass a resource over.
pub fn is_ignored(resource: &GroupResource) -> bool {
    IGNORED.contains(&(resource.group.as_str(), resource.resource.as_str()))
}

/// The names a quota can have for the number of objects of a resource that is only counted.
pub fn count_names(group: &str, plural: &str) -> Vec<Box<str>> {
    let dot = if group.is_empty() { "" } else { "." };
    let mut names = vec![format!("count/{plural}{dot}{group}").into()];
    if group.is_empty() && PLAIN.contains(&plural) {
        names.push(plural.into());
    }
    names
}

/// The resource, as group and plural, whose number a name limits.
pub fn counted(name: &str) -> Option<(&str, &str)> {
    match name.strip_prefix("count/") {
        Some(kind) => kind.split_once('.').map(|(plural, group)| (group, plural)).or(Some(("", kind))),
        None => PLAIN.contains(&name).then_some(("", name)),
    }
}

/// So many of something.
pub fn number(count: impl TryInto<i64>) -> Quantity {
    Quantity::new(count.try_into().unwrap_or(i64::MAX), Format::DecimalSi)
}

/// Adds amounts.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += amount;
    }
}

/// By how much amounts have grown; what has not is left out.
pub fn growth(now: &Amounts, before: &Amounts) -> Amounts {
    let mut grown = now.clone();
    for (name, amount) in &mut grown {
        if let Some(before) = before.get(name) {
            *amount -= before;
        }
    }
    grown.retain(|_, amount| amount.sign() > 0);
    grown
}

/// Reads null as nothing.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_counted_by_its_name_and_some_by_a_plain_one() {
        for (group, plural, names) in [
            ("", "secrets", vec!["count/secrets", "secrets"]),
            ("", "endpoints", vec!["count/endpoints"]),
            ("apps", "deployments", vec!["count/deployments.apps"]),
            ("x.example.com", "secrets", vec!["count/secrets.x.example.com"]),
        ] {
            let of: Vec<String> = count_names(group, plural).iter().map(ToString::to_string).collect();
            assert_eq!(of, names);
            for name in &of {
                assert_eq!(counted(name), Some((group, plural)), "{name}");
            }
        }
        assert_eq!(counted("pods"), None);
        assert_eq!(counted("requests.cpu"), None);
    }

    #[test]
    fn events_and_reviews_are_passed_over() {
        for (group, plural, ignored) in [
            ("", "events", true),
            ("events.k8s.io", "events", true),
            ("authorization.k8s.io", "localsubjectaccessreviews", true),
            ("", "pods", false),
            ("example.com", "events", false),
        ] {
            assert_eq!(is_ignored(&GroupResource::new(group, plural)), ignored, "{plural}.{group}");
        }
    }

    #[test]
    fn only_growth_counts() {
        let amounts = |texts: &[(&str, &str)]| -> Amounts {
            texts.iter().map(|(name, text)| ((*name).into(), text.parse().unwrap())).collect()
        };
        let grown = growth(
            &amounts(&[("a", "3"), ("b", "1"), ("c", "500m"), ("d", "0")]),
            &amounts(&[("a", "1"), ("b", "2"), ("e", "1")]),
        );
        assert_eq!(grown, amounts(&[("a", "2"), ("c", "500m")]));
    }
}
