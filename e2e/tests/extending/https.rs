//! A server over TLS in the test's own process: what a webhook or an extension server of a user is to the cluster.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Bytes, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// Where a server is reached, and how it is known.
pub(crate) struct Serving {
    /// On loopback.
    pub(crate) port: u16,
    /// The certificate, as PEM: its own authority.
    pub(crate) authority: String,
}

/// What is asked.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

/// Serves JSON under this host name for as long as the runtime lives; `None` is answered with 404.
pub(crate) fn serve<F>(
    runtime: &Runtime,
    host: &str,
    answer: impl Fn(Asked) -> F + Clone + Send + Sync + 'static,
) -> Serving
where
    F: Future<Output = Option<Value>> + Send + 'static,
{
    let own = rcgen::generate_simple_self_signed(vec![host.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            connections.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| respond(request, answer.clone()));
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _gone = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Serving { port, authority: own.cert.pem() }
}

async fn respond<F: Future<Output = Option<Value>>>(
    request: Request<hyper::body::Incoming>,
    answer: impl Fn(Asked) -> F,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answer = answer(Asked { path, body }).await;
    let (code, body) = answer.map_or((404, String::new()), |it| (200, it.to_string()));
    let response = Response::builder().status(code).header("content-type", "application/json");
    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
}
