use client::{controller::Verb, testing::Filled};
use runtime::Runtime;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "c", "image": "two"}]}})
}

fn set(change: &Value) -> Value {
    let mut set = json!({
        "metadata": {"namespace": "ns", "name": "log", "uid": "ds", "resourceVersion": "9", "generation": 2},
        "spec": {
            "selector": {"matchLabels": {"app": "log"}}, "template": template(), "revisionHistoryLimit": 1,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        },
    });
    merge(&mut set, change);
    set
}

fn merge(value: &mut Value, change: &Value) {
    match (value, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (value, change) => *value = change.clone(),
    }
}

fn owners() -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "log", "uid": "ds", "controller": true}])
}

fn revision(hash: &str, number: i64, image: &str) -> Value {
    let mut patch = template();
    patch["spec"]["containers"][0]["image"] = image.into();
    patch["$patch"] = "replace".into();
    json!({
        "metadata": {"namespace": "ns", "name": format!("log-{hash}"), "uid": hash, "resourceVersion": "1",
            "labels": {"app": "log", "controller-revision-hash": hash}, "ownerReferences": owners()},
        "revision": number, "data": {"spec": {"template": patch}},
    })
}

fn node(name: &str, effect: &str) -> Value {
    let taints = if effect.is_empty() { json!([]) } else { json!([{"key": "k", "effect": effect}]) };
    json!({"metadata": {"name": name, "labels": {"on": name}}, "spec": {"taints": taints}})
}

