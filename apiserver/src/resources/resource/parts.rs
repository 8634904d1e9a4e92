//! What several kinds of devices and claims are made of.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::{
    api::resource::v1::{DeviceSelector, DeviceTaint, DeviceToleration, OpaqueDeviceConfiguration},
    apimachinery::pkg::runtime::RawExtension,
};

pub(super) use crate::resources::shared::pod_spec::volumes::csi_driver_name as driver_name_faults;
use crate::resources::shared::{
    metadata::invalid_each,
    names::{c_identifier, dns1123_label, dns1123_subdomain, label_value},
    optional::Text,
    selectors::validate_label_key,
};

/// How many requests a claim may have, and results an allocation.
pub(super) const REQUESTS_MAX: usize = 32;
pub(super) const CONSTRAINTS_MAX: usize = 32;
pub(super) const CONFIG_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const BINDING_CONDITIONS_MAX: usize = 4;
const EXPRESSION_LENGTH_MAX: usize = 10 * 1024;
const PARAMETERS_LENGTH_MAX: usize = 10 * 1024;
const POOL_NAME_LENGTH_MAX: usize = 253;
const IDENTIFIER_LENGTH_MAX: usize = 32;
/// Sorted as they are listed in faults.
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// What is wrong with a list of limited length, or with its items.
pub(super) fn list_faults<T>(
    list: &[T],
    max: usize,
    path: &Path,
    item: impl Fn(&T, &Path) -> Faults,
) -> Faults {
    if list.len() > max {
        return vec![Fault::too_many(path, list.len(), max)];
    }
    list.iter().enumerate().flat_map(|(index, it)| item(it, &path.index(index))).collect()
}

/// As [`list_faults`], and no two items may have the same key.
pub(super) fn set_faults<T, K: Ord + Clone + Into<BadValue>>(
    list: &[T],
    max: usize,
    path: &Path,
    item: impl Fn(&T, &Path) -> Faults,
    key: impl Fn(&T) -> K,
) -> Faults {
    let mut faults = list_faults(list, max, path, item);
    if list.len() <= max {
        faults.extend(duplicate_faults(list, path, key));
    }
    faults
}

pub(super) fn duplicate_faults<T, K: Ord + Clone + Into<BadValue>>(
    list: &[T],
    path: &Path,
    key: impl Fn(&T) -> K,
) -> Faults {
    let mut seen = BTreeSet::new();
    let duplicates = list.iter().enumerate().filter_map(|(index, it)| {
        let key = key(it);
        (!seen.insert(key.clone())).then(|| Fault::duplicate(&path.index(index), key))
    });
    duplicates.collect()
}

/// What is wrong with the name of a device, a request or a set of counters.
pub(super) fn label_faults(name: &str, path: &Path) -> Faults {
    invalid_each(path, name, dns1123_label(name))
}

/// What is wrong with the name of a pool: subdomains with slashes between them.
pub(super) fn pool_name_faults(name: &str, path: &Path) -> Faults {
    if name.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let mut faults = Vec::new();
    if name.len() > POOL_NAME_LENGTH_MAX {
        faults.push(Fault::too_long(path, POOL_NAME_LENGTH_MAX));
    }
    for part in name.split('/') {
        faults.extend(invalid_each(path, part, dns1123_subdomain(part)));
    }
    faults
}

/// What is wrong with the name of an attribute or a capacity: an identifier, perhaps with a domain before it.
pub(super) fn qualified_name_faults(name: &str, path: &Path) -> Faults {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [name] => identifier_faults(name, path),
        [domain, name] => {
            let mut faults = if domain.is_empty() {
                vec![Fault::invalid(path, "", "the domain must not be empty")]
            } else {
                driver_name_faults(domain, path)
            };
            if name.is_empty() {
                faults.push(Fault::invalid(path, "", "the name must not be empty"));
            } else {
                faults.extend(identifier_faults(name, path));
            }
            faults
        }
        // Upstream has nothing to say about more slashes.
        _ => Vec::new(),
    }
}

/// As [`qualified_name_faults`], with a domain in any case.
pub(super) fn fully_qualified_name_faults(name: &str, path: &Path) -> Faults {
    let mut faults = qualified_name_faults(name, path);
    if !name.contains('/') {
        let detail = "a fully qualified name must be a domain and a name separated by a slash";
        faults.push(Fault::invalid(path, name, detail));
    }
    faults
}

fn identifier_faults(name: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if name.len() > IDENTIFIER_LENGTH_MAX {
        faults.push(Fault::too_long(path, IDENTIFIER_LENGTH_MAX));
    }
    faults.extend(invalid_each(path, name, c_identifier(name)));
    faults
}

