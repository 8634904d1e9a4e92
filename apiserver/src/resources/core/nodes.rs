//! Nodes: `nodes` of `v1`.

use api_types::field::{BadValue, Fault, Faults, Path, go_quote};
use k8s_openapi::{
    api::core::v1::{ConfigMapNodeConfigSource, Node, NodeConfigSource, NodeSpec, NodeStatus, Taint},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};

use crate::{
    registry::strategy::{Context, Names, SelectableField, Strategy},
    resources::shared::{
        addresses::{cidr_warnings, legacy_cidr, parse_cidr_sloppy},
        internal::printed,
        metadata::invalid_each,
        names::{DNS_SUBDOMAIN_LENGTH_MAX, config_map_key, dns_label, dns_subdomain},
        optional::{Entries, Items, Switch, Text, not_positive},
        pod_spec::scheduling::taints,
        quantities::{amount_faults, round_up},
    },
};

const TAINTS_ANNOTATION: &str = "scheduler.alpha.kubernetes.io/taints";
const AVOID_PODS_ANNOTATION: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";

/// The strategy of Nodes.
pub(crate) struct Nodes;

impl Strategy for Nodes {
    type Object = Node;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short: &["no"],
        categories: &[],
        namespaced: false,
    };
    const STATUS: bool = true;
    const STATUS_ON_CREATE: bool = true;
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField { label: "spec.unschedulable", path: "spec.unschedulable", absent: "false" }];

    fn default(node: &mut Node) {
        let status = node.status.get_or_insert_default();
        if status.allocatable.is_none() {
            status.allocatable.clone_from(&status.capacity);
        }
        round_up(status.capacity.as_mut());
        round_up(status.allocatable.as_mut());
        let spec = node.spec.get_or_insert_default();
        // The old field decides where the two disagree, and follows where they agree.
        let single = spec.pod_cidr.text();
        if !single.is_empty() && spec.pod_cidrs.items().first().map(String::as_str) != Some(single) {
            spec.pod_cidrs = Some(vec![single.to_owned()]);
        }
        spec.pod_cidr = spec.pod_cidrs.items().first().cloned();
    }

    fn prepare_for_create(_cx: &Context<'_>, node: &mut Node) {
        node.spec.get_or_insert_default().config_source = None;
        node.status.get_or_insert_default().config = None;
    }

    fn validate(_cx: &Context<'_>, node: &Node) -> Faults {
        let (no_spec, no_status) = (NodeSpec::default(), NodeStatus::default());
        let spec = node.spec.as_ref().unwrap_or(&no_spec);
        let status = node.status.as_ref().unwrap_or(&no_status);
        let metadata = Path::new("metadata");
        let mut faults = annotations(node, &metadata.child("annotations"));
        // Upstream puts these under the metadata.
        faults.extend(taints(spec.taints.items(), &metadata.child("taints")));
        faults.extend(resources(status));
        let swap = status.node_info.as_ref().and_then(|info| info.swap.as_ref());
        if let Some(capacity) = swap.and_then(|swap| swap.capacity) {
            faults.extend(not_positive(&metadata.child("nodeSwapStatus.capacity"), capacity));
        }
        faults.extend(declared_features(status.declared_features.items()));
        faults.extend(pod_cidrs(spec.pod_cidrs.items()));
        faults
    }

    fn prepare_for_update(_cx: &Context<'_>, node: &mut Node, old: &Node) {
        if old.spec.as_ref().is_none_or(|old| old.config_source.is_none()) {
            node.spec.get_or_insert_default().config_source = None;
        }
    }

    fn validate_update(cx: &Context<'_>, node: &Node, old: &Node) -> Faults {
        let mut faults = Self::validate(cx, node);
        faults.extend(validate_change(node, old));
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, node: &mut Node, old: &Node) {
        let old_config = old.status.as_ref().and_then(|status| status.config.as_ref());
        if old_config.is_none() {
            node.status.get_or_insert_default().config = None;
        }
    }

    fn validate_status_update(_cx: &Context<'_>, node: &Node, old: &Node) -> Faults {
        validate_change(node, old)
    }

    fn warnings(_cx: &Context<'_>, node: &Node, _old: Option<&Node>) -> Vec<String> {
        let Some(spec) = &node.spec else { return Vec::new() };
        let mut warnings = Vec::new();
        if spec.config_source.is_some() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !spec.external_id.text().is_empty() {
            warnings
                .push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        for (index, range) in spec.pod_cidrs.items().iter().enumerate() {
            warnings.extend(cidr_warnings(&Path::new("spec.podCIDRs").index(index), range));
        }
        warnings
    }
}

fn annotations(node: &Node, path: &Path) -> Faults {
    let annotations = &node.metadata.annotations;
    let mut faults = Vec::new();
    if let Some(text) = annotations.at(TAINTS_ANNOTATION).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<Taint>>(text) {
            Ok(list) => faults.extend(taints(&list, &path.child(TAINTS_ANNOTATION))),
            Err(error) => faults.push(Fault::invalid(path, TAINTS_ANNOTATION, error.to_string())),
        }
    }
    if let Some(text) = annotations.at(AVOID_PODS_ANNOTATION).filter(|text| !text.is_empty()) {
        faults.extend(avoided_pods(text, path));
    }
    faults
}

