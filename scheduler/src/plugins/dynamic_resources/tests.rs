//! Goal: a Pod goes where its claims have devices or can get them, and is told upstream's words where not. Method: three nodes, of
//! which two have devices.

use client::Change;
use serde_json::{Value, json};

use super::*;
use crate::{
    cycle::{Decision, Question, decide},
    plugins::tests::{judged, pod, with_objects},
    profile::Profile,
};

fn machine(name: &str) -> Value {
    json!({"metadata": {"name": name}, "status": {"allocatable": {"cpu": "4", "memory": "4Gi", "pods": "110"}}})
}

fn slice(node: &str, devices: &[&str]) -> Value {
    let devices: Vec<Value> = devices.iter().map(|name| json!({"name": name})).collect();
    json!({"metadata": {"name": node}, "spec": {"driver": "d", "nodeName": node, "devices": devices,
        "pool": {"name": node, "generation": 1, "resourceSliceCount": 1}}})
}

fn claim(name: &str, class: &str, status: Value) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {
            "deviceClassName": class, "allocationMode": "ExactCount", "count": 1}}]}},
        "status": status})
}

fn given(node: &str, device: &str, more: Value) -> Value {
    let mut status = json!({"allocation": {
        "devices": {"results": [{"request": "r", "driver": "d", "pool": node, "device": device}]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": [node]}]}]}}});
    for (key, value) in more.as_object().into_iter().flatten() {
        status[key] = value.clone();
    }
    status
}

/// Node `a` has two devices, node `b` one, node `c` none; class `gpu` is also `example.com/gpu`.
fn nodes(claims: Vec<Value>) -> Snapshot {
    with_objects(["a", "b", "c"].map(machine), [], |others| {
        let devices = &mut others.devices;
        for value in [slice("a", &["a0", "a1"]), slice("b", &["b0"])] {
            devices.take_slice(&Change::Added(Arc::new(serde_json::from_value(value).unwrap())));
        }
        let class = json!({"metadata": {"name": "gpu"}, "spec": {"extendedResourceName": "example.com/gpu"}});
        devices.take_class(&Change::Added(Arc::new(serde_json::from_value(class).unwrap())));
        for value in claims {
            devices.take_claim(&Change::Added(Arc::new(serde_json::from_value(value).unwrap())));
        }
    })
}

fn user(claims: &[&str]) -> Pod {
    let claims: Vec<Value> =
        claims.iter().map(|name| json!({"name": name, "resourceClaimName": name})).collect();
    pod(json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"}, "spec": {"resourceClaims": claims,
        "schedulerName": "default-scheduler"}}))
}

fn templated(made: Value) -> Pod {
    pod(json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"},
        "spec": {"resourceClaims": [{"name": "x", "resourceClaimTemplateName": "t"}]},
        "status": {"resourceClaimStatuses": made}}))
}

fn plugin() -> DynamicResources {
    DynamicResources::new(Settings::default()).unwrap()
}

#[test]
fn a_node_must_have_devices_for_claims_or_reach_those_they_have() {
    let bare = |name: &str| claim(name, "gpu", json!({}));
    let many: Vec<Value> =
        (0..256).map(|n| json!({"resource": "pods", "name": "x", "uid": format!("u{n}")})).collect();
    let cannot = "cannot allocate all claims!";
    let away = format!("{UNAVAILABLE}!");
    for (claims, asked, expected) in [
        (vec![], vec![], "skip".to_owned()),
        (vec![], vec!["c"], "never: could not find ResourceClaim \"ns/c\"".to_owned()),
        (vec![bare("c")], vec!["c"], format!("yes | yes | {cannot}")),
        (vec![bare("c"), bare("e")], vec!["c", "e"], format!("yes | {cannot} | {cannot}")),
        (
            vec![bare("c"), claim("e", "gpu", given("b", "b0", json!({})))],
            vec!["c"],
            format!("yes | {cannot} | {cannot}"),
        ),
        (
            vec![claim("c", "none", json!({}))],
            vec!["c"],
            "never: request r: device class none does not exist".to_owned(),
        ),
        (vec![claim("c", "gpu", given("b", "b0", json!({})))], vec!["c"], format!("{away} | yes | {away}")),
        (
            vec![claim("c", "gpu", given("b", "b0", json!({"reservedFor": many})))],
            vec!["c"],
            "never: resourceclaim in use".to_owned(),
        ),
        // One that has devices and one that is to have some.
        (
            vec![claim("c", "gpu", given("a", "a0", json!({}))), bare("e")],
            vec!["c", "e"],
            format!("yes | {away} | {away}"),
        ),
    ] {
        let shown = format!("{claims:?}");
        let nodes = nodes(claims);
        let found = judged(&plugin(), &user(&asked), &nodes);
        // Which of two reasons is told first does not matter.
        let found = if shown.matches("\"uid\"").count() == 2 && expected.contains(&away) {
            found.replace(cannot, &away)
        } else {
            found
        };
        assert_eq!(found, expected, "{shown}");
    }
}