/// What is wrong with what selects devices, expressions excepted.
pub(super) fn selector_faults(selectors: &[DeviceSelector], path: &Path) -> Faults {
    list_faults(selectors, SELECTORS_MAX, path, |selector, path| {
        let path = path.child("cel");
        match &selector.cel {
            None => vec![Fault::required(&path, "")],
            Some(cel) if cel.expression.len() > EXPRESSION_LENGTH_MAX => {
                vec![Fault::too_long(&path.child("expression"), EXPRESSION_LENGTH_MAX)]
            }
            Some(cel) => {
                let path = path.child("expression");
                match cel::device::compile(&cel.expression) {
                    Err(why) => vec![Fault::invalid(&path, cel.expression.as_str(), why)],
                    Ok(program) if program.estimate() > cel::device::COST_MAX => {
                        vec![Fault::forbidden(&path, "too complex, exceeds cost limit")]
                    }
                    Ok(_) => Faults::new(),
                }
            }
        }
    })
}

/// What is wrong with what a driver is told. What is stored already may be longer than it may be now.
pub(super) fn config_faults(config: Option<&OpaqueDeviceConfiguration>, stored: bool, path: &Path) -> Faults {
    let path = path.child("opaque");
    let Some(config) = config else { return vec![Fault::required(&path, "")] };
    let mut faults = driver_name_faults(&config.driver, &path.child("driver"));
    let max = (!stored).then_some(PARAMETERS_LENGTH_MAX);
    faults.extend(raw_fault(&config.parameters, max, &path.child("parameters")));
    faults
}

/// The fault of data that is no object, or too long.
pub(super) fn raw_fault(RawExtension(data): &RawExtension, max: Option<usize>, path: &Path) -> Option<Fault> {
    if data.is_null() {
        return Some(Fault::required(path, ""));
    }
    if let Some(max) = max.filter(|&max| data.to_string().len() > max) {
        return Some(Fault::too_long(path, max));
    }
    let fault = || Fault::invalid(path, "<value omitted>", "must be a valid JSON object");
    (!data.is_object()).then(fault)
}

pub(super) fn taint_faults(taint: &DeviceTaint, path: &Path) -> Faults {
    let mut faults = validate_label_key(&taint.key, &path.child("key"));
    let value = taint.value.text();
    faults.extend(invalid_each(&path.child("value"), value, label_value(value)));
    let (effect, path) = (taint.effect.as_str(), path.child("effect"));
    if effect.is_empty() {
        faults.push(Fault::required(&path, ""));
    } else {
        faults.extend(effect_fault(effect, &path));
    }
    faults
}

fn effect_fault(effect: &str, path: &Path) -> Option<Fault> {
    (!EFFECTS.contains(&effect)).then(|| Fault::not_supported(path, effect, EFFECTS))
}

pub(super) fn toleration_faults(toleration: &DeviceToleration, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let (key, value, effect) = (toleration.key.text(), toleration.value.text(), toleration.effect.text());
    if !key.is_empty() {
        faults.extend(validate_label_key(key, &path.child("key")));
    }
    let value_path = path.child("value");
    match toleration.operator.text() {
        "Exists" => {
            if !value.is_empty() {
                let detail = "must be empty for operator `Exists`";
                faults.push(Fault::invalid(&value_path, value, detail));
            }
        }
        "Equal" => faults.extend(invalid_each(&value_path, value, label_value(value))),
        "" => faults.push(Fault::required(&path.child("operator"), "")),
        odd => faults.push(Fault::not_supported(&path.child("operator"), odd, &["Equal", "Exists"])),
    }
    if !effect.is_empty() {
        faults.extend(effect_fault(effect, &path.child("effect")));
    }
    faults
}