/// `state` is a phase, or `Ready`, or `Going`.
fn pod(node: &str, hash: &str, state: &str) -> Value {
    let phase = if matches!(state, "Ready" | "Going") { "Running" } else { state };
    let mut pod = json!({
        "metadata": {"namespace": "ns", "name": format!("{node}-{hash}"), "uid": format!("{node}-{hash}"),
            "labels": {"app": "log", "controller-revision-hash": hash}, "ownerReferences": owners()},
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if state == "Ready" { "True" } else { "False" },
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    if state == "Going" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    pod
}

struct World {
    set: Value,
    nodes: Vec<Value>,
    pods: Vec<Value>,
    revisions: Vec<Value>,
}

impl World {
    fn decide(self) -> Plan {
        self.decide_by(&DaemonSets::new(Runtime::simulated(now(), 1).clock))
    }

    fn decide_by(self, controller: &DaemonSets) -> Plan {
        let caches = Filled::new()
            .with::<DaemonSet>([self.set])
            .with::<Node>(self.nodes)
            .with::<Pod>(self.pods)
            .with::<ControllerRevision>(self.revisions)
            .caches();
        let observed = controller.observe(&Key::new("ns", "log"), &caches).unwrap();
        controller.reconcile(&observed, now())
    }
}

/// One word a write; the status apart.
fn lines(plan: &Plan) -> (Vec<String>, Value) {
    let mut status = Value::Null;
    let mut lines = Vec::new();
    let mut line = |request: &Request| match &request.verb {
        Verb::Merge(document) => status = document["status"].clone(),
        Verb::Create(object) if request.resource == PODS => {
            let term = &object["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                ["nodeSelectorTerms"][0];
            lines.push(format!("+{}", term["matchFields"][0]["values"][0].as_str().unwrap()));
        }
        Verb::Create(object) => lines.push(format!("revision {}", object["revision"])),
        Verb::Patch(patch) => lines.push(format!("{} {}", request.key.name, patch.document())),
        Verb::Delete(_) => lines.push(format!("-{}", request.key.name)),
        Verb::Update(_) => panic!("{request:?}"),
    };
    let mut events = Vec::new();
    for write in &plan.writes {
        match write {
            Write::Request(request) => line(request),
            Write::Batch { requests, .. } => requests.iter().for_each(&mut line),
            Write::Event { note, .. } => events.push(format!("! {}", note.reason)),
        }
    }
    lines.extend(events);
    (lines, status)
}

#[test]
fn every_node_that_fits_has_one_pod() {
    let keeps = || vec![revision("two", 2, "two")];
    for (name, set, nodes, pods, expected) in [
        (
            "missing",
            set(&json!({})),
            vec![node("a", ""), node("b", "")],
            vec![pod("a", "two", "Ready")],
            vec!["+b"],
        ),
        ("not tolerated", set(&json!({})), vec![node("a", "NoSchedule")], vec![], vec![]),
        ("stays", set(&json!({})), vec![node("a", "NoSchedule")], vec![pod("a", "two", "Ready")], vec![]),
        (
            "driven out",
            set(&json!({})),
            vec![node("a", "NoExecute")],
            vec![pod("a", "two", "Ready")],
            vec!["-a-two"],
        ),
        (
            "not selected",
            set(&json!({"spec": {"template": {"spec": {"nodeSelector": {"on": "b"}}}}})),
            vec![node("a", ""), node("b", "")],
            vec![pod("a", "two", "Ready")],
            vec!["revision 3", "+b", "-a-two"],
        ),
        (
            "going is not there yet",
            set(&json!({})),
            vec![node("a", "")],
            vec![pod("a", "two", "Going")],
            vec![],
        ),
        (
            "failed",
            set(&json!({})),
            vec![node("a", "")],
            vec![pod("a", "two", "Failed")],
            vec!["-a-two", "! FailedDaemonPod"],
        ),
        (
            "succeeded",
            set(&json!({})),
            vec![node("a", "")],
            vec![pod("a", "two", "Succeeded")],
            vec!["-a-two", "! SucceededDaemonPod"],
        ),
        (
            "one too many",
            set(&json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})),
            vec![node("a", "")],
            vec![pod("a", "one", "Ready"), pod("a", "two", "Ready")],
            vec!["-a-two"],
        ),
        (
            "being deleted",
            set(&json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
            vec![node("a", "")],
            vec![],
            vec![],
        ),
    ] {
        let plan = World { set, nodes, pods, revisions: keeps() }.decide();
        assert_eq!(lines(&plan).0, expected, "{name}");
    }
}

#[test]
fn a_rolling_update_keeps_within_its_bounds() {
    let nodes = || vec![node("a", ""), node("b", ""), node("c", "")];
    let rolling = |unavailable: Value, surge: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}}});
    let one = || rolling(json!(1), json!(0));
    let surge = || rolling(json!(0), json!(1));
    for (name, change, pods, expected) in [
        (
            "one may be missing",
            one(),
            [("a", "one", "Ready"), ("b", "one", "Ready"), ("c", "one", "Ready")].to_vec(),
            vec!["-a-one"],
        ),
        (
            "one is",
            one(),
            [("a", "two", "Running"), ("b", "one", "Ready"), ("c", "one", "Ready")].to_vec(),
            vec![],
        ),
        (
            "a going one is",
            one(),
            [("a", "one", "Going"), ("b", "one", "Ready"), ("c", "one", "Ready")].to_vec(),
            vec![],
        ),
        (
            "useless ones go anyway",
            one(),
            [("a", "one", "Running"), ("b", "one", "Running"), ("c", "one", "Ready")].to_vec(),
            vec!["-a-one", "-b-one"],
        ),
        (
            "two of three in percent",
            rolling(json!("50%"), json!(0)),
            [("a", "one", "Ready"), ("b", "one", "Ready"), ("c", "one", "Ready")].to_vec(),
            vec!["-a-one", "-b-one"],
        ),
        (
            "a surge makes the new one first",
            surge(),
            [("a", "one", "Ready"), ("b", "one", "Ready"), ("c", "one", "Ready")].to_vec(),
            vec!["+a"],
        ),
        (
            "and waits for it",
            surge(),
            [("a", "one", "Ready"), ("a", "two", "Running"), ("b", "one", "Ready"), ("c", "one", "Ready")]
                .to_vec(),
            vec![],
        ),
        (
            "then the old one goes",
            surge(),
            [("a", "one", "Ready"), ("a", "two", "Ready"), ("b", "one", "Ready"), ("c", "one", "Ready")]
                .to_vec(),
            vec!["-a-one"],
        ),
        (
            "useless ones are no surge",
            surge(),
            [("a", "one", "Running"), ("b", "one", "Ready"), ("c", "one", "Ready")].to_vec(),
            vec!["+a", "+b"],
        ),
    ] {
        let pods = pods.into_iter().map(|(node, hash, state)| pod(node, hash, state)).collect();
        let revisions = vec![revision("one", 1, "one"), revision("two", 2, "two")];
        let plan = World { set: set(&change), nodes: nodes(), pods, revisions }.decide();
        assert_eq!(lines(&plan).0, expected, "{name}");
    }
}

