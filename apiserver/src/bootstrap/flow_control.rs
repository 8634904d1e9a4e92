//! The priority levels and flow schemas of a fresh cluster.
//!
//! Two of each are the server's own and are put right whenever they are changed; the others are proposals, which follow
//! new versions until somebody changes them (KEP-1040; reference page "API Priority and Fairness").

use jiff::Timestamp;
use serde_json::{Value, json};

use api_types::{
    kind::GroupVersion,
    object::{ObjectExt, object_at, object_of},
};

use super::{Item, Rule, Step, update_unless_same};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// Those that the server cannot do without.
pub const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// A limited priority level: name, shares, the percentage it lends, and its queues: how many, a hand, their length.
type Level = (&'static str, u32, u32, Option<(u32, u32, u32)>);

const LEVELS: [Level; 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6, 50))),
    ("leader-election", 10, 0, Some((16, 4, 50))),
    ("node-high", 40, 25, Some((64, 6, 50))),
    ("system", 30, 33, Some((64, 6, 50))),
    ("workload-high", 40, 50, Some((128, 6, 50))),
    ("workload-low", 100, 90, Some((128, 6, 50))),
];

/// The priority levels, then the flow schemas that lead to them.
pub fn items(now: Timestamp) -> Vec<Item> {
    let item = |resource, kind: &str, name: &str, spec: Value| {
        let object = json!({
            "kind": kind,
            "apiVersion": format!("{GROUP}/v1"),
            "metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}},
            "spec": spec,
        });
        let rule = if MANDATORY.contains(&name) { Rule::FlowMandatory } else { Rule::FlowSuggested };
        let manager = "api-priority-and-fairness-config-producer-v1";
        Item { manager, ..Item::new(GroupVersion::new(GROUP, "v1"), resource, object, rule).recurring() }
    };
    let level =
        |name: &str, spec| item("prioritylevelconfigurations", "PriorityLevelConfiguration", name, spec);
    let schema = |(name, spec): (&str, Value)| {
        let status = schema_status(&spec, true, now);
        item("flowschemas", "FlowSchema", name, spec)
            .with_status(status, "api-priority-and-fairness-config-consumer-v1")
    };
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    std::iter::once(level("exempt", exempt))
        .chain(LEVELS.into_iter().map(|it| level(it.0, limited(it))))
        .chain(schemas().into_iter().map(schema))
        .collect()
}

fn limited((_, shares, lendable, queues): Level) -> Value {
    let response = match queues {
        None => json!({"type": "Reject"}),
        Some((queues, hand, length)) => json!({
            "type": "Queue",
            "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length},
        }),
    };
    json!({
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable},
    })
}

fn schemas() -> Vec<(&'static str, Value)> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let user = |name: &str| json!({"kind": "User", "user": {"name": name}});
    let system_accounts =
        || json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}});
    let everybody = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let manager = || user("system:kube-controller-manager");
    let scheduler = || user("system:kube-scheduler");

    let everything = |subjects: Vec<Value>| {
        json!([{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    let leases = |verbs: Value| json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]});
    let probes = json!([{
        "subjects": everybody(),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    }]);
    let elections = json!([{
        "subjects": [manager(), scheduler(), system_accounts()],
        "resourceRules": [leases(json!(["get", "create", "update"]))],
    }]);
    let heartbeats = json!([{
        "subjects": [group("system:nodes")],
        "resourceRules": [
            {
                "verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"],
                "clusterScope": true, "namespaces": ["*"],
            },
            leases(json!(["*"])),
        ],
    }]);
    let schema = |level: &str, precedence: u32, by: &str, rules: Value| {
        let mut spec = json!({
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "rules": rules,
        });
        if !by.is_empty() {
            object_of(&mut spec).insert("distinguisherMethod".to_owned(), json!({"type": by}));
        }
        spec
    };
    let (by_user, by_namespace) = ("ByUser", "ByNamespace");
    vec![
        ("exempt", schema("exempt", 1, "", everything(vec![group("system:masters")]))),
        ("probes", schema("exempt", 2, "", probes)),
        ("system-leader-election", schema("leader-election", 100, by_user, elections)),
        ("system-node-high", schema("node-high", 400, by_user, heartbeats)),
        ("system-nodes", schema("system", 500, by_user, everything(vec![group("system:nodes")]))),
        ("kube-controller-manager", schema("workload-high", 800, by_namespace, everything(vec![manager()]))),
        ("kube-scheduler", schema("workload-high", 800, by_namespace, everything(vec![scheduler()]))),
        (
            "kube-system-service-accounts",
            schema("workload-high", 900, by_namespace, everything(vec![system_accounts()])),
        ),
        (
            "service-accounts",
            schema("workload-low", 9000, by_user, everything(vec![group("system:serviceaccounts")])),
        ),
        ("global-default", schema("global-default", 9900, by_user, everything(everybody()))),
        ("catch-all", schema("catch-all", 10000, by_user, everything(everybody()))),
    ]
}

/// The status of a flow schema: whether the priority level that it leads to is there.
pub fn schema_status(spec: &Value, level_exists: bool, now: Timestamp) -> Value {
    let level = spec.pointer("/priorityLevelConfiguration/name").and_then(Value::as_str).unwrap_or_default();
    let (status, reason, message) = dangling(level, level_exists);
    json!({"conditions": [{
        "type": "Dangling",
        "status": status,
        "lastTransitionTime": super::cluster::whole_seconds(now),
        "reason": reason,
        "message": message,
    }]})
}

/// Status, reason and message of the condition that tells it.
pub fn dangling(level: &str, level_exists: bool) -> (&'static str, &'static str, String) {
    let (status, reason, what) = if level_exists {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let level = api_types::field::go_quote(level);
    (
        status,
        reason,
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level} {what}"),
    )
}

/// What to do about one of them, given how it is.
pub fn reconcile(existing: &Value, wanted: &Value, mandatory: bool) -> Step {
    let marked = existing.annotation(AUTOUPDATE).and_then(boolean);
    // Unmarked, and never changed since it was made: nobody meant it to be different.
    let ours = mandatory || marked.unwrap_or_else(|| existing.generation() == 1);
    let mut object = existing.clone();
    let mut spec = wanted.get("spec").cloned().unwrap_or_default();
    if wanted.name() == "exempt" {
        keep_exempt_shares(&mut spec, existing);
    }
    if ours && existing.get("spec") != Some(&spec) {
        let spec = wanted.get("spec").cloned().unwrap_or_default();
        object_of(&mut object).insert("spec".to_owned(), spec);
    }
    if marked != Some(ours) {
        object_at(object.meta_mut(), "annotations").insert(AUTOUPDATE.to_owned(), ours.to_string().into());
    }
    update_unless_same(existing, object)
}

/// The one part of the exempt level that people may set.
fn keep_exempt_shares(spec: &mut Value, existing: &Value) {
    let (Some(exempt), Some(own)) = (
        spec.get_mut("exempt").and_then(Value::as_object_mut),
        existing.pointer("/spec/exempt").and_then(Value::as_object),
    ) else {
        return;
    };
    for field in ["nominalConcurrencyShares", "lendablePercent"] {
        match own.get(field) {
            Some(value) => exempt.insert(field.to_owned(), value.clone()),
            None => exempt.remove(field),
        };
    }
}

/// The spellings of a boolean that Go reads.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
