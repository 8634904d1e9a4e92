//! CertificateSigningRequests: `certificatesigningrequests` of `certificates.k8s.io/v1`.
//!
//! What is asked for, and by whom, never changes. Who may approve writes `approval`, who signs writes `status`, and
//! neither writes what is the other's.

mod encoded;

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path, go_quote};
use jiff::Timestamp;
use k8s_openapi::{
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};

use self::encoded::{certificate_fault, request_fault};
pub(crate) use self::encoded::{common_name, organizations};
use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Names, Part, SelectableField, Strategy, Subresource},
    resources::shared::{
        names::path_segment,
        optional::{Items, same},
        signers::signer_name,
    },
};

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";
/// Requests of the beta version without a signer got this one.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const EXPIRATION_SECONDS_MIN: i32 = 600;
/// Sorted as they are listed in faults.
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// The strategy of CertificateSigningRequests.
pub(crate) struct CertificateSigningRequests;

/// Through which door a change comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Main,
    Approval,
    Status,
}

impl Strategy for CertificateSigningRequests {
    type Object = CertificateSigningRequest;

    const NAMES: Names = Names {
        group: "certificates.k8s.io",
        version: "v1",
        kind: "CertificateSigningRequest",
        plural: "certificatesigningrequests",
        singular: "certificatesigningrequest",
        short: &["csr"],
        categories: &[],
        namespaced: false,
    };
    const RESETS: &'static [(Part, Reset<'static>)] = &[
        (Part::Main, Reset::Fields(&[&["spec"], &["status"]])),
        (Part::Status, Reset::Fields(&[&["spec"], &["status", "conditions"]])),
        (Part::Sub("approval"), Reset::Fields(&[&["spec"], &["status", "certificate"]])),
    ];
    const STATUS: bool = true;
    const CHANGE_COMES_LAST: bool = true;
    const STATUS_REJUDGES_METADATA: bool = true;
    const SUBRESOURCES: &'static [Subresource<CertificateSigningRequest>] =
        &[Subresource { name: "approval", prepare: prepare_for_approval, validate: approval_faults }];
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField { label: "spec.signerName", path: "spec.signerName", absent: "" }];

    fn name_faults(name: &str, prefix: bool) -> Vec<String> {
        path_segment(name, prefix)
    }

    fn prepare_for_create(cx: &Context<'_>, object: &mut CertificateSigningRequest) {
        let (spec, user) = (&mut object.spec, cx.user);
        spec.username = Some(user.name.clone());
        spec.uid = Some(user.uid.clone());
        spec.groups = Some(user.groups.clone());
        spec.extra = (!user.extra.is_empty()).then(|| user.extra.clone());
        object.status = None;
    }

    fn validate(_cx: &Context<'_>, object: &CertificateSigningRequest) -> Faults {
        faults(object, None)
    }

    fn prepare_for_update(
        _cx: &Context<'_>,
        object: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        object.spec = old.spec.clone();
    }

    fn validate_update(
        _cx: &Context<'_>,
        object: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> Faults {
        change_faults(object, old, Door::Main)
    }

    fn prepare_for_status_update(
        cx: &Context<'_>,
        object: &mut CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) {
        for kind in [APPROVED, DENIED] {
            keep_conditions(object, old, kind);
        }
        date_conditions(object, old, cx.now);
    }

    fn validate_status_update(
        _cx: &Context<'_>,
        object: &CertificateSigningRequest,
        old: &CertificateSigningRequest,
    ) -> Faults {
        change_faults(object, old, Door::Status)
    }
}

fn prepare_for_approval(
    cx: &Context<'_>,
    object: &mut CertificateSigningRequest,
    old: &CertificateSigningRequest,
) {
    date_conditions(object, old, cx.now);
    let conditions = object.status.take().and_then(|status| status.conditions);
    object.spec = old.spec.clone();
    object.status = old.status.clone();
    object.status.get_or_insert_default().conditions = conditions;
}

fn approval_faults(
    _cx: &Context<'_>,
    object: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
) -> Faults {
    change_faults(object, old, Door::Approval)
}

/// Whoever writes a status may send approvals back as they were read, even by an older client that knows fewer fields.
fn keep_conditions(object: &mut CertificateSigningRequest, old: &CertificateSigningRequest, kind: &str) {
    let Some(conditions) = object.status.as_mut().and_then(|status| status.conditions.as_mut()) else {
        return;
    };
    let kept = of_type(old, kind);
    if conditions.iter().filter(|condition| condition.type_ == kind).count() == kept.len() {
        let places = conditions.iter_mut().filter(|condition| condition.type_ == kind);
        for (condition, old) in places.zip(kept) {
            *condition = old.clone();
        }
    }
}

