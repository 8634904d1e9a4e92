//! The rules of conditions in a status, as far as kinds use the common type.

use api_types::{
    field::{Fault, Faults, Path},
    typed::is_unset,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{names::with_regex, selectors::validate_label_key};

const REASON_LENGTH_MAX: usize = 1024;
const MESSAGE_LENGTH_MAX: usize = 32 * 1024;

/// What is wrong with conditions: each type once, and each condition well formed.
pub(crate) fn faults(conditions: &[Condition], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if conditions.iter().take(index).any(|earlier| earlier.type_ == condition.type_) {
            faults.push(Fault::duplicate(&path.child("type"), &condition.type_));
        }
        faults.extend(condition_faults(condition, &path));
    }
    faults
}

fn condition_faults(condition: &Condition, path: &Path) -> Faults {
    let mut faults = validate_label_key(&condition.type_, &path.child("type"));
    let statuses = ["False", "True", "Unknown"];
    if !statuses.contains(&condition.status.as_str()) {
        faults.push(Fault::not_supported(&path.child("status"), &condition.status, &statuses));
    }
    if let Some(generation) = condition.observed_generation.filter(|&generation| generation < 0) {
        let detail = "must be greater than or equal to zero";
        faults.push(Fault::invalid(&path.child("observedGeneration"), generation, detail));
    }
    // The type cannot leave the time out.
    if is_unset(condition.last_transition_time.0) {
        faults.push(Fault::required(&path.child("lastTransitionTime"), ""));
    }
    let reason_path = path.child("reason");
    if condition.reason.is_empty() {
        faults.push(Fault::required(&reason_path, ""));
    } else {
        if !is_reason(&condition.reason) {
            faults.push(Fault::invalid(&reason_path, &condition.reason, with_regex(
                "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
                "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
                &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
            )));
        }
        if condition.reason.len() > REASON_LENGTH_MAX {
            faults.push(Fault::too_long(&reason_path, REASON_LENGTH_MAX));
        }
    }
    if condition.message.len() > MESSAGE_LENGTH_MAX {
        faults.push(Fault::too_long(&path.child("message"), MESSAGE_LENGTH_MAX));
    }
    faults
}

fn is_reason(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().copied().is_some_and(word)
        && bytes.iter().all(|&byte| word(byte) || matches!(byte, b',' | b':'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_condition_says_since_when_and_why() {
        let check = |conditions: Value| -> Vec<String> {
            let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap();
            faults(&conditions, &Path::new("c")).iter().map(ToString::to_string).collect()
        };
        let good = json!({"type": "Ready", "status": "True", "reason": "A_b,c:d",
            "lastTransitionTime": "2024-01-01T00:00:00Z", "message": ""});
        assert_eq!(check(json!([good])), [""; 0]);
        assert_eq!(check(json!([good, good])), [r#"c[1].type: Duplicate value: "Ready""#]);
        assert_eq!(
            check(
                json!([{"type": "Ready", "status": "Odd", "reason": "1", "observedGeneration": -1, "message": "",
                "lastTransitionTime": "0001-01-01T00:00:00Z"}])
            ),
            [
                r#"c[0].status: Unsupported value: "Odd": supported values: "False", "True", "Unknown""#,
                "c[0].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "c[0].lastTransitionTime: Required value",
                r#"c[0].reason: Invalid value: "1": a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"#,
            ]
        );
    }
}
