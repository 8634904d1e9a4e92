//! What a write comes to under the quotas of its namespace: refused, or so much more used.
//!
//! Invariant: values only; whoever calls reads the quotas before and writes them afterwards.

use std::collections::BTreeSet;

use api_types::{
    kind::GroupResource,
    object::ObjectExt as _,
    quota::{
        Amounts,
        claims::Claim,
        devices, growth, pods,
        scopes::{self, Requirement, Selector},
        services,
    },
};
use serde::Deserialize;
use serde_json::Value;

use super::configuration::LimitedResource;

/// A quota.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota {
    /// Its name.
    pub(super) name: String,
    /// The scopes an object must be in.
    pub(super) scopes: Vec<Requirement>,
    /// What it allows, as the controller has taken note of it.
    pub(super) hard: Amounts,
    /// What is used.
    pub(super) used: Amounts,
}

/// A write that may make more used.
#[derive(Clone, Debug)]
pub(super) struct Write {
    /// What is written.
    pub(super) resource: GroupResource,
    /// The object as it shall be.
    pub(super) now: Measured,
    /// The object as it was, if it was there.
    pub(super) before: Option<Measured>,
    /// Somebody tells of something that is so already: that is noted, and cannot be refused.
    pub(super) is_report: bool,
}

/// An object as quotas look at it.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// What it is, for scopes and names.
    pub(super) what: What,
    /// What it uses.
    pub(super) usage: Amounts,
}

/// What an object is to quotas.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A Pod.
    Pod(Box<pods::Pod>),
    /// A Service.
    Service,
    /// A PersistentVolumeClaim, with the classes of attributes it has to do with.
    Claim([String; 3]),
    /// A ResourceClaim, and the classes of devices there are.
    Devices(devices::Classes),
    /// Something that is only counted, under these names.
    Counted(Vec<Box<str>>),
}

/// Why a write cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is forbidden.
    Forbidden(String),
    /// It is refused as upstream refuses what it has no reason for.
    Failure(String),
}

/// What a write makes of the quotas of its namespace: the new `used` of each that changes, by its place among them.
///
/// # Errors
/// The first quota that has something against it.
pub(super) fn check(
    quotas: &[Quota],
    write: &Write,
    limited: &[LimitedResource],
) -> Result<Vec<(usize, Amounts)>, Refusal> {
    let (object, usage) = (&write.now.what, &write.now.usage);
    let mut covered = BTreeSet::new();
    let mut covered_scopes = BTreeSet::new();
    let mut matching = Vec::new();
    for (place, quota) in quotas.iter().enumerate() {
        covered_scopes
            .extend(quota.scopes.iter().filter(|it| object.is_in(it)).map(|it| it.scope_name.as_ref()));
        if !quota.is_about(object) {
            continue;
        }
        let names: Vec<&str> = quota.limited_of(object).collect();
        if let Some(unsaid) = object.unsaid(&names) {
            return Err(Refusal::Forbidden(format!("failed quota: {}: {unsaid}", quota.name)));
        }
        if names.iter().any(|name| !quota.used.contains_key(*name)) {
            return Err(Refusal::Forbidden(format!(
                "status unknown for quota: {}, resources: {}",
                quota.name,
                names.join(",")
            )));
        }
        covered.extend(names);
        matching.push((place, quota));
    }
    let negative: Vec<&str> =
        usage.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_ref()).collect();
    if !negative.is_empty() {
        return Err(Refusal::Forbidden(format!(
            "quota usage is negative for resource(s): {}",
            negative.join(",")
        )));
    }
    let charges: Vec<(usize, &Quota, Amounts)> = matching
        .iter()
        .map(|&(place, quota)| {
            let counted_before = write.before.as_ref().filter(|before| quota.is_about(&before.what));
            (place, quota, write.adds(counted_before))
        })
        .filter(|(_, _, amounts)| !amounts.is_empty())
        .collect();
    if charges.is_empty() && (!matching.is_empty() || write.adds(write.before.as_ref()).is_empty()) {
        return Ok(Vec::new());
    }
    let uncovered: Vec<&str> =
        must_be_covered(write, limited).into_iter().filter(|name| !covered.contains(name)).collect();
    if !uncovered.is_empty() {
        return Err(Refusal::Forbidden(format!("insufficient quota to consume: {}", uncovered.join(","))));
    }
    let scopes = limited.iter().flat_map(|it| &it.match_scopes).filter(|scope| object.is_in(scope));
    let uncovered: Vec<String> = scopes
        .filter(|scope| !covered_scopes.contains(&*scope.scope_name))
        .map(ToString::to_string)
        .collect();
    if !uncovered.is_empty() {
        return Err(Refusal::Failure(format!(
            "insufficient quota to match these scopes: [{}]",
            uncovered.join(" ")
        )));
    }
    let mut changes = Vec::new();
    for (place, quota, mut requested) in charges {
        requested.retain(|name, _| quota.hard.contains_key(name));
        if requested.is_empty() {
            continue;
        }
        let mut used = quota.used.clone();
        api_types::quota::add(&mut used, &requested);
        if !write.is_report {
            quota.bear(&requested, &used)?;
        }
        changes.push((place, used));
    }
    Ok(changes)
}

