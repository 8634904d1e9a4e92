//! The way from a component to the apiserver in the same process: no socket, no TLS, the same path from there on.
//!
//! The component is who this transport says it is; authorization, admission and all the rest treat it like any caller.

use std::sync::Arc;

use apiserver::{
    authn::user::User,
    server::{InProcess, Server},
};
use axum::body::Body;
use bytes::Bytes;
use client::{
    Api,
    transport::{self, Transport, TransportError},
};
use futures::{FutureExt, future::BoxFuture};

/// A transport into a server of this process, as one user.
pub(crate) struct Direct {
    server: Arc<Server>,
    user: User,
}

/// An API client of a component, as a user of these groups.
pub(crate) fn api(server: &Arc<Server>, user: &str, groups: &[&str]) -> Api {
    let mut user_groups = groups.to_vec();
    user_groups.push(apiserver::authn::user::AUTHENTICATED);
    let direct = Direct { server: Arc::clone(server), user: User::new(user, &user_groups) };
    Api::new(Arc::new(direct), user)
}

impl Transport for Direct {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<transport::Body>, TransportError>> {
        let mut request = request.map(Body::from);
        request.extensions_mut().insert(InProcess(self.user.clone()));
        async move { Ok(self.server.serve(request).await.map(transport::boxed)) }.boxed()
    }
}
