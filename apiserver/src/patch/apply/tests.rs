use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOON: &str = "2024-01-01T12:00:00Z";
const LATER: &str = "2024-01-01T13:00:00Z";

/// One object and who wrote it.
struct Cluster {
    kind: GroupVersionKind,
    live: Option<Value>,
    now: &'static str,
    subresource: &'static str,
    reset: &'static [&'static [&'static str]],
}

/// HorizontalPodAutoscalers, of which only the metric targets differ between versions.
fn autoscaler(object: &Value, version: &str) -> Option<Value> {
    let mut object = object.clone();
    object["apiVersion"] = version.into();
    Some(object)
}

impl Cluster {
    fn of(group: &str, version: &str, kind: &str) -> Self {
        let kind = GroupVersionKind::new(group, version, kind);
        Self { kind, live: None, now: NOON, subresource: "", reset: &[&["status"]] }
    }

    fn config_map() -> Self {
        Self::of("", "v1", "ConfigMap")
    }

    fn with<T>(&self, run: impl FnOnce(FieldManager<'_>) -> T) -> T {
        let versions = BuiltIn { kind: &self.kind, convert: Some(&autoscaler) };
        run(FieldManager {
            kind: &self.kind,
            versions: &versions,
            subresource: self.subresource,
            reset: Reset::Fields(self.reset),
            now: self.now.parse().unwrap(),
        })
    }

    fn object(&self, fields: Value) -> Value {
        let mut object =
            json!({"apiVersion": self.kind.api_version(), "kind": self.kind.kind, "metadata": {"name": "a"}});
        for (name, value) in fields.as_object().unwrap() {
            match (name.as_str(), value) {
                ("metadata", Value::Object(value)) => object.meta_mut().extend(value.clone()),
                _ => object[name] = value.clone(),
            }
        }
        object
    }

    fn store(&mut self, mut object: Value) {
        object.set_meta("uid", "1");
        self.live = Some(object);
    }

    fn apply(&mut self, manager: &str, fields: Value) -> Result<(), String> {
        self.apply_with(manager, fields, false)
    }

    fn apply_with(&mut self, manager: &str, fields: Value, force: bool) -> Result<(), String> {
        let applied = self.object(fields);
        let out = self.with(|it| it.apply(self.live.as_ref(), &applied, manager, force));
        self.store(out.map_err(|status| status.message)?);
        Ok(())
    }

    /// Replaces the object as a PUT does; what the client does not send of the record counts as kept.
    fn write(&mut self, manager: &str, fields: Value) {
        let mut new = self.object(fields);
        new.set_meta("uid", self.live.as_ref().map_or("", |_| "1"));
        self.with(|it| it.track(self.live.as_ref(), &mut new, manager));
        self.store(new);
    }

    /// Who has what: `manager operation [subresource] = fields`, and the hour if it is not noon.
    fn record(&self) -> Vec<String> {
        let list = self.live.as_ref().and_then(|live| live.meta()?.get("managedFields")?.as_array().cloned());
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let line = |entry: &Value| {
            let words = ["manager", "operation", "subresource"].map(|name| text(entry, name));
            let time = match text(entry, "time").as_str() {
                NOON => "",
                LATER => " later",
                _ => " untimed",
            };
            let words = words.join(" ");
            format!("{} = {}{time}", words.trim_end(), entry["fieldsV1"].to_string().replace('"', ""))
        };
        list.iter().flatten().map(line).collect()
    }

    fn value(&self, pointer: &str) -> Value {
        self.live.as_ref().and_then(|live| live.pointer(pointer)).cloned().unwrap_or_default()
    }
}

#[test]
fn what_is_no_longer_applied_goes_unless_someone_else_has_it() {
    let mut it = Cluster::config_map();
    it.apply("a", json!({"data": {"x": "1", "y": "1", "z": "1"}})).unwrap();
    it.apply("b", json!({"data": {"y": "1"}})).unwrap();
    it.apply("a", json!({"data": {"z": "1"}})).unwrap();
    assert_eq!(it.value("/data"), json!({"y": "1", "z": "1"}));
    // Who comes to share a field without changing the object has no time.
    assert_eq!(it.record(), ["b Apply = {f:data:{f:y:{}}} untimed", "a Apply = {f:data:{f:z:{}}}"]);
    it.apply("b", json!({})).unwrap();
    it.apply("a", json!({})).unwrap();
    assert_eq!(it.value("/data"), json!(null));
    assert_eq!(it.record(), Vec::<String>::new());
}

#[test]
fn an_item_goes_with_its_applier_whatever_others_set_in_it() {
    let mut it = Cluster::of("apps", "v1", "Deployment");
    let pod = |spec: Value| json!({"spec": {"template": {"spec": spec}}});
    it.apply("a", pod(json!({"containers": [{"name": "c"}, {"name": "d"}]}))).unwrap();
    it.write("u", pod(json!({"hostname": "h", "containers": [{"name": "c", "tty": true}, {"name": "d"}]})));
    it.apply("a", pod(json!({"containers": [{"name": "d"}]}))).unwrap();
    let expected = json!({"hostname": "h", "containers": [{"name": "d"}]});
    assert_eq!(it.value("/spec/template/spec"), expected);
    // But not while another applier has it too.
    it.apply("b", pod(json!({"containers": [{"name": "d"}]}))).unwrap();
    it.apply("a", json!({})).unwrap();
    assert_eq!(it.value("/spec/template/spec"), expected);
    it.apply("b", json!({})).unwrap();
    assert_eq!(it.value("/spec/template/spec"), json!({"hostname": "h"}));
}

#[test]
fn an_apply_that_changes_nothing_does_not_change_the_time() {
    let mut it = Cluster::config_map();
    it.apply("a", json!({"data": {"x": "1"}})).unwrap();
    it.now = LATER;
    it.apply("a", json!({"data": {"x": "1"}})).unwrap();
    assert_eq!(it.record(), ["a Apply = {f:data:{f:x:{}}}"]);
    it.apply("a", json!({"data": {"x": "2"}})).unwrap();
    assert_eq!(it.record(), ["a Apply = {f:data:{f:x:{}}} later"]);
}

#[test]
fn fields_of_others_are_in_conflict_until_forced() {
    let mut it = Cluster::of("", "v1", "Service");
    let ports = |a: u32, b: u32| json!({"spec": {"ports": [{"port": 80, "targetPort": a}, {"port": 443, "targetPort": b}]}});
    it.apply("one", ports(1, 1)).unwrap();
    it.write("two", json!({"spec": {"ports": [
        {"port": 80, "protocol": "TCP", "targetPort": 2}, {"port": 443, "protocol": "TCP", "targetPort": 1}]}}));
    assert_eq!(
        it.apply("three", ports(3, 3)),
        Err("Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.ports[port=443,protocol=\"TCP\"].targetPort\n\
             conflicts with \"two\" using v1:\n- .spec.ports[port=80,protocol=\"TCP\"].targetPort"
            .to_owned())
    );
    // The same value is no conflict: it is shared.
    it.apply("three", json!({"spec": {"ports": [{"port": 443, "targetPort": 1}]}})).unwrap();
    it.apply_with("three", ports(3, 3), true).unwrap();
    assert_eq!(it.value("/spec/ports/0/targetPort"), 3);
    let has_target_port = |line: &&String| line.contains("targetPort");
    assert_eq!(it.record().iter().filter(has_target_port).count(), 1);
}

#[test]
fn conflicts_are_told_in_the_order_of_managers_and_paths() {
    let mut it = Cluster::config_map();
    it.apply("b", json!({"data": {"q": "1", "p": "1"}})).unwrap();
    it.apply("a", json!({"metadata": {"labels": {"l": "1"}}})).unwrap();
    let refusal = it.with(|manager| {
        let applied = it.object(json!({"data": {"q": "2", "p": "2"}, "metadata": {"labels": {"l": "2"}}}));
        manager.apply(it.live.as_ref(), &applied, "c", false).unwrap_err()
    });
    assert_eq!(
        refusal.message,
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .metadata.labels.l\nconflicts with \"b\":\n- .data.p\n\
         - .data.q"
    );
    let causes = refusal.details.unwrap().causes;
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, [".metadata.labels.l", ".data.p", ".data.q"]);
    assert_eq!(
        (refusal.code, refusal.reason.as_str(), causes[0].reason.as_str()),
        (409, "Conflict", "FieldManagerConflict")
    );
}

#[test]
fn updates_take_what_they_change_and_drop_what_they_remove() {
    let mut it = Cluster::config_map();
    it.write("a", json!({"data": {"x": "1", "y": "1"}}));
    assert_eq!(it.record(), ["a Update = {f:data:{.:{},f:x:{},f:y:{}}}"]);
    it.now = LATER;
    it.write("b", json!({"data": {"x": "2", "y": "1"}}));
    assert_eq!(it.record(), ["a Update = {f:data:{.:{},f:y:{}}}", "b Update = {f:data:{f:x:{}}} later"]);
    it.write("b", json!({"data": {"x": "2"}}));
    assert_eq!(it.record(), ["a Update = {f:data:{}}", "b Update = {f:data:{f:x:{}}} later"]);
    it.write("c", json!({"data": {"x": "2"}}));
    assert_eq!(it.record().len(), 2, "who changes nothing is not on record");
    it.write("c", json!({}));
    assert_eq!(it.record(), Vec::<String>::new());
}

#[test]
fn structs_that_are_always_there_belong_to_nobody() {
    let mut it = Cluster::of("apps", "v1", "Deployment");
    it.write("a", json!({
        "metadata": {"creationTimestamp": "2024-01-01T00:00:00Z", "generation": 1, "ownerReferences": [{"uid": "u"}]},
        "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"securityContext": {}, "containers": [{"name": "c", "resources": {}}]}}},
        "status": {"replicas": 3},
    }));
    assert_eq!(
        it.record(),
        [
            "a Update = {f:metadata:{f:ownerReferences:{.:{},k:{\\uid\\:\\u\\}:{}}},f:spec:{f:strategy:{f:rollingUpdate:{.:{},\
         f:maxSurge:{}},f:type:{}},f:template:{f:metadata:{f:labels:{.:{},f:a:{}}},f:spec:{f:containers:{\
         k:{\\name\\:\\c\\}:{.:{},f:name:{},f:resources:{}}},f:securityContext:{}}}}}"
        ]
    );
}

#[test]
fn what_a_write_cannot_set_is_on_record_for_nobody() {
    let mut it = Cluster::of("apps", "v1", "Deployment");
    it.apply("a", json!({"spec": {"replicas": 1}, "status": {"replicas": 9}})).unwrap();
    assert_eq!(it.record(), ["a Apply = {f:spec:{f:replicas:{}}}"]);
    it.subresource = "status";
    it.reset = &[&["spec"], &["metadata", "labels"]];
    it.apply(
        "b",
        json!({"spec": {"replicas": 9}, "metadata": {"labels": {"l": "m"}}, "status": {"replicas": 2}}),
    )
    .unwrap();
    assert_eq!(
        it.record(),
        ["a Apply = {f:spec:{f:replicas:{}}}", "b Apply status = {f:status:{f:replicas:{}}}",]
    );
}

#[test]
fn a_reset_record_stays_empty_until_the_next_apply() {
    let mut it = Cluster::config_map();
    it.write("a", json!({"data": {"x": "1"}}));
    it.write("b", json!({"metadata": {"managedFields": [{}]}, "data": {"x": "2"}}));
    assert_eq!(it.record(), Vec::<String>::new());
    it.write("c", json!({"data": {"x": "3", "y": "1"}}));
    assert_eq!(it.record(), Vec::<String>::new());
    assert_eq!(
        it.apply("d", json!({"data": {"x": "4"}})),
        Err("Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x".to_owned())
    );
    it.apply("d", json!({"data": {"z": "1"}})).unwrap();
    assert_eq!(
        it.record(),
        ["d Apply = {f:data:{f:z:{}}}", "before-first-apply Update = {f:data:{.:{},f:x:{},f:y:{}}}",]
    );
}

#[test]
fn a_client_may_edit_the_record_but_not_break_it() {
    let mut it = Cluster::config_map();
    it.write("a", json!({"data": {"x": "1", "y": "1"}}));
    let entry = |manager: &str, fields: Value| {
        json!({
        "manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "time": NOON,
        "fieldsV1": fields})
    };
    let edited = json!([entry("edited", json!({"f:data": {"f:x": {}}}))]);
    it.write("b", json!({"metadata": {"managedFields": edited}, "data": {"x": "1", "y": "2"}}));
    assert_eq!(it.record(), ["b Update = {f:data:{f:y:{}}}", "edited Update = {f:data:{f:x:{}}}"]);
    let broken = json!([entry("broken", json!({"x": {}}))]);
    it.write("b", json!({"metadata": {"managedFields": broken}, "data": {"x": "1", "y": "2"}}));
    assert_eq!(it.record(), ["b Update = {f:data:{f:y:{}}}", "edited Update = {f:data:{f:x:{}}}"]);
    // Through a subresource the record cannot be set at all.
    it.subresource = "status";
    it.write("b", json!({"metadata": {"managedFields": []}, "data": {"x": "1", "y": "2"}}));
    assert_eq!(it.record(), ["b Update = {f:data:{f:y:{}}}", "edited Update = {f:data:{f:x:{}}}"]);
}

#[test]
fn versions_of_a_kind_share_the_record() {
    let mut it = Cluster::of("autoscaling", "v1", "HorizontalPodAutoscaler");
    it.apply("one", json!({"spec": {"maxReplicas": 3}})).unwrap();
    it.kind.version = "v2".to_owned();
    it.live = it.live.as_ref().and_then(|live| autoscaler(live, "autoscaling/v2"));
    assert_eq!(
        it.apply("two", json!({"spec": {"maxReplicas": 4}})),
        Err("Apply failed with 1 conflict: conflict with \"one\": .spec.maxReplicas".to_owned())
    );
    it.apply("one", json!({"spec": {"minReplicas": 1, "maxReplicas": 4}})).unwrap();
    assert_eq!(it.live.as_ref().unwrap()["metadata"]["managedFields"][0]["apiVersion"], "autoscaling/v2");
    assert_eq!(it.record(), ["one Apply = {f:spec:{f:maxReplicas:{},f:minReplicas:{}}}"]);
    // A version that is no more takes its record with it.
    it.live.as_mut().unwrap()["metadata"]["managedFields"][0]["apiVersion"] = "autoscaling/v0".into();
    it.write("two", json!({"spec": {"maxReplicas": 5}}));
    assert_eq!(it.record(), ["two Update = {f:spec:{f:maxReplicas:{}}}"]);
}

#[test]
fn kubectl_takes_over_from_its_former_self() {
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    let last = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data});
    let mut it = Cluster::config_map();
    let text = format!("{}\n", last(json!({"x": "1", "y": "1", "z": "<1>"})));
    it.write(
        "kubectl-client-side-apply",
        json!({
        "metadata": {"annotations": {annotation: text}}, "data": {"x": "1", "y": "1", "z": "<1>"}}),
    );
    it.write(
        "other",
        json!({
        "metadata": {"annotations": {annotation: text}}, "data": {"x": "1", "y": "2", "z": "<1>"}}),
    );
    // What another changed since is still in conflict.
    assert_eq!(
        it.apply("kubectl", json!({"data": {"x": "9", "y": "9"}})),
        Err("Apply failed with 1 conflict: conflict with \"other\" using v1: .data.y".to_owned())
    );
    assert!(it.apply("someone", json!({"data": {"x": "9"}})).is_err());
    it.apply("kubectl", json!({"data": {"x": "9", "z": "<2>"}})).unwrap();
    assert_eq!(it.value("/data"), json!({"x": "9", "y": "2", "z": "<2>"}));
    // And the annotation follows, in Go's JSON.
    assert_eq!(
        it.value("/metadata/annotations")[annotation],
        "{\"apiVersion\":\"v1\",\"data\":{\"x\":\"9\",\"z\":\"\\u003c2\\u003e\"},\"kind\":\"ConfigMap\",\"metadata\":\
         {\"name\":\"a\"}}\n"
    );
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let mut it = Cluster::config_map();
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut applied = it.object(json!({"data": {"x": "1"}}));
        change(&mut applied);
        let status = it.with(|manager| manager.apply(None, &applied, "a", false).unwrap_err());
        format!("{} {}", status.code, status.message)
    };
    assert_eq!(refused(&|it| it["kind"] = "Secret".into()), "400 invalid object type: /v1, Kind=Secret");
    assert_eq!(
        refused(&|it| it["apiVersion"] = "a/b".into()),
        "400 invalid object type: a/b, Kind=ConfigMap"
    );
    assert_eq!(refused(&|it| it["apiVersion"] = "a/b/c".into()), "400 invalid object type: /, Kind=");
    assert_eq!(
        refused(&|it| it["metadata"]["managedFields"] = json!([])),
        "400 metadata.managedFields must be nil"
    );
    assert_eq!(
        refused(&|it| it["dat"] = json!({})),
        "500 failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dat: field not declared in schema"
    );
    it.store(it.object(json!({"metadata": {"managedFields": [{"manager": "a"}]}})));
    assert_eq!(
        it.apply("a", json!({})),
        Err("failed to decode managed fields: operation must be `Apply` or `Update`".to_owned())
    );
}