/// Faults of an annotation that names controllers whose pods the node should not get.
fn avoided_pods(text: &str, path: &Path) -> Faults {
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Avoided {
        prefer_avoid_pods: Vec<Entry>,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Entry {
        pod_signature: Signature,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Signature {
        pod_controller: Option<OwnerReference>,
    }
    let avoided: Avoided = match serde_json::from_str(text) {
        Ok(avoided) => avoided,
        Err(error) => {
            return vec![Fault::invalid(&path.child("AvoidPods"), AVOID_PODS_ANNOTATION, error.to_string())];
        }
    };
    let mut faults = Vec::new();
    for (index, entry) in avoided.prefer_avoid_pods.iter().enumerate() {
        let path = path.child(AVOID_PODS_ANNOTATION).index(index).child("PodSignature");
        match &entry.pod_signature.pod_controller {
            None => faults.push(Fault::required(&path, "")),
            Some(owner) if !owner.controller.is_on() => faults.push(Fault::invalid(
                &path.child("PodController").child("Controller"),
                false,
                "must point to a controller",
            )),
            Some(_) => {}
        }
    }
    faults
}

fn resources(status: &NodeStatus) -> Faults {
    let mut faults = Vec::new();
    for (field, list) in [("capacity", &status.capacity), ("allocatable", &status.allocatable)] {
        let path = Path::new("status").child(field);
        for (name, amount) in list.entries() {
            faults.extend(amount_faults(name, amount, &path.child(name)));
        }
    }
    faults
}

fn declared_features(features: &[String]) -> Faults {
    let path = Path::new("status.declaredFeatures");
    let mut faults = Vec::new();
    for (index, feature) in features.iter().enumerate() {
        let name = go_quote(feature);
        if feature.len() > DNS_SUBDOMAIN_LENGTH_MAX {
            faults.push(Fault::invalid(
                &path.index(index),
                feature,
                format!(
                    "invalid feature name {name}: must be no more than {DNS_SUBDOMAIN_LENGTH_MAX} characters"
                ),
            ));
        } else if !is_feature_name(feature) {
            faults.push(Fault::invalid(
                &path.index(index),
                feature,
                format!(
                    "invalid feature name {name}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
                ),
            ));
        }
        let Some(next) = features.get(index + 1) else { continue };
        let path = path.index(index + 1);
        if feature == next {
            faults.push(Fault::duplicate(&path, next));
        } else if feature > next {
            faults.push(Fault::invalid(&path, next, "list must be sorted alphabetically"));
        }
    }
    faults
}

fn is_feature_name(feature: &str) -> bool {
    feature.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
        && feature.split('/').all(|segment| {
            segment.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn pod_cidrs(ranges: &[String]) -> Faults {
    let path = Path::new("spec.podCIDRs");
    let mut faults = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        faults.extend(legacy_cidr(&path.index(index), range, &[]));
    }
    if ranges.len() > 1 {
        let families: Vec<bool> = ranges
            .iter()
            .map_while(|range| parse_cidr_sloppy(range))
            .map(|range| range.address.is_ipv4())
            .collect();
        if let Some(bad) = ranges.get(families.len()) {
            faults.push(Fault::internal(
                &path,
                format!(
                    "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{}]: <nil> (invalid CIDR address: {bad})",
                    families.len()
                ),
            ));
        }
        let both = families.contains(&true) && families.contains(&false);
        if !both || ranges.len() > 2 {
            faults.push(Fault::invalid(
                &path,
                BadValue::json(&ranges),
                "may specify no more than one CIDR for each IP family",
            ));
        }
    }
    faults
}

/// Everything that is wrong with a change of a node or of its status.
fn validate_change(node: &Node, old: &Node) -> Faults {
    let (no_spec, no_status) = (NodeSpec::default(), NodeStatus::default());
    let (spec, old_spec) = (node.spec.as_ref().unwrap_or(&no_spec), old.spec.as_ref().unwrap_or(&no_spec));
    let status = node.status.as_ref().unwrap_or(&no_status);
    let metadata = Path::new("metadata");
    let mut faults = annotations(node, &metadata.child("annotations"));
    faults.extend(resources(status));
    faults.extend(declared_features(status.declared_features.items()));
    let addresses = status.addresses.items();
    for (index, address) in addresses.iter().enumerate() {
        if addresses.iter().take(index).any(|other| other == address) {
            let printed = printed("core.NodeAddress", address);
            faults.push(Fault::duplicate(&Path::new("status.addresses").index(index), printed));
        }
    }
    let (ranges, old_ranges) = (spec.pod_cidrs.items(), old_spec.pod_cidrs.items());
    if !old_ranges.is_empty() {
        let changes = if ranges.len() == old_ranges.len() {
            ranges.iter().zip(old_ranges).filter(|(new, old)| new != old).count()
        } else {
            1
        };
        for _ in 0..changes {
            faults.push(Fault::forbidden(
                &Path::new("spec.podCIDRs"),
                "node updates may not change podCIDR except from \"\" to valid",
            ));
        }
    }
    let (provider, old_provider) = (spec.provider_id.text(), old_spec.provider_id.text());
    if !old_provider.is_empty() && provider != old_provider {
        faults.push(Fault::forbidden(
            &Path::new("spec.providerID"),
            "node updates may not change providerID except from \"\" to valid",
        ));
    }
    if let Some(source) = &spec.config_source {
        faults.extend(config_source(source, false, &Path::new("spec.configSource")));
    }
    if let Some(config) = &status.config {
        let path = Path::new("status.config");
        for (field, source) in [
            ("assigned", &config.assigned),
            ("active", &config.active),
            ("lastKnownGood", &config.last_known_good),
        ] {
            if let Some(source) = source {
                faults.extend(config_source(source, true, &path.child(field)));
            }
        }
    }
    faults.extend(taints(spec.taints.items(), &metadata.child("taints")));
    if spec.external_id.text() != old_spec.external_id.text() {
        faults.push(Fault::forbidden(&Path::new("spec.externalID"), "may not be updated"));
    }
    faults
}

/// Faults of a source of kubelet configuration, which has been removed; in a status it names one version of an object.
fn config_source(source: &NodeConfigSource, in_status: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    match &source.config_map {
        Some(map) => faults.extend(config_map_source(map, in_status, &path.child("configMap"))),
        None => faults.push(Fault::invalid(
            path,
            printed("core.NodeConfigSource", source),
            "exactly one reference subfield must be non-nil",
        )),
    }
    faults
}

fn config_map_source(source: &ConfigMapNodeConfigSource, in_status: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, value) in [("uid", &source.uid), ("resourceVersion", &source.resource_version)] {
        match (in_status, value.text().is_empty()) {
            (true, true) => faults.push(Fault::required(&path.child(field), "")),
            (false, false) => {
                faults.push(Fault::forbidden(&path.child(field), format!("{field} must not be set in spec")));
            }
            _ => {}
        }
    }
    let mut judge = |field: &str, value: &str, sentences: Vec<String>| {
        let path = path.child(field);
        if value.is_empty() {
            faults.push(Fault::required(&path, ""));
        } else {
            faults.extend(invalid_each(&path, value, sentences));
        }
    };
    judge("namespace", &source.namespace, dns_label(&source.namespace, false));
    judge("name", &source.name, dns_subdomain(&source.name, false));
    judge("kubeletConfigKey", &source.kubelet_config_key, config_map_key(&source.kubelet_config_key));
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{check_create, check_update, defaulted, merged, warnings};

    fn node(more: Value) -> Value {
        merged(json!({"metadata": {"name": "n"}}), more)
    }

    #[test]
    fn what_can_be_given_out_is_what_there_is() {
        let node = defaulted::<Nodes>(node(json!({
            "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"capacity": {"cpu": "4"}},
        })));
        assert_eq!(
            serde_json::to_value((node.spec, node.status)).unwrap(),
            json!([
                {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]},
                {"capacity": {"cpu": "4"}, "allocatable": {"cpu": "4"}},
            ])
        );
    }

    #[test]
    fn faults_of_new_nodes_are_upstreams() {
        for (more, expected) in [
            (json!({}), vec![]),
            (
                json!({"spec": {"taints": [
                    {"key": "a", "effect": "NoSchedule"}, {"key": "a", "value": "b", "effect": "NoSchedule"},
                    {"key": "b", "effect": "Odd"}, {"key": "c"},
                ]}}),
                vec![
                    r#"metadata.taints[1]: Duplicate value: {"Key":"a","Value":"b","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair"#,
                    r#"metadata.taints[2].effect: Unsupported value: "Odd": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
                    "metadata.taints[3].effect: Required value",
                ],
            ),
            (
                json!({"status": {"capacity": {"cpu": "-1"}}}),
                vec![
                    r#"status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
                    r#"status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
                ],
            ),
            (
                json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}}),
                vec![
                    r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: may specify no more than one CIDR for each IP family"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<Nodes>(node(more.clone())), expected, "{more}");
        }
    }

    #[test]
    fn what_a_node_is_does_not_change() {
        let old = || node(json!({"spec": {"podCIDR": "10.0.0.0/24", "providerID": "p"}}));
        assert_eq!(
            check_update::<Nodes>(
                node(json!({"spec": {"podCIDR": "10.0.1.0/24", "providerID": "q", "externalID": "x"}})),
                old()
            ),
            [
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
                "spec.externalID: Forbidden: may not be updated",
            ]
        );
    }

    #[test]
    fn what_is_no_longer_used_is_warned_of() {
        assert_eq!(
            warnings::<Nodes>(node(json!({"spec": {"externalID": "x"}}))),
            ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]
        );
    }
}
