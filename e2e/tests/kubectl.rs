//! A user's walk through a fresh cluster, with every kubectl there is: the machine's and PyPI's.
//!
//! Method: one cluster a kubectl, one walk in the order a newcomer would take, each step checked by what kubectl prints
//! or by what the API then holds.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{Cluster, eventually, tools};
use serde_json::Value;

/// How long things may take that happen by themselves, on a machine that may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_newcomers_walk_works_with_every_kubectl() {
    for kubectl in tools::kubectls().unwrap() {
        let cluster = Cluster::up(&kubectl, &["--store", "memory"]).unwrap();
        look_around(&cluster);
        deploy(&cluster);
        expose(&cluster);
        run_a_job(&cluster);
        change_objects(&cluster);
        apply_files(&cluster);
        ask_questions(&cluster);
        clean_up(&cluster);
    }
}

fn contains(text: &str, wanted: &[&str]) {
    for word in wanted {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

fn number(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or_default()
}

fn look_around(cluster: &Cluster) {
    eventually("three nodes are ready", PATIENCE, || {
        let text = cluster.kubectl("get nodes -o wide");
        let ready = text.lines().filter(|line| line.contains(" Ready ")).count();
        if ready == 3 { Ok(()) } else { Err(text) }
    });
    contains(
        &cluster.kubectl("api-resources"),
        &["deployments", "deploy", "apps/v1", "Deployment", "endpointslices"],
    );
    contains(
        &cluster.kubectl("explain deployment.spec.strategy --recursive"),
        &["maxSurge", "maxUnavailable", "DeploymentStrategy"],
    );
    contains(&cluster.kubectl("version"), &["Server Version: v1.36"]);
    contains(&cluster.kubectl("cluster-info"), &["is running at"]);
}

fn deploy(cluster: &Cluster) {
    contains(
        &cluster.kubectl("create deployment web --image=nginx --replicas=3"),
        &["deployment.apps/web created"],
    );
    contains(&cluster.kubectl("rollout status deployment/web --timeout=90s"), &["successfully rolled out"]);
    contains(
        &cluster.kubectl("get all"),
        &["pod/web-", "deployment.apps/web", "replicaset.apps/web-", "3/3"],
    );
    let pods = cluster.get("pods -l app=web");
    let first = pods.pointer("/items/0/metadata/name").and_then(Value::as_str).unwrap();
    contains(
        &cluster.kubectl(&format!("describe pod {first}")),
        &["Node:", "Status:", "Running", "Successfully assigned", "Controlled By:", "ReplicaSet/web-"],
    );
    cluster.kubectl("scale deployment/web --replicas=5");
    eventually("five replicas are available", PATIENCE, || {
        let web = cluster.get("deployment web");
        if number(&web, "/status/availableReplicas") == 5 { Ok(()) } else { Err(web["status"].to_string()) }
    });
    cluster.kubectl("set image deployment/web nginx=nginx:2");
    contains(&cluster.kubectl("rollout status deployment/web --timeout=90s"), &["successfully rolled out"]);
    contains(&cluster.kubectl("rollout history deployment/web"), &["REVISION", "1", "2"]);
    contains(&cluster.kubectl("rollout undo deployment/web"), &["rolled back"]);
    contains(&cluster.kubectl("rollout status deployment/web --timeout=90s"), &["successfully rolled out"]);
    let web = cluster.get("deployment web");
    let image = web.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
    assert_eq!(image, Some("nginx"), "an undo brings back the first image");
    watch_pods(cluster);
}

/// `get pods -w` shows what happens while it runs.
fn watch_pods(cluster: &Cluster) {
    let mut watch = Command::new(cluster.kubectl_program())
        .env("KUBECONFIG", cluster.kubeconfig())
        .args(["get", "pods", "-l", "app=watched", "-w", "--no-headers"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    cluster.kubectl("run watched --image=nginx --labels=app=watched");
    cluster.kubectl("wait --for=condition=Ready pod/watched --timeout=90s");
    cluster.kubectl("delete pod watched --now");
    std::thread::sleep(Duration::from_millis(500));
    watch.kill().unwrap();
    let seen = String::from_utf8(watch.wait_with_output().unwrap().stdout).unwrap();
    contains(&seen, &["Running", "watched"]);
}

fn expose(cluster: &Cluster) {
    contains(&cluster.kubectl("expose deployment web --port=80"), &["service/web exposed"]);
    let service = cluster.get("service web");
    let address = service.pointer("/spec/clusterIP").and_then(Value::as_str).unwrap_or_default();
    assert!(address.starts_with("10."), "a cluster address, not {address:?}");
    eventually("all pods are endpoints", PATIENCE, || {
        let slices = cluster.get("endpointslices -l kubernetes.io/service-name=web");
        let ready = slices.pointer("/items/0/endpoints").and_then(Value::as_array).map_or(0, Vec::len);
        if ready == 5 { Ok(()) } else { Err(slices.to_string()) }
    });
    contains(&cluster.kubectl("get endpointslices"), &["web-", "IPv4", "80"]);
}

fn run_a_job(cluster: &Cluster) {
    cluster.kubectl("create job pi --image=perl");
    contains(&cluster.kubectl("wait --for=condition=complete job/pi --timeout=90s"), &["condition met"]);
    contains(&cluster.kubectl("get jobs"), &["pi", "Complete", "1/1"]);
}

fn change_objects(cluster: &Cluster) {
    contains(&cluster.kubectl("label deployment/web tier=front"), &["labeled"]);
    contains(&cluster.kubectl("annotate deployment/web note=seen"), &["annotated"]);
    let web = cluster.get("deployment web");
    assert_eq!(web.pointer("/metadata/labels/tier").and_then(Value::as_str), Some("front"));
    // A scripted editor stands in for the person.
    let edit = Command::new(cluster.kubectl_program())
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("KUBE_EDITOR", "sed -i s/tier:.front/tier:\\ edited/")
        .args(["edit", "deployment/web"])
        .output()
        .unwrap();
    assert!(edit.status.success(), "{}", String::from_utf8_lossy(&edit.stderr));
    let web = cluster.get("deployment web");
    assert_eq!(web.pointer("/metadata/labels/tier").and_then(Value::as_str), Some("edited"));
}

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: applied\ndata:\n  a: \"1\"\n";

fn apply_files(cluster: &Cluster) {
    let kubectl = |arguments: &[&str], input: &str| {
        let said = cluster.try_kubectl_with(arguments, input).unwrap();
        assert!(said.status.success(), "{}", said.whole());
        said.out
    };
    contains(&kubectl(&["apply", "-f", "-"], CONFIG), &["configmap/applied created"]);
    contains(&kubectl(&["apply", "-f", "-"], CONFIG), &["configmap/applied unchanged"]);
    let changed = CONFIG.replace("\"1\"", "\"2\"");
    let diff = cluster.try_kubectl_with(&["diff", "-f", "-"], &changed).unwrap();
    assert_eq!(diff.status.code(), Some(1), "a difference is told: {}", diff.whole());
    contains(&diff.out, &["-  a: \"1\"", "+  a: \"2\""]);
    contains(&kubectl(&["apply", "--dry-run=server", "-f", "-"], &changed), &["configured (server dry run)"]);
    assert_eq!(cluster.get("configmap applied").pointer("/data/a").and_then(Value::as_str), Some("1"));
    let own = CONFIG.replace("applied", "server-side");
    contains(
        &kubectl(&["apply", "--server-side", "-f", "-"], &own),
        &["configmap/server-side serverside-applied"],
    );
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let taken = cluster.try_kubectl_with(&other, &own.replace("\"1\"", "\"2\"")).unwrap();
    assert!(!taken.status.success(), "{}", taken.whole());
    contains(&taken.err, &["conflict", ".data.a"]);
}

fn ask_questions(cluster: &Cluster) {
    contains(&cluster.kubectl("auth can-i create deployments"), &["yes"]);
    let refused = cluster.try_kubectl("auth can-i create deployments --as=nobody").unwrap();
    contains(&refused.out, &["no"]);
    contains(&cluster.kubectl("events"), &["Scheduled", "ScalingReplicaSet"]);
    let top = cluster.try_kubectl("top nodes").unwrap();
    assert!(!top.status.success());
    contains(&top.err, &["Metrics API not available"]);
    let pods = cluster.get("pods -l app=web");
    let first = pods.pointer("/items/0/metadata/name").and_then(Value::as_str).unwrap();
    let logs = cluster.try_kubectl(&format!("logs {first}")).unwrap();
    assert!(!logs.status.success());
    contains(&logs.err, &["cannot be reached", "simulated"]);
}

fn clean_up(cluster: &Cluster) {
    contains(&cluster.kubectl("delete deployment web --cascade=foreground"), &["deleted"]);
    eventually("dependents go with their owner", PATIENCE, || {
        let left = cluster.kubectl("get replicasets,pods -l app=web --no-headers -o name");
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });
    cluster.kubectl("create namespace tmp");
    cluster.kubectl("create deployment gone --image=nginx --namespace=tmp");
    cluster.kubectl("rollout status deployment/gone --namespace=tmp --timeout=90s");
    contains(&cluster.kubectl("delete namespace tmp --timeout=90s"), &["deleted"]);
    let gone = cluster.try_kubectl("get namespace tmp").unwrap();
    contains(&gone.err, &["NotFound"]);
}
