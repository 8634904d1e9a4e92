//! Certificate signing requests.

use jiff::SignedDuration;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequestSpec, CertificateSigningRequestStatus};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, of, text},
    human::human_duration,
    read::{self, ObjectExt as _, age, at, list, text_or},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "certificatesigningrequests").then_some(&CERTIFICATE_SIGNING_REQUESTS)
}

static CERTIFICATE_SIGNING_REQUESTS: TableDef = TableDef::new(
    &[
        NAME,
        AGE,
        text("SignerName", of::<CertificateSigningRequestSpec>("signerName")),
        text("Requestor", of::<CertificateSigningRequestSpec>("request")),
        text("RequestedDuration", of::<CertificateSigningRequestSpec>("expirationSeconds")),
        text("Condition", of::<CertificateSigningRequestStatus>("conditions")),
    ],
    |request, now| {
        let duration = match at(request, "spec.expirationSeconds").as_i64() {
            None => "<none>".to_owned(),
            Some(seconds) => human_duration(SignedDuration::from_secs(seconds)),
        };
        vec![
            request.name().into(),
            age(request, now),
            text_or(request, "spec.signerName", "<none>").into(),
            read::text(request, "spec.username").into(),
            duration.into(),
            state(request).into(),
        ]
    },
);

fn state(request: &Value) -> String {
    let has = |kind: &str| {
        list(request, "status.conditions").iter().any(|condition| read::text(condition, "type") == kind)
    };
    let mut state = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !read::text(request, "status.certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}
