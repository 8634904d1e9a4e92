//! The `etcd` of envtest: a stand-in that says where objects may be kept, and keeps none itself.
//!
//! envtest starts an etcd and hands its URL to a kube-apiserver. Ours needs no etcd, but a place for its objects that
//! lives as long as that etcd's data directory. So this process answers `/health`, and tells a kube-apiserver of ours the
//! directory under [`STORE`]. Everything else, above all etcd's own API, is refused: no client is told that anything was
//! stored. It listens to this machine only, since a path means nothing elsewhere.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use runtime::{Runtime, Tasks};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What the program is called.
pub(crate) const NAME: &str = "etcd";
/// Where a kube-apiserver of ours finds the place for its objects. An etcd has nothing there.
const STORE: &str = "/binnacle/store";
/// How long an etcd may take to say whether it is one.
const ANSWER: Duration = Duration::from_secs(5);
/// How long such an answer may be.
const ANSWER_MAX: u64 = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(1);
const REFUSAL: &str = "this is Binnacle's stand-in for etcd in envtest, and no etcd: it stores nothing itself; \
                       start a real etcd to use its API";

/// A stand-in for etcd under envtest: tells Binnacle's kube-apiserver where to keep its objects, and stores nothing itself
#[derive(Parser, Debug)]
#[command(name = NAME, version)]
struct Arguments {
    /// Where to answer: http and an address of this machine
    #[arg(long, value_delimiter = ',', default_value = "http://localhost:2379", value_name = "URLS")]
    listen_client_urls: Vec<Uri>,
    /// What clients would be told; there is nobody here to tell, so it changes nothing
    #[arg(long, value_name = "URLS")]
    advertise_client_urls: Option<String>,
    /// Where other members would be heard; there are none, so nothing listens there
    #[arg(long, value_name = "URLS")]
    listen_peer_urls: Option<String>,
    /// Where the kube-apiserver keeps its objects
    #[arg(long, default_value = "default.etcd", value_name = "DIR")]
    data_dir: PathBuf,
    /// Let writes survive the end of the processes, but not that of the machine
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    unsafe_no_fsync: bool,
}

/// The place for objects.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Place {
    /// An absolute path.
    pub(crate) directory: PathBuf,
    /// Whether writes wait for the disk.
    pub(crate) fsync: bool,
}

/// Runs as `etcd`.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    runtime::logging::start();
    runtime::process::run(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = Runtime::system();
    let directory = &arguments.data_dir;
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let directory =
        std::fs::canonicalize(directory).with_context(|| format!("cannot use {}", directory.display()))?;
    let place = Place { directory: directory.join("binnacle"), fsync: !arguments.unsafe_no_fsync };
    ensure!(!arguments.listen_client_urls.is_empty(), "--listen-client-urls names no URL");
    for url in &arguments.listen_client_urls {
        let listener = listen(url).await.with_context(|| format!("--listen-client-urls {url}"))?;
        tracing::info!(%url, "answering as a stand-in for etcd");
        runtime.tasks.spawn("stand-in", serve(listener, place.clone(), runtime.tasks.clone()));
    }
    runtime::process::interrupted().await;
    runtime.tasks.drain(DRAIN).await;
    Ok(())
}

async fn listen(url: &Uri) -> anyhow::Result<TcpListener> {
    ensure!(url.scheme_str() == Some("http"), "the stand-in speaks plain http only");
    let addresses = addresses(url).await?;
    ensure!(
        addresses.iter().all(|it| it.ip().is_loopback()),
        "the stand-in listens to this machine only, at localhost, 127.0.0.1 or [::1]"
    );
    TcpListener::bind(addresses.as_slice()).await.context("cannot listen there")
}

async fn addresses(url: &Uri) -> anyhow::Result<Vec<SocketAddr>> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().context("there is no port in it")?;
    Ok(tokio::net::lookup_host((host, port)).await.context("its host is not known")?.collect())
}

