//! Controllers on hollow nodes, over the real server: each comes to what it should, and then writes nothing more.

use std::time::Duration;

use client::{Key, Resource, api::Patch, resource};
use serde_json::{Value, json};
use simulator::cluster::{Cluster, Options, play};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn run(scenario: impl AsyncFn(&Cluster) -> anyhow::Result<()>) {
    let log = || {
        play(Options::seed(5), async |cluster| {
            // The nodes come first.
            cluster.run_for(Duration::from_secs(2)).await;
            scenario(cluster).await?;
            cluster.check()?;
            rests(cluster).await?;
            Ok(cluster.log())
        })
        .unwrap_or_else(|error| panic!("{error:#}"))
    };
    let (first, second) = (log(), log());
    for (one, two) in first.iter().zip(&second) {
        assert_eq!(one, two, "the first change in which two runs of one seed differ");
    }
    assert_eq!(first.len(), second.len());
}

/// Nothing is written any more but what nodes and leaders report.
async fn rests(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.run_for(Duration::from_secs(30)).await;
    let before = cluster.log().len();
    cluster.run_for(Duration::from_secs(300)).await;
    let log = cluster.log();
    let routine = |line: &&String| line.contains(" Lease ") || line.contains(" Node ");
    let unrest: Vec<&String> = log.iter().skip(before).filter(|line| !routine(line)).collect();
    anyhow::ensure!(unrest.is_empty(), "a settled cluster writes: {unrest:#?}");
    Ok(())
}

async fn get(cluster: &Cluster, resource: &Resource, name: &str) -> Value {
    let namespace = if resource.namespaced { "default" } else { "" };
    cluster.api.get(resource, &Key::new(namespace, name)).await.unwrap_or_default()
}

async fn list(cluster: &Cluster, resource: &Resource) -> Vec<Value> {
    let selection = client::api::Selection::default();
    cluster
        .api
        .list::<Value>(resource, &selection, &client::api::Page::default())
        .await
        .map(|list| list.items)
        .unwrap_or_default()
}

async fn until(
    cluster: &Cluster,
    what: &str,
    resource: &Resource,
    name: &str,
    holds: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let start = tokio::time::Instant::now();
    loop {
        let object = get(cluster, resource, name).await;
        if holds(&object) {
            return Ok(object);
        }
        if start.elapsed() > PATIENCE {
            let log = cluster.log();
            let last: Vec<&String> =
                log.iter().rev().filter(|line| !line.contains(" Lease ")).take(25).collect();
            anyhow::bail!("not {what}: {object:#}\n{last:#?}");
        }
        cluster.run_for(Duration::from_millis(100)).await;
    }
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "it"}},
        "spec": {"containers": [{"name": "c", "image": format!("registry.example/it:{image}")}]},
    })
}

async fn patch(cluster: &Cluster, resource: &Resource, name: &str, change: Value) -> anyhow::Result<()> {
    let _: Value = cluster.api.patch(resource, &Key::new("default", name), "", &Patch::merge(change)).await?;
    Ok(())
}

fn reasons(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["reason"].as_str()).collect()
}

