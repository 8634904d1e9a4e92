//! A webhook that a kubeconfig leads to: the cluster is the webhook, the user is this server.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use bytes::Bytes;
use runtime::{Random, Tasks};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Trust};
use crate::tls::files;

/// How long before a question that could not be answered is asked again, at first.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often it is asked.
const TRIES: u32 = 5;

/// A webhook that is asked for reviews.
#[derive(Debug)]
pub struct Reviewer {
    client: Client,
    random: Random,
    /// How long one try may take.
    timeout: Duration,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Written {
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
    current_context: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Cluster,
    user: User,
    context: Context,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    tls_server_name: String,
    insecure_skip_tls_verify: bool,
    certificate_authority: String,
    certificate_authority_data: String,
}

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    client_certificate: String,
    client_certificate_data: String,
    client_key: String,
    client_key_data: String,
    token: String,
    #[serde(rename = "tokenFile")]
    token_file: String,
    username: String,
    password: String,
    exec: Option<Value>,
    auth_provider: Option<Value>,
}

// === impl Reviewer ===

impl Reviewer {
    /// The webhook of a kubeconfig's current context.
    ///
    /// # Errors
    /// What is wrong with the file, or what of it is not supported.
    pub fn open(file: &Path, timeout: Duration, random: Random, tasks: &Tasks) -> Result<Self, String> {
        let failed = |why: String| format!("cannot use the kubeconfig {}: {why}", file.display());
        let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let document = crate::flags::document(&text).map_err(failed)?;
        let written: Written = serde_json::from_value(document).map_err(|error| failed(error.to_string()))?;
        let client = client(&written, file.parent().unwrap_or(Path::new("")), tasks).map_err(failed)?;
        Ok(Self { client, random, timeout })
    }

    /// Asks, again if it is worth it, and gives the review with its answer.
    ///
    /// # Errors
    /// That there is no answer.
    pub async fn review(&self, review: &Value) -> Result<Value, String> {
        let body = Bytes::from(review.to_string());
        let mut wait = BACKOFF;
        for tries_left in (0..TRIES).rev() {
            let why = match self.client.post_plain(body.clone(), self.timeout).await {
                Ok((200..=299, body)) => {
                    return serde_json::from_slice(&body).map_err(|error| error.to_string());
                }
                Ok((code @ (429 | 500 | 504), body)) if tries_left == 0 => {
                    return Err(super::client::refusal(code, &body).0);
                }
                Ok((429 | 500 | 504, _)) => String::new(),
                Ok((code, body)) => return Err(super::client::refusal(code, &body).0),
                Err(error) => error.0,
            };
            if !(why.is_empty() || why.contains("reset")) || tries_left == 0 {
                return Err(why);
            }
            tokio::time::sleep(wait.mul_f64(1.0 + 0.2 * self.random.fraction())).await;
            wait = wait.mul_f64(1.5);
        }
        Err("timed out waiting for the condition".to_owned())
    }
}

fn client(written: &Written, folder: &Path, tasks: &Tasks) -> Result<Client, String> {
    let find = |list: &'_ [Named], name: &str| list.iter().position(|it| it.name == name);
    let context = find(&written.contexts, &written.current_context)
        .and_then(|at| written.contexts.get(at))
        .map(|it| it.context.clone())
        .ok_or_else(|| format!("there is no context {:?}", written.current_context))?;
    let cluster = find(&written.clusters, &context.cluster).and_then(|at| written.clusters.get(at));
    let cluster = &cluster.ok_or_else(|| format!("there is no cluster {:?}", context.cluster))?.cluster;
    let user = find(&written.users, &context.user).and_then(|at| written.users.get(at));
    let user = user.map(|it| it.user.clone()).unwrap_or_default();
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err("credentials by exec or auth-provider are not supported".to_owned());
    }
    if cluster.insecure_skip_tls_verify {
        return Err("insecure-skip-tls-verify is not supported: name a certificate-authority".to_owned());
    }
    let content = |data: &str, file: &str| -> Result<Option<Vec<u8>>, String> {
        if !data.is_empty() {
            return BASE64.decode(data).map(Some).map_err(|error| error.to_string());
        }
        if file.is_empty() {
            return Ok(None);
        }
        let path: PathBuf = folder.join(file);
        std::fs::read(&path).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    };
    let authorities = content(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
    let certificate = content(&user.client_certificate_data, &user.client_certificate)?;
    let key = content(&user.client_key_data, &user.client_key)?;
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain =
                files::certificates_in(&certificate).ok_or("the client certificate cannot be read")?;
            let key =
                PrivateKeyDer::from_pem_slice(&key).map_err(|error| format!("the client key: {error}"))?;
            Some((chain, key))
        }
        (None, None) => None,
        _ => return Err("a client certificate needs a key, and a key a certificate".to_owned()),
    };
    let token = match user.token_file.as_str() {
        "" => user.token.clone(),
        file => {
            let read = content("", file)?.unwrap_or_default();
            String::from_utf8_lossy(&read).trim().to_owned()
        }
    };
    let authorization = match (token.as_str(), user.username.as_str()) {
        ("", "") => None,
        ("", name) => Some(format!("Basic {}", BASE64.encode(format!("{name}:{}", user.password)))),
        (token, _) => Some(format!("Bearer {token}")),
    };
    let trust = Trust { authorities, identity, authorization, name: cluster.tls_server_name.clone() };
    Client::trusting(&cluster.server, trust, tasks).map_err(|error| error.0)
}

/// The timeout of the webhooks that flags name.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
