//! A POST of JSON over TLS to a URL or to a service, as `WebhookClientConfig` says, with upstream's words for what goes wrong.
//!
//! Connections are HTTP/1.1 and kept for the next call. What they are kept in is bounded; a connection that does not fit is
//! closed.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use runtime::Tasks;
use rustls::{
    ClientConfig as TlsConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::server::Server;

/// Where a webhook is called: `WebhookClientConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    /// By URL.
    pub url: Option<String>,
    /// By service.
    pub service: Option<ServiceReference>,
    /// Certificates in PEM, in base64.
    pub ca_bundle: Option<String>,
}

/// A service that is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct ServiceReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The path that is asked for.
    pub path: Option<String>,
    /// The port; 443 if absent.
    pub port: Option<u16>,
}

/// How long a call may take unless its caller says otherwise: upstream's.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How large an answer may be. Beyond that the call fails.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many connections wait for the next call. When full: a connection that is done with is closed.
const IDLE_MAX: usize = 8;
/// The port of a service that does not name one.
const PORT_DEFAULT: u16 = 443;
/// Where systems keep the certificates they trust, as Go looks for them.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why a call failed, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// Whom to trust, and who asks.
pub(super) struct Trust {
    /// Authorities in PEM; the system's if none.
    pub(super) authorities: Option<Vec<u8>>,
    /// The certificate to show, and its key.
    pub(super) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// The header `Authorization`.
    pub(super) authorization: Option<String>,
    /// The name that the certificate must be for; the host's if empty.
    pub(super) name: String,
}

/// One webhook.
pub struct Client {
    place: Place,
    /// The host that its certificate must be for.
    host: String,
    /// The name that the certificate must be for, if it is another.
    name: String,
    port: u16,
    path: String,
    /// `None` speaks plainly.
    tls: Option<Arc<TlsConfig>>,
    authorization: Option<String>,
    server: Weak<Server>,
    tasks: Tasks,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

enum Place {
    Url,
    /// By the address that the service has at the time of a call.
    Service {
        namespace: String,
        name: String,
    },
}

// === impl Client ===

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Client {
    /// A webhook at this place. Services are looked up with the server.
    ///
    /// # Errors
    /// What is wrong with the place or with its certificates.
    pub fn new(config: &ClientConfig, server: Weak<Server>, tasks: &Tasks) -> Result<Self, Error> {
        let tls = tls(config.ca_bundle.as_deref())?;
        let client = |place, host, port, path| Self {
            place,
            host,
            name: String::new(),
            port,
            path,
            tls: Some(tls),
            authorization: None,
            server,
            tasks: tasks.clone(),
            idle: Mutex::default(),
        };
        if let Some(service) = &config.service {
            let host = format!("{}.{}.svc", service.name, service.namespace);
            let path = service.path.clone().unwrap_or_default();
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            let place = Place::Service { namespace: service.namespace.clone(), name: service.name.clone() };
            return Ok(client(place, host, service.port.unwrap_or(PORT_DEFAULT), path));
        }
        let text = config
            .url
            .as_deref()
            .ok_or_else(|| Error("webhook configuration must have either service or URL".to_owned()))?;
        let url: http::Uri =
            text.parse().map_err(|error| Error(format!("Unparsable webhook URL: {text}: {error}")))?;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let path = url.path_and_query().map_or("/", |it| it.as_str()).to_owned();
        Ok(client(Place::Url, host, url.port_u16().unwrap_or(PORT_DEFAULT), path))
    }

    /// A webhook at a URL that is trusted, and told who asks, like this.
    ///
    /// # Errors
    /// What is wrong with the URL or the certificates.
    pub(super) fn trusting(url: &str, trust: Trust, tasks: &Tasks) -> Result<Self, Error> {
        let uri: http::Uri =
            url.parse().map_err(|error| Error(format!("Unparsable webhook URL: {url}: {error}")))?;
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") => true,
            _ => return Err(Error(format!("Unparsable webhook URL: {url}: neither http nor https"))),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = if plain { None } else { Some(trusted(trust.authorities.as_deref(), trust.identity)?) };
        Ok(Self {
            place: Place::Url,
            host,
            name: trust.name,
            port: uri.port_u16().unwrap_or(if plain { 80 } else { PORT_DEFAULT }),
            path: uri.path_and_query().map_or("/", |it| it.as_str()).to_owned(),
            tls,
            authorization: trust.authorization,
            server: Weak::new(),
            tasks: tasks.clone(),
            idle: Mutex::default(),
        })
    }

    /// The URL as messages name it, without the time that a call may take.
    fn url(&self) -> String {
        match self.place {
            Place::Url if self.port == PORT_DEFAULT => format!("https://{}{}", self.host, self.path),
            _ => format!("https://{}:{}{}", self.host, self.port, self.path),
        }
    }

    /// Asks, and gives the answer's body.
    ///
    /// # Errors
    /// That it cannot be reached, takes too long, or answers with a failure.
    pub async fn post(&self, body: Bytes, timeout: Duration) -> Result<Bytes, Error> {
        let url = format!("{}?timeout={}s", self.url(), timeout.as_secs());
        let failed =
            |why: &dyn fmt::Display| Error(format!("Post {}: {why}", api_types::field::go_quote(&url)));
        match tokio::time::timeout(timeout, self.ask(body, timeout)).await {
            Ok(Ok((code, body))) if (200..300).contains(&code) => Ok(body),
            Ok(Ok((code, body))) => Err(refusal(code, &body)),
            Ok(Err(why)) => Err(failed(&why)),
            Err(_late) => Err(failed(&"context deadline exceeded")),
        }
    }

    /// Asks exactly there: the answer's status code and body.
    ///
    /// # Errors
    /// That it cannot be reached, or takes too long.
    pub async fn post_plain(&self, body: Bytes, timeout: Duration) -> Result<(u16, Bytes), Error> {
        let failed = |why: &dyn fmt::Display| {
            Error(format!("Post {}: {why}", api_types::field::go_quote(&self.url())))
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "kube-apiserver");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(&error))?;
        match tokio::time::timeout(timeout, self.send(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(failed(&why)),
            Err(_late) => Err(failed(&"context deadline exceeded")),
        }
    }

    /// Reads what is there: the status code and the body.
    ///
    /// # Errors
    /// That it cannot be reached, or takes too long.
    pub async fn get(&self, authorization: Option<&str>, timeout: Duration) -> Result<(u16, Bytes), Error> {
        let failed =
            |why: &dyn fmt::Display| Error(format!("Get {}: {why}", api_types::field::go_quote(&self.url())));
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(&self.path)
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::USER_AGENT, "kube-apiserver");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::default()).map_err(|error| failed(&error))?;
        match tokio::time::timeout(timeout, self.send(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(failed(&why)),
            Err(_late) => Err(failed(&"context deadline exceeded")),
        }
    }

