//! Counts one request from its first byte to the last byte of its answer.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Method, Request};
use tokio::time::Instant;

use super::metrics::{Lasting, Outcome, RequestKind, RequestLabels, Serving};
use crate::{
    http::{
        info::{self, RequestInfo},
        query::Query,
        respond::Answer,
    },
    server::Server,
};

/// A request that is being counted.
pub struct Count {
    server: Arc<Server>,
    info: RequestInfo,
    apply: bool,
    dry_run: bool,
    timeout: Option<Duration>,
    begun: Instant,
    // Held until the answer is on its way.
    _serving: Option<Serving>,
}

/// Marks an answer that does not say what became of the request, but that the server protected itself.
#[derive(Clone, Copy, Debug)]
pub struct SelfDefence;

// === impl Count ===

impl Count {
    /// Begins with the head of a request.
    pub fn begin(server: &Arc<Server>, request: &Request<Body>) -> Self {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let info = info::resolve(request.method(), request.uri().path(), &query).unwrap_or_default();
        let kind = match *request.method() {
            Method::GET | Method::HEAD | Method::OPTIONS => RequestKind::ReadOnly,
            _ => RequestKind::Mutating,
        };
        let apply = request
            .headers()
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|media| media.as_bytes().starts_with(b"application/apply-patch"));
        let serving = (!info.is_long_running()).then(|| server.metrics.requests.serve(kind));
        Self {
            server: Arc::clone(server),
            apply,
            timeout: query.timeout(),
            dry_run: query.get("dryRun").is_some_and(|value| !value.is_empty()),
            begun: Instant::now(),
            info,
            _serving: serving,
        }
    }

    /// How long the request may take: no more than `max`, less if it says so itself. No bound for those that last.
    pub fn limit(&self, max: Duration) -> Option<Duration> {
        let own = self.timeout.filter(|own| !own.is_zero());
        (!self.info.is_long_running()).then(|| own.map_or(max, |own| own.min(max)))
    }

    /// Ends with the head of the answer, or, for requests that last, with the end of its body.
    pub fn end(self, answer: Answer) -> Answer {
        use http_body::Body as _;

        let labels = self.labels();
        let size = answer.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let outcome = Outcome {
            code: answer.status().as_u16(),
            dry_run: if self.dry_run { "All" } else { "" },
            elapsed: self.begun.elapsed(),
            response_bytes: size,
            ..Outcome::default()
        };
        self.server.metrics.requests.answered(labels, outcome);
        if answer.extensions().get::<SelfDefence>().is_some() {
            self.server.metrics.requests.terminated(labels, outcome.code);
        }
        if !self.info.is_long_running() {
            return answer;
        }
        let lasting = self.server.metrics.requests.last(labels);
        answer.map(|body| Body::new(Watched { body, _lasting: lasting }))
    }

    fn labels(&self) -> RequestLabels<'_> {
        let info = &self.info;
        if !info.resource_request {
            return RequestLabels {
                verb: verb(info, self.apply),
                subresource: &info.path,
                ..RequestLabels::default()
            };
        }
        let scope = match (info.name.is_empty(), info.namespace.is_empty()) {
            (false, _) => "resource",
            (true, false) => "namespace",
            (true, true) => "cluster",
        };
        RequestLabels {
            verb: verb(info, self.apply),
            group: &info.group,
            version: &info.version,
            resource: &info.resource,
            subresource: &info.subresource,
            scope,
        }
    }
}

fn verb(info: &RequestInfo, apply: bool) -> &'static str {
    match info.verb.as_str() {
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if apply => "APPLY",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "get" | "head" => "GET",
        _ => "other",
    }
}

/// A body that is counted as long as it goes on.
struct Watched {
    body: Body,
    _lasting: Lasting,
}

impl http_body::Body for Watched {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
