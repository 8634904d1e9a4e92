//! An operator's walk with kinds of their own: define, use, change, lose a namespace, restart, undefine.
//!
//! Method: one cluster in one directory with the real controllers; each step as a person would take it, with kubectl.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use e2e::{Cluster, eventually, tools};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);

/// Two versions that differ in name only; the older is deprecated.
const BOATS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: boats.harbour.example.com
spec:
  group: harbour.example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, shortNames: [bt], categories: [fleet]}
  versions:
  - &version
    name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        description: Something that floats.
        properties:
          spec:
            type: object
            properties:
              colour: {type: string, default: white, description: What colour its hull has., enum: [white, red, blue]}
              crew: {type: integer, minimum: 0}
              ropes:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, metres: {type: integer}}
          status:
            type: object
            properties: {aboard: {type: integer}, selector: {type: string}}
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.crew, statusReplicasPath: .status.aboard, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Colour, type: string, jsonPath: .spec.colour}
    - {name: Crew, type: integer, jsonPath: .spec.crew}
    selectableFields:
    - jsonPath: .spec.colour
  - <<: *version
    name: v1beta1
    storage: false
    deprecated: true
"#;

const BOAT: &str = r#"
apiVersion: harbour.example.com/v1
kind: Boat
metadata: {name: argo}
spec: {crew: 2, ropes: [{name: bow, metres: 5}]}
"#;

fn contains(text: &str, wanted: &[&str]) {
    for word in wanted {
        assert!(text.contains(word), "{word:?} is missing in:\n{text}");
    }
}

fn with_input(cluster: &Cluster, words: &str, input: &str) -> String {
    let said = cluster.try_kubectl_with(&words.split_whitespace().collect::<Vec<_>>(), input).unwrap();
    assert!(said.status.success(), "{}\n{}", said.whole(), cluster.log());
    said.out
}

#[test]
fn a_kind_of_ones_own_is_used_like_any_other() {
    let kubectl = tools::kubectl().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let start = || Cluster::start("binnacle", &kubectl, &data, &["--store", "embedded"]).unwrap();
    let mut cluster = start();
    define(&cluster);
    use_it(&cluster);
    watch(&cluster);
    lose_a_namespace(&cluster);
    collect_dependents(&cluster);
    cluster.interrupt().unwrap();
    drop(cluster);
    cluster = start();
    contains(&cluster.kubectl("get boats"), &["argo", "red", "4"]);
    contains(&cluster.kubectl("explain boat.spec.colour"), &["What colour its hull has."]);
    undefine(&cluster);
}

fn define(cluster: &Cluster) {
    // YAML's anchors are read by kubectl.
    contains(&with_input(cluster, "apply -f -", BOATS), &["boats.harbour.example.com created"]);
    cluster.kubectl("wait --for=condition=established crd/boats.harbour.example.com --timeout=30s");
    contains(
        &cluster.kubectl("api-resources --api-group=harbour.example.com"),
        &["boats", "bt", "harbour.example.com/v1", "Boat"],
    );
}

fn use_it(cluster: &Cluster) {
    contains(&with_input(cluster, "apply --server-side -f -", BOAT), &["boat.harbour.example.com/argo"]);
    let mixed = BOAT.replace("crew: 2, ropes: [{name: bow, metres: 5}]", "ropes: [{name: stern, metres: 9}]");
    with_input(cluster, "apply --server-side --field-manager=other -f -", &mixed);
    let argo = cluster.get("boat argo");
    assert_eq!(argo.pointer("/spec/ropes").and_then(Value::as_array).unwrap().len(), 2, "{argo}");
    contains(&cluster.kubectl("get bt"), &["NAME", "COLOUR", "CREW", "argo", "white", "2"]);
    contains(&cluster.kubectl("get fleet"), &["argo"]);
    contains(
        &cluster.kubectl("get boats.v1beta1.harbour.example.com argo -o yaml"),
        &["harbour.example.com/v1beta1"],
    );
    contains(&cluster.kubectl("explain boat"), &["Something that floats.", "spec"]);
    contains(&cluster.kubectl("scale boat/argo --replicas=4"), &["scaled"]);
    cluster.kubectl("patch boat argo --subresource=status --type=merge -p {\"status\":{\"aboard\":1}}");
    contains(
        &cluster.kubectl("get boat argo --subresource=scale -o jsonpath={.spec.replicas}/{.status.replicas}"),
        &["4/1"],
    );
    cluster.kubectl("patch boat argo --type=merge -p {\"spec\":{\"colour\":\"red\"}}");
    contains(&cluster.kubectl("get boats --field-selector=spec.colour=red -o name"), &["argo"]);
    let refused =
        cluster.try_kubectl("patch boat argo --type=merge -p {\"spec\":{\"colour\":\"green\"}}").unwrap();
    assert!(!refused.status.success());
    contains(&refused.err, &["Unsupported value: \"green\"", "\"white\""]);
}

fn watch(cluster: &Cluster) {
    let mut watching = Command::new(cluster.kubectl_program())
        .arg("--kubeconfig")
        .arg(cluster.kubeconfig())
        .args(["get", "boats", "--watch-only", "-o", "name"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    // It says when it begins by what it sees: something is written until it does.
    let writing = std::thread::scope(|scope| {
        let seen = scope.spawn(|| lines.next().unwrap().unwrap());
        for number in 0.. {
            cluster.kubectl(&format!("annotate boat argo --overwrite at={number}"));
            if seen.is_finished() || number > 200 {
                break;
            }
        }
        seen.join().unwrap()
    });
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(writing, "boat.harbour.example.com/argo");
}

fn lose_a_namespace(cluster: &Cluster) {
    cluster.kubectl("create namespace dock");
    with_input(cluster, "apply -n dock -f -", BOAT);
    cluster.kubectl("delete namespace dock --timeout=60s");
    let left = cluster.kubectl("get boats --all-namespaces -o name");
    assert_eq!(left.lines().count(), 1, "{left}");
}

fn collect_dependents(cluster: &Cluster) {
    with_input(cluster, "apply -f -", &BOAT.replace("argo", "owner"));
    let owner = cluster.get("boat owner");
    let uid = owner.pointer("/metadata/uid").and_then(Value::as_str).unwrap();
    let owned = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: log\n  ownerReferences:\n  - {{apiVersion: harbour.example.com/v1, kind: Boat, name: owner, uid: {uid}}}\n"
    );
    with_input(cluster, "apply -f -", &owned);
    cluster.kubectl("delete boat owner");
    eventually("what the boat owned is collected", PATIENCE, || {
        let left = cluster.kubectl("get configmap log --ignore-not-found -o name");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

fn undefine(cluster: &Cluster) {
    contains(&cluster.kubectl("delete crd boats.harbour.example.com --timeout=60s"), &["deleted"]);
    eventually("the kind is gone", PATIENCE, || {
        let said =
            cluster.try_kubectl("get --raw /apis/harbour.example.com").map_err(|error| error.to_string())?;
        if said.status.success() { Err(said.out) } else { Ok(()) }
    });
    with_input(cluster, "apply -f -", BOATS);
    cluster.kubectl("wait --for=condition=established crd/boats.harbour.example.com --timeout=30s");
    assert_eq!(cluster.get("boats")["items"], serde_json::json!([]));
}
