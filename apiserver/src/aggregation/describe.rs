//! What other servers serve, asked of them and put into this server's discovery and OpenAPI.
//!
//! A server that does not answer stays in discovery, marked stale, with what was last known of it. Its OpenAPI stays too.

use std::{sync::Arc, time::Duration};

use api_types::kind::GroupVersion;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;

use super::{
    availability, resolve,
    target::{Spec, Target},
};
use crate::{
    discovery::{
        Freshness, ServedVersion,
        foreign::{self, VersionDiscovery},
    },
    openapi::{Part, path_of},
    proxy::transport::Transport,
    server::Server,
};

/// How long a server may take with a document.
const DOCUMENT: Duration = Duration::from_secs(30);
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Asks for a document; `None` if it is not had.
struct Asker<'a> {
    transport: &'a Transport,
    location: String,
}

/// Asks what is served and publishes it. False if that could not be found out.
pub(super) async fn describe(server: &Arc<Server>, target: &Target) -> bool {
    let spec = &target.spec;
    let (Ok(transport), Ok(location)) = (&target.transport, resolve::location(server, spec).await) else {
        stale(server, spec);
        return false;
    };
    let asker = Asker { transport, location };
    let Some(found) = asker.discovery(spec).await else {
        stale(server, spec);
        return false;
    };
    publish(server, spec, Freshness::Current, found);
    if let Some(part) = asker.openapi(server, spec).await {
        server.documents.exchange_openapi(&[], [part]);
    }
    true
}

/// Says that nothing is known for sure any more.
pub(super) fn stale(server: &Server, spec: &Spec) {
    let discovery = server.documents.discovery();
    let known = discovery.version(&spec.group, &spec.version);
    if known.is_some_and(|it| it.is_foreign() && it.freshness() == Freshness::Stale) {
        return;
    }
    let resources = known.map(|it| it.foreign_resources()).unwrap_or_default();
    publish(server, spec, Freshness::Stale, resources);
}

/// Takes out what was told of a group and version.
pub(super) fn forget(server: &Server, spec: &Spec) {
    let version = spec.group_version();
    server.documents.exchange_discovery(std::slice::from_ref(&version), Vec::new());
    server.documents.exchange_openapi(&[path_of(&version)], []);
}

fn publish(server: &Server, spec: &Spec, freshness: Freshness, resources: Vec<foreign::Resource>) {
    let version = ServedVersion::foreign(spec.group_version(), spec.priority, freshness, resources);
    server.documents.exchange_discovery(&[], vec![Arc::new(version)]);
}

// === impl Asker ===

impl Asker<'_> {
    /// The body of an answer of 200, and its content type.
    async fn get(&self, path: &str, accept: &'static str) -> Option<(Bytes, String)> {
        let url = format!("https://{}{path}", self.location);
        let accept: [(HeaderName, HeaderValue); 1] = [(header::ACCEPT, HeaderValue::from_static(accept))];
        let request = availability::document(&url, &accept)?;
        let (head, body) = tokio::time::timeout(DOCUMENT, self.transport.get(request)).await.ok()?.ok()?;
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        (head.status.as_u16() == 200).then(|| (body, content_type.unwrap_or_default().to_owned()))
    }

    /// In the aggregated form, or in the old one of servers that do not have that.
    async fn discovery(&self, spec: &Spec) -> Option<Vec<foreign::Resource>> {
        let root = if spec.group.is_empty() { "/api" } else { "/apis" };
        if let Some((body, content_type)) = self.get(root, AGGREGATED).await
            && content_type.replace(' ', "").contains("as=APIGroupDiscoveryList")
        {
            let list: foreign::GroupDiscoveryList = serde_json::from_slice(&body).ok()?;
            let version: Option<VersionDiscovery> = list.version(&spec.group, &spec.version);
            // There is an APIService for it, whatever the server says.
            return Some(version.map(|it| it.resources).unwrap_or_default());
        }
        let (body, _) = self.get(&spec.root(), "application/json").await?;
        let list: foreign::ResourceList = serde_json::from_slice(&body).ok()?;
        Some(list.aggregated())
    }

    /// Both versions of OpenAPI, as far as the server has them.
    async fn openapi(&self, server: &Server, spec: &Spec) -> Option<Part> {
        let version: GroupVersion = spec.group_version();
        let path = path_of(&version);
        let index = self.get("/openapi/v3", "application/json").await;
        let index: Option<Value> = index.and_then(|(body, _)| serde_json::from_slice(&body).ok());
        let url = index
            .as_ref()
            .and_then(|index| index.get("paths")?.get(&path)?.get("serverRelativeURL")?.as_str())
            .map(str::to_owned);
        if url.is_some() && server.documents.openapi().is_from(&path, url.as_deref()) {
            return None;
        }
        let v3 = match &url {
            Some(url) => self.get(url, "application/json").await.map(|(body, _)| body),
            None => None,
        };
        let v2 = self.get("/openapi/v2", "application/json").await;
        let v2: Option<Value> = v2.and_then(|(body, _)| serde_json::from_slice(&body).ok());
        if v2.is_none() && v3.is_none() {
            return None;
        }
        Some(Part::foreign(&version, url, v3, v2))
    }
}
