//! The way from a component to the apiserver, as a network is at its worst: replies get lost, watches break off, and a
//! component that crashed is never heard of again.
//!
//! Invariant: without a fault asked for, a link changes nothing but its counter.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use client::transport::{self, Body, BoxError, Transport, TransportError};
use futures::{FutureExt, future::BoxFuture, stream};
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use runtime::Signal;

use crate::safety::world::Wishes;

/// The faults of one component's connection, and its traffic. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Link(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requests: AtomicU64,
    /// So many replies to writes are still to be lost.
    losing: AtomicU32,
    /// So many replies were lost.
    lost: AtomicU64,
    /// Requests that the server did not allow.
    forbidden: Mutex<BTreeSet<String>>,
    /// How often all watches were broken off.
    breaks: Signal<u64>,
    down: AtomicBool,
    wishes: Wishes,
}

/// A transport through a link.
pub struct Linked {
    inner: Arc<dyn Transport>,
    link: Link,
    /// Who is behind it, as wishes are told.
    who: String,
}

// === impl Link ===

impl Link {
    /// A link without a fault, that tells whoever checks what its users want gone.
    pub fn telling(wishes: Wishes) -> Self {
        Self(Arc::new(State { wishes, ..State::default() }))
    }

    /// Leads a transport through this link. Of a service account only the name is told.
    pub fn through(&self, inner: Arc<dyn Transport>, user: &str) -> Linked {
        let who = user.rsplit(':').next().unwrap_or_default().to_owned();
        Linked { inner, link: self.clone(), who }
    }

    /// How many requests went through.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// How many replies to writes were lost.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// The requests that the server did not allow, such as `PUT /api/v1/nodes/a`.
    pub fn forbidden(&self) -> Vec<String> {
        self.0.forbidden.lock().iter().cloned().collect()
    }

    /// The next so many writes are carried out, and their replies are lost.
    pub fn lose_replies(&self, count: u32) {
        self.0.losing.store(count, Ordering::Relaxed);
    }

    /// Breaks off every answer that is still being read: watches, above all.
    pub fn break_watches(&self) {
        self.0.breaks.update(|breaks| *breaks += 1);
    }

    /// Nothing goes through any more, in either direction, for ever: whoever is behind this link has crashed.
    pub fn go_down(&self) {
        self.0.down.store(true, Ordering::Relaxed);
        self.break_watches();
    }

    fn is_down(&self) -> bool {
        self.0.down.load(Ordering::Relaxed)
    }

    fn loses(&self, method: &Method) -> bool {
        let write = !matches!(*method, Method::GET | Method::HEAD);
        let less = |left: u32| left.checked_sub(1);
        write && self.0.losing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

// === impl Linked ===

impl Transport for Linked {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        async move {
            let state = &self.link.0;
            if self.link.is_down() {
                return Err(TransportError::Unreachable("the link is down".into()));
            }
            state.requests.fetch_add(1, Ordering::Relaxed);
            let lose = self.link.loses(request.method());
            let breaks = state.breaks.get();
            let what = format!("{} {}", request.method(), request.uri().path());
            if let Some((plural, namespace, name)) = wish(request.method(), request.uri().path()) {
                state.wishes.ask(&self.who, plural, namespace, name);
            }
            let answer = self.inner.send(request).await?;
            if answer.status() == http::StatusCode::FORBIDDEN {
                state.forbidden.lock().insert(what);
            }
            if lose || self.link.is_down() {
                state.lost.fetch_add(1, Ordering::Relaxed);
                return Err(TransportError::Interrupted("the reply was lost".into()));
            }
            Ok(answer.map(|body| breakable(body, self.link.clone(), breaks)))
        }
        .boxed()
    }
}

/// What a request wants gone: the resource, the namespace and the name.
fn wish<'a>(method: &Method, path: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let steps: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let from_resource = match *steps.first()? {
        "api" => steps.get(2..)?,
        _ => steps.get(3..)?,
    };
    match (method, from_resource) {
        (&Method::DELETE, ["namespaces", namespace, plural, name])
        | (&Method::POST, ["namespaces", namespace, plural, name, "eviction"]) => {
            Some((*plural, *namespace, *name))
        }
        (&Method::DELETE, [plural, name]) => Some((*plural, "", *name)),
        _ => None,
    }
}

/// A body that ends with an error once its link's watches are broken off.
fn breakable(body: Body, link: Link, breaks: u64) -> Body {
    let frames = stream::unfold(Some((body, link)), move |reading| async move {
        let (mut body, link) = reading?;
        let frame = tokio::select! {
            biased;
            _ = link.0.breaks.wait(|now| *now != breaks) => {
                let broken: BoxError = "the connection broke".into();
                return Some((Err(broken), None));
            }
            frame = body.frame() => frame?,
        };
        Some((frame, Some((body, link))))
    });
    transport::boxed(StreamBody::new(frames))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with what was asked.
    struct Echo;

    impl Transport for Echo {
        fn send(
            &self,
            request: http::Request<Bytes>,
        ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
            async move { Ok(http::Response::new(transport::full(request.into_body()))) }.boxed()
        }
    }

    fn request(method: Method) -> http::Request<Bytes> {
        http::Request::builder().method(method).body(Bytes::from_static(b"hello")).unwrap()
    }

    #[tokio::test]
    async fn only_replies_to_writes_are_lost_and_only_so_many() {
        let link = Link::default();
        let transport = link.through(Arc::new(Echo), "tests");
        link.lose_replies(1);
        assert!(transport.send(request(Method::GET)).await.is_ok());
        let lost = transport.send(request(Method::PUT)).await;
        assert!(matches!(lost, Err(TransportError::Interrupted(_))));
        assert!(transport.send(request(Method::PUT)).await.is_ok());
        assert_eq!((link.requests(), link.lost()), (3, 1));
    }

    #[test]
    fn deletions_and_evictions_are_wishes() {
        for (method, path, wanted) in [
            (Method::DELETE, "/api/v1/namespaces/ns/pods/a", Some(("pods", "ns", "a"))),
            (Method::DELETE, "/apis/apps/v1/namespaces/ns/replicasets/a", Some(("replicasets", "ns", "a"))),
            (Method::POST, "/api/v1/namespaces/ns/pods/a/eviction", Some(("pods", "ns", "a"))),
            (Method::DELETE, "/api/v1/nodes/n", Some(("nodes", "", "n"))),
            (Method::POST, "/api/v1/namespaces/ns/pods", None),
            (Method::DELETE, "/api/v1/namespaces/ns/pods", None),
        ] {
            assert_eq!(wish(&method, path), wanted, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn what_is_being_read_breaks_off_and_nothing_goes_through_a_link_that_is_down() {
        let link = Link::default();
        let transport = link.through(Arc::new(Echo), "tests");
        let whole = transport.send(request(Method::GET)).await.unwrap();
        assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "hello");
        let broken = transport.send(request(Method::GET)).await.unwrap();
        link.go_down();
        assert!(broken.into_body().collect().await.is_err());
        let refused = transport.send(request(Method::GET)).await;
        assert!(matches!(refused, Err(TransportError::Unreachable(_))));
    }
}