#[test]
fn an_object_that_does_not_fit_its_type_goes_without_a_record() {
    let mut it = Cluster::of("", "v1", "Pod");
    it.write("a", json!({"spec": {"containers": [null]}}));
    assert_eq!(it.record(), Vec::<String>::new());
}

/// Labels, data, finalizers and owner references from small sets.
fn configuration() -> impl Strategy<Value = Value> {
    let map = || prop::collection::btree_map("[a-d]", "[12]", 0..4);
    let finalizers = prop::collection::btree_set("e.com/[a-c]", 0..3);
    let owners = prop::collection::btree_map("[a-c]", "[12]", 0..3);
    (map(), map(), finalizers, owners).prop_map(|(data, labels, finalizers, owners)| {
        let owners: Vec<Value> = owners.iter().map(|(uid, name)| json!({"uid": uid, "name": name})).collect();
        json!({"metadata": {"labels": labels, "finalizers": finalizers, "ownerReferences": owners}, "data": data})
    })
}

/// A configuration with all names changed, so that it has no field in common with another.
fn apart(configuration: &Value) -> Value {
    let text = configuration.to_string();
    let renamed: String = text
        .replace("\"a\"", "\"p\"")
        .replace("\"b\"", "\"q\"")
        .replace("\"c\"", "\"r\"")
        .replace("\"d\"", "\"s\"");
    serde_json::from_str(&renamed.replace("e.com", "f.com")).unwrap()
}

