//! What a fresh cluster has, and what becomes of it.

use std::collections::BTreeMap;

use api_types::object::ObjectExt;
use serde_json::json;

use super::*;

fn versions() -> Vec<GroupVersion> {
    vec![GroupVersion::new("", "v1"), GroupVersion::new("apps", "v1")]
}

fn all(versions: &[GroupVersion]) -> BTreeMap<String, Item> {
    let cluster = Cluster {
        service_ranges: &["10.0.0.0/24".parse().unwrap()],
        address: None,
        port: 6443,
        node_port: 0,
        versions,
        client_authorities: Some("PEM"),
        front_proxy: None,
        now: "2026-07-01T00:00:00.5Z".parse().unwrap(),
    };
    items(&cluster)
        .into_iter()
        .map(|item| {
            let key = format!("{}/{}/{}", item.resource, item.object.namespace(), item.object.name());
            (key.replace("//", "/"), item)
        })
        .collect()
}

fn object(key: &str) -> Value {
    all(&versions()).remove(key).unwrap_or_else(|| panic!("no {key}")).object
}

fn step(key: &str, existing: &Value) -> Step {
    all(&versions()).remove(key).unwrap().step(Some(existing))
}

#[test]
fn a_fresh_cluster_has_everything_once() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let items = all(&versions());
    for item in items.values() {
        *counts.entry(item.resource).or_default() += 1;
        assert_eq!(item.step(None), Step::Create(item.object.clone()));
        assert_eq!(item.object["apiVersion"], json!(item.version.to_string()));
    }
    let wanted = [
        ("apiservices", 2),
        ("clusterrolebindings", 51),
        ("clusterroles", 70),
        ("configmaps", 2),
        ("flowschemas", 11),
        ("namespaces", 4),
        ("priorityclasses", 2),
        ("prioritylevelconfigurations", 8),
        ("rolebindings", 7),
        ("roles", 7),
        ("servicecidrs", 1),
        ("services", 1),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn the_table_reads_as_roles_and_bindings() {
    let metadata = json!({
        "name": "system:basic-user",
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    assert_eq!(
        object("clusterroles/system:basic-user"),
        json!({
            "kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata,
            "rules": [
                {
                    "verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                },
                {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
            ],
        })
    );
    let group = "rbac.authorization.k8s.io";
    assert_eq!(
        object("clusterrolebindings/system:basic-user"),
        json!({
            "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:basic-user"},
            "subjects": [{"kind": "Group", "apiGroup": group, "name": "system:authenticated"}],
        })
    );
    let view = object("clusterroles/view");
    assert_eq!(view["rules"], Value::Null);
    assert_eq!(view.label("rbac.authorization.k8s.io/aggregate-to-edit"), Some("true"));
    let selectors = json!([{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}]);
    assert_eq!(view["aggregationRule"]["clusterRoleSelectors"], selectors);
    let locking = object("rolebindings/kube-system/system::leader-locking-kube-scheduler");
    assert_eq!(
        locking["subjects"][1],
        json!({"kind": "ServiceAccount", "namespace": "kube-system", "name": "kube-scheduler"})
    );
    let reader = object("rolebindings/kube-system/system::extension-apiserver-authentication-reader");
    assert_eq!(reader["roleRef"]["name"], json!("extension-apiserver-authentication-reader"));
    let named = object("roles/kube-system/extension-apiserver-authentication-reader");
    assert_eq!(named["rules"][0]["resourceNames"], json!(["extension-apiserver-authentication"]));
    assert_eq!(object("clusterrolebindings/system:node").get("subjects"), None);
    assert_eq!(
        object("clusterroles/cluster-admin")["rules"][1],
        json!({"verbs": ["*"], "nonResourceURLs": ["*"]})
    );
    assert_eq!(rbac::cluster_role_rules("system:node").len(), 25);
}

#[test]
fn roles_get_back_what_they_lack_and_keep_what_they_have() {
    let key = "clusterroles/system:basic-user";
    let fresh = object(key);
    assert_eq!(step(key, &fresh), Step::Keep);

    let mut changed = fresh;
    changed["metadata"]["resourceVersion"] = json!("7");
    changed["metadata"]["labels"] = json!({"mine": "too", "kubernetes.io/bootstrapping": "other"});
    changed["rules"] = json!([
        {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
    ]);
    changed["aggregationRule"] = json!({"clusterRoleSelectors": [{}]});
    let Step::Update(updated) = step(key, &changed) else { panic!("an update") };
    let part = |resource: &str| json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": [resource]});
    assert_eq!(
        updated["rules"],
        json!([
            changed["rules"][0],
            changed["rules"][1],
            part("selfsubjectaccessreviews"),
            part("selfsubjectrulesreviews"),
        ])
    );
    assert_eq!(updated.label("mine"), Some("too"));
    assert_eq!(updated.label("kubernetes.io/bootstrapping"), Some("other"));
    assert_eq!(updated.resource_version(), "7");
    assert_eq!(updated.get("aggregationRule"), None);
    assert_eq!(step(key, &updated), Step::Keep);

    changed["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    assert_eq!(step(key, &changed), Step::Keep);

    let mut emptied = object("clusterroles/view");
    emptied["rules"] = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    assert_eq!(step("clusterroles/view", &emptied), Step::Keep, "its controller fills it");
    emptied["aggregationRule"] = json!(null);
    let Step::Update(updated) = step("clusterroles/view", &emptied) else { panic!("an update") };
    assert_eq!(updated["aggregationRule"], object("clusterroles/view")["aggregationRule"]);
}

#[test]
fn bindings_get_back_their_subjects_and_are_made_anew_for_another_role() {
    let key = "clusterrolebindings/system:public-info-viewer";
    let mut binding = object(key);
    assert_eq!(step(key, &binding), Step::Keep);
    let alice = json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"});
    let subjects = binding["subjects"].clone();
    binding["subjects"] = json!([alice, subjects[1]]);
    let Step::Update(updated) = step(key, &binding) else { panic!("an update") };
    assert_eq!(updated["subjects"], json!([alice, subjects[1], subjects[0]]));
    binding["roleRef"]["name"] = json!("cluster-admin");
    assert_eq!(step(key, &binding), Step::Recreate(object(key)));
    binding["metadata"]["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "false"});
    assert_eq!(step(key, &binding), Step::Keep);
}

#[test]
fn flow_control_follows_us_until_people_change_it_except_where_it_must() {
    let mark = "apf.kubernetes.io/autoupdate-spec";
    let suggested = "prioritylevelconfigurations/workload-low";
    let changed = |key: &str, mark_as: Value, generation: i64| {
        let mut object = object(key);
        object["metadata"]["annotations"] = json!({mark: mark_as});
        object["metadata"]["generation"] = json!(generation);
        object["spec"]["limited"]["nominalConcurrencyShares"] = json!(7);
        object
    };
    for (key, existing, shares, marked) in [
        (suggested, changed(suggested, json!("true"), 2), Some(100), "true"),
        (suggested, changed(suggested, json!("1"), 2), Some(100), "1"),
        (suggested, changed(suggested, json!("maybe"), 1), Some(100), "true"),
        (suggested, changed(suggested, json!("maybe"), 2), Some(7), "false"),
        (suggested, changed(suggested, json!("false"), 2), None, "false"),
        (
            "prioritylevelconfigurations/catch-all",
            changed("prioritylevelconfigurations/catch-all", json!("false"), 2),
            Some(5),
            "true",
        ),
    ] {
        match step(key, &existing) {
            Step::Keep => assert_eq!(shares, None, "{existing}"),
            Step::Update(updated) => {
                assert_eq!(
                    updated["spec"]["limited"]["nominalConcurrencyShares"].as_i64(),
                    shares,
                    "{existing}"
                );
                assert_eq!(updated.annotation(mark), Some(marked), "{existing}");
            }
            other => panic!("{other:?}"),
        }
    }
    let exempt = "prioritylevelconfigurations/exempt";
    let mut shared = object(exempt);
    shared["spec"]["exempt"]["lendablePercent"] = json!(20);
    assert_eq!(step(exempt, &shared), Step::Keep, "people may set this");
    shared["spec"]["type"] = json!("Limited");
    assert!(matches!(step(exempt, &shared), Step::Update(_)));
}

#[test]
fn statuses_say_that_all_is_well() {
    let items = all(&versions());
    let condition = |key: &str| items[key].status.as_ref().unwrap()["conditions"][0].clone();
    assert_eq!(
        condition("flowschemas/probes"),
        json!({
            "type": "Dangling", "status": "False", "lastTransitionTime": "2026-07-01T00:00:00Z", "reason": "Found",
            "message": "This FlowSchema references the PriorityLevelConfiguration object named \"exempt\" and it exists",
        })
    );
    assert_eq!(condition("apiservices/v1.apps")["reason"], json!("Local"));
    assert_eq!(
        condition("servicecidrs/kubernetes")["message"],
        json!("Kubernetes default Service CIDR is ready")
    );
}

#[test]
fn the_cluster_finds_its_own_api() {
    for (range, wanted) in [
        ("10.0.0.0/24", Some("10.0.0.1")),
        ("10.0.0.7/24", Some("10.0.0.1")),
        ("fd00::/108", Some("fd00::1")),
        ("10.0.0.1/32", None),
    ] {
        assert_eq!(service_ip(range.parse().unwrap()).map(|it| it.to_string()).as_deref(), wanted);
    }
    let service = object("services/default/kubernetes");
    assert_eq!(service["spec"]["clusterIP"], json!("10.0.0.1"));
    assert_eq!(service["spec"]["ports"][0]["targetPort"], json!(6443));
    let address = ["192.0.2.1".parse().unwrap()];
    assert_eq!(endpoints(&address, 6443)["subsets"][0]["addresses"], json!([{"ip": "192.0.2.1"}]));
    assert_eq!(endpoints(&[], 6443).get("subsets"), None);
    assert_eq!(endpoint_slice(&address, 6443)["addressType"], json!("IPv4"));
}

#[test]
fn api_services_are_ours_while_they_bear_our_mark() {
    let key = "apiservices/v1.apps";
    let mut service = object(key);
    assert_eq!(step(key, &service), Step::Keep);
    service["spec"]["versionPriority"] = json!(1);
    assert!(matches!(step(key, &service), Step::Update(_)));
    service["metadata"]["labels"] = json!({});
    assert_eq!(step(key, &service), Step::Keep);
    let custom = custom_api_service(&GroupVersion::new("acme.com", "v1"));
    assert_eq!(custom["metadata"]["name"], json!("v1.acme.com"));
    assert_eq!(object("apiservices/v1.")["spec"].get("group"), None);
}

#[test]
fn a_second_range_is_added_and_other_keys_are_left() {
    let key = "servicecidrs/kubernetes";
    let mut wanted = all(&versions()).remove(key).unwrap();
    let old = wanted.object.clone();
    wanted.object["spec"]["cidrs"] = json!(["10.0.0.0/24", "fd00::/108"]);
    let Step::Update(updated) = wanted.step(Some(&old)) else { panic!("an update") };
    assert_eq!(updated["spec"]["cidrs"], wanted.object["spec"]["cidrs"]);
    wanted.object["spec"]["cidrs"] = json!(["10.1.0.0/24"]);
    assert_eq!(wanted.step(Some(&old)), Step::Keep);

    let key = "configmaps/kube-system/extension-apiserver-authentication";
    let existing = json!({"data": {"client-ca-file": "OLD", "requestheader-allowed-names": "[\"other\"]"}});
    let Step::Update(updated) = step(key, &existing) else { panic!("an update") };
    assert_eq!(
        updated["data"],
        json!({"client-ca-file": "PEM", "requestheader-allowed-names": "[\"other\"]"})
    );
    assert_eq!(step(key, &updated), Step::Keep);
    assert_eq!(
        object("configmaps/kube-system/kube-apiserver-legacy-service-account-token-tracking")["data"],
        json!({"since": "2026-07-01"})
    );
}
