//! ResourceQuotas: `resourcequotas` of `v1`.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaSpec, ScopeSelector};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        internal::printed,
        optional::{Entries, Items},
        quantities::{ResourceList, amount, amount_faults, is_huge_pages, name_faults, round_up},
    },
};

/// Resources without a domain that can be counted, besides huge pages.
const COUNTABLE: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
/// Which objects a quota can be limited to.
const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];
/// Scopes that exclude each other.
const CONFLICTS: &[(&str, &str)] = &[("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];

/// The strategy of ResourceQuotas.
pub(crate) struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    type Object = ResourceQuota;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short: &["quota"],
        categories: &[],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;

    fn default(object: &mut ResourceQuota) {
        round_up(object.spec.as_mut().and_then(|spec| spec.hard.as_mut()));
        if let Some(status) = &mut object.status {
            round_up(status.hard.as_mut());
            round_up(status.used.as_mut());
        }
    }

    fn validate(_cx: &Context<'_>, object: &ResourceQuota) -> Faults {
        let mut faults = object.spec.as_ref().map(spec_faults).unwrap_or_default();
        faults.extend(status_faults(object));
        faults
    }

    fn validate_update(_cx: &Context<'_>, object: &ResourceQuota, old: &ResourceQuota) -> Faults {
        let mut faults = object.spec.as_ref().map(spec_faults).unwrap_or_default();
        fn scopes(quota: &ResourceQuota) -> BTreeSet<&String> {
            quota.spec.iter().flat_map(|spec| spec.scopes.items()).collect()
        }
        if scopes(object) != scopes(old) {
            let value = object.spec.as_ref().map(|spec| &spec.scopes);
            faults.push(Fault::invalid(
                &Path::new("spec.scopes"),
                BadValue::json(&value),
                "field is immutable",
            ));
        }
        faults
    }

    fn validate_status_update(_cx: &Context<'_>, object: &ResourceQuota, _old: &ResourceQuota) -> Faults {
        status_faults(object)
    }

    fn warnings(_cx: &Context<'_>, object: &ResourceQuota, old: Option<&ResourceQuota>) -> Vec<String> {
        let Some(hard) = object.spec.as_ref().map(|spec| &spec.hard).filter(|_| old.is_none()) else {
            return Vec::new();
        };
        ["cpu", "memory", "storage", "ephemeral-storage"]
            .into_iter()
            .filter_map(|resource| {
                let short = matches!(resource, "cpu" | "memory").then(|| resource.to_owned());
                let mut names = [Some(format!("requests.{resource}")), short].into_iter().flatten();
                let (name, request) =
                    names.find_map(|name| hard.at(&name).map(|text| (name.clone(), amount(text))))?;
                let limit_name = format!("limits.{resource}");
                let limit = amount(hard.at(&limit_name)?);
                (request > limit).then(|| {
                    format!("ResourceQuota {name} ({request}) should be less than {limit_name} ({limit})")
                })
            })
            .collect()
    }
}

fn is_countable(name: &str) -> bool {
    COUNTABLE.contains(&name) || is_huge_pages(name) || name.starts_with("requests.hugepages-")
}

fn spec_faults(spec: &ResourceQuotaSpec) -> Faults {
    let path = Path::new("spec");
    let mut faults = list_faults(&spec.hard, &path.child("hard"));
    faults.extend(scopes_faults(spec, &path.child("scopes")));
    if let Some(selector) = &spec.scope_selector {
        let path = path.child("scopeSelector.matchExpressions");
        faults.extend(selector_faults(spec, selector, &path));
    }
    faults
}

fn status_faults(object: &ResourceQuota) -> Faults {
    let Some(status) = &object.status else { return Vec::new() };
    let path = Path::new("status");
    let mut faults = list_faults(&status.hard, &path.child("hard"));
    faults.extend(list_faults(&status.used, &path.child("used")));
    faults
}

fn list_faults(list: &Option<ResourceList>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (name, text) in list.entries() {
        let path = path.key(name);
        faults.extend(name_faults(name, &path));
        if !name.contains('/') && !is_countable(name) {
            faults.push(Fault::invalid(&path, name, "must be a standard resource for quota"));
        }
        faults.extend(amount_faults(name, text, &path));
    }
    faults
}

/// Whether objects in the scope have the resource.
fn fits(scope: &str, resource: &str) -> bool {
    let of_pods = || {
        matches!(
            resource,
            "cpu" | "memory" | "limits.cpu" | "limits.memory" | "requests.cpu" | "requests.memory"
        )
    };
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || of_pods(),
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// How many of the quota's resources the scope says nothing about.
fn unfit(spec: &ResourceQuotaSpec, scope: &str) -> usize {
    spec.hard.entries().filter(|(name, _)| is_countable(name) && !fits(scope, name)).count()
}

fn scopes_faults(spec: &ResourceQuotaSpec, path: &Path) -> Faults {
    let scopes = spec.scopes.items();
    let wrong = |detail: &str| Fault::invalid(path, BadValue::json(&scopes), detail);
    let mut faults = Vec::new();
    for scope in scopes {
        if !SCOPES.contains(&scope.as_str()) {
            faults.push(wrong("unsupported scope"));
        }
        let count = unfit(spec, scope);
        faults.extend(std::iter::repeat_with(|| wrong("unsupported scope applied to resource")).take(count));
    }
    let has = |scope: &str| scopes.iter().any(|it| it == scope);
    let conflicts = CONFLICTS.iter().filter(|(one, other)| has(one) && has(other));
    faults.extend(conflicts.map(|_| wrong("conflicting scopes")));
    faults
}

fn selector_faults(spec: &ResourceQuotaSpec, selector: &ScopeSelector, path: &Path) -> Faults {
    let requirements = selector.match_expressions.items();
    let printed = || printed("core.ScopeSelector", selector);
    let mut faults = Vec::new();
    for requirement in requirements {
        let scope = requirement.scope_name.as_str();
        if !SCOPES.contains(&scope) {
            faults.push(Fault::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _unfit in 0..unfit(spec, scope) {
            faults.push(Fault::invalid(path, printed(), "unsupported scope applied to resource"));
        }
        let operator = requirement.operator.as_str();
        let only_exists = matches!(
            scope,
            "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity"
        );
        if only_exists && operator != "Exists" {
            faults.push(Fault::invalid(&path.child("operator"), operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"));
        }
        let values = requirement.values.items();
        match operator {
            "In" | "NotIn" if values.is_empty() => faults.push(Fault::required(
                &path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => faults.push(Fault::invalid(
                &path.child("values"),
                BadValue::json(&values),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                faults.push(Fault::invalid(&path.child("operator"), other, "not a valid selector operator"));
            }
        }
    }
    let has = |scope: &str| requirements.iter().any(|it| it.scope_name == scope);
    for _conflict in CONFLICTS.iter().filter(|(one, other)| has(one) && has(other)) {
        faults.push(Fault::invalid(path, BadValue::json(&spec.scopes), "conflicting scopes"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ResourceQuotas;
    use crate::resources::shared::testing::{check_create, check_update, warnings};

    #[test]
    fn a_quota_counts_what_can_be_counted_in_its_scope() {
        for (spec, faults) in [
            (json!({"hard": {"pods": "5", "requests.hugepages-2Mi": "2Mi", "example.com/gpu": "1"}}), vec![]),
            (
                json!({"hard": {"nosuch": "1"}}),
                vec![
                    r#"spec.hard[nosuch]: Invalid value: "nosuch": must be a standard resource type or fully qualified"#,
                    r#"spec.hard[nosuch]: Invalid value: "nosuch": must be a standard resource for quota"#,
                ],
            ),
            (
                json!({"hard": {"pods": "1500m"}}),
                vec![r#"spec.hard[pods]: Invalid value: "1500m": must be an integer"#],
            ),
            (
                json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
                vec![r#"spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes"#],
            ),
            (
                json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}),
                vec![r#"spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource"#],
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [
                    {"scopeName": "Terminating", "operator": "In"}, {"scopeName": "Odd", "operator": "Exists", "values": ["a"]}]}}),
                vec![
                    r#"spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"#,
                    "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    r#"spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Odd": unsupported scope"#,
                    r#"spec.scopeSelector.matchExpressions.values: Invalid value: ["a"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ResourceQuotas>(json!({"spec": spec})), faults);
        }
    }

    #[test]
    fn scopes_do_not_change_but_their_order_does_not_matter() {
        let scoped = |scopes: &[&str]| json!({"spec": {"scopes": scopes}});
        assert_eq!(
            check_update::<ResourceQuotas>(
                scoped(&["Terminating", "NotBestEffort"]),
                scoped(&["NotBestEffort", "Terminating"])
            ),
            [""; 0]
        );
        assert_eq!(
            check_update::<ResourceQuotas>(scoped(&["Terminating"]), scoped(&[])),
            [r#"spec.scopes: Invalid value: ["Terminating"]: field is immutable"#]
        );
    }

    #[test]
    fn requests_above_limits_are_warned_about() {
        assert_eq!(
            warnings::<ResourceQuotas>(json!({"spec": {"hard": {"cpu": "2", "limits.cpu": "1"}}})),
            ["ResourceQuota cpu (2) should be less than limits.cpu (1)"]
        );
    }
}
