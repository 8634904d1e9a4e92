//! Who may act for a signer of certificates: what the plugins about certificates share.

use std::sync::Weak;

use crate::{
    authn::user::User,
    authz::{attributes::Attributes, decision::Authorizer as _},
    server::Server,
};

/// The group of certificate signing requests, and of the permission to act for signers.
pub(super) const GROUP: &str = "certificates.k8s.io";

/// Whether the user may do this for the signer: for it alone, or for all signers of its domain.
pub(super) fn may(server: &Weak<Server>, user: &User, verb: &str, signer: &str) -> bool {
    let Some(server) = server.upgrade() else { return false };
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let asked = Attributes {
            user: user.clone(),
            verb: verb.to_owned(),
            namespace: String::new(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            subresource: String::new(),
            name,
            resource_request: true,
            path: String::new(),
            field_selector: String::new(),
            label_selector: String::new(),
        };
        server.authorizer.authorize(&asked).is_allow()
    })
}