fn written() -> impl Strategy<Value = Vec<(usize, bool, Value)>> {
    prop::collection::vec((0_usize..3, any::<bool>(), configuration()), 0..6)
}

const WRITERS: [&str; 3] = ["one", "two", "three"];

/// The object without the order of what has none.
fn unordered(object: Option<&Value>) -> Value {
    let mut object = object.cloned().unwrap_or_default();
    object.meta_mut().remove("managedFields");
    for list in ["finalizers", "ownerReferences"] {
        if let Some(Value::Array(items)) = object.meta_mut().get_mut(list) {
            items.sort_by_cached_key(Value::to_string);
        }
    }
    object
}

fn played(writes: &[(usize, bool, Value)]) -> Cluster {
    let mut it = Cluster::config_map();
    for (writer, apply, fields) in writes {
        if *apply {
            it.apply_with(WRITERS[*writer], fields.clone(), true).unwrap();
        } else {
            it.write(WRITERS[*writer], fields.clone());
        }
    }
    it
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(writes in written(), fields in configuration()) {
        let mut it = played(&writes);
        it.apply_with("last", fields.clone(), true).unwrap();
        let once = it.live.clone();
        it.now = LATER;
        prop_assert_eq!(it.apply("last", fields), Ok(()));
        prop_assert_eq!(it.live, once);
    }

    #[test]
    fn what_was_applied_is_there_and_on_record(writes in written(), fields in configuration()) {
        let mut it = played(&writes);
        it.apply_with("last", fields.clone(), true).unwrap();
        for (key, value) in fields["data"].as_object().unwrap() {
            prop_assert_eq!(&it.value("/data")[key], value);
        }
        // Nobody else can be on record for another value.
        let mut changed = it.object(fields.clone());
        changed["data"] = json!({"a": "3", "b": "3", "c": "3", "d": "3"});
        let refusal = it.with(|manager| manager.apply(it.live.as_ref(), &changed, "other", false));
        let owned = fields["data"].as_object().unwrap().len();
        prop_assert!(owned == 0 || refusal.is_err());
    }

    #[test]
    fn applies_of_different_fields_commute(
        writes in written(), one in configuration(), other in configuration(),
    ) {
        let other = apart(&other);
        let mut first = played(&writes);
        first.apply_with("p", one.clone(), true).unwrap();
        first.apply_with("q", other.clone(), true).unwrap();
        let mut second = played(&writes);
        second.apply_with("q", other, true).unwrap();
        second.apply_with("p", one, true).unwrap();
        prop_assert_eq!(unordered(first.live.as_ref()), unordered(second.live.as_ref()));
        // Which of the two changed the object, and so has a time, may differ where both applied an empty map.
        let record = |it: &Cluster| {
            let lines = it.record();
            lines.iter().map(|line| line.replace(" untimed", "")).collect::<std::collections::BTreeSet<_>>()
        };
        prop_assert_eq!(record(&first), record(&second));
    }

    #[test]
    fn giving_everything_up_leaves_no_record(writes in written(), fields in configuration()) {
        let mut it = played(&writes);
        it.apply_with("last", fields, true).unwrap();
        it.apply("last", json!({})).unwrap();
        prop_assert!(!it.record().iter().any(|line| line.starts_with("last ")));
    }

    /// The record is read only where a write touches it; reading all of it must make no difference.
    #[test]
    fn an_unread_record_is_kept_as_a_read_one_is(writes in written(), fields in configuration()) {
        let it = played(&writes);
        let Some(live) = &it.live else { return Ok(()) };
        let stored = live.meta().and_then(|meta| meta.get("managedFields")).cloned();
        let new = {
            let mut new = it.object(fields);
            new.set_meta("uid", "1");
            new
        };
        let updated = |managed: Managed| {
            let managed = it.with(|manager| manager.update(live, &new, managed, "last")).unwrap();
            managed.encode()
        };
        prop_assert_eq!(
            updated(Managed::stored(stored.clone()).unwrap()),
            updated(Managed::sent(stored).unwrap())
        );
    }

    #[test]
    fn no_object_is_too_odd_to_be_tracked(old in crate::patch::tests::any_json(), new in crate::patch::tests::any_json()) {
        let it = Cluster::config_map();
        let mut tracked = new;
        it.with(|manager| manager.track(Some(&old), &mut tracked, "a"));
        let _ = it.with(|manager| manager.apply(Some(&old), &tracked, "a", true));
    }
}

