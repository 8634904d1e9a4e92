//! `CertificateSigning`: who writes the certificate or the conditions of a certificate signing request must be trusted
//! to sign for its signer.

use std::sync::Weak;

use api_types::{field::go_quote, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin, signers};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct CertificateSigning(pub(super) Weak<Server>);

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(self.check(attributes)))
    }
}

impl CertificateSigning {
    fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Update
            || !attributes.is(signers::GROUP, "certificatesigningrequests", "status")
            || !is_signed(&attributes.object, &attributes.old)
        {
            return Ok(());
        }
        let signer = attributes.old.pointer("/spec/signerName").and_then(Value::as_str).unwrap_or_default();
        if signers::may(&self.0, &attributes.user, "sign", signer) {
            return Ok(());
        }
        let signer = go_quote(signer);
        Err(attributes.forbidden(format!("user not permitted to sign requests with signerName {signer}")))
    }
}

/// Whether a write of the status says something about the certificate.
fn is_signed(new: &Value, old: &Value) -> bool {
    ["/status/certificate", "/status/conditions"].iter().any(|path| new.pointer(path) != old.pointer(path))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_certificate_and_conditions_are_the_signers_own() {
        let old = json!({"metadata": {"labels": {"a": "b"}}, "status": {"conditions": []}});
        assert!(!is_signed(&json!({"status": {"conditions": []}}), &old));
        assert!(is_signed(&json!({"status": {"conditions": [], "certificate": "eA=="}}), &old));
        assert!(is_signed(&json!({"status": {"conditions": [{}]}}), &old));
    }
}
