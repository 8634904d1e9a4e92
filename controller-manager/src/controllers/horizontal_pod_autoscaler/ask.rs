//! What a look asks the server: the scale of the target, and what is measured, of the metrics API the metric is of.
//!
//! Nothing is decided here. What a server answers that does not serve an API is told in the words people search for.

use std::{collections::BTreeMap, time::Duration};

use api_types::{quantity::Quantity, selectors::labels::Selector};
use client::{
    Api, Error, Key, Resource,
    api::{List, Page, Selection},
    meta::null_is_default,
};
use http::Method;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    inventory::Inventory,
    kinds::{
        HorizontalPodAutoscaler,
        horizontal_pod_autoscaler::{Identifier, Metric},
    },
    resources::Amounts,
};

const POD_METRICS: Resource = Resource::new("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", true);
/// What is measured counts for so long unless it says otherwise.
const WINDOW: Duration = Duration::from_secs(60);

/// The scale of a target.
#[derive(Clone, Debug)]
pub(super) struct Scale {
    pub(super) resource: Resource,
    pub(super) wanted: i32,
    pub(super) there: i32,
    pub(super) selector: String,
    /// As it came.
    pub(super) object: Value,
}

/// What was measured of a Pod, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) value: i64,
    pub(super) at: Option<Timestamp>,
    pub(super) window: Duration,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// Of each Pod, by its name.
    Pods(BTreeMap<String, Measured>),
    /// Altogether, in thousandths.
    Total(i64),
}

/// The scale of the target.
pub(super) async fn scale(
    api: &Api,
    inventory: &Inventory,
    root: &HorizontalPodAutoscaler,
) -> Result<Scale, String> {
    let target = &root.spec.scale_target_ref;
    let Some(resource) = inventory.resource_of(&target.api_version, &target.kind) else {
        let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
        return Err(format!("no matches for kind {:?} in group {group:?}", target.kind));
    };
    let key = Key::new(&root.metadata.namespace, &target.name);
    let object: Value =
        api.get_subresource(&resource, &key, "scale").await.map_err(|error| error.to_string())?;
    let number = |path: &str| {
        object.pointer(path).and_then(Value::as_i64).and_then(|it| i32::try_from(it).ok()).unwrap_or_default()
    };
    Ok(Scale {
        wanted: number("/spec/replicas"),
        there: number("/status/replicas"),
        selector: object.pointer("/status/selector").and_then(Value::as_str).unwrap_or_default().to_owned(),
        resource,
        object,
    })
}

/// What is measured of a metric.
pub(super) async fn sample(
    api: &Api,
    inventory: &Inventory,
    namespace: &str,
    metric: &Metric,
    pods: &str,
) -> Result<Sample, String> {
    let Some(source) = metric.source() else { return Ok(Sample::Total(0)) };
    match &*metric.r#type {
        "Resource" | "ContainerResource" => {
            of_resource(api, namespace, &source.name, &source.container, pods)
                .await
                .map_err(|error| format!("unable to get metrics for resource {}: {error}", source.name))
        }
        "Pods" => of_pods(api, namespace, &source.metric, pods)
            .await
            .map_err(|error| format!("unable to get metric {}: {error}", source.metric.name)),
        "Object" => {
            let object = &source.described_object;
            let resource = inventory.resource_of(&object.api_version, &object.kind);
            of_object(api, namespace, resource, &object.name, &source.metric).await.map_err(|error| {
                let (name, kind) = (&source.metric.name, &object.kind);
                format!("unable to get metric {name}: {error} on {kind} {namespace}/{}", object.name)
            })
        }
        _ => of_outside(api, namespace, &source.metric).await.map_err(|error| {
            let selector = match &source.metric.selector {
                None => "nil".to_owned(),
                Some(selector) => selector.to_string(),
            };
            format!("unable to get external metric {namespace}/{}/{selector}: {error}", source.metric.name)
        }),
    }
}