/// Says since when conditions are what they are, where the writer did not.
fn date_conditions(object: &mut CertificateSigningRequest, old: &CertificateSigningRequest, now: Timestamp) {
    let Some(status) = &mut object.status else { return };
    for condition in status.conditions.items_mut() {
        condition.last_update_time.get_or_insert(Time(now));
        if condition.last_transition_time.is_none() {
            let unchanged = conditions(old)
                .iter()
                .filter(|old| old.type_ == condition.type_ && old.status == condition.status)
                .find_map(|old| old.last_transition_time.clone());
            condition.last_transition_time = Some(unchanged.unwrap_or(Time(now)));
        }
    }
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().map(|status| status.conditions.items()).unwrap_or_default()
}

fn of_type<'a>(
    request: &'a CertificateSigningRequest,
    kind: &str,
) -> Vec<&'a CertificateSigningRequestCondition> {
    conditions(request).iter().filter(|condition| condition.type_ == kind).collect()
}

fn certificate(request: &CertificateSigningRequest) -> &[u8] {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.map(|certificate| certificate.0.as_slice()).unwrap_or_default()
}

/// What is wrong with a request. What was wrong with the old one already may be wrong still.
fn faults(request: &CertificateSigningRequest, old: Option<&CertificateSigningRequest>) -> Faults {
    let spec = &request.spec;
    let path = Path::new("spec");
    let mut faults = Vec::new();
    if let Some(detail) = request_fault(&spec.request.0) {
        let value = if spec.request.0.is_empty() {
            BadValue::Json(serde_json::Value::Null)
        } else {
            BadValue::json(&spec.request)
        };
        faults.push(Fault::invalid(&path.child("request"), value, detail));
    }
    faults.extend(usage_faults(
        spec.usages.items(),
        old.map(|old| old.spec.usages.items()),
        &path.child("usages"),
    ));
    let signer_path = path.child("signerName");
    if spec.signer_name == LEGACY_SIGNER && old.is_none_or(|old| old.spec.signer_name != LEGACY_SIGNER) {
        let detail = "the legacy signerName is not allowed via this API version";
        faults.push(Fault::invalid(&signer_path, &spec.signer_name, detail));
    } else {
        faults.extend(signer_name(&signer_path, &spec.signer_name));
    }
    if let Some(seconds) = spec.expiration_seconds.filter(|&seconds| seconds < EXPIRATION_SECONDS_MIN) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        faults.push(Fault::invalid(&path.child("expirationSeconds"), seconds, detail));
    }
    let path = Path::new("status");
    faults.extend(condition_faults(conditions(request), old.map(conditions), &path.child("conditions")));
    let known = old.is_some_and(|old| {
        certificate(old) == certificate(request) || certificate_fault(certificate(old)).is_some()
    });
    if let Some(detail) = certificate_fault(certificate(request)).filter(|_| !known) {
        faults.push(Fault::invalid(&path.child("certificate"), "<certificate data>", detail));
    }
    faults
}

fn usage_faults(usages: &[String], old: Option<&[String]>, path: &Path) -> Faults {
    let is_unknown = |usage: &String| !USAGES.contains(&usage.as_str());
    let has_duplicates = |usages: &[String]| usages.iter().collect::<BTreeSet<_>>().len() < usages.len();
    let mut faults = Vec::new();
    if usages.is_empty() {
        faults.push(Fault::required(path, ""));
    }
    if !old.is_some_and(|old| old.iter().any(is_unknown)) {
        for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| is_unknown(usage)) {
            faults.push(Fault::not_supported(&path.index(index), usage, USAGES));
        }
    }
    if !old.is_some_and(has_duplicates) {
        let mut seen = BTreeSet::new();
        for (index, usage) in usages.iter().enumerate() {
            if !seen.insert(usage) {
                faults.push(Fault::duplicate(&path.index(index), usage));
            }
        }
    }
    faults
}

