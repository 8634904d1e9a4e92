//! What is attached where, as tables: a cluster in, lines of what is done out.

use client::{Controller, Key, Plan, Write, controller::Verb, testing::Filled};
use jiff::{SignedDuration, Timestamp};
use runtime::Runtime;
use serde_json::{Value, json};

use super::*;
use crate::kinds::VolumeAttachment;

const ID: &str = "disks.example.com^vol-1";
const TOLD: &str = "kubernetes.io/csi/disks.example.com^vol-1";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A cluster of two nodes, a bound volume, and what a test changes about it.
#[derive(Clone)]
struct World {
    modes: Value,
    driver: Option<Value>,
    pods: Vec<Value>,
    nodes: Vec<Value>,
    attachments: Vec<Value>,
    source: Value,
}

fn world() -> World {
    World {
        modes: json!(["ReadWriteOnce"]),
        driver: None,
        pods: Vec::new(),
        nodes: vec![node("a", json!({})), node("b", json!({}))],
        attachments: Vec::new(),
        source: json!({"csi": {"driver": "disks.example.com", "volumeHandle": "vol-1"}}),
    }
}

fn node(name: &str, status: Value) -> Value {
    let mut status = status;
    if status.get("conditions").is_none() {
        status["conditions"] = json!([{"type": "Ready", "status": "True"}]);
    }
    json!({"metadata": {"name": name, "uid": name, "annotations": {MANAGED: "true"}}, "status": status})
}

fn unwell(name: &str, mut status: Value) -> Value {
    status["conditions"] = json!([{"type": "Ready", "status": "Unknown"}]);
    node(name, status)
}

fn pod(name: &str, on: &str) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "uid": name}, "spec": {"nodeName": on,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]}, "status": {"phase": "Running"}})
}

fn attachment(on: &str, status: Value) -> Value {
    json!({"metadata": {"name": format!("to-{on}"), "uid": on, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"attacher": "disks.example.com", "nodeName": on, "source": {"persistentVolumeName": "v"}}, "status": status})
}

