//! CertificateSigningRequest signing: an approved request for a client or a kubelet gets its certificate, signed by the
//! cluster's authority.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use client::{
    Caches, Controller, Key, Kind, Plan, Triggers, controller::Request,
    resource::CERTIFICATE_SIGNING_REQUESTS,
};
use jiff::Timestamp;
use serde_json::json;

use crate::{
    certificates::{Asked, Signer},
    conditions::{self, Condition},
    kinds::CertificateSigningRequest,
};

/// Signs requests.
#[derive(Debug)]
pub struct CsrSigning {
    /// By whom.
    pub signer: Arc<Signer>,
}

impl Controller for CsrSigning {
    type Root = CertificateSigningRequest;
    type Observed = Arc<CertificateSigningRequest>;
    const NAME: &'static str = "csrsigning";

    fn triggers(&self, on: &mut Triggers<CertificateSigningRequest>) {
        on.root();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Self::Observed> {
        caches.read::<CertificateSigningRequest>().get(root)
    }

    fn reconcile(&self, request: &Self::Observed, now: Timestamp) -> Plan {
        let (spec, status) = (&request.spec, &request.status);
        let is = |which| conditions::is_true(&status.conditions, which);
        if !status.certificate.is_empty() || !is("Approved") || is("Denied") || is("Failed") {
            return Plan::because("the request is answered, or nobody has approved it");
        }
        let asked = match Asked::read(&request.request()) {
            Ok(asked) => asked,
            Err(error) => return Plan::because(format!("the request cannot be read: {error}")),
        };
        let Some(fault) = fault(&spec.signer_name, &asked, &spec.usages) else {
            return Plan::because("the request is for somebody else to sign");
        };
        let tell = |status| {
            Request::status(CERTIFICATE_SIGNING_REQUESTS, request.key(), status)
                .if_unchanged(&request.metadata)
        };
        if let Some(fault) = fault {
            let mut all = status.conditions.clone();
            let failed = Condition::new("Failed", "True", "SignerValidationFailure", fault, now);
            all.push(Condition { last_update_time: Some(now), ..failed });
            return Plan::because("the request is not one that its signer signs")
                .then(tell(json!({"conditions": conditions::to_value(&all)})));
        }
        let identity = &request.metadata.uid;
        match self.signer.sign(&asked, &spec.usages, spec.expiration_seconds, identity, now) {
            Ok(certificate) => Plan::because("the request is approved, and not signed yet")
                .then(tell(json!({"certificate": STANDARD.encode(certificate)}))),
            Err(error) => Plan::because(format!("the request cannot be signed: {error}")),
        }
    }
}

/// Why a signer does not sign a request, if it does not; `None` if it is not one of ours.
fn fault(signer: &str, asked: &Asked, usages: &[Box<str>]) -> Option<Option<String>> {
    let set = usages.iter().map(|it| &**it).collect();
    match signer {
        "kubernetes.io/kubelet-serving" => Some(asked.kubelet_serving_fault(&set)),
        "kubernetes.io/kube-apiserver-client-kubelet" => Some(asked.kubelet_client_fault(&set)),
        "kubernetes.io/kube-apiserver-client" => Some(client_fault(usages)),
        "kubernetes.io/legacy-unknown" => Some(None),
        _ => None,
    }
}

fn client_fault(usages: &[Box<str>]) -> Option<String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    match usages.iter().find(|usage| !allowed.contains(&&***usage)) {
        Some(other) => Some(format!("invalid usage for client certificate: {other}")),
        None if usages.iter().any(|usage| &**usage == "client auth") => None,
        None => Some("missing required usage for client certificate: client auth".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb};
    use serde_json::Value;

    use super::*;
    use crate::certificates::tests::{authority, request};

    fn look(signer_name: &str, usages: &[&str], conditions: &[&str]) -> Value {
        let pem = request("system:masters", "jane", &[]);
        let conditions: Vec<Value> =
            conditions.iter().map(|it| json!({"type": it, "status": "True"})).collect();
        let csr = json!({"metadata": {"name": "a", "uid": "u"}, "status": {"conditions": conditions},
            "spec": {"request": STANDARD.encode(pem), "signerName": signer_name, "usages": usages}});
        let csr: Arc<CertificateSigningRequest> = Arc::new(serde_json::from_value(csr).unwrap());
        let plan = CsrSigning { signer: Arc::new(authority().0) }
            .reconcile(&csr, "2026-01-01T00:00:00Z".parse().unwrap());
        match plan.writes.as_slice() {
            [] => json!(plan.why.to_string()),
            [Write::Request(request)] => match &request.verb {
                Verb::Merge(document) => document["status"].clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_approved_request_is_signed_or_fails() {
        let signed = look("kubernetes.io/kube-apiserver-client", &["client auth"], &["Approved"]);
        let certificate = STANDARD.decode(signed["certificate"].as_str().unwrap()).unwrap();
        assert!(certificate.starts_with(b"-----BEGIN CERTIFICATE-----\n"));
        assert_eq!(
            look("kubernetes.io/kube-apiserver-client", &["client auth"], &[]),
            "the request is answered, or nobody has approved it"
        );
        assert_eq!(
            look("example.com/other", &["client auth"], &["Approved"]),
            "the request is for somebody else to sign"
        );
        for (signer, usages, message) in [
            (
                "kubernetes.io/kube-apiserver-client",
                vec!["server auth"],
                "invalid usage for client certificate: server auth",
            ),
            (
                "kubernetes.io/kube-apiserver-client",
                vec!["digital signature"],
                "missing required usage for client certificate: client auth",
            ),
            (
                "kubernetes.io/kube-apiserver-client-kubelet",
                vec!["client auth"],
                "subject organization is not system:nodes",
            ),
        ] {
            let status = look(signer, &usages, &["Approved"]);
            assert_eq!(status["conditions"][1]["reason"], "SignerValidationFailure");
            assert_eq!(status["conditions"][1]["message"], message);
        }
    }
}
