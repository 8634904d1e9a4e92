//! What every proxy does with messages: headers that are about a connection end with it, where it comes from is told, and a
//! connection that both sides upgrade is passed through.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use runtime::Tasks;

use super::transport::Transport;
use crate::{audit::record::Peer, http::respond::Answer};

/// Headers that are about a connection and not about a message (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Passes a connection through, if the other server agrees; or else its refusal.
///
/// # Errors
/// Why it cannot be passed through, in upstream's words.
pub(crate) async fn upgrade(
    tasks: &Tasks,
    transport: &Transport,
    request: Request<Body>,
    ours: Option<OnUpgrade>,
) -> Result<Answer, String> {
    let mut response = transport.send(request, true).await?;
    let code = response.status();
    if code != StatusCode::SWITCHING_PROTOCOLS {
        if code.as_u16() < 400 {
            return Err(format!("invalid upgrade response: status code {}", code.as_u16()));
        }
        let mut answer = response.map(Body::new);
        strip_hops(answer.headers_mut());
        return Ok(answer);
    }
    let Some(ours) = ours else {
        return Err("request connection cannot be hijacked".to_owned());
    };
    let theirs = hyper::upgrade::on(&mut response);
    tasks.spawn("upgraded connection", async move {
        // Either side may be gone before it is upgraded: then there is nothing to pass through.
        let Ok((ours, theirs)) = tokio::try_join!(ours, theirs) else { return };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        // Whoever reads hears of the end.
        let _ended = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
    });
    let (head, _) = response.into_parts();
    let mut answer = Answer::new(Body::empty());
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    Ok(answer)
}

fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a connection is to become another one.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .any(|it| it.as_bytes().to_ascii_lowercase().windows(7).any(|part| part == b"upgrade"))
}

/// Whether trailers are welcome.
pub(crate) fn has_trailers(headers: &HeaderMap) -> bool {
    words(headers, header::TE).any(|word| word.eq_ignore_ascii_case("trailers"))
}

/// Takes out what is about a connection and not about a message.
pub(crate) fn strip_hops(headers: &mut HeaderMap) {
    let named: Vec<String> = words(headers, header::CONNECTION).map(str::to_owned).collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Adds where the connection comes from to what proxies before this one said of theirs. Callers within the process come over
/// none.
pub(crate) fn came_from(headers: &mut HeaderMap, peer: Option<&Peer>) {
    let Some(Peer(address)) = peer else { return };
    let mut way: Vec<u8> = Vec::new();
    for before in headers.get_all(FORWARDED_FOR) {
        way.extend_from_slice(before.as_bytes());
        way.extend_from_slice(b", ");
    }
    way.extend_from_slice(address.ip().to_canonical().to_string().as_bytes());
    if let Ok(way) = HeaderValue::from_bytes(&way) {
        headers.insert(FORWARDED_FOR, way);
    }
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
    fn where_a_connection_comes_from_is_added_to_what_proxies_said() {
        let peer = Peer("[::ffff:192.0.2.1]:1234".parse().unwrap());
        for (before, peer, after) in [
            (&[][..], Some(&peer), &["x-forwarded-for: 192.0.2.1"][..]),
            (
                &[(FORWARDED_FOR, "198.51.100.7"), (FORWARDED_FOR, "203.0.113.9")],
                Some(&peer),
                &["x-forwarded-for: 198.51.100.7, 203.0.113.9, 192.0.2.1"],
            ),
            (&[(FORWARDED_FOR, "198.51.100.7")], None, &["x-forwarded-for: 198.51.100.7"]),
        ] {
            let mut told: HeaderMap = HeaderMap::new();
            for (name, value) in before {
                told.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            came_from(&mut told, peer);
            assert_eq!(shown(&told), after);
        }
    }

    #[test]
    fn headers_of_a_connection_end_with_it() {
        let mut told = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
        ]);
        assert!(has_trailers(&told));
        strip_hops(&mut told);
        assert_eq!(shown(&told), ["content-type: text/plain"]);
    }

    #[test]
    fn an_upgrade_is_asked_for_by_the_connection() {
        for (value, expected) in [("Upgrade", true), ("keep-alive, upgrade", true), ("close", false)] {
            assert_eq!(is_upgrade(&headers(&[("connection", value)])), expected, "{value}");
        }
    }
}