#[test]
fn a_daemon_set_has_a_pod_on_every_node_and_rolls() {
    run(async |cluster| {
        let set = json!({
            "metadata": {"name": "it"},
            "spec": {"selector": {"matchLabels": {"app": "it"}}, "template": template("one")},
        });
        let _: Value = cluster.api.create(&resource::DAEMON_SETS, "default", &set).await?;
        let ready = |set: &Value| {
            let (meta, status) = (&set["metadata"], &set["status"]);
            status["observedGeneration"] == meta["generation"]
                && status["desiredNumberScheduled"] == 3
                && status["updatedNumberScheduled"] == 3
                && status["numberAvailable"] == 3
        };
        until(cluster, "running", &resource::DAEMON_SETS, "it", ready).await?;
        let mut nodes: Vec<_> =
            list(cluster, &resource::PODS).await.iter().map(|pod| pod["spec"]["nodeName"].clone()).collect();
        nodes.sort_by_key(ToString::to_string);
        nodes.dedup();
        assert_eq!(nodes.len(), 3, "one on each node");

        let change = json!({"spec": {"template": template("two")}});
        patch(cluster, &resource::DAEMON_SETS, "it", change).await?;
        until(cluster, "rolled out", &resource::DAEMON_SETS, "it", ready).await?;
        let surge = json!({"spec": {"template": template("three"),
            "updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}});
        patch(cluster, &resource::DAEMON_SETS, "it", surge).await?;
        until(cluster, "rolled out with a surge", &resource::DAEMON_SETS, "it", ready).await?;
        cluster.run_for(Duration::from_secs(5)).await;
        assert_eq!(list(cluster, &resource::PODS).await.len(), 3);
        let mut numbers: Vec<_> = list(cluster, &resource::CONTROLLER_REVISIONS)
            .await
            .iter()
            .map(|it| it["revision"].as_i64().unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        let events = list(cluster, &resource::EVENTS).await;
        assert!(reasons(&events).contains(&"SuccessfulCreate"), "{:?}", reasons(&events));
        Ok(())
    });
}

#[test]
fn a_stateful_set_comes_up_in_order_and_rolls_back() {
    run(async |cluster| {
        let set = json!({
            "metadata": {"name": "it"},
            "spec": {"replicas": 3, "serviceName": "it", "selector": {"matchLabels": {"app": "it"}}, "template": template("one")},
        });
        let _: Value = cluster.api.create(&resource::STATEFUL_SETS, "default", &set).await?;
        let ready = |set: &Value| {
            let (meta, status) = (&set["metadata"], &set["status"]);
            status["observedGeneration"] == meta["generation"]
                && status["availableReplicas"] == set["spec"]["replicas"]
                && status["updatedReplicas"] == set["spec"]["replicas"]
                && status["currentRevision"] == status["updateRevision"]
        };
        let first = until(cluster, "running", &resource::STATEFUL_SETS, "it", ready).await?;
        let mut pods = list(cluster, &resource::PODS).await;
        pods.sort_by_key(|pod| pod["metadata"]["creationTimestamp"].to_string());
        let names: Vec<_> = pods.iter().map(|pod| pod["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["it-0", "it-1", "it-2"]);

        patch(cluster, &resource::STATEFUL_SETS, "it", json!({"spec": {"template": template("two")}}))
            .await?;
        until(cluster, "rolled out", &resource::STATEFUL_SETS, "it", ready).await?;
        patch(cluster, &resource::STATEFUL_SETS, "it", json!({"spec": {"template": template("one")}}))
            .await?;
        let back = until(cluster, "rolled back", &resource::STATEFUL_SETS, "it", ready).await?;
        assert_eq!(
            back["status"]["currentRevision"], first["status"]["currentRevision"],
            "its revision is kept"
        );
        patch(cluster, &resource::STATEFUL_SETS, "it", json!({"spec": {"replicas": 1}})).await?;
        until(cluster, "smaller", &resource::STATEFUL_SETS, "it", |set| set["status"]["replicas"] == 1)
            .await?;
        Ok(())
    });
}

fn class(mode: &str) -> Value {
    json!({
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/host-path", "reclaimPolicy": "Delete", "volumeBindingMode": mode,
    })
}

#[test]
fn the_claims_of_a_stateful_set_are_bound_kept_and_deleted() {
    run(async |cluster| {
        let _: Value = cluster.api.create(&resource::STORAGE_CLASSES, "", &class("Immediate")).await?;
        let set = json!({
            "metadata": {"name": "it"},
            "spec": {
                "replicas": 2, "serviceName": "it", "selector": {"matchLabels": {"app": "it"}}, "template": template("one"),
                "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain", "whenDeleted": "Delete"},
                "volumeClaimTemplates": [{"metadata": {"name": "data"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
            },
        });
        let _: Value = cluster.api.create(&resource::STATEFUL_SETS, "default", &set).await?;
        let ready = |set: &Value| set["status"]["availableReplicas"] == 2;
        until(cluster, "running", &resource::STATEFUL_SETS, "it", ready).await?;
        let bound = |claim: &Value| claim["status"]["phase"] == "Bound";
        let claims = resource::PERSISTENT_VOLUME_CLAIMS;
        let claim = until(cluster, "bound", &claims, "data-it-1", bound).await?;
        assert_eq!(claim["status"]["capacity"]["storage"], "1Gi");
        assert_eq!(claim["metadata"]["ownerReferences"][0]["kind"], "StatefulSet");

        patch(cluster, &resource::STATEFUL_SETS, "it", json!({"spec": {"replicas": 1}})).await?;
        until(cluster, "smaller", &resource::STATEFUL_SETS, "it", |set| set["status"]["replicas"] == 1)
            .await?;
        assert!(bound(&get(cluster, &claims, "data-it-1").await), "claims are kept");
        patch(cluster, &resource::STATEFUL_SETS, "it", json!({"spec": {"replicas": 2}})).await?;
        until(cluster, "larger", &resource::STATEFUL_SETS, "it", ready).await?;
        let again = get(cluster, &claims, "data-it-1").await;
        assert_eq!(again["metadata"]["uid"], claim["metadata"]["uid"], "the Pod finds its claim again");

        // A claim that is used stays although it is to go.
        cluster
            .api
            .delete(&claims, &Key::new("default", "data-it-0"), &client::api::DeleteOptions::default())
            .await?;
        cluster.run_for(Duration::from_secs(5)).await;
        assert!(get(cluster, &claims, "data-it-0").await["metadata"]["deletionTimestamp"].is_string());

        let key = Key::new("default", "it");
        cluster.api.delete(&resource::STATEFUL_SETS, &key, &client::api::DeleteOptions::default()).await?;
        until(cluster, "gone", &claims, "data-it-1", Value::is_null).await?;
        until(cluster, "gone", &claims, "data-it-0", Value::is_null).await?;
        cluster.run_for(Duration::from_secs(5)).await;
        assert_eq!(list(cluster, &resource::PERSISTENT_VOLUMES).await.len(), 0, "and their volumes");
        Ok(())
    });
}

#[test]
fn a_quota_follows_what_is_there_and_endpoints_are_mirrored() {
    run(async |cluster| {
        let quota = json!({"metadata": {"name": "it"}, "spec": {"hard": {"pods": "9", "count/deployments.apps": "2", "secrets": "5"}}});
        let _: Value = cluster.api.create(&resource::RESOURCE_QUOTAS, "default", &quota).await?;
        let web = json!({"metadata": {"name": "it"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "it"}}, "template": template("one")}});
        let _: Value = cluster.api.create(&resource::DEPLOYMENTS, "default", &web).await?;
        let used = |pods: &'static str| {
            move |quota: &Value| {
                quota["status"]["used"]
                    == json!({"pods": pods, "count/deployments.apps": "1", "secrets": "0"})
            }
        };
        until(cluster, "counted", &resource::RESOURCE_QUOTAS, "it", used("3")).await?;
        patch(cluster, &resource::DEPLOYMENTS, "it", json!({"spec": {"replicas": 1}})).await?;
        until(cluster, "counted again", &resource::RESOURCE_QUOTAS, "it", used("1")).await?;

        let service = json!({"metadata": {"name": "ext"}, "spec": {"ports": [{"port": 80}]}});
        let _: Value = cluster.api.create(&resource::SERVICES, "default", &service).await?;
        let endpoints = json!({"metadata": {"name": "ext"}, "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]});
        let _: Value = cluster.api.create(&resource::ENDPOINTS, "default", &endpoints).await?;
        cluster.run_for(Duration::from_secs(2)).await;
        let slices = list(cluster, &resource::ENDPOINT_SLICES).await;
        let mirrors: Vec<_> =
            slices.iter().filter(|it| it["endpoints"][0]["addresses"][0] == "192.0.2.7").collect();
        assert_eq!(mirrors.len(), 1, "{slices:#?}");
        let nodes = list(cluster, &resource::NODES).await;
        assert!(
            nodes.iter().all(|node| node["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"] == "0")
        );
        Ok(())
    });
}

#[test]
fn an_autoscaler_without_metrics_says_so_and_keeps_within_its_bounds() {
    run(async |cluster| {
        let web = json!({"metadata": {"name": "it"}, "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "it"}}, "template": template("one")}});
        let _: Value = cluster.api.create(&resource::DEPLOYMENTS, "default", &web).await?;
        let hpa = json!({"metadata": {"name": "scaler"}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "it"}, "minReplicas": 2, "maxReplicas": 5,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
        let _: Value = cluster.api.create(&resource::HORIZONTAL_POD_AUTOSCALERS, "default", &hpa).await?;
        until(cluster, "scaled", &resource::DEPLOYMENTS, "it", |it| it["status"]["readyReplicas"] == 2)
            .await?;
        let reason = |hpa: &Value, which: &str| {
            let conditions = hpa["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions
                .into_iter()
                .find(|it| it["type"] == which)
                .map(|it| it["reason"].clone())
                .unwrap_or_default()
        };
        let told = |hpa: &Value| reason(hpa, "ScalingActive") == "FailedGetResourceMetric";
        let hpa = until(cluster, "told", &resource::HORIZONTAL_POD_AUTOSCALERS, "scaler", told).await?;
        assert_eq!(reason(&hpa, "AbleToScale"), "SucceededGetScale");
        let events = list(cluster, &resource::EVENTS).await;
        for reason in ["SuccessfulRescale", "FailedGetResourceMetric", "FailedComputeMetricsReplicas"] {
            assert!(reasons(&events).contains(&reason), "{reason} among {:?}", reasons(&events));
        }
        let key = Key::new("default", "scaler");
        cluster
            .api
            .delete(&resource::HORIZONTAL_POD_AUTOSCALERS, &key, &client::api::DeleteOptions::default())
            .await?;
        Ok(())
    });
}
