//! TokenRequest: a new token for a service account, bound to what the client names.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use runtime::Random;
use serde::Deserialize;
use serde_json::{Value, json};

use api_types::{
    field::{Fault, Faults, Path},
    kind::{GroupResource, GroupVersion, GroupVersionKind},
    object::{ObjectExt, object_of},
    status::Status,
};

use super::{
    keys::SigningKey,
    objects::Objects,
    review::{GROUP, whole_seconds},
    service_account_tokens::{Bound, Reference, credential_id, find},
    user::service_account,
};

/// What a client gets that says nothing.
const LIFETIME_DEFAULT: i64 = 60 * 60;
const LIFETIME_MIN: i64 = 10 * 60;
const LIFETIME_MAX: i64 = 1 << 32;
/// The lifetime that projected volumes ask for, which shows that a client may not renew its token yet.
const LIFETIME_PROJECTED: i64 = 60 * 60 + 7;
/// What such a client gets instead, so that it goes on working: a year, with a note in the audit log after the hour.
const LIFETIME_EXTENDED: i64 = 365 * 24 * 60 * 60;

/// Makes tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `--service-account-signing-key-file`
    pub key: Arc<SigningKey>,
    /// The first `--service-account-issuer`.
    pub issuer: String,
    /// `--api-audiences`
    pub api_audiences: Vec<String>,
    /// `--service-account-max-token-expiration`
    pub lifetime_max: Option<Duration>,
    /// `--service-account-extend-token-expiration`
    pub extend: bool,
    /// For the ids of tokens.
    pub random: Random,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Issued {
    /// The TokenRequest with its status.
    pub object: Value,
    /// What the client should be warned of.
    pub warnings: Vec<String>,
    /// What the audit log should note: key and value.
    pub audit: Vec<(String, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    audiences: Option<Vec<String>>,
    expiration_seconds: Option<i64>,
    bound_object_ref: Option<BoundObjectRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BoundObjectRef {
    kind: String,
    api_version: String,
    name: String,
    uid: String,
}

// === impl Issuer ===

impl Issuer {
    /// Answers a TokenRequest for the service account of this namespace and name. `request` is as the client sent it.
    pub async fn issue(
        &self,
        request: &Value,
        namespace: &str,
        name: &str,
        objects: &dyn Objects,
        now: Timestamp,
    ) -> Result<Issued, Status> {
        let mut spec: Spec = match request.get("spec") {
            None | Some(Value::Null) => Spec::default(),
            Some(spec) => Spec::deserialize(spec).map_err(|error| Status::bad_request(error.to_string()))?,
        };
        check_target(request, namespace, name)?;
        let account = find(objects, "serviceaccounts", namespace, name).await?;
        if !request.uid().is_empty() && request.uid() != account.uid() {
            let why = format!(
                "the UID in the token request ({}) does not match the UID of the service account ({})",
                request.uid(),
                account.uid()
            );
            return Err(Status::conflict(&GroupResource::new(GROUP, "TokenRequest"), name, why));
        }
        let audiences = spec
            .audiences
            .take()
            .filter(|audiences| !audiences.is_empty())
            .unwrap_or_else(|| self.api_audiences.clone());
        let mut lifetime = spec.expiration_seconds.unwrap_or(LIFETIME_DEFAULT);
        check_lifetime(lifetime)?;
        let mut bound = Bound {
            namespace: namespace.to_owned(),
            serviceaccount: Reference::to(&account),
            ..Bound::default()
        };
        if let Some(reference) = &spec.bound_object_ref {
            bind(&mut bound, reference, objects).await?;
        }
        let mut warnings = Vec::new();
        if let Some(max) = self.lifetime_max.map(|it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX))
            && lifetime > max
        {
            warnings.push(format!("requested expiration of {lifetime} seconds shortened to {max} seconds"));
            lifetime = max;
        }
        let mut real_lifetime = lifetime;
        let is_for_us = audiences.iter().all(|it| self.api_audiences.contains(it));
        if self.extend && bound.pod.is_some() && lifetime == LIFETIME_PROJECTED && is_for_us {
            bound.warnafter = Some(now.as_second() + lifetime);
            real_lifetime = LIFETIME_EXTENDED;
        }
        let id = self.random.uuid().to_string();
        let claims = json!({
            "aud": audiences,
            "exp": now.as_second().saturating_add(real_lifetime),
            "iat": now.as_second(),
            "iss": self.issuer,
            "jti": id,
            "kubernetes.io": bound,
            "nbf": now.as_second(),
            "sub": service_account::user_name(namespace, name),
        });
        let token = self
            .key
            .sign(&claims)
            .map_err(|error| Status::internal(format!("failed to generate token: {error}")))?;
        // What the client is told is what it asked for, so that it renews in time.
        let expires =
            Timestamp::from_second(now.as_second().saturating_add(lifetime)).unwrap_or(Timestamp::MAX);
        let mut object = request.clone();
        object.set_meta("name", name);
        object.set_meta("namespace", namespace);
        object.set_meta("uid", account.uid());
        object.set_meta("creationTimestamp", whole_seconds(now));
        let fields = object_of(&mut object);
        fields.insert("kind".to_owned(), "TokenRequest".into());
        fields.insert("apiVersion".to_owned(), format!("{GROUP}/v1").into());
        let reference = request.pointer("/spec/boundObjectRef").cloned().unwrap_or(Value::Null);
        fields.insert(
            "spec".to_owned(),
            json!({"audiences": audiences, "expirationSeconds": lifetime, "boundObjectRef": reference}),
        );
        fields.insert(
            "status".to_owned(),
            json!({"token": token, "expirationTimestamp": whole_seconds(expires)}),
        );
        let noted = ("authentication.kubernetes.io/issued-credential-id".to_owned(), credential_id(&id));
        Ok(Issued { object, warnings, audit: vec![noted] })
    }
}

/// The body may repeat what the path says, and nothing else.
fn check_target(request: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    for (field, said, meant, detail) in [
        ("name", request.name(), name, "must match the service account name if specified"),
        (
            "namespace",
            request.namespace(),
            namespace,
            "must match the service account namespace if specified",
        ),
    ] {
        if !said.is_empty() && said != meant {
            let fault = Fault::invalid(&Path::new("metadata").child(field), said, detail);
            return Err(invalid(name, &vec![fault]));
        }
    }
    Ok(())
}

fn check_lifetime(seconds: i64) -> Result<(), Status> {
    let path = Path::new("spec").child("expirationSeconds");
    let mut faults = Faults::new();
    if seconds < LIFETIME_MIN {
        faults.push(Fault::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > LIFETIME_MAX {
        faults.push(Fault::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    if faults.is_empty() { Ok(()) } else { Err(invalid("", &faults)) }
}

fn invalid(name: &str, faults: &Faults) -> Status {
    Status::invalid(&GroupVersionKind::new(GROUP, "v1", "TokenRequest"), name, faults)
}

/// Binds the token to the object, if there is one that fits.
async fn bind(bound: &mut Bound, reference: &BoundObjectRef, objects: &dyn Objects) -> Result<(), Status> {
    let BoundObjectRef { kind, api_version, name, uid } = reference;
    let (group, version) =
        GroupVersion::parse(api_version).map(|it| (it.group, it.version)).unwrap_or_default();
    let namespace = bound.namespace.clone();
    let found = match (group.as_str(), kind.as_str()) {
        ("", "Pod") => {
            let pod = find(objects, "pods", &namespace, name).await?;
            let spec = |field: &str| {
                pod.get("spec").and_then(|spec| spec.get(field)).and_then(Value::as_str).unwrap_or_default()
            };
            let account = &bound.serviceaccount.name;
            if spec("serviceAccountName") != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                    api_types::field::go_quote(account)
                )));
            }
            bound.pod = Some(Reference::to(&pod));
            let node = spec("nodeName");
            if !node.is_empty() {
                let found = objects.get("nodes", "", node).await.map_err(Status::internal)?;
                bound.node = Some(match found {
                    Some(found) => Reference::to(&found),
                    // The name alone still says where the pod was meant to run.
                    None => Reference { name: node.to_owned(), uid: String::new() },
                });
            }
            pod
        }
        ("", "Node") => {
            let node = find(objects, "nodes", "", name).await?;
            bound.node = Some(Reference::to(&node));
            node
        }
        ("", "Secret") => {
            let secret = find(objects, "secrets", &namespace, name).await?;
            bound.secret = Some(Reference::to(&secret));
            secret
        }
        _ => {
            let kind = GroupVersionKind { group, version, kind: kind.clone() };
            return Err(Status::bad_request(format!("cannot bind token to object of type {kind}")));
        }
    };
    if !uid.is_empty() && uid != found.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&GroupResource::new(&group, kind), name, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
