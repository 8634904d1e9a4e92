//! The transport of a separate binary: TLS and credentials as a kubeconfig, or the pod's service account, says.

use std::path::Path;

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{Body, BoxError, Transport, TransportError, boxed};

/// A connection pool to one API server.
#[derive(Clone)]
pub struct Remote {
    client: kube::Client,
    host: String,
}

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
    /// As the kubeconfig file says, in its current context; without a file as the environment says: `KUBECONFIG`, the home
    /// directory's kubeconfig, or the pod's service account.
    ///
    /// # Errors
    /// When there is nothing usable.
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Self, Error> {
        Self::from_config(configuration(kubeconfig).await?)
    }

    /// To the same server, as nobody.
    ///
    /// # Errors
    /// When there is nothing usable.
    pub async fn connect_as_nobody(kubeconfig: Option<&Path>) -> Result<Self, Error> {
        let mut config = configuration(kubeconfig).await?;
        config.auth_info = kube::config::AuthInfo::default();
        Self::from_config(config)
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
        let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        Ok(Self { client: kube::Client::try_from(config).map_err(Error::Client)?, host })
    }

    /// To another server with the same credentials, such as the port of a component. On this machine whatever certificate it
    /// shows is taken: components make theirs themselves. Elsewhere it must be good by the kubeconfig.
    ///
    /// # Errors
    /// When there is nothing usable.
    pub async fn connect_to(server: http::Uri, kubeconfig: Option<&Path>) -> Result<Self, Error> {
        let mut config = configuration(kubeconfig).await?;
        let host = server.host().unwrap_or_default();
        let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        config.accept_invalid_certs |= here;
        config.tls_server_name = None;
        config.cluster_url = server;
        Self::from_config(config)
    }

    /// Host and port of the server.
    pub fn host(&self) -> &str {
        &self.host
    }
}

async fn configuration(kubeconfig: Option<&Path>) -> Result<kube::Config, Error> {
    let Some(path) = kubeconfig else { return kube::Config::infer().await.map_err(Error::Infer) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(Error::Kubeconfig)?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(Error::Kubeconfig)
}

impl Transport for Remote {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        async move {
            let request = request.map(kube::client::Body::from);
            match self.client.send(request).await {
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

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use runtime::Tasks;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        Api, Error as ApiError, Key,
        api::{
            Selection,
            watch::{Event, From},
        },
        reflector::Metadata,
        resource::PODS,
    };

    /// Reads the head of a request.
    async fn head(stream: &mut TcpStream) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// A server that answers each connection's first request by what `answer` says, in chunks.
    async fn serve(tasks: &Tasks, answer: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("server", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let head = head(&mut stream).await.unwrap();
                for part in answer(&head) {
                    stream.write_all(part.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            }
        });
        format!("http://{address}")
    }

    fn api(server: &str) -> Api {
        let kubeconfig = Kubeconfig::from_yaml(&format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: '{server}'}}}}], users: [{{name: u, user: {{token: secret}}}}]}}"
        ))
        .unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
        let config = futures::executor::block_on(config).unwrap();
        Api::new(Arc::new(Remote::from_config(config).unwrap()), "binnacle/test")
    }

    #[tokio::test]
    async fn a_request_carries_path_credentials_and_name() {
        let tasks = Tasks::new();
        let server = serve(&tasks, |head| {
            let head = head.to_lowercase();
            let known = head.starts_with("get /api/v1/namespaces/ns/pods/a http/1.1")
                && head.contains("authorization: bearer secret")
                && head.contains("user-agent: binnacle/test");
            let body = if known { r#"{"metadata":{"name":"a"}}"# } else { "no" };
            vec![format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())]
        })
        .await;
        let pod: Metadata = api(&server).get(&PODS, &Key::new("ns", "a")).await.unwrap();
        assert_eq!(&*pod.metadata.name, "a");
        tasks.stop();
    }

    #[tokio::test]
    async fn a_watch_is_read_as_it_comes() {
        let tasks = Tasks::new();
        let server = serve(&tasks, |_| {
            let event = r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#;
            let (first, second) = event.split_at(20);
            let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
            let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
            // The stream then breaks off without its last chunk.
            vec![head, chunk(first), chunk(&format!("{second}\n"))]
        })
        .await;
        let mut watch =
            api(&server).watch::<Metadata>(&PODS, &Selection::all(), &From::Now, 60).await.unwrap();
        assert!(matches!(watch.next().await, Ok(Some(Event::Added(pod))) if &*pod.metadata.name == "a"));
        assert!(matches!(watch.next().await, Err(ApiError::Transport(TransportError::Interrupted(_)))));
        tasks.stop();
    }

    #[tokio::test]
    async fn only_a_request_that_never_left_is_sure_not_to_have_happened() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = api(&nobody).get::<Metadata>(&PODS, &Key::new("ns", "a")).await.unwrap_err();
        assert!(matches!(error, ApiError::Transport(TransportError::Unreachable(_))), "{error:?}");
        let tasks = Tasks::new();
        let silent = serve(&tasks, |_| Vec::new()).await;
        let error = api(&silent).get::<Metadata>(&PODS, &Key::new("ns", "a")).await.unwrap_err();
        assert!(matches!(error, ApiError::Transport(TransportError::Interrupted(_))), "{error:?}");
        tasks.stop();
    }
}