/// The names of what a write uses that may only be used under a quota.
fn must_be_covered<'a>(write: &'a Write, limited: &[LimitedResource]) -> BTreeSet<&'a str> {
    let limited = limited.iter().filter(|it| it.resource() == write.resource);
    let parts: Vec<&str> = limited.flat_map(|it| &it.match_contains).map(String::as_str).collect();
    let used = write.now.usage.iter().filter(|(_, amount)| amount.sign() > 0);
    used.map(|(name, _)| name.as_ref()).filter(|name| parts.iter().any(|part| name.contains(part))).collect()
}

/// Amounts in a sentence.
fn told<'a>(amounts: &Amounts, names: impl IntoIterator<Item = &'a str>) -> String {
    let amounts = names.into_iter().filter_map(|name| Some(format!("{name}={}", amounts.get(name)?)));
    amounts.collect::<Vec<_>>().join(",")
}

// === impl Quota ===

impl Quota {
    /// Reads a ResourceQuota.
    ///
    /// # Errors
    /// What serde says of an object that is none.
    pub(super) fn read(object: &Value) -> Result<Self, serde_json::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Written {
            spec: Option<Spec>,
            status: Option<Status>,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            scopes: Option<Vec<Box<str>>>,
            scope_selector: Option<Selector>,
        }
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Status {
            hard: Option<Amounts>,
            used: Option<Amounts>,
        }

        let Written { spec, status } = Written::deserialize(object)?;
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        Ok(Self {
            name: object.name().to_owned(),
            scopes: scopes::requirements(
                &spec.scopes.unwrap_or_default(),
                &spec.scope_selector.unwrap_or_default(),
            ),
            hard: status.hard.unwrap_or_default(),
            used: status.used.unwrap_or_default(),
        })
    }

    /// What it limits of what such an object uses, sorted.
    fn limited_of<'a>(&'a self, object: &What) -> impl Iterator<Item = &'a str> {
        self.hard.keys().map(AsRef::as_ref).filter(|name| object.is_measured_by(name))
    }

    /// Whether it limits anything of such an object.
    fn is_about(&self, object: &What) -> bool {
        self.limited_of(object).next().is_some() && self.scopes.iter().all(|scope| object.is_in(scope))
    }

    /// Whether that may be used.
    fn bear(&self, requested: &Amounts, used: &Amounts) -> Result<(), Refusal> {
        let too_much = |name: &&str| match (used.get(*name), self.hard.get(*name)) {
            (Some(used), Some(hard)) => used > hard,
            _ => false,
        };
        let exceeded: Vec<&str> = requested.keys().map(AsRef::as_ref).filter(too_much).collect();
        if exceeded.is_empty() {
            return Ok(());
        }
        Err(Refusal::Forbidden(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            self.name,
            told(requested, exceeded.iter().copied()),
            told(&self.used, exceeded.iter().copied()),
            told(&self.hard, exceeded.iter().copied()),
        )))
    }
}

// === impl Write ===

impl Write {
    /// What it adds to what was counted before.
    fn adds(&self, before: Option<&Measured>) -> Amounts {
        growth(&self.now.usage, before.map(|it| &it.usage).unwrap_or(&Amounts::new()))
    }
}

