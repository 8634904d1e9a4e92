//! StorageClasses: `storageclasses` of `storage.k8s.io/v1`.

use std::collections::{BTreeMap, BTreeSet};

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::{core::v1::TopologySelectorTerm, storage::v1::StorageClass};

use crate::{
    registry::strategy::{Context, Names, Strategy},
    resources::shared::{
        fields::same_map,
        metadata::invalid_each,
        names::qualified_name,
        optional::{Items, immutable},
        pod_spec::warnings::old_node_label,
        selectors::validate_label_key,
    },
};

const PARAMETERS_MAX: usize = 512;
const PARAMETERS_SIZE_MAX: usize = 256 * 1024;

/// The strategy of StorageClasses.
pub(crate) struct StorageClasses;

impl Strategy for StorageClasses {
    type Object = StorageClass;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short: &["sc"],
        categories: &[],
        namespaced: false,
    };
    const RETURNS_DELETED: bool = true;

    fn default(object: &mut StorageClass) {
        object.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        object.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate(_cx: &Context<'_>, object: &StorageClass) -> Faults {
        let mut faults = provisioner_faults(&object.provisioner, &Path::new("provisioner"));
        faults.extend(parameters_faults(&object.parameters, &Path::new("parameters")));
        let policies = ["Delete", "Retain"];
        if let Some(policy) = object.reclaim_policy.as_deref()
            && !policy.is_empty()
            && !policies.contains(&policy)
        {
            faults.push(Fault::not_supported(&Path::new("reclaimPolicy"), policy, &policies));
        }
        let path = Path::new("volumeBindingMode");
        let modes = ["Immediate", "WaitForFirstConsumer"];
        match object.volume_binding_mode.as_deref() {
            None => faults.push(Fault::required(&path, "")),
            Some(mode) if modes.contains(&mode) => {}
            Some(mode) => faults.push(Fault::not_supported(&path, mode, &modes)),
        }
        faults.extend(topologies_faults(object.allowed_topologies.items(), &Path::new("allowedTopologies")));
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &StorageClass, old: &StorageClass) -> Faults {
        let mut faults = Self::validate(cx, object);
        if !same_map(object.parameters.as_ref(), old.parameters.as_ref()) {
            let value = BadValue::json(&object.parameters);
            faults.push(Fault::invalid(&Path::new("parameters"), value, "field is immutable"));
        }
        faults.extend(immutable(&Path::new("provisioner"), &object.provisioner, &old.provisioner));
        faults.extend(immutable(&Path::new("reclaimPolicy"), &object.reclaim_policy, &old.reclaim_policy));
        faults.extend(immutable(
            &Path::new("volumeBindingMode"),
            &object.volume_binding_mode,
            &old.volume_binding_mode,
        ));
        faults
    }

    fn warnings(_cx: &Context<'_>, object: &StorageClass, _old: Option<&StorageClass>) -> Vec<String> {
        let path = Path::new("allowedTopologies");
        let terms = object.allowed_topologies.items().iter().enumerate();
        terms
            .flat_map(|(index, term)| {
                let path = path.index(index).child("matchLabelExpressions");
                let expressions = term.match_label_expressions.items().iter().enumerate();
                expressions.filter_map(move |(index, expression)| {
                    let what = old_node_label(&expression.key)?;
                    Some(format!("{}: {what}", path.index(index).child("key")))
                })
            })
            .collect()
    }
}

/// What is wrong with the name of a provisioner or a driver. Its case does not matter.
pub(super) fn provisioner_faults(name: &str, path: &Path) -> Faults {
    if name.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let name = name.to_lowercase();
    invalid_each(path, &name, qualified_name(&name))
}

/// What is wrong with parameters for a driver.
pub(super) fn parameters_faults(parameters: &Option<BTreeMap<String, String>>, path: &Path) -> Faults {
    let Some(parameters) = parameters else { return Vec::new() };
    if parameters.len() > PARAMETERS_MAX {
        return vec![Fault::too_long(path, PARAMETERS_MAX)];
    }
    let mut faults = Vec::new();
    if parameters.contains_key("") {
        faults.push(Fault::invalid(path, "", "field can not be empty."));
    }
    let size: usize = parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > PARAMETERS_SIZE_MAX {
        faults.push(Fault::too_long(path, PARAMETERS_SIZE_MAX));
    }
    faults
}

