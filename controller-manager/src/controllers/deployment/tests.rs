//! Goal: each step of a rollout is upstream's. Method: a Deployment and its ReplicaSets as data, the writes as lines.

use client::controller::Verb;

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}})
}

/// Ten Pods of image `new`, 25% of them may surge or be missing.
fn deployment(change: &Value) -> Deployment {
    let mut root = json!({
        "metadata": {"namespace": "ns", "name": "web", "uid": "d", "resourceVersion": "7", "generation": 2,
            "annotations": {"kubernetes.io/change-cause": "because", "deployment.kubernetes.io/revision": "1"}},
        "spec": {"replicas": 10, "selector": {"matchLabels": {"a": "b"}}, "template": template("new"),
            "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}},
        "status": {"conditions": []},
    });
    for (part, fields) in change.as_object().unwrap() {
        for (name, value) in fields.as_object().unwrap() {
            root[part][name] = value.clone();
        }
    }
    serde_json::from_value(root).unwrap()
}

/// Named for its image; older ones come first in the alphabet.
fn set(image: &str, age: u8, replicas: i32, available: i32, desired: i32, revision: &str) -> Arc<ReplicaSet> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": image, "uid": image, "resourceVersion": "3", "generation": 1,
                "creationTimestamp": format!("2026-01-01T00:{:02}:00Z", 59 - age), "labels": {"a": "b"},
                "annotations": {history::REVISION: revision, history::DESIRED: desired.to_string(),
                    history::MAX: (desired + (desired + 3) / 4).to_string(), "kubernetes.io/change-cause": "because"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]},
            "spec": {"replicas": replicas, "template": template(image)},
            "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available,
                "observedGeneration": 1, "terminatingReplicas": 0},
        }))
        .unwrap(),
    )
}

fn decide(
    root: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    with_pods: &[&str],
    last_failure: Option<&str>,
) -> Plan {
    let observed = Observed {
        root: Arc::new(root),
        candidates: sets,
        hash: "hash".to_owned(),
        namesake: None,
        with_pods: with_pods.iter().map(|&uid| uid.into()).collect(),
        last_failure: last_failure.map(str::to_owned),
    };
    Deployments.reconcile(&observed, now())
}

fn requests(plan: &Plan) -> Vec<&Request> {
    plan.writes
        .iter()
        .filter_map(|write| match write {
            Write::Request(request) => Some(&**request),
            Write::Batch { .. } | Write::Event { .. } => None,
        })
        .collect()
}

/// What is told of sizes, and what is made or deleted; and the reason of the condition `Progressing`.
fn story(plan: &Plan) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    let mut progress = String::new();
    for request in requests(plan) {
        match &request.verb {
            Verb::Delete(_) => lines.push(format!("delete {}", request.key.name)),
            Verb::Merge(document) => {
                for condition in document["status"]["conditions"].as_array().into_iter().flatten() {
                    if condition["type"] == "Progressing" {
                        progress = condition["reason"].as_str().unwrap().to_owned();
                    }
                }
            }
            _ => {}
        }
        if let Some(note) = request.report.as_ref().and_then(|report| report.done.as_ref()) {
            lines.push(note.message.replace("Scaled ", "").replace("replica set ", ""));
        }
    }
    (lines, progress)
}

fn told(plan: &Plan) -> Value {
    let requests = requests(plan);
    let Some(Request { verb: Verb::Merge(document), .. }) = requests.last() else {
        panic!("no status: {plan:?}")
    };
    (**document).clone()
}

#[test]
fn a_rolling_update_goes_as_far_as_surge_and_availability_allow() {
    for (why, sets, expected) in [
        ("the first ReplicaSet has all Pods", vec![], vec!["up web-hash from 0 to 10"]),
        (
            "a new template gets what may surge, and what may be missing goes",
            vec![set("old", 9, 10, 10, 10, "1")],
            vec!["up web-hash from 0 to 3", "down old from 10 to 8"],
        ),
        (
            "while no new Pod is available nothing more goes",
            vec![set("old", 9, 8, 8, 10, "1"), set("new", 1, 5, 0, 10, "2")],
            vec![],
        ),
        (
            "available new Pods replace old ones",
            vec![set("old", 9, 8, 8, 10, "1"), set("new", 1, 5, 2, 10, "2")],
            vec!["down old from 8 to 6"],
        ),
        (
            "old Pods that do not work go first, of the oldest ReplicaSet first",
            vec![set("older", 9, 4, 1, 10, "1"), set("old", 8, 4, 4, 10, "2"), set("new", 1, 5, 5, 10, "3")],
            vec!["down older from 4 to 0", "down old from 4 to 3"],
        ),
        (
            "room is the new ReplicaSet's before old ones shrink",
            vec![set("old", 9, 4, 4, 10, "1"), set("new", 1, 5, 5, 10, "2")],
            vec!["up new from 5 to 9"],
        ),
        ("what is too much goes", vec![set("new", 1, 12, 12, 10, "2")], vec!["down new from 12 to 10"]),
    ] {
        assert_eq!(story(&decide(deployment(&json!({})), sets, &[], None)).0, expected, "{why}");
    }
}