/// Containers by name, with ports whose protocol may be left to its default, variables and arguments.
fn workload() -> impl Strategy<Value = Value> {
    let protocol = prop_oneof![Just(None), Just(Some("TCP")), Just(Some("UDP"))];
    let ports = prop::collection::btree_map(80_u16..83, protocol, 0..3);
    let variables = prop::collection::btree_map("[a-c]", prop::option::of("[12]"), 0..3);
    let arguments = prop::option::of(prop::collection::vec("[12]", 0..3));
    let container = (prop::option::of("[12]"), ports, variables, arguments);
    prop::collection::btree_map("[a-c]", container, 0..4).prop_map(|containers| {
        let one = |(name, (image, ports, variables, arguments))| {
            let mut container = json!({"name": name});
            if let Some(image) = image {
                container["image"] = json!(format!("image:{image}"));
            }
            let port = |(number, protocol): (u16, Option<&str>)| match protocol {
                None => json!({"containerPort": number}),
                Some(protocol) => json!({"containerPort": number, "protocol": protocol}),
            };
            let ports: std::collections::BTreeMap<u16, Option<&str>> = ports;
            container["ports"] = ports.into_iter().map(port).collect();
            let variable = |(name, value): (String, Option<String>)| match value {
                None => json!({"name": name}),
                Some(value) => json!({"name": name, "value": value}),
            };
            let variables: std::collections::BTreeMap<String, Option<String>> = variables;
            container["env"] = variables.into_iter().map(variable).collect();
            let arguments: Option<Vec<String>> = arguments;
            if let Some(arguments) = arguments {
                container["args"] = arguments.into();
            }
            container
        };
        let containers: Vec<Value> = containers.into_iter().map(one).collect();
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    })
}