fn condition_faults(
    conditions: &[CertificateSigningRequestCondition],
    old: Option<&[CertificateSigningRequestCondition]>,
    path: &Path,
) -> Faults {
    let old = old.unwrap_or_default();
    let had = |kind: &str| old.iter().any(|condition| condition.type_ == kind);
    let (had_both, had_empty) = (had(APPROVED) && had(DENIED), had(""));
    let had_duplicates =
        old.iter().map(|condition| &condition.type_).collect::<BTreeSet<_>>().len() < old.len();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let (kind, status) = (condition.type_.as_str(), condition.status.as_str());
        let item = path.index(index);
        if kind.is_empty() && !had_empty {
            faults.push(Fault::required(&item.child("type"), ""));
        }
        let statuses: &[&str] = match kind {
            APPROVED | DENIED | FAILED => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        if status.is_empty() {
            faults.push(Fault::required(&item.child("status"), ""));
        } else if !statuses.contains(&status) {
            faults.push(Fault::not_supported(&item.child("status"), status, statuses));
        }
        let opposite = match kind {
            APPROVED => DENIED,
            DENIED => APPROVED,
            // No condition that was seen is both of a type and without one.
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(opposite) && !had_both {
            let detail = "Approved and Denied conditions are mutually exclusive";
            faults.push(Fault::invalid(path, kind, detail));
        }
        if !seen.insert(kind) && !had_duplicates {
            faults.push(Fault::duplicate(&item.child("type"), kind));
        }
    }
    faults
}

fn change_faults(new: &CertificateSigningRequest, old: &CertificateSigningRequest, door: Door) -> Faults {
    let path = Path::new("status");
    let conditions_path = path.child("conditions");
    let mut faults = faults(new, Some(old));
    for kind in [APPROVED, DENIED, FAILED] {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            let detail = format!("updates may not remove a condition of type {}", go_quote(kind));
            faults.push(Fault::forbidden(&conditions_path, detail));
        }
    }
    if door != Door::Approval {
        for kind in [APPROVED, DENIED] {
            let (new, old) = (of_type(new, kind), of_type(old, kind));
            let kind = go_quote(kind);
            if new.len() > old.len() {
                let detail = format!("updates may not add a condition of type {kind}");
                faults.push(Fault::forbidden(&conditions_path, detail));
            } else if new.len() == old.len() && !same(&new, &old) {
                let json = |conditions| serde_json::to_string(conditions).unwrap_or_default();
                let detail = format!(
                    "updates may not modify a condition of type {kind}\n- {}\n+ {}",
                    json(&old),
                    json(&new)
                );
                faults.push(Fault::forbidden(&conditions_path, detail));
            }
        }
    }
    if certificate(new) != certificate(old) {
        let path = path.child("certificate");
        if door != Door::Status {
            faults.push(Fault::forbidden(&path, "updates may not set certificate content"));
        } else if !certificate(old).is_empty() {
            faults.push(Fault::forbidden(&path, "updates may not modify existing certificate content"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use api_types::typed::Typed;
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        authn::user::User,
        resources::shared::testing::{check_create, check_status_update, updated, with_context, with_user},
    };

    const TIME: &str = "2024-01-01T00:00:00Z";

    fn encoded() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let request =
            rcgen::CertificateParams::new(["a".to_owned()]).unwrap().serialize_request(&key).unwrap();
        STANDARD.encode(request.pem().unwrap())
    }

    fn request(conditions: Value) -> Value {
        json!({"spec": {"request": encoded(), "signerName": "example.com/s", "usages": ["client auth"]},
            "status": {"conditions": conditions}})
    }

    fn with_conditions(mut request: Value, conditions: Value) -> Value {
        request["status"]["conditions"] = conditions;
        request
    }

    fn approval(new: Value, old: &Value) -> (Value, Vec<String>) {
        with_context(|cx| {
            let old = CertificateSigningRequest::from_value(old).unwrap();
            let mut new = CertificateSigningRequest::from_value(&new).unwrap();
            prepare_for_approval(cx, &mut new, &old);
            let faults = approval_faults(cx, &new, &old).iter().map(ToString::to_string).collect();
            (new.to_value(), faults)
        })
    }

    #[test]
    fn a_request_is_made_in_the_name_of_its_writer() {
        let user = User { name: "u".to_owned(), groups: vec!["g".to_owned()], ..User::default() };
        let mut object = CertificateSigningRequest::from_value(&request(json!([]))).unwrap();
        object.spec.username = Some("other".to_owned());
        object.spec.extra = Some([("a".to_owned(), vec![])].into());
        with_user(&user, |cx| CertificateSigningRequests::prepare_for_create(cx, &mut object));
        assert_eq!(object.spec.username.as_deref(), Some("u"));
        assert_eq!(object.spec.groups, Some(vec!["g".to_owned()]));
        assert_eq!((object.spec.extra, object.status), (None, None));
    }

    #[test]
    fn a_request_is_signed_by_the_key_it_is_for_and_says_what_for() {
        let not_supported = USAGES.iter().map(|usage| format!("{usage:?}")).collect::<Vec<_>>().join(", ");
        for (change, faults) in [
            (json!({}), vec![]),
            (
                json!({"request": "", "usages": [], "signerName": "nodomain"}),
                vec![
                    "spec.request: Invalid value: null: PEM block type must be CERTIFICATE REQUEST".to_owned(),
                    "spec.usages: Required value".to_owned(),
                    r#"spec.signerName: Invalid value: "nodomain": must be a fully qualified domain and path of the form 'example.com/signer-name'"#.to_owned(),
                ],
            ),
            (
                json!({"request": "eA==", "usages": ["x", "any", "any"], "signerName": "kubernetes.io/legacy-unknown", "expirationSeconds": 599}),
                vec![
                    r#"spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST"#.to_owned(),
                    format!(r#"spec.usages[0]: Unsupported value: "x": supported values: {not_supported}"#),
                    r#"spec.usages[2]: Duplicate value: "any""#.to_owned(),
                    r#"spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version"#.to_owned(),
                    "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)".to_owned(),
                ],
            ),
        ] {
            let mut object = request(json!([]));
            if let (Value::Object(spec), Value::Object(change)) = (&mut object["spec"], change) {
                spec.extend(change);
            }
            assert_eq!(check_create::<CertificateSigningRequests>(object), faults);
        }
    }

    #[test]
    fn what_is_asked_for_stays() {
        let old = request(json!([]));
        let mut new = old.clone();
        new["spec"]["usages"] = json!(["any"]);
        let new = updated::<CertificateSigningRequests>(new, old.clone());
        assert_eq!(new.get("spec"), old.get("spec"));
    }

    #[test]
    fn approval_writes_conditions_and_dates_them() {
        let old = request(json!([]));
        let mut new = with_conditions(old.clone(), json!([{"type": "Approved", "status": "True"}]));
        new["status"]["certificate"] = json!("eA==");
        let (new, faults) = approval(new, &old);
        assert_eq!(faults, [""; 0]);
        let now = "2023-11-14T22:13:20Z";
        assert_eq!(
            new.get("status"),
            Some(&json!({"conditions": [{"type": "Approved", "status": "True",
                "lastUpdateTime": now, "lastTransitionTime": now}]}))
        );
        let approved = with_conditions(
            old,
            json!([{"type": "Approved", "status": "True", "lastUpdateTime": TIME, "lastTransitionTime": TIME}]),
        );
        let again = with_conditions(approved.clone(), json!([{"type": "Approved", "status": "True"}]));
        assert_eq!(
            approval(again, &approved).0.pointer("/status/conditions/0/lastTransitionTime"),
            Some(&json!(TIME))
        );
        for (conditions, expected) in [
            (
                json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]),
                vec![
                    r#"status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#,
                ],
            ),
            (
                json!([]),
                vec![
                    r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#,
                ],
            ),
            (
                json!([{"type": "Approved", "status": "False"}, {"type": "", "status": ""}, {"type": "X", "status": "Y"}, {"type": "X", "status": "True"}]),
                vec![
                    r#"status.conditions[0].status: Unsupported value: "False": supported values: "True""#,
                    "status.conditions[1].type: Required value",
                    "status.conditions[1].status: Required value",
                    r#"status.conditions[2].status: Unsupported value: "Y": supported values: "False", "True", "Unknown""#,
                    r#"status.conditions[3].type: Duplicate value: "X""#,
                ],
            ),
        ] {
            assert_eq!(approval(with_conditions(approved.clone(), conditions), &approved).1, expected);
        }
    }

    #[test]
    fn a_status_brings_the_certificate_and_no_approval() {
        let made = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let certificate = STANDARD.encode(made.cert.pem());
        let old = request(json!([]));
        let mut signed = old.clone();
        signed["status"]["certificate"] = json!(certificate);
        let check = check_status_update::<CertificateSigningRequests>;
        assert_eq!(check(signed.clone(), old.clone()), [""; 0]);
        let mut resigned = signed.clone();
        resigned["status"]["certificate"] = json!("eA==");
        assert_eq!(
            check(resigned, signed),
            [
                r#"status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block"#,
                "status.certificate: Forbidden: updates may not modify existing certificate content",
            ]
        );
        let approved = with_conditions(
            old.clone(),
            json!([{"type": "Approved", "status": "True", "lastUpdateTime": TIME, "lastTransitionTime": TIME}]),
        );
        assert_eq!(
            check(approved.clone(), old),
            [r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#]
        );
        let other =
            with_conditions(approved.clone(), json!([{"type": "Approved", "status": "True", "reason": "R"}]));
        assert_eq!(check(other, approved), [""; 0]);
    }
}
