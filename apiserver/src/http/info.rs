//! What a request is about: verb, group, version, resource, namespace and name, read off method, path and query.
//!
//! The rules are upstream's `RequestInfoFactory`. Pure.

use api_types::{selectors::fields, status::Status};
use http::Method;
use percent_encoding::percent_decode_str;

use super::query::Query;

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource at all; if not, only `verb` and `path` say something.
    pub resource_request: bool,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`, or the HTTP method
    /// in lower case.
    pub verb: String,
    /// The path as it came.
    pub path: String,
    /// `api` or `apis`.
    pub prefix: String,
    /// The group, empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// Empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    /// The plural name.
    pub resource: String,
    /// Such as `status`.
    pub subresource: String,
    /// The object's name.
    pub name: String,
    /// Whether the path itself names the object, rather than a field selector.
    pub named_by_path: bool,
    /// What comes after the subresource (for proxies).
    pub rest: Vec<String>,
}

/// Subresources of namespaces: anything else below a namespace is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Reads what the request is about.
///
/// # Errors
/// 400 for a path that is not percent-encoded UTF-8.
pub fn resolve(method: &Method, path: &str, query: &Query) -> Result<RequestInfo, Status> {
    let mut info = RequestInfo {
        verb: method.as_str().to_ascii_lowercase(),
        path: path.to_owned(),
        ..RequestInfo::default()
    };
    let mut segments = Vec::new();
    for segment in path.trim_matches('/').split('/') {
        let decoded = percent_decode_str(segment)
            .decode_utf8()
            .map_err(|error| Status::bad_request(format!("the path is not UTF-8: {error}")))?;
        segments.push(decoded.into_owned());
    }
    let mut parts = segments.iter().map(String::as_str);
    let prefix = parts.next().unwrap_or_default();
    match prefix {
        "api" => {}
        "apis" => info.group = parts.next().unwrap_or_default().to_owned(),
        _ => return Ok(info),
    }
    // Discovery paths stop here; what follows the version is a resource.
    let Some(version) = parts.next() else { return Ok(RequestInfo { group: String::new(), ..info }) };
    let mut parts: Vec<&str> = parts.collect();
    if parts.is_empty() || version.is_empty() || parts.first() == Some(&"") {
        return Ok(RequestInfo { group: String::new(), ..info });
    }
    info.prefix = prefix.to_owned();
    info.version = version.to_owned();
    info.resource_request = true;
    info.verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
    .to_owned();

    // The old spelling of watches: /api/v1/watch/pods
    let old_watch = parts.first() == Some(&"watch");
    if old_watch {
        parts.remove(0);
        info.verb = "watch".to_owned();
    }
    if parts.first() == Some(&"namespaces")
        && let Some(&namespace) = parts.get(1)
    {
        info.namespace = namespace.to_owned();
        let below = parts.get(2).is_some_and(|part| !NAMESPACE_SUBRESOURCES.contains(part));
        if below {
            parts.drain(0..2);
        }
    }
    info.resource = parts.first().copied().unwrap_or_default().to_owned();
    info.name = parts.get(1).copied().unwrap_or_default().to_owned();
    info.named_by_path = !info.name.is_empty();
    info.subresource = parts.get(2).copied().unwrap_or_default().to_owned();
    info.rest = parts.iter().skip(3).map(|&part| part.to_owned()).collect();

    if info.name.is_empty() && info.verb == "get" {
        info.verb = if query.flag("watch") { "watch" } else { "list" }.to_owned();
    }
    if info.name.is_empty() && info.verb == "delete" {
        info.verb = "deletecollection".to_owned();
    }
    if matches!(info.verb.as_str(), "list" | "watch" | "deletecollection") && info.name.is_empty() {
        // A list of the one object of that name is authorized like an access to it.
        if let Some(name) = query.get("fieldSelector").and_then(named) {
            info.name = name;
        }
    }
    Ok(info)
}

/// The name a field selector pins, if it does.
fn named(selector: &str) -> Option<String> {
    let selector = fields::Selector::parse(selector).ok()?;
    let name = selector.exact("metadata.name")?.to_owned();
    (!name.is_empty() && !name.contains(['/', '%']) && name != "." && name != "..").then_some(name)
}

// === impl RequestInfo ===

impl RequestInfo {
    /// Whether the connection stays busy for as long as the client likes.
    pub fn is_long_running(&self) -> bool {
        self.resource_request
            && (matches!(self.verb.as_str(), "watch" | "proxy")
                || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, url: &str) -> String {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let info = resolve(&method, path, &Query::parse(query)).unwrap();
        if !info.resource_request {
            return format!("{} {}", info.verb, info.path);
        }
        format!(
            "{} {}/{} {} {} {} {}",
            info.verb, info.group, info.version, info.namespace, info.resource, info.subresource, info.name
        )
    }

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        for (method, url, expected) in [
            (Method::GET, "/api/v1/namespaces", "list /v1  namespaces  "),
            (Method::GET, "/api/v1/namespaces/other", "get /v1 other namespaces  other"),
            (Method::PUT, "/api/v1/namespaces/other/finalize", "update /v1 other namespaces finalize other"),
            (Method::GET, "/api/v1/namespaces/other/pods", "list /v1 other pods  "),
            (Method::GET, "/api/v1/namespaces/other/pods/foo/log", "get /v1 other pods log foo"),
            (Method::DELETE, "/api/v1/namespaces/other/pods", "deletecollection /v1 other pods  "),
            (Method::GET, "/api/v1/pods?watch=1", "watch /v1  pods  "),
            (Method::GET, "/api/v1/watch/namespaces/other/pods", "watch /v1 other pods  "),
            (Method::GET, "/apis/apps/v1/deployments?watch=false", "list apps/v1  deployments  "),
            (Method::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list /v1  pods  x"),
            (Method::GET, "/apis/apps/v1", "get /apis/apps/v1"),
            (Method::GET, "/api", "get /api"),
            (Method::POST, "/healthz", "post /healthz"),
        ] {
            assert_eq!(check(method, url), expected, "{url}");
        }
    }
}
