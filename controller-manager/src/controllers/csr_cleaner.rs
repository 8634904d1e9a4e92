//! CertificateSigningRequest cleaner: requests go when nobody needs them any more: an hour after they were answered, a day
//! after they were made or approved if nobody answers, and when their certificate is no longer valid.

use std::sync::Arc;

use client::{
    Caches, Controller, Key, Plan, Triggers, controller::Request, resource::CERTIFICATE_SIGNING_REQUESTS,
};
use jiff::{SignedDuration, Timestamp};
use x509_parser::{
    pem::parse_x509_pem,
    prelude::{FromDer, X509Certificate},
};

use crate::kinds::CertificateSigningRequest;

const ANSWERED: SignedDuration = SignedDuration::from_hours(1);
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Removes requests.
#[derive(Debug)]
pub struct CsrCleaner;

impl Controller for CsrCleaner {
    type Root = CertificateSigningRequest;
    type Observed = Arc<CertificateSigningRequest>;
    const NAME: &'static str = "csrcleaner";

    fn triggers(&self, on: &mut Triggers<CertificateSigningRequest>) {
        on.root();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Self::Observed> {
        caches.read::<CertificateSigningRequest>().get(root)
    }

    fn reconcile(&self, request: &Self::Observed, now: Timestamp) -> Plan {
        let Some((due, why)) = due(request) else {
            return Plan::because("nobody knows when it was answered");
        };
        // An hour old is not older than an hour.
        if now <= due {
            let next = due.checked_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
            return Plan::because("somebody may still need the request").look_again_at(next, now);
        }
        Plan::because(why).then(Request::delete(CERTIFICATE_SIGNING_REQUESTS, &request.metadata))
    }
}

/// When a request goes, and why.
fn due(request: &CertificateSigningRequest) -> Option<(Timestamp, &'static str)> {
    let after = |at: Option<Timestamp>, long: SignedDuration, why| Some((at?.checked_add(long).ok()?, why));
    let conditions = &request.status.conditions;
    if conditions.is_empty() {
        return after(request.metadata.creation_timestamp, PENDING, "nobody answered the request");
    }
    let issued = !request.status.certificate.is_empty();
    let dues = conditions.iter().filter_map(|condition| {
        let at = condition.last_update_time;
        match &*condition.r#type {
            "Denied" => after(at, ANSWERED, "the request was denied a while ago"),
            "Failed" => after(at, ANSWERED, "the request failed a while ago"),
            "Approved" if issued => {
                let answered = after(at, ANSWERED, "the certificate was there long enough to be fetched");
                let expired = expiry(request).map(|at| (at, "the certificate is no longer valid"));
                answered.into_iter().chain(expired).min_by_key(|(at, _)| *at)
            }
            "Approved" => after(at, PENDING, "nobody signed the request"),
            _ => None,
        }
    });
    dues.min_by_key(|(at, _)| *at)
}

/// Until when a certificate is valid.
fn expiry(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let pem = request.certificate();
    let (_, block) = parse_x509_pem(&pem).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_request_goes_when_nobody_needs_it() {
        let at = "2026-01-01T00:00:00Z";
        let condition = |kind: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": at}]);
        for (name, conditions, certificate, hours) in [
            ("pending", json!([]), Value::Null, 24),
            ("denied", condition("Denied"), Value::Null, 1),
            ("failed", condition("Failed"), Value::Null, 1),
            ("approved", condition("Approved"), Value::Null, 24),
            ("issued", condition("Approved"), json!("Zm9v"), 1),
        ] {
            let request = json!({"metadata": {"name": "a", "creationTimestamp": at}, "status": {"conditions": conditions, "certificate": certificate.as_str().unwrap_or_default()}});
            let request: Arc<CertificateSigningRequest> = Arc::new(serde_json::from_value(request).unwrap());
            let look = |seconds: i64| {
                let now = at.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds);
                CsrCleaner.reconcile(&request, now).writes.len()
            };
            assert_eq!((look(hours * 3600), look(hours * 3600 + 1)), (0, 1), "{name}");
        }
    }
}
