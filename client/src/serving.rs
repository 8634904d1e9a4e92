//! What a component that is a process of its own serves: whether it is well, its metrics, and why it did what it did.
//!
//! The flags, paths and answers are those of upstream's scheduler and controller manager. Who asks is found out and decided
//! by the API server (token and access reviews), so a component keeps no rights of its own; health is for everybody.
//!
//! Invariant: nothing here changes the cluster.

mod access;
mod health;
mod tls;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use prometheus::{Encoder as _, Registry, TextEncoder};
use runtime::Runtime;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use self::{access::Access, health::Health};
use crate::{Api, transport::kubeconfig::Remote};

/// The port of upstream's controller manager.
pub const CONTROLLER_MANAGER_PORT: u16 = 10257;
/// The port of upstream's scheduler.
pub const SCHEDULER_PORT: u16 = 10259;
/// Where a component tells why it did what it did.
pub const RECORDS_PATH: &str = "/debug/records";

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many connections there may be at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 256;

/// The flags of upstream's components about what they serve.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The address to serve on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The port to serve HTTPS on; 0 serves nothing. Without it the component's own
    #[arg(long, value_name = "PORT")]
    pub secure_port: Option<u16>,
    /// The certificate to serve with; without it one is made in memory
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// The authority whose client certificates say who asks; without it what the cluster publishes
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// How to reach the API server that reviews tokens; without it those who ask with one are anonymous
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Do not look up the authority of client certificates in the cluster
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub authentication_skip_lookup: bool,
    /// How to reach the API server that decides who may ask; without it nobody may ask what is not for everybody
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Paths for everybody
    #[arg(
        long,
        value_name = "PATHS",
        value_delimiter = ',',
        default_values = ["/healthz", "/readyz", "/livez"]
    )]
    pub authorization_always_allow_paths: Vec<String>,
}

/// Tells why things were done: given the resource with its group, the namespace and the name that somebody asks about.
pub type Tell = Box<dyn Fn(&str, &str, &str) -> Value + Send + Sync>;

/// What a component shows of itself. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Shown>);

struct Shown {
    registry: Registry,
    health: Health,
    tell: Mutex<Option<Tell>>,
}

struct Server {
    site: Site,
    access: Access,
}

type Answer = Response<Full<Bytes>>;

// === impl Site ===

impl Site {
    /// A component that is well until the process is told to stop, and has no metrics but those of the process.
    pub fn new(runtime: &Runtime) -> Self {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        if let Err(error) =
            registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
        {
            tracing::warn!(%error, "no metrics of the process");
        }
        let tasks = runtime.tasks.clone();
        let health = Health::new(move || tasks.is_stopping());
        Self(Arc::new(Shown { registry, health, tell: Mutex::default() }))
    }

    /// Where metrics are registered, now or later.
    pub fn metrics(&self) -> &Registry {
        &self.0.registry
    }

    /// From now on it is told why things were done.
    pub fn told_by(&self, tell: Tell) {
        *self.0.tell.lock() = Some(tell);
    }

    /// Serves until the process is told to stop. Says where; `None` if the flags want nothing served.
    ///
    /// # Errors
    /// A port that is taken, or files that cannot be used: one line that says what is wrong and what to do.
    pub async fn serve(
        &self,
        flags: &Flags,
        usual_port: u16,
        runtime: &Runtime,
    ) -> anyhow::Result<Option<SocketAddr>> {
        let port = flags.secure_port.unwrap_or(usual_port);
        if port == 0 {
            return Ok(None);
        }
        let address = SocketAddr::new(flags.bind_address, port);
        let acceptor = tls::acceptor(flags)?;
        let authentication = reviewer(flags.authentication_kubeconfig.as_ref()).await?;
        let authorization = reviewer(flags.authorization_kubeconfig.as_ref()).await?;
        let access = Access::new(flags, authentication, authorization, Arc::clone(&runtime.clock))?;
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; choose another port with --secure-port, 0 for none")
        })?;
        let server = Arc::new(Server { site: self.clone(), access });
        runtime.tasks.spawn("component-server", accept(listener, acceptor, server, runtime.clone()));
        tracing::info!(%address, "serving health and metrics");
        Ok(Some(address))
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Site")
    }
}

async fn reviewer(kubeconfig: Option<&PathBuf>) -> anyhow::Result<Option<Api>> {
    let Some(path) = kubeconfig else { return Ok(None) };
    let remote = Remote::connect(Some(path)).await.with_context(|| path.display().to_string())?;
    Ok(Some(Api::new(Arc::new(remote), concat!("component/", env!("CARGO_PKG_VERSION")))))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, server: Arc<Server>, runtime: Runtime) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                runtime.tasks.spawn("component-connection", async move {
                    connection(server, acceptor, stream).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, mostly: give connections a moment to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let shown: Arc<[CertificateDer<'static>]> = {
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        certificates.iter().map(|certificate| certificate.clone().into_owned()).collect()
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, shown) = (Arc::clone(&server), Arc::clone(&shown));
        async move { Ok::<_, Infallible>(server.answer(&request, &shown).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    builder.http2().timer(TokioTimer::new());
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

// === impl Server ===

impl Server {
    async fn answer(&self, request: &Request<Incoming>, certificates: &[CertificateDer<'static>]) -> Answer {
        let path = request.uri().path();
        let asked = access::Asked {
            method: request.method(),
            path,
            token: access::bearer(request.headers()),
            certificates,
        };
        if let Err(refusal) = self.access.check(&asked).await {
            return refusal.answer(path);
        }
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        match path {
            "/metrics" if get => self.metrics(),
            RECORDS_PATH if get => self.records(request.uri().query().unwrap_or_default()),
            _ => match self.site.0.health.answer(path, request.uri().query().unwrap_or_default()) {
                Some((code, body)) => text(code, body),
                None => text(404, "404 page not found\n".to_owned()),
            },
        }
    }

    fn metrics(&self) -> Answer {
        let mut encoded = Vec::new();
        match TextEncoder::new().encode(&self.site.0.registry.gather(), &mut encoded) {
            Ok(()) => respond(200, "text/plain; version=0.0.4; charset=utf-8", encoded),
            Err(error) => text(500, format!("{error}\n")),
        }
    }

    fn records(&self, query: &str) -> Answer {
        let asked = |wanted: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value).next().unwrap_or_default()
        };
        let tell = self.site.0.tell.lock();
        // One that does not lead has done nothing that could be asked about.
        let told = tell.as_ref().map(|tell| tell(asked("resource"), asked("namespace"), asked("name")));
        respond(200, "application/json", told.unwrap_or_else(|| serde_json::json!({})).to_string())
    }
}

fn text(code: u16, body: String) -> Answer {
    let mut answer = respond(code, "text/plain; charset=utf-8", body);
    answer.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

fn respond(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

#[cfg(test)]
mod tests;
