//! The transport of a separate binary: TLS and credentials as a kubeconfig, or the pod's service account, says.

use std::path::Path;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{Body, BoxError, Transport, TransportError, boxed};

/// A connection pool to one API server.
#[derive(Clone)]
pub struct Remote(kube::Client);

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or makes no sense.
    #[error("cannot read the kubeconfig")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error("cannot find out how to reach the API server")]
    Infer(#[source] kube::config::InferConfigError),
    /// The credentials or certificates cannot be used.
    #[error("cannot make a client")]
    Client(#[source] kube::Error),
}

// === impl Remote ===

impl Remote {
    /// As the kubeconfig file says, in its current context.
    ///
    /// # Errors
    /// When the file or its credentials cannot be used.
    pub async fn from_kubeconfig(path: &Path) -> Result<Self, Error> {
        let kubeconfig = Kubeconfig::read_from(path).map_err(Error::Kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(Error::Kubeconfig)?;
        Self::from_config(config)
    }

    /// As the environment says: `KUBECONFIG`, the home directory's kubeconfig, or the pod's service account.
    ///
    /// # Errors
    /// When there is nothing usable.
    pub async fn inferred() -> Result<Self, Error> {
        Self::from_config(kube::Config::infer().await.map_err(Error::Infer)?)
    }

    /// As a configuration made by hand says.
    ///
    /// # Errors
    /// When its credentials cannot be used.
    pub fn from_config(mut config: kube::Config) -> Result<Self, Error> {
        // A watch is silent for as long as nothing happens: its own `timeoutSeconds` bounds it, not the socket's.
        config.read_timeout = None;
        config.write_timeout = None;
        // One call is one request: a write whose answer was lost must not be sent again behind our back.
        config.default_retry = false;
        Ok(Self(kube::Client::try_from(config).map_err(Error::Client)?))
    }
}

impl Transport for Remote {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        async move {
            let request = request.map(kube::client::Body::from);
            match self.0.send(request).await {
                Ok(response) => Ok(response.map(boxed)),
                Err(error) => Err(sort(error)),
            }
        }
        .boxed()
    }
}

/// Only a failed connect is sure to have sent nothing.
fn sort(error: kube::Error) -> TransportError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut unreachable = matches!(error, kube::Error::Auth(_));
    while let Some(here) = cause {
        if let Some(io) = here.downcast_ref::<std::io::Error>() {
            unreachable |= io.kind() == std::io::ErrorKind::ConnectionRefused;
        }
        cause = here.source();
    }
    let error: BoxError = Box::new(error);
    if unreachable { TransportError::Unreachable(error) } else { TransportError::Interrupted(error) }
}
