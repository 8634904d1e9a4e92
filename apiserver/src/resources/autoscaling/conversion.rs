//! Autoscalers of `autoscaling/v1` as those of `autoscaling/v2`, the form in which all are stored, and back.
//!
//! The older version knows only CPU utilization. What it has no fields for travels in annotations, in the form that
//! the alpha version of the newer group had: [`carried`] describes it.

mod carried;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::autoscaling::{v1, v2},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use api_types::{object::ObjectExt, typed::Typed};

use crate::resources::shared::optional::{Entries, Items};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const SCALE_DOWN_TOLERANCE: &str = "autoscaling.alpha.kubernetes.io/scale-down-tolerance";
const SCALE_UP_TOLERANCE: &str = "autoscaling.alpha.kubernetes.io/scale-up-tolerance";

/// What CPU utilization is aimed at when nothing is said, in percent.
pub(super) const CPU_UTILIZATION_DEFAULT: i32 = 80;

/// A metric of CPU utilization aiming at so many percent.
pub(super) fn cpu_utilization(percent: i32) -> v2::MetricSpec {
    v2::MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(v2::ResourceMetricSource {
            name: "cpu".to_owned(),
            target: v2::MetricTarget {
                type_: "Utilization".to_owned(),
                average_utilization: Some(percent),
                ..v2::MetricTarget::default()
            },
        }),
        ..v2::MetricSpec::default()
    }
}

/// What CPU utilization a metric aims at, if it does.
fn aimed_cpu_utilization(metric: &v2::MetricSpec) -> Option<i32> {
    let resource = metric.resource.as_ref().filter(|it| metric.type_ == "Resource" && it.name == "cpu")?;
    resource.target.average_utilization
}

/// An autoscaler of the older version as one of the newer.
pub fn hpa_to_v2(hpa: &v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let spec = hpa.spec.clone();
    let carried = &hpa.metadata.annotations;
    let mut metrics: Vec<v2::MetricSpec> = read::<Vec<carried::MetricSpec>>(carried, METRICS)
        .unwrap_or_default()
        .into_iter()
        .map(Into::into)
        .collect();
    metrics.extend(spec.target_cpu_utilization_percentage.map(cpu_utilization));
    if metrics.is_empty() {
        metrics.push(cpu_utilization(CPU_UTILIZATION_DEFAULT));
    }
    let behavior = read::<carried::Behavior>(carried, BEHAVIOR).filter(|it| !it.is_empty());
    v2::HorizontalPodAutoscaler {
        metadata: without_carried(&hpa.metadata),
        spec: v2::HorizontalPodAutoscalerSpec {
            behavior: behavior.map(Into::into),
            max_replicas: spec.max_replicas,
            metrics: Some(metrics),
            min_replicas: spec.min_replicas,
            scale_target_ref: target_to_v2(spec.scale_target_ref),
        },
        status: hpa.status.as_ref().map(|status| status_to_v2(status, carried)),
    }
}

/// The same on JSON values. What is no such object is left as it is.
pub(crate) fn value_to_v2(hpa: Value) -> Value {
    match v1::HorizontalPodAutoscaler::from_value(&hpa) {
        Ok(typed) => with_record(hpa_to_v2(&typed).to_value(), &hpa),
        Err(_) => hpa,
    }
}

/// [`hpa_to_v1`] on JSON values. What is no such object is left as it is.
pub(crate) fn value_to_v1(hpa: Value) -> Value {
    match v2::HorizontalPodAutoscaler::from_value(&hpa) {
        Ok(typed) => with_record(hpa_to_v1(&typed).to_value(), &hpa),
        Err(_) => hpa,
    }
}

/// The record of field owners speaks of versions by name and is kept as it is.
fn with_record(mut converted: Value, from: &Value) -> Value {
    let record = from.meta().and_then(|meta| meta.get("managedFields")).cloned().unwrap_or_default();
    converted.set_meta("managedFields", record);
    converted
}

