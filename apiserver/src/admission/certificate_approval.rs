//! `CertificateApproval`: who approves or denies a certificate signing request must be trusted to approve for its
//! signer.

use std::sync::Weak;

use api_types::{field::go_quote, status::Status};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin, signers};
use crate::server::Server;

/// The plugin.
#[derive(Debug)]
pub(super) struct CertificateApproval(pub(super) Weak<Server>);

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(self.check(attributes)))
    }
}

impl CertificateApproval {
    fn check(&self, attributes: &Attributes) -> Result<(), Status> {
        if attributes.operation != Operation::Update
            || !attributes.is(signers::GROUP, "certificatesigningrequests", "approval")
        {
            return Ok(());
        }
        // The signer of the request as it was: a write that changes it too is no way around.
        let signer = attributes.old.pointer("/spec/signerName").and_then(Value::as_str).unwrap_or_default();
        if signers::may(&self.0, &attributes.user, "approve", signer) {
            return Ok(());
        }
        let signer = go_quote(signer);
        Err(attributes.forbidden(format!("user not permitted to approve requests with signerName {signer}")))
    }
}
