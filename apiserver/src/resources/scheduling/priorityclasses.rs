//! PriorityClasses: `priorityclasses` of `scheduling.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::{
    registry::strategy::{Context, Generation, Names, Strategy},
    resources::shared::optional::{Switch, Text, immutable, one_of},
};

/// The highest priority that is not the system's own.
const USER_PRIORITY_MAX: i32 = 1_000_000_000;
/// The system's own classes and their priorities. None of them is a default.
const SYSTEM: &[(&str, i32)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The strategy of PriorityClasses.
pub(crate) struct PriorityClasses;

impl Strategy for PriorityClasses {
    type Object = PriorityClass;

    const NAMES: Names = Names {
        group: "scheduling.k8s.io",
        version: "v1",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short: &["pc"],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_METADATA: bool = false;
    const GENERATION: Generation = Generation::Never;

    fn default(object: &mut PriorityClass) {
        object.preemption_policy.get_or_insert_with(|| "PreemptLowerPriority".to_owned());
    }

    fn validate(_cx: &Context<'_>, object: &PriorityClass) -> Faults {
        let name = object.metadata.name.text();
        let mut faults = Vec::new();
        if name.starts_with("system-") {
            if let Err(why) = check_system_class(object) {
                faults.push(Fault::forbidden(
                    &Path::new("metadata.name"),
                    format!(
                        "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                    ),
                ));
            }
        } else if object.value.unwrap_or_default() > USER_PRIORITY_MAX {
            faults.push(Fault::forbidden(
                &Path::new("value"),
                format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}"),
            ));
        }
        if let Some(policy) = &object.preemption_policy {
            let path = Path::new("preemptionPolicy");
            faults.extend(one_of(&path, policy, &["PreemptLowerPriority", "Never"]));
        }
        faults
    }

    fn validate_update(_cx: &Context<'_>, object: &PriorityClass, old: &PriorityClass) -> Faults {
        let mut faults = Vec::new();
        if object.value.unwrap_or_default() != old.value.unwrap_or_default() {
            faults.push(Fault::forbidden(&Path::new("value"), "may not be changed in an update."));
        }
        faults.extend(immutable(
            &Path::new("preemptionPolicy"),
            &object.preemption_policy,
            &old.preemption_policy,
        ));
        faults
    }
}

/// Whether this is the name of one of the system's own classes.
pub(crate) fn is_system_class(name: &str) -> bool {
    SYSTEM.iter().any(|(system, _)| *system == name)
}

fn check_system_class(object: &PriorityClass) -> Result<(), String> {
    let name = object.metadata.name.text();
    let Some((_, value)) = SYSTEM.iter().find(|(system, _)| *system == name) else {
        return Err(format!("{name} is not a known system priority class"));
    };
    if object.value.unwrap_or_default() != *value {
        return Err(format!("value of {name} PriorityClass must be {value}"));
    }
    if object.global_default.is_on() {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::PriorityClasses;
    use crate::resources::shared::testing::{check_create, check_update};

    fn class(name: &str, value: i32, more: Value) -> Value {
        let mut class = json!({"metadata": {"name": name}, "value": value});
        if let (Value::Object(class), Value::Object(more)) = (&mut class, more) {
            class.extend(more);
        }
        class
    }

    #[test]
    fn the_highest_priorities_are_the_systems_own() {
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error:";
        for (object, fault) in [
            (class("a", 1_000_000_000, json!({})), None),
            (class("system-node-critical", 2_000_001_000, json!({})), None),
            (
                class("a", 1_000_000_001, json!({})),
                Some("value: Forbidden: maximum allowed value of a user defined priority is 1000000000".to_owned()),
            ),
            (
                class("system-a", 1, json!({})),
                Some(format!("{reserved} system-a is not a known system priority class")),
            ),
            (
                class("system-node-critical", 1, json!({})),
                Some(format!("{reserved} value of system-node-critical PriorityClass must be 2000001000")),
            ),
            (
                class("a", 1, json!({"preemptionPolicy": "X"})),
                Some(
                    r#"preemptionPolicy: Unsupported value: "X": supported values: "PreemptLowerPriority", "Never""#
                        .to_owned(),
                ),
            ),
        ] {
            assert_eq!(check_create::<PriorityClasses>(object), fault.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_class_keeps_its_value_and_its_policy() {
        assert_eq!(
            check_update::<PriorityClasses>(
                class("a", 2, json!({"preemptionPolicy": "Never"})),
                class("a", 1, json!({}))
            ),
            [
                "value: Forbidden: may not be changed in an update.",
                r#"preemptionPolicy: Invalid value: "Never": field is immutable"#,
            ]
        );
    }
}
