use client::{controller::Verb, resource::PERSISTENT_VOLUME_CLAIMS, testing::Filled};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
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

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "two"}],
        "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}})
}

fn set(change: &Value) -> Value {
    let mut set = json!({
        "metadata": {"namespace": "ns", "name": "db", "uid": "set", "resourceVersion": "9", "generation": 3},
        "spec": {
            "replicas": 2, "serviceName": "dbs", "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 1,
            "selector": {"matchLabels": {"app": "db"}}, "template": template(),
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
        "status": {"currentRevision": "db-one"},
    });
    merge(&mut set, change);
    set
}

fn owners() -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "set", "controller": true}])
}

fn revision(name: &str, number: i64) -> Value {
    let mut patch = template();
    patch["spec"]["containers"][0]["image"] = name.into();
    patch["$patch"] = "replace".into();
    json!({
        "metadata": {"namespace": "ns", "name": format!("db-{name}"), "uid": name, "resourceVersion": "1",
            "labels": {"app": "db"}, "ownerReferences": owners()},
        "revision": number, "data": {"spec": {"template": patch}},
    })
}

/// `state` is a phase, or `Ready`, or `Going`.
fn pod(ordinal: i64, version: &str, state: &str) -> Value {
    let phase = if matches!(state, "Ready" | "Going") { "Running" } else { state };
    let ready = if matches!(state, "Ready" | "Going") { "True" } else { "False" };
    let name = format!("db-{ordinal}");
    let mut pod = json!({
        "metadata": {"namespace": "ns", "name": name, "uid": name, "ownerReferences": owners(),
            "labels": {"app": "db", "controller-revision-hash": format!("db-{version}"), "statefulset.kubernetes.io/pod-name": name}},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    if state == "Going" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    pod
}

fn decide(set: Value, pods: &[(i64, &str, &str)], claims: Vec<Value>) -> Plan {
    let caches = Filled::new()
        .with::<StatefulSet>([set])
        .with::<Pod>(pods.iter().map(|(ordinal, version, state)| pod(*ordinal, version, state)))
        .with::<ControllerRevision>([revision("one", 1), revision("two", 2)])
        .with::<PersistentVolumeClaim>(claims)
        .caches();
    let observed = StatefulSets.observe(&Key::new("ns", "db"), &caches).unwrap();
    StatefulSets.reconcile(&observed, now())
}

/// One word a write; the status apart.
fn lines(plan: &Plan) -> (Vec<String>, Value) {
    let mut status = Value::Null;
    let mut lines = Vec::new();
    let mut line = |request: &Request| match &request.verb {
        Verb::Merge(document) => status = document["status"].clone(),
        Verb::Create(object) if request.resource == PODS => {
            let version = object["metadata"]["labels"][REVISION].as_str().unwrap();
            lines.push(format!("+{} {version}", request.key.name));
        }
        Verb::Create(_) => lines.push(format!("+{}", request.key.name)),
        Verb::Patch(patch) => lines.push(format!("{} {}", request.key.name, patch.document())),
        Verb::Delete(_) => lines.push(format!("-{}", request.key.name)),
        Verb::Update(_) => panic!("{request:?}"),
    };
    for write in &plan.writes {
        match write {
            Write::Request(request) => line(request),
            Write::Batch { requests, .. } => requests.iter().for_each(&mut line),
            Write::Event { .. } => {}
        }
    }
    (lines, status)
}

#[test]
fn pods_come_and_go_one_after_the_other() {
    let ready = |ordinals: &[i64]| ordinals.iter().map(|it| (*it, "two", "Ready")).collect::<Vec<_>>();
    for (name, change, pods, expected) in [
        ("the first", json!({}), vec![], vec!["+db-0 db-two"]),
        ("the next", json!({}), ready(&[0]), vec!["+db-1 db-two"]),
        ("not before the first is ready", json!({}), vec![(0, "two", "Running")], vec![]),
        ("not while the first goes", json!({}), vec![(0, "two", "Going")], vec![]),
        ("not before it is available", json!({"spec": {"minReadySeconds": 7200}}), ready(&[0]), vec![]),
        ("one that has ended is made anew", json!({}), vec![(0, "two", "Failed")], vec!["-db-0"]),
        ("however it has ended", json!({}), vec![(0, "two", "Succeeded")], vec!["-db-0"]),
        (
            "numbers begin where they say",
            json!({"spec": {"ordinals": {"start": 5}}}),
            vec![],
            vec!["+db-5 db-two"],
        ),
        (
            "what is below the start goes",
            json!({"spec": {"ordinals": {"start": 1}}}),
            ready(&[0, 1, 2]),
            vec!["-db-0"],
        ),
        ("the highest goes first", json!({"spec": {"replicas": 1}}), ready(&[0, 1, 2]), vec!["-db-2"]),
        (
            "and alone",
            json!({"spec": {"replicas": 0}}),
            vec![(0, "two", "Ready"), (1, "two", "Going")],
            vec![],
        ),
        (
            "not while another is in trouble",
            json!({"spec": {"replicas": 1}}),
            vec![(0, "two", "Ready"), (1, "two", "Running"), (2, "two", "Running")],
            vec![],
        ),
        (
            "unless it is the one in trouble",
            json!({"spec": {"replicas": 1}}),
            vec![(0, "two", "Ready"), (1, "two", "Running")],
            vec!["-db-1"],
        ),
        (
            "all at once",
            json!({"spec": {"podManagementPolicy": "Parallel", "replicas": 3}}),
            ready(&[1]),
            vec!["+db-0 db-two", "+db-2 db-two"],
        ),
        (
            "all go at once",
            json!({"spec": {"podManagementPolicy": "Parallel", "replicas": 0}}),
            ready(&[0, 1]),
            vec!["-db-1", "-db-0"],
        ),
        ("being deleted", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), vec![], vec![]),
    ] {
        assert_eq!(lines(&decide(set(&change), &pods, vec![])).0, expected, "{name}");
    }
}

#[test]
fn new_pods_replace_old_ones_from_the_highest_number_down() {
    let old = vec![(0, "one", "Ready"), (1, "one", "Ready"), (2, "one", "Ready")];
    let three = |change: Value| {
        let mut set = set(&json!({"spec": {"replicas": 3}}));
        merge(&mut set, &change);
        set
    };
    let rolling = |fields: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": fields}}});
    for (name, change, pods, expected) in [
        ("the highest", json!({}), old.clone(), vec!["-db-2"]),
        (
            "then the next",
            json!({}),
            vec![(0, "one", "Ready"), (1, "one", "Ready"), (2, "two", "Ready")],
            vec!["-db-1"],
        ),
        (
            "when it is ready",
            json!({}),
            vec![(0, "one", "Ready"), (1, "one", "Ready"), (2, "two", "Running")],
            vec![],
        ),
        (
            "not below the partition",
            rolling(json!({"partition": 2})),
            vec![(0, "one", "Ready"), (1, "one", "Ready"), (2, "two", "Ready")],
            vec![],
        ),
        (
            "what is missing below it stays old",
            rolling(json!({"partition": 2})),
            vec![(1, "one", "Ready")],
            vec!["+db-0 db-one"],
        ),
        ("several at once", rolling(json!({"maxUnavailable": 2})), old.clone(), vec!["-db-2", "-db-1"]),
        (
            "as many as may be missing",
            rolling(json!({"maxUnavailable": "67%"})),
            vec![(0, "one", "Ready"), (1, "one", "Ready"), (2, "two", "Ready")],
            vec!["-db-1", "-db-0"],
        ),
        (
            "on delete only",
            json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
            old,
            vec![],
        ),
    ] {
        assert_eq!(lines(&decide(three(change), &pods, vec![])).0, expected, "{name}");
    }
}

#[test]
fn the_status_counts_versions_and_ends_an_update() {
    let pods = [(0, "one", "Ready"), (1, "two", "Running")];
    let status = lines(&decide(set(&json!({})), &pods, vec![])).1;
    assert_eq!(
        status,
        json!({"observedGeneration": 3, "replicas": 2, "readyReplicas": 1, "currentReplicas": 1, "updatedReplicas": 1,
            "availableReplicas": 1, "currentRevision": "db-one", "updateRevision": "db-two", "collisionCount": 0})
    );
    let status = lines(&decide(set(&json!({})), &[(0, "two", "Ready"), (1, "two", "Ready")], vec![])).1;
    assert_eq!((&status["currentRevision"], &status["currentReplicas"]), (&json!("db-two"), &json!(2)));
    let known = set(&json!({"status": status}));
    let plan = decide(known, &[(0, "two", "Ready"), (1, "two", "Ready")], vec![]);
    assert_eq!(plan.writes.len(), 0, "what is known is not written again");
}

#[test]
fn a_pod_has_its_name_its_number_and_its_claims() {
    let claimed = json!({"spec": {"volumeClaimTemplates": [
        {"metadata": {"name": "data", "labels": {"x": "y"}}, "spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Pending"}},
    ]}});
    let plan = decide(set(&claimed), &[], vec![]);
    assert_eq!(lines(&plan).0, ["+data-db-0", "+db-0 db-two"], "claims come first");
    let mut made = plan.writes.iter().filter_map(|write| match write {
        Write::Batch { requests, .. } => match &requests[0].verb {
            Verb::Create(object) => Some((requests[0].resource.clone(), (**object).clone())),
            _ => None,
        },
        _ => None,
    });
    let (resource, claim) = made.next().unwrap();
    assert_eq!(resource, PERSISTENT_VOLUME_CLAIMS);
    assert_eq!(claim["metadata"]["labels"], json!({"x": "y", "app": "db"}));
    assert!(claim["status"].is_null() && claim["spec"]["accessModes"][0] == "ReadWriteOnce");
    let (_, pod) = made.next().unwrap();
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"app": "db", "statefulset.kubernetes.io/pod-name": "db-0", "apps.kubernetes.io/pod-index": "0",
            "controller-revision-hash": "db-two"})
    );
    assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-0"), &json!("dbs")));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}, {"name": "tmp", "emptyDir": {}}])
    );
    let going = json!({"metadata": {"namespace": "ns", "name": "data-db-0", "uid": "c", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    assert_eq!(
        lines(&decide(set(&claimed), &[], vec![going])).0,
        Vec::<String>::new(),
        "a claim that goes is waited for"
    );
}

#[test]
fn pods_of_the_right_name_are_adopted_and_others_are_not() {
    let adoptable = |name: &str| {
        json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "labels": {"app": "db"}},
            "status": {"phase": "Running"}})
    };
    let caches = Filled::new()
        .with::<StatefulSet>([set(&json!({}))])
        .with::<Pod>([adoptable("db-0"), adoptable("other")])
        .with::<ControllerRevision>([revision("two", 2)])
        .with::<PersistentVolumeClaim>([])
        .caches();
    let observed = StatefulSets.observe(&Key::new("ns", "db"), &caches).unwrap();
    let (lines, _) = lines(&StatefulSets.reconcile(&observed, now()));
    assert!(
        lines.iter().any(|line| line.starts_with("db-0 ") && line.contains("ownerReferences")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.starts_with("other")), "{lines:?}");
}
