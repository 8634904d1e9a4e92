//! The server under test: in memory, on paused time, on the test's thread.

use std::{sync::Arc, time::Duration};

use api_types::kind::GroupVersionKind;
use apiserver::{
    authn::user::{AUTHENTICATED, MASTERS, User},
    launch,
    registry::catalogue::Served,
    server::{InProcess, Server},
};
use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt as _;
use runtime::Runtime;
use serde_json::Value;

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub(crate) struct World {
    reactor: tokio::runtime::Runtime,
    pub(crate) server: Arc<Server>,
    tasks: runtime::Tasks,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Self {
        let reactor =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let runtime = Runtime::simulated("2026-01-01T00:00:00Z".parse().unwrap(), 1);
        let tasks = runtime.tasks.clone();
        let server = reactor.block_on(launch::in_memory(&runtime)).unwrap();
        let world = Self { reactor, server, tasks };
        // What admission looks for when there are Pods.
        for (path, body) in [
            ("/api/v1/namespaces/default/serviceaccounts", r#"{"metadata":{"name":"default"}}"#),
            (
                "/apis/scheduling.k8s.io/v1/priorityclasses",
                r#"{"metadata":{"name":"high"},"value":1000,"preemptionPolicy":"PreemptLowerPriority"}"#,
            ),
        ] {
            let made = world.send("POST", path, JSON, JSON, body.as_bytes());
            assert_eq!(made.code, 201, "{}", made.text());
        }
        world
    }

    /// Asks as the administrator; watches are listened to for a second.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        accept: &str,
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, accept)
            .body(Body::from(body.to_vec()))
            .unwrap();
        request.extensions_mut().insert(InProcess(User::new("tester", &[MASTERS, AUTHENTICATED])));
        self.reactor.block_on(async {
            let (parts, mut body) = self.server.serve(request).await.into_parts();
            let mut bytes = Vec::new();
            let read = async {
                while let Some(Ok(frame)) = body.frame().await {
                    bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
            };
            let _endless = tokio::time::timeout(Duration::from_secs(1), read).await;
            let content_type =
                parts.headers.get(header::CONTENT_TYPE).map(|it| it.to_str().unwrap().to_owned());
            Answer {
                code: parts.status.as_u16(),
                content_type: content_type.unwrap_or_default(),
                body: bytes,
            }
        })
    }

    pub(crate) fn get(&self, path: &str, accept: &str) -> Answer {
        self.send("GET", path, JSON, accept, b"")
    }

    /// All resources that can be created, with the key of their seed; what limits others comes last.
    pub(crate) fn creatable(&self) -> Vec<(String, Arc<Served>)> {
        let mut all: Vec<_> = self.server.registry.catalogue.all();
        all.sort_by_key(|served| matches!(served.names().plural, "limitranges" | "resourcequotas"));
        let all = all.into_iter();
        all.filter(|served| served.resource.verbs().contains(&"create") && served.resource.schema().is_some())
            // Its objects are never stored.
            .filter(|served| served.names().plural != "bindings")
            .map(|served| {
                let names = served.names();
                (format!("{}/{}/{}", names.group, names.version, names.plural), served)
            })
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.reactor.block_on(async { self.tasks.drain(Duration::from_secs(1)).await });
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as an object in its envelope.
    #[track_caller]
    pub(crate) fn protobuf(&self) -> Value {
        assert_eq!(self.content_type, PROTOBUF, "{}", self.text());
        from_protobuf(&self.body)
    }
}

#[track_caller]
pub(crate) fn from_protobuf(bytes: &[u8]) -> Value {
    let envelope =
        api_types::wire::protobuf::open(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    let (group, version) = envelope.api_version.split_once('/').unwrap_or(("", &envelope.api_version));
    let of = api_types::schema::schema().type_of(group, version, &envelope.kind);
    let of = of.unwrap_or_else(|| panic!("no kind {:?} of {:?}", envelope.kind, envelope.api_version));
    api_types::wire::protobuf::decode(bytes, of).unwrap_or_else(|error| panic!("{error}"))
}

/// Where objects of a resource are, in the namespace `default` if they are in any.
pub(crate) fn path(served: &Served) -> String {
    let names = served.names();
    let version = GroupVersionKind::new(names.group, names.version, names.kind).api_version();
    let prefix = if names.group.is_empty() { "/api" } else { "/apis" };
    let namespace = if names.namespaced { "/namespaces/default" } else { "" };
    format!("{prefix}/{version}{namespace}/{}", names.plural)
}
