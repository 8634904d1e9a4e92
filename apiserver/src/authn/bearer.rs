//! Where a request may carry a token, and how it is taken out.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use http::{HeaderMap, HeaderValue, header};

use super::front_proxy::Headers;
use crate::http::websocket;

/// How a WebSocket subprotocol that carries a token begins: browsers cannot set other headers.
const PROTOCOL_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// What a request says about a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// Nothing.
    None,
    /// A space too many, which makes it nothing; clients are warned.
    SpaceBefore,
    /// This token.
    Token(String),
    /// Something that is no token.
    Malformed(&'static str),
}

/// The warning that goes with [`Bearer::SpaceBefore`].
pub const SPACE_WARNING: &str =
    "the provided Authorization header contains extra space before the bearer token, and is ignored";

/// The token of an `Authorization` header.
pub fn in_authorization(value: &str) -> Bearer {
    let mut parts = value.trim().splitn(3, ' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(token), rest) if scheme.eq_ignore_ascii_case("bearer") => match (token, rest) {
            ("", Some(_)) => Bearer::SpaceBefore,
            ("", None) => Bearer::None,
            (token, _) => Bearer::Token(token.to_owned()),
        },
        _ => Bearer::None,
    }
}

/// The token of the request's `Authorization` header.
pub fn in_headers(headers: &HeaderMap) -> Bearer {
    headers.get(header::AUTHORIZATION).map_or(Bearer::None, |value| in_authorization(&text(value)))
}

/// The token among the subprotocols of a WebSocket request.
pub fn in_websocket(headers: &HeaderMap) -> Bearer {
    if !websocket::is_asked(headers) {
        return Bearer::None;
    }
    let (mut token, mut others) = (None, false);
    for protocol in protocols(headers) {
        let Some(encoded) = protocol.strip_prefix(PROTOCOL_PREFIX) else {
            others = true;
            continue;
        };
        if token.is_some() {
            return Bearer::Malformed("multiple base64.bearer.authorization tokens specified");
        }
        let Ok(decoded) = BASE64.decode(encoded) else {
            return Bearer::Malformed("invalid base64.bearer.authorization token encoding");
        };
        let Ok(decoded) = String::from_utf8(decoded) else {
            return Bearer::Malformed("invalid base64.bearer.authorization token");
        };
        token = Some(decoded);
    }
    match token.filter(|token| !token.is_empty()) {
        None => Bearer::None,
        // The token's own protocol must not be echoed, so there has to be another one that can be.
        Some(_) if !others => Bearer::Malformed("missing additional subprotocol"),
        Some(token) => Bearer::Token(token),
    }
}

/// Takes all credentials out of a request that was authenticated: nothing behind may see or pass them on.
pub fn strip(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    Headers::standard().strip(headers);
    if websocket::is_asked(headers) && protocols(headers).any(|it| it.starts_with(PROTOCOL_PREFIX)) {
        let rest: Vec<String> = protocols(headers).filter(|it| !it.starts_with(PROTOCOL_PREFIX)).collect();
        // They came out of a header, so they fit into one.
        if let Ok(rest) = HeaderValue::from_str(&rest.join(",")) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
        }
    }
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| text(value).split(',').map(|it| it.trim().to_owned()).collect::<Vec<_>>())
}

/// A header's value; what is not UTF-8 cannot be a token of ours anyway.
pub(super) fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_token_follows_the_word_bearer() {
        let token = |it: &str| Bearer::Token(it.to_owned());
        for (value, wanted) in [
            ("Bearer abc", token("abc")),
            ("bearer abc def", token("abc")),
            ("  BEARER abc ", token("abc")),
            ("Bearer  abc", Bearer::SpaceBefore),
            ("Bearer ", Bearer::None),
            ("Bearer", Bearer::None),
            ("Basic YTpi", Bearer::None),
            ("Odd x", Bearer::None),
            ("", Bearer::None),
        ] {
            assert_eq!(in_authorization(value), wanted, "{value:?}");
        }
    }

    fn websocket(protocols: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", HeaderValue::from_static("WebSocket"));
        headers.insert("connection", HeaderValue::from_static("keep-alive, Upgrade"));
        for protocol in protocols {
            headers.append("sec-websocket-protocol", protocol.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_websocket_may_carry_its_token_as_a_subprotocol() {
        let own = format!("{PROTOCOL_PREFIX}{}", BASE64.encode("abc"));
        let bytes = format!("{PROTOCOL_PREFIX}{}", BASE64.encode([0xff]));
        for (protocols, wanted) in [
            (vec!["v5.channel.k8s.io", own.as_str()], Bearer::Token("abc".to_owned())),
            (vec!["v5.channel.k8s.io"], Bearer::None),
            (vec![own.as_str()], Bearer::Malformed("missing additional subprotocol")),
            (
                vec!["a", own.as_str(), own.as_str()],
                Bearer::Malformed("multiple base64.bearer.authorization tokens specified"),
            ),
            (
                vec!["a, base64url.bearer.authorization.k8s.io.%%"],
                Bearer::Malformed("invalid base64.bearer.authorization token encoding"),
            ),
            (vec!["a", bytes.as_str()], Bearer::Malformed("invalid base64.bearer.authorization token")),
        ] {
            assert_eq!(in_websocket(&websocket(&protocols)), wanted, "{protocols:?}");
        }
        let mut plain = websocket(&["a", own.as_str()]);
        plain.remove("upgrade");
        assert_eq!(in_websocket(&plain), Bearer::None);
    }

    #[test]
    fn nothing_of_the_credentials_is_left() {
        let own = format!("a, {PROTOCOL_PREFIX}{},b", BASE64.encode("abc"));
        let mut headers = websocket(&[&own]);
        for name in ["authorization", "x-remote-user", "x-remote-group", "x-remote-extra-a", "accept"] {
            headers.insert(name, HeaderValue::from_static("x"));
        }
        strip(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left.len(), 4, "{left:?}");
        assert_eq!(headers.get("sec-websocket-protocol").unwrap(), "a,b");
        assert!(headers.contains_key("accept"));
    }
}
