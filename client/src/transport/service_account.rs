//! A transport as a service account: with a token of the `TokenRequest` API, had when it is first needed and renewed before
//! it runs out.
//!
//! So a component gives each of its controllers an identity of its own, and the server allows each what its role says.
//!
//! Invariant: the token is in no log and no error.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use jiff::Timestamp;
use runtime::Clock;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Body, Transport, TransportError};
use crate::{Api, Error, Key, resource::SERVICE_ACCOUNTS};

/// Where the service accounts of controllers are.
const NAMESPACE: &str = "kube-system";

/// How long a token is asked to last, in seconds. The server may decide otherwise.
const LIFETIME: u32 = 3600;

/// Gives out transports as service accounts of one server. Cheap to clone.
#[derive(Clone)]
pub struct ServiceAccounts {
    anonymous: Arc<dyn Transport>,
    component: Api,
    clock: Arc<dyn Clock>,
}

/// A transport as one service account.
pub struct ServiceAccount {
    accounts: ServiceAccounts,
    account: Key,
    token: ArcSwapOption<Token>,
    /// Held by whoever is asking for a new token.
    asking: Mutex<()>,
}

struct Token {
    header: HeaderValue,
    renew_at: Timestamp,
}

#[derive(Deserialize)]
struct TokenRequest {
    status: TokenRequestStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequestStatus {
    token: String,
    expiration_timestamp: Timestamp,
}

// === impl ServiceAccounts ===

impl ServiceAccounts {
    /// Over a transport that says nothing of who it is; `component` asks for the tokens.
    pub fn new(anonymous: impl Transport, component: Api, clock: Arc<dyn Clock>) -> Self {
        Self { anonymous: Arc::new(anonymous), component, clock }
    }

    /// A client as the service account of this name in `kube-system`, which is made if it is not there.
    pub fn api(&self, account: &str) -> Api {
        let transport = ServiceAccount {
            accounts: self.clone(),
            account: Key::new(NAMESPACE, account),
            token: ArcSwapOption::empty(),
            asking: Mutex::new(()),
        };
        Api::new(Arc::new(transport), account)
    }
}

// === impl ServiceAccount ===

impl Transport for ServiceAccount {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
        async move {
            let token = self.token().await?;
            let response = self.send_with(&token, &request).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            // The account may have been made anew, or the server's keys: what is not authenticated was not carried out.
            self.token.compare_and_swap(&token, None);
            let token = self.token().await?;
            self.send_with(&token, &request).await
        }
        .boxed()
    }
}

impl ServiceAccount {
    async fn send_with(
        &self,
        token: &Token,
        request: &http::Request<Bytes>,
    ) -> Result<http::Response<Body>, TransportError> {
        let mut request = request.clone();
        request.headers_mut().insert(AUTHORIZATION, token.header.clone());
        self.accounts.anonymous.send(request).await
    }

    /// The token, a new one if there is none that lasts.
    async fn token(&self) -> Result<Arc<Token>, TransportError> {
        let good = |token: &Arc<Token>| token.renew_at > self.accounts.clock.now();
        if let Some(token) = self.token.load_full().filter(good) {
            return Ok(token);
        }
        let _asking = self.asking.lock().await;
        if let Some(token) = self.token.load_full().filter(good) {
            return Ok(token);
        }
        let token = Arc::new(self.ask().await.map_err(|error| TransportError::Unreachable(Box::new(error)))?);
        self.token.store(Some(Arc::clone(&token)));
        Ok(token)
    }

    async fn ask(&self) -> Result<Token, Error> {
        let api = &self.accounts.component;
        let wanted = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": LIFETIME, "audiences": []},
        });
        let ask = async || {
            api.create_subresource::<TokenRequest>(&SERVICE_ACCOUNTS, &self.account, "token", &wanted).await
        };
        let answer = match ask().await {
            Err(error) if error.is_not_found() => {
                self.make_account().await?;
                ask().await?
            }
            answer => answer?,
        };
        let TokenRequestStatus { token, expiration_timestamp } = answer.status;
        let mut header =
            HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| Error::Request(error.into()))?;
        header.set_sensitive(true);
        let now = self.accounts.clock.now();
        let lasts = Duration::try_from(expiration_timestamp.duration_since(now)).unwrap_or_default();
        Ok(Token { header, renew_at: now.saturating_add(lasts * 4 / 5).unwrap_or(now) })
    }

    async fn make_account(&self) -> Result<(), Error> {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"namespace": NAMESPACE, "name": &*self.account.name},
        });
        match self.accounts.component.create::<Value>(&SERVICE_ACCOUNTS, NAMESPACE, &account).await {
            Err(error) if !error.is_already_exists() => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http_body_util::Full;
    use parking_lot::Mutex as Cell;
    use runtime::Runtime;

    use super::*;
    use crate::{reflector::Metadata, resource::PODS, transport::boxed};

    /// A server that gives out tokens by number and knows the last one only.
    #[derive(Clone, Default)]
    struct Server(Arc<State>);

    #[derive(Default)]
    struct State {
        account: Cell<bool>,
        given: AtomicU32,
        seen: Cell<Vec<String>>,
    }

    fn answer(code: u16, body: &Value) -> http::Response<Body> {
        let body = boxed(Full::new(Bytes::from(body.to_string())));
        http::Response::builder().status(code).body(body).unwrap()
    }

    impl Transport for Server {
        fn send(
            &self,
            request: http::Request<Bytes>,
        ) -> BoxFuture<'_, Result<http::Response<Body>, TransportError>> {
            let failed = |code: u16, reason: &str| {
                answer(code, &json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code}))
            };
            let path = request.uri().path();
            let response = if path.ends_with("/token") && !*self.0.account.lock() {
                failed(404, "NotFound")
            } else if path.ends_with("/token") {
                let number = self.0.given.fetch_add(1, Ordering::Relaxed) + 1;
                let status =
                    json!({"token": format!("t{number}"), "expirationTimestamp": "2026-01-01T01:00:00Z"});
                answer(201, &json!({"status": status}))
            } else if path.ends_with("/serviceaccounts") {
                *self.0.account.lock() = true;
                answer(201, &json!({}))
            } else {
                let said = request.headers().get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
                let known = said == format!("Bearer t{}", self.0.given.load(Ordering::Relaxed));
                self.0.seen.lock().push(said);
                if known {
                    answer(200, &json!({"metadata": {"name": "a"}}))
                } else {
                    failed(401, "Unauthorized")
                }
            };
            async move { Ok(response) }.boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_had_once_and_anew_when_it_runs_out_or_is_refused() {
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1);
        let server = Server::default();
        let component = Api::new(Arc::new(server.clone()), "component");
        let accounts = ServiceAccounts::new(server.clone(), component, Arc::clone(&runtime.clock));
        let api = accounts.api("job-controller");
        let ask = async || {
            let pod: Metadata = api.get(&PODS, &Key::new("ns", "a")).await.unwrap();
            assert_eq!(&*pod.metadata.name, "a");
            std::mem::take(&mut *server.0.seen.lock())
        };
        assert_eq!(ask().await, ["Bearer t1"]);
        assert_eq!(ask().await, ["Bearer t1"]);
        tokio::time::sleep(Duration::from_secs(48 * 60 + 1)).await;
        assert_eq!(ask().await, ["Bearer t2"]);
        server.0.given.store(7, Ordering::Relaxed);
        assert_eq!(ask().await, ["Bearer t2", "Bearer t8"]);
    }
}
