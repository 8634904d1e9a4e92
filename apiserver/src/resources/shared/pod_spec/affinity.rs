//! What is wrong with where a pod wants to run: node affinity, pod affinity, spreading.

use std::collections::BTreeSet;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{
        Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm,
        PodSpec, TopologySpreadConstraint, WeightedPodAffinityTerm,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

use super::{
    super::{
        metadata::invalid_each,
        names::{dns_label, dns_subdomain, label_value},
        optional::{Entries, Items, not_positive, one_of_or_empty_fault},
        selectors::{self, Leniency, validate_label_key},
    },
    Rules,
};

/// Faults of all affinities.
pub(super) fn validate(affinity: &Affinity, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Some(affinity) = &affinity.node_affinity {
        faults.extend(node_affinity(affinity, rules, &path.child("nodeAffinity")));
    }
    if let Some(affinity) = &affinity.pod_affinity {
        faults.extend(pod_affinity(
            affinity.required_during_scheduling_ignored_during_execution.items(),
            affinity.preferred_during_scheduling_ignored_during_execution.items(),
            rules,
            &path.child("podAffinity"),
        ));
    }
    if let Some(affinity) = &affinity.pod_anti_affinity {
        faults.extend(pod_affinity(
            affinity.required_during_scheduling_ignored_during_execution.items(),
            affinity.preferred_during_scheduling_ignored_during_execution.items(),
            rules,
            &path.child("podAntiAffinity"),
        ));
    }
    faults
}

// --- nodes

fn node_affinity(affinity: &NodeAffinity, rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Some(selector) = &affinity.required_during_scheduling_ignored_during_execution {
        faults.extend(node_selector(
            selector,
            rules.invalid_required_node_values,
            &path.child("requiredDuringSchedulingIgnoredDuringExecution"),
        ));
    }
    let path = path.child("preferredDuringSchedulingIgnoredDuringExecution");
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.items();
    for (index, term) in preferred.iter().enumerate() {
        let path = path.index(index);
        faults.extend(weight(term.weight, &path));
        // A preference that nothing can meet does no harm.
        faults.extend(node_selector_term(&term.preference, true, &path.child("preference")));
    }
    faults
}

fn weight(weight: i32, path: &Path) -> Option<Fault> {
    (!(1..=100).contains(&weight))
        .then(|| Fault::invalid(&path.child("weight"), weight, "must be in the range 1-100"))
}

/// Faults of a node selector. With `invalid_values`, values may be no label values.
pub(crate) fn node_selector(selector: &NodeSelector, invalid_values: bool, path: &Path) -> Faults {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        return vec![Fault::required(&path, "must have at least one node selector term")];
    }
    selector
        .node_selector_terms
        .iter()
        .enumerate()
        .flat_map(|(index, term)| node_selector_term(term, invalid_values, &path.index(index)))
        .collect()
}

/// Faults of one term of a node selector.
pub(crate) fn node_selector_term(term: &NodeSelectorTerm, invalid_values: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, requirement) in term.match_expressions.items().iter().enumerate() {
        faults.extend(node_requirement(
            requirement,
            invalid_values,
            &path.child("matchExpressions").index(index),
        ));
    }
    for (index, requirement) in term.match_fields.items().iter().enumerate() {
        faults.extend(node_field_requirement(requirement, &path.child("matchFields").index(index)));
    }
    faults
}