fn status_to_v2(
    status: &v1::HorizontalPodAutoscalerStatus,
    carried: &Option<BTreeMap<String, String>>,
) -> v2::HorizontalPodAutoscalerStatus {
    let current = read::<Vec<carried::MetricStatus>>(carried, CURRENT_METRICS);
    let cpu = status.current_cpu_utilization_percentage.map(|percent| v2::MetricStatus {
        type_: "Resource".to_owned(),
        resource: Some(v2::ResourceMetricStatus {
            name: "cpu".to_owned(),
            current: v2::MetricValueStatus {
                average_utilization: Some(percent),
                ..v2::MetricValueStatus::default()
            },
        }),
        ..v2::MetricStatus::default()
    });
    let conditions = read::<Vec<carried::Condition>>(carried, CONDITIONS);
    v2::HorizontalPodAutoscalerStatus {
        conditions: conditions.map(|list| list.into_iter().map(Into::into).collect()),
        current_metrics: match current {
            Some(list) => Some(list.into_iter().map(Into::into).collect()),
            None => cpu.map(|cpu| vec![cpu]),
        },
        current_replicas: Some(status.current_replicas),
        desired_replicas: status.desired_replicas,
        last_scale_time: status.last_scale_time.clone(),
        observed_generation: status.observed_generation,
    }
}

/// An autoscaler of the newer version as one of the older.
pub fn hpa_to_v1(hpa: &v2::HorizontalPodAutoscaler) -> v1::HorizontalPodAutoscaler {
    let spec = hpa.spec.clone();
    let status = hpa.status.clone();
    let mut carried = BTreeMap::new();
    let mut carry = |annotation: &str, text: Option<String>| {
        carried.extend(text.map(|text| (annotation.to_owned(), text)));
    };
    let metrics = spec.metrics.items();
    let others: Vec<carried::MetricSpec> = metrics
        .iter()
        .filter(|metric| aimed_cpu_utilization(metric).is_none())
        .map(|metric| metric.clone().into())
        .collect();
    carry(METRICS, (!others.is_empty()).then(|| written(&others)));
    if let Some(status) = &status {
        let current: Vec<carried::MetricStatus> =
            status.current_metrics.items().iter().map(|metric| metric.clone().into()).collect();
        carry(CURRENT_METRICS, (!current.is_empty()).then(|| written(&current)));
    }
    carry(BEHAVIOR, spec.behavior.clone().map(|behavior| written(&carried::Behavior::from(behavior))));
    if let Some(status) = &status {
        let conditions: Vec<carried::Condition> =
            status.conditions.items().iter().map(|condition| condition.clone().into()).collect();
        carry(CONDITIONS, (!conditions.is_empty()).then(|| written(&conditions)));
    }
    let mut metadata = without_carried(&hpa.metadata);
    if !carried.is_empty() {
        metadata.annotations.get_or_insert_default().extend(carried);
    }
    v1::HorizontalPodAutoscaler {
        metadata,
        spec: v1::HorizontalPodAutoscalerSpec {
            max_replicas: spec.max_replicas,
            min_replicas: spec.min_replicas,
            scale_target_ref: v1::CrossVersionObjectReference {
                api_version: spec.scale_target_ref.api_version,
                kind: spec.scale_target_ref.kind,
                name: spec.scale_target_ref.name,
            },
            target_cpu_utilization_percentage: spec.metrics.items().iter().find_map(aimed_cpu_utilization),
        },
        status: status.map(|status| v1::HorizontalPodAutoscalerStatus {
            current_cpu_utilization_percentage: status
                .current_metrics
                .items()
                .iter()
                .filter(|metric| metric.type_ == "Resource")
                .filter_map(|metric| metric.resource.as_ref().filter(|it| it.name == "cpu"))
                .filter_map(|resource| resource.current.average_utilization)
                .next_back(),
            current_replicas: status.current_replicas.unwrap_or_default(),
            desired_replicas: status.desired_replicas,
            last_scale_time: status.last_scale_time,
            observed_generation: status.observed_generation,
        }),
    }
}

fn target_to_v2(target: v1::CrossVersionObjectReference) -> v2::CrossVersionObjectReference {
    v2::CrossVersionObjectReference { api_version: target.api_version, kind: target.kind, name: target.name }
}

/// The metadata without the annotations that carry what the older version has no fields for.
fn without_carried(metadata: &ObjectMeta) -> ObjectMeta {
    let mut metadata = metadata.clone();
    if let Some(annotations) = &mut metadata.annotations {
        for annotation in
            [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR, SCALE_DOWN_TOLERANCE, SCALE_UP_TOLERANCE]
        {
            annotations.remove(annotation);
        }
        if annotations.is_empty() {
            metadata.annotations = None;
        }
    }
    metadata
}

