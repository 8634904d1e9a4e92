//! Horizontal autoscalers, in both versions, and scales.

use k8s_openapi::api::{
    autoscaling::v1::{ScaleSpec, ScaleStatus},
    autoscaling::v2::{HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, integer, of, text},
    read::{self, ObjectExt as _, age, at, list, scalar},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "horizontalpodautoscalers").then_some(&HORIZONTAL_POD_AUTOSCALERS)
}

pub(super) static SCALE: TableDef = TableDef::new(
    &[
        text("Name", of::<ObjectMeta>("name")),
        integer("Desired", of::<ScaleSpec>("replicas")),
        integer("Available", of::<ScaleStatus>("replicas")),
        AGE,
    ],
    |scale, now| {
        vec![
            scale.name().into(),
            read::integer(scale, "spec.replicas").into(),
            read::integer(scale, "status.replicas").into(),
            age(scale, now),
        ]
    },
);

static HORIZONTAL_POD_AUTOSCALERS: TableDef = TableDef::new(
    &[
        NAME,
        text("Reference", of::<HorizontalPodAutoscalerSpec>("scaleTargetRef")),
        text("Targets", of::<HorizontalPodAutoscalerSpec>("metrics")),
        text("MinPods", of::<HorizontalPodAutoscalerSpec>("minReplicas")),
        text("MaxPods", of::<HorizontalPodAutoscalerSpec>("maxReplicas")),
        text("Replicas", of::<HorizontalPodAutoscalerStatus>("currentReplicas")),
        AGE,
    ],
    |autoscaler, now| {
        let target = at(autoscaler, "spec.scaleTargetRef");
        vec![
            autoscaler.name().into(),
            format!("{}/{}", read::text(target, "kind"), read::text(target, "name")).into(),
            targets(autoscaler).into(),
            scalar(at(autoscaler, "spec.minReplicas")).unwrap_or_else(|| "<unset>".to_owned()).into(),
            read::integer(autoscaler, "spec.maxReplicas").into(),
            read::integer(autoscaler, "status.currentReplicas").into(),
            age(autoscaler, now),
        ]
    },
);

/// Current and wanted value of the first two metrics.
fn targets(autoscaler: &Value) -> String {
    const SHOWN: usize = 2;
    let metrics: Vec<String> = if read::text(autoscaler, "apiVersion") == "autoscaling/v1" {
        metrics_v1(autoscaler)
    } else {
        let current = list(autoscaler, "status.currentMetrics");
        list(autoscaler, "spec.metrics")
            .iter()
            .enumerate()
            .map(|(position, metric)| metric_v2(metric, current.get(position).unwrap_or(&Value::Null)))
            .collect()
    };
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown = metrics.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if metrics.len() > SHOWN { format!("{shown} + {} more...", metrics.len() - SHOWN) } else { shown }
}

fn metric_v2(metric: &Value, current: &Value) -> String {
    // Absent quantities show the way Go prints nil, except where no current value is known at all.
    let nil = || "<nil>".to_owned();
    let unknown = || "<unknown>".to_owned();
    let measured = |source: &str, value: &str| {
        at(current, source)
            .as_object()
            .map(|it| it.get("current").and_then(|current| current.get(value)).and_then(scalar))
    };
    let wanted = |source: &str, value: &str| scalar(at(metric, &format!("{source}.target.{value}")));
    match read::text(metric, "type") {
        kind @ ("External" | "Object") => {
            let source = if kind == "External" { "external" } else { "object" };
            if let Some(average) = wanted(source, "averageValue") {
                let now = measured(source, "averageValue").flatten().unwrap_or_else(unknown);
                format!("{now}/{average} (avg)")
            } else {
                let now = measured(source, "value").map_or_else(unknown, |it| it.unwrap_or_else(nil));
                format!("{now}/{}", wanted(source, "value").unwrap_or_else(nil))
            }
        }
        "Pods" => {
            let now = measured("pods", "averageValue").map_or_else(unknown, |it| it.unwrap_or_else(nil));
            format!("{now}/{}", wanted("pods", "averageValue").unwrap_or_else(nil))
        }
        kind @ ("Resource" | "ContainerResource") => {
            let source = if kind == "Resource" { "resource" } else { "containerResource" };
            let name = read::text(metric, &format!("{source}.name"));
            if let Some(average) = wanted(source, "averageValue") {
                let now = measured(source, "averageValue").map_or_else(unknown, |it| it.unwrap_or_else(nil));
                format!("{name}: {now}/{average}")
            } else {
                let percent = |value: String| format!("{value}%");
                let now = measured(source, "averageUtilization").flatten().map_or_else(unknown, percent);
                let target =
                    wanted(source, "averageUtilization").map_or_else(|| "<auto>".to_owned(), percent);
                format!("{name}: {now}/{target}")
            }
        }
        _ => "<unknown type>".to_owned(),
    }
}

/// The older version has the CPU in fields of its own and all other metrics in two annotations.
fn metrics_v1(autoscaler: &Value) -> Vec<String> {
    let annotated = |key: &str| -> Vec<Value> {
        autoscaler
            .annotation(&format!("autoscaling.alpha.kubernetes.io/{key}"))
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    };
    let current = annotated("current-metrics");
    let mut metrics: Vec<String> = annotated("metrics")
        .iter()
        .enumerate()
        .map(|(position, metric)| {
            metric_v2(
                &modern(metric, "target"),
                &modern(current.get(position).unwrap_or(&Value::Null), "current"),
            )
        })
        .collect();
    if let Some(target) = at(autoscaler, "spec.targetCPUUtilizationPercentage").as_i64() {
        let now = at(autoscaler, "status.currentCPUUtilizationPercentage")
            .as_i64()
            .map_or_else(|| "<unknown>".to_owned(), |percent| format!("{percent}%"));
        metrics.push(format!("cpu: {now}/{target}%"));
    }
    metrics
}

/// A metric as the annotations spell it (`targetAverageValue`) the way the newer version does
/// (`target.averageValue`).
fn modern(metric: &Value, prefix: &str) -> Value {
    let mut metric = metric.clone();
    for source in ["object", "pods", "resource", "containerResource", "external"] {
        let Some(fields) = metric.get_mut(source).and_then(Value::as_object_mut) else { continue };
        let mut values = serde_json::Map::new();
        for value in ["Value", "AverageValue", "AverageUtilization"] {
            if let Some(found) = fields.get(&format!("{prefix}{value}")) {
                let mut name = value.to_owned();
                if let Some(first) = name.get_mut(..1) {
                    first.make_ascii_lowercase();
                }
                values.insert(name, found.clone());
            }
        }
        if let Some(average) = fields.get("averageValue") {
            values.insert("averageValue".to_owned(), average.clone());
        }
        fields.insert(prefix.to_owned(), Value::Object(values));
    }
    metric
}
