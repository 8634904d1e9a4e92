//! ResourceSlices: `resourceslices` of `resource.k8s.io/v1`.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, Faults, Path, go_quote};
use jiff::Timestamp;
use k8s_openapi::{
    api::resource::v1::{
        Counter, CounterSet, Device, DeviceAttribute, DeviceCounterConsumption, ResourcePool, ResourceSlice,
        ResourceSliceSpec,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::Value;

use super::{
    capacity,
    parts::{
        binding_faults, driver_name_faults, label_faults, list_faults, pool_name_faults,
        qualified_name_faults, set_faults, taint_faults,
    },
};
use crate::{
    registry::strategy::{Context, Generation, Names, SelectableField, Strategy},
    resources::shared::{
        internal::printed,
        metadata::invalid_each,
        names::dns_subdomain,
        optional::{Entries, Items, Switch, immutable, same},
        pod_spec::affinity::node_selector,
    },
};

const DEVICES_MAX: usize = 128;
/// When some have taints or consume counters.
const INVOLVED_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS_MAX: usize = 2;
const ATTRIBUTES_AND_CAPACITIES_MAX: usize = 32;
const ATTRIBUTE_LENGTH_MAX: usize = 64;
const TAINTS_MAX: usize = 16;
/// As much of a domain and a name as fits in the path of a fault.
const KEY_LENGTH_MAX: usize = 96;

/// The strategy of ResourceSlices.
pub(crate) struct ResourceSlices;

impl Strategy for ResourceSlices {
    type Object = ResourceSlice;

    const NAMES: Names = Names {
        group: "resource.k8s.io",
        version: "v1",
        kind: "ResourceSlice",
        plural: "resourceslices",
        singular: "resourceslice",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const GENERATION: Generation = Generation::Spec;
    const REJUDGES_METADATA: bool = false;
    const RETURNS_DELETED: bool = true;
    const SELECTABLE: &'static [SelectableField] = &[
        SelectableField { label: "spec.nodeName", path: "spec.nodeName", absent: "" },
        SelectableField { label: "spec.driver", path: "spec.driver", absent: "" },
    ];

    fn prepare_for_create(cx: &Context<'_>, object: &mut ResourceSlice) {
        prepare(object, cx.now);
    }

    fn validate(_cx: &Context<'_>, object: &ResourceSlice) -> Faults {
        faults(&object.spec, None)
    }

    fn prepare_for_update(cx: &Context<'_>, object: &mut ResourceSlice, _old: &ResourceSlice) {
        prepare(object, cx.now);
    }

    fn validate_update(_cx: &Context<'_>, object: &ResourceSlice, old: &ResourceSlice) -> Faults {
        faults(&object.spec, Some(&old.spec))
    }

    fn warnings(_cx: &Context<'_>, object: &ResourceSlice, _old: Option<&ResourceSlice>) -> Vec<String> {
        let driver = &object.spec.driver;
        let warning = || {
            let driver = go_quote(driver);
            format!("spec.driver: driver names should be lowercase; {driver} contains uppercase characters")
        };
        (*driver != driver.to_lowercase()).then(warning).into_iter().collect()
    }
}

/// Dates taints that are not, and takes out what is alpha and off (KEP-5517, KEP-5491).
fn prepare(object: &mut ResourceSlice, now: Timestamp) {
    for device in object.spec.devices.items_mut() {
        for taint in device.taints.items_mut() {
            taint.time_added.get_or_insert(Time(now));
        }
        device.node_allocatable_resource_mappings = None;
        for attribute in device.attributes.iter_mut().flat_map(BTreeMap::values_mut) {
            attribute.bools = None;
            attribute.ints = None;
            attribute.strings = None;
            attribute.versions = None;
        }
    }
}

fn faults(spec: &ResourceSliceSpec, old: Option<&ResourceSliceSpec>) -> Faults {
    let path = Path::new("spec");
    let mut faults = driver_name_faults(&spec.driver, &path.child("driver"));
    faults.extend(pool_faults(&spec.pool, &path.child("pool")));
    if let Some(old) = old {
        faults.extend(immutable(&path.child("pool.name"), &spec.pool.name, &old.pool.name));
        faults.extend(immutable(&path.child("driver"), &spec.driver, &old.driver));
        faults.extend(immutable(&path.child("nodeName"), &spec.node_name, &old.node_name));
    }
    faults.extend(slice_place_faults(spec, &path));
    if spec.shared_counters.is_some() && spec.devices.is_some() {
        faults.push(Fault::invalid(&path, "", "only one of `sharedCounters` or `devices` is allowed"));
    }
    let devices = spec.devices.items();
    let involved =
        |device: &Device| !device.taints.items().is_empty() || !device.consumes_counters.items().is_empty();
    let max = if devices.iter().any(involved) { INVOLVED_DEVICES_MAX } else { DEVICES_MAX };
    let per_device = spec.per_device_node_selection.is_on();
    faults.extend(set_faults(
        devices,
        max,
        &path.child("devices"),
        |device, path| {
            let before = old.map(|old| old.devices.items()).unwrap_or_default();
            let before = before.iter().find(|before| before.name == device.name);
            device_faults(device, before, per_device, path)
        },
        |device| device.name.clone(),
    ));
    faults.extend(set_faults(
        spec.shared_counters.items(),
        COUNTER_SETS_MAX,
        &path.child("sharedCounters"),
        counter_set_faults,
        |set| set.name.clone(),
    ));
    faults
}

fn pool_faults(pool: &ResourcePool, path: &Path) -> Faults {
    let mut faults = pool_name_faults(&pool.name, &path.child("name"));
    let (count, generation) = (pool.resource_slice_count, pool.generation);
    if count <= 0 {
        faults.push(Fault::invalid(&path.child("resourceSliceCount"), count, "must be greater than zero"));
    }
    if generation < 0 {
        let detail = "must be greater than or equal to zero";
        faults.push(Fault::invalid(&path.child("generation"), generation, detail));
    }
    faults
}

fn node_name_faults(name: &str, path: &Path) -> Faults {
    invalid_each(path, name, dns_subdomain(name, false))
}

/// What is wrong with where the devices of a slice can be reached from.
fn slice_place_faults(spec: &ResourceSliceSpec, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut set = Vec::new();
    if let Some(name) = &spec.node_name {
        let path = path.child("nodeName");
        if name.is_empty() {
            let detail = "must be either unset or set to a non-empty string";
            faults.push(Fault::invalid(&path, name, detail));
        } else {
            set.push("`nodeName`");
            faults.extend(node_name_faults(name, &path));
        }
    }
    if let Some(selector) = &spec.node_selector {
        set.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        faults.extend(node_selector(selector, false, &path));
        if selector.node_selector_terms.len() != 1 {
            let path = path.child("nodeSelectorTerms");
            faults.push(Fault::invalid(
                &path,
                printed("[core.NodeSelectorTerm", &selector.node_selector_terms),
                "must have exactly one node selector term",
            ));
        }
    }
    for (field, name, value) in [
        ("allNodes", "`allNodes`", spec.all_nodes),
        ("perDeviceNodeSelection", "`perDeviceNodeSelection`", spec.per_device_node_selection),
    ] {
        match value {
            Some(true) => set.push(name),
            Some(false) => {
                let detail = "must be either unset or set to true";
                faults.push(Fault::invalid(&path.child(field), false, detail));
            }
            None => {}
        }
    }
    let detail =
        "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.as_slice() {
        [] => faults.push(Fault::required(path, detail)),
        [_] => {}
        several => {
            let value = format!("{{{}}}", several.join(", "));
            faults.push(Fault::invalid(path, value, format!("{detail}, but multiple fields are set")));
        }
    }
    faults
}

/// A key as it stands in the path of a fault: what is too long is cut in the middle.
fn key_path(path: &Path, key: &str, max: usize) -> Path {
    const ELLIPSIS: &str = "...";
    if key.len() <= max {
        return path.key(key);
    }
    let rest = max - ELLIPSIS.len();
    let (head, tail) = (key.get(..rest.div_ceil(2)), key.get(key.len() - rest / 2..));
    path.key(&format!("{}{ELLIPSIS}{}", head.unwrap_or_default(), tail.unwrap_or_default()))
}

fn device_faults(device: &Device, old: Option<&Device>, per_device: bool, path: &Path) -> Faults {
    let mut faults = label_faults(&device.name, &path.child("name"));
    let size = device.attributes.entries().count() + device.capacity.entries().count();
    if size > ATTRIBUTES_AND_CAPACITIES_MAX {
        let detail = format!(
            "the total number of attributes and capacities must not exceed {ATTRIBUTES_AND_CAPACITIES_MAX}"
        );
        faults.push(Fault::invalid(path, BadValue::json(&size), detail));
    }
    let attributes = path.child("attributes");
    for (name, attribute) in device.attributes.entries() {
        faults.extend(qualified_name_faults(name, &attributes));
        faults.extend(attribute_faults(attribute, &key_path(&attributes, name, KEY_LENGTH_MAX)));
    }
    let capacities = path.child("capacity");
    for (name, it) in device.capacity.entries() {
        faults.extend(qualified_name_faults(name, &capacities));
        let shared = device.allow_multiple_allocations.is_on();
        faults.extend(capacity::faults(it, shared, &key_path(&capacities, name, KEY_LENGTH_MAX)));
    }
    if !old.is_some_and(|old| same(&old.taints, &device.taints)) {
        faults.extend(list_faults(device.taints.items(), TAINTS_MAX, &path.child("taints"), taint_faults));
    }
    faults.extend(set_faults(
        device.consumes_counters.items(),
        CONSUMPTIONS_MAX,
        &path.child("consumesCounters"),
        consumption_faults,
        |consumption| consumption.counter_set.clone(),
    ));
    faults.extend(device_place_faults(device, per_device, path));
    faults.extend(binding_faults(&device.binding_conditions, &device.binding_failure_conditions, path));
    faults
}

/// What is wrong with where a device can be reached from.
fn device_place_faults(device: &Device, per_device: bool, path: &Path) -> Faults {
    if !per_device {
        let placed =
            device.node_name.is_some() || device.node_selector.is_some() || device.all_nodes.is_some();
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        let fault = || Fault::invalid(path, BadValue::Json(Value::Null), detail);
        return placed.then(fault).into_iter().collect();
    }
    let mut faults = Vec::new();
    let mut set = Vec::new();
    if let Some(name) = &device.node_name {
        let path = path.child("nodeName");
        if name.is_empty() {
            faults.push(Fault::invalid(&path, name, "must not be empty"));
        } else {
            set.push("`nodeName`");
            faults.extend(node_name_faults(name, &path));
        }
    }
    if let Some(selector) = &device.node_selector {
        set.push("`nodeSelector`");
        faults.extend(node_selector(selector, false, &path.child("nodeSelector")));
    }
    match device.all_nodes {
        Some(true) => set.push("`allNodes`"),
        Some(false) => {
            let detail = "must be either unset or set to true";
            faults.push(Fault::invalid(&path.child("allNodes"), false, detail));
        }
        None => {}
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.as_slice() {
        [] => faults.push(Fault::required(path, detail)),
        [_] => {}
        several => {
            faults.push(Fault::invalid(path, format!("{{{}}}", several.join(", ")), detail));
        }
    }
    faults
}

fn attribute_faults(attribute: &DeviceAttribute, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let too_long = |value: &str, path: &Path| {
        (value.len() > ATTRIBUTE_LENGTH_MAX).then(|| Fault::too_long(path, ATTRIBUTE_LENGTH_MAX))
    };
    if let Some(value) = &attribute.string {
        faults.extend(too_long(value, &path.child("string")));
    }
    if let Some(value) = &attribute.version {
        let path = path.child("version");
        if !is_semver(value) {
            let detail = "must be a string compatible with semver.org spec 2.0.0";
            faults.push(Fault::invalid(&path, value, detail));
        }
        faults.extend(too_long(value, &path));
    }
    let set = [
        attribute.bool.is_some(),
        attribute.int.is_some(),
        attribute.string.is_some(),
        attribute.version.is_some(),
    ];
    let detail = "exactly one value must be specified";
    match set.into_iter().filter(|&is_set| is_set).count() {
        0 => faults.push(Fault::invalid(path, "", detail)),
        1 => {}
        _ => faults.push(Fault::invalid(path, printed("resource.DeviceAttribute", attribute), detail)),
    }
    faults
}

/// Whether a text is a version as semver.org has it.
fn is_semver(text: &str) -> bool {
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, build) = text.split_once('+').map_or((text, None), |(rest, build)| (rest, Some(build)));
    let (core, before) = rest.split_once('-').map_or((rest, None), |(core, before)| (core, Some(before)));
    core.split('.').count() == 3
        && core.split('.').all(is_number)
        && before
            .is_none_or(|it| it.split('.').all(|part| is_word(part) && (!is_digits(part) || is_number(part))))
        && build.is_none_or(|it| it.split('.').all(is_word))
}

fn consumption_faults(consumption: &DeviceCounterConsumption, path: &Path) -> Faults {
    let (set, set_path) = (&consumption.counter_set, path.child("counterSet"));
    let mut faults =
        if set.is_empty() { vec![Fault::required(&set_path, "")] } else { label_faults(set, &set_path) };
    faults.extend(counters_faults(&consumption.counters, &path.child("counters")));
    faults
}

fn counter_set_faults(set: &CounterSet, path: &Path) -> Faults {
    let (name, name_path) = (&set.name, path.child("name"));
    let mut faults =
        if name.is_empty() { vec![Fault::required(&name_path, "")] } else { label_faults(name, &name_path) };
    faults.extend(counters_faults(&set.counters, &path.child("counters")));
    faults
}

fn counters_faults(counters: &BTreeMap<String, Counter>, path: &Path) -> Faults {
    if counters.is_empty() {
        return vec![Fault::required(path, "")];
    }
    if counters.len() > COUNTERS_MAX {
        return vec![Fault::too_many(path, counters.len(), COUNTERS_MAX)];
    }
    counters.keys().flat_map(|name| label_faults(name, path)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::shared::testing::{check_create, check_update, created, warnings};

    fn slice(change: Value) -> Value {
        let mut spec = json!({"driver": "d.example.com", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "allNodes": true});
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change) {
            spec.extend(change);
        }
        json!({"spec": spec})
    }

    fn device(device: Value) -> Value {
        slice(json!({"devices": [device]}))
    }

    #[test]
    fn taints_are_dated_and_what_is_off_is_dropped() {
        let object = created::<ResourceSlices>(device(
            json!({"name": "a", "taints": [{"key": "k", "effect": "NoSchedule"}],
            "attributes": {"a": {"int": 1, "ints": [1]}}, "nodeAllocatableResourceMappings": {"cpu": {}}}),
        ));
        assert_eq!(
            object.pointer("/spec/devices/0"),
            Some(&json!({"name": "a", "attributes": {"a": {"int": 1}},
                "taints": [{"key": "k", "effect": "NoSchedule", "timeAdded": "2023-11-14T22:13:20Z"}]}))
        );
    }

    #[test]
    fn a_slice_is_of_a_pool_and_can_be_reached_from_somewhere() {
        for (object, faults) in [
            (slice(json!({})), vec![]),
            (
                slice(
                    json!({"driver": "", "pool": {"name": "", "generation": -1}, "allNodes": false, "nodeName": "", "perDeviceNodeSelection": false}),
                ),
                vec![
                    "spec.driver: Required value",
                    "spec.pool.name: Required value",
                    "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                    "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
                    r#"spec.nodeName: Invalid value: "": must be either unset or set to a non-empty string"#,
                    "spec.allNodes: Invalid value: false: must be either unset or set to true",
                    "spec.perDeviceNodeSelection: Invalid value: false: must be either unset or set to true",
                    "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
                ],
            ),
            (
                slice(json!({"nodeName": "n", "nodeSelector": {"nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}, {"matchExpressions": []}]}})),
                vec![
                    r#"spec.nodeSelector.nodeSelectorTerms: Invalid value: [{"MatchExpressions":null,"MatchFields":[{"Key":"metadata.name","Operator":"In","Values":["n"]}]},{"MatchExpressions":[],"MatchFields":null}]: must have exactly one node selector term"#,
                    r#"spec: Invalid value: "{`nodeName`, `nodeSelector`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"#,
                ],
            ),
            (
                slice(
                    json!({"devices": [], "sharedCounters": [{"name": "", "counters": {}}, {"name": "a", "counters": {"A": {"value": "1"}}}, {"name": "a", "counters": {"b": {"value": "1"}}}]}),
                ),
                vec![
                    r#"spec: Invalid value: "": only one of `sharedCounters` or `devices` is allowed"#,
                    "spec.sharedCounters[0].name: Required value",
                    "spec.sharedCounters[0].counters: Required value",
                    r#"spec.sharedCounters[1].counters: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"#,
                    r#"spec.sharedCounters[2]: Duplicate value: "a""#,
                ],
            ),
            (
                slice(json!({"devices": vec![json!({"name": "a"}); 129]})),
                vec!["spec.devices: Too many: 129: must have at most 128 items"],
            ),
        ] {
            assert_eq!(check_create::<ResourceSlices>(object), faults);
        }
    }

    #[test]
    fn a_device_has_attributes_capacities_and_a_place() {
        let many: serde_json::Map<String, Value> =
            (0..33).map(|index| (format!("a{index}"), json!({"bool": true}))).collect();
        for (object, faults) in [
            (device(json!({"name": "a", "attributes": {"x.y/v": {"version": "1.0.0-a.1+b"}}})), vec![]),
            (
                device(
                    json!({"name": "a", "nodeName": "n", "attributes": {"a": {}, "b": {"int": 1, "string": "s"}, "c": {"version": "1.0"}, "d": {"string": "s".repeat(65)}},
                    "consumesCounters": [{"counterSet": "", "counters": {}}], "bindingConditions": ["a"]}),
                ),
                vec![
                    r#"spec.devices[0].attributes[a]: Invalid value: "": exactly one value must be specified"#,
                    r#"spec.devices[0].attributes[b]: Invalid value: {"IntValue":1,"BoolValue":null,"StringValue":"s","VersionValue":null,"IntValues":null,"BoolValues":null,"StringValues":null,"VersionValues":null}: exactly one value must be specified"#,
                    r#"spec.devices[0].attributes[c].version: Invalid value: "1.0": must be a string compatible with semver.org spec 2.0.0"#,
                    "spec.devices[0].attributes[d].string: Too long: may not be more than 64 bytes",
                    "spec.devices[0].consumesCounters[0].counterSet: Required value",
                    "spec.devices[0].consumesCounters[0].counters: Required value",
                    "spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
                    "spec.devices[0].bindingFailureConditions: Invalid value: null: bindingFailureConditions are required to use bindingConditions",
                ],
            ),
            (
                device(json!({"name": "a", "attributes": many})),
                vec![
                    "spec.devices[0]: Invalid value: 33: the total number of attributes and capacities must not exceed 32",
                ],
            ),
            (
                slice(
                    json!({"allNodes": null, "perDeviceNodeSelection": true, "devices": [{"name": "a"}, {"name": "b", "nodeName": "n", "allNodes": true}]}),
                ),
                vec![
                    "spec.devices[0]: Required value: exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec",
                    r#"spec.devices[1]: Invalid value: "{`nodeName`, `allNodes`}": exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"#,
                ],
            ),
        ] {
            assert_eq!(check_create::<ResourceSlices>(object), faults);
        }
    }

    #[test]
    fn a_slice_stays_with_its_driver_pool_and_node() {
        let new = slice(
            json!({"driver": "e.example.com", "pool": {"name": "q", "generation": 1, "resourceSliceCount": 1}, "nodeName": "n", "allNodes": null}),
        );
        assert_eq!(
            check_update::<ResourceSlices>(new, slice(json!({}))),
            [
                r#"spec.pool.name: Invalid value: "q": field is immutable"#,
                r#"spec.driver: Invalid value: "e.example.com": field is immutable"#,
                r#"spec.nodeName: Invalid value: "n": field is immutable"#,
            ]
        );
    }

    #[test]
    fn taints_that_stay_are_not_judged_again() {
        let slice = device(
            json!({"name": "a", "taints": [{"key": "k", "effect": "Odd", "timeAdded": "2024-01-01T00:00:00Z"}]}),
        );
        assert_eq!(check_update::<ResourceSlices>(slice.clone(), slice), [""; 0]);
    }

    #[test]
    fn drivers_have_lower_case_names() {
        assert_eq!(
            warnings::<ResourceSlices>(slice(json!({"driver": "D.example.com"}))),
            [
                r#"spec.driver: driver names should be lowercase; "D.example.com" contains uppercase characters"#
            ]
        );
    }

    #[test]
    fn long_keys_are_cut_in_the_middle() {
        let key = format!("{}{}", "a".repeat(60), "b".repeat(60));
        let path = key_path(&Path::new("m"), &key, 20);
        assert_eq!(path.to_string(), "m[aaaaaaaaa...bbbbbbbb]");
    }

    #[test]
    fn versions_are_semantic() {
        for version in ["0.0.0", "1.2.3-alpha.1", "1.0.0+build-1", "1.0.0--1"] {
            assert!(is_semver(version), "{version}");
        }
        for version in ["1", "1.2", "01.0.0", "1.0.0-01", "1.0.0-", "1.0.0+", "1.0.0.0", "v1.0.0"] {
            assert!(!is_semver(version), "{version}");
        }
    }
}