/// What an annotation carries; what cannot be read carries nothing.
fn read<T: DeserializeOwned>(annotations: &Option<BTreeMap<String, String>>, annotation: &str) -> Option<T> {
    serde_json::from_str(annotations.at(annotation)?).ok()
}

/// As Go writes JSON: with what HTML would misread escaped. Outside of strings there is no such thing.
fn written<T: Serialize>(carried: &T) -> String {
    let text = serde_json::to_string(carried).unwrap_or_default();
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")]
        .into_iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use api_types::typed::Typed;
    use serde_json::{Value, json};

    use super::*;

    fn to_v1(hpa: Value) -> Value {
        hpa_to_v1(&v2::HorizontalPodAutoscaler::from_value(&hpa).unwrap()).to_value()
    }

    fn to_v2(hpa: Value) -> Value {
        hpa_to_v2(&v1::HorizontalPodAutoscaler::from_value(&hpa).unwrap()).to_value()
    }

    #[test]
    fn cpu_utilization_is_a_field_of_the_older_version() {
        let old = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "minReplicas": 1, "targetCPUUtilizationPercentage": 55,
                "scaleTargetRef": {"kind": "D", "name": "d", "apiVersion": "apps/v1"}}});
        let new = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "minReplicas": 1,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 55}}}],
                "scaleTargetRef": {"kind": "D", "name": "d", "apiVersion": "apps/v1"}}});
        assert_eq!(to_v2(old.clone()), new);
        assert_eq!(to_v1(new), old);
    }

    #[test]
    fn what_the_older_version_has_no_fields_for_travels_in_annotations() {
        let new = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "annotations": {"x": "y"}},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "d"},
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "r", "selector": {"matchLabels": {"k": "v"}}},
                        "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "I", "name": "i", "apiVersion": "a/v1"},
                        "metric": {"name": "q"}, "target": {"type": "Value", "value": "7"}}},
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "External", "external": {"metric": {"name": "e"}, "target": {"type": "Value", "value": "1"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                        "target": {"type": "Utilization", "averageUtilization": 10}}}],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}},
            "status": {"currentReplicas": 1, "desiredReplicas": 2,
                "conditions": [{"type": "AbleToScale", "status": "True", "reason": "a", "message": "b<c",
                    "lastTransitionTime": "2024-01-01T00:00:00Z"}],
                "currentMetrics": [{"type": "Pods", "pods": {"metric": {"name": "r"}, "current": {"averageValue": "3"}}}]}});
        let old = to_v1(new.clone());
        let annotations = old.pointer("/metadata/annotations").cloned().unwrap();
        assert_eq!(
            annotations,
            json!({
                "x": "y",
                "autoscaling.alpha.kubernetes.io/metrics": concat!(
                    r#"[{"type":"Pods","pods":{"metricName":"r","targetAverageValue":"5","selector":{"matchLabels":{"k":"v"}}}},"#,
                    r#"{"type":"Object","object":{"target":{"kind":"I","name":"i","apiVersion":"a/v1"},"metricName":"q","targetValue":"7"}},"#,
                    r#"{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}},"#,
                    r#"{"type":"External","external":{"metricName":"e","targetValue":"1"}},"#,
                    r#"{"type":"ContainerResource","containerResource":{"name":"cpu","targetAverageUtilization":10,"container":"c"}}]"#,
                ),
                "autoscaling.alpha.kubernetes.io/behavior":
                    r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#,
                "autoscaling.alpha.kubernetes.io/current-metrics":
                    r#"[{"type":"Pods","pods":{"metricName":"r","currentAverageValue":"3"}}]"#,
                "autoscaling.alpha.kubernetes.io/conditions":
                    r#"[{"type":"AbleToScale","status":"True","lastTransitionTime":"2024-01-01T00:00:00Z","reason":"a","message":"b\u003cc"}]"#,
            })
        );
        assert_eq!(to_v2(old), new);
    }

    #[test]
    fn annotations_that_cannot_be_read_carry_nothing() {
        let old = json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{"}},
            "spec": {"maxReplicas": 1, "scaleTargetRef": {"kind": "D", "name": "d"}}});
        let new = to_v2(old);
        assert_eq!(new.pointer("/metadata"), Some(&json!({})));
        assert_eq!(new.pointer("/spec/metrics/0/resource/target/averageUtilization"), Some(&json!(80)));
    }
}