/// A Deployment that three managers have applied to, by turns and by force.
fn deployed(applies: &[(usize, Value)]) -> Cluster {
    let mut it = Cluster::of("apps", "v1", "Deployment");
    for (writer, fields) in applies {
        it.apply_with(WRITERS[*writer], fields.clone(), true).unwrap();
    }
    it
}

fn applied() -> impl Strategy<Value = Vec<(usize, Value)>> {
    prop::collection::vec((0_usize..3, workload()), 0..5)
}

/// The items of all lists that have no order of their own, sorted.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) if items.iter().all(Value::is_object) => {
            let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
            items.sort_by_cached_key(Value::to_string);
            items.into()
        }
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, sorted(value))).collect(),
        other => other,
    }
}

proptest! {
    #[test]
    fn lists_of_named_items_are_applied_once_and_for_all(applies in applied(), fields in workload()) {
        let mut it = deployed(&applies);
        it.apply_with("last", fields.clone(), true).unwrap();
        // An empty list is no field: with nothing on record the next apply finds an object from before all applies.
        prop_assume!(!it.record().is_empty());
        let once = it.live.clone();
        it.now = LATER;
        prop_assert_eq!(it.apply("last", fields), Ok(()));
        prop_assert_eq!(it.live, once);
    }

    #[test]
    fn applies_of_items_with_different_names_commute(
        applies in applied(), one in workload(), other in workload(),
    ) {
        let other = apart(&other);
        let play = |order: [(&str, &Value); 2]| {
            let mut it = deployed(&applies);
            for (manager, fields) in order {
                it.apply_with(manager, fields.clone(), true).unwrap();
            }
            sorted(it.value("/spec/template"))
        };
        prop_assert_eq!(play([("p", &one), ("q", &other)]), play([("q", &other), ("p", &one)]));
    }

    #[test]
    fn an_item_stays_as_long_as_somebody_applies_it(applies in applied(), fields in workload()) {
        let mut it = deployed(&applies);
        it.apply_with("last", fields, true).unwrap();
        it.apply_with("last", json!({}), true).unwrap();
        let names = |spec: &Value| -> std::collections::BTreeSet<String> {
            let containers = spec.pointer("/spec/template/spec/containers").and_then(Value::as_array);
            containers.into_iter().flatten().map(|it| it["name"].to_string()).collect()
        };
        // What each of them applied last.
        let mut wanted = std::collections::BTreeSet::new();
        for writer in 0..3 {
            let last = applies.iter().rev().find(|(by, _)| *by == writer);
            wanted.extend(last.map(|(_, fields)| names(fields)).unwrap_or_default());
        }
        prop_assert_eq!(names(it.live.as_ref().unwrap()), wanted);
    }
}
