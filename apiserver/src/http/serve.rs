//! Connections: accepted, secured, handed to the server, drained.
//!
//! Our own loop on hyper rather than `axum::serve`, for the client's certificate and for the limits: header lists as
//! long as impersonation makes them, and clients that cancel many watches at once.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use super::cork::{self, Corked, Gate};
use crate::{audit::record::Peer, identity::PeerCertificates, server::Server};

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How many connections there may be at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 20_000;
/// How many bytes the headers of one request may take.
const HEADERS_MAX: u32 = 1024 * 1024;
/// How long a client may take for the head of a request, which is also how long an HTTP/1 connection may do nothing.
const HEAD: Duration = Duration::from_secs(32);
/// How many headers one request may have.
const HEADERS: usize = 512;
/// How many streams a client may open and cancel again before the server takes it for an attack; client-go cancels
/// hundreds of watches at once.
const RESETS_MAX: usize = 10_000;
/// What connections may do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How many streams one HTTP/2 connection may have.
    pub streams_max: u32,
    /// Which part of HTTP/2 requests is the last of its connection, so that clients spread over several servers.
    pub goaway_chance: f64,
}

/// How long connections may take to finish what they have in hand when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { streams_max: 1000, goaway_chance: 0.0 }
    }
}

/// A socket to serve on.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{address} is taken by another process; stop that or choose another port with --secure-port"
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!(
                "no permission to listen on {address}; choose a port above 1023 with --secure-port"
            )
        }
        _ => anyhow::anyhow!("cannot listen on {address}: {error}"),
    })
}

/// Serves until the server's tasks are told to stop, then drains.
pub async fn run(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Arc<ArcSwap<rustls::ServerConfig>>,
    limits: Limits,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let stopping = server.runtime.tasks.stopping();
    let connections = server.runtime.tasks.child();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            slot = Arc::clone(&slots).acquire_owned() => {
                let Ok(slot) = slot else { break };
                tokio::select! {
                    biased;
                    () = stopping.cancelled() => break,
                    accepted = listener.accept() => accepted.map(|accepted| (slot, accepted)),
                }
            }
        };
        match accepted {
            Ok((slot, (stream, peer))) => {
                let (server, acceptor) = (Arc::clone(&server), TlsAcceptor::from(tls.load_full()));
                connections.spawn_draining("connection", async move {
                    connection(server, acceptor, stream, (Peer(peer), limits)).await;
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
    drop(listener);
    connections.drain(DRAIN).await;
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    (peer, limits): (Peer, Limits),
) {
    // A small answer must not wait for the acknowledgement of the one before.
    let _best_effort = stream.set_nodelay(true);
    let stopping = server.runtime.tasks.stopping();
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(Gate::new(stream))).await else {
        return;
    };
    let certificate = stream.get_ref().1.peer_certificates().map(|chain| {
        PeerCertificates(chain.iter().map(|certificate| certificate.clone().into_owned()).collect())
    });
    let (stream, handle) = Corked::new(stream);
    let goodbye = Arc::new(Notify::new());
    let goes_away = Arc::clone(&goodbye);
    let service = service_fn(move |request: Request<Incoming>| {
        let server = Arc::clone(&server);
        if limits.goaway_chance > 0.0
            && request.version() == http::Version::HTTP_2
            && server.runtime.random.fraction() < limits.goaway_chance
        {
            goes_away.notify_one();
        }
        let certificate = certificate.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            if let Some(certificate) = certificate {
                request.extensions_mut().insert(certificate);
            }
            Ok::<_, std::convert::Infallible>(guarded(server, request).await)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEADERS_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(HEADERS_MAX)
        .max_concurrent_streams(limits.streams_max)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024);
    let graceful = GracefulShutdown::new();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let connection = cork::together(graceful.watch(connection), handle);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = async { tokio::select! { biased; () = stopping.cancelled() => {}, () = goodbye.notified() => {} } } => {
            let shutdown = graceful.shutdown();
            let (ended, ()) = tokio::join!(connection, shutdown);
            ended
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "connection ended");
    }
}

/// Serves one request; a panic in it costs that request and nothing else.
async fn guarded(server: Arc<Server>, request: Request<Body>) -> crate::http::respond::Answer {
    use futures::FutureExt;
    let answer = std::panic::AssertUnwindSafe(server.serve(request)).catch_unwind().await;
    answer.unwrap_or_else(|_panic| {
        // The panic itself was printed by the hook.
        let status =
            api_types::status::Status::internal("this request's handler panicked; the server goes on");
        crate::http::respond::failure(&status, crate::http::negotiate::Media::JSON)
    })
}
