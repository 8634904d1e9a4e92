//! What is wrong with tolerations, gates, readiness and the claims of a pod.

use std::collections::BTreeSet;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    PodReadinessGate, PodResourceClaim, PodSchedulingGate, PodSchedulingGroup, Taint, Toleration,
};

use super::{
    super::{
        internal::printed,
        metadata::invalid_each,
        names::{dns_subdomain, dns1123_label, label_value, must_be_non_empty, qualified_name},
        optional::Text,
        selectors::validate_label_key,
    },
    Rules,
};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Faults of tolerations.
pub(crate) fn tolerations(tolerations: &[Toleration], rules: &Rules, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (toleration.key.text(), toleration.operator.text());
        let (value, effect) = (toleration.value.text(), toleration.effect.text());
        let operator_path = path.child("operator");
        if !key.is_empty() {
            faults.extend(validate_label_key(key, &path.child("key")));
        } else if operator != "Exists" {
            faults.push(Fault::invalid(
                &operator_path,
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            faults.push(Fault::invalid(
                &path.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match operator {
            "Equal" | "" => {
                let sentences = label_value(value);
                if !sentences.is_empty() {
                    faults.push(Fault::invalid(&operator_path, value, sentences.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    faults.push(Fault::invalid(
                        &operator_path,
                        value,
                        "value must be empty when `operator` is 'Exists'",
                    ));
                }
            }
            "Lt" | "Gt" if rules.toleration_comparisons => {
                faults.extend(number(value, &path.child("value")));
            }
            "Lt" | "Gt" => {
                faults.push(Fault::not_supported(&operator_path, operator, &["Equal", "Exists", "Lt", "Gt"]));
            }
            other => faults.push(Fault::not_supported(&operator_path, other, &["Equal", "Exists"])),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            faults.push(Fault::not_supported(&path.child("effect"), effect, EFFECTS));
        }
    }
    faults
}

/// Whether an operator of a toleration compares numbers.
pub(super) fn compares_numbers(operator: &str) -> bool {
    matches!(operator, "Lt" | "Gt")
}

/// Faults of a whole number in its one spelling.
fn number(text: &str, path: &Path) -> Faults {
    const NOT_CANONICAL: &str = "must be a valid decimal integer in canonical form";
    let mut faults = Vec::new();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
        && digits.bytes().next().is_some_and(|it| it != b'0');
    if text.is_empty() {
        faults.push(Fault::invalid(path, text, must_be_non_empty()));
    } else if !(canonical || text == "0") {
        faults.push(Fault::invalid(path, text, NOT_CANONICAL));
    }
    if text.parse::<i64>().is_err() {
        let why = if canonical { "value out of range" } else { "invalid syntax" };
        let quoted = api_types::field::go_quote(text);
        faults.push(Fault::invalid(path, text, format!("strconv.ParseInt: parsing {quoted}: {why}")));
    }
    faults
}

/// Faults of taints.
pub(crate) fn taints(taints: &[Taint], path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        faults.extend(validate_label_key(&taint.key, &path.child("key")));
        let value = taint.value.text();
        let sentences = label_value(value);
        if !sentences.is_empty() {
            faults.push(Fault::invalid(&path.child("value"), value, sentences.join(";")));
        }
        let effect_path = path.child("effect");
        if taint.effect.is_empty() {
            faults.push(Fault::required(&effect_path, ""));
        } else if !EFFECTS.contains(&taint.effect.as_str()) {
            faults.push(Fault::not_supported(&effect_path, taint.effect.as_str(), EFFECTS));
        }
        if !seen.insert((taint.key.as_str(), taint.effect.as_str())) {
            let mut fault = Fault::duplicate(&path, printed("core.Taint", taint));
            fault.detail = "taints must be unique by key and effect pair".to_owned();
            faults.push(fault);
        }
    }
    faults
}

/// Faults of conditions that a pod waits for until it is ready.
pub(super) fn readiness_gates(gates: &[PodReadinessGate], path: &Path) -> Faults {
    gates
        .iter()
        .enumerate()
        .flat_map(|(index, gate)| {
            let path = path.index(index).child("conditionType");
            invalid_each(&path, &gate.condition_type, qualified_name(&gate.condition_type))
        })
        .collect()
}

/// Faults of what a pod waits for until it may be scheduled.
pub(super) fn scheduling_gates(gates: &[PodSchedulingGate], path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, gate) in gates.iter().enumerate() {
        let path = path.index(index);
        faults.extend(invalid_each(&path, &gate.name, qualified_name(&gate.name)));
        if !seen.insert(gate.name.as_str()) {
            faults.push(Fault::duplicate(&path, gate.name.as_str()));
        }
    }
    faults
}

/// The fault of a group of pods that is not named.
pub(super) fn scheduling_group(group: &PodSchedulingGroup, path: &Path) -> Faults {
    let path = path.child("podGroupName");
    match group.pod_group_name.as_deref() {
        None => {
            vec![Fault::invalid(&path, serde_json::Value::Null, "must specify one of: `podGroupName`")]
        }
        Some(name) => invalid_each(&path, name, dns_subdomain(name, false)),
    }
}

/// Faults of the claims of a pod. Pods that mirror a kubelet's own have none.
pub(super) fn resource_claims(claims: &[PodResourceClaim], is_mirror: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        if is_mirror {
            faults.push(Fault::forbidden(&nowhere(), "static pods do not support resource claims"));
            continue;
        }
        let path = path.index(index);
        let name = claim.name.as_str();
        let name_path = path.child("name");
        if name.is_empty() {
            faults.push(Fault::required(&name_path, ""));
        } else if names.contains(name) {
            faults.push(Fault::duplicate(&name_path, name));
        } else {
            faults.extend(invalid_each(&name_path, name, dns1123_label(name)));
            names.insert(name);
        }
        let sources = [
            ("resourceClaimName", claim.resource_claim_name.as_deref()),
            ("resourceClaimTemplateName", claim.resource_claim_template_name.as_deref()),
        ];
        let wrong = match sources.iter().filter(|(_, name)| name.is_some()).count() {
            0 => Some("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => None,
            _ => Some("at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"),
        };
        faults
            .extend(wrong.map(|wrong| Fault::invalid(&path, printed("core.PodResourceClaim", claim), wrong)));
        for (field, name) in sources {
            let Some(name) = name else { continue };
            faults.extend(invalid_each(&path.child(field), name, dns_subdomain(name, false)));
        }
    }
    faults
}

/// The path of faults that concern no field; upstream's empty path prints so.
pub(crate) fn nowhere() -> Path {
    Path::new("[]")
}
