//! What upstream's documentation shows of workloads, walked with a real kubectl: rollouts, scaling, draining, taints, cron
//! jobs, cascades, claims; and why it all came to be so.
//!
//! Method: one cluster a walk, each walk in the order of its page, each step checked by what kubectl prints or by what the
//! API then holds.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{process::Command, time::Duration};

use e2e::{Cluster, binaries, eventually, tools};
use serde_json::Value;

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

fn contains(text: &str, wanted: &[&str]) {
    for word in wanted {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

fn apply(cluster: &Cluster, manifest: &str) -> String {
    let said = cluster.try_kubectl_with(&["apply", "-f", "-"], manifest).unwrap();
    assert!(said.status.success(), "{}", said.whole());
    said.out
}

/// What kubectl says when it fails, as it must.
fn refused(cluster: &Cluster, words: &str) -> String {
    let said = cluster.try_kubectl(words).unwrap();
    assert!(!said.status.success(), "{}", said.whole());
    said.err
}

fn rolled_out(cluster: &Cluster, what: &str) {
    let said = cluster.kubectl(&format!("rollout status {what} --timeout=90s"));
    assert!(said.contains("successfully rolled out") || said.contains("complete"), "{said}");
}

fn names(cluster: &Cluster, words: &str) -> Vec<String> {
    let text = cluster.kubectl(&format!("get {words} -o name"));
    text.lines().map(str::to_owned).collect()
}

fn wait_for(cluster: &Cluster, what: &str, words: &str, holds: impl Fn(&Value) -> bool) {
    eventually(what, PATIENCE, || {
        let object = cluster.get(words);
        if holds(&object) { Ok(()) } else { Err(object.to_string()) }
    });
}

fn image(cluster: &Cluster) -> String {
    cluster.kubectl("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}")
}

#[test]
fn a_rollout_is_watched_undone_paused_and_restarted() {
    let cluster = cluster();
    cluster.kubectl("create deployment web --image=nginx:1 --replicas=3");
    rolled_out(&cluster, "deployment/web");
    cluster.kubectl("annotate deployment/web kubernetes.io/change-cause=first");
    cluster.kubectl("set image deployment/web nginx=nginx:2");
    rolled_out(&cluster, "deployment/web");
    cluster.kubectl("annotate deployment/web kubernetes.io/change-cause=second");
    eventually("the history tells its causes", PATIENCE, || {
        let text = cluster.kubectl("rollout history deployment/web");
        if text.contains("first") && text.contains("second") { Ok(()) } else { Err(text) }
    });
    contains(
        &cluster.kubectl("rollout history deployment/web --revision=1"),
        &["nginx:1", "pod-template-hash"],
    );
    contains(
        &refused(&cluster, "rollout history deployment/web --revision=9"),
        &["unable to find the specified revision"],
    );
    contains(&cluster.kubectl("rollout undo deployment/web --to-revision=1"), &["rolled back"]);
    rolled_out(&cluster, "deployment/web");
    assert_eq!(image(&cluster), "nginx:1");
    let history = cluster.kubectl("rollout history deployment/web");
    assert!(!history.lines().any(|line| line.starts_with("1 ")), "revision 1 has become 3:\n{history}");

    contains(&cluster.kubectl("rollout pause deployment/web"), &["paused"]);
    let sets = names(&cluster, "replicasets -l app=web").len();
    cluster.kubectl("set image deployment/web nginx=nginx:3");
    contains(
        &refused(&cluster, "rollout undo deployment/web"),
        &["you cannot rollback a paused deployment; resume it first"],
    );
    contains(&refused(&cluster, "rollout restart deployment/web"), &["can't restart paused deployment"]);
    let condition = "get deployment web -o jsonpath={.status.conditions[?(@.type==\"Progressing\")].reason}";
    eventually("it says that it is paused", PATIENCE, || {
        let reason = cluster.kubectl(condition);
        if reason == "DeploymentPaused" { Ok(()) } else { Err(reason) }
    });
    assert_eq!(names(&cluster, "replicasets -l app=web").len(), sets, "nothing is rolled out while paused");
    contains(&cluster.kubectl("rollout resume deployment/web"), &["resumed"]);
    rolled_out(&cluster, "deployment/web");
    assert_eq!(names(&cluster, "replicasets -l app=web").len(), sets + 1);

    let before = names(&cluster, "pods -l app=web");
    contains(&cluster.kubectl("rollout restart deployment/web"), &["restarted"]);
    rolled_out(&cluster, "deployment/web");
    eventually("all Pods are new ones", PATIENCE, || {
        let now = names(&cluster, "pods -l app=web");
        let new = now.len() == 3 && now.iter().all(|pod| !before.contains(pod));
        if new { Ok(()) } else { Err(now.join(" ")) }
    });
    explained(&cluster);
}

/// `binnacle why`: from what somebody did to the last Pod.
fn explained(cluster: &Cluster) {
    let why = |object: &str| {
        let mut command = Command::new(binaries().join("binnacle"));
        command.args(["why", object, "--kubeconfig"]).arg(cluster.kubeconfig());
        let said = e2e::say(command, "").unwrap();
        assert!(said.status.success(), "{}", said.whole());
        said.out
    };
    contains(
        &why("deploy/web"),
        &[
            "deployments.apps default/web",
            "kubernetes-admin (kubectl-rollout) changes deployments.apps web",
            "deployment-controller makes replicasets.apps web-",
            "replicaset-controller makes pods web-",
            "nodes would do, and node-",
            "the containers are ready",
            "The last Pod to become ready was web-",
            "Now:",
        ],
    );
    let pod = names(cluster, "pods -l app=web").remove(0);
    contains(&why(&pod), &["kubernetes-admin", "The scheduler at", "NODE", "TOTAL", "node-1"]);
    let nobody = cluster.try_kubectl("get --raw /debug/why?resource=pods&name=a --as=nobody").unwrap();
    contains(&nobody.err, &["Forbidden"]);
}

#[test]
fn workloads_are_scaled_by_hand_and_by_an_autoscaler() {
    let cluster = cluster();
    cluster.kubectl("create deployment web --image=nginx --replicas=2");
    rolled_out(&cluster, "deployment/web");
    contains(&cluster.kubectl("scale deployment/web --replicas=4 --current-replicas=2"), &["scaled"]);
    contains(
        &refused(&cluster, "scale deployment/web --replicas=5 --current-replicas=2"),
        &["Expected replicas to be 2, was 4"],
    );
    wait_for(&cluster, "four are ready", "deployment web", |it| it["status"]["readyReplicas"] == 4);
    cluster.kubectl("scale deployment/web --replicas=1");
    contains(&cluster.kubectl("autoscale deployment web --min=2 --max=5 --cpu-percent=80"), &["autoscaled"]);
    wait_for(&cluster, "the least is kept", "deployment web", |it| it["status"]["readyReplicas"] == 2);
    contains(&cluster.kubectl("get hpa web"), &["Deployment/web", "<unknown>/80%", "2", "5"]);
    eventually("its story is told", PATIENCE, || {
        let text = cluster.kubectl("describe hpa web");
        if text.contains("SuccessfulRescale") && text.contains("FailedGetResourceMetric") {
            Ok(())
        } else {
            Err(text)
        }
    });
}

const GUARDED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: guarded}
spec:
  replicas: 3
  selector: {matchLabels: {app: guarded}}
  template:
    metadata: {labels: {app: guarded}}
    spec: {containers: [{name: it, image: nginx}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: guarded}
spec: {minAvailable: 2, selector: {matchLabels: {app: guarded}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: it, image: agent}]}
"#;

fn on_node(cluster: &Cluster, app: &str, node: &str) -> usize {
    let pods = cluster.get(&format!("pods -l app={app} --field-selector spec.nodeName={node}"));
    pods["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn a_node_is_cordoned_drained_within_budgets_and_given_back() {
    let cluster = cluster();
    contains(&cluster.kubectl("cordon node-3"), &["cordoned"]);
    contains(&cluster.kubectl("get node node-3"), &["Ready,SchedulingDisabled"]);
    apply(&cluster, GUARDED);
    rolled_out(&cluster, "deployment/guarded");
    rolled_out(&cluster, "daemonset/agent");
    assert_eq!(on_node(&cluster, "guarded", "node-3"), 0, "nothing goes to a cordoned node");
    assert_eq!(on_node(&cluster, "agent", "node-3"), 1, "but what belongs on every node");
    contains(&cluster.kubectl("uncordon node-3"), &["uncordoned"]);
    wait_for(&cluster, "the budget is met", "pdb guarded", |it| it["status"]["disruptionsAllowed"] == 1);
    contains(&refused(&cluster, "drain node-1 --timeout=5s"), &["cannot delete DaemonSet-managed Pods"]);
    contains(
        &cluster.kubectl("drain node-1 --ignore-daemonsets --timeout=80s"),
        &["evicting pod", "drained"],
    );
    assert_eq!(on_node(&cluster, "guarded", "node-1"), 0);
    assert_eq!(on_node(&cluster, "agent", "node-1"), 1);
    rolled_out(&cluster, "deployment/guarded");
    cluster.kubectl("uncordon node-1");

    // A budget that allows nothing holds a drain up.
    cluster.kubectl("patch pdb guarded -p {\"spec\":{\"minAvailable\":3}}");
    wait_for(&cluster, "the budget allows nothing", "pdb guarded", |it| {
        it["status"]["disruptionsAllowed"] == 0 && it["status"]["desiredHealthy"] == 3
    });
    let said = refused(&cluster, "drain node-2 node-3 --ignore-daemonsets --timeout=7s");
    contains(&said, &["Cannot evict pod as it would violate the pod's disruption budget."]);
    wait_for(&cluster, "all serve still", "deployment guarded", |it| it["status"]["readyReplicas"] == 3);
}

const TOLERATING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: patient, labels: {app: patient}}
spec:
  nodeName: node-1
  tolerations: [{key: away, operator: Exists, effect: NoExecute, tolerationSeconds: 6}]
  containers: [{name: it, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: steady, labels: {app: steady}}
spec:
  nodeName: node-1
  tolerations: [{key: away, operator: Exists, effect: NoExecute}]
  containers: [{name: it, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: timid, labels: {app: timid}}
spec:
  nodeName: node-1
  containers: [{name: it, image: nginx}]
"#;

#[test]
fn a_taint_evicts_those_who_do_not_tolerate_it() {
    let cluster = cluster();
    apply(&cluster, TOLERATING);
    cluster.kubectl("wait --for=condition=Ready pod/patient pod/steady pod/timid --timeout=90s");
    contains(&cluster.kubectl("taint nodes node-1 away=yes:NoExecute"), &["tainted"]);
    cluster.kubectl("wait --for=delete pod/timid --timeout=60s");
    assert_eq!(names(&cluster, "pod patient"), ["pod/patient"], "it bears it for a while");
    cluster.kubectl("wait --for=delete pod/patient --timeout=60s");
    assert_eq!(names(&cluster, "pod steady"), ["pod/steady"], "it bears it for ever");
    contains(&cluster.kubectl("events"), &["TaintManagerEviction"]);
    contains(&cluster.kubectl("taint nodes node-1 away-"), &["untainted"]);
}

#[test]
fn a_cron_job_is_suspended_and_started_by_hand() {
    let cluster = cluster();
    let create = ["create", "cronjob", "hello", "--image=busybox", "--schedule=0 0 1 1 *"];
    let said = cluster.try_kubectl_with(&create, "").unwrap();
    contains(&said.out, &["cronjob.batch/hello created"]);
    contains(&cluster.kubectl("create job by-hand --from=cronjob/hello"), &["job.batch/by-hand created"]);
    cluster.kubectl("wait --for=condition=complete job/by-hand --timeout=90s");
    let job = cluster.get("job by-hand");
    assert_eq!(job["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"], "manual");
    assert_eq!(job["metadata"]["ownerReferences"][0]["name"], "hello");
    cluster.kubectl("patch cronjob hello -p {\"spec\":{\"suspend\":true}}");
    contains(&cluster.kubectl("get cronjob hello"), &["True"]);
    contains(&cluster.kubectl("delete cronjob hello"), &["deleted"]);
    cluster.kubectl("wait --for=delete job/by-hand --timeout=60s");
}

#[test]
fn a_deletion_cascades_as_it_is_told_to() {
    let cluster = cluster();
    for (name, cascade) in [("one", "background"), ("two", "foreground"), ("three", "orphan")] {
        cluster.kubectl(&format!("create deployment {name} --image=nginx --replicas=2"));
        rolled_out(&cluster, &format!("deployment/{name}"));
        contains(
            &cluster.kubectl(&format!("delete deployment {name} --cascade={cascade} --timeout=80s")),
            &["deleted"],
        );
        let dependents = format!("replicasets,pods -l app={name}");
        match cascade {
            "foreground" => assert_eq!(names(&cluster, &dependents), Vec::<String>::new(), "they went first"),
            "background" => eventually("they go as well", PATIENCE, || {
                let left = names(&cluster, &dependents);
                if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
            }),
            _ => {
                let set = cluster.get("replicasets -l app=three");
                assert!(set["items"][0]["metadata"]["ownerReferences"].is_null(), "let go of: {set}");
                assert_eq!(names(&cluster, &dependents).len(), 3);
            }
        }
    }
    // Who selects what was orphaned takes it up.
    let pods = names(&cluster, "pods -l app=three");
    cluster.kubectl("create deployment three --image=nginx --replicas=2");
    rolled_out(&cluster, "deployment/three");
    assert_eq!(names(&cluster, "pods -l app=three"), pods);
    let owner = "get replicasets -l app=three -o jsonpath={.items[0].metadata.ownerReferences[0].kind}";
    assert_eq!(cluster.kubectl(owner), "Deployment");
}

const WITH_CLAIMS: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: it, image: db, volumeMounts: [{name: data, mountPath: /data}]}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"#;

#[test]
fn a_stateful_set_gets_its_claims_bound_and_finds_them_again() {
    let cluster = cluster();
    apply(&cluster, WITH_CLAIMS);
    rolled_out(&cluster, "statefulset/db");
    let claims = cluster.kubectl("get pvc");
    assert_eq!(claims.matches("Bound").count(), 2, "{claims}");
    contains(&claims, &["data-db-0", "data-db-1", "1Gi", "RWO", "standard"]);
    let volume = cluster.kubectl("get pvc data-db-1 -o jsonpath={.spec.volumeName}");
    cluster.kubectl("scale statefulset db --replicas=1");
    cluster.kubectl("wait --for=delete pod/db-1 --timeout=60s");
    cluster.kubectl("scale statefulset db --replicas=2");
    rolled_out(&cluster, "statefulset/db");
    assert_eq!(cluster.kubectl("get pvc data-db-1 -o jsonpath={.spec.volumeName}"), volume);

    // A claim in use stays until nobody uses it.
    cluster.kubectl("delete pvc data-db-1 --wait=false");
    contains(&cluster.kubectl("get pvc data-db-1"), &["Terminating"]);
    cluster.kubectl("delete statefulset db");
    cluster.kubectl("wait --for=delete pvc/data-db-1 --timeout=60s");
    contains(&cluster.kubectl("get pvc data-db-0"), &["Bound"]);
}

const LIMITED: &str = r#"
apiVersion: v1
kind: ResourceQuota
metadata: {name: few}
spec: {hard: {pods: "1", requests.cpu: "1"}}
---
apiVersion: v1
kind: Pod
metadata: {name: first}
spec: {containers: [{name: it, image: nginx, resources: {requests: {cpu: 600m}}}]}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: many}
spec:
  replicas: 2
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {containers: [{name: it, image: nginx, resources: {requests: {cpu: 200m}}}]}
"#;

#[test]
fn a_quota_refuses_pods_until_it_is_raised() {
    let cluster = cluster();
    let (quota, rest) = LIMITED.split_once("---").unwrap();
    let (first, many) = rest.split_once("---").unwrap();
    apply(&cluster, quota);
    wait_for(&cluster, "the quota is taken note of", "quota few", |it| it["status"]["used"]["pods"] == "0");
    apply(&cluster, first);
    contains(&cluster.kubectl("get quota few"), &["pods: 1/1", "requests.cpu: 600m/1"]);

    let second = first.replace("first", "second");
    let said = cluster.try_kubectl_with(&["create", "-f", "-"], &second).unwrap();
    assert!(!said.status.success(), "{}", said.whole());
    contains(
        &said.err,
        &[
            "Error from server (Forbidden)",
            "pods \"second\" is forbidden: exceeded quota: few, \
           requested: pods=1,requests.cpu=600m, used: pods=1,requests.cpu=600m, limited: pods=1,requests.cpu=1",
        ],
    );
    contains(
        &refused(&cluster, "run third --image=nginx"),
        &["failed quota: few: must specify requests.cpu for: third"],
    );

    apply(&cluster, many);
    wait_for(&cluster, "the failure is told of", "replicaset many", |it| {
        let conditions = it["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "ReplicaFailure"
                && condition["status"] == "True"
                && condition["reason"] == "FailedCreate"
                && condition["message"].as_str().unwrap_or_default().contains("exceeded quota: few")
        })
    });
    eventually("there is an event", PATIENCE, || {
        let text = cluster.kubectl("describe replicaset many");
        let told = text.contains("FailedCreate")
            && text.contains("Error creating: pods \"many-")
            && text.contains("requested: pods=1, used: pods=1, limited: pods=1");
        if told { Ok(()) } else { Err(text) }
    });

    let more = ["patch", "quota", "few", "--type=merge", "-p", r#"{"spec": {"hard": {"pods": "3"}}}"#];
    let said = cluster.try_kubectl_with(&more, "").unwrap();
    assert!(said.status.success(), "{}", said.whole());
    wait_for(&cluster, "the rest is made", "replicaset many", |it| {
        it["status"]["readyReplicas"] == 2 && it["status"]["conditions"].is_null()
    });
    wait_for(&cluster, "all are counted", "quota few", |it| {
        it["status"]["used"] == serde_json::json!({"pods": "3", "requests.cpu": "1"})
    });
    cluster.kubectl("delete pod first");
    wait_for(&cluster, "what goes is given back", "quota few", |it| it["status"]["used"]["pods"] == "2");
}
