//! One workload of each family, small enough that a hundred seeds can be played, and what their Pods do.
//!
//! Everything a client does to them in [`crate::steps`] is a value made here.

use std::time::Duration;

use client::{Resource, resource};
use serde_json::{Value, json};

use crate::hollow::stages::{Match, Stage, Stages};

/// The Deployment whose Pods are only ever evicted.
pub const GUARDED: &str = "guarded";

/// What the Pods of these workloads do: the reports of the CronJob take longer than its period, and some Pods fail.
pub fn stages() -> Stages {
    let of = |app: &str| Match {
        labels: [("app".to_owned(), app.to_owned())].into_iter().collect(),
        ..Match::default()
    };
    Stages::of_own(vec![
        Stage { matches: of("tick"), complete: Some(Duration::from_secs(75)), ..Stage::default() },
        Stage {
            matches: of("flaky"),
            complete: Some(Duration::from_secs(1)),
            exit_code: 1,
            ..Stage::default()
        },
    ])
}

/// What there is from the beginning.
pub fn standing() -> Vec<(Resource, &'static str, Value)> {
    vec![
        (resource::STORAGE_CLASSES, "", storage_class()),
        (resource::DEPLOYMENTS, "default", deployment("web", 5)),
        (resource::SERVICES, "default", service("web")),
        (resource::DEPLOYMENTS, "default", deployment(GUARDED, 3)),
        (resource::POD_DISRUPTION_BUDGETS, "default", budget(GUARDED)),
        (resource::STATEFUL_SETS, "default", stateful_set("db", 3)),
        (resource::DAEMON_SETS, "default", daemon_set("agent")),
        (resource::CRON_JOBS, "default", cron_job("tick")),
    ]
}

fn template(app: &str, version: u64, restart_policy: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "restartPolicy": restart_policy,
            "containers": [{"name": "it", "image": image(app, version)}],
        },
    })
}

fn image(app: &str, version: u64) -> String {
    format!("registry.example/{app}:v{version}")
}

/// The change to a workload that gives it another version.
pub fn update(app: &str, version: u64) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "it", "image": image(app, version)}]}}}})
}

/// A Deployment.
pub fn deployment(app: &str, replicas: u64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": app}},
            "template": template(app, 0, "Always"),
        },
    })
}

/// A Service for the Pods of an app.
pub fn service(app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}]},
    })
}

fn budget(app: &str) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": app},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}},
    })
}

fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/host-path", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
    })
}

fn stateful_set(app: &str, replicas: u64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": app},
        "spec": {
            "replicas": replicas, "serviceName": app,
            "selector": {"matchLabels": {"app": app}},
            "template": template(app, 0, "Always"),
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Delete"},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        },
    })
}

fn daemon_set(app: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": app},
        "spec": {"selector": {"matchLabels": {"app": app}}, "template": template(app, 0, "Always")},
    })
}

/// The change to a DaemonSet that lets it surge, or not.
pub fn surge(on: bool) -> Value {
    let (surge, unavailable) = if on { (1, 0) } else { (0, 1) };
    json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}})
}

fn cron_job(app: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": app},
        "spec": {
            "schedule": "* * * * *", "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"template": template(app, 0, "Never")}},
        },
    })
}

/// A Job of one of the kinds there are, by its number.
pub fn job(number: u64) -> Value {
    let name = format!("job-{number}");
    let (app, spec) = match number % 4 {
        0 => ("report", json!({"completions": 3, "parallelism": 2})),
        1 => ("report", json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"})),
        2 => ("flaky", json!({"backoffLimit": 1})),
        _ => ("report", json!({"completions": 2, "parallelism": 2, "podReplacementPolicy": "Failed"})),
    };
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
    if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("template".to_owned(), template(app, 0, "Never"));
        spec.insert("ttlSecondsAfterFinished".to_owned(), 30.into());
    }
    job
}