async fn of_resource(
    api: &Api,
    namespace: &str,
    resource: &str,
    container: &str,
    pods: &str,
) -> Result<Sample, String> {
    #[derive(Deserialize)]
    struct PodMetrics {
        metadata: client::Meta,
        timestamp: Option<Timestamp>,
        window: Option<String>,
        #[serde(default, deserialize_with = "null_is_default")]
        containers: Vec<Usage>,
    }
    #[derive(Deserialize)]
    struct Usage {
        #[serde(default)]
        name: String,
        #[serde(default)]
        usage: Amounts,
    }

    let selection = Selection { labels: pods.to_owned(), ..Selection::of_namespace(namespace) };
    let list: List<PodMetrics> =
        api.list(&POD_METRICS, &selection, &Page::default()).await.map_err(|error| {
            format!(
                "unable to fetch metrics from resource metrics API: {}",
                text(&error, "pods.metrics.k8s.io")
            )
        })?;
    if list.items.is_empty() {
        return Err("no metrics returned from resource metrics API".to_owned());
    }
    let value = |pod: &PodMetrics| {
        let mut of =
            pod.containers.iter().filter(|it| container.is_empty() || it.name == container).peekable();
        of.peek()?;
        // One that lacks it makes the whole worthless.
        of.map(|it| it.usage.get(resource).map(Quantity::milli_value)).sum::<Option<i64>>()
    };
    let all = list.items.iter().filter_map(|pod| {
        let window = pod.window.as_deref().and_then(|text| text.parse::<jiff::SignedDuration>().ok());
        let window = window.and_then(|it| Duration::try_from(it).ok()).unwrap_or(WINDOW);
        Some((pod.metadata.name.to_string(), Measured { value: value(pod)?, at: pod.timestamp, window }))
    });
    Ok(Sample::Pods(all.collect()))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MetricValue {
    described_object: Described,
    timestamp: Option<Timestamp>,
    window_seconds: Option<u64>,
    value: Quantity,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Described {
    name: String,
}

async fn of_pods(api: &Api, namespace: &str, metric: &Identifier, pods: &str) -> Result<Sample, String> {
    let path = format!("namespaces/{namespace}/pods/*/{}", metric.name);
    let all = custom(api, &path, Some(pods), metric).await?;
    let measured = |it: MetricValue| {
        let window = it.window_seconds.map_or(WINDOW, Duration::from_secs);
        (it.described_object.name, Measured { value: it.value.milli_value(), at: it.timestamp, window })
    };
    Ok(Sample::Pods(all.into_iter().map(measured).collect()))
}

async fn of_object(
    api: &Api,
    namespace: &str,
    resource: Option<Resource>,
    name: &str,
    metric: &Identifier,
) -> Result<Sample, String> {
    let Some(resource) = resource else { return Err("the server does not know its kind".to_owned()) };
    let path = if resource.plural == "namespaces" && resource.group.is_empty() {
        format!("namespaces/{namespace}/metrics/{}", metric.name)
    } else {
        format!("namespaces/{namespace}/{resource}/{name}/{}", metric.name)
    };
    let all = custom(api, &path, None, metric).await?;
    all.first()
        .map(|it| Sample::Total(it.value.milli_value()))
        .ok_or_else(|| "no metrics returned from custom metrics API".to_owned())
}

/// Asks the API for metrics of objects, in either version.
async fn custom(
    api: &Api,
    path: &str,
    pods: Option<&str>,
    metric: &Identifier,
) -> Result<Vec<MetricValue>, String> {
    let mut query = Vec::new();
    query.extend(pods.map(|pods| ("labelSelector", pods.to_owned())));
    query.extend(selector_of(metric).map(|text| ("metricLabelSelector", text)));
    let query = encode(&query);
    let failed = |error: &str| format!("unable to fetch metrics from custom metrics API: {error}");
    for version in ["v1beta2", "v1beta1"] {
        let path = format!("/apis/custom.metrics.k8s.io/{version}/{path}{query}");
        match get::<List<MetricValue>>(api, &path).await {
            Ok(list) if list.items.is_empty() => {
                return Err("no metrics returned from custom metrics API".to_owned());
            }
            Ok(list) => return Ok(list.items),
            Err(error) if error.is_not_found() && version == "v1beta2" => {}
            Err(error) if error.is_not_found() && !is_about_the_metric(&error) => break,
            Err(error) => return Err(failed(&error.to_string())),
        }
    }
    Err("no custom metrics API (custom.metrics.k8s.io) registered".to_owned())
}

/// Whether a server that serves the API says that it does not know the metric.
fn is_about_the_metric(error: &Error) -> bool {
    error.status().is_some_and(|status| status.message.contains("metric"))
}

async fn of_outside(api: &Api, namespace: &str, metric: &Identifier) -> Result<Sample, String> {
    let query =
        encode(&selector_of(metric).map(|text| ("labelSelector", text)).into_iter().collect::<Vec<_>>());
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{}{query}", metric.name);
    let what = format!("{}.external.metrics.k8s.io", metric.name);
    let list: List<MetricValue> = get(api, &path).await.map_err(|error| {
        format!("unable to fetch metrics from external metrics API: {}", text(&error, &what))
    })?;
    if list.items.is_empty() {
        return Err("no metrics returned from external metrics API".to_owned());
    }
    Ok(Sample::Total(list.items.iter().fold(0, |sum: i64, it| sum.saturating_add(it.value.milli_value()))))
}

fn selector_of(metric: &Identifier) -> Option<String> {
    let selector: Selector = client::meta::selector(metric.selector.clone()?).ok()?;
    Some(selector.to_string())
}

fn encode(query: &[(&str, String)]) -> String {
    let part =
        |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let parts: Vec<String> = query.iter().map(part).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

async fn get<T: DeserializeOwned>(api: &Api, path: &str) -> Result<T, Error> {
    let answer = api.request(Method::GET, path, "application/json", None).await?;
    serde_json::from_slice(&answer).map_err(|source| Error::Decode { what: format!("GET {path}"), source })
}

/// An error as people know it who have no metrics API.
fn text(error: &Error, what: &str) -> String {
    match error.status().map(|status| status.code) {
        Some(404) => format!("the server could not find the requested resource (get {what})"),
        Some(503) => format!("the server is currently unable to handle the request (get {what})"),
        _ => error.to_string(),
    }
}
