//! HorizontalPodAutoscalers: `horizontalpodautoscalers` of `autoscaling/v2`, the form in which all are stored.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
};

use super::conversion::{CPU_UTILIZATION_DEFAULT, cpu_utilization};
use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        metadata::invalid_each,
        names::{dns1123_label, path_segment},
        optional::{Items, Text, negative},
        quantities::{amount, container_name_faults},
    },
};

const STABILIZATION_SECONDS_MAX: i32 = 3600;
const PERIOD_SECONDS_MAX: i32 = 1800;
const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

/// The strategy of HorizontalPodAutoscalers.
pub(crate) struct HorizontalPodAutoscalers;

/// How strict the rules for a changed autoscaler are, given what it was.
#[derive(Clone, Copy)]
struct Rules {
    /// The lowest number of replicas there may be at least.
    replicas_min: i32,
    target: Versions,
    described: Versions,
}

/// What may stand as the version of a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Versions {
    Any,
    OfAnyGroup,
    OfNamedGroup,
}

impl Strategy for HorizontalPodAutoscalers {
    type Object = HorizontalPodAutoscaler;

    const NAMES: Names = Names {
        group: "autoscaling",
        version: "v2",
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        singular: "horizontalpodautoscaler",
        short: &["hpa"],
        categories: &["all"],
        namespaced: true,
    };
    const REJUDGES_METADATA: bool = false;
    const STATUS: bool = true;

    fn default(object: &mut HorizontalPodAutoscaler) {
        let spec = &mut object.spec;
        spec.min_replicas.get_or_insert(1);
        if spec.metrics.items().is_empty() {
            spec.metrics = Some(vec![cpu_utilization(CPU_UTILIZATION_DEFAULT)]);
        }
        if let Some(behavior) = &mut spec.behavior {
            let policy =
                |kind: &str, value| HPAScalingPolicy { type_: kind.to_owned(), value, period_seconds: 15 };
            let up = behavior.scale_up.get_or_insert_default();
            up.stabilization_window_seconds.get_or_insert(0);
            fill(up, vec![policy("Pods", 4), policy("Percent", 100)]);
            // How long scaling down waits is a flag of the controller unless it is said here.
            fill(behavior.scale_down.get_or_insert_default(), vec![policy("Percent", 100)]);
        }
    }

    fn validate(_cx: &Context<'_>, object: &HorizontalPodAutoscaler) -> Faults {
        faults(object, None)
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) -> Faults {
        faults(object, Some(old))
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &HorizontalPodAutoscaler,
        _old: &HorizontalPodAutoscaler,
    ) -> Faults {
        status_faults(object)
    }
}

fn fill(rules: &mut HPAScalingRules, policies: Vec<HPAScalingPolicy>) {
    rules.select_policy.get_or_insert_with(|| "Max".to_owned());
    rules.policies.get_or_insert(policies);
}

pub(super) fn status_faults(object: &HorizontalPodAutoscaler) -> Faults {
    let Some(status) = &object.status else { return Vec::new() };
    let path = Path::new("status");
    let mut faults = Vec::new();
    faults.extend(negative(&path.child("currentReplicas"), status.current_replicas.unwrap_or_default()));
    faults.extend(negative(&path.child("desiredReplicas"), status.desired_replicas));
    faults
}

fn rules(spec: &HorizontalPodAutoscalerSpec, old: Option<&HorizontalPodAutoscalerSpec>) -> Rules {
    let reference = |spec: &HorizontalPodAutoscalerSpec| {
        let target = &spec.scale_target_ref;
        (target.api_version.text().to_owned(), target.kind.clone())
    };
    let same_target = old.is_some_and(|old| reference(old) == reference(spec));
    let described = old.iter().flat_map(|old| old.metrics.items()).filter(|metric| metric.type_ == "Object");
    let described_was_bad = described
        .filter_map(|metric| metric.object.as_ref())
        .any(|object| version_wrong(&object.described_object, Versions::OfAnyGroup).is_some());
    Rules {
        // Scaling to zero (KEP-2021) is alpha and off, but what is there already stays.
        replicas_min: i32::from(old.is_none_or(|old| old.min_replicas != Some(0))),
        target: if same_target {
            Versions::Any
        } else if spec.scale_target_ref.kind == "ReplicationController" {
            Versions::OfAnyGroup
        } else {
            Versions::OfNamedGroup
        },
        described: if described_was_bad { Versions::Any } else { Versions::OfAnyGroup },
    }
}