fn node_requirement(requirement: &NodeSelectorRequirement, invalid_values: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let values = requirement.values.items();
    let values_path = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            faults.push(Fault::required(&values_path, "must be specified when `operator` is 'In' or 'NotIn'"))
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => faults.push(Fault::forbidden(
            &values_path,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if values.len() != 1 => faults.push(Fault::required(
            &values_path,
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            faults.push(Fault::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    faults.extend(validate_label_key(&requirement.key, &path.child("key")));
    if !invalid_values {
        for (index, value) in values.iter().enumerate() {
            faults.extend(invalid_each(&values_path.index(index), value, label_value(value)));
        }
    }
    faults
}

fn node_field_requirement(requirement: &NodeSelectorRequirement, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let values = requirement.values.items();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.len() != 1 => faults.push(Fault::required(
            &path.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        "In" | "NotIn" => {}
        other => {
            faults.push(Fault::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    if requirement.key == "metadata.name" {
        for (index, value) in values.iter().enumerate() {
            let path = path.child("values").index(index);
            faults.extend(invalid_each(&path, value, dns_subdomain(value, false)));
        }
    } else {
        faults.push(Fault::invalid(
            &path.child("key"),
            requirement.key.as_str(),
            "not a valid field selector key",
        ));
    }
    faults
}

// --- pods

fn pod_affinity(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    rules: &Rules,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    for (index, term) in required.iter().enumerate() {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").index(index);
        faults.extend(pod_affinity_term(term, rules, &path));
    }
    for (index, term) in preferred.iter().enumerate() {
        let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
        faults.extend(weight(term.weight, &path));
        faults.extend(pod_affinity_term(&term.pod_affinity_term, rules, &path.child("podAffinityTerm")));
    }
    faults
}

fn pod_affinity_term(term: &PodAffinityTerm, rules: &Rules, path: &Path) -> Faults {
    let mut faults = term_selectors(term, rules.invalid_affinity_values, path);
    for namespace in term.namespaces.items() {
        faults.extend(invalid_each(&path.child("namespace"), namespace, dns_label(namespace, false)));
    }
    faults.extend(label_keys(
        term.match_label_keys.items(),
        term.mismatch_label_keys.items(),
        term.label_selector.as_ref(),
        path,
    ));
    let path = path.child("topologyKey");
    if term.topology_key.is_empty() {
        faults.push(Fault::required(&path, "can not be empty"));
    }
    faults.extend(validate_label_key(&term.topology_key, &path));
    faults
}

fn term_selectors(term: &PodAffinityTerm, invalid_values: bool, path: &Path) -> Faults {
    let leniency = Leniency { invalid_values, ..Leniency::default() };
    let mut faults =
        selectors::validate(term.label_selector.as_ref(), leniency, &path.child("labelSelector"));
    faults.extend(selectors::validate(
        term.namespace_selector.as_ref(),
        leniency,
        &path.child("namespaceSelector"),
    ));
    faults
}

/// Every term of a pod's pod affinity and anti-affinity.
pub(crate) fn pod_terms(spec: &PodSpec) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = spec.affinity.as_ref();
    let pod = affinity.and_then(|it| it.pod_affinity.as_ref());
    let anti = affinity.and_then(|it| it.pod_anti_affinity.as_ref());
    let required = [
        pod.map(|it| &it.required_during_scheduling_ignored_during_execution),
        anti.map(|it| &it.required_during_scheduling_ignored_during_execution),
    ];
    let preferred = [
        pod.map(|it| &it.preferred_during_scheduling_ignored_during_execution),
        anti.map(|it| &it.preferred_during_scheduling_ignored_during_execution),
    ];
    required.into_iter().flatten().flat_map(|list| list.items()).chain(
        preferred.into_iter().flatten().flat_map(|list| list.items()).map(|term| &term.pod_affinity_term),
    )
}

/// Whether some selector of the pod affinity would not pass today.
pub(super) fn has_malformed_selector(spec: &PodSpec) -> bool {
    pod_terms(spec).any(|term| !term_selectors(term, false, &Path::root()).is_empty())
}

/// Faults of keys whose values a pod's own labels give, beside the selector that they add to.
pub(super) fn label_keys(
    matching: &[String],
    mismatching: &[String],
    selector: Option<&LabelSelector>,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    for (field, keys) in [("matchLabelKeys", matching), ("mismatchLabelKeys", mismatching)] {
        if keys.is_empty() {
            continue;
        }
        let path = path.child(field);
        if selector.is_none() {
            faults.push(without_selector(&path));
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            faults.extend(validate_label_key(key, &path.index(index)));
        }
    }
    if let Some(selector) = selector {
        let mut seen: BTreeSet<&str> = selector.match_labels.entries().map(|(key, _)| key).collect();
        for expression in selector.match_expressions.items() {
            let key = expression.key.as_str();
            // The keys were merged into the selector when the pod was made; once is theirs, twice is the user's too.
            if let Some(index) = matching.iter().rposition(|it| it == key)
                && seen.contains(key)
            {
                faults.push(doubled(&path.index(index), key));
            }
            seen.insert(key);
        }
    }
    for (index, key) in matching.iter().enumerate() {
        if mismatching.contains(key) {
            faults.push(Fault::invalid(
                &path.child("matchLabelKeys").index(index),
                key,
                "exists in both matchLabelKeys and mismatchLabelKeys",
            ));
        }
    }
    faults
}

fn without_selector(path: &Path) -> Fault {
    Fault::forbidden(path, "must not be specified when labelSelector is not set")
}

fn doubled(path: &Path, key: &str) -> Fault {
    Fault::invalid(path, key, "exists in both matchLabelKeys and labelSelector")
}

// --- spreading

/// Faults of topology spread constraints.
pub(super) fn spread(constraints: &[TopologySpreadConstraint], rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let rest = constraints.get(index + 1..).unwrap_or_default();
        faults.extend(not_positive(&path.child("maxSkew"), constraint.max_skew));
        if constraint.topology_key.is_empty() {
            faults.push(Fault::required(&path.child("topologyKey"), "can not be empty"));
        }
        let action = constraint.when_unsatisfiable.as_str();
        faults.extend(one_of_or_empty_fault(
            &path.child("whenUnsatisfiable"),
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
        ));
        if rest
            .iter()
            .any(|other| other.topology_key == constraint.topology_key && other.when_unsatisfiable == action)
        {
            faults.push(Fault::duplicate(
                &path.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{}, {action}}}", constraint.topology_key),
            ));
        }
        faults.extend(min_domains(constraint, &path.child("minDomains")));
        for (field, policy) in [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ] {
            if let Some(policy) = policy {
                faults.extend(one_of_or_empty_fault(&path.child(field), policy, &["Honor", "Ignore"]));
            }
        }
        let keys = constraint.match_label_keys.items();
        let selector = constraint.label_selector.as_ref();
        if rules.legacy_spread_keys {
            faults.extend(legacy_label_keys(keys, selector, &path.child("matchLabelKeys")));
        } else {
            faults.extend(label_keys(keys, &[], selector, &path));
        }
        if !rules.invalid_spread_selector {
            faults.extend(selectors::validate(selector, Leniency::default(), &path.child("labelSelector")));
        }
    }
    faults
}

fn min_domains(constraint: &TopologySpreadConstraint, path: &Path) -> Faults {
    let Some(domains) = constraint.min_domains else { return Vec::new() };
    let mut faults: Faults = not_positive(path, domains).into_iter().collect();
    let action = constraint.when_unsatisfiable.as_str();
    if action != "DoNotSchedule" {
        faults.push(Fault::invalid(
            path,
            domains,
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"),
        ));
    }
    faults
}

/// As keys were judged before they were merged into the selector.
fn legacy_label_keys(keys: &[String], selector: Option<&LabelSelector>, path: &Path) -> Faults {
    if keys.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    if selector.is_none() {
        faults.push(without_selector(path));
    }
    let selected: BTreeSet<&str> = selector
        .into_iter()
        .flat_map(|selector| {
            let labels = selector.match_labels.entries().map(|(key, _)| key);
            labels.chain(selector.match_expressions.items().iter().map(|it| it.key.as_str()))
        })
        .collect();
    for (index, key) in keys.iter().enumerate() {
        let path = path.index(index);
        faults.extend(validate_label_key(key, &path));
        if selected.contains(key.as_str()) {
            faults.push(doubled(&path, key));
        }
    }
    faults
}