impl World {
    fn caches(&self) -> client::Caches {
        let mut volume = json!({"metadata": {"name": "v", "uid": "v"}, "spec": self.source});
        volume["spec"]["accessModes"] = self.modes.clone();
        volume["spec"]["claimRef"] = json!({"namespace": "ns", "name": "c", "uid": "c"});
        Filled::new()
            .with::<PersistentVolume>([volume])
            .with::<PersistentVolumeClaim>([json!({"metadata": {"namespace": "ns", "name": "c", "uid": "c"},
                "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}})])
            .with::<CsiDriver>(self.driver.clone())
            .with::<Pod>(self.pods.clone())
            .with::<Node>(self.nodes.clone())
            .with::<VolumeAttachment>(self.attachments.clone())
            .caches()
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    let line = |write: &Write| match write {
        Write::Event { about, note } => format!("tell {}: {}", about.name, note.message),
        Write::Request(request) => match &request.verb {
            Verb::Create(object) => format!("attach {}", object["spec"]["nodeName"].as_str().unwrap()),
            Verb::Delete(_) => format!("detach {}", request.key.name),
            Verb::Patch(patch) => patch.document()["status"]["volumesAttached"].to_string(),
            other => panic!("{other:?}"),
        },
        Write::Batch { .. } => panic!("{write:?}"),
    };
    plan.writes.iter().map(line).collect()
}

fn look(controller: &Volumes, world: &World, at: Timestamp) -> Plan {
    let observed = controller.observe(&Key::cluster(ID), &world.caches()).unwrap();
    controller.reconcile(&observed, at)
}

fn decide(world: &World) -> Vec<String> {
    lines(&look(&Volumes::new(Runtime::simulated(start(), 1).clock), world, start()))
}

#[test]
fn a_volume_is_attached_where_a_pod_needs_it() {
    let needed = World { pods: vec![pod("p", "a")], ..world() };
    assert_eq!(decide(&needed), ["attach a"]);
    let without = |driver: Value| World { driver: Some(driver), ..needed.clone() };
    let driver = |required: Value| json!({"metadata": {"name": "disks.example.com"}, "spec": {"attachRequired": required}});
    assert_eq!(decide(&without(driver(json!(true)))), ["attach a"]);
    assert!(decide(&without(driver(json!(false)))).is_empty(), "the driver needs none of it");

    let mut waiting = pod("p", "a");
    waiting["spec"]["nodeName"] = json!("");
    assert!(decide(&World { pods: vec![waiting], ..world() }).is_empty(), "not bound to a node");
    let mut done = pod("p", "a");
    done["status"]["phase"] = json!("Succeeded");
    assert!(decide(&World { pods: vec![done], ..world() }).is_empty(), "it has ended");
    let mut unmanaged = needed.clone();
    unmanaged.nodes[0]["metadata"]["annotations"] = json!({});
    assert!(decide(&unmanaged).is_empty(), "the node does it itself");
    assert!(decide(&World { nodes: vec![], ..needed }).is_empty(), "there is no such node");
}

#[test]
fn a_volume_for_one_node_is_not_attached_to_two() {
    let two = World { pods: vec![pod("p", "a"), pod("q", "b")], ..world() };
    assert_eq!(decide(&two), ["attach a"]);
    let taken = World { attachments: vec![attachment("a", json!({"attached": true}))], ..two };
    assert_eq!(
        decide(&taken),
        ["tell q: Multi-Attach error for volume \"v\" Volume is already used by pod(s) p"]
    );
    let gone = World { pods: vec![pod("q", "b")], ..taken.clone() };
    assert_eq!(
        decide(&gone),
        [
            "detach to-a",
            "tell q: Multi-Attach error for volume \"v\" Volume is already exclusively attached to one node and can't be attached to another"
        ]
    );
    let shared = |modes: Value| World { modes, ..taken.clone() };
    assert_eq!(decide(&shared(json!(["ReadWriteMany"]))), ["attach b"]);
    assert_eq!(decide(&shared(json!(["ReadWriteOnce", "ReadOnlyMany"]))), ["attach b"]);
    assert_eq!(decide(&shared(json!([]))), ["attach b"], "the driver knows");

    let controller = Volumes::new(Runtime::simulated(start(), 1).clock);
    assert_eq!(look(&controller, &taken, start()).writes.len(), 1);
    assert!(look(&controller, &taken, start()).writes.is_empty(), "it is told once");
}

#[test]
fn a_volume_is_detached_when_its_node_does_not_use_it_any_more() {
    let attached = || vec![attachment("a", json!({"attached": true}))];
    let on = |node: Value| World { nodes: vec![node], attachments: attached(), ..world() };
    let told = json!([{"name": TOLD, "devicePath": ""}]);
    assert_eq!(decide(&on(node("a", json!({})))), ["detach to-a"]);
    assert!(decide(&on(node("a", json!({"volumesInUse": [TOLD]})))).is_empty(), "it is mounted");
    assert!(decide(&on(node("a", json!({"volumesAttached": told})))).is_empty(), "the node is told first");
    assert_eq!(decide(&World { nodes: vec![], ..on(json!({})) }), ["detach to-a"], "the node is gone");
    let mut out = node("a", json!({"volumesInUse": [TOLD], "volumesAttached": told}));
    out["spec"] = json!({"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]});
    assert_eq!(decide(&on(out)), ["detach to-a"], "people have said that nothing runs there");
    let mut going = attachment("a", json!({"attached": true}));
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let going = World { attachments: vec![going], pods: vec![pod("p", "a")], ..world() };
    assert!(decide(&going).is_empty(), "what is being detached is first detached");
}

#[test]
fn a_lost_node_is_given_up_after_six_minutes_and_a_healthy_one_never() {
    for (node, after, expected) in [
        (unwell("a", json!({"volumesInUse": [TOLD]})), 360, false),
        (unwell("a", json!({"volumesInUse": [TOLD]})), 361, true),
        (node("a", json!({"volumesInUse": [TOLD]})), 3600, false),
    ] {
        let controller = Volumes::new(Runtime::simulated(start(), 1).clock);
        let world = World {
            nodes: vec![node],
            attachments: vec![attachment("a", json!({"attached": true}))],
            ..world()
        };
        let first = look(&controller, &world, start());
        assert!(first.writes.is_empty() && first.look_again.is_some());
        let later = look(&controller, &world, start() + SignedDuration::from_secs(after));
        assert_eq!(!later.writes.is_empty(), expected, "after {after} seconds");
    }
}

#[test]
fn pods_are_told_what_becomes_of_their_volume() {
    let controller = Volumes::new(Runtime::simulated(start(), 1).clock);
    let with = |status: Value| World {
        pods: vec![pod("p", "a")],
        attachments: vec![attachment("a", status)],
        ..world()
    };
    let tell = |status: Value| lines(&look(&controller, &with(status), start()));
    assert!(tell(json!({})).is_empty());
    let failed = || json!({"attachError": {"time": "2026-01-01T00:00:01Z", "message": "no such disk"}});
    assert_eq!(tell(failed()), ["tell p: AttachVolume.Attach failed for volume \"v\" : no such disk"]);
    assert!(tell(failed()).is_empty(), "once");
    assert_eq!(tell(json!({"attached": true})), ["tell p: AttachVolume.Attach succeeded for volume \"v\" "]);
    assert!(tell(json!({"attached": true})).is_empty(), "once");

    let late = Volumes::new(Runtime::simulated(start() + SignedDuration::from_secs(121), 1).clock);
    assert_eq!(
        lines(&look(&late, &with(json!({})), start())),
        [
            "tell p: AttachVolume.Attach failed for volume \"v\" : timed out waiting for external-attacher of disks.example.com CSI driver to attach volume vol-1"
        ]
    );
}

#[test]
fn a_node_is_told_what_is_attached_until_nobody_needs_or_uses_it() {
    let other = json!({"name": "example.com/x", "devicePath": ""});
    let ours = json!({"name": TOLD, "devicePath": ""});
    for (name, status, attached, needed, expected) in [
        ("attached", json!({}), true, true, Some(json!([ours]))),
        ("not yet", json!({}), false, true, None),
        ("known", json!({"volumesAttached": [ours]}), true, true, None),
        ("not needed", json!({"volumesAttached": [ours, other]}), true, false, Some(json!([other]))),
        ("the last one", json!({"volumesAttached": [ours]}), true, false, Some(Value::Null)),
        ("still in use", json!({"volumesAttached": [ours], "volumesInUse": [TOLD]}), true, false, None),
    ] {
        let world = World {
            nodes: vec![node("a", status)],
            pods: if needed { vec![pod("p", "a")] } else { vec![] },
            attachments: vec![attachment("a", json!({"attached": attached}))],
            ..world()
        };
        let observed = Nodes.observe(&Key::cluster("a"), &world.caches()).unwrap();
        let did = lines(&Nodes.reconcile(&observed, start()));
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(did, expected, "{name}");
    }
}

#[test]
fn a_disk_without_a_driver_is_attached_by_telling_its_node() {
    let iscsi = || json!({"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.a", "lun": 1}});
    let name = "kubernetes.io/iscsi/10.0.0.1:3260:iqn.a:1";
    let told = || json!({"volumesAttached": [{"name": name, "devicePath": ""}]});
    let attach = || vec![told()["volumesAttached"].to_string()];
    let detach = || vec!["null".to_owned()];
    let keep = Vec::new;
    let mut named = pod("p", "a");
    named["spec"]["volumes"] = json!([{"name": "disk", "iscsi": iscsi()["iscsi"]}]);
    let in_use = json!({"volumesAttached": told()["volumesAttached"], "volumesInUse": [name]});
    let two = || vec![pod("p", "a"), pod("q", "b")];
    let (once, often) = (json!(["ReadWriteOnce"]), json!(["ReadOnlyMany"]));
    for (case, modes, status, pods, a, b) in [
        ("needed", &once, json!({}), vec![pod("p", "a")], attach(), keep()),
        ("told already", &once, told(), vec![pod("p", "a")], keep(), keep()),
        ("named by the Pod", &once, json!({}), vec![named], attach(), keep()),
        ("needed no more", &once, told(), vec![], detach(), keep()),
        ("still in use", &once, in_use, vec![], keep(), keep()),
        ("for one node only", &once, json!({}), two(), attach(), keep()),
        ("on another node yet", &once, told(), vec![pod("q", "b")], detach(), keep()),
        ("given up", &once, json!({}), vec![pod("q", "b")], keep(), attach()),
        ("for many nodes", &often, told(), two(), keep(), attach()),
    ] {
        let nodes = vec![node("a", status), node("b", json!({}))];
        let world = World { modes: modes.clone(), source: iscsi(), pods, nodes, ..world() };
        let look = |on: &str| {
            let observed = Nodes.observe(&Key::cluster(on), &world.caches()).unwrap();
            lines(&Nodes.reconcile(&observed, start()))
        };
        assert_eq!((look("a"), look("b")), (a, b), "{case}");
    }
}
