use client::{Controller, Plan, Write, controller::Verb, testing::Filled};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::kinds::{Node, PersistentVolume, PersistentVolumeClaim, Pod, StorageClass};

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

fn claim(change: Value) -> Value {
    let mut claim = json!({
        "metadata": {"namespace": "ns", "name": "c", "uid": "u", "resourceVersion": "5"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}, "storageClassName": ""},
        "status": {"phase": "Pending"},
    });
    merge(&mut claim, &change);
    claim
}

fn volume(name: &str, size: &str, change: Value) -> Value {
    let mut volume = json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": "4"},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"},
    });
    merge(&mut volume, &change);
    volume
}

fn class(name: &str, provisioner: &str, mode: &str, default: bool) -> Value {
    json!({"metadata": {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": provisioner, "reclaimPolicy": "Delete", "volumeBindingMode": mode})
}

fn caches(claims: Vec<Value>, volumes: Vec<Value>, classes: Vec<Value>) -> client::Caches {
    Filled::new()
        .with::<PersistentVolumeClaim>(claims)
        .with::<PersistentVolume>(volumes)
        .with::<StorageClass>(classes)
        .with::<Pod>([json!({"metadata": {"namespace": "ns", "name": "p"},
            "spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "waited"}}]}})])
        .with::<Node>([json!({"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "h1"}}})])
        .caches()
}

fn lines(plan: &Plan) -> Vec<String> {
    let line = |write: &Write| match write {
        Write::Request(request) => match &request.verb {
            Verb::Create(object) => format!("+{} {}", request.key.name, object["spec"]["hostPath"]["path"]),
            Verb::Merge(patch) => {
                let mut patch = (**patch).clone();
                if let Some(meta) = patch["metadata"].as_object_mut() {
                    meta.remove("uid");
                    meta.remove("resourceVersion");
                }
                if patch["metadata"].as_object().is_some_and(serde_json::Map::is_empty) {
                    patch.as_object_mut().unwrap().remove("metadata");
                }
                if let Some(claim_ref) = patch.pointer_mut("/spec/claimRef/uid") {
                    patch = json!({"claimRef": claim_ref.take()});
                }
                format!("{} {patch}", request.key.name)
            }
            Verb::Delete(_) => format!("-{}", request.key.name),
            Verb::Update(_) | Verb::Patch(_) => panic!("{request:?}"),
        },
        Write::Event { note, .. } => format!("! {}", note.reason),
        Write::Batch { .. } => panic!("{write:?}"),
    };
    plan.writes.iter().map(line).collect()
}

fn look_at_claim(claim: Value, volumes: Vec<Value>, classes: Vec<Value>) -> Plan {
    let key = Key::new("ns", claim["metadata"]["name"].as_str().unwrap());
    let claims = Claims { provisions: true };
    let observed = claims.observe(&key, &caches(vec![claim], volumes, classes)).unwrap();
    claims.reconcile(&observed, Timestamp::UNIX_EPOCH)
}

fn look_at_volume(volume: Value, claims: Vec<Value>) -> Plan {
    let key = Key::cluster(volume["metadata"]["name"].as_str().unwrap());
    let observed = Volumes.observe(&key, &caches(claims, vec![volume], vec![])).unwrap();
    Volumes.reconcile(&observed, Timestamp::UNIX_EPOCH)
}

const COMPLETED: &str = r#"{"metadata":{"annotations":{"pv.kubernetes.io/bind-completed":"yes"}}}"#;

#[test]
fn a_claim_gets_the_smallest_volume_that_fits() {
    let bound = |name: &str| {
        vec![
            format!(r#"{name} {{"claimRef":"u"}}"#),
            format!(r#"{name} {{"status":{{"message":null,"phase":"Bound"}}}}"#),
            format!(
                r#"c {{"metadata":{{"annotations":{{"pv.kubernetes.io/bind-completed":"yes","pv.kubernetes.io/bound-by-controller":"yes"}}}},"spec":{{"volumeName":"{name}"}}}}"#
            ),
            r#"c {"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"SIZE"},"phase":"Bound"}}"#
                .to_owned(),
        ]
    };
    let none = vec!["! FailedBinding".to_owned()];
    let other = json!({"spec": {"claimRef": {"namespace": "ns", "name": "other"}}});
    let own = json!({"spec": {"claimRef": {"namespace": "ns", "name": "c"}}});
    for (name, volumes, expected) in [
        (
            "the smallest",
            vec![
                volume("a", "10Gi", json!({})),
                volume("b", "6Gi", json!({})),
                volume("d", "4Gi", json!({})),
            ],
            bound("b"),
        ),
        (
            "its own before smaller ones",
            vec![volume("a", "10Gi", own), volume("b", "6Gi", json!({}))],
            bound("a"),
        ),
        ("not another's", vec![volume("a", "10Gi", other)], none.clone()),
        (
            "not of another class",
            vec![volume("a", "10Gi", json!({"spec": {"storageClassName": "x"}}))],
            none.clone(),
        ),
        ("not a device", vec![volume("a", "10Gi", json!({"spec": {"volumeMode": "Block"}}))], none.clone()),
        (
            "not one that cannot be mounted so",
            vec![volume("a", "10Gi", json!({"spec": {"accessModes": ["ReadOnlyMany"]}}))],
            none.clone(),
        ),
        (
            "not one that is used",
            vec![volume("a", "10Gi", json!({"status": {"phase": "Released"}}))],
            none.clone(),
        ),
        (
            "not one that goes",
            vec![volume("a", "10Gi", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))],
            none,
        ),
    ] {
        let size =
            volumes.iter().find(|it| expected[0].starts_with(it["metadata"]["name"].as_str().unwrap()));
        let size =
            size.map(|it| it["spec"]["capacity"]["storage"].as_str().unwrap().to_owned()).unwrap_or_default();
        let expected: Vec<_> = expected.iter().map(|line| line.replace("SIZE", &size)).collect();
        assert_eq!(lines(&look_at_claim(claim(json!({})), volumes, vec![])), expected, "{name}");
    }
}

#[test]
fn a_claim_can_name_its_volume_and_a_bound_one_can_lose_it() {
    let named = || claim(json!({"spec": {"volumeName": "a"}}));
    let bound = || {
        claim(
            json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "a"},
            "status": {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}}}),
        )
    };
    let of = |uid: &str| json!({"spec": {"claimRef": {"namespace": "ns", "name": "c", "uid": uid}}, "status": {"phase": "Bound"}});
    let lost = r#"c {"status":{"accessModes":null,"capacity":null,"currentVolumeAttributesClassName":null,"phase":"Lost"}}"#;
    for (name, claim, volumes, expected) in [
        ("not there", named(), vec![], vec![]),
        ("too small", named(), vec![volume("a", "1Gi", json!({}))], vec!["! VolumeMismatch"]),
        (
            "another's",
            named(),
            vec![volume("a", "5Gi", json!({"spec": {"claimRef": {"namespace": "ns", "name": "x"}}}))],
            vec!["! FailedBinding"],
        ),
        (
            "half bound",
            named(),
            vec![volume("a", "5Gi", of("u"))],
            vec![
                &*format!("c {COMPLETED}"),
                r#"c {"status":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"5Gi"},"phase":"Bound"}}"#,
            ],
        ),
        ("bound", bound(), vec![volume("a", "5Gi", of("u"))], vec![]),
        ("lost", bound(), vec![], vec![lost, "! ClaimLost"]),
        ("misbound", bound(), vec![volume("a", "5Gi", of("other"))], vec![lost, "! ClaimMisbound"]),
    ] {
        assert_eq!(lines(&look_at_claim(claim, volumes, vec![])), expected, "{name}");
    }
}

#[test]
fn a_claim_of_a_class_gets_a_volume_made() {
    let of = |name: &str| json!({"spec": {"storageClassName": name}});
    let ours = || vec![class("std", "kubernetes.io/host-path", "Immediate", true)];
    let notes = |by: &str| {
        format!(
            r#"c {{"metadata":{{"annotations":{{"volume.beta.kubernetes.io/storage-provisioner":"{by}","volume.kubernetes.io/storage-provisioner":"{by}"}}}}}}"#
        )
    };
    let waits = || vec![class("late", "kubernetes.io/host-path", "WaitForFirstConsumer", false)];
    let selected = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}, "spec": {"storageClassName": "late"}});
    for (name, change, classes, expected) in [
        (
            "ours",
            of("std"),
            ours(),
            vec![notes("kubernetes.io/host-path"), r#"+pvc-u "/tmp/hostpath_pv/u""#.to_owned()],
        ),
        (
            "another's",
            of("csi"),
            vec![class("csi", "csi.example", "Immediate", false)],
            vec![notes("csi.example"), "! ExternalProvisioning".to_owned()],
        ),
        (
            "nobody's",
            of("no"),
            vec![class("no", "kubernetes.io/no-provisioner", "Immediate", false)],
            vec!["! ProvisioningFailed".to_owned()],
        ),
        ("not there", of("gone"), vec![], vec!["! ProvisioningFailed".to_owned()]),
        (
            "the default",
            json!({"spec": {"storageClassName": null}}),
            ours(),
            vec![r#"c {"spec":{"storageClassName":"std"}}"#.to_owned()],
        ),
        ("none on purpose", of(""), ours(), vec!["! FailedBinding".to_owned()]),
        ("no consumer yet", of("late"), waits(), vec!["! WaitForFirstConsumer".to_owned()]),
        (
            "its node is chosen",
            selected,
            waits(),
            vec![notes("kubernetes.io/host-path"), r#"+pvc-u "/tmp/hostpath_pv/u""#.to_owned()],
        ),
        (
            "a device",
            json!({"spec": {"storageClassName": "std", "volumeMode": "Block"}}),
            ours(),
            vec!["! ProvisioningFailed".to_owned()],
        ),
    ] {
        assert_eq!(lines(&look_at_claim(claim(change), vec![], classes)), expected, "{name}");
    }
    let waited = claim(json!({"metadata": {"name": "waited"}, "spec": {"storageClassName": "late"}}));
    let plan = look_at_claim(waited, vec![], waits());
    let Some(Write::Event { note, .. }) = plan.writes.first() else { panic!("{plan:?}") };
    assert_eq!(note.message, "waiting for pod p to be scheduled");
}

#[test]
fn a_volume_says_how_it_is_and_goes_as_it_says() {
    let of = |uid: &str| json!({"namespace": "ns", "name": "c", "uid": uid});
    let released = |policy: &str, path: &str, by: &str| {
        let change = json!({"metadata": {"finalizers": ["kubernetes.io/pv-controller"], "annotations": {"pv.kubernetes.io/provisioned-by": by}},
            "spec": {"claimRef": of("gone"), "persistentVolumeReclaimPolicy": policy, "hostPath": {"path": path}}, "status": {"phase": "Bound"}});
        volume("a", "5Gi", change)
    };
    let told = |phase: &str| format!(r#"a {{"status":{{"message":null,"phase":"{phase}"}}}}"#);
    let bound_elsewhere = json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
        "spec": {"claimRef": of("u")}, "status": {"phase": "Bound"}});
    let to_b = || vec![claim(json!({"spec": {"volumeName": "b"}}))];
    let new = json!({"metadata": {"resourceVersion": "99"}, "spec": {"claimRef": of("gone")}, "status": {"phase": "Bound"}});
    for (name, volume, claims, expected) in [
        ("new", volume("a", "5Gi", json!({"status": {"phase": "Pending"}})), vec![], vec![told("Available")]),
        ("kept", volume("a", "5Gi", json!({"spec": {"claimRef": of("")}})), vec![], vec![]),
        ("bound", volume("a", "5Gi", json!({"spec": {"claimRef": of("u")}})), vec![claim(json!({"spec": {"volumeName": "a"}}))], vec![told("Bound")]),
        ("half bound", volume("a", "5Gi", json!({"spec": {"claimRef": of("u")}})), vec![claim(json!({}))], vec![]),
        ("retained", released("Retain", "/tmp/x", ""), vec![claim(json!({}))], vec![told("Released")]),
        ("deleted", released("Delete", "/tmp/x", "kubernetes.io/host-path"), vec![claim(json!({}))],
            vec![told("Released"), r#"a {"metadata":{"finalizers":[]}}"#.to_owned(), "-a".to_owned()]),
        ("deleted by another", released("Delete", "/tmp/x", "csi.example"), vec![claim(json!({}))], vec![told("Released")]),
        ("not to be deleted", released("Delete", "/home", ""), vec![claim(json!({}))],
            vec![told("Released"), r#"a {"status":{"message":"host_path deleter only supports /tmp/.+ but received provided /home","phase":"Failed"}}"#.to_owned(), "! VolumeFailedDelete".to_owned()]),
        ("unbound", volume("a", "5Gi", bound_elsewhere), to_b(),
            vec![r#"a {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":null}},"spec":{"claimRef":null}}"#.to_owned(), told("Available")]),
        ("not certainly gone", volume("a", "5Gi", new), vec![claim(json!({}))], vec![]),
    ] {
        assert_eq!(lines(&look_at_volume(volume, claims)), expected, "{name}");
    }
}
