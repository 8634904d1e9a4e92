//! Names, labels and types are those of a default apiserver 1.36.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const POD: RequestLabels<'static> = RequestLabels {
    verb: "LIST",
    group: "",
    version: "v1",
    resource: "pods",
    subresource: "",
    scope: "namespace",
};

fn lines(text: &[u8]) -> Vec<String> {
    String::from_utf8(text.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

fn has(metrics: &Metrics, line: &str) {
    let lines = lines(&metrics.render());
    assert!(lines.iter().any(|it| it == line), "no line {line} in\n{}", lines.join("\n"));
}

/// Moves everything once.
fn everything() -> Metrics {
    let metrics = Metrics::new();
    let second = Duration::from_secs(1);
    let outcome = Outcome {
        code: 200,
        elapsed: Duration::from_millis(300),
        elsewhere: Duration::from_millis(100),
        response_bytes: Some(5000),
        ..Outcome::default()
    };
    let requests = &metrics.requests;
    requests.answered(POD, outcome);
    requests.body_read(POD, 10);
    requests.terminated(POD, 429);
    requests.event_sent(POD, 100);
    requests.initial_events_sent(POD, second);
    drop(requests.last(POD));
    drop(requests.serve(RequestKind::Mutating));
    requests.publish_in_flight();
    metrics.authentication.attempted("success", Some("me@example.com"), second);
    metrics.authorization.attempted("allowed", second);
    let flow = &metrics.flow;
    flow.dispatched.with_label_values(&["p", "f"]).inc();
    flow.rejected.with_label_values(&["p", "f", "queue-full"]).inc();
    flow.in_queue.with_label_values(&["p", "f"]).inc();
    flow.executing.with_label_values(&["p", "f"]).inc();
    flow.executing_seats.with_label_values(&["p", "f"]).inc();
    flow.nominal_limit_seats.with_label_values(&["p"]).inc();
    flow.current_limit_seats.with_label_values(&["p"]).inc();
    flow.wait.with_label_values(&["p", "f", "true"]).observe(1.0);
    flow.execution.with_label_values(&["p", "f", "regular"]).observe(1.0);
    let labels = AdmissionLabels { name: "n", operation: "CREATE", kind: "admit", rejected: true };
    metrics.admission.controller(labels, second);
    metrics.admission.step(labels, second);
    metrics.admission.webhook(labels, 700, second);
    metrics.admission.webhook_rejected(labels, "no_error", 403);
    metrics.admission.webhook_failed_open(labels);
    metrics.audit.events.inc();
    metrics.audit.levels.with_label_values(&["Metadata"]).inc();
    let cache = &metrics.cache;
    cache.watch.announce("pods");
    cache.listed("", "pods", "", 7, 3);
    metrics.storage.stored(&api_types::kind::GroupResource::new("apps", "deployments"), 4);
    metrics.storage.size("").set(12.0);
    metrics.storage.estimated(&api_types::kind::GroupResource::new("apps", "deployments"), 4000);
    metrics.storage.asked("get", "", "pods", false, second);
    metrics
}

/// Type and labels, as a default apiserver 1.36 has them.
const UPSTREAM: &[(&str, &str, &str)] = &[
    (
        "apiserver_admission_controller_admission_duration_seconds",
        "histogram",
        "name operation rejected type",
    ),
    ("apiserver_admission_step_admission_duration_seconds", "histogram", "operation rejected type"),
    ("apiserver_audit_event_total", "counter", ""),
    ("apiserver_audit_requests_rejected_total", "counter", ""),
    ("apiserver_cache_list_fetched_objects_total", "counter", "group index resource"),
    ("apiserver_cache_list_returned_objects_total", "counter", "group resource"),
    ("apiserver_cache_list_total", "counter", "group index resource"),
    ("apiserver_current_inflight_requests", "gauge", "request_kind"),
    ("apiserver_flowcontrol_current_executing_requests", "gauge", "flow_schema priority_level"),
    ("apiserver_flowcontrol_current_executing_seats", "gauge", "flow_schema priority_level"),
    ("apiserver_flowcontrol_current_limit_seats", "gauge", "priority_level"),
    ("apiserver_flowcontrol_dispatched_requests_total", "counter", "flow_schema priority_level"),
    ("apiserver_flowcontrol_nominal_limit_seats", "gauge", "priority_level"),
    ("apiserver_flowcontrol_request_execution_seconds", "histogram", "flow_schema priority_level type"),
    ("apiserver_longrunning_requests", "gauge", "component group resource scope subresource verb version"),
    ("apiserver_request_body_size_bytes", "histogram", "group resource verb"),
    (
        "apiserver_request_duration_seconds",
        "histogram",
        "component dry_run group resource scope subresource verb version",
    ),
    (
        "apiserver_request_sli_duration_seconds",
        "histogram",
        "component group resource scope subresource verb version",
    ),
    (
        "apiserver_request_total",
        "counter",
        "code component dry_run group resource scope subresource system_client verb version",
    ),
    ("apiserver_resource_objects", "gauge", "group resource"),
    ("apiserver_resource_size_estimate_bytes", "gauge", "group resource"),
    ("apiserver_response_sizes", "histogram", "component group resource scope subresource verb version"),
    ("apiserver_storage_events_received_total", "counter", "group resource"),
    ("apiserver_storage_list_evaluated_objects_total", "counter", "group resource"),
    ("apiserver_storage_list_fetched_objects_total", "counter", "group resource"),
    ("apiserver_storage_list_returned_objects_total", "counter", "group resource"),
    ("apiserver_storage_list_total", "counter", "group resource"),
    ("apiserver_storage_objects", "gauge", "resource"),
    ("apiserver_storage_size_bytes", "gauge", "storage_cluster_id"),
    ("apiserver_tls_handshake_errors_total", "counter", ""),
    ("apiserver_watch_cache_consistent_read_total", "counter", "fallback group resource success"),
    ("apiserver_watch_cache_events_dispatched_total", "counter", "group resource"),
    ("apiserver_watch_cache_events_received_total", "counter", "group resource"),
    ("apiserver_watch_cache_initializations_total", "counter", "group resource"),
    ("apiserver_watch_cache_read_wait_seconds", "histogram", "group resource"),
    ("apiserver_watch_cache_resource_version", "gauge", "group resource"),
    ("apiserver_watch_events_sizes", "histogram", "group resource version"),
    ("apiserver_watch_events_total", "counter", "group resource version"),
    ("apiserver_watch_list_duration_seconds", "histogram", "group resource scope version"),
    ("authenticated_user_requests", "counter", "username"),
    ("authentication_attempts", "counter", "result"),
    ("authentication_duration_seconds", "histogram", "result"),
    ("authorization_attempts_total", "counter", "result"),
    ("authorization_duration_seconds", "histogram", "result"),
    ("etcd_bookmark_total", "counter", "group resource"),
    ("etcd_request_duration_seconds", "histogram", "group operation resource"),
    ("etcd_requests_total", "counter", "group operation resource"),
    (
        "kubernetes_build_info",
        "gauge",
        "build_date compiler git_commit git_tree_state git_version go_version major minor platform",
    ),
];

#[test]
fn names_types_and_labels_are_upstreams() {
    let mut kinds = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines(&everything().render()) {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix).filter(|base| kinds.contains_key(*base)))
                .unwrap_or(name);
            let inside = line.split_once('{').map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let names = inside.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()));
            labels.entry(base.to_owned()).or_default().extend(names.filter(|name| name != "le"));
        }
    }
    for (name, kind, expected) in UPSTREAM {
        assert_eq!(kinds.get(*name).map(String::as_str), Some(*kind), "{name}");
        let found: Vec<&str> = labels[*name].iter().map(String::as_str).collect();
        assert_eq!(found.join(" "), *expected, "{name}");
    }
}