#[test]
fn an_absurdly_careful_rollout_still_moves() {
    let careful = |surge: Value, unavailable: Value, replicas: i32| {
        deployment(&json!({"spec": {"replicas": replicas,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}}))
    };
    let one = |root: Deployment| {
        let replicas = root.spec.replicas;
        story(&decide(root, vec![set("old", 9, replicas, replicas, replicas, "1")], &[], None)).0
    };
    assert_eq!(one(careful(json!(0), json!("1%"), 2)), ["down old from 2 to 1"]);
    assert_eq!(one(careful(json!("1%"), json!("25%"), 2)), ["up web-hash from 0 to 1"]);
    assert_eq!(one(careful(json!(1), json!(0), 3)), ["up web-hash from 0 to 1"]);
}

#[test]
fn recreate_lets_all_old_pods_go_before_new_ones_come() {
    let recreate = || deployment(&json!({"spec": {"strategy": {"type": "Recreate"}}}));
    for (why, sets, with_pods, expected) in [
        ("old ones first", vec![set("old", 9, 10, 10, 10, "1")], vec!["old"], vec!["down old from 10 to 0"]),
        ("they still end", vec![set("old", 9, 0, 0, 10, "1")], vec!["old"], vec![]),
        ("they are gone", vec![set("old", 9, 0, 0, 10, "1")], vec![], vec!["up web-hash from 0 to 10"]),
        ("the new one grows", vec![set("new", 1, 4, 4, 10, "1")], vec!["new"], vec!["up new from 4 to 10"]),
    ] {
        let sets = sets.into_iter();
        let sets = sets.map(|set| {
            let mut set = (*set).clone();
            set.metadata.annotations = [(history::REVISION, "1")].into_iter().collect();
            Arc::new(set)
        });
        assert_eq!(story(&decide(recreate(), sets.collect(), &with_pods, None)).0, expected, "{why}");
    }
}

#[test]
fn scaling_amid_a_rollout_is_spread_in_proportion() {
    let sets = || vec![set("old", 9, 8, 8, 10, "1"), set("new", 1, 5, 2, 10, "2")];
    for (replicas, expected) in [
        (20, vec!["up new from 5 to 10", "up old from 8 to 15"]),
        (5, vec!["down new from 5 to 3", "down old from 8 to 4"]),
        (0, vec!["down new from 5 to 0", "down old from 8 to 0"]),
    ] {
        let plan = decide(deployment(&json!({"spec": {"replicas": replicas}})), sets(), &[], None);
        assert_eq!(story(&plan).0, expected, "to {replicas}");
    }
    let paused = deployment(&json!({"spec": {"paused": true, "replicas": 3}}));
    let plan = decide(paused, vec![set("old", 9, 10, 10, 10, "1")], &[], None);
    assert_eq!(story(&plan), (vec!["down old from 10 to 3".to_owned()], "DeploymentPaused".to_owned()));
}

