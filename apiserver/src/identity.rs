//! Finds out who asks and makes tokens for service accounts: `authn`, tied to this server's flags and objects.

use std::sync::{Arc, Weak};

use api_types::{
    object::{ObjectExt, object_at},
    status::Status,
};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use runtime::Runtime;
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use crate::{
    authn::{
        authenticator::{Anonymous, Authenticated, Authenticator, Credentials, Outside},
        bearer,
        bootstrap_tokens::BootstrapTokens,
        impersonation::{Impersonated, Impersonation},
        keys::{PublicKeys, SigningKey},
        objects::Objects,
        openid,
        service_account_tokens::{LAST_USED, ServiceAccountTokens},
        token_file::TokenFile,
        token_request::Issuer,
        user::{AUTHENTICATED, MASTERS, User},
        x509::ClientAuthorities,
    },
    authz::{attributes::Attributes, decision::Authorizer},
    registry::{Call, strategy::Part, update::Plan, warnings::Warnings},
    server::Server,
};

/// What the flags say about identities.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose client certificates are believed.
    pub client_authorities: Option<Arc<ClientAuthorities>>,
    /// `--token-auth-file`
    pub token_file: Option<TokenFile>,
    /// Signs service account tokens.
    pub signing_key: Arc<SigningKey>,
    /// Verifies them; the signing key's public half is among them.
    pub public_keys: PublicKeys,
    /// `--service-account-issuer`; the first one is put into new tokens.
    pub issuers: Vec<String>,
    /// `--api-audiences`
    pub audiences: Vec<String>,
    /// Those outside the cluster whose word counts.
    pub outside: Outside,
    /// `--anonymous-auth`
    pub anonymous: Anonymous,
}

/// Who asks, and tokens.
#[derive(Debug)]
pub struct Identity {
    /// Reads credentials.
    pub authenticator: Authenticator,
    impersonation: Impersonation,
    issuer: Issuer,
    public_keys: PublicKeys,
}

/// The certificates a client showed, its own first.
#[derive(Clone, Debug)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// The server's own objects, as authentication looks them up.
struct OwnObjects(Weak<Server>);

impl Objects for OwnObjects {
    fn get<'a>(
        &'a self,
        resource: &'a str,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Value>>, Status>> {
        Box::pin(async move {
            let server = self.0.upgrade().ok_or_else(|| Status::unavailable("the server is stopping"))?;
            server.try_get("", "v1", resource, namespace, name).await
        })
    }

    fn note_used<'a>(
        &'a self,
        namespace: &'a str,
        secret: &'a str,
        uid: &'a str,
        day: &'a str,
    ) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(server) = self.0.upgrade() else { return };
            let Some(served) = server.registry.catalogue.find("", "v1", "secrets") else { return };
            let call = Call {
                served,
                namespace: namespace.to_owned(),
                name: secret.to_owned(),
                subresource: String::new(),
                user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
                now: server.runtime.clock.now(),
                dry_run: false,
                manager: "kube-apiserver".to_owned(),
                options: Value::Null,
                warnings: Warnings::default(),
                answers: crate::custom::ownership::Answers::default(),
                audit: crate::audit::Record::default(),
            };
            let plan = Plan::of(Part::Main);
            let change = |old: Option<&Value>| {
                let mut object = old.cloned().unwrap_or_default();
                // Another Secret of this name is not meant.
                if object.uid() == uid {
                    object_at(object.meta_mut(), "labels").insert(LAST_USED.to_owned(), day.into());
                }
                Ok(object)
            };
            if let Err(status) = server.registry.update(&call, plan, &change).await {
                tracing::warn!(
                    namespace,
                    secret,
                    error = status.message,
                    "cannot note that a token was used"
                );
            }
        })
    }
}

// === impl Identity ===

impl Identity {
    /// From the flags.
    pub fn new(config: Config, server: Weak<Server>, runtime: &Runtime) -> Self {
        let objects: Arc<dyn Objects> = Arc::new(OwnObjects(server));
        let service_accounts = ServiceAccountTokens::new(
            config.public_keys.clone(),
            config.issuers.clone(),
            config.audiences.clone(),
            true,
            Arc::clone(&objects),
        );
        Self {
            authenticator: Authenticator {
                client_authorities: config.client_authorities,
                token_file: config.token_file,
                service_accounts: Some(service_accounts),
                bootstrap_tokens: Some(BootstrapTokens::new(objects)),
                own_tokens: std::collections::BTreeMap::new(),
                outside: config.outside,
                anonymous: config.anonymous,
                api_audiences: config.audiences.clone(),
                clock: Arc::clone(&runtime.clock),
            },
            impersonation: Impersonation::default(),
            issuer: Issuer {
                key: config.signing_key,
                issuer: config.issuers.first().cloned().unwrap_or_default(),
                api_audiences: config.audiences,
                lifetime_max: None,
                extend: true,
                random: runtime.random.clone(),
            },
            public_keys: config.public_keys,
        }
    }

    /// Who sends a request, by its credentials; with what they should be warned of and what the audit notes.
    ///
    /// # Errors
    /// 401
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        path: &str,
        certificates: Option<&PeerCertificates>,
    ) -> Result<Authenticated, Status> {
        let certificates = certificates.map_or(&[][..], |shown| &shown.0);
        match self.authenticator.authenticate(Credentials { headers, path, certificates }).await {
            Ok(authenticated) => Ok(authenticated),
            Err(why) => {
                tracing::debug!(%why, "unauthenticated");
                Err(Status::unauthorized())
            }
        }
    }

    /// Takes all credentials out of a request that was authenticated.
    pub fn strip(&self, headers: &mut HeaderMap) {
        bearer::strip(headers);
        if let Some(front_proxy) = &self.authenticator.outside.front_proxy {
            front_proxy.headers.strip(headers);
        }
    }

    /// Whom the caller wishes to be, if anybody else, once they may.
    ///
    /// # Errors
    /// 403
    pub fn impersonate(
        &self,
        headers: &HeaderMap,
        request: &Attributes,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<Impersonated>, Status> {
        self.impersonation.impersonate(headers, request, authorizer)
    }

    /// A token for a service account, as a TokenRequest asks for it; with warnings.
    ///
    /// # Errors
    /// 404 for accounts and bound objects that are not there, 422 for lifetimes that cannot be.
    pub async fn issue(
        &self,
        server: &Arc<Server>,
        request: &Value,
        namespace: &str,
        name: &str,
    ) -> Result<(Value, Vec<String>), Status> {
        let objects = OwnObjects(Arc::downgrade(server));
        let now = server.runtime.clock.now();
        let issued = self.issuer.issue(request, namespace, name, &objects, now).await?;
        Ok((issued.object, issued.warnings))
    }

    /// The OpenID discovery document, if the issuer is one that can be published.
    pub fn openid_configuration(&self, keys_url: &str) -> Option<Bytes> {
        let document = openid::configuration(&self.issuer.issuer, keys_url, &self.public_keys)?;
        serde_json::to_vec(&document).ok().map(Bytes::from)
    }

    /// The public keys of service account tokens.
    pub fn jwks(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(&self.public_keys.to_jwks()).unwrap_or_default())
    }
}