/// What is wrong with an autoscaler, given what it was.
pub(super) fn faults(object: &HorizontalPodAutoscaler, old: Option<&HorizontalPodAutoscaler>) -> Faults {
    let spec = &object.spec;
    let rules = rules(spec, old.map(|old| &old.spec));
    let path = Path::new("spec");
    let mut faults = Vec::new();
    let (min, max) = (spec.min_replicas, spec.max_replicas);
    if let Some(min) = min.filter(|&min| min < rules.replicas_min) {
        let detail = format!("must be greater than or equal to {}", rules.replicas_min);
        faults.push(Fault::invalid(&path.child("minReplicas"), min, detail));
    }
    let max_path = path.child("maxReplicas");
    if max == 0 {
        faults.push(Fault::required(&max_path, "must be set and greater than 0"));
    } else if max < 0 {
        faults.push(Fault::invalid(&max_path, max, "must be greater than or equal to 1"));
    }
    if min.is_some_and(|min| max < min) {
        faults.push(Fault::invalid(&max_path, max, "must be greater than or equal to `minReplicas`"));
    }
    faults.extend(reference_faults(&spec.scale_target_ref, rules.target, &path.child("scaleTargetRef")));
    let metrics = spec.metrics.items();
    let metrics_path = path.child("metrics");
    for (index, metric) in metrics.iter().enumerate() {
        faults.extend(metric_faults(metric, rules.described, &metrics_path.index(index)));
    }
    let outside = metrics.iter().any(|metric| matches!(metric.type_.as_str(), "Object" | "External"));
    if min == Some(0) && !outside {
        faults.push(Fault::forbidden(
            &metrics_path,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
    if let Some(behavior) = &spec.behavior {
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                faults.extend(scaling_faults(rules, &path.child("behavior").child(field)));
            }
        }
    }
    faults
}

fn version_wrong(reference: &CrossVersionObjectReference, versions: Versions) -> Option<String> {
    let version = reference.api_version.text();
    if versions == Versions::Any {
        return None;
    }
    let group = match version.split('/').collect::<Vec<_>>().as_slice() {
        ["", ""] => "",
        [_only] => "",
        [group, _version] => group,
        _ => return Some(format!("unexpected GroupVersion string: {version}")),
    };
    (versions == Versions::OfNamedGroup && group.is_empty())
        .then(|| "apiVersion must specify API group".to_owned())
}

fn named_faults(path: &Path, value: &str, absent: &str) -> Faults {
    if value.is_empty() {
        return vec![Fault::required(path, absent)];
    }
    invalid_each(path, value, path_segment(value, false))
}

fn reference_faults(reference: &CrossVersionObjectReference, versions: Versions, path: &Path) -> Faults {
    let mut faults = named_faults(&path.child("kind"), &reference.kind, "");
    faults.extend(named_faults(&path.child("name"), &reference.name, ""));
    if let Some(wrong) = version_wrong(reference, versions) {
        faults.push(Fault::invalid(&path.child("apiVersion"), reference.api_version.text(), wrong));
    }
    faults
}

fn metric_faults(metric: &MetricSpec, described: Versions, path: &Path) -> Faults {
    let kind = metric.type_.as_str();
    let type_path = path.child("type");
    let mut faults = Vec::new();
    if kind.is_empty() {
        faults.push(Fault::required(&type_path, "must specify a metric source type"));
    }
    let unknown = !METRIC_TYPES.contains(&kind);
    if unknown {
        faults.push(Fault::not_supported(&type_path, kind, METRIC_TYPES));
    }
    // Only the first source that is there is looked at.
    let mut present: Vec<&str> = Vec::new();
    let mut look = |field: &'static str, found: Option<Faults>| {
        if let Some(found) = found {
            present.push(field);
            if present.len() == 1 {
                faults.extend(found);
            }
        }
    };
    look(
        "object",
        metric.object.as_ref().map(|it| {
            let path = path.child("object");
            let mut faults =
                reference_faults(&it.described_object, described, &path.child("describedObject"));
            faults.extend(identified_faults(&it.metric, &it.target, &path));
            if it.target.value.is_none() && it.target.average_value.is_none() {
                faults.push(Fault::required(
                    &path.child("target.averageValue"),
                    "must set either a target value or averageValue",
                ));
            }
            faults
        }),
    );
    look(
        "external",
        metric.external.as_ref().map(|it| {
            let path = path.child("external");
            let mut faults = identified_faults(&it.metric, &it.target, &path);
            match (&it.target.value, &it.target.average_value) {
                (None, None) => faults.push(Fault::required(
                    &path.child("target.averageValue"),
                    "must set either a target value for metric or a per-pod target",
                )),
                (Some(_), Some(_)) => faults.push(Fault::forbidden(
                    &path.child("target.value"),
                    "may not set both a target value for metric and a per-pod target",
                )),
                _ => {}
            }
            faults
        }),
    );
    look(
        "pods",
        metric.pods.as_ref().map(|it| {
            let path = path.child("pods");
            let mut faults = identified_faults(&it.metric, &it.target, &path);
            if it.target.average_value.is_none() {
                faults.push(Fault::required(
                    &path.child("target.averageValue"),
                    "must specify a positive target averageValue",
                ));
            }
            faults
        }),
    );
    look(
        "resource",
        metric.resource.as_ref().map(|it| {
            let path = path.child("resource");
            let mut faults = Vec::new();
            if it.name.is_empty() {
                faults.push(Fault::required(&path.child("name"), "must specify a resource name"));
            }
            faults.extend(resource_target_faults(&it.target, &path));
            faults
        }),
    );
    look(
        "containerResource",
        metric.container_resource.as_ref().map(|it| {
            let path = path.child("containerResource");
            let mut faults = if it.name.is_empty() {
                vec![Fault::required(&path.child("name"), "must specify a resource name")]
            } else {
                container_name_faults(&it.name, &path.child("name"))
            };
            let container_path = path.child("container");
            if it.container.is_empty() {
                faults.push(Fault::required(&container_path, "must specify a container"));
            } else {
                faults.extend(invalid_each(&container_path, &it.container, dns1123_label(&it.container)));
            }
            faults.extend(resource_target_faults(&it.target, &path));
            faults
        }),
    );
    let expected = match kind {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => "",
    };
    if unknown {
        faults.push(Fault::not_supported(&type_path, kind, METRIC_TYPES));
    } else if !present.contains(&expected) {
        faults.push(Fault::required(
            &path.child(expected),
            "must populate information for the given metric source",
        ));
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|field| *field != expected) {
            faults.push(Fault::forbidden(&path.child(field), "must populate the given metric source only"));
        }
    }
    faults
}

