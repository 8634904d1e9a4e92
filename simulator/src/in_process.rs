//! The way from a component to the apiserver in the same process: no socket, no TLS, the same path from there on.
//!
//! The component is who this transport says it is; authorization, admission and all the rest treat it like any caller.

use std::sync::Arc;

use apiserver::{
    authn::user::{AUTHENTICATED, User},
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
pub struct Direct {
    server: Arc<Server>,
    user: User,
}

/// An API client of a component, as a user of these groups.
pub fn api(server: &Arc<Server>, user: &str, groups: &[&str]) -> Api {
    Api::new(Arc::new(Direct::new(server, user, groups)), user)
}

// === impl Direct ===

impl Direct {
    /// As a user of these groups, and of all who are authenticated.
    pub fn new(server: &Arc<Server>, user: &str, groups: &[&str]) -> Self {
        let mut user_groups = groups.to_vec();
        user_groups.push(AUTHENTICATED);
        Self { server: Arc::clone(server), user: User::new(user, &user_groups) }
    }
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
