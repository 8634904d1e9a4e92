//! CertificateSigningRequests: `certificatesigningrequests` of `certificates.k8s.io/v1`.

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use crate::registry::strategy::{Names, Strategy};

/// The strategy of CertificateSigningRequests.
pub(crate) struct CertificateSigningRequests;

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
    const STATUS: bool = true;
}
