//! A whole server for cases to try themselves on: in memory, on paused time, on this thread.

use std::{sync::Arc, time::Duration};

use apiserver::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    server::{InProcess, Server},
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use runtime::Runtime;

/// How many bytes of an answer are read; a longer one is taken for endless.
const ANSWER_MAX: usize = 256 << 20;
/// How long an answer is listened to, in the time of this world: watches go on for half an hour.
const PATIENCE: Duration = Duration::from_secs(2);

/// A server and the thread it lives on.
pub struct World {
    reactor: tokio::runtime::Runtime,
    server: Arc<Server>,
    runtime: Runtime,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or what came of it in time.
    pub body: Bytes,
    /// Whether the body came to its end.
    pub whole: bool,
}

// === impl World ===

impl World {
    /// A fresh server; the same one for the same seed.
    ///
    /// # Panics
    /// When there is none to be had.
    pub fn new(seed: u64) -> Self {
        let reactor = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let reactor = reactor.unwrap_or_else(|error| panic!("no reactor: {error}"));
        let (server, runtime) = reactor.block_on(async {
            let start = jiff::Timestamp::from_second(1_767_225_600).unwrap_or_default();
            let runtime = Runtime::simulated(start, seed);
            let server = launch::in_memory(&runtime).await;
            (server.unwrap_or_else(|error| panic!("no server: {error:#}")), runtime)
        });
        Self { reactor, server, runtime }
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Answers the administrator, or whoever shows a token.
    pub fn send(&self, mut request: Request<Body>) -> Answer {
        if !request.headers().contains_key(http::header::AUTHORIZATION) {
            let admin = User::new("fuzzer", &[MASTERS, AUTHENTICATED]);
            request.extensions_mut().insert(InProcess(admin));
        }
        self.reactor.block_on(async {
            let answer = self.server.serve(request).await;
            let (parts, mut body) = answer.into_parts();
            let mut bytes = Vec::new();
            let read = async {
                while let Some(frame) = body.frame().await {
                    if let Some(data) = frame.ok().as_ref().and_then(|frame| frame.data_ref()) {
                        bytes.extend_from_slice(data);
                    }
                    assert!(bytes.len() <= ANSWER_MAX, "an answer of more than {ANSWER_MAX} bytes");
                }
            };
            let whole = tokio::time::timeout(PATIENCE, read).await.is_ok();
            Answer { code: parts.status.as_u16(), headers: parts.headers, body: bytes.into(), whole }
        })
    }

    /// A request without any finesse.
    pub fn ask(&self, method: &str, path: &str, content_type: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content_type)
            .body(Body::from(body.into()));
        self.send(request.unwrap_or_else(|error| panic!("{method} {path}: {error}")))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.runtime.tasks.stop();
        // Tasks that wait for a time that never comes would hold the server.
        self.reactor.block_on(async { self.runtime.tasks.drain(Duration::from_secs(1)).await });
    }
}