fn topologies_faults(terms: &[TopologySelectorTerm], path: &Path) -> Faults {
    // Upstream compares each term with those before it and with as many empty ones as there are terms.
    let mut earlier: Vec<BTreeMap<&str, BTreeSet<&str>>> = vec![BTreeMap::new(); terms.len()];
    let mut faults = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let path = path.index(index).child("matchLabelExpressions");
        let mut expressions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (index, expression) in term.match_label_expressions.items().iter().enumerate() {
            let path = path.index(index);
            let values_path = path.child("values");
            if expression.values.is_empty() {
                faults.push(Fault::required(&values_path, ""));
            }
            let mut values = BTreeSet::new();
            for (index, value) in expression.values.iter().enumerate() {
                if !values.insert(value.as_str()) {
                    faults.push(Fault::duplicate(&values_path.index(index), value));
                }
            }
            faults.extend(validate_label_key(&expression.key, &path.child("key")));
            if expressions.insert(&expression.key, values).is_some() {
                faults.push(Fault::duplicate(&path.child("key"), &expression.key));
            }
        }
        let doubles = earlier.iter().filter(|it| **it == expressions);
        faults.extend(doubles.map(|_| Fault::duplicate(&path, "")));
        earlier.push(expressions);
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::StorageClasses;
    use crate::resources::shared::testing::{check_create, check_update, warnings};

    fn class(more: Value) -> Value {
        let mut class = json!({"provisioner": "a.b/c"});
        if let (Value::Object(class), Value::Object(more)) = (&mut class, more) {
            class.extend(more);
        }
        class
    }

    #[test]
    fn a_class_names_a_provisioner() {
        let topology = |values: &[&str]| json!({"matchLabelExpressions": [{"key": "a", "values": values}]});
        for (object, faults) in [
            (class(json!({})), vec![]),
            (json!({}), vec!["provisioner: Required value"]),
            (
                class(json!({"reclaimPolicy": "Recycle", "volumeBindingMode": "X", "parameters": {"": "a"}})),
                vec![
                    r#"parameters: Invalid value: "": field can not be empty."#,
                    r#"reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain""#,
                    r#"volumeBindingMode: Unsupported value: "X": supported values: "Immediate", "WaitForFirstConsumer""#,
                ],
            ),
            (
                class(
                    json!({"allowedTopologies": [topology(&["x"]), topology(&["x"]), topology(&["y", "y"])]}),
                ),
                vec![
                    r#"allowedTopologies[1].matchLabelExpressions: Duplicate value: """#,
                    r#"allowedTopologies[2].matchLabelExpressions[0].values[1]: Duplicate value: "y""#,
                ],
            ),
        ] {
            assert_eq!(check_create::<StorageClasses>(object), faults);
        }
    }

    #[test]
    fn a_class_is_fixed() {
        assert_eq!(
            check_update::<StorageClasses>(
                json!({"provisioner": "x", "parameters": {"a": "b"}, "reclaimPolicy": "Retain",
                    "volumeBindingMode": "WaitForFirstConsumer"}),
                class(json!({}))
            ),
            [
                r#"parameters: Invalid value: {"a":"b"}: field is immutable"#,
                r#"provisioner: Invalid value: "x": field is immutable"#,
                r#"reclaimPolicy: Invalid value: "Retain": field is immutable"#,
                r#"volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable"#,
            ]
        );
    }

    #[test]
    fn old_labels_of_nodes_are_warned_about() {
        let topology = json!({"matchLabelExpressions": [{"key": "beta.kubernetes.io/os", "values": ["x"]}]});
        assert_eq!(
            warnings::<StorageClasses>(class(json!({"allowedTopologies": [topology]}))),
            [
                r#"allowedTopologies[0].matchLabelExpressions[0].key: deprecated since v1.14; use "kubernetes.io/os" instead"#
            ]
        );
    }
}
