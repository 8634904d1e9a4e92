//! Which kinds a policy names: the first few, for who names many says little about each.
//!
//! Invariant: what is served comes as a value.

use std::collections::BTreeSet;

use api_types::kind::GroupVersionKind;
use client::api::discovery::Discovery;

use crate::kinds::validating_admission_policy::ResourceRule;

/// Once a rule has come to so many kinds, no more are looked for.
const KINDS_MAX: usize = 10;

/// Whether anything is named.
pub(super) fn any(rules: &[ResourceRule]) -> bool {
    rules.iter().any(|rule| Named::of(rule).is_some())
}

/// The kinds of what the rules name, as far as it is served, in order of group, version and kind.
pub(super) fn kinds(rules: &[ResourceRule], discovery: &Discovery) -> Vec<GroupVersionKind> {
    let mut kinds = BTreeSet::new();
    for named in rules.iter().filter_map(Named::of) {
        let mut count = 0;
        for kind in named.kinds(discovery) {
            kinds.insert(kind);
            count += 1;
            if count == KINDS_MAX {
                return kinds.into_iter().collect();
            }
        }
    }
    kinds.into_iter().collect()
}

/// What a rule names, each sorted and not empty.
struct Named<'r> {
    groups: Vec<&'r str>,
    versions: Vec<&'r str>,
    resources: Vec<&'r str>,
}

// === impl Named ===

impl<'r> Named<'r> {
    /// A rule about any group or version names nothing; among its resources, `*` and subresources are passed over.
    fn of(rule: &'r ResourceRule) -> Option<Self> {
        let resources = rule.resources.iter().map(AsRef::as_ref).filter(|it: &&str| !it.contains(['*', '/']));
        Some(Self {
            groups: plain(&rule.api_groups)?,
            versions: plain(&rule.api_versions)?,
            resources: sorted(resources)?,
        })
    }

    fn kinds(&self, discovery: &Discovery) -> impl Iterator<Item = GroupVersionKind> {
        let named = self.groups.iter().flat_map(|group| {
            let versions = self.versions.iter();
            versions.flat_map(|version| self.resources.iter().map(|resource| (*group, *version, *resource)))
        });
        named.flat_map(|(group, version, resource)| {
            let served = discovery.resources.iter().map(|found| &found.resource);
            served
                .filter(move |it| {
                    // Whoever looks resources up for upstream takes an empty group, which is core's name, for any group.
                    (group.is_empty() || it.group == group)
                        && it.version == version
                        && it.plural.eq_ignore_ascii_case(resource)
                })
                .map(client::Resource::group_version_kind)
                .collect::<Vec<_>>()
        })
    }
}

fn plain(names: &[Box<str>]) -> Option<Vec<&str>> {
    if names.iter().any(|it| it.contains('*')) {
        return None;
    }
    sorted(names.iter().map(AsRef::as_ref))
}

fn sorted<'r>(names: impl Iterator<Item = &'r str>) -> Option<Vec<&'r str>> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use client::{Resource, api::discovery::Discovered, resource};

    use super::*;

    fn rule(groups: &[&str], versions: &[&str], resources: &[&str]) -> ResourceRule {
        let boxed = |names: &[&str]| names.iter().map(|it| Box::from(*it)).collect();
        ResourceRule { api_groups: boxed(groups), api_versions: boxed(versions), resources: boxed(resources) }
    }

    fn check(rules: &[ResourceRule], expected: &[&str]) {
        let served = resource::all().into_iter().chain((0..20).map(|number| {
            Resource::discovered(
                "example.com",
                "v1",
                &format!("k{number:02}s"),
                &format!("K{number:02}"),
                true,
            )
        }));
        let discovery = Discovery {
            resources: served
                .map(|resource| Discovered { resource, verbs: BTreeSet::new(), preferred: true })
                .collect(),
            ..Discovery::default()
        };
        let found: Vec<String> = kinds(rules, &discovery).iter().map(GroupVersionKind::to_string).collect();
        assert_eq!(found, expected, "{rules:?}");
    }

    #[test]
    fn kinds_are_those_of_resources_that_are_named_and_served() {
        check(&[], &[]);
        check(&[rule(&["apps"], &["v1"], &["deployments"])], &["apps/v1, Kind=Deployment"]);
        check(&[rule(&["apps"], &["v2"], &["deployments"])], &[]);
        check(&[rule(&["apps"], &["v1"], &["nothings"])], &[]);
        check(
            &[rule(&["batch", "apps"], &["v1"], &["replicasets", "jobs", "deployments"])],
            &["apps/v1, Kind=Deployment", "apps/v1, Kind=ReplicaSet", "batch/v1, Kind=Job"],
        );
        check(
            &[rule(&["batch"], &["v1"], &["jobs"]), rule(&["apps"], &["v1"], &["deployments"])],
            &["apps/v1, Kind=Deployment", "batch/v1, Kind=Job"],
        );
    }

    #[test]
    fn a_rule_about_anything_names_nothing() {
        for rule in [
            rule(&["*"], &["v1"], &["deployments"]),
            rule(&["apps", "*"], &["v1"], &["deployments"]),
            rule(&["apps"], &["*"], &["deployments"]),
            rule(&["apps"], &["v1"], &["*"]),
            rule(&["apps"], &["v1"], &["*/*", "deployments/status"]),
            rule(&[], &["v1"], &["deployments"]),
        ] {
            assert!(!any(std::slice::from_ref(&rule)), "{rule:?}");
            check(&[rule], &[]);
        }
        check(
            &[rule(&["apps"], &["v1"], &["*/*", "deployments", "deployments/scale"])],
            &["apps/v1, Kind=Deployment"],
        );
    }

    #[test]
    fn the_empty_group_is_any() {
        check(
            &[rule(&[""], &["v1"], &["pods", "deployments"])],
            &["/v1, Kind=Pod", "apps/v1, Kind=Deployment"],
        );
        check(&[rule(&[""], &["v1"], &["events"])], &["/v1, Kind=Event", "events.k8s.io/v1, Kind=Event"]);
    }

    #[test]
    fn ten_kinds_of_a_rule_are_enough_for_a_policy() {
        let all: Vec<String> = (0..20).map(|number| format!("k{number:02}s")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let many = rule(&["example.com"], &["v1"], &all);
        let few = rule(&["apps"], &["v1"], &["deployments"]);
        let mut ten: Vec<String> =
            (0..10).map(|number| format!("example.com/v1, Kind=K{number:02}")).collect();
        check(&[many.clone(), few.clone()], &ten.iter().map(String::as_str).collect::<Vec<_>>());
        ten.insert(0, "apps/v1, Kind=Deployment".to_owned());
        check(&[few, many], &ten.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