    async fn ask(&self, body: Bytes, timeout: Duration) -> Result<(u16, Bytes), String> {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{separator}timeout={}s", self.path, timeout.as_secs()))
            .header(header::HOST, format!("{}:{}", self.host, self.port))
            .header(header::ACCEPT, "application/json, */*")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        self.send(request).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), String> {
        let kept = loop {
            match self.idle.lock().pop() {
                Some(connection) if connection.is_closed() => {}
                kept => break kept,
            }
        };
        if let Some(connection) = kept {
            match self.exchange(connection, request.clone()).await {
                Err(error) if was_gone(&error) => {}
                answer => return answer.map_err(|error| error.to_string())?,
            }
        }
        let connection = self.connect().await?;
        self.exchange(connection, request).await.map_err(|error| error.to_string())?
    }

    async fn exchange(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Result<(u16, Bytes), String>, hyper::Error> {
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let code = answer.status().as_u16();
        let body = match Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !connection.is_closed() {
            idle.push(connection);
        }
        Ok(Ok((code, body)))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let address = self.address().await?;
        let dial = |error: std::io::Error| {
            let why = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                _ => error.to_string(),
            };
            format!("dial tcp {address}: {why}")
        };
        let stream = TcpStream::connect(&address).await.map_err(dial)?;
        // Small messages that wait for an answer.
        let _best_effort = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.speak(stream).await };
        let name = if self.name.is_empty() { &self.host } else { &self.name };
        let name = ServerName::try_from(name.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("tls: failed to verify certificate: {error}"))?;
        self.speak(stream).await
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<SendRequest<Full<Bytes>>, String> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        self.tasks.spawn("webhook connection", async move {
            // Whoever asks through it hears of it.
            let _ended = connection.await;
        });
        Ok(sender)
    }

    /// Where it is right now.
    async fn address(&self) -> Result<String, String> {
        let Place::Service { namespace, name } = &self.place else {
            return Ok(join(&self.host, self.port));
        };
        let server = self.server.upgrade().ok_or("the server is gone")?;
        let service = server
            .try_get("", "v1", "services", namespace, name)
            .await
            .map_err(|status| status.message)?
            .ok_or_else(|| format!("service {} not found", api_types::field::go_quote(name)))?;
        address_of(&service, name, self.port)
    }
}

/// Whether a connection that was kept had been closed on the other side, so that nothing was done. How that is told depends on
/// how much of it has been noticed here.
fn was_gone(error: &hyper::Error) -> bool {
    let broken = || {
        let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<std::io::Error>());
        cause.is_some_and(|it| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
            matches!(it.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected)
        })
    };
    error.is_canceled() || error.is_closed() || error.is_incomplete_message() || broken()
}

