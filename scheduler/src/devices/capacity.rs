//! Parts of devices (KEP-5075): what a claim takes of a device's capacity, and whether there is so much left.

use std::collections::BTreeMap;

use api_types::quantity::{Format, Quantity};

use super::slice::{Capacity, Device, Policy, Range};

/// Amounts by name.
pub type Amounts = BTreeMap<Box<str>, Quantity>;

/// What one who asks so takes of a device; nothing if the device has not so much left, or not in such parts.
pub fn part(device: &Device, asked: &Amounts, taken: &[&Amounts]) -> Option<Amounts> {
    if asked.keys().any(|name| !device.capacity.contains_key(name)) {
        return None;
    }
    let mut part = Amounts::new();
    for (name, capacity) in &device.capacity {
        let wanted = rounded_up(asked.get(name), capacity);
        if capacity.request_policy.as_ref().is_some_and(|policy| violates(&wanted, policy)) {
            return None;
        }
        let mut all = wanted.clone();
        for amount in taken.iter().filter_map(|taken| taken.get(name)) {
            all += amount;
        }
        if wanted.sign() < 0 || all > capacity.value {
            return None;
        }
        part.insert(name.clone(), wanted);
    }
    Some(part)
}

/// What is taken by one who asks for so much: the next larger part that may be had. Who does not say takes what the device says
/// for that, or all.
fn rounded_up(asked: Option<&Quantity>, capacity: &Capacity) -> Quantity {
    let policy = capacity.request_policy.as_ref();
    let Some(asked) = asked else {
        let unsaid = policy.and_then(|policy| policy.unsaid.as_ref());
        return unsaid.unwrap_or(&capacity.value).clone();
    };
    match policy {
        Some(Policy { valid_range: Some(range @ Range { min: Some(min), .. }), .. }) => {
            if asked < min {
                return min.clone();
            }
            by_steps(asked, min, range).unwrap_or_else(|| asked.clone())
        }
        Some(policy) => policy.valid_values.iter().find(|valid| asked <= valid).unwrap_or(asked).clone(),
        None => asked.clone(),
    }
}

fn by_steps(asked: &Quantity, min: &Quantity, range: &Range) -> Option<Quantity> {
    let (min, step) = (min.value(), range.step.as_ref()?.value());
    if step <= 0 {
        return None;
    }
    let over = asked.value().checked_sub(min)?;
    let steps = over / step + i64::from(over % step != 0);
    Some(Quantity::new(min.checked_add(steps.checked_mul(step)?)?, Format::BinarySi))
}

/// Whether so much may not be had.
fn violates(wanted: &Quantity, policy: &Policy) -> bool {
    if policy.unsaid.as_ref().is_some_and(|unsaid| unsaid == wanted) {
        return false;
    }
    if let Some(range) = &policy.valid_range {
        let min = range.min.as_ref().map_or(0, Quantity::value);
        let is_off_step = range
            .step
            .as_ref()
            .is_some_and(|step| step.value() > 0 && wanted.value().saturating_sub(min) % step.value() != 0);
        return range.max.as_ref().is_some_and(|max| wanted > max) || is_off_step;
    }
    !policy.valid_values.is_empty() && !policy.valid_values.contains(wanted)
}

/// Adds amounts to others.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += amount;
    }
}

/// Takes amounts from others; what is nothing then goes.
pub fn subtract(from: &mut Amounts, less: &Amounts) {
    for (name, amount) in less {
        if let Some(rest) = from.get_mut(name) {
            *rest -= amount;
            if rest.is_zero() {
                from.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn amounts(value: Value) -> Amounts {
        serde_json::from_value(value).unwrap()
    }

    fn check(policy: Value, asked: Value, taken: Value) -> String {
        let device: Device = serde_json::from_value(json!({
            "name": "d", "allowMultipleAllocations": true,
            "capacity": {"memory": {"value": "10Gi", "requestPolicy": policy}},
        }))
        .unwrap();
        match part(&device, &amounts(asked), &[&amounts(taken)]) {
            None => "no".to_owned(),
            Some(part) => part.values().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn a_part_is_what_is_asked_for_or_the_next_larger_that_may_be_had() {
        let nothing = || json!({});
        let range = || json!({"default": "1Gi", "validRange": {"min": "2Gi", "step": "2Gi", "max": "8Gi"}});
        let values = || json!({"default": "1Gi", "validValues": ["1Gi", "4Gi", "8Gi"]});
        for (policy, asked, taken, expected) in [
            (Value::Null, nothing(), nothing(), "10Gi"),
            (Value::Null, nothing(), json!({"memory": "1"}), "no"),
            (Value::Null, json!({"memory": "3Gi"}), json!({"memory": "7Gi"}), "3Gi"),
            (Value::Null, json!({"memory": "3Gi"}), json!({"memory": "8Gi"}), "no"),
            (Value::Null, json!({"cores": "1"}), nothing(), "no"),
            (range(), nothing(), nothing(), "1Gi"),
            (range(), json!({"memory": "1Gi"}), nothing(), "2Gi"),
            (range(), json!({"memory": "3Gi"}), nothing(), "4Gi"),
            (range(), json!({"memory": "9Gi"}), nothing(), "no"),
            (range(), json!({"memory": "3Gi"}), json!({"memory": "7Gi"}), "no"),
            (values(), json!({"memory": "2Gi"}), nothing(), "4Gi"),
            (values(), json!({"memory": "9Gi"}), nothing(), "no"),
            (json!({"validRange": {"min": "1Gi"}}), json!({"memory": "3Gi"}), nothing(), "3Gi"),
        ] {
            let shown = format!("{policy} {asked} {taken}");
            assert_eq!(check(policy, asked, taken), expected, "{shown}");
        }
    }

    #[test]
    fn what_is_added_and_taken_away_again_leaves_nothing() {
        let mut all = Amounts::new();
        add(&mut all, &amounts(json!({"a": "1Gi", "b": 2})));
        add(&mut all, &amounts(json!({"a": "512Mi"})));
        subtract(&mut all, &amounts(json!({"a": "1536Mi"})));
        assert_eq!(all, amounts(json!({"b": "2"})));
    }
}
