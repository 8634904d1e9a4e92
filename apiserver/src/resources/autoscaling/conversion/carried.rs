//! What annotations carry for `autoscaling/v1`: metrics and conditions as the alpha version wrote them, behavior in
//! upstream's internal form.
//!
//! The order of fields is the order of keys in the annotations, which clients compare as text.

use k8s_openapi::{
    api::autoscaling::v2,
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement, Time},
    },
};
use serde::{Deserialize, Serialize};

use crate::resources::shared::{optional::Text, quantities::amount};

fn zero() -> Quantity {
    Quantity("0".to_owned())
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MetricSpec {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<PodsSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_resource: Option<ResourceSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<ExternalSource>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Target {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    api_version: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    #[serde(skip_serializing_if = "Option::is_none")]
    match_labels: Option<std::collections::BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    match_expressions: Option<Vec<Requirement>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
}

#[derive(Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectSource {
    target: Target,
    metric_name: String,
    target_value: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average_value: Option<Quantity>,
}

#[derive(Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct PodsSource {
    metric_name: String,
    target_average_value: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
}

/// Of a pod's resource, or with `container` of a container's.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSource {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_average_utilization: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_average_value: Option<Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ExternalSource {
    metric_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_value: Option<Quantity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_average_value: Option<Quantity>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct MetricStatus {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<PodsStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<ResourceStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_resource: Option<ResourceStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external: Option<ExternalStatus>,
}

#[derive(Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectStatus {
    target: Target,
    metric_name: String,
    current_value: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    average_value: Option<Quantity>,
}

#[derive(Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct PodsStatus {
    metric_name: String,
    current_average_value: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<Selector>,
}

/// Of a pod's resource, or with `container` of a container's.
#[derive(Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceStatus {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_average_utilization: Option<i32>,
    current_average_value: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
