//! What clients do in a world.

use std::time::Duration;

use client::{Key, api::Patch, resource};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Figures};

const HOUR: Duration = Duration::from_secs(3600);
/// A rolling update of five Pods, or a Job of two, takes no longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Five servers behind a Service, a new version of them every hour, and a Job every hour. What must hold is checked after
/// every change; that each update and each Job gets done, every hour.
///
/// # Errors
/// What did not hold.
pub async fn rolling_update_every_hour(cluster: &Cluster, hours: u32) -> anyhow::Result<Figures> {
    let start = tokio::time::Instant::now();
    let api = &cluster.api;
    set_up(cluster).await?;
    for hour in 1..=hours {
        let (key, patch) = (Key::new("default", "web"), image(u64::from(hour)));
        let _: Value = api.patch(&resource::DEPLOYMENTS, &key, "", &Patch::strategic(patch)).await?;
        run_job(cluster, u64::from(hour)).await?;
        rolled_out(cluster).await?;
        let job = format!("report-{hour}");
        cluster
            .run_until(&format!("done with Job {job}"), PATIENCE, |world| {
                world.of_kind("Job").any(|it| it.metadata.name == job && it.is_true("Complete"))
            })
            .await?;
        cluster.check()?;
        tokio::time::sleep_until(start + HOUR * hour).await;
    }
    cluster.check()?;
    Ok(cluster.figures())
}

/// Five servers behind a Service, all of them available.
async fn set_up(cluster: &Cluster) -> anyhow::Result<()> {
    let _: Value = cluster.api.create(&resource::DEPLOYMENTS, "default", &web()).await?;
    let _: Value = cluster.api.create(&resource::SERVICES, "default", &service()).await?;
    rolled_out(cluster).await
}

/// The change to the Deployment that gives it another version.
fn image(version: u64) -> Value {
    json!({"spec": {"template": {"spec": {
        "containers": [{"name": "web", "image": format!("registry.example/web:v{version}")}],
    }}}})
}

/// Starts a Job, named by its number.
async fn run_job(cluster: &Cluster, number: u64) -> anyhow::Result<()> {
    let _: Value = cluster.api.create(&resource::JOBS, "default", &report(number)).await?;
    Ok(())
}

async fn rolled_out(cluster: &Cluster) -> anyhow::Result<()> {
    // The Deployment in the history may still be the one before the last write.
    cluster.run_for(Duration::from_millis(1)).await;
    let what = "rolled out";
    cluster
        .run_until(what, PATIENCE, |world| world.of_kind("Deployment").all(|it| it.is_rolled_out()))
        .await?;
    Ok(())
}

fn web() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "registry.example/web:v0"}]},
            },
        },
    })
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    })
}

fn report(number: u64) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("report-{number}")},
        "spec": {
            "completions": 2,
            "ttlSecondsAfterFinished": 1800,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "report", "image": "registry.example/report:v1"}],
                },
            },
        },
    })
}
