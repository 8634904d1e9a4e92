//! Decisions about kubelets over a small cluster.

use serde_json::json;

use super::*;

fn cluster() -> NodeAuthorizer {
    let authorizer = NodeAuthorizer::new(vec![
        Rule::on_resources(&["get", "list", "watch"], &[""], &["services"]),
        // Looser than what is decided below for these: they must not be asked.
        Rule::on_resources(&["get", "list"], &[""], &["secrets", "pods", "nodes"]),
    ]);
    for (kind, namespace, name, object) in objects() {
        authorizer.update(kind, namespace, name, Some(&object));
    }
    authorizer
}

fn objects() -> Vec<(Kind, &'static str, &'static str, Value)> {
    let pod = |name: &str, node: &str, spec: Value| {
        let mut pod = json!({"metadata": {"name": name}, "spec": spec});
        pod["spec"]["nodeName"] = node.into();
        pod
    };
    vec![
        (
            Kind::Pod,
            "a",
            "p",
            pod(
                "p",
                "n1",
                json!({
                    "serviceAccountName": "sa",
                    "imagePullSecrets": [{"name": "pull"}],
                    "initContainers": [{"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "init", "key": "k"}}}, {"name": "Y", "value": "1"}]}],
                    "containers": [{"envFrom": [{"configMapRef": {"name": "from"}}, {"secretRef": {"name": "fromsecret"}}], "env": null}],
                    "ephemeralContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "debug"}}}]}],
                    "volumes": [
                        {"name": "v1", "secret": {"secretName": "volume"}},
                        {"name": "v2", "projected": {"sources": [{"configMap": {"name": "root-ca"}}, {"secret": {"name": "projected"}}]}},
                        {"name": "v3", "persistentVolumeClaim": {"claimName": "data"}},
                        {"name": "v4", "ephemeral": {"volumeClaimTemplate": {}}},
                        {"name": "v5", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "csi"}}},
                        {"name": "v6", "rbd": {"secretRef": {"name": "rbd"}}},
                        {"name": "v7", "emptyDir": {}},
                    ],
                    "resourceClaims": [{"name": "one", "resourceClaimName": "claim"}, {"name": "two", "resourceClaimTemplateName": "t"}],
                }),
            ),
        ),
        (
            Kind::Pod,
            "a",
            "q",
            pod("q", "n2", json!({"volumes": [{"name": "v", "secret": {"secretName": "volume"}}]})),
        ),
        (
            Kind::Pod,
            "a",
            "waiting",
            pod("waiting", "", json!({"volumes": [{"name": "v", "secret": {"secretName": "later"}}]})),
        ),
        (
            Kind::Pod,
            "a",
            "mirror",
            json!({
                "metadata": {"name": "mirror", "annotations": {"kubernetes.io/config.mirror": "x"}},
                "spec": {"nodeName": "n1", "serviceAccountName": "root", "volumes": [{"secret": {"secretName": "stolen"}}]},
            }),
        ),
        (
            Kind::PersistentVolume,
            "",
            "pv",
            json!({"spec": {
                "claimRef": {"namespace": "a", "name": "data"},
                "csi": {
                    "nodeStageSecretRef": {"namespace": "s", "name": "stage"},
                    "controllerPublishSecretRef": {"namespace": "s", "name": "controller"},
                },
            }}),
        ),
        (
            Kind::PersistentVolume,
            "",
            "ceph",
            json!({"spec": {"claimRef": {"namespace": "a", "name": "data"}, "cephfs": {"secretRef": {"name": "ceph"}}}}),
        ),
        (
            Kind::PersistentVolume,
            "",
            "free",
            json!({"spec": {"cephfs": {"secretRef": {"namespace": "a", "name": "free"}}}}),
        ),
        (Kind::VolumeAttachment, "", "va", json!({"spec": {"nodeName": "n1"}})),
        (Kind::ResourceSlice, "", "slice", json!({"spec": {"nodeName": "n1"}})),
        (Kind::ResourceSlice, "", "everywhere", json!({"spec": {"allNodes": true}})),
    ]
}

