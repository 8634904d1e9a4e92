//! How the capacity of a device may be shared among claims.

use std::collections::BTreeSet;

use api_types::{
    field::{BadValue, Fault, Faults, Path},
    quantity::Quantity,
};
use k8s_openapi::api::resource::v1::{CapacityRequestPolicyRange, DeviceCapacity};

use crate::resources::shared::{optional::Items, quantities::amount};

const VALUES_MAX: usize = 10;

/// What is wrong with a capacity; `shared` if the device may be given to more than one claim.
pub(super) fn faults(capacity: &DeviceCapacity, shared: bool, path: &Path) -> Faults {
    let Some(policy) = &capacity.request_policy else { return Vec::new() };
    let path = path.child("requestPolicy");
    if !shared {
        return vec![Fault::forbidden(&path, "allowMultipleAllocations must be true")];
    }
    let total = amount(&capacity.value);
    let values: Vec<Quantity> = policy.valid_values.items().iter().map(amount).collect();
    let default = policy.default.as_ref().map(amount);
    let missing = |what: &str| {
        vec![Fault::required(&path.child("default"), format!("required when {what} is defined"))]
    };
    match (&policy.valid_range, default) {
        (Some(_), _) if !values.is_empty() => {
            let detail = r#"exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#;
            vec![Fault::forbidden(&path, detail)]
        }
        (None, _) if values.is_empty() => Vec::new(),
        (None, None) => missing("validValues"),
        (Some(_), None) => missing("validRange"),
        (None, Some(default)) => value_faults(&values, &default, &total, &path.child("validValues")),
        (Some(range), Some(default)) => range_faults(range, &default, &total, &path.child("validRange")),
    }
}

fn wrong(path: &Path, value: &Quantity, detail: impl Into<String>) -> Fault {
    Fault::invalid(path, value.to_string(), detail)
}

fn value_faults(values: &[Quantity], default: &Quantity, total: &Quantity, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, pair) in values.windows(2).enumerate() {
        if let [before, after] = pair
            && before > after
        {
            faults.push(wrong(&path.index(index + 1), after, "values must be sorted in ascending order"));
        }
    }
    if values.len() > VALUES_MAX {
        faults.push(Fault::too_many(path, values.len(), VALUES_MAX));
    } else {
        for (index, value) in values.iter().enumerate().filter(|(_, value)| *value > total) {
            let detail = format!("option is larger than capacity value: {total}");
            faults.push(wrong(&path.index(index), value, detail));
        }
        let mut seen = BTreeSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(value.value()) {
                let value = BadValue::from(value.value().to_string());
                faults.push(Fault::duplicate(&path.index(index), value));
            }
        }
    }
    // Of too many values upstream looks at none.
    if values.len() > VALUES_MAX || !values.contains(default) {
        faults.push(wrong(path, default, "default value is not valid according to the requestPolicy"));
    }
    faults
}

