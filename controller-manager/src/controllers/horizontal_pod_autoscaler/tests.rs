use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    ask::{Measured, Sample, Scale},
    decide::{Unfit, View},
    pace::Memory,
    *,
};

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn autoscaler(change: &Value) -> HorizontalPodAutoscaler {
    let mut spec = json!({
        "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}, "minReplicas": 1, "maxReplicas": 10,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}],
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "web"}, "spec": spec})).unwrap()
}

fn pod(name: &str, phase: &str, ready: &str, since: &str) -> Arc<Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": name},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": phase, "startTime": since, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]},
        }))
        .unwrap(),
    )
}

fn running(name: &str) -> Arc<Pod> {
    pod(name, "Running", "True", "2026-01-01T00:00:00Z")
}

fn used(all: &[(&str, i64)]) -> Sample {
    let measured = |value: i64| Measured { value, at: Some(now()), window: Duration::from_secs(60) };
    Sample::Pods(
        all.iter().map(|(name, value)| ((*name).to_owned(), measured(*value))).collect::<BTreeMap<_, _>>(),
    )
}

fn scale(replicas: i32) -> Scale {
    Scale {
        resource: client::resource::DEPLOYMENTS,
        wanted: replicas,
        there: replicas,
        selector: "app=web".to_owned(),
        object: Value::Null,
    }
}

/// How many Pods there shall be, why, and the conditions by their reasons.
fn look(
    root: &HorizontalPodAutoscaler,
    scale: &Scale,
    samples: Vec<Result<Sample, String>>,
    pods: &[Arc<Pod>],
    memory: &mut Memory,
    at: Timestamp,
) -> (Option<i32>, Vec<String>) {
    let mut view = View::new(root, at);
    memory.begin(scale.wanted, at);
    view.scaled(scale);
    if view.needs_measurements(scale) {
        view.measured(scale, samples, pods);
    }
    let wanted = view.decide(scale, memory);
    if let Some(wanted) = wanted {
        view.rescaled(scale, wanted, Ok(()), memory);
    }
    (wanted, view.status.conditions.iter().map(|it| format!("{} {}", it.r#type, it.reason)).collect())
}

#[test]
fn as_many_pods_as_their_use_calls_for() {
    let two = [running("a"), running("b")];
    for (name, replicas, sample, pods, wanted) in [
        ("twice as busy", 2, used(&[("a", 1000), ("b", 1000)]), two.to_vec(), Some(4)),
        ("a little busier", 2, used(&[("a", 540), ("b", 540)]), two.to_vec(), None),
        ("idle, but a moment ago it was not", 2, used(&[("a", 100), ("b", 100)]), two.to_vec(), None),
        ("one is not measured: as if idle", 2, used(&[("a", 1000)]), two.to_vec(), None),
        (
            "one is not ready: as if idle",
            2,
            used(&[("a", 1500)]),
            vec![running("a"), pod("b", "Pending", "False", "2026-01-01T00:59:00Z")],
            Some(3),
        ),
        (
            "one is just starting: its use is no measure",
            2,
            used(&[("a", 1500), ("b", 9000)]),
            vec![running("a"), pod("b", "Running", "False", "2026-01-01T00:59:00Z")],
            Some(3),
        ),
        ("too fast", 2, used(&[("a", 9000), ("b", 9000)]), two.to_vec(), Some(4)),
        ("too many", 6, used(&[("a", 9000), ("b", 9000)]), two.to_vec(), Some(10)),
    ] {
        let root = autoscaler(&json!({}));
        let mut memory = Memory::default();
        let found = look(&root, &scale(replicas), vec![Ok(sample)], &pods, &mut memory, now());
        assert_eq!(found.0, wanted, "{name}: {:?}", found.1);
    }
}

#[test]
fn bounds_count_more_than_measurements() {
    let root = autoscaler(&json!({"minReplicas": 3, "maxReplicas": 5}));
    let look = |replicas| look(&root, &scale(replicas), vec![], &[], &mut Memory::default(), now());
    assert_eq!(look(2).0, Some(3));
    assert_eq!(look(9).0, Some(5));
    assert_eq!(
        look(0),
        (None, vec!["AbleToScale SucceededGetScale".to_owned(), "ScalingActive ScalingDisabled".to_owned()])
    );
}

#[test]
fn what_cannot_be_measured_is_told_and_nothing_shrinks_by_it() {
    let root = autoscaler(&json!({}));
    let absent = "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server \
                  could not find the requested resource (get pods.metrics.k8s.io)";
    let mut view = View::new(&root, now());
    view.scaled(&scale(2));
    view.measured(&scale(2), vec![Err(absent.to_owned())], &[running("a")]);
    assert_eq!(view.decide(&scale(2), &mut Memory::default()), None);
    let notes: Vec<_> = view.notes.iter().map(|note| format!("{}: {}", note.reason, note.message)).collect();
    assert_eq!(
        notes,
        [
            format!("FailedGetResourceMetric: failed to get cpu utilization: {absent}"),
            format!(
                "FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu \
                 resource metric value: failed to get cpu utilization: {absent}"
            ),
        ]
    );
    let active = view.status.conditions.iter().find(|it| it.r#type == "ScalingActive").unwrap();
    assert_eq!(
        active.message,
        format!("the HPA was unable to compute the replica count: failed to get cpu utilization: {absent}")
    );

    let mut two = autoscaler(&json!({}));
    two.spec.metrics.extend(autoscaler(&json!({})).spec.metrics);
    let pods = [running("a"), running("b")];
    let of = |usage: i64| vec![Ok(used(&[("a", usage), ("b", usage)])), Err("absent".to_owned())];
    let old = Memory::default;
    assert_eq!(
        look(&two, &scale(2), of(1000), &pods, &mut old(), now()).0,
        Some(4),
        "one that calls for more is enough"
    );
    assert_eq!(look(&two, &scale(2), of(100), &pods, &mut old(), now()).0, None);
}

#[test]
fn it_shrinks_only_after_a_while() {
    let root = autoscaler(&json!({}));
    let pods = [running("a"), running("b"), running("c"), running("d")];
    let idle = || vec![Ok(used(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)]))];
    let mut memory = Memory::default();
    let (wanted, conditions) = look(&root, &scale(4), idle(), &pods, &mut memory, now());
    assert_eq!(wanted, None);
    assert!(conditions.contains(&"AbleToScale ScaleDownStabilized".to_owned()), "{conditions:?}");
    let later = now() + SignedDuration::from_secs(301);
    assert_eq!(look(&root, &scale(4), idle(), &pods, &mut memory, later).0, Some(1));
}

#[test]
fn rules_say_how_fast_it_goes() {
    let rules = |up: Value, down: Value| autoscaler(&json!({"behavior": {"scaleUp": up, "scaleDown": down}}));
    let pods = |count: i64, value: i64| vec![Ok(used(&[("a", value * count), ("b", value * count)]))];
    let two = [running("a"), running("b")];
    let one_a_minute = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]});
    let disabled = json!({"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled", "policies": []});
    let root = rules(one_a_minute.clone(), one_a_minute);
    let mut memory = Memory::default();
    let busy = || pods(1, 5000);
    assert_eq!(look(&root, &scale(2), busy(), &two, &mut memory, now()).0, Some(3));
    let soon = now() + SignedDuration::from_secs(15);
    let (wanted, conditions) = look(&root, &scale(3), busy(), &two, &mut memory, soon);
    assert_eq!(wanted, None, "one a minute");
    assert!(conditions.contains(&"ScalingLimited ScaleUpLimit".to_owned()), "{conditions:?}");
    let later = now() + SignedDuration::from_secs(61);
    assert_eq!(look(&root, &scale(3), busy(), &two, &mut memory, later).0, Some(4));
    let idle = || pods(1, 10);
    assert_eq!(look(&root, &scale(4), idle(), &two, &mut Memory::default(), now()).0, Some(3));
    let root = rules(disabled.clone(), disabled);
    assert_eq!(look(&root, &scale(4), idle(), &two, &mut Memory::default(), now()).0, None);
    assert_eq!(look(&root, &scale(2), busy(), &two, &mut Memory::default(), now()).0, None);
}

