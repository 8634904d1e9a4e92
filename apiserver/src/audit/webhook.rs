//! Events sent on: an `EventList` for each batch, POSTed to the server that a kubeconfig names.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use runtime::Runtime;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    backend::{Backend, Complaints, Done},
    event::Event,
};

/// How often a batch is sent before it is given up.
const ATTEMPTS: u32 = 5;
/// By how much each pause is longer than the one before, and by how much of itself at the most at random.
const BACKOFF_FACTOR: f64 = 1.5;
const BACKOFF_JITTER: f64 = 0.2;
/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How much of an answer is read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How many connections wait for the next batch. When full: one that is done with is closed.
const IDLE_MAX: usize = 4;

/// Where events are sent, as a kubeconfig has it.
#[derive(Clone)]
pub(super) struct Destination {
    host: String,
    port: u16,
    path: String,
    /// None for plain HTTP.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// The header `Authorization`, if there is to be one.
    authorization: Option<String>,
}

/// The backend.
#[derive(Clone, Debug)]
pub(super) struct Webhook(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    destination: Destination,
    backoff: Duration,
    runtime: Runtime,
    complaints: Complaints,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[derive(Default)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
    contexts: Vec<NamedContext>,
    current_context: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: Credentials,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Credentials {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
}

// === impl Destination ===

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Destination")
            .field("host", &self.host)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Destination {
    /// As a kubeconfig file says; paths in it are beside the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let value = api_types::wire::yaml::to_value(&text).map_err(anyhow::Error::msg)?.value;
        let config: Kubeconfig = serde_json::from_value(value)?;
        let context = match config.current_context.as_str() {
            "" => config.contexts.first().filter(|_| config.contexts.len() == 1),
            current => config.contexts.iter().find(|it| it.name == current),
        };
        let (cluster, user) = match context {
            Some(context) => (context.context.cluster.as_str(), Some(context.context.user.as_str())),
            None if config.current_context.is_empty() => ("", None),
            None => bail!("context {:?} does not exist", config.current_context),
        };
        let cluster = config.clusters.iter().find(|it| it.name == cluster || config.clusters.len() == 1);
        let Some(cluster) = cluster.map(|it| &it.cluster).filter(|it| !it.server.is_empty()) else {
            bail!("no configuration has been provided: {} names no server", file.display());
        };
        let nobody = Credentials::default();
        let named = config.users.iter().find(|it| Some(it.name.as_str()) == user);
        let user = named.map_or(&nobody, |it| &it.user);
        let folder = file.parent().unwrap_or(Path::new(""));
        Self::of(cluster, user, folder)
    }

    fn of(cluster: &Cluster, user: &Credentials, folder: &Path) -> anyhow::Result<Self> {
        let with_scheme = if cluster.server.contains("://") {
            cluster.server.clone()
        } else {
            format!("http://{}", cluster.server)
        };
        let url: Uri = with_scheme.parse().with_context(|| format!("server {:?}", cluster.server))?;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            other => bail!("server {:?}: {other:?} is no scheme of webhooks", cluster.server),
        };
        let file = |path: &Option<String>| -> anyhow::Result<Option<Vec<u8>>> {
            let Some(path) = path.as_ref().filter(|it| !it.is_empty()) else { return Ok(None) };
            let path = folder.join(path);
            Ok(Some(std::fs::read(&path).with_context(|| path.display().to_string())?))
        };
        let data = |data: &Option<String>, path: &Option<String>| -> anyhow::Result<Option<Vec<u8>>> {
            match data.as_ref().filter(|it| !it.is_empty()) {
                Some(data) => Ok(Some(STANDARD.decode(data)?)),
                None => file(path),
            }
        };
        let authorization = match (&user.token, &user.token_file, &user.username) {
            (Some(token), _, _) => Some(format!("Bearer {token}")),
            (None, Some(_), _) => file(&user.token_file)?
                .map(|token| format!("Bearer {}", String::from_utf8_lossy(&token).trim())),
            (None, None, Some(name)) => {
                let password = user.password.as_deref().unwrap_or_default();
                Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
            (None, None, None) => None,
        };
        let tls = if is_tls {
            if cluster.insecure_skip_tls_verify {
                bail!("insecure-skip-tls-verify is not supported; give the certificate-authority");
            }
            let authority = data(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
            let certificate = data(&user.client_certificate_data, &user.client_certificate)?;
            let key = data(&user.client_key_data, &user.client_key)?;
            let name = cluster.tls_server_name.clone().unwrap_or_else(|| host.clone());
            Some((tls(authority, certificate.zip(key))?, ServerName::try_from(name)?))
        } else {
            None
        };
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = url.path_and_query().map_or("/", |it| it.as_str()).to_owned();
        Ok(Self { host, port, path, tls, authorization })
    }
}

fn tls(authority: Option<Vec<u8>>, pair: Option<(Vec<u8>, Vec<u8>)>) -> anyhow::Result<Arc<ClientConfig>> {
    let Some(authority) = authority else {
        bail!("the cluster has no certificate-authority to know the server by")
    };
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_pemfile::certs(&mut authority.as_slice()).flatten());
    if added == 0 {
        bail!("certificate-authority holds no certificate");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match pair {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = rustls_pemfile::certs(&mut certificate.as_slice()).collect::<Result<_, _>>()?;
            let key = rustls_pemfile::private_key(&mut key.as_slice())?.context("client-key holds no key")?;
            config.with_client_auth_cert(chain, key)?
        }
    };
    Ok(Arc::new(config))
}

// === impl Webhook ===

impl Webhook {
    pub(super) fn new(
        destination: Destination,
        backoff: Duration,
        complaints: Complaints,
        runtime: &Runtime,
    ) -> Self {
        let runtime = runtime.clone();
        Self(Arc::new(Inner { destination, backoff, runtime, complaints, idle: Mutex::default() }))
    }
}

impl Backend for Webhook {
    fn process(&self, events: Vec<Arc<Event>>) -> Done {
        let inner = Arc::clone(&self.0);
        Done::Later(Box::pin(async move {
            match inner.send(&events).await {
                Ok(()) => true,
                Err(why) => {
                    inner.complaints.tell("webhook", &why, &events);
                    false
                }
            }
        }))
    }
}

impl Inner {
    async fn send(&self, events: &[Arc<Event>]) -> Result<(), String> {
        let body = Bytes::from(Event::list(events).map_err(|error| error.to_string())?);
        let mut pause = self.backoff;
        let mut attempt = 1;
        loop {
            let outcome = match tokio::time::timeout(TIMEOUT, self.post(body.clone())).await {
                Ok(outcome) => outcome,
                Err(_late) => Err("context deadline exceeded".to_owned()),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(why) if attempt == ATTEMPTS => return Err(why),
                Err(why) => tracing::debug!(%why, attempt, "events are sent again"),
            }
            attempt += 1;
            tokio::time::sleep(self.runtime.random.jitter(pause, BACKOFF_JITTER)).await;
            pause = pause.mul_f64(BACKOFF_FACTOR);
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), String> {
        let kept = loop {
            match self.idle.lock().pop() {
                Some(connection) if connection.is_closed() => {}
                kept => break kept,
            }
        };
        if let Some(connection) = kept {
            match self.exchange(connection, body.clone()).await {
                // It was closed on the other side a moment ago.
                Err(error) if error.is_canceled() || error.is_incomplete_message() => {}
                answer => return answer.map_err(|error| error.to_string())?,
            }
        }
        let connection = self.connect().await?;
        self.exchange(connection, body).await.map_err(|error| error.to_string())?
    }

    async fn exchange(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        body: Bytes,
    ) -> Result<Result<(), String>, hyper::Error> {
        let to = &self.destination;
        let mut request = Request::post(&to.path)
            .header(header::HOST, format!("{}:{}", to.host, to.port))
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "kube-apiserver");
        if let Some(authorization) = &to.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.to_string())),
        };
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let code = answer.status();
        let read = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        if read.is_ok() {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE_MAX && !connection.is_closed() {
                idle.push(connection);
            }
        }
        Ok(if code.is_success() { Ok(()) } else { Err(format!("the server answered {code}")) })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let Destination { host, port, tls, .. } = &self.destination;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
        let _best_effort = stream.set_nodelay(true);
        let Some((config, name)) = tls else { return self.handshake(stream).await };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await;
        self.handshake(stream.map_err(|error| format!("tls: {error}"))?).await
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // It is needed until the last batch is through; without requests it ends by itself.
        self.runtime.tasks.spawn_draining("audit connection", async move {
            // Whoever asks through it hears of it.
            let _ended = connection.await;
        });
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Destination, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, text).unwrap();
        Destination::read(&file).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_kubeconfig_says_where_and_as_whom() {
        let found = read(
            "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1/audit'}}, {name: b, cluster: {server: x}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: c, context: {cluster: a, user: u}}]
current-context: c",
        )
        .unwrap();
        assert_eq!((found.host.as_str(), found.port, found.path.as_str()), ("127.0.0.1", 1, "/audit"));
        assert_eq!(found.authorization.as_deref(), Some("Bearer secret"));
        assert!(!format!("{found:?}").contains("secret"));
        for (text, expected) in [
            ("current-context: x", "context \"x\" does not exist"),
            ("{}", "names no server"),
            ("clusters: [{name: a, cluster: {server: 'ftp://a'}}]", "is no scheme of webhooks"),
            ("clusters: [{name: a, cluster: {server: 'https://a'}}]", "no certificate-authority"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
