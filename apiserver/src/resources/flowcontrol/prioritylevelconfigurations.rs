//! PriorityLevelConfigurations: `prioritylevelconfigurations` of `flowcontrol.apiserver.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::flowcontrol::v1::{
    ExemptPriorityLevelConfiguration, LimitResponse, LimitedPriorityLevelConfiguration,
    PriorityLevelConfiguration, PriorityLevelConfigurationSpec, QueuingConfiguration,
};

use super::{condition_faults, internal, mandatory, printed};
use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Generation, Names, Part, Strategy},
    resources::shared::{
        metadata::keep_for_status,
        optional::{Entries, Items, Text},
    },
};

const EXEMPT: &str = "exempt";
/// How versions before this one said that a level has no shares.
const ZERO_SHARES: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
const SHARES_DEFAULT: i32 = 30;
const QUEUES_DEFAULT: i32 = 64;
const HAND_SIZE_DEFAULT: i32 = 8;
const QUEUE_LENGTH_DEFAULT: i32 = 50;
const QUEUES_MAX: i32 = 10_000_000;
/// How much randomness there is to deal a hand of queues with.
const ENTROPY_BITS_MAX: i32 = 60;

/// The strategy of PriorityLevelConfigurations.
pub(crate) struct PriorityLevelConfigurations;

impl Strategy for PriorityLevelConfigurations {
    type Object = PriorityLevelConfiguration;

    const NAMES: Names = Names {
        group: "flowcontrol.apiserver.k8s.io",
        version: "v1",
        kind: "PriorityLevelConfiguration",
        plural: "prioritylevelconfigurations",
        singular: "prioritylevelconfiguration",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_CHANGE: bool = false;
    const STATUS_REJUDGES_CHANGE: bool = false;
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata"]]))];
    const GENERATION: Generation = Generation::Spec;
    const STATUS: bool = true;

    fn default(object: &mut PriorityLevelConfiguration) {
        let spec = object.spec.get_or_insert_default();
        if let Some(exempt) = &mut spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        let Some(limited) = &mut spec.limited else { return };
        limited.nominal_concurrency_shares.get_or_insert(SHARES_DEFAULT);
        limited.lendable_percent.get_or_insert(0);
        if let Some(queuing) = limited.limit_response.as_mut().and_then(|response| response.queuing.as_mut())
        {
            for (field, default) in [
                (&mut queuing.hand_size, HAND_SIZE_DEFAULT),
                (&mut queuing.queues, QUEUES_DEFAULT),
                (&mut queuing.queue_length_limit, QUEUE_LENGTH_DEFAULT),
            ] {
                if field.unwrap_or_default() == 0 {
                    *field = Some(default);
                }
            }
        }
    }

    fn validate(_cx: &Context<'_>, object: &PriorityLevelConfiguration) -> Faults {
        let empty = PriorityLevelConfigurationSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let name = object.metadata.name.text();
        let path = Path::new("spec");
        let mut faults = Vec::new();
        if object.metadata.annotations.at(ZERO_SHARES).is_some() {
            let detail = format!("annotation '{ZERO_SHARES}' is forbidden");
            faults.push(Fault::forbidden(&Path::new("metadata.annotations"), detail));
        }
        faults.extend(spec_faults(spec, name, &path));
        faults.extend(fixed_fault(spec, name, &path));
        faults.extend(status_faults(object));
        faults
    }

    fn prepare_for_status_update(
        _cx: &Context<'_>,
        object: &mut PriorityLevelConfiguration,
        old: &PriorityLevelConfiguration,
    ) {
        keep_for_status(&mut object.metadata, &old.metadata);
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &PriorityLevelConfiguration,
        _old: &PriorityLevelConfiguration,
    ) -> Faults {
        status_faults(object)
    }
}

fn status_faults(object: &PriorityLevelConfiguration) -> Faults {
    let conditions = object.status.iter().flat_map(|status| status.conditions.items());
    condition_faults(conditions.map(|condition| condition.type_.text()))
}

/// The fault of a level of the server that is not as it must be. Of the exempt one people may set its own part.
fn fixed_fault(spec: &PriorityLevelConfigurationSpec, name: &str, path: &Path) -> Option<Fault> {
    let resource = PriorityLevelConfigurations::NAMES.plural;
    let mut fixed = mandatory::<PriorityLevelConfiguration>(resource, name)?.spec?;
    let except = if name == EXEMPT {
        fixed.exempt.clone_from(&spec.exempt);
        " except the 'spec.exempt' field"
    } else {
        ""
    };
    let value = internal(&printed::level(spec));
    (value != internal(&printed::level(&fixed)))
        .then(|| Fault::invalid(path, value, format!("spec of '{name}'{except} must equal the fixed value")))
}

fn spec_faults(spec: &PriorityLevelConfigurationSpec, name: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let kind = spec.type_.as_str();
    if (name == EXEMPT) != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        faults.push(Fault::invalid(&path.child("type"), kind, detail));
    }
    let (limited_path, exempt_path) = (path.child("limited"), path.child("exempt"));
    match kind {
        "Exempt" => {
            if spec.limited.is_some() {
                let detail = "must be nil if the type is not Limited";
                faults.push(Fault::forbidden(&limited_path, detail));
            }
            faults.extend(spec.exempt.iter().flat_map(|exempt| exempt_faults(exempt, &exempt_path)));
        }
        "Limited" => {
            if spec.exempt.is_some() {
                faults.push(Fault::forbidden(&exempt_path, "must be nil if the type is Limited"));
            }
            match &spec.limited {
                Some(limited) => faults.extend(limited_faults(limited, &limited_path)),
                None => {
                    let detail = "must not be empty when type is Limited";
                    faults.push(Fault::required(&limited_path, detail));
                }
            }
        }
        _ => faults.push(Fault::not_supported(&path.child("type"), kind, &["Exempt", "Limited"])),
    }
    faults
}