#[test]
fn revisions_are_numbered_labelled_and_truncated() {
    let world = |revisions| World { set: set(&json!({})), nodes: vec![], pods: vec![], revisions };
    assert_eq!(lines(&world(vec![]).decide()).0, ["revision 1"]);
    let back = vec![revision("two", 1, "two"), revision("one", 2, "one")];
    let (lines_back, _) = lines(&world(back).decide());
    assert!(
        lines_back[0].starts_with("log-two") && lines_back[0].contains(r#""revision":3"#),
        "{lines_back:?}"
    );
    let long = vec![revision("one", 1, "one"), revision("zero", 2, "zero"), revision("two", 3, "two")];
    assert_eq!(lines(&world(long).decide()).0, ["-log-one"]);
}

#[test]
fn a_pod_tolerates_the_troubles_of_its_node_and_says_which_it_is() {
    let change = json!({"metadata": {"annotations": {"deprecated.daemonset.template.generation": "2"}},
        "spec": {"template": {"spec": {"hostNetwork": true,
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]}}}});
    let plan =
        World { set: set(&change), nodes: vec![node("a", "")], pods: vec![], revisions: vec![] }.decide();
    let pod = plan.writes.iter().find_map(|write| match write {
        Write::Batch { requests, .. } => match &requests[0].verb {
            Verb::Create(object) => Some(object),
            _ => None,
        },
        _ => None,
    });
    let pod = pod.unwrap();
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 7);
    assert_eq!(
        tolerations[0],
        json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"})
    );
    assert_eq!(pod["metadata"]["labels"]["pod-template-generation"], "2");
    assert_eq!(pod["metadata"]["generateName"], "log-");
}

#[test]
fn the_status_counts_nodes() {
    let pods = vec![pod("a", "two", "Ready"), pod("b", "one", "Running"), pod("c", "one", "Ready")];
    let nodes = vec![node("a", ""), node("b", ""), node("c", "NoSchedule"), node("d", "")];
    let revisions = vec![revision("one", 1, "one"), revision("two", 2, "two")];
    let status = lines(&World { set: set(&json!({})), nodes, pods, revisions }.decide()).1;
    assert_eq!(
        status,
        json!({"currentNumberScheduled": 2, "numberMisscheduled": 1, "desiredNumberScheduled": 3, "numberReady": 1,
            "observedGeneration": 2, "updatedNumberScheduled": 1, "numberAvailable": 1, "numberUnavailable": 2,
            "collisionCount": null})
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_pods_waits_longer_each_time() {
    let runtime = Runtime::simulated(now(), 1);
    let controller = DaemonSets::new(runtime.clock);
    let failed = |name: &str| {
        let mut pod = pod("a", "two", "Failed");
        pod["metadata"]["name"] = name.into();
        pod["metadata"]["uid"] = name.into();
        World {
            set: set(&json!({})),
            nodes: vec![node("a", "")],
            pods: vec![pod],
            revisions: vec![revision("two", 2, "two")],
        }
    };
    let look = |name: &str| {
        let plan = failed(name).decide_by(&controller);
        (lines(&plan).0.len(), plan.look_again)
    };
    assert_eq!(look("first"), (2, None), "the first failure is replaced at once");
    assert_eq!(look("first"), (2, None), "and as long as it is there");
    assert_eq!(look("second"), (0, Some(Duration::from_secs(1))));
}