#[test]
fn progress_is_estimated_and_told() {
    let condition = |reason: &str, updated: &str| {
        json!({"conditions": [{"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": updated,
            "lastTransitionTime": "2026-01-01T00:00:00Z"}], "replicas": 10, "updatedReplicas": 10, "readyReplicas": 5,
            "availableReplicas": 5, "observedGeneration": 2})
    };
    for (why, status, available, expected) in [
        ("found", json!({}), 0, "ReplicaSetUpdated"),
        ("more are ready", condition("NewReplicaSetCreated", "2026-01-01T00:59:00Z"), 6, "ReplicaSetUpdated"),
        (
            "nothing moves",
            condition("NewReplicaSetCreated", "2026-01-01T00:59:00Z"),
            5,
            "NewReplicaSetCreated",
        ),
        (
            "for too long",
            condition("ReplicaSetUpdated", "2026-01-01T00:49:59Z"),
            5,
            "ProgressDeadlineExceeded",
        ),
        ("not yet too long", condition("ReplicaSetUpdated", "2026-01-01T00:50:00Z"), 5, "ReplicaSetUpdated"),
        (
            "all are there",
            condition("ReplicaSetUpdated", "2026-01-01T00:00:00Z"),
            10,
            "NewReplicaSetAvailable",
        ),
        (
            "late but there",
            condition("ProgressDeadlineExceeded", "2026-01-01T00:00:00Z"),
            10,
            "NewReplicaSetAvailable",
        ),
        (
            "it was rolled out before",
            condition("NewReplicaSetAvailable", "2026-01-01T00:00:00Z"),
            5,
            "NewReplicaSetAvailable",
        ),
    ] {
        let root = deployment(&json!({"status": status}));
        let plan = decide(root, vec![set("new", 1, 10, available, 10, "1")], &[], None);
        assert_eq!(story(&plan).1, expected, "{why}");
    }
    let root = deployment(&json!({"status": condition("ReplicaSetUpdated", "2026-01-01T00:59:00Z")}));
    let plan = decide(root, vec![set("new", 1, 10, 5, 10, "1")], &[], None);
    assert_eq!(plan.look_again, Some(std::time::Duration::from_secs(541)), "a second after the deadline");
}

#[test]
fn a_new_revision_is_told_and_one_that_comes_back_keeps_its_history() {
    let as_before = json!({"status": {"replicas": 10, "readyReplicas": 10, "availableReplicas": 10}});
    let plan = decide(deployment(&as_before), vec![set("old", 9, 10, 10, 10, "4")], &[], None);
    let requests = requests(&plan);
    let Verb::Create(object) = &requests[0].verb else { panic!("nothing is made") };
    assert_eq!(
        object["metadata"],
        json!({
            "name": "web-hash", "namespace": "ns", "labels": {"a": "b", "pod-template-hash": "hash"},
            "annotations": {"deployment.kubernetes.io/revision": "5", "deployment.kubernetes.io/desired-replicas": "10",
                "deployment.kubernetes.io/max-replicas": "13", "kubernetes.io/change-cause": "because"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d",
                "controller": true, "blockOwnerDeletion": true}],
        })
    );
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": {"a": "b", "pod-template-hash": "hash"}}));
    assert_eq!(
        object["spec"]["template"]["metadata"]["labels"],
        json!({"a": "b", "pod-template-hash": "hash"})
    );
    assert_eq!(told(&plan)["metadata"]["annotations"], json!({"deployment.kubernetes.io/revision": "5"}));
    assert_eq!(told(&plan)["status"]["conditions"][0]["message"], "Created new replica set \"web-hash\"");

    let back = decide(
        deployment(&json!({})),
        vec![set("new", 9, 0, 0, 10, "1"), set("old", 8, 10, 10, 10, "2")],
        &[],
        None,
    );
    let Verb::Patch(patch) = &self::requests(&back)[0].verb else { panic!("nothing is changed") };
    assert_eq!(
        patch.document()["metadata"]["annotations"],
        json!({"deployment.kubernetes.io/revision": "3", "deployment.kubernetes.io/revision-history": "1"})
    );
    assert_eq!(patch.document()["spec"], json!({"replicas": 3}));
}

#[test]
fn old_revisions_beyond_the_limit_go_once_the_rollout_is_over() {
    let done = json!({"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "availableReplicas": 10, "readyReplicas": 10});
    let sets = || {
        vec![
            set("third", 7, 0, 0, 10, "3"),
            set("first", 9, 0, 0, 10, "1"),
            set("second", 8, 0, 0, 10, "2"),
            set("new", 1, 10, 10, 10, "4"),
        ]
    };
    let root = deployment(&json!({"spec": {"revisionHistoryLimit": 1}, "status": done}));
    assert_eq!(story(&decide(root, sets(), &[], None)).0, ["delete first", "delete second"]);
    let busy = deployment(&json!({"spec": {"revisionHistoryLimit": 1}}));
    assert_eq!(story(&decide(busy, sets(), &[], None)).0, Vec::<String>::new());
}

#[test]
fn a_replica_set_that_cannot_be_made_is_told() {
    let plan = decide(deployment(&json!({})), vec![], &[], Some("quota"));
    let first = requests(&plan)[0];
    let Verb::Merge(document) = &first.verb else { panic!("it is not told") };
    let condition = &document["status"]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["status"]),
        (&json!("ReplicaSetCreateError"), &json!("False"))
    );
    assert_eq!(condition["message"], "Failed to create new replica set \"web-hash\": quota");
}

