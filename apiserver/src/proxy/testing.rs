//! Both ends of what is passed through: a server over TLS, and a connection to this server that can be upgraded.

use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use runtime::{Clock as _, SystemClock, Tasks};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    server::{InProcess, Server},
    tls::authority::{Authority, Subject},
};

/// Serves on loopback under this name; gives the port, and the authority as PEM.
pub(crate) async fn serve<F>(
    tasks: &Tasks,
    name: &str,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> (u16, String)
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let now = SystemClock.now();
    let (authority, _) = Authority::generate("others", now).unwrap();
    let issued = authority.issue(&Subject::server("other", BTreeSet::from([name.to_owned()])), now).unwrap();
    let certificates =
        rustls_pemfile::certs(&mut issued.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let children = tasks.clone();
    tasks.spawn("another server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            children.spawn("its connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| {
                    let answer = answer.clone();
                    async move { Ok::<_, Infallible>(answer(request).await) }
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let _closed = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, authority.pem().to_owned())
}

/// A connection of an administrator to a server, without a network.
pub(crate) async fn connect(server: &Arc<Server>) -> SendRequest<Body> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let asked = Arc::clone(server);
    server.runtime.tasks.spawn("server side", async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let server = Arc::clone(&asked);
            async move {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
                Ok::<_, Infallible>(Box::pin(server.serve(request)).await)
            }
        });
        let _closed = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(theirs), service)
            .with_upgrades()
            .await;
    });
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
    server.runtime.tasks.spawn("client side", async move {
        let _closed = connection.with_upgrades().await;
    });
    sender
}
