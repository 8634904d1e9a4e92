//! Labels and label selectors as text.

use api_types::selectors::labels::Selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize as _;
use serde_json::Value;

use super::read::{at, list, text};

/// `a=b,c=d`, or `<none>`.
pub(super) fn labels(labels: &Value) -> String {
    let pairs: Vec<String> = pairs(labels).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A LabelSelector as `kubectl get -l` takes it, or `<none>`.
pub(super) fn selector_or_none(selector: &Value) -> String {
    match requirements(selector) {
        None => "<error>".to_owned(),
        Some(text) if text.is_empty() => "<none>".to_owned(),
        Some(text) => text,
    }
}

/// A LabelSelector as `kubectl get -l` takes it; empty selects everything (or nothing, if there is no selector).
/// `None` if it makes no sense.
pub(super) fn requirements(selector: &Value) -> Option<String> {
    let selector = Option::<LabelSelector>::deserialize(selector).ok()?;
    Selector::of_object(selector.as_ref()).ok().map(|selector| selector.to_string())
}

/// A LabelSelector the way Go prints the struct, which the bindings of admission policies show.
pub(super) fn go_string(selector: &Value) -> String {
    let labels: String = at(selector, "matchLabels")
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let expressions: String = list(selector, "matchExpressions")
        .iter()
        .map(|it| {
            let values: Vec<&str> = list(it, "values").iter().filter_map(Value::as_str).collect();
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                text(it, "key"),
                text(it, "operator"),
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn pairs(labels: &Value) -> impl Iterator<Item = String> {
    labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_prints_its_requirements_by_key() {
        let selector = json!({
            "matchLabels": {"z": "1", "b": "2"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "a", "operator": "DoesNotExist"},
                {"key": "d", "operator": "Exists"},
                {"key": "e", "operator": "NotIn", "values": ["v"]},
            ],
        });
        assert_eq!(selector_or_none(&selector), "!a,b=2,c in (x,y),d,e notin (v),z=1");
        assert_eq!(selector_or_none(&json!({})), "<none>");
        assert_eq!(
            selector_or_none(&json!({"matchExpressions": [{"key": "c", "operator": "In"}]})),
            "<error>"
        );
    }

    #[test]
    fn a_selector_prints_as_the_go_struct() {
        let selector = json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["y", "x"]}],
        });
        assert_eq!(
            go_string(&selector),
            "&LabelSelector{MatchLabels:map[string]string{a: 1,b: 2,},MatchExpressions:\
             []LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[y x],},},}"
        );
    }
}
