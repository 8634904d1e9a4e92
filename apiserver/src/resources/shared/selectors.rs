//! What is wrong with labels and with the selectors that match them.

use std::collections::BTreeMap;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::{
    metadata::invalid_each,
    names::{label_value, qualified_name},
};

/// What a label selector may hold besides what is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// Values that are no label values, since stored objects have them.
    pub invalid_values: bool,
    /// Operators that nobody knows, since a broader check follows.
    pub unknown_operators: bool,
}

/// What is wrong with a set of labels.
pub fn validate_labels(labels: Option<&BTreeMap<String, String>>, path: &Path) -> Faults {
    label_pairs(labels.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_str())), path)
}

/// As [`validate_labels`], for labels in any form. The path is that of the whole set.
pub fn label_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (key, value) in pairs {
        faults.extend(validate_label_key(key, path));
        faults.extend(invalid_each(path, value, label_value(value)));
    }
    faults
}

/// What is wrong with the key of a label.
pub fn validate_label_key(key: &str, path: &Path) -> Faults {
    invalid_each(path, key, qualified_name(key))
}

/// What is wrong with a label selector. None is fine.
pub fn validate(selector: Option<&LabelSelector>, leniency: Leniency, path: &Path) -> Faults {
    let Some(selector) = selector else { return Vec::new() };
    let mut faults = validate_labels(selector.match_labels.as_ref(), &path.child("matchLabels"));
    for (index, requirement) in requirements(selector).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        faults.extend(validate_requirement(requirement, leniency, &path));
    }
    faults
}

/// What is wrong with one requirement of a label selector.
pub fn validate_requirement(
    requirement: &LabelSelectorRequirement,
    leniency: Leniency,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => faults.push(Fault::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => faults.push(Fault::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ if leniency.unknown_operators => {}
        unknown => {
            faults.push(Fault::invalid(&path.child("operator"), unknown, "not a valid selector operator"));
        }
    }
    faults.extend(validate_label_key(&requirement.key, &path.child("key")));
    if !leniency.invalid_values {
        for (index, value) in values.iter().enumerate() {
            faults.extend(invalid_each(&path.child("values").index(index), value, label_value(value)));
        }
    }
    faults
}

/// Whether some requirement holds a value that is no label value. Objects that are stored so may stay so.
pub fn has_invalid_value(selector: Option<&LabelSelector>) -> bool {
    selector.is_some_and(|selector| {
        requirements(selector)
            .iter()
            .flat_map(|requirement| requirement.values.iter().flatten())
            .any(|value| !label_value(value).is_empty())
    })
}

/// Whether the selector requires nothing, and so matches everything.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) && requirements(selector).is_empty()
}

/// Whether labels meet a selector that passed [`validate`]. None matches nothing, an empty one everything.
pub fn matches(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(selector) = selector else { return false };
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    selector.match_labels.iter().flatten().all(|(key, value)| label(key) == Some(value))
        && requirements(selector).iter().all(|requirement| {
            let has = |value: &String| requirement.values.iter().flatten().any(|it| it == value);
            let value = label(&requirement.key);
            match requirement.operator.as_str() {
                "In" => value.is_some_and(has),
                "NotIn" => !value.is_some_and(has),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// A selector as messages print it: labels first.
pub fn printed(selector: &LabelSelector) -> BadValue {
    // None of these can fail: maps with text keys, lists and texts.
    fn text(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).unwrap_or_default()
    }
    let mut parts = Vec::new();
    if let Some(labels) = selector.match_labels.as_ref().filter(|labels| !labels.is_empty()) {
        parts.push(format!("\"matchLabels\":{}", text(labels)));
    }
    if !requirements(selector).is_empty() {
        let list: Vec<String> = requirements(selector)
            .iter()
            .map(|it| {
                let values = it.values.as_ref().filter(|values| !values.is_empty());
                let values = values.map(|values| format!(",\"values\":{}", text(values))).unwrap_or_default();
                format!("{{\"key\":{},\"operator\":{}{values}}}", text(&it.key), text(&it.operator))
            })
            .collect();
        parts.push(format!("\"matchExpressions\":[{}]", list.join(",")));
    }
    BadValue::Plain(format!("{{{}}}", parts.join(",")))
}

fn requirements(selector: &LabelSelector) -> &[LabelSelectorRequirement] {
    selector.match_expressions.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn selector(value: Value) -> LabelSelector {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_requirement_has_values_exactly_when_its_operator_compares_them() {
        for (requirement, expected) in [
            (json!({"key": "a", "operator": "In", "values": ["b"]}), vec![]),
            (json!({"key": "a", "operator": "Exists"}), vec![]),
            (
                json!({"key": "a", "operator": "NotIn"}),
                vec![
                    "s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ],
            ),
            (
                json!({"key": "a", "operator": "Exists", "values": ["b"]}),
                vec![
                    "s.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ],
            ),
            (
                json!({"key": "", "operator": "Is"}),
                vec![
                    r#"s.matchExpressions[0].operator: Invalid value: "Is": not a valid selector operator"#,
                    r#"s.matchExpressions[0].key: Invalid value: "": name part must be non-empty"#,
                    r#"s.matchExpressions[0].key: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
                ],
            ),
        ] {
            let selector = selector(json!({"matchExpressions": [requirement]}));
            let faults = validate(Some(&selector), Leniency::default(), &Path::new("s"));
            assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{selector:?}");
        }
    }

    #[test]
    fn stored_values_that_are_no_label_values_may_stay() {
        let selector =
            selector(json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["-"]}]}));
        assert!(has_invalid_value(Some(&selector)));
        assert_eq!(validate(Some(&selector), Leniency::default(), &Path::new("s")).len(), 1);
        let lenient = Leniency { invalid_values: true, ..Leniency::default() };
        assert_eq!(validate(Some(&selector), lenient, &Path::new("s")), []);
    }

    #[test]
    fn a_selector_prints_labels_first() {
        for (value, expected) in [
            (json!({}), "{}"),
            (json!({"matchLabels": {"a": "b"}}), r#"{"matchLabels":{"a":"b"}}"#),
            (
                json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}, {"key": "l", "operator": "Exists"}]}),
                r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["v"]},{"key":"l","operator":"Exists"}]}"#,
            ),
        ] {
            assert_eq!(printed(&selector(value)), BadValue::Plain(expected.to_owned()));
        }
    }

    #[test]
    fn all_requirements_must_be_met() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())]);
        for (value, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"a": "1"}}), true),
            (json!({"matchLabels": {"a": "1", "c": ""}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["2", "1"]}]}), true),
            (json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}), false),
            (json!({"matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["1"]}]}), true),
            (json!({"matchExpressions": [{"key": "b", "operator": "Exists"}]}), true),
            (json!({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}), false),
        ] {
            assert_eq!(matches(Some(&selector(value.clone())), Some(&labels)), expected, "{value}");
        }
        assert!(!matches(None, Some(&labels)));
    }
}