async fn serve(listener: TcpListener, place: Place, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let place = place.clone();
        tasks.spawn("stand-in connection", async move {
            let service = service_fn(move |request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &place)))
            });
            // Whoever asks may hang up at any time.
            let _gone = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer<B>(request: &Request<B>, place: &Place) -> Response<Full<Bytes>> {
    let speaks_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if speaks_grpc {
        let mut refused = Response::new(Full::default());
        let headers = refused.headers_mut();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        // 12 is UNIMPLEMENTED.
        headers.insert("grpc-status", http::HeaderValue::from_static("12"));
        headers.insert("grpc-message", http::HeaderValue::from_static(REFUSAL));
        return refused;
    }
    let (status, kind, body) = match request.uri().path() {
        "/health" => (StatusCode::OK, "application/json", r#"{"health":"true","reason":""}"#.to_owned()),
        STORE => (StatusCode::OK, "application/json", serde_json::to_string(place).unwrap_or_default()),
        _ => (StatusCode::NOT_IMPLEMENTED, "text/plain", format!("{REFUSAL}\n")),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// The place that the server behind this URL gives, if it is a stand-in of ours; `None` for an etcd, and for what does not
/// answer: whoever connects to it then says what is wrong.
///
/// # Errors
/// A stand-in that cannot be understood.
pub(crate) async fn place_at(url: &str) -> anyhow::Result<Option<Place>> {
    let Some(url) = url.parse::<Uri>().ok().filter(|url| url.scheme_str() == Some("http")) else {
        return Ok(None);
    };
    let Some(authority) = url.authority() else { return Ok(None) };
    // A path from elsewhere means nothing here.
    let Ok(addresses) = addresses(&url).await else { return Ok(None) };
    if !addresses.iter().all(|it| it.ip().is_loopback()) {
        return Ok(None);
    }
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, ask(authority.as_str())).await else { return Ok(None) };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split_ascii_whitespace().nth(1) != Some("200") {
        return Ok(None);
    }
    match serde_json::from_str::<Place>(body) {
        Ok(place) if place.directory.is_absolute() => Ok(Some(place)),
        _ => bail!("{url} answers {STORE}, but names no directory"),
    }
}

/// One request over a connection of its own.
async fn ask(authority: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET {STORE} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(ANSWER_MAX).read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { directory: "/data/binnacle".into(), fsync: false }
    }

    fn ask_for(path: &str, kind: &str) -> Response<Full<Bytes>> {
        answer(&Request::builder().uri(path).header(CONTENT_TYPE, kind).body(()).unwrap(), &place())
    }

    #[test]
    fn nobody_is_told_that_anything_was_stored() {
        let grpc = ask_for("/etcdserverpb.KV/Txn", "application/grpc");
        assert_eq!(grpc.headers()["grpc-status"], "12");
        for path in ["/version", "/v3/kv/put", "/v2/keys/a", "/"] {
            assert_eq!(ask_for(path, "application/json").status(), StatusCode::NOT_IMPLEMENTED, "{path}");
        }
        assert_eq!(ask_for("/health", "").status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn it_listens_to_this_machine_only_and_without_certificates() {
        for url in ["https://127.0.0.1:0", "http://0.0.0.0:0", "http://127.0.0.1"] {
            assert!(listen(&url.parse().unwrap()).await.is_err(), "{url}");
        }
        listen(&"http://127.0.0.1:0".parse().unwrap()).await.unwrap();
        listen(&"http://localhost:0".parse().unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn only_a_stand_in_names_a_place() {
        let runtime = Runtime::system();
        let listener = listen(&"http://127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.tasks.spawn("stand-in", serve(listener, place(), runtime.tasks.clone()));
        assert_eq!(place_at(&url).await.unwrap(), Some(place()));
        for (text, wrong) in [
            ("HTTP/1.1 404 Not Found\r\n\r\n404 page not found", false),
            ("not even HTTP", false),
            ("HTTP/1.1 200 OK\r\n\r\n{}", true),
            ("HTTP/1.1 200 OK\r\n\r\n{\"directory\":\"here\",\"fsync\":true}", true),
        ] {
            let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", other.local_addr().unwrap());
            runtime.tasks.spawn("other", async move {
                let (mut stream, _) = other.accept().await.unwrap();
                let mut read = [0; 1024];
                let _request = stream.read(&mut read).await.unwrap();
                stream.write_all(text.as_bytes()).await.unwrap();
            });
            let told = place_at(&url).await;
            assert_eq!(told.is_err(), wrong, "{text}: {told:?}");
            assert!(!matches!(told, Ok(Some(_))), "{text}: {told:?}");
        }
        assert_eq!(place_at("https://127.0.0.1:1").await.unwrap(), None);
        assert_eq!(place_at("http://127.0.0.1:1").await.unwrap(), None);
    }
}
