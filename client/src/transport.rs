//! How a request gets to the API server and its answer back: one trait, so that a process may hold the server itself.
//!
//! Invariant: nothing here reads a body or knows a kind. Who is asking is the transport's secret: an identity is attached
//! by whoever makes it.

pub mod kubeconfig;

pub mod measured;

pub mod service_account;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer: possibly endless, as a watch's is.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Carries requests to one API server as one user.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request whose URI is a path with query, and resolves when the head of the answer is there.
    ///
    /// # Errors
    /// When there is no answer. An answer that tells of a failure is an answer.
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>>;
}

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The request never left: whatever it asked for did not happen.
    #[error("cannot reach the API server")]
    Unreachable(#[source] BoxError),
    /// The connection broke under way: what the request asked for may or may not have happened.
    #[error("the API server did not answer")]
    Interrupted(#[source] BoxError),
}

/// Boxes any body.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    boxed(http_body_util::Full::new(bytes.into()))
}