fn identified_faults(metric: &MetricIdentifier, target: &MetricTarget, path: &Path) -> Faults {
    let mut faults = named_faults(&path.child("metric.name"), &metric.name, "must specify a metric name");
    faults.extend(target_faults(target, &path.child("target")));
    faults
}

fn resource_target_faults(target: &MetricTarget, path: &Path) -> Faults {
    let path = path.child("target");
    let mut faults = target_faults(target, &path);
    match (target.average_utilization, &target.average_value) {
        (None, None) => faults.push(Fault::required(
            &path.child("averageUtilization"),
            "must set either a target raw value or a target utilization",
        )),
        (Some(_), Some(_)) => faults.push(Fault::forbidden(
            &path.child("averageValue"),
            "may not set both a target raw value and a target utilization",
        )),
        _ => {}
    }
    faults
}

fn target_faults(target: &MetricTarget, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let kind = target.type_.as_str();
    if kind.is_empty() {
        faults.push(Fault::required(&path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        faults.push(Fault::invalid(&path.child("type"), kind, detail));
    }
    for (field, value) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(value) = value.as_ref().map(amount).filter(|value| value.sign() != 1) {
            faults.push(Fault::invalid(&path.child(field), value.to_string(), "must be positive"));
        }
    }
    if let Some(percent) = target.average_utilization.filter(|&percent| percent < 1) {
        faults.push(Fault::invalid(&path.child("averageUtilization"), percent, "must be greater than 0"));
    }
    faults
}

fn scaling_faults(rules: &HPAScalingRules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if let Some(seconds) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            faults.push(Fault::invalid(&path, seconds, "must be greater than or equal to zero"));
        }
        if seconds > STABILIZATION_SECONDS_MAX {
            let detail = format!("must be less than or equal to {STABILIZATION_SECONDS_MAX}");
            faults.push(Fault::invalid(&path, seconds, detail));
        }
    }
    let selects = ["Disabled", "Max", "Min"];
    if let Some(select) = rules.select_policy.as_deref().filter(|select| !selects.contains(select)) {
        faults.push(Fault::not_supported(&path.child("selectPolicy"), select, &selects));
    }
    let policies = rules.policies.items();
    let policies_path = path.child("policies");
    if policies.is_empty() {
        faults.push(Fault::required(&policies_path, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        faults.extend(policy_faults(policy, &policies_path.index(index)));
    }
    if let Some(tolerance) = rules.tolerance.as_ref().map(amount).filter(|it| it.sign() < 0) {
        let value = BadValue::from(tolerance.to_string());
        faults.push(Fault::invalid(&path.child("tolerance"), value, "must be greater than or equal to 0"));
    }
    faults
}

fn policy_faults(policy: &HPAScalingPolicy, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let kinds = ["Percent", "Pods"];
    if !kinds.contains(&policy.type_.as_str()) {
        faults.push(Fault::not_supported(&path.child("type"), &policy.type_, &kinds));
    }
    for (field, value) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
        if value <= 0 {
            faults.push(Fault::invalid(&path.child(field), value, "must be greater than zero"));
        }
    }
    if policy.period_seconds > PERIOD_SECONDS_MAX {
        faults.push(Fault::invalid(
            &path.child("periodSeconds"),
            policy.period_seconds,
            format!("must be less than or equal to {PERIOD_SECONDS_MAX}"),
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::HorizontalPodAutoscalers;
    use crate::resources::shared::testing::{check_create, check_status_update, check_update, created};

    fn hpa(change: Value) -> Value {
        let mut spec =
            json!({"maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "d", "apiVersion": "apps/v1"}});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"spec": spec})
    }

    #[test]
    fn behavior_that_is_given_in_part_is_completed() {
        let object = created::<HorizontalPodAutoscalers>(hpa(
            json!({"behavior": {"scaleUp": {"selectPolicy": "Min"}}}),
        ));
        assert_eq!(
            object.pointer("/spec/behavior"),
            Some(&json!({
                "scaleUp": {"selectPolicy": "Min", "stabilizationWindowSeconds": 0, "policies": [
                    {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]},
                "scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
            }))
        );
        assert_eq!(object.pointer("/spec/minReplicas"), Some(&json!(1)));
    }

    #[test]
    fn an_autoscaler_aims_at_metrics_within_bounds() {
        for (change, faults) in [
            (json!({}), vec![]),
            (
                json!({"maxReplicas": 0, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}),
                vec![
                    "spec.maxReplicas: Required value: must be set and greater than 0",
                    "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`",
                    r#"spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group"#,
                ],
            ),
            (
                json!({"scaleTargetRef": {"kind": "ReplicationController", "name": "d", "apiVersion": "v1"}}),
                vec![],
            ),
            (
                json!({"minReplicas": 0}),
                vec![
                    "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                    "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas",
                ],
            ),
            (
                json!({"metrics": [{"type": "Resource"}]}),
                vec![
                    "spec.metrics[0].resource: Required value: must populate information for the given metric source",
                ],
            ),
            (
                json!({"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}},
                    "pods": {"metric": {"name": "a"}, "target": {"type": "AverageValue", "averageValue": "0"}}}]}),
                vec![
                    r#"spec.metrics[0].pods.target.averageValue: Invalid value: "0": must be positive"#,
                    "spec.metrics[0].pods: Forbidden: must populate the given metric source only",
                ],
            ),
            (
                json!({"metrics": [{"type": "Odd"}]}),
                vec![
                    r#"spec.metrics[0].type: Unsupported value: "Odd": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#,
                    r#"spec.metrics[0].type: Unsupported value: "Odd": supported values: "ContainerResource", "External", "Object", "Pods", "Resource""#,
                ],
            ),
            (
                json!({"behavior": {"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 3601,
                    "selectPolicy": "X", "policies": [{"type": "Y", "value": 0, "periodSeconds": 1801}]}}}),
                vec![
                    "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy",
                    "spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                    r#"spec.behavior.scaleDown.selectPolicy: Unsupported value: "X": supported values: "Disabled", "Max", "Min""#,
                    r#"spec.behavior.scaleDown.policies[0].type: Unsupported value: "Y": supported values: "Percent", "Pods""#,
                    "spec.behavior.scaleDown.policies[0].value: Invalid value: 0: must be greater than zero",
                    "spec.behavior.scaleDown.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                ],
            ),
        ] {
            assert_eq!(check_create::<HorizontalPodAutoscalers>(hpa(change)), faults);
        }
    }

    #[test]
    fn what_older_rules_let_in_may_stay() {
        let old = hpa(json!({"minReplicas": 0, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "metrics": [{"type": "External", "external": {"metric": {"name": "a"}, "target": {"type": "Value", "value": "1"}}}]}));
        assert_eq!(check_update::<HorizontalPodAutoscalers>(old.clone(), old), [""; 0]);
    }

    #[test]
    fn counts_in_a_status_are_not_negative() {
        let mut object = hpa(json!({}));
        object["status"] = json!({"currentReplicas": -1, "desiredReplicas": -1});
        assert_eq!(
            check_status_update::<HorizontalPodAutoscalers>(object, hpa(json!({}))),
            [
                "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
                "status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