/// The address that a service is reached at.
pub(crate) fn address_of(service: &Value, name: &str, port: u16) -> Result<String, String> {
    let spec =
        |field: &str| service.pointer(&format!("/spec/{field}")).and_then(Value::as_str).unwrap_or_default();
    match spec("type") {
        "ExternalName" => return Ok(join(spec("externalName"), port)),
        "ClusterIP" if spec("clusterIP") == "None" => {
            return Err(r#"cannot route to service with ClusterIP "None""#.to_owned());
        }
        "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        other => return Err(format!("unsupported service type {}", api_types::field::go_quote(other))),
    }
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    let known =
        ports.into_iter().flatten().any(|it| it.get("port").and_then(Value::as_u64) == Some(port.into()));
    if !known {
        return Err(format!("no service port {port} found for service {}", api_types::field::go_quote(name)));
    }
    Ok(join(spec("clusterIP"), port))
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What a failure of the other side is told as.
pub(super) fn refusal(code: u16, body: &[u8]) -> Error {
    // A Status says itself what it is about.
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && status.get("kind").and_then(Value::as_str) == Some("Status")
        && let Some(message) = status.get("message").and_then(Value::as_str)
    {
        return Error(message.to_owned());
    }
    let text = String::from_utf8_lossy(body);
    let text = api_types::field::go_quote(text.trim());
    Error(match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "unknown".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        500.. => format!("an error on the server ({text}) has prevented the request from succeeding"),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    })
}

/// The authorities that the system trusts, in PEM.
pub(crate) fn system_roots() -> Vec<u8> {
    SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
}

/// Trusts these authorities, or those of the system if there are none.
fn tls(bundle: Option<&str>) -> Result<Arc<TlsConfig>, Error> {
    let pem = match bundle {
        None => Vec::new(),
        Some(text) => base64::prelude::BASE64_STANDARD
            .decode(text)
            .map_err(|error| Error(format!("unable to load root certificates: {error}")))?,
    };
    trusted(Some(&pem).filter(|pem| !pem.trim_ascii().is_empty()).map(Vec::as_slice), None)
}

/// Trusts these authorities, or those of the system; shows this certificate, if there is one.
fn trusted(
    authorities: Option<&[u8]>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> Result<Arc<TlsConfig>, Error> {
    let own = authorities.is_some();
    let pem = authorities.map_or_else(system_roots, <[u8]>::to_vec);
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_pemfile::certs(&mut pem.as_slice()).flatten());
    if own && added == 0 {
        return Err(Error("unable to load root certificates: unable to parse bytes as PEM block".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error(error.to_string()))?
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some((chain, key)) => {
            config.with_client_auth_cert(chain, key).map_err(|error| Error(error.to_string()))?
        }
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_reached_at_its_address_or_the_name_it_stands_for() {
        let check = |spec: Value| address_of(&json!({"spec": spec}), "web", 8443);
        let ports = json!([{"port": 8443}]);
        for (spec, expected) in [
            (json!({"type": "ClusterIP", "clusterIP": "10.0.0.9", "ports": ports}), Ok("10.0.0.9:8443")),
            (json!({"type": "NodePort", "clusterIP": "fd00::1", "ports": ports}), Ok("[fd00::1]:8443")),
            (json!({"type": "ExternalName", "externalName": "a.example"}), Ok("a.example:8443")),
            (
                json!({"type": "ClusterIP", "clusterIP": "None", "ports": ports}),
                Err(r#"cannot route to service with ClusterIP "None""#),
            ),
            (
                json!({"type": "ClusterIP", "clusterIP": "10.0.0.9", "ports": [{"port": 1}]}),
                Err(r#"no service port 8443 found for service "web""#),
            ),
        ] {
            assert_eq!(check(spec), expected.map(str::to_owned).map_err(str::to_owned));
        }
    }

    #[test]
    fn a_client_says_where_it_calls() {
        let tasks = Tasks::new();
        let url = |config: Value| {
            let config: ClientConfig = serde_json::from_value(config).unwrap();
            Client::new(&config, Weak::new(), &tasks).map(|client| client.url())
        };
        assert_eq!(url(json!({"url": "https://a.example/convert"})).unwrap(), "https://a.example/convert");
        assert_eq!(url(json!({"url": "https://127.0.0.1:9443/c"})).unwrap(), "https://127.0.0.1:9443/c");
        let service = json!({"service": {"namespace": "n", "name": "web", "path": "/c"}});
        assert_eq!(url(service).unwrap(), "https://web.n.svc:443/c");
        assert!(url(json!({})).is_err());
        assert!(url(json!({"url": "https://a.example", "caBundle": "eA=="})).is_err());
    }

    #[test]
    fn failures_of_the_other_side_are_told_in_upstreams_words() {
        assert_eq!(refusal(404, b"").0, "the server could not find the requested resource");
        assert_eq!(
            refusal(500, b"oops\n").0,
            r#"an error on the server ("oops") has prevented the request from succeeding"#
        );
        assert_eq!(refusal(400, br#"{"kind":"Status","message":"no"}"#).0, "no");
    }
}
