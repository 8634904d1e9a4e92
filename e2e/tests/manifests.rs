//! Real manifests of a public course, where they are at hand: each object is accepted or refused as upstream would, and what
//! was accepted comes to be on hollow nodes.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{path::PathBuf, time::Duration};

use e2e::{Cluster, eventually, tools};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

/// What upstream refuses too: a file for `kubectl kustomize` has no kind, and a controller's namespace comes from elsewhere.
const REFUSED: [&str; 2] = ["kustomization.yaml", "namespaces \"nginx-ingress\" not found"];

fn folder() -> Option<PathBuf> {
    let folder = tools::workspace().parent()?.join("shared/manifests/course");
    folder.is_dir().then_some(folder)
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

/// What is not yet as its manifest wants it.
fn unfinished(cluster: &Cluster) -> Vec<String> {
    let mut waiting = Vec::new();
    let list = cluster.get("deployments,daemonsets,jobs -A");
    for object in list.pointer("/items").and_then(Value::as_array).unwrap() {
        let (wanted, is) = match object["kind"].as_str().unwrap() {
            "Deployment" => (number(object, "/spec/replicas"), number(object, "/status/availableReplicas")),
            "DaemonSet" => (3, number(object, "/status/numberAvailable")),
            _ => {
                let completions = object.pointer("/spec/completions").and_then(Value::as_i64).unwrap_or(1);
                (completions, number(object, "/status/succeeded"))
            }
        };
        if wanted != is {
            waiting.push(format!("{} {}: {is} of {wanted}", object["kind"], object["metadata"]["name"]));
        }
    }
    waiting
}

#[test]
fn the_manifests_of_a_course_are_accepted_and_come_to_be() {
    let Some(folder) = folder() else {
        eprintln!("the manifests are not at hand: nothing is tried");
        return;
    };
    let cluster = Cluster::up(&tools::kubectl().unwrap(), &["--store", "memory"]).unwrap();
    for chapter in ["ch2", "ch3"] {
        let chapter = folder.join(chapter);
        let said = cluster.try_kubectl_with(&["apply", "-R", "-f", chapter.to_str().unwrap()], "").unwrap();
        let surprises: Vec<&str> = said
            .err
            .lines()
            .filter(|line| line.contains("rror") && !REFUSED.iter().any(|known| line.contains(known)))
            .collect();
        assert!(surprises.is_empty(), "{surprises:?}\n{}", said.whole());
        assert!(said.out.lines().count() > 5, "{}", said.whole());
        let again = cluster.try_kubectl_with(&["apply", "-R", "-f", chapter.to_str().unwrap()], "").unwrap();
        // kubectl tells of an order of volumes that it patches into a Pod which has one more, for its token; so with any server.
        let changed: Vec<&str> = again
            .out
            .lines()
            .filter(|line| !line.ends_with(" unchanged") && !line.starts_with("pod/"))
            .collect();
        assert!(changed.is_empty(), "applied twice and changed: {changed:?}");
    }
    eventually("all workloads are as wanted", PATIENCE, || match unfinished(&cluster) {
        waiting if waiting.is_empty() => Ok(()),
        waiting => Err(waiting.join(", ")),
    });
}
