//! The kubelet, or what runs on its node, is asked: over which connection, by which URL, and what its answer becomes.

use api_types::{
    field::go_quote,
    kind::GroupResource,
    status::{Details, Status},
};
use axum::body::Body;
use http::{HeaderName, HeaderValue, Request, Uri, header, uri::Scheme};
use http_body_util::{BodyExt as _, Limited};
use hyper::upgrade::OnUpgrade;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::super::super::Asked;
use crate::{
    audit::record::Peer,
    http::respond::{self, Answer},
    kubelet::Place,
    proxy::{
        pass::{self, came_from, is_upgrade, strip_hops},
        transport::Transport,
    },
    server::Server,
};

/// How much of a failure is read.
const FAILURE_BYTES_MAX: usize = 50_000;
/// What stands in a query as it is.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What stands in a path as it is.
const PATH: &AsciiSet = &QUERY
    .remove(b'/')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// What a proxy leads to.
pub(super) struct Target {
    pub(super) scheme: String,
    pub(super) host: String,
    /// Empty for that of the scheme.
    pub(super) port: String,
    /// It is a kubelet, which is shown our certificate.
    pub(super) to_kubelet: bool,
}

/// What a container has said, as it comes.
pub(super) async fn log(
    server: &Server,
    asked: &Asked,
    place: &Place,
    path: &str,
    any: bool,
) -> Result<Answer, Status> {
    let mut parameters = Vec::new();
    for name in ["follow", "previous", "timestamps"] {
        if asked.query.flag(name) {
            parameters.push((name, "true".to_owned()));
        }
    }
    for name in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
        if let Some(value) = asked.query.get(name).filter(|value| !value.is_empty()) {
            parameters.push((name, value.to_owned()));
        }
    }
    let url =
        format!("https://{}{path}{}", authority(&place.host, &place.port.to_string()), query(parameters));
    let ways = server.kubelets.ways();
    let transport = transport(if any { &ways.unverified } else { &ways.verified })?;
    let request = Request::get(uri(&url)?).body(Body::empty()).map_err(Status::internal)?;
    let failed = |error: String| Status::failure(500, "", format!("Get {}: {error}", go_quote(&url)));
    let response = transport.send(request, false).await.map_err(failed)?;
    let code = response.status().as_u16();
    if !(200..=206).contains(&code) {
        let body = Limited::new(response.into_body(), FAILURE_BYTES_MAX).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Err(refused(code, &asked.info.name, &String::from_utf8_lossy(&body)));
    }
    let mut answer = Answer::new(Body::new(response.into_body()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(answer)
}

/// What a kubelet's failure is to the caller.
fn refused(code: u16, name: &str, why: &str) -> Status {
    let (reason, message) = match code {
        500 => return Status::internal(why),
        400 => return Status::bad_request(why),
        401 => {
            ("Unauthorized", "the server has asked for the client to provide credentials".to_owned())
        }
        403 => ("Forbidden", why.to_owned()),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned(),
        ),
        _ if code > 500 => (
            "InternalError",
            format!("an error on the server ({}) has prevented the request from succeeding", go_quote(why)),
        ),
        _ => ("Unknown", format!("the server responded with the status code {code} but did not return more information")),
    };
    let pods = GroupResource::new("", "pods");
    let details = Details { name: name.to_owned(), kind: pods.resource.clone(), ..Details::default() };
    Status::failure(code, reason, format!("{message} ( {} {name})", pods.resource)).with_details(details)
}

/// A connection that is upgraded, to a command, a console or a port.
pub(super) async fn stream(
    server: &Server,
    asked: Asked,
    place: &Place,
    path: &str,
    options: &Value,
) -> Result<Answer, Status> {
    if !is_upgrade(&asked.parts.headers) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let url = format!(
        "https://{}{path}{}",
        authority(&place.host, &place.port.to_string()),
        query(stream_parameters(options))
    );
    let ways = server.kubelets.ways();
    upgrade(server, asked, transport(&ways.verified)?, uri(&url)?).await
}