#[test]
fn a_name_that_is_taken_by_another_template_is_counted() {
    let observed = Observed {
        root: Arc::new(deployment(&json!({}))),
        candidates: Vec::new(),
        hash: "hash".to_owned(),
        namesake: Some(set("stranger", 1, 1, 1, 1, "1")),
        with_pods: Vec::new(),
        last_failure: None,
    };
    let plan = Deployments.reconcile(&observed, now());
    assert_eq!(told(&plan)["status"], json!({"collisionCount": 1}));
    assert_eq!(plan.writes.len(), 1);
}

#[test]
fn a_status_has_upstreams_fields() {
    let plan = decide(deployment(&json!({})), vec![set("new", 1, 10, 10, 10, "1")], &[], None);
    let mut status = told(&plan)["status"].clone();
    let conditions = status["conditions"].take();
    assert_eq!(
        status,
        json!({"observedGeneration": 2, "replicas": 10, "updatedReplicas": 10, "readyReplicas": 10, "availableReplicas": 10,
            "unavailableReplicas": null, "terminatingReplicas": 0, "collisionCount": null, "conditions": null})
    );
    let at = "2026-01-01T01:00:00Z";
    assert_eq!(
        conditions,
        json!([
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable",
                "message": "Deployment has minimum availability.", "lastUpdateTime": at, "lastTransitionTime": at},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                "message": "ReplicaSet \"new\" has successfully progressed.", "lastUpdateTime": at, "lastTransitionTime": at},
        ])
    );
}

#[test]
fn an_annotation_goes_back_to_an_earlier_template() {
    let look = |to: &str, sets: Vec<Arc<ReplicaSet>>| {
        let annotations = json!({"deployment.kubernetes.io/revision": "2", "kubernetes.io/change-cause": "newer", "mine": "x",
            "deprecated.deployment.rollback.to": to});
        decide(deployment(&json!({"metadata": {"annotations": annotations}})), sets, &[], None)
    };
    let sets = || vec![set("old", 9, 0, 0, 10, "1"), set("new", 1, 10, 10, 10, "2")];
    for to in ["0", "1"] {
        let plan = look(to, sets());
        assert_eq!(story(&plan).0, ["Rolled back deployment \"web\" to revision 1"], "to {to}");
        let document = told(&plan);
        assert_eq!(
            document["spec"]["template"],
            json!({"spec": {"containers": [{"name": "c", "image": "old"}]}})
        );
        assert_eq!(
            document["metadata"]["annotations"],
            json!({"deprecated.deployment.rollback.to": null, "kubernetes.io/change-cause": "because", "mine": null})
        );
        assert_eq!(document["metadata"]["resourceVersion"], "7");
    }
    let warning = |plan: &Plan| {
        let forgotten = json!({"deprecated.deployment.rollback.to": null});
        assert_eq!(told(plan)["metadata"]["annotations"], forgotten);
        match plan.writes.first() {
            Some(Write::Event { note, .. }) => note.message.to_string(),
            other => panic!("{other:?}"),
        }
    };
    for (to, sets, expected) in [
        ("7", sets(), "Unable to find the revision to rollback to."),
        ("0", vec![set("new", 1, 10, 10, 10, "1")], "Unable to find last revision."),
        ("2", sets(), "The rollback revision contains the same template as current deployment \"web\""),
    ] {
        assert_eq!(warning(&look(to, sets)), expected, "to {to}");
    }
    assert!(look("soon", sets()).why.to_string() != look("1", sets()).why.to_string(), "no number");
}

#[test]
fn new_pods_wait_for_the_place_of_those_that_are_still_there() {
    let change = |set: &Arc<ReplicaSet>, status: &Value| {
        let mut changed = (**set).clone();
        changed.status = serde_json::from_value(status.clone()).unwrap();
        Arc::new(changed)
    };
    for (why, old_status, expected) in [
        (
            "gone",
            json!({"replicas": 8, "availableReplicas": 8, "observedGeneration": 1}),
            vec!["up new from 3 to 5"],
        ),
        (
            "two of them still there",
            json!({"replicas": 10, "availableReplicas": 8, "observedGeneration": 1}),
            vec![],
        ),
        ("nobody knows", json!({"replicas": 8, "availableReplicas": 8, "observedGeneration": 0}), vec![]),
    ] {
        let sets = vec![change(&set("old", 9, 8, 8, 10, "1"), &old_status), set("new", 1, 3, 0, 10, "2")];
        assert_eq!(story(&decide(deployment(&json!({})), sets, &[], None)).0, expected, "{why}");
    }
}
