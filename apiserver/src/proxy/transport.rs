//! Connections to other servers: TLS with their authorities and our client certificate, HTTP/2 or HTTP/1.1, kept for the next
//! request; or none of that, where the URL says `http`. Upgrades have connections of their own, of HTTP/1.1.

use std::{
    error::Error as StdError,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, Uri, uri::Scheme};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, rt::ReadBufCursor};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig as TlsConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{tls::files, webhooks::client::system_roots};

/// How long connecting may take: what Go gives it.
const DIAL: Duration = Duration::from_secs(30);
/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection waits for the next request.
const IDLE: Duration = Duration::from_secs(90);
/// How many connections to one server wait for the next request. When full: one that is done with is closed.
const IDLE_MAX: usize = 25;
/// How large a document may be that this server itself asks for.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What this server shows to others.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Whose certificates are believed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    Anybody,
    /// Those of these authorities in PEM, or of the system's if there are none.
    Authorities(&'a [u8]),
}

/// Connections to one server, or to many that are trusted alike.
#[derive(Debug)]
pub(crate) struct Transport {
    client: Client<Connector, Body>,
    upgrading: Client<Connector, Body>,
}

/// Why nothing could be asked, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failure(String);

#[derive(Clone, Debug)]
struct Connector {
    tls: Arc<TlsConfig>,
    /// Whom certificates must be for, if not for the host of the URL.
    name: Option<ServerName<'static>>,
}

/// Believes any certificate.
#[derive(Debug)]
struct Credulous(Arc<CryptoProvider>);

enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

// === impl ClientCertificate ===

impl ClientCertificate {
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, crate::tls::Error> {
        let pair = files::pair(certificate, key)?;
        Ok(Self { certificates: pair.certificates, key: pair.key })
    }
}

// === impl Transport ===

impl Transport {
    /// `name` is whom certificates must be for, if not for the host of the URL.
    ///
    /// # Errors
    /// What is wrong with the authorities, the client certificate or the name.
    pub(crate) fn new(
        trust: Trust<'_>,
        certificate: Option<&ClientCertificate>,
        name: Option<String>,
    ) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = TlsConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = match trust {
            Trust::Anybody => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Credulous(provider)))
            }
            Trust::Authorities(bundle) => builder.with_root_certificates(roots(bundle)?),
        };
        let mut tls = match certificate {
            Some(it) => builder
                .with_client_auth_cert(it.certificates.clone(), it.key.clone_key())
                .map_err(|error| error.to_string())?,
            None => builder.with_no_client_auth(),
        };
        let name = name.map(ServerName::try_from).transpose().map_err(|error| error.to_string())?;
        let client = |tls: TlsConfig, idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(idle)
                // A peer that is gone is noticed though nothing is asked.
                .http2_keep_alive_interval(Duration::from_secs(30))
                .http2_keep_alive_timeout(Duration::from_secs(15))
                .build(Connector { tls: Arc::new(tls), name: name.clone() })
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let upgrading = client(tls.clone(), 0);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { client: client(tls, IDLE_MAX), upgrading })
    }

    /// Sends a request; the URI says to whom.
    pub(crate) async fn send(
        &self,
        request: Request<Body>,
        upgrade: bool,
    ) -> Result<Response<Incoming>, String> {
        let client = if upgrade { &self.upgrading } else { &self.client };
        client.request(request).await.map_err(|error| words(&error))
    }

    /// Asks for a document and gives its answer's head and body.
    pub(crate) async fn get(&self, request: Request<Body>) -> Result<(http::response::Parts, Bytes), String> {
        let (head, body) = self.send(request, false).await?.into_parts();
        let body = Limited::new(body, DOCUMENT_BYTES_MAX).collect().await;
        Ok((head, body.map_err(|error| error.to_string())?.to_bytes()))
    }
}

/// The innermost reason, in Go's words where we have them.
fn words(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    loop {
        if let Some(Failure(words)) = innermost.downcast_ref() {
            return words.clone();
        }
        if let Some(error) = innermost.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_closed() || error.is_canceled())
        {
            return "EOF".to_owned();
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => return innermost.to_string(),
        }
    }
}

/// These authorities, or the system's if there are none.
fn roots(bundle: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let own = !bundle.trim_ascii().is_empty();
    let pem = if own { bundle.to_vec() } else { system_roots() };
    let (added, _) = roots.add_parsable_certificates(rustls_pemfile::certs(&mut pem.as_slice()).flatten());
    if own && added == 0 {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    Ok(roots)
}

// === impl Connector ===

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Stream, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&to).await.map_err(Failure) })
    }
}

impl Connector {
    async fn connect(&self, to: &Uri) -> Result<Stream, String> {
        let is_plain = to.scheme() == Some(&Scheme::HTTP);
        let host = to.host().unwrap_or_default();
        let address = format!("{host}:{}", to.port_u16().unwrap_or(if is_plain { 80 } else { 443 }));
        let late = || format!("dial tcp {address}: i/o timeout");
        let stream =
            tokio::time::timeout(DIAL, TcpStream::connect(&address)).await.map_err(|_late| late())?;
        let stream = stream.map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
                io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
                io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
                _ => error.to_string(),
            };
            format!("dial tcp {address}: {why}")
        })?;
        // Small messages that wait for an answer.
        let _best_effort = stream.set_nodelay(true);
        if is_plain {
            return Ok(Stream::Plain(TokioIo::new(stream)));
        }
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|error| error.to_string())?,
        };
        let shaken = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream);
        let shaken = tokio::time::timeout(HANDSHAKE, shaken)
            .await
            .map_err(|_late| "net/http: TLS handshake timeout".to_owned())?;
        let stream = shaken.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            _ => format!("tls: failed to verify certificate: {error}"),
        })?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }
}

// === impl Stream ===

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match self {
            Self::Tls(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                connected.negotiated_h2()
            }
            _ => connected,
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }
}

// === impl Credulous ===

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