fn shares_fault(shares: Option<i32>, path: &Path) -> Option<Fault> {
    let shares = shares.filter(|&shares| shares < 0)?;
    Some(Fault::invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer"))
}

fn lendable_fault(percent: Option<i32>, path: &Path) -> Option<Fault> {
    let percent = percent.filter(|percent| !(0..=100).contains(percent))?;
    Some(Fault::invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive"))
}

fn exempt_faults(exempt: &ExemptPriorityLevelConfiguration, path: &Path) -> Faults {
    let shares = shares_fault(exempt.nominal_concurrency_shares, path);
    shares.into_iter().chain(lendable_fault(exempt.lendable_percent, path)).collect()
}

fn limited_faults(limited: &LimitedPriorityLevelConfiguration, path: &Path) -> Faults {
    let mut faults = Vec::from_iter(shares_fault(limited.nominal_concurrency_shares, path));
    let empty = LimitResponse::default();
    let response = limited.limit_response.as_ref().unwrap_or(&empty);
    faults.extend(response_faults(response, &path.child("limitResponse")));
    faults.extend(lendable_fault(limited.lendable_percent, path));
    if let Some(percent) = limited.borrowing_limit_percent.filter(|&percent| percent < 0) {
        let detail = "if specified, must be a non-negative integer";
        faults.push(Fault::invalid(&path.child("borrowingLimitPercent"), percent, detail));
    }
    faults
}

fn response_faults(response: &LimitResponse, path: &Path) -> Faults {
    let queuing_path = path.child("queuing");
    match (response.type_.as_str(), &response.queuing) {
        ("Reject", None) => Vec::new(),
        ("Reject", Some(_)) => {
            let detail = "must be nil if limited.limitResponse.type is not Limited";
            vec![Fault::forbidden(&queuing_path, detail)]
        }
        ("Queue", Some(queuing)) => queuing_faults(queuing, &queuing_path),
        ("Queue", None) => {
            let detail = "must not be empty if limited.limitResponse.type is Limited";
            vec![Fault::required(&queuing_path, detail)]
        }
        (other, _) => vec![Fault::not_supported(&path.child("type"), other, &["Queue", "Reject"])],
    }
}

fn queuing_faults(queuing: &QueuingConfiguration, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let [length, queues, hand] =
        [queuing.queue_length_limit, queuing.queues, queuing.hand_size].map(Option::unwrap_or_default);
    if length <= 0 {
        faults.push(Fault::invalid(&path.child("queueLengthLimit"), length, "must be positive"));
    }
    if queues <= 0 {
        faults.push(Fault::invalid(&path.child("queues"), queues, "must be positive"));
    } else if queues > QUEUES_MAX {
        let detail = format!("must not be greater than {QUEUES_MAX}");
        faults.push(Fault::invalid(&path.child("queues"), queues, detail));
    }
    // Each queue of the hand is dealt from all queues.
    let entropy = f64::from(queues).log2() * f64::from(hand);
    let wrong = if hand <= 0 {
        "must be positive".to_owned()
    } else if hand > queues {
        format!("should not be greater than queues ({queues})")
    } else if entropy > f64::from(ENTROPY_BITS_MAX) {
        format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {ENTROPY_BITS_MAX}"
        )
    } else {
        return faults;
    };
    faults.push(Fault::invalid(&path.child("handSize"), hand, wrong));
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::PriorityLevelConfigurations;
    use crate::resources::shared::testing::{check_create, check_status_update, created};

    fn level(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": spec})
    }

    fn queuing(queuing: Value) -> Value {
        level(
            "l",
            json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}}),
        )
    }

    #[test]
    fn a_level_is_completed() {
        assert_eq!(
            created::<PriorityLevelConfigurations>(queuing(json!({}))).get("spec"),
            Some(
                &json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 30, "lendablePercent": 0,
                "limitResponse": {"type": "Queue", "queuing": {"queues": 64, "handSize": 8, "queueLengthLimit": 50}}}})
            )
        );
        assert_eq!(
            created::<PriorityLevelConfigurations>(level("exempt", json!({"type": "Exempt", "exempt": {}})))
                .get("spec"),
            Some(&json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}))
        );
    }

    #[test]
    fn a_level_is_limited_and_says_what_becomes_of_the_rest() {
        let mut annotated = queuing(json!({}));
        annotated["metadata"]["annotations"] =
            json!({"flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares": ""});
        for (object, faults) in [
            (queuing(json!({})), vec![]),
            (
                annotated,
                vec![
                    "metadata.annotations: Forbidden: annotation 'flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares' is forbidden",
                ],
            ),
            (
                level("l", json!({"type": "Exempt", "limited": {}})),
                vec![
                    r#"spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `name` is 'exempt'"#,
                    "spec.limited: Forbidden: must be nil if the type is not Limited",
                ],
            ),
            (
                level("l", json!({"type": "Odd"})),
                vec![r#"spec.type: Unsupported value: "Odd": supported values: "Exempt", "Limited""#],
            ),
            (
                level("l", json!({"type": "Limited", "exempt": {}})),
                vec![
                    "spec.exempt: Forbidden: must be nil if the type is Limited",
                    "spec.limited: Required value: must not be empty when type is Limited",
                ],
            ),
            (
                level(
                    "l",
                    json!({"type": "Limited", "limited": {"nominalConcurrencyShares": -1, "lendablePercent": 101,
                        "borrowingLimitPercent": -1, "limitResponse": {"type": "Reject", "queuing": {}}}}),
                ),
                vec![
                    "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                    "spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited",
                    "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                    "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
                ],
            ),
            (
                level("l", json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}})),
                vec![
                    "spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited",
                ],
            ),
            (
                level("l", json!({"type": "Limited", "limited": {}})),
                vec![
                    r#"spec.limited.limitResponse.type: Unsupported value: "": supported values: "Queue", "Reject""#,
                ],
            ),
            (
                queuing(json!({"queues": -1, "handSize": -1, "queueLengthLimit": -1})),
                vec![
                    "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
                    "spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive",
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive",
                ],
            ),
            (
                queuing(json!({"queues": 4})),
                vec![
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)",
                ],
            ),
            (queuing(json!({"queues": 64, "handSize": 10})), vec![]),
            (
                queuing(json!({"queues": 64, "handSize": 11})),
                vec![
                    "spec.limited.limitResponse.queuing.handSize: Invalid value: 11: required entropy bits of deckSize 64 and handSize 11 should not be greater than 60",
                ],
            ),
            (
                queuing(json!({"queues": 10_000_001, "handSize": 1})),
                vec![
                    "spec.limited.limitResponse.queuing.queues: Invalid value: 10000001: must not be greater than 10000000",
                ],
            ),
        ] {
            assert_eq!(check_create::<PriorityLevelConfigurations>(object), faults);
        }
    }

    #[test]
    fn the_levels_of_the_server_are_fixed_but_for_what_exempt_requests_lend() {
        let exempt = |shares: i32| json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": shares}});
        assert_eq!(check_create::<PriorityLevelConfigurations>(level("exempt", exempt(7))), [""; 0]);
        assert_eq!(
            check_create::<PriorityLevelConfigurations>(level("catch-all", exempt(7))),
            [
                r#"spec.type: Invalid value: "Exempt": must be 'Exempt' if and only if `name` is 'exempt'"#,
                r#"spec: Invalid value: {"Type":"Exempt","Limited":null,"Exempt":{"NominalConcurrencyShares":7,"LendablePercent":0}}: spec of 'catch-all' must equal the fixed value"#,
            ]
        );
        assert_eq!(
            check_create::<PriorityLevelConfigurations>(level(
                "exempt",
                json!({"type": "Exempt", "limited": {"limitResponse": {"type": "Reject"}}})
            )),
            [
                "spec.limited: Forbidden: must be nil if the type is not Limited",
                r#"spec: Invalid value: {"Type":"Exempt","Limited":{"NominalConcurrencyShares":30,"LimitResponse":{"Type":"Reject","Queuing":null},"LendablePercent":0,"BorrowingLimitPercent":null},"Exempt":null}: spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"#,
            ]
        );
    }

    #[test]
    fn conditions_have_types() {
        let object = level("l", json!({"type": "Limited"}));
        let mut new = object.clone();
        new["status"] = json!({"conditions": [{}]});
        assert_eq!(
            check_status_update::<PriorityLevelConfigurations>(new, object),
            ["status.conditions[0].type: Required value"]
        );
    }
}