/// What a kubelet is told of a stream.
fn stream_parameters(options: &Value) -> Vec<(&'static str, String)> {
    let texts = |field: &str| options.get(field).and_then(Value::as_array).into_iter().flatten();
    let commands = texts("command").filter_map(Value::as_str).map(|it| ("command", it.to_owned()));
    let flags = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];
    let is_set = |field: &str| options.get(field).and_then(Value::as_bool).unwrap_or_default();
    let flags = flags.into_iter().filter(|(field, _)| is_set(field)).map(|(_, name)| (name, "1".to_owned()));
    let ports: Vec<String> = texts("ports").map(ToString::to_string).collect();
    let ports = (!ports.is_empty()).then(|| ("port", ports.join(",")));
    commands.chain(flags).chain(ports).collect()
}

/// A request, passed on to what runs on a node.
pub(super) async fn proxy(
    server: &Server,
    mut asked: Asked,
    target: &Target,
    options: &Value,
) -> Result<Answer, Status> {
    let path = options.get("path").and_then(Value::as_str).unwrap_or_default();
    let query = asked.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    if path.is_empty() && !is_upgrade(&asked.parts.headers) {
        // So that what the page leads to is found beneath it.
        let mut answer = respond::text(301, String::new());
        answer.headers_mut().remove(header::CONTENT_TYPE);
        let location = format!("{}/{query}", asked.parts.uri.path());
        if let Ok(location) = HeaderValue::from_str(&location) {
            answer.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(answer);
    }
    let authority = match target.port.as_str() {
        "" => bracketed(&target.host),
        port => authority(&target.host, port),
    };
    let path = utf8_percent_encode(path, PATH);
    let to = uri(&format!("{}://{authority}{path}{query}", target.scheme))?;
    let ways = server.kubelets.ways();
    let transport = transport(if target.to_kubelet { &ways.verified } else { &server.kubelets.others })?;
    if is_upgrade(&asked.parts.headers) {
        return upgrade(server, asked, transport, to).await;
    }
    let before = before_path(asked.parts.uri.path(), options);
    let mut headers = asked.parts.headers.clone();
    strip_hops(&mut headers);
    // It is ours, and none of theirs.
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::HOST);
    came_from(&mut headers, asked.parts.extensions.get::<Peer>());
    // Over HTTP/2 the host stands in the URI.
    let authority = asked.parts.uri.authority().and_then(|it| HeaderValue::from_str(it.as_str()).ok());
    let host = asked.parts.headers.get(header::HOST).cloned().or(authority);
    let told = [
        ("x-forwarded-uri", HeaderValue::from_str(asked.parts.uri.path()).ok()),
        ("x-forwarded-host", host),
        ("x-forwarded-proto", Some(HeaderValue::from_static("https"))),
    ];
    for (name, value) in told {
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let mut request = Request::new(std::mem::take(asked.body.get_mut()));
    *request.method_mut() = asked.parts.method.clone();
    *request.uri_mut() = to.clone();
    *request.headers_mut() = headers;
    let response = match transport.send(request, false).await {
        Ok(response) => response,
        Err(error) => return Ok(respond::text(503, format!("error trying to reach service: {error}"))),
    };
    let mut answer = response.map(Body::new);
    strip_hops(answer.headers_mut());
    for name in [
        "access-control-allow-credentials",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
    ] {
        answer.headers_mut().remove(name);
    }
    let location = answer.headers().get(header::LOCATION).and_then(|it| it.to_str().ok());
    if let Some(location) = location.and_then(|location| relocated(location, &to, &before))
        && let Ok(location) = HeaderValue::from_str(&location)
    {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer)
}

/// The part of a proxy's URL before the path that is asked for behind it.
fn before_path(path: &str, options: &Value) -> String {
    let behind = options.get("path").and_then(Value::as_str).unwrap_or_default();
    let encoded = utf8_percent_encode(behind, PATH).to_string();
    let before = path.strip_suffix(behind).or_else(|| path.strip_suffix(encoded.as_str()));
    before.unwrap_or(path).trim_end_matches('/').to_owned()
}

/// Where a redirect of what is behind the proxy leads to in front of it; `None` if it leads elsewhere.
fn relocated(location: &str, asked: &Uri, before: &str) -> Option<String> {
    let absolute: Uri = location.parse().ok()?;
    if absolute.authority().is_some_and(|it| Some(it) != asked.authority()) {
        return None;
    }
    let path = absolute.path_and_query().map(|it| it.as_str()).unwrap_or("/");
    path.starts_with('/').then(|| format!("{before}{path}"))
}

async fn upgrade(server: &Server, asked: Asked, transport: &Transport, to: Uri) -> Result<Answer, Status> {
    let mut parts = asked.parts;
    let ours = parts.extensions.remove::<OnUpgrade>();
    came_from(&mut parts.headers, parts.extensions.get::<Peer>());
    // It is ours, and none of theirs.
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.remove(header::HOST);
    let mut request = Request::new(Body::empty());
    *request.method_mut() = parts.method;
    *request.uri_mut() = to;
    *request.headers_mut() = parts.headers;
    let passed = pass::upgrade(&server.runtime.tasks, transport, request, ours).await;
    passed.map_err(|error| Status::failure(500, "", format!("error dialing backend: {error}")))
}

fn transport(made: &Result<Transport, String>) -> Result<&Transport, Status> {
    made.as_ref().map_err(Status::internal)
}

fn uri(url: &str) -> Result<Uri, Status> {
    let uri: Uri = url.parse().map_err(|error| Status::bad_request(format!("{url}: {error}")))?;
    debug_assert!(matches!(uri.scheme(), Some(it) if *it == Scheme::HTTP || *it == Scheme::HTTPS));
    Ok(uri)
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn authority(host: &str, port: &str) -> String {
    format!("{}:{port}", bracketed(host))
}

/// As Go writes them: by name, and in order where there are several of one.
fn query(mut parameters: Vec<(&'static str, String)>) -> String {
    parameters.sort_by_key(|(name, _)| *name);
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY)))
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kubelets_are_told_of_streams_in_their_own_words() {
        for (options, expected) in [
            (
                json!({"command": ["sh", "-c", "echo a b"], "stdin": true, "stdout": true, "tty": false}),
                "?command=sh&command=-c&command=echo%20a%20b&input=1&output=1",
            ),
            (json!({"stderr": true, "tty": true, "command": null}), "?error=1&tty=1"),
            (json!({"ports": [80, 443]}), "?port=80%2C443"),
            (json!({}), ""),
        ] {
            assert_eq!(query(stream_parameters(&options)), expected);
        }
    }

    #[test]
    fn redirects_lead_to_where_they_are_found_in_front_of_the_proxy() {
        let asked: Uri = "http://10.0.0.1:80/a".parse().unwrap();
        let before = "/api/v1/namespaces/n/pods/p/proxy";
        for (location, expected) in [
            ("/login?next=a", Some("/api/v1/namespaces/n/pods/p/proxy/login?next=a")),
            ("http://10.0.0.1:80/b", Some("/api/v1/namespaces/n/pods/p/proxy/b")),
            ("http://example.com/b", None),
        ] {
            assert_eq!(relocated(location, &asked, before).as_deref(), expected, "{location}");
        }
        let options = json!({"path": "/a b"});
        assert_eq!(before_path("/api/v1/nodes/n/proxy/a%20b", &options), "/api/v1/nodes/n/proxy");
    }

    #[test]
    fn failures_of_kubelets_are_told_as_they_are_meant() {
        for (code, reason, message) in [
            (500, "InternalError", "Internal error occurred: why"),
            (400, "BadRequest", "why"),
            (404, "NotFound", "the server could not find the requested resource ( pods p)"),
            (
                502,
                "InternalError",
                r#"an error on the server ("why") has prevented the request from succeeding ( pods p)"#,
            ),
        ] {
            let status = refused(code, "p", "why");
            assert_eq!(
                (status.code, status.reason.as_str(), status.message.as_str()),
                (code, reason, message)
            );
        }
    }
}
