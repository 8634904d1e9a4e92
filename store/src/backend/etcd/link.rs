//! The way to an etcd: one connection at a time, to one of its endpoints; when it fails, to the next one.
//!
//! It knows what may be asked again. A read may; a write only if it certainly did not leave this process: everything else
//! is for the caller to decide, who is told that the outcome is not known.

use std::{
    error::Error as _,
    fmt, fs,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use http::uri::PathAndQuery;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, ConnectError, Status, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_prost::ProstCodec;

use super::{
    super::{Error, Result},
    Options,
    wire::{
        AuthenticateRequest, AuthenticateResponse, Response, WatchCreate, WatchProgress, WatchRequest,
        WatchResponse, WatchUnion,
    },
};

/// Upstream's figures for its connections to etcd.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// etcd itself gives up after seven.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a read is tried, besides once at each endpoint.
const READ_AGAIN: usize = 2;
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What may wait to be sent on a watch: its creation, and requests for progress. When full: one is on its way already.
const WATCH_REQUESTS_MAX: usize = 4;
/// Ranges come in pages and events in fragments, and one value may have any size.
const MESSAGE_MAX: usize = 1 << 30;

pub(super) mod path {
    //! etcd's methods.
    pub(in super::super) const RANGE: &str = "/etcdserverpb.KV/Range";
    pub(in super::super) const TXN: &str = "/etcdserverpb.KV/Txn";
    pub(in super::super) const COMPACT: &str = "/etcdserverpb.KV/Compact";
    pub(in super::super) const WATCH: &str = "/etcdserverpb.Watch/Watch";
    pub(in super::super) const LEASE_GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
    pub(in super::super) const LEASE_TIME_TO_LIVE: &str = "/etcdserverpb.Lease/LeaseTimeToLive";
    pub(in super::super) const STATUS: &str = "/etcdserverpb.Maintenance/Status";
    pub(in super::super) const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";
}

/// What asking twice would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing.
    Harmless,
    /// Perhaps write twice.
    Never,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: Status,
    /// Whether etcd may have done what it was asked.
    pub(super) perhaps_done: bool,
}

pub(super) struct Link {
    options: Options,
    current: Mutex<Current>,
    /// The newest revision any answer told of.
    seen: AtomicI64,
}

#[derive(Default)]
struct Current {
    endpoint: usize,
    /// Grows with each connection given up.
    generation: u64,
    channel: Option<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

/// A connection as it is now.
struct Connected {
    generation: u64,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

/// An open watch.
pub(super) struct Watching {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    generation: u64,
}

// === impl Link ===

impl Link {
    pub(super) fn new(options: Options) -> Self {
        Self { options, current: Mutex::default(), seen: AtomicI64::new(0) }
    }

    /// The endpoints, for people.
    pub(super) fn name(&self) -> String {
        self.options.endpoints.join(",")
    }

    /// The newest revision that is known to exist.
    pub(super) fn seen(&self) -> i64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Asks one question.
    pub(super) async fn call<Q, A>(
        &self,
        path: &'static str,
        request: Q,
        repeat: Repeat,
    ) -> std::result::Result<A, Failure>
    where
        Q: Message + Clone + 'static,
        A: Response,
    {
        let endpoints = self.options.endpoints.len();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.attempt(path, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let tried_all = attempt >= endpoints;
            if failure.status.code() == Code::Unauthenticated && self.options.user.is_some() && attempt == 1 {
                // The token has expired; the next attempt gets another.
                continue;
            }
            let again = match repeat {
                _ if !failure.perhaps_done && is_transport(&failure.status) => !tried_all,
                Repeat::Harmless if is_passing(&failure.status) => attempt < endpoints + READ_AGAIN,
                Repeat::Harmless | Repeat::Never => false,
            };
            if !again {
                return Err(failure);
            }
            if tried_all {
                tokio::time::sleep(READ_AGAIN_AFTER).await;
            }
        }
    }

    async fn attempt<Q, A>(&self, path: &'static str, request: Q) -> std::result::Result<A, Failure>
    where
        Q: Message + 'static,
        A: Response,
    {
        let connected = self.connected().await.map_err(|status| Failure { status, perhaps_done: false })?;
        let (generation, answer) = (connected.generation, unary::<Q, A>(connected, path, request));
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        };
        match answer {
            Ok(answer) => {
                self.seen.fetch_max(answer.revision(), Ordering::AcqRel);
                Ok(answer)
            }
            Err(status) => {
                let perhaps_done = !certainly_not_done(&status);
                self.failed(generation, &status);
                Err(Failure { status, perhaps_done })
            }
        }
    }

    /// Opens a watch of a range of keys.
    pub(super) async fn watch(&self, create: WatchCreate) -> std::result::Result<Watching, Status> {
        let Connected { generation, channel, token } = self.connected().await?;
        let (requests, outgoing) = mpsc::channel(WATCH_REQUESTS_MAX);
        let create = WatchRequest { request: Some(WatchUnion::Create(create)) };
        let queued = requests.try_send(create);
        debug_assert!(queued.is_ok(), "a new queue has room");
        let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
        // A member that has lost the others ends the watch instead of staying silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        if let Some(token) = token {
            request.metadata_mut().insert("token", token);
        }
        let opening = async {
            let mut grpc = grpc(channel).await?;
            let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
            grpc.streaming(request, PathAndQuery::from_static(path::WATCH), codec).await
        };
        let opened = match tokio::time::timeout(ANSWER_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        };
        match opened {
            Ok(response) => Ok(Watching { requests, responses: response.into_inner(), generation }),
            Err(status) => {
                self.failed(generation, &status);
                Err(status)
            }
        }
    }