/// `verb group/resource[/subresource] [namespace]/[name] [field selector]`, asked by node n1
fn ask(authorizer: &NodeAuthorizer, text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let what: Vec<&str> = words[1].split('/').collect();
    let (namespace, name) = words.get(2).map_or(("", ""), |it| it.split_once('/').unwrap());
    let attributes = Attributes {
        user: User::new("system:node:n1", &["system:nodes", "system:authenticated"]),
        verb: words[0].to_owned(),
        group: what[0].to_owned(),
        resource: what[1].to_owned(),
        subresource: what.get(2).copied().unwrap_or_default().to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        field_selector: words.get(3).copied().unwrap_or_default().to_owned(),
        resource_request: true,
        ..Attributes::default()
    };
    match authorizer.authorize(&attributes) {
        Decision::Allow(_) => "yes".to_owned(),
        Decision::Deny(_) => "never".to_owned(),
        Decision::NoOpinion(reason) => format!("no {reason}").trim().to_owned(),
    }
}

const UNRELATED: &str = "no no relationship found between node 'n1' and this object";

#[test]
fn a_node_reads_what_its_pods_refer_to() {
    let authorizer = cluster();
    for secret in ["pull", "init", "fromsecret", "volume", "projected", "csi", "rbd", "ceph"] {
        assert_eq!(ask(&authorizer, &format!("get /secrets a/{secret}")), "yes", "{secret}");
    }
    for map in ["from", "debug", "root-ca"] {
        assert_eq!(ask(&authorizer, &format!("watch /configmaps a/{map}")), "yes", "{map}");
    }
    for (question, wanted) in [
        ("get /secrets a/later", UNRELATED),
        ("get /secrets a/stolen", UNRELATED),
        ("get /secrets b/pull", UNRELATED),
        ("get /secrets s/stage", "yes"),
        ("get /secrets s/controller", UNRELATED),
        ("get /secrets a/free", UNRELATED),
        ("list /secrets a/", "no No Object name found"),
        ("list /secrets", "no can only read namespaced object of this type"),
        ("delete /secrets a/pull", "no can only read resources of this type"),
        ("get /secrets/x a/pull", "no cannot read subresource"),
        ("get /persistentvolumeclaims a/data", "yes"),
        ("get /persistentvolumeclaims a/p-v4", "yes"),
        ("get /persistentvolumeclaims a/other", UNRELATED),
        ("list /persistentvolumeclaims a/data", "no can only get individual resources of this type"),
        ("patch /persistentvolumeclaims/status a/data", "yes"),
        ("get /persistentvolumeclaims/status a/data", "no can only get/update/patch this type"),
        ("get /persistentvolumes /pv", "yes"),
        ("get /persistentvolumes /free", UNRELATED),
        ("get storage.k8s.io/volumeattachments /va", "yes"),
        ("get storage.k8s.io/volumeattachments /vb", UNRELATED),
        ("get resource.k8s.io/resourceclaims a/claim", "yes"),
        ("get resource.k8s.io/resourceclaims a/t", UNRELATED),
        ("get /pods a/p", "yes"),
        ("get /pods a/mirror", "yes"),
        ("get /pods a/q", UNRELATED),
        ("get /serviceaccounts a/sa", "yes"),
        ("get /serviceaccounts a/root", UNRELATED),
        ("create /serviceaccounts/token a/sa", "yes"),
        ("create /serviceaccounts/token a/root", UNRELATED),
        ("create /serviceaccounts a/", "no can only create tokens for individual service accounts"),
        ("create /serviceaccounts/x a/sa", "no can only create token subresource of serviceaccount"),
        ("get resource.k8s.io/resourceslices /slice", "yes"),
        ("get resource.k8s.io/resourceslices /everywhere", UNRELATED),
    ] {
        assert_eq!(ask(&authorizer, question), wanted, "{question}");
    }
}

