//! A webhook on a port of this machine, for tests.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use parking_lot::Mutex;
use serde_json::Value;

type Answer = Arc<dyn Fn(&Value) -> Result<Value, u16> + Send + Sync>;

/// A webhook, what it was asked, and the kubeconfig that leads to it.
pub(crate) struct Hook {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<Value>>>,
}

// === impl Hook ===

impl Hook {
    /// Answers with a review, or a status code.
    pub(crate) async fn start(answer: impl Fn(&Value) -> Result<Value, u16> + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Answer = Arc::new(answer);
        let router = Router::new()
            .route(
                "/review",
                post(
                    async |State((answer, asked)): State<(Answer, Arc<Mutex<Vec<Value>>>)>, body: String| {
                        let review: Value = serde_json::from_str(&body).unwrap();
                        asked.lock().push(review.clone());
                        match answer(&review) {
                            Ok(review) => (StatusCode::OK, review.to_string()),
                            Err(code) => (StatusCode::from_u16(code).unwrap(), String::new()),
                        }
                    },
                ),
            )
            .with_state((answer, Arc::clone(&asked)));
        runtime::Tasks::new().spawn("webhook", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                // One connection after the other: none may be kept.
                let served = hyper::server::conn::http1::Builder::new()
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                drop(served);
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: h, user: me}}}}]\n\
             clusters: [{{name: h, cluster: {{server: 'http://127.0.0.1:{port}/review'}}}}]\nusers: [{{name: me, user: {{token: t}}}}]\n"
        );
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        Self { folder, asked }
    }

    pub(crate) fn kubeconfig(&self) -> &'static Path {
        // Tests are short.
        Box::leak(self.folder.path().join("kubeconfig").into_boxed_path())
    }

    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().clone()
    }
}