    /// The next message of a watch.
    pub(super) async fn next(&self, watching: &mut Watching) -> std::result::Result<WatchResponse, Status> {
        match watching.responses.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(Status::unavailable("the watch ended")),
            Err(status) => {
                self.failed(watching.generation, &status);
                Err(status)
            }
        }
    }

    async fn connected(&self) -> std::result::Result<Connected, Status> {
        let mut connected = {
            let mut current = self.current.lock();
            let channel = match &current.channel {
                Some(channel) => channel.clone(),
                None => {
                    let channel = self.endpoint(current.endpoint)?.connect_lazy();
                    current.channel.insert(channel).clone()
                }
            };
            Connected { generation: current.generation, channel, token: current.token.clone() }
        };
        if let (None, Some((name, password))) = (&connected.token, &self.options.user) {
            let request = AuthenticateRequest { name: name.clone(), password: password.clone() };
            let anonymous = Connected { channel: connected.channel.clone(), token: None, ..connected };
            let answer = unary::<_, AuthenticateResponse>(anonymous, path::AUTHENTICATE, request).await;
            let answer = answer.inspect_err(|status| self.failed(connected.generation, status))?;
            let token: MetadataValue<Ascii> = answer
                .token
                .parse()
                .map_err(|error| Status::internal(format!("etcd's token is no text: {error}")))?;
            self.current.lock().token = Some(token.clone());
            connected.token = Some(token);
        }
        Ok(connected)
    }

    /// Certificates are read for each connection, so that renewed ones are used.
    fn endpoint(&self, n: usize) -> std::result::Result<Endpoint, Status> {
        let Some(url) = self.options.endpoints.get(n) else { return Err(Status::internal("no endpoint")) };
        let wrong = |error: &dyn fmt::Display| Status::invalid_argument(format!("{url}: {error}"));
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| wrong(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            // Large lists and many watches share the connection.
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20);
        if url.starts_with("https://") {
            let mut tls = ClientTlsConfig::new();
            if let Some(file) = &self.options.ca_file {
                tls = tls.ca_certificate(Certificate::from_pem(read(file)?));
            }
            if let (Some(certificate), Some(key)) = (&self.options.cert_file, &self.options.key_file) {
                tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(&chain(&error)))?;
        }
        Ok(endpoint)
    }

    /// Gives a connection up if it is the one in use and the failure is its fault.
    fn failed(&self, generation: u64, status: &Status) {
        let mut current = self.current.lock();
        if current.generation != generation {
            return;
        }
        if status.code() == Code::Unauthenticated {
            current.token = None;
        }
        if is_passing(status) {
            current.endpoint = (current.endpoint + 1) % self.options.endpoints.len().max(1);
            current.generation += 1;
            current.channel = None;
            current.token = None;
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("endpoints", &self.options.endpoints).finish_non_exhaustive()
    }
}

async fn grpc(channel: Channel) -> std::result::Result<Grpc<Channel>, Status> {
    let mut grpc =
        Grpc::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok(grpc)
}

async fn unary<Q, A>(connected: Connected, path: &'static str, request: Q) -> std::result::Result<A, Status>
where
    Q: Message + 'static,
    A: Response,
{
    let mut grpc = grpc(connected.channel).await?;
    let mut request = tonic::Request::new(request);
    if let Some(token) = connected.token {
        request.metadata_mut().insert("token", token);
    }
    let codec = ProstCodec::<Q, A>::default();
    Ok(grpc.unary(request, PathAndQuery::from_static(path), codec).await?.into_inner())
}

fn read(file: &std::path::Path) -> std::result::Result<Vec<u8>, Status> {
    fs::read(file)
        .map_err(|error| Status::invalid_argument(format!("cannot read {}: {error}", file.display())))
}

/// An error with its causes, which for connections say more than itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// There was no connection.
fn is_transport(status: &Status) -> bool {
    status.code() == Code::Unavailable && caused_by::<ConnectError>(status)
}

/// Another connection, or another time, may do better.
fn is_passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        // What a connection that breaks looks like.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    }
}

/// etcd says itself that it did not do it, or was never asked.
fn certainly_not_done(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => is_transport(status) || status.message().contains("etcdserver: no leader"),
        Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => false,
        _ => true,
    }
}

// === impl Failure ===

impl Failure {
    /// What it means to the store's users.
    pub(super) fn into_error(self) -> Error {
        let text = describe(&self.status);
        match self.status.code() {
            Code::InvalidArgument if text.contains("too large") => Error::TooLarge(text),
            Code::ResourceExhausted if text.contains("space exceeded") => {
                Error::NoSpace { reason: text, outcome_unknown: false }
            }
            _ => Error::Unavailable { reason: format!("etcd: {text}"), outcome_unknown: self.perhaps_done },
        }
    }
}

/// What a status says, for people.
pub(super) fn describe(status: &Status) -> String {
    match status.source() {
        Some(error) => chain(error),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

/// A status of a watch or of a read as an error.
pub(super) fn unavailable(status: &Status) -> Error {
    Error::Unavailable { reason: format!("etcd: {}", describe(status)), outcome_unknown: false }
}

/// Numbers of the protocol are signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Revisions and counts are not negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

// === impl Watching ===

impl Watching {
    /// Asks how far the watch is. If there is no room for the question, one is on its way.
    pub(super) fn request_progress(&self) -> Result<()> {
        match self.requests.try_send(WatchRequest { request: Some(WatchUnion::Progress(WatchProgress {})) }) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(unavailable(&Status::unavailable("the watch ended")))
            }
        }
    }
}