/// What is wrong with the conditions that a device waits for before a pod is bound.
pub(super) fn binding_faults(
    conditions: &Option<Vec<String>>,
    failures: &Option<Vec<String>>,
    path: &Path,
) -> Faults {
    let (path, failure_path) = (path.child("bindingConditions"), path.child("bindingFailureConditions"));
    let names = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (wanted, failing) = (names(conditions), names(failures));
    let label = |name: &String, path: &Path| validate_label_key(name, path);
    let mut faults = list_faults(&wanted, BINDING_CONDITIONS_MAX, &path, label);
    faults.extend(list_faults(&failing, BINDING_CONDITIONS_MAX, &failure_path, label));
    faults.extend(duplicate_faults(&wanted, &path, String::clone));
    let mut seen = BTreeSet::new();
    for (index, failure) in failing.iter().enumerate() {
        let path = failure_path.index(index);
        if !seen.insert(failure) {
            faults.push(Fault::duplicate(&path, failure));
        }
        if wanted.contains(failure) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            faults.push(Fault::invalid(&path, failure, detail));
        }
    }
    if wanted.is_empty() && !failing.is_empty() {
        let detail = "bindingConditions are required to use bindingFailureConditions";
        faults.push(Fault::invalid(&path, BadValue::json(conditions), detail));
    }
    if failing.is_empty() && !wanted.is_empty() {
        let detail = "bindingFailureConditions are required to use bindingConditions";
        faults.push(Fault::invalid(&failure_path, BadValue::json(failures), detail));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(faults: &Faults) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_of_attributes_may_have_a_domain() {
        let check = |name: &str| texts(&qualified_name_faults(name, &Path::new("a")));
        for name in ["model", "gpu.example.com/model", "a/b/c"] {
            assert_eq!(check(name), [""; 0]);
        }
        assert_eq!(
            check("/"),
            [
                r#"a: Invalid value: "": the domain must not be empty"#,
                r#"a: Invalid value: "": the name must not be empty"#,
            ]
        );
        assert_eq!(check(&"a".repeat(33)), ["a: Too long: may not be more than 32 bytes"]);
        assert_eq!(
            texts(&fully_qualified_name_faults("model", &Path::new("a"))),
            [
                r#"a: Invalid value: "model": a fully qualified name must be a domain and a name separated by a slash"#
            ]
        );
    }

    #[test]
    fn pools_have_names_with_slashes() {
        assert_eq!(pool_name_faults("a.b/c", &Path::new("p")), vec![]);
        assert_eq!(texts(&pool_name_faults("", &Path::new("p"))), ["p: Required value"]);
        assert_eq!(pool_name_faults("a//b", &Path::new("p")).len(), 1);
    }

    #[test]
    fn what_drivers_are_told_is_an_object() {
        let check = |config| {
            texts(&config_faults(Some(&serde_json::from_value(config).unwrap()), false, &Path::new("c")))
        };
        assert_eq!(check(json!({"driver": "d.example.com", "parameters": {"a": 1}})), [""; 0]);
        assert_eq!(
            check(json!({"driver": "", "parameters": "x"})),
            [
                "c.opaque.driver: Required value",
                r#"c.opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object"#,
            ]
        );
        assert_eq!(
            check(json!({"driver": "d", "parameters": {"a": "x".repeat(10240)}})),
            ["c.opaque.parameters: Too long: may not be more than 10240 bytes"]
        );
        assert_eq!(texts(&config_faults(None, false, &Path::new("c"))), ["c.opaque: Required value"]);
    }

    #[test]
    fn taints_and_tolerations_fit_each_other() {
        let taint: DeviceTaint = serde_json::from_value(json!({"key": "a/b", "effect": "Odd"})).unwrap();
        assert_eq!(
            texts(&taint_faults(&taint, &Path::new("t"))),
            [r#"t.effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None""#]
        );
        let check = |toleration| {
            texts(&toleration_faults(&serde_json::from_value(toleration).unwrap(), &Path::new("t")))
        };
        assert_eq!(check(json!({"operator": "Exists"})), [""; 0]);
        assert_eq!(
            check(json!({"operator": "Exists", "value": "v", "effect": "NoExecute"})),
            [r#"t.value: Invalid value: "v": must be empty for operator `Exists`"#]
        );
        assert_eq!(check(json!({})), ["t.operator: Required value"]);
        assert_eq!(
            check(json!({"operator": "Odd"})),
            [r#"t.operator: Unsupported value: "Odd": supported values: "Equal", "Exists""#]
        );
    }

    #[test]
    fn conditions_for_binding_come_with_conditions_for_failing() {
        let list = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let check = |a, b| texts(&binding_faults(&a, &b, &Path::new("d")));
        assert_eq!(check(list(&["a"]), list(&["b"])), [""; 0]);
        assert_eq!(
            check(list(&["a", "a"]), list(&["a"])),
            [
                r#"d.bindingConditions[1]: Duplicate value: "a""#,
                r#"d.bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions"#,
            ]
        );
        assert_eq!(
            check(None, list(&["a"])),
            [
                "d.bindingConditions: Invalid value: null: bindingConditions are required to use bindingFailureConditions"
            ]
        );
        assert_eq!(
            check(list(&["a"]), list(&[])),
            [
                "d.bindingFailureConditions: Invalid value: []: bindingFailureConditions are required to use bindingConditions"
            ]
        );
    }
}