#[test]
fn a_request_is_counted_timed_and_measured() {
    let metrics = everything();
    let pods = r#"component="apiserver",group="",resource="pods",scope="namespace",subresource="",verb="LIST",version="v1""#;
    has(
        &metrics,
        r#"apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="pods",scope="namespace",subresource="",system_client="",verb="LIST",version="v1"} 1"#,
    );
    has(&metrics, &format!(r#"apiserver_request_sli_duration_seconds_bucket{{{pods},le="0.2"}} 1"#));
    has(&metrics, &format!(r#"apiserver_request_sli_duration_seconds_bucket{{{pods},le="0.1"}} 0"#));
    has(&metrics, &format!(r#"apiserver_response_sizes_bucket{{{pods},le="10000"}} 1"#));
    has(&metrics, &format!("apiserver_longrunning_requests{{{pods}}} 0"));
    has(&metrics, r#"authenticated_user_requests{username="email_id"} 1"#);
    has(&metrics, r#"apiserver_storage_objects{resource="deployments.apps"} 4"#);
    has(
        &metrics,
        r#"apiserver_admission_webhook_request_total{code="600",name="n",operation="CREATE",rejected="true",type="admit"} 1"#,
    );
}

#[test]
fn in_flight_requests_are_published_by_their_peak() {
    let metrics = Metrics::new();
    let read = |kind: &str, count: u32| {
        metrics.requests.publish_in_flight();
        has(&metrics, &format!("apiserver_current_inflight_requests{{request_kind=\"{kind}\"}} {count}"));
    };
    let one = metrics.requests.serve(RequestKind::ReadOnly);
    drop(metrics.requests.serve(RequestKind::ReadOnly));
    read("readOnly", 2);
    read("readOnly", 1);
    read("mutating", 0);
    drop(one);
    // The one that ended in this second counts for it.
    read("readOnly", 1);
    read("readOnly", 0);
}

#[test]
fn dry_runs_are_no_service_level_indicators() {
    let metrics = Metrics::new();
    metrics.requests.answered(POD, Outcome { code: 200, dry_run: "All", ..Outcome::default() });
    let text = String::from_utf8(metrics.render()).unwrap();
    assert!(text.contains("apiserver_request_duration_seconds_count"));
    assert!(!text.contains("apiserver_request_sli_duration_seconds_count"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured_too() {
    let text = String::from_utf8(Metrics::new().render()).unwrap();
    for name in [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_virtual_memory_bytes",
    ] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn health_checks_are_measured_apart() {
    let metrics = Metrics::new();
    metrics.slis.observe("etcd", "readyz", false);
    let text = lines(&metrics.slis.render());
    assert!(text.contains(&r#"kubernetes_healthcheck{name="etcd",type="readyz"} 0"#.to_owned()));
    assert!(text.contains(
        &r#"kubernetes_healthchecks_total{name="etcd",status="error",type="readyz"} 1"#.to_owned()
    ));
}
