//! A CertificateSigningRequest, as far as controllers look at it.

use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Kind, Meta, Resource, meta::null_is_default, resource};
use serde::Deserialize;
use serde_json::Value;

use crate::conditions::Condition;

/// A CertificateSigningRequest.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CertificateSigningRequest {
    /// The metadata.
    pub metadata: Meta,
    /// What is asked for, and by whom.
    pub spec: RequestSpec,
    /// What came of it.
    pub status: RequestStatus,
}

/// What is asked for, and by whom.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestSpec {
    /// The request, in base 64 as it came.
    pub request: Box<str>,
    /// Who shall sign it.
    pub signer_name: Box<str>,
    /// For how long it shall be valid.
    pub expiration_seconds: Option<i32>,
    /// For what it shall be used.
    #[serde(deserialize_with = "null_is_default")]
    pub usages: Vec<Box<str>>,
    /// The user who asked.
    pub username: Box<str>,
    /// His uid.
    pub uid: Box<str>,
    /// His groups.
    #[serde(deserialize_with = "null_is_default")]
    pub groups: Vec<Box<str>>,
    /// What else is known of him.
    #[serde(deserialize_with = "null_is_default")]
    pub extra: Value,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RequestStatus {
    /// `Approved`, `Denied`, `Failed`.
    #[serde(deserialize_with = "null_is_default")]
    pub conditions: Vec<Condition>,
    /// The certificate, in base 64 as it came; empty if there is none.
    pub certificate: Box<str>,
}

// === impl CertificateSigningRequest ===

impl Kind for CertificateSigningRequest {
    const RESOURCE: Resource = resource::CERTIFICATE_SIGNING_REQUESTS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

impl CertificateSigningRequest {
    /// The request in PEM form.
    pub fn request(&self) -> Vec<u8> {
        STANDARD.decode(self.spec.request.as_bytes()).unwrap_or_default()
    }

    /// The certificate in PEM form.
    pub fn certificate(&self) -> Vec<u8> {
        STANDARD.decode(self.status.certificate.as_bytes()).unwrap_or_default()
    }
}
