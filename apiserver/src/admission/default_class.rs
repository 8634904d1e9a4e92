//! Which class of several is the default one: what `DefaultStorageClass` and `DefaultIngressClass` share.

use std::sync::Arc;

use api_types::object::ObjectExt;
use serde_json::Value;

/// The name of the class that one of these annotations calls the default: of several the newest, of those made in the
/// same second the first by name.
pub(super) fn newest_default(classes: &[Arc<Value>], annotations: &[&str]) -> Option<String> {
    let is_default =
        |class: &&Arc<Value>| annotations.iter().any(|key| class.annotation(key) == Some("true"));
    let mut defaults: Vec<&Arc<Value>> = classes.iter().filter(is_default).collect();
    defaults.sort_by(|one, other| {
        let made = |class: &Value| class.meta_str("creationTimestamp").to_owned();
        made(other).cmp(&made(one)).then_with(|| one.name().cmp(other.name()))
    });
    defaults.first().map(|class| class.name().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_several_default_classes_the_newest_counts() {
        let class = |name: &str, second: u32, default: &str| {
            Arc::new(json!({"metadata": {"name": name, "annotations": {"a": default},
                "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")}}))
        };
        let choose = |classes: &[Arc<Value>]| newest_default(classes, &["x", "a"]);
        assert_eq!(choose(&[class("a", 1, "false")]), None);
        assert_eq!(choose(&[class("a", 1, "true"), class("b", 2, "true")]), Some("b".to_owned()));
        assert_eq!(choose(&[class("b", 2, "true"), class("a", 2, "true")]), Some("a".to_owned()));
    }
}