struct ExternalStatus {
    metric_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric_selector: Option<Selector>,
    current_value: Quantity,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_average_value: Option<Quantity>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Time>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

/// Upstream reads its keys in any case; the aliases are what an API client would write.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Behavior {
    #[serde(alias = "scaleUp")]
    scale_up: Option<Rules>,
    #[serde(alias = "scaleDown")]
    scale_down: Option<Rules>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Rules {
    #[serde(alias = "stabilizationWindowSeconds")]
    stabilization_window_seconds: Option<i32>,
    #[serde(alias = "selectPolicy")]
    select_policy: Option<String>,
    #[serde(alias = "policies")]
    policies: Option<Vec<Policy>>,
    #[serde(alias = "tolerance")]
    tolerance: Option<Quantity>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct Policy {
    #[serde(rename = "Type", alias = "type")]
    kind: String,
    #[serde(alias = "value")]
    value: i32,
    #[serde(alias = "periodSeconds")]
    period_seconds: i32,
}

// === defaults: a quantity that is not there is nothing ===

impl Default for ObjectSource {
    fn default() -> Self {
        Self {
            target: Target::default(),
            metric_name: String::new(),
            target_value: zero(),
            selector: None,
            average_value: None,
        }
    }
}

impl Default for PodsSource {
    fn default() -> Self {
        Self { metric_name: String::new(), target_average_value: zero(), selector: None }
    }
}

impl Default for ObjectStatus {
    fn default() -> Self {
        Self {
            target: Target::default(),
            metric_name: String::new(),
            current_value: zero(),
            selector: None,
            average_value: None,
        }
    }
}

impl Default for PodsStatus {
    fn default() -> Self {
        Self { metric_name: String::new(), current_average_value: zero(), selector: None }
    }
}

impl Default for ResourceStatus {
    fn default() -> Self {
        Self {
            name: String::new(),
            current_average_utilization: None,
            current_average_value: zero(),
            container: None,
        }
    }
}

impl Default for ExternalStatus {
    fn default() -> Self {
        Self {
            metric_name: String::new(),
            metric_selector: None,
            current_value: zero(),
            current_average_value: None,
        }
    }
}

// === what both versions have ===

impl From<Target> for v2::CrossVersionObjectReference {
    fn from(it: Target) -> Self {
        let api_version = Some(it.api_version).filter(|it| !it.is_empty());
        Self { api_version, kind: it.kind, name: it.name }
    }
}

impl From<v2::CrossVersionObjectReference> for Target {
    fn from(it: v2::CrossVersionObjectReference) -> Self {
        Self { api_version: it.api_version.unwrap_or_default(), kind: it.kind, name: it.name }
    }
}

fn metric(name: String, selector: Option<Selector>) -> v2::MetricIdentifier {
    let selector = selector.map(|it| LabelSelector {
        match_labels: it.match_labels,
        match_expressions: it.match_expressions.map(|list| {
            list.into_iter()
                .map(|it| LabelSelectorRequirement { key: it.key, operator: it.operator, values: it.values })
                .collect()
        }),
    });
    v2::MetricIdentifier { name, selector }
}

fn selector(selector: Option<LabelSelector>) -> Option<Selector> {
    selector.map(|it| Selector {
        match_labels: it.match_labels,
        match_expressions: it.match_expressions.map(|list| {
            list.into_iter()
                .map(|it| Requirement { key: it.key, operator: it.operator, values: it.values })
                .collect()
        }),
    })
}

fn target(kind: &str, value: Option<Quantity>, average_value: Option<Quantity>) -> v2::MetricTarget {
    v2::MetricTarget { type_: kind.to_owned(), value, average_value, average_utilization: None }
}

// === metrics aimed at ===

impl From<MetricSpec> for v2::MetricSpec {
    fn from(it: MetricSpec) -> Self {
        Self {
            type_: it.kind,
            object: it.object.map(|it| v2::ObjectMetricSource {
                target: match it.average_value {
                    None => target("Value", Some(it.target_value), None),
                    Some(average) => {
                        let value = Some(it.target_value).filter(|value| !amount(value).is_zero());
                        target("AverageValue", value, Some(average))
                    }
                },
                described_object: it.target.into(),
                metric: metric(it.metric_name, it.selector),
            }),
            pods: it.pods.map(|it| v2::PodsMetricSource {
                target: target("AverageValue", None, Some(it.target_average_value)),
                metric: metric(it.metric_name, it.selector),
            }),
            resource: it.resource.map(|it| v2::ResourceMetricSource { target: it.target(), name: it.name }),
            container_resource: it.container_resource.map(|it| v2::ContainerResourceMetricSource {
                target: it.target(),
                container: it.container.unwrap_or_default(),
                name: it.name,
            }),
            external: it.external.map(|it| {
                let kind = if it.target_value.is_none() { "AverageValue" } else { "Value" };
                v2::ExternalMetricSource {
                    target: target(kind, it.target_value, it.target_average_value),
                    metric: metric(it.metric_name, it.metric_selector),
                }
            }),
        }
    }
}

impl ResourceSource {
    fn target(&self) -> v2::MetricTarget {
        let kind = if self.target_average_utilization.is_none() { "AverageValue" } else { "Utilization" };
        let average_utilization = self.target_average_utilization;
        v2::MetricTarget { average_utilization, ..target(kind, None, self.target_average_value.clone()) }
    }
}

impl From<v2::MetricSpec> for MetricSpec {
    fn from(it: v2::MetricSpec) -> Self {
        Self {
            kind: it.type_,
            object: it.object.map(|it| ObjectSource {
                target: it.described_object.into(),
                metric_name: it.metric.name,
                target_value: it.target.value.unwrap_or_else(zero),
                selector: selector(it.metric.selector),
                average_value: it.target.average_value,
            }),
            pods: it.pods.map(|it| PodsSource {
                metric_name: it.metric.name,
                target_average_value: it.target.average_value.unwrap_or_else(zero),
                selector: selector(it.metric.selector),
            }),
            resource: it.resource.map(|it| ResourceSource {
                name: it.name,
                target_average_utilization: it.target.average_utilization,
                target_average_value: it.target.average_value,
                container: None,
            }),
            container_resource: it.container_resource.map(|it| ResourceSource {
                name: it.name,
                target_average_utilization: it.target.average_utilization,
                target_average_value: it.target.average_value,
                container: Some(it.container),
            }),
            external: it.external.map(|it| ExternalSource {
                metric_name: it.metric.name,
                metric_selector: selector(it.metric.selector),
                target_value: it.target.value,
                target_average_value: it.target.average_value,
            }),
        }
    }
}

// === metrics seen ===

fn current(value: Option<Quantity>, average_value: Option<Quantity>) -> v2::MetricValueStatus {
    v2::MetricValueStatus { value, average_value, average_utilization: None }
}

impl From<MetricStatus> for v2::MetricStatus {
    fn from(it: MetricStatus) -> Self {
        Self {
            type_: it.kind,
            object: it.object.map(|it| v2::ObjectMetricStatus {
                current: current(Some(it.current_value), it.average_value),
                described_object: it.target.into(),
                metric: metric(it.metric_name, it.selector),
            }),
            pods: it.pods.map(|it| v2::PodsMetricStatus {
                current: current(None, Some(it.current_average_value)),
                metric: metric(it.metric_name, it.selector),
            }),
            resource: it.resource.map(|it| v2::ResourceMetricStatus { current: it.current(), name: it.name }),
            container_resource: it.container_resource.map(|it| v2::ContainerResourceMetricStatus {
                current: it.current(),
                container: it.container.unwrap_or_default(),
                name: it.name,
            }),
            external: it.external.map(|it| v2::ExternalMetricStatus {
                current: current(Some(it.current_value), it.current_average_value),
                metric: metric(it.metric_name, it.metric_selector),
            }),
        }
    }
}

impl ResourceStatus {
    fn current(&self) -> v2::MetricValueStatus {
        v2::MetricValueStatus {
            average_utilization: self.current_average_utilization,
            average_value: Some(self.current_average_value.clone()),
            value: None,
        }
    }
}

impl From<v2::MetricStatus> for MetricStatus {
    fn from(it: v2::MetricStatus) -> Self {
        Self {
            kind: it.type_,
            object: it.object.map(|it| ObjectStatus {
                target: it.described_object.into(),
                metric_name: it.metric.name,
                current_value: it.current.value.unwrap_or_else(zero),
                selector: selector(it.metric.selector),
                average_value: it.current.average_value,
            }),
            pods: it.pods.map(|it| PodsStatus {
                metric_name: it.metric.name,
                current_average_value: it.current.average_value.unwrap_or_else(zero),
                selector: selector(it.metric.selector),
            }),
            resource: it.resource.map(|it| ResourceStatus {
                name: it.name,
                current_average_utilization: it.current.average_utilization,
                current_average_value: it.current.average_value.unwrap_or_else(zero),
                container: None,
            }),
            container_resource: it.container_resource.map(|it| ResourceStatus {
                name: it.name,
                current_average_utilization: it.current.average_utilization,
                current_average_value: it.current.average_value.unwrap_or_else(zero),
                container: Some(it.container),
            }),
            external: it.external.map(|it| ExternalStatus {
                metric_name: it.metric.name,
                metric_selector: selector(it.metric.selector),
                current_value: it.current.value.unwrap_or_else(zero),
                current_average_value: it.current.average_value,
            }),
        }
    }
}

// === conditions ===

impl From<Condition> for v2::HorizontalPodAutoscalerCondition {
    fn from(it: Condition) -> Self {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            type_: it.kind,
            status: it.status,
            last_transition_time: it.last_transition_time,
            reason: given(it.reason),
            message: given(it.message),
        }
    }
}

impl From<v2::HorizontalPodAutoscalerCondition> for Condition {
    fn from(it: v2::HorizontalPodAutoscalerCondition) -> Self {
        Self {
            reason: it.reason.text().to_owned(),
            message: it.message.text().to_owned(),
            kind: it.type_,
            status: it.status,
            last_transition_time: it.last_transition_time,
        }
    }
}

// === behavior ===

impl Behavior {
    /// It says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.scale_up.is_none() && self.scale_down.is_none()
    }
}

