//! A request goes to another server as it came, but for who asks: that is told in headers. Its answer comes back as it is
//! sent, piece by piece; connections that are upgraded are passed through in both directions.
//!
//! What is told when the other server cannot be reached is plain text, as upstream's is.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme, Uri},
};
use hyper::upgrade::OnUpgrade;

use super::{resolve, target::Target};
use crate::{
    audit::record::Peer,
    authn::user::User,
    http::{
        info::RequestInfo,
        respond::{self, Answer},
    },
    proxy::{
        pass::{self, came_from, has_trailers, is_upgrade, strip_hops},
        transport::Transport,
    },
    server::Server,
};

/// How long another server may take to describe a group and version: clients wait for all of them.
const DISCOVERY: Duration = Duration::from_secs(5);

const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";

/// Forwards a request whose caller may do what it asks for.
pub(crate) async fn answer(
    server: &Arc<Server>,
    target: &Target,
    user: &User,
    info: &RequestInfo,
    (parts, body): (Parts, Body),
) -> Answer {
    if !target.available {
        return failed(503, "service unavailable");
    }
    let transport = match &target.transport {
        Ok(transport) => transport,
        Err(error) => return failed(500, error),
    };
    let location = match resolve::location(server, &target.spec).await {
        Ok(location) => location,
        Err(error) => {
            tracing::warn!(
                service = target.spec.name,
                error,
                "cannot tell where an APIService's requests go to"
            );
            return failed(503, "service unavailable");
        }
    };
    let Some(to) = uri(&parts.uri, &location) else { return failed(503, "service unavailable") };
    if is_upgrade(&parts.headers) {
        return upgrade(server, transport, user, parts, body, to).await;
    }
    let describes = !info.resource_request && segments(parts.uri.path()) == 3;
    let mut headers = parts.headers.clone();
    strip_hops(&mut headers);
    if has_trailers(&parts.headers) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    forwarded(&mut headers, &parts.uri, &location);
    came_from(&mut headers, parts.extensions.get::<Peer>());
    identify(&mut headers, user);
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = to;
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    let sent = transport.send(request, false);
    // How long others may take is the server's to say.
    let sent = match describes {
        false => sent.await,
        true => tokio::time::timeout(DISCOVERY, sent)
            .await
            .unwrap_or_else(|_late| Err("context deadline exceeded".to_owned())),
    };
    let response = match sent {
        Ok(response) => response,
        Err(error) => return failed(503, &format!("error trying to reach service: {error}")),
    };
    let redirects = response.status().is_redirection()
        && response.headers().get(header::LOCATION).is_some_and(|it| !it.is_empty());
    if redirects && !server.aggregation.config.passes_redirects {
        let mut answer =
            Answer::new(Body::from("the backend attempted to redirect this request, which is not permitted"));
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
        return answer;
    }
    let mut answer = response.map(Body::new);
    strip_hops(answer.headers_mut());
    *answer.version_mut() = Version::default();
    answer
}

/// Passes a connection through, if the other server agrees.
async fn upgrade(
    server: &Arc<Server>,
    transport: &Transport,
    user: &User,
    mut parts: Parts,
    body: Body,
    to: Uri,
) -> Answer {
    let ours = parts.extensions.remove::<OnUpgrade>();
    let mut headers = parts.headers;
    came_from(&mut headers, parts.extensions.get::<Peer>());
    identify(&mut headers, user);
    headers.remove(header::HOST);
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = to;
    *request.headers_mut() = headers;
    match pass::upgrade(&server.runtime.tasks, transport, request, ours).await {
        Ok(answer) => answer,
        Err(error) => failed(503, &error),
    }
}

/// As Go's `http.Error` says it.
fn failed(code: u16, text: &str) -> Answer {
    respond::text(code, format!("{text}\n"))
}

fn segments(path: &str) -> usize {
    path.trim_matches('/').split('/').count()
}

/// The same path and query at another place.
fn uri(asked: &Uri, location: &str) -> Option<Uri> {
    let path = asked.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let authority: Authority = location.parse().ok()?;
    Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(path).build().ok()
}

/// What reverse proxies tell of a request's way.
fn forwarded(headers: &mut HeaderMap, asked: &Uri, location: &str) {
    headers.remove(header::HOST);
    for (name, value) in
        [("x-forwarded-uri", asked.path()), ("x-forwarded-host", location), ("x-forwarded-proto", "https")]
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Says who asks. What the caller said of that is taken out.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) {
    let said: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.starts_with(EXTRA) || name.starts_with("impersonate-") || matches!(name, USER | UID | GROUP)
        })
        .cloned()
        .collect();
    for name in said {
        headers.remove(name);
    }
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for group in &user.groups {
        add(GROUP, group);
    }
    for (key, values) in &user.extra {
        for value in values {
            add(&format!("{EXTRA}{}", escaped(key)), value);
        }
    }
}

/// A key as a part of a header's name: bytes that cannot stand there are percent-encoded.
fn escaped(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        let stands = byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
        match stands {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut all: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        all.sort();
        all
    }

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn who_asks_is_told_by_us_and_nobody_else() {
        let mut told = headers(&[
            (USER, "admin"),
            (GROUP, "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("impersonate-user", "root"),
            ("accept", "*/*"),
        ]);
        let mut user = User::new("eve", &["devs", "system:authenticated"]);
        user.uid = "42".to_owned();
        user.extra.insert("example.com/a b%".to_owned(), vec!["1".to_owned(), "2".to_owned()]);
        identify(&mut told, &user);
        assert_eq!(
            shown(&told),
            [
                "accept: */*",
                "x-remote-extra-example.com%2fa%20b%25: 1",
                "x-remote-extra-example.com%2fa%20b%25: 2",
                "x-remote-group: devs",
                "x-remote-group: system:authenticated",
                "x-remote-uid: 42",
                "x-remote-user: eve",
            ]
        );
    }

    #[test]
    fn path_and_query_stay() {
        let asked: Uri = "/apis/g/v1/things%2Fa?watch=1".parse().unwrap();
        assert_eq!(
            uri(&asked, "[fd00::1]:443").unwrap(),
            "https://[fd00::1]:443/apis/g/v1/things%2Fa?watch=1"
        );
        assert_eq!(segments("/apis/g/v1/"), 3);
    }
}