fn range_faults(
    range: &CapacityRequestPolicyRange,
    default: &Quantity,
    total: &Quantity,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    // The type cannot leave it out.
    if range.min.0.is_empty() {
        return vec![Fault::required(&path.child("min"), "required when validRange is defined")];
    }
    let [min_path, max_path, step_path] = ["min", "max", "step"].map(|field| path.child(field));
    let min = amount(&range.min);
    let [max, step] = [&range.max, &range.step].map(|it| it.as_ref().map(amount));
    if min > *total {
        faults.push(wrong(&min_path, &min, format!("min is larger than capacity value: {total}")));
    }
    if *default < min {
        faults.push(wrong(&min_path, default, format!("default is less than min: {min}")));
    }
    if let Some(max) = &max {
        if min > *max {
            faults.push(wrong(&max_path, &min, format!("min is larger than max: {max}")));
        }
        if max > total {
            faults.push(wrong(&max_path, max, format!("max is larger than capacity value: {total}")));
        }
        if default > max {
            faults.push(wrong(&max_path, default, format!("default is more than max: {max}")));
        }
    }
    if let Some(step) = &step {
        let mut first = min.clone();
        first += step;
        if first > *total {
            let detail = format!("one step {first} is larger than capacity value: {total}");
            faults.push(wrong(&step_path, step, detail));
        }
        for value in std::iter::once(default).chain(&max) {
            let above = value.value().saturating_sub(min.value());
            if above.checked_rem(step.value()).is_some_and(|rest| rest != 0) {
                let detail = format!("value is not a multiple of a given step ({step}) from ({min})");
                faults.push(wrong(&step_path, value, detail));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(policy: Value, shared: bool, expected: &[&str]) {
        let capacity: DeviceCapacity =
            serde_json::from_value(json!({"value": "10Gi", "requestPolicy": policy})).unwrap();
        let found: Vec<String> =
            faults(&capacity, shared, &Path::new("c")).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_shared_devices_have_policies() {
        check(json!({}), true, &[]);
        check(json!({}), false, &["c.requestPolicy: Forbidden: allowMultipleAllocations must be true"]);
        check(
            json!({"validValues": ["1Gi"], "validRange": {"min": "1Gi"}}),
            true,
            &[
                r#"c.requestPolicy: Forbidden: exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time"#,
            ],
        );
    }

    #[test]
    fn values_rise_up_to_the_capacity_and_the_default_is_one_of_them() {
        check(json!({"validValues": ["1Gi", "2Gi"], "default": "1Gi"}), true, &[]);
        check(
            json!({"validValues": ["1Gi"]}),
            true,
            &["c.requestPolicy.default: Required value: required when validValues is defined"],
        );
        check(
            json!({"validValues": ["2Gi", "1Gi", "2048Mi", "11Gi"], "default": "3Gi"}),
            true,
            &[
                r#"c.requestPolicy.validValues[1]: Invalid value: "1Gi": values must be sorted in ascending order"#,
                r#"c.requestPolicy.validValues[3]: Invalid value: "11Gi": option is larger than capacity value: 10Gi"#,
                r#"c.requestPolicy.validValues[2]: Duplicate value: "2147483648""#,
                r#"c.requestPolicy.validValues: Invalid value: "3Gi": default value is not valid according to the requestPolicy"#,
            ],
        );
    }

    #[test]
    fn a_range_goes_in_steps() {
        check(
            json!({"validRange": {"min": "1Gi", "max": "9Gi", "step": "2Gi"}, "default": "3Gi"}),
            true,
            &[],
        );
        check(
            json!({"validRange": {"min": "1Gi"}}),
            true,
            &["c.requestPolicy.default: Required value: required when validRange is defined"],
        );
        check(
            json!({"validRange": {"min": "11Gi", "max": "12Gi", "step": "2Gi"}, "default": "1Gi"}),
            true,
            &[
                r#"c.requestPolicy.validRange.min: Invalid value: "11Gi": min is larger than capacity value: 10Gi"#,
                r#"c.requestPolicy.validRange.min: Invalid value: "1Gi": default is less than min: 11Gi"#,
                r#"c.requestPolicy.validRange.max: Invalid value: "12Gi": max is larger than capacity value: 10Gi"#,
                r#"c.requestPolicy.validRange.step: Invalid value: "2Gi": one step 13Gi is larger than capacity value: 10Gi"#,
                r#"c.requestPolicy.validRange.step: Invalid value: "12Gi": value is not a multiple of a given step (2Gi) from (11Gi)"#,
            ],
        );
        check(
            json!({"validRange": {"min": "2Gi", "max": "1Gi"}, "default": "3Gi"}),
            true,
            &[
                r#"c.requestPolicy.validRange.max: Invalid value: "2Gi": min is larger than max: 1Gi"#,
                r#"c.requestPolicy.validRange.max: Invalid value: "3Gi": default is more than max: 1Gi"#,
            ],
        );
    }
}
