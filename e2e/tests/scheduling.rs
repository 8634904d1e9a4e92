//! What upstream's documentation shows of scheduling, walked with a real kubectl: a more important Pod displaces others, a
//! volume holds a Pod back, and people are told why.
//!
//! Method: one cluster on hollow nodes a walk, each step checked by what kubectl prints or by what the API then holds.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::time::Duration;

use e2e::{Cluster, eventually, tools};

/// How long things may take that happen by themselves, on a machine that may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(90);

fn cluster() -> Cluster {
    let cluster = Cluster::up(&tools::kubectl().unwrap(), &["--store", "memory"]).unwrap();
    eventually("three nodes are ready", PATIENCE, || {
        let text = cluster.kubectl("get nodes");
        if text.matches(" Ready ").count() == 3 { Ok(()) } else { Err(text) }
    });
    cluster
}

fn apply(cluster: &Cluster, manifest: &str) {
    let said = cluster.try_kubectl_with(&["apply", "-f", "-"], manifest).unwrap();
    assert!(said.status.success(), "{}", said.whole());
}

fn shows(cluster: &Cluster, what: &str, words: &str, wanted: &[&str]) {
    eventually(what, PATIENCE, || {
        let text = cluster.kubectl(words);
        if wanted.iter().all(|word| text.contains(word)) { Ok(()) } else { Err(text) }
    });
}

/// Three nodes of eight cores: the filler takes more than half of each.
const FULL: &str = r#"
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: important}
value: 1000000
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: polite}
value: 1000000
preemptionPolicy: Never
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: filler}
spec:
  replicas: 3
  selector: {matchLabels: {app: filler}}
  template:
    metadata: {labels: {app: filler}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: it, image: nginx, resources: {requests: {cpu: "5"}}}]}
"#;

fn wanting(name: &str, class: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  priorityClassName: {class}
  containers: [{{name: it, image: nginx, resources: {{requests: {{cpu: "6"}}}}}}]
"#
    )
}

#[test]
fn a_more_important_pod_displaces_one_and_a_polite_one_waits() {
    let cluster = cluster();
    apply(&cluster, FULL);
    cluster.kubectl("rollout status deployment/filler --timeout=90s");

    apply(&cluster, &wanting("polite", "polite"));
    shows(
        &cluster,
        "the polite one is told why it waits",
        "describe pod polite",
        &[
            "FailedScheduling",
            "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.",
        ],
    );
    assert_eq!(cluster.kubectl("get pods -l app=filler -o name").lines().count(), 3);

    apply(&cluster, &wanting("vip", "important"));
    cluster.kubectl("wait --for=condition=Ready pod/vip --timeout=90s");
    let node = cluster.kubectl("get pod vip -o jsonpath={.spec.nodeName}");
    shows(
        &cluster,
        "the displaced one is told of",
        "get events",
        &["Preempted", "Preempted by pod", &format!("on node {node}")],
    );
    // Its place is taken; the one that its ReplicaSet made instead finds none.
    shows(
        &cluster,
        "the one made instead waits",
        "get pods -l app=filler --field-selector=status.phase=Pending",
        &["filler", "Pending"],
    );
    let unschedulable = "get events --field-selector=reason=FailedScheduling";
    shows(
        &cluster,
        "it is told why",
        unschedulable,
        &[
            "3 Insufficient cpu. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.",
        ],
    );
    let why =
        cluster.kubectl("get pod vip -o jsonpath={.status.conditions[?(@.type=='PodScheduled')].status}");
    assert_eq!(why, "True");
}

const CLAIMED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  containers: [{name: it, image: nginx, volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
"#;

/// Volumes are made when it is known which node they are for.
const LATE: &str = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: late}
provisioner: kubernetes.io/host-path
volumeBindingMode: WaitForFirstConsumer
"#;

const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: late, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;

#[test]
fn a_pod_waits_for_its_claim_and_then_for_its_volume() {
    let cluster = cluster();
    apply(&cluster, LATE);
    apply(&cluster, CLAIMED);
    shows(
        &cluster,
        "it is told what is missing",
        "describe pod reader",
        &["0/3 nodes are available: persistentvolumeclaim \"data\" not found."],
    );
    apply(&cluster, CLAIM);
    cluster.kubectl("wait --for=condition=Ready pod/reader --timeout=90s");
    let node = cluster.kubectl("get pod reader -o jsonpath={.spec.nodeName}");
    let selected = cluster
        .kubectl(r"get pvc data -o jsonpath={.metadata.annotations.volume\.kubernetes\.io/selected-node}");
    assert_eq!(selected, node);
}