#[test]
fn a_node_writes_its_own_objects_and_lists_by_its_own_name() {
    let authorizer = cluster();
    for (question, wanted) in [
        ("create /nodes", "yes"),
        ("patch /nodes/status /n1", "yes"),
        ("get /nodes /n1", "yes"),
        ("get /nodes /n2", "no node 'n1' cannot read 'n2', only its own Node object"),
        ("list /nodes", "no node 'n1' cannot read all nodes, only its own Node object"),
        ("delete /nodes /n1", "no"),
        ("list /pods / spec.nodeName=n1", "yes"),
        ("watch /pods / status.phase!=Failed,spec.nodeName=n1", "yes"),
        ("watch /pods / spec.nodeName!=n1", "no can only list/watch pods with spec.nodeName field selector"),
        ("list /pods / spec.nodeName=n2", "no can only list/watch pods with spec.nodeName field selector"),
        ("list /pods a/p", "yes"),
        ("create /pods a/", "yes"),
        ("create /pods/eviction a/p", "yes"),
        ("patch /pods/status a/p", "yes"),
        ("patch /pods a/p", "no"),
        ("get coordination.k8s.io/leases kube-node-lease/n1", "yes"),
        ("create coordination.k8s.io/leases kube-node-lease/", "yes"),
        (
            "get coordination.k8s.io/leases kube-node-lease/n2",
            "no can only access node lease with the same name as the requesting node",
        ),
        (
            "get coordination.k8s.io/leases a/n1",
            "no can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (
            "list coordination.k8s.io/leases kube-node-lease/",
            "no can only get, create, update, patch, or delete a node lease",
        ),
        ("update storage.k8s.io/csinodes /n1", "yes"),
        (
            "update storage.k8s.io/csinodes /n2",
            "no can only access CSINode with the same name as the requesting node",
        ),
        ("list storage.k8s.io/csinodes", "no can only get, create, update, patch, or delete a CSINode"),
        ("create resource.k8s.io/resourceslices", "yes"),
        ("deletecollection resource.k8s.io/resourceslices / spec.nodeName=n1", "yes"),
        (
            "list resource.k8s.io/resourceslices",
            "no can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        ("list /services", "yes"),
        ("create /services", "no"),
    ] {
        assert_eq!(ask(&authorizer, question), wanted, "{question}");
    }
}

#[test]
fn others_are_not_its_business() {
    let authorizer = cluster();
    for (name, group, wanted) in [
        ("alice", "system:nodes", ""),
        ("system:node:n1", "system:authenticated", ""),
        ("system:node:", "system:nodes", r#"unknown node for user "system:node:""#),
    ] {
        let asked =
            Attributes { user: User::new(name, &[group]), verb: "get".to_owned(), ..Attributes::default() };
        assert_eq!(authorizer.authorize(&asked), Decision::NoOpinion(wanted.into()));
    }
    assert_eq!(authorizer.rules_for(&User::new("alice", &[]), "a"), Rules::default());
    assert!(authorizer.rules_for(&User::new("system:node:n1", &["system:nodes"]), "a").incomplete);
}

#[test]
fn two_pods_may_tie_the_same_thing_and_nothing_outlives_its_pods() {
    let authorizer = cluster();
    let second = json!({"metadata": {"name": "r"}, "spec": {"nodeName": "n1", "imagePullSecrets": [{"name": "pull"}]}});
    authorizer.update_encoded(Kind::Pod, "a", "r", Some(second.to_string().as_bytes()));
    authorizer.update(Kind::Pod, "a", "p", None);
    assert_eq!(ask(&authorizer, "get /secrets a/pull"), "yes");
    assert_eq!(ask(&authorizer, "get /secrets a/init"), UNRELATED);
    assert_eq!(ask(&authorizer, "get /persistentvolumes /pv"), UNRELATED);
    let ephemeral = json!({"metadata": {"name": "r"}, "spec": {"nodeName": "n1", "ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "new"}}]}]}});
    authorizer.update(Kind::Pod, "a", "r", Some(&ephemeral));
    assert_eq!(ask(&authorizer, "get /secrets a/pull"), UNRELATED);
    assert_eq!(ask(&authorizer, "get /secrets a/new"), "yes");
    authorizer.update(Kind::Pod, "a", "r", Some(&json!({"spec": 7})));
    assert_eq!(ask(&authorizer, "get /secrets a/new"), UNRELATED);
    for kind in [Kind::Pod, Kind::VolumeAttachment] {
        authorizer.keep_only(kind, &BTreeSet::new());
    }
    assert_eq!(ask(&authorizer, "get storage.k8s.io/volumeattachments /va"), UNRELATED);
    assert_eq!(ask(&authorizer, "get resource.k8s.io/resourceslices /slice"), "yes");
    for kind in Kind::ALL {
        authorizer.keep_only(kind, &BTreeSet::new());
    }
    assert!(authorizer.graph.read().is_empty());
}