#[test]
fn other_metrics_are_judged_by_their_targets() {
    let metric = |kind: &str, field: &str, target: Value| {
        let source = json!({"metric": {"name": "queue"}, "describedObject": {"kind": "Service", "name": "s"}, "target": target});
        autoscaler(&json!({"metrics": [{"type": kind, field: source}]}))
    };
    let pods = [running("a"), running("b")];
    for (root, sample, wanted) in [
        (
            metric("Pods", "pods", json!({"type": "AverageValue", "averageValue": "10"})),
            used(&[("a", 20_000), ("b", 20_000)]),
            Some(4),
        ),
        (metric("Object", "object", json!({"type": "Value", "value": "10"})), Sample::Total(15_000), Some(3)),
        (
            metric("Object", "object", json!({"type": "AverageValue", "averageValue": "10"})),
            Sample::Total(35_000),
            Some(4),
        ),
        (
            metric("External", "external", json!({"type": "AverageValue", "averageValue": "10"})),
            Sample::Total(21_000),
            None,
        ),
        (
            metric("External", "external", json!({"type": "Value", "value": "10"})),
            Sample::Total(11_500),
            Some(3),
        ),
    ] {
        let found = look(&root, &scale(2), vec![Ok(sample)], &pods, &mut Memory::default(), now());
        assert_eq!(found.0, wanted, "{:?}", root.spec.metrics);
    }
}

#[test]
fn a_target_without_a_selector_is_told() {
    let root = autoscaler(&json!({}));
    let mut view = View::new(&root, now());
    view.scaled(&scale(2));
    view.unfit_selector(Unfit::Missing);
    assert_eq!(view.decide(&scale(2), &mut Memory::default()), None);
    let reasons: Vec<_> = view.notes.iter().map(|note| note.reason.to_string()).collect();
    assert_eq!(reasons, ["SelectorRequired", "FailedComputeMetricsReplicas"]);
}

#[test]
fn autoscalers_are_rivals_if_they_are_about_one_pod() {
    let labelled = |labels: Value| -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "p", "labels": labels}}))
                .unwrap(),
        )
    };
    let selectors: BTreeMap<Key, Selector> =
        [("ns", "a", "app=web"), ("ns", "b", "tier"), ("ns", "c", "app=db"), ("other", "d", "app=web")]
            .into_iter()
            .map(|(namespace, name, selector)| (Key::new(namespace, name), selector.parse().unwrap()))
            .collect();
    let pods = [labelled(json!({"app": "web"})), labelled(json!({"app": "web", "tier": "front"}))];
    assert_eq!(about(&pods[..1], "ns", &selectors), ["ns/a"]);
    assert_eq!(about(&pods, "ns", &selectors), ["ns/a", "ns/b"]);
    assert!(about(&[], "ns", &selectors).is_empty());
}
