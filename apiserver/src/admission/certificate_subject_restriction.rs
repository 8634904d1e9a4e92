//! `CertificateSubjectRestriction`: nobody becomes an administrator by a client certificate of the API server's own
//! signer.

use api_types::status::Status;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Attributes, Operation, Plugin, signers};
use crate::{authn::user::MASTERS, resources::certificates::certificatesigningrequests::organizations};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// The plugin.
#[derive(Debug)]
pub(super) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(std::future::ready(check(attributes)))
    }
}

fn check(attributes: &Attributes) -> Result<(), Status> {
    if attributes.operation != Operation::Create
        || !attributes.is(signers::GROUP, "certificatesigningrequests", "")
    {
        return Ok(());
    }
    let field = |path: &str| attributes.object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if field("/spec/signerName") != SIGNER {
        return Ok(());
    }
    let named = STANDARD
        .decode(field("/spec/request"))
        .map_err(|error| error.to_string())
        .and_then(|pem| organizations(&pem))
        .map_err(|why| attributes.forbidden(format!("failed to parse CSR: {why}")))?;
    if named.iter().any(|it| it == MASTERS) {
        return Err(
            attributes.forbidden(format!("use of {SIGNER} signer with {MASTERS} group is not allowed"))
        );
    }
    Ok(())
}