// === impl What ===

impl What {
    /// A claim.
    pub(super) fn claim(claim: &Claim<'_>) -> Self {
        Self::Claim(claim.attributes_classes.map(str::to_owned))
    }

    fn is_measured_by(&self, name: &str) -> bool {
        match self {
            Self::Pod(_) => pods::measures(name),
            Self::Service => services::measures(name),
            Self::Claim(_) => api_types::quota::claims::measures(name),
            Self::Devices(classes) => devices::measures(name, classes),
            Self::Counted(names) => names.iter().any(|it| **it == *name),
        }
    }

    fn is_in(&self, scope: &Requirement) -> bool {
        match self {
            Self::Pod(pod) => pod.is_in(scope),
            Self::Claim([named, current, target]) => {
                Claim { attributes_classes: [named, current, target], ..Claim::default() }.is_in(scope)
            }
            Self::Service | Self::Devices(_) | Self::Counted(_) => false,
        }
    }

    fn unsaid(&self, limited: &[&str]) -> Option<String> {
        match self {
            Self::Pod(pod) => pod.unsaid(limited.iter().copied()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(name: &str, spec: Value, hard: Value, used: Value) -> Quota {
        Quota::read(
            &json!({"metadata": {"name": name}, "spec": spec, "status": {"hard": hard, "used": used}}),
        )
        .unwrap()
    }

    fn pod(value: Value) -> Measured {
        let pod = pods::Pod::read(&value).unwrap();
        let usage = pod.usage(jiff::Timestamp::UNIX_EPOCH);
        Measured { what: What::Pod(Box::new(pod)), usage }
    }

    fn asking(cpu: &str) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}, "status": {"qosClass": "Burstable"}})
    }

    fn create(now: Measured) -> Write {
        Write { resource: GroupResource::new("", "pods"), now, before: None, is_report: false }
    }

    fn outcome(quotas: &[Quota], write: &Write, limited: &[LimitedResource]) -> String {
        match check(quotas, write, limited) {
            Ok(changes) => {
                let change = |(place, used): &(usize, Amounts)| {
                    let all: Vec<&str> = used.keys().map(AsRef::as_ref).collect();
                    format!("{place}: {}", told(used, all))
                };
                changes.iter().map(change).collect::<Vec<_>>().join("; ")
            }
            Err(Refusal::Forbidden(why)) => why,
            Err(Refusal::Failure(why)) => format!("500 {why}"),
        }
    }

    #[test]
    fn a_new_object_is_charged_to_every_quota_that_is_about_it() {
        let write = create(pod(asking("600m")));
        let none = json!({});
        for (quotas, expected) in [
            (vec![], ""),
            (vec![quota("a", json!({}), none.clone(), none)], ""),
            (vec![quota("a", json!({}), json!({"secrets": "0"}), json!({"secrets": "5"}))], ""),
            (
                vec![
                    quota(
                        "a",
                        json!({}),
                        json!({"pods": "2", "configmaps": "0"}),
                        json!({"pods": "1", "configmaps": "0"}),
                    ),
                    quota("b", json!({"scopes": ["BestEffort"]}), json!({"pods": "0"}), json!({"pods": "0"})),
                    quota("c", json!({}), json!({"requests.cpu": "1"}), json!({"requests.cpu": "400m"})),
                ],
                "0: configmaps=0,pods=2; 2: requests.cpu=1",
            ),
            (
                vec![quota(
                    "a",
                    json!({}),
                    json!({"pods": "1", "requests.cpu": "1"}),
                    json!({"pods": "1", "requests.cpu": "500m"}),
                )],
                "exceeded quota: a, requested: pods=1,requests.cpu=600m, used: pods=1,requests.cpu=500m, limited: pods=1,requests.cpu=1",
            ),
            (
                vec![quota("a", json!({}), json!({"pods": "1", "cpu": "1"}), json!({"cpu": "0"}))],
                "status unknown for quota: a, resources: cpu,pods",
            ),
            (
                vec![quota(
                    "a",
                    json!({}),
                    json!({"limits.memory": "1", "cpu": "9"}),
                    json!({"limits.memory": "0", "cpu": "0"}),
                )],
                "failed quota: a: must specify limits.memory for: c",
            ),
        ] {
            assert_eq!(outcome(&quotas, &write, &[]), expected);
        }
    }

    #[test]
    fn a_changed_object_is_charged_for_its_growth_or_wholly_where_it_comes_anew() {
        let timed = |cpu: &str| {
            let mut value = asking(cpu);
            value["spec"]["activeDeadlineSeconds"] = json!(5);
            value
        };
        let change = |now: Value, before: Value| Write { before: Some(pod(before)), ..create(pod(now)) };
        let any =
            quota("any", json!({}), json!({"cpu": "1", "pods": "1"}), json!({"cpu": "500m", "pods": "1"}));
        let short =
            quota("short", json!({"scopes": ["Terminating"]}), json!({"pods": "1"}), json!({"pods": "0"}));
        let quotas = [any, short];
        for (now, before, expected) in [
            (asking("500m"), asking("500m"), ""),
            (asking("400m"), asking("500m"), ""),
            (asking("1"), asking("500m"), "0: cpu=1,pods=1"),
            (
                asking("1500m"),
                asking("500m"),
                "exceeded quota: any, requested: cpu=1, used: cpu=500m, limited: cpu=1",
            ),
            (timed("500m"), asking("500m"), "1: pods=1"),
        ] {
            assert_eq!(outcome(&quotas, &change(now, before), &[]), expected);
        }
    }

    #[test]
    fn a_report_is_noted_and_not_refused() {
        let claim = |size: &str| {
            let value = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": {"allocatedResources": {"storage": size}}});
            let claim = Claim::read(&value).unwrap();
            Measured { what: What::claim(&claim), usage: claim.usage() }
        };
        let write = Write {
            resource: GroupResource::new("", "persistentvolumeclaims"),
            now: claim("3Gi"),
            before: Some(claim("1Gi")),
            is_report: true,
        };
        let quotas =
            [quota("a", json!({}), json!({"requests.storage": "2Gi"}), json!({"requests.storage": "1Gi"}))];
        assert_eq!(outcome(&quotas, &write, &[]), "0: requests.storage=3Gi");
        let wish = Write { is_report: false, ..write };
        assert_eq!(
            outcome(&quotas, &wish, &[]),
            "exceeded quota: a, requested: requests.storage=2Gi, used: requests.storage=1Gi, limited: requests.storage=2Gi"
        );
    }

    #[test]
    fn what_is_limited_by_configuration_needs_a_quota() {
        let limited = |value: Value| vec![serde_json::from_value::<LimitedResource>(value).unwrap()];
        let by_name = limited(json!({"resource": "pods", "matchContains": ["cpu"]}));
        let by_scope = limited(
            json!({"resource": "pods", "matchScopes": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}),
        );
        let mut high = asking("1");
        high["spec"]["priorityClassName"] = json!("high");
        let covering = quota(
            "a",
            json!({}),
            json!({"cpu": "9", "requests.cpu": "9"}),
            json!({"cpu": "0", "requests.cpu": "0"}),
        );
        let of_high = quota(
            "b",
            json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "Exists"}]}}),
            json!({"pods": "9"}),
            json!({"pods": "0"}),
        );
        for (quotas, object, limited, expected) in [
            (vec![], asking("1"), &by_name, "insufficient quota to consume: cpu,requests.cpu"),
            (vec![], asking("0"), &by_name, ""),
            (vec![covering.clone()], asking("1"), &by_name, "0: cpu=1,requests.cpu=1"),
            (vec![], asking("1"), &by_scope, ""),
            (
                vec![covering],
                high.clone(),
                &by_scope,
                "500 insufficient quota to match these scopes: [{PriorityClass In [high]}]",
            ),
            (vec![of_high], high, &by_scope, "0: pods=1"),
        ] {
            assert_eq!(outcome(&quotas, &create(pod(object)), limited), expected);
        }
    }

    #[test]
    fn nothing_uses_less_than_nothing() {
        let quotas = [quota("a", json!({}), json!({"cpu": "1"}), json!({"cpu": "0"}))];
        assert_eq!(
            outcome(&quotas, &create(pod(asking("-1"))), &[]),
            "quota usage is negative for resource(s): cpu,requests.cpu"
        );
    }
}