impl From<Behavior> for v2::HorizontalPodAutoscalerBehavior {
    fn from(it: Behavior) -> Self {
        let rules = |it: Rules| v2::HPAScalingRules {
            stabilization_window_seconds: it.stabilization_window_seconds,
            select_policy: it.select_policy,
            policies: it.policies.map(|list| {
                list.into_iter()
                    .map(|it| v2::HPAScalingPolicy {
                        type_: it.kind,
                        value: it.value,
                        period_seconds: it.period_seconds,
                    })
                    .collect()
            }),
            tolerance: it.tolerance,
        };
        Self { scale_up: it.scale_up.map(rules), scale_down: it.scale_down.map(rules) }
    }
}

impl From<v2::HorizontalPodAutoscalerBehavior> for Behavior {
    fn from(it: v2::HorizontalPodAutoscalerBehavior) -> Self {
        let rules = |it: v2::HPAScalingRules| Rules {
            stabilization_window_seconds: it.stabilization_window_seconds,
            select_policy: it.select_policy,
            policies: it.policies.map(|list| {
                list.into_iter()
                    .map(|it| Policy { kind: it.type_, value: it.value, period_seconds: it.period_seconds })
                    .collect()
            }),
            tolerance: it.tolerance,
        };
        Self { scale_up: it.scale_up.map(rules), scale_down: it.scale_down.map(rules) }
    }
}