#[test]
fn a_pod_waits_until_its_claims_are_made() {
    let snapshot = nodes(vec![
        claim("c", "gpu", json!({})),
        json!({"metadata": {"namespace": "ns", "name": "going", "uid": "g", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        json!({"metadata": {"namespace": "ns", "name": "mine", "uid": "m", "ownerReferences": [
            {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]}}),
    ]);
    let gate = |pod: &Pod| plugin().gate(pod, &snapshot.others);
    assert_eq!(gate(&user(&[])), None);
    assert_eq!(gate(&user(&["c"])), None);
    assert_eq!(gate(&user(&["none"])).as_deref(), Some("could not find ResourceClaim \"ns/none\""));
    assert_eq!(gate(&user(&["going"])).as_deref(), Some("resourceclaim \"going\" is being deleted"));
    assert_eq!(gate(&templated(json!([]))).as_deref(), Some("pod \"ns/p\": ResourceClaim not created yet"));
    let made = |name: Value| templated(json!([{"name": "x", "resourceClaimName": name}]));
    assert_eq!(gate(&made(Value::Null)), None, "none is needed");
    assert_eq!(gate(&made(json!("mine"))), None);
    assert_eq!(
        gate(&made(json!("c"))).as_deref(),
        Some("ResourceClaim ns/c was not created for Pod ns/p (Pod is not owner)")
    );
}

fn ask(pod: &Pod, snapshot: &Snapshot) -> Decision {
    let profile = Profile::default();
    let question = Question {
        pod,
        snapshot,
        profile: &profile,
        nominated: None,
        percentage_of_nodes_to_score: 0,
        start: 0,
        lot: 0,
    };
    decide(&question)
}

#[test]
fn devices_that_cannot_be_used_are_given_back_if_nobody_uses_them() {
    let gone = |more: Value| claim("c", "gpu", given("gone", "x", more));
    let consumer = |uid: &str| json!({"resource": "pods", "name": "x", "uid": uid});
    let deallocate = Some(Remedy::Deallocate(Key::new("ns", "c"), "c".into()));
    let preemption = "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    for (claims, asked, remedy, told) in [
        (vec![gone(json!({}))], vec!["c"], deallocate.clone(), "deallocation of ResourceClaim completed"),
        (
            vec![gone(json!({"reservedFor": [consumer("p")]}))],
            vec!["c"],
            deallocate,
            "deallocation of ResourceClaim completed",
        ),
        (vec![gone(json!({"reservedFor": [consumer("q")]}))], vec!["c"], None, "still not schedulable"),
        (vec![claim("c", "none", json!({}))], vec!["c"], None, "no new claims to deallocate"),
    ] {
        let decision = ask(&user(&asked), &nodes(claims));
        assert_eq!(decision.remedy, remedy);
        let message = decision.outcome.unwrap_err().message(3);
        assert!(message.ends_with(&format!(". {told}, {preemption}")), "{message}");
    }
}

#[test]
fn devices_must_be_ready_in_time() {
    let status = |since: &str, conditions: Value| {
        json!({
            "allocation": {"allocationTimestamp": since, "devices": {"results": [{"request": "r", "driver": "d",
                "pool": "a", "device": "a0", "bindingConditions": ["ready"], "bindingFailureConditions": ["broken"]}]}},
            "devices": [{"driver": "d", "pool": "a", "device": "a0", "conditions": conditions}],
        })
    };
    let holds = |name: &str| json!([{"type": name, "status": "True", "reason": "R", "message": "M"}]);
    for (status, expected) in [
        (status("2026-01-01T00:00:00Z", json!([])), "yes"),
        (status("2026-01-01T00:00:00Z", holds("ready")), "yes"),
        (status("2026-01-01T00:00:00Z", holds("broken")), UNAVAILABLE),
        (status("2025-12-31T23:00:00Z", json!([])), UNAVAILABLE),
        (status("2025-12-31T23:00:00Z", holds("ready")), "yes"),
    ] {
        let mut nodes = nodes(vec![claim("c", "gpu", status.clone())]);
        nodes.others.devices.as_of = "2026-01-01T00:01:00Z".parse().unwrap();
        let found = judged(&plugin(), &user(&["c"]), &nodes);
        assert!(found.starts_with(expected), "{status}: {found}");
    }
}

#[test]
fn extended_resources_may_be_devices() {
    let asking = |amount: i64| {
        pod(json!({"metadata": {"namespace": "ns", "name": "p", "uid": "p"}, "spec": {
            "schedulerName": "default-scheduler",
            "containers": [{"name": "m", "resources": {"requests": {"example.com/gpu": amount}}}]}}))
    };
    let empty = nodes(vec![]);
    assert_eq!(
        judged(&plugin(), &asking(2), &empty),
        "yes | cannot allocate all claims! | cannot allocate all claims!"
    );
    let decision = ask(&asking(2), &empty);
    assert_eq!(&*decision.outcome.unwrap().node, "a");
    let held = plugin().reserve(&asking(2), empty.row("a").unwrap(), &empty).unwrap();
    let [Holding::Devices(held)] = held.as_slice() else { panic!("{held:?}") };
    assert_eq!(
        held.extended.as_ref().unwrap().mappings,
        json!([{"containerName": "m", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}])
    );
    assert_eq!(held.plan.as_ref().unwrap().allocation.results.len(), 2);
    // What was made in another turn goes first.
    let mut old = claim("p-extended-resources-x", "gpu", json!({}));
    old["metadata"]["annotations"] = json!({"resource.kubernetes.io/extended-resource-claim": "true"});
    old["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "p", "controller": true}]);
    let decision = ask(&asking(1), &nodes(vec![old]));
    assert!(matches!(decision.remedy, Some(Remedy::Delete(..))));
    let message = decision.outcome.unwrap_err().message(3);
    assert!(
        message
            .starts_with("0/3 nodes are available: 3 cannot schedule extended resource claim. deletion of"),
        "{message}"
    );
}

#[test]
fn the_node_with_the_earlier_alternative_is_better() {
    let mut choosy = claim("c", "gpu", json!({}));
    let ask = |name: &str, count: i64| json!({"name": name, "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count});
    choosy["spec"]["devices"]["requests"] =
        json!([{"name": "r", "firstAvailable": [ask("two", 2), ask("one", 1)]}]);
    let nodes = nodes(vec![choosy, claim("e", "gpu", json!({}))]);
    let rows = [nodes.row("a").unwrap(), nodes.row("b").unwrap()];
    let (plugin, pod) = (plugin(), user(&["c"]));
    let score = plugin.score(&pod, &nodes, &rows).unwrap();
    let mut scores = rows.map(|row| score.rate(row));
    score.normalise(&mut scores);
    assert_eq!(scores, [100, 87]);
    assert!(plugin.score(&user(&["e"]), &nodes, &rows).is_none());
}

#[test]
fn what_is_on_its_way_is_taken_and_its_claim_waited_for() {
    let mut nodes = nodes(vec![claim("c", "gpu", json!({})), claim("e", "gpu", json!({}))]);
    let row = nodes.row("b").unwrap();
    let held = plugin().reserve(&user(&["c"]), row, &nodes).unwrap();
    nodes.others.hold("p", held);
    assert!(judged(&plugin(), &user(&["e"]), &nodes).starts_with("yes | cannot allocate all claims!"));
    assert_eq!(
        judged(&plugin(), &user(&["c"]), &nodes),
        "never: resource claim ns/c is in the process of being allocated"
    );
    nodes.others.release("p");
    assert!(judged(&plugin(), &user(&["e"]), &nodes).starts_with("yes | yes"));
}

#[test]
fn news_of_claims_helps_those_whom_it_concerns() {
    let object = |name: &str, status: Value| -> Arc<ResourceClaim> {
        Arc::new(serde_json::from_value(claim(name, "gpu", status)).unwrap())
    };
    let has = || given("a", "a0", json!({}));
    let changed = |old: Option<Arc<ResourceClaim>>, new: Arc<ResourceClaim>| {
        plugin().may_help(&user(&["c"]), &ClusterEvent::Devices(DeviceEvent::Claim { old, new }))
    };
    for (old, new, expected) in [
        (None, object("c", json!({})), true),
        (None, object("e", json!({})), false),
        (Some(object("c", json!({}))), object("c", json!({})), false),
        (Some(object("c", json!({}))), object("c", has()), true),
        (Some(object("e", json!({}))), object("e", has()), false),
        // Devices became free.
        (Some(object("e", has())), object("e", json!({})), true),
    ] {
        assert_eq!(changed(old.clone(), Arc::clone(&new)), expected, "{old:?} {new:?}");
    }
    assert!(plugin().may_help(&user(&["c"]), &ClusterEvent::Devices(DeviceEvent::Slice)));
}

#[test]
fn settings_are_durations() {
    let set = |value: Value| DynamicResources::new(serde_json::from_value(value).unwrap());
    assert_eq!(set(json!({})).unwrap().steps_max, Some(2_000_000));
    assert_eq!(set(json!({"filterTimeout": "0s"})).unwrap().steps_max, None);
    assert!(set(json!({"bindingTimeout": "10ms"})).unwrap_err().contains("bindingTimeout"));
    assert!(set(json!({"filterTimeout": "soon"})).unwrap_err().contains("filterTimeout"));
}
