//! Absolute URLs, read as Go's `url.ParseRequestURI` reads them.

use std::{collections::BTreeMap, sync::Arc};

use super::{Native, Opaque, format::go_quoted, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::{Made, Map, Value},
};

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub(crate) text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "url" => |args| match args {
            [Value::String(text)] => match parse(text) {
                Ok(url) => Ok(Value::Opaque(Opaque::Url(Arc::new(url)))),
                Err(why) => {
                    Err(EvalError::new(format!("URL parse error during conversion from string: {why}")))
                }
            },
            _ => unsuited("url"),
        },
        "isURL" => |args| match args {
            [Value::String(text)] => Ok(Value::Bool(parse(text).is_ok())),
            _ => unsuited("isURL"),
        },
        "getScheme" => |args| part("getScheme", args, |url| url.scheme.clone()),
        "getHost" => |args| part("getHost", args, |url| url.host.clone()),
        "getHostname" => |args| part("getHostname", args, |url| host_and_port(&url.host).0.to_owned()),
        "getPort" => |args| part("getPort", args, |url| host_and_port(&url.host).1.to_owned()),
        "getEscapedPath" => |args| part("getEscapedPath", args, |url| url.path.clone()),
        "getQuery" => query,
        _ => return None,
    })
}

fn part<'v>(name: &str, args: &[Value<'v>], of: fn(&Url) -> String) -> Outcome<'v> {
    match args {
        [Value::Opaque(Opaque::Url(url))] => Ok(Value::string(of(url))),
        _ => unsuited(name),
    }
}

fn query<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::Opaque(Opaque::Url(url))] = args else { return unsuited("getQuery") };
    let mut values: BTreeMap<String, Vec<Value<'v>>> = BTreeMap::new();
    for pair in url.query.split('&').filter(|it| !it.is_empty() && !it.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
            values.entry(key).or_default().push(Value::string(value));
        }
    }
    let mut made = Made::default();
    for (key, values) in values {
        made.insert(Value::string(key), Value::list(values))?;
    }
    Ok(Value::Map(Map::Made(Arc::new(made))))
}

fn host_and_port(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, after.strip_prefix(':').unwrap_or_default());
    }
    host.split_once(':').unwrap_or((host, ""))
}

/// The URL, or what Go says of a text that is none.
pub(crate) fn parse(text: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("parse {}: {why}", go_quoted(text));
    if text.is_empty() {
        return Err(bad("empty url"));
    }
    if text.bytes().any(|it| it < b' ' || it == 0x7f) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    if text == "*" {
        return Ok(Url {
            text: text.to_owned(),
            scheme: String::new(),
            host: String::new(),
            path: "*".to_owned(),
            query: String::new(),
        });
    }
    let (scheme, rest) = scheme(text).map_err(bad)?;
    let (rest, _fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let url = |host: String, path: String| Url {
        text: text.to_owned(),
        scheme: scheme.to_ascii_lowercase(),
        host,
        path,
        query: query.to_owned(),
    };
    if !rest.starts_with('/') {
        return if scheme.is_empty() {
            Err(bad("invalid URI for request"))
        } else {
            // Opaque, such as `mailto:a@b`.
            Ok(url(String::new(), String::new()))
        };
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(after) if !scheme.is_empty() || !rest.starts_with("///") => {
            let at = after.find('/').unwrap_or(after.len());
            let (authority, path) = after.split_at(at);
            (authority_host(authority).map_err(|why| bad(&why))?, path)
        }
        _ => (String::new(), rest),
    };
    if unescape(path, false).is_none() {
        return Err(bad(&format!("invalid URL escape {}", go_quoted(bad_escape(path)))));
    }
    Ok(url(host, escaped(path)))
}

fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            '0'..='9' | '+' | '-' | '.' => return Ok(("", text)),
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())),
            _ => return Ok(("", text)),
        }
    }
    Ok(("", text))
}

fn authority_host(authority: &str) -> Result<String, String> {
    let host = match authority.rsplit_once('@') {
        Some((user, host)) => {
            let plain = |it: char| it.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(it);
            if !user.chars().all(plain) {
                return Err("net/url: invalid userinfo".to_owned());
            }
            host
        }
        None => authority,
    };
    let port = if let Some(rest) = host.strip_prefix('[') {
        let Some((_, after)) = rest.split_once(']') else { return Err("missing ']' in host".to_owned()) };
        after
    } else {
        host.rfind(':').and_then(|at| host.get(at..)).unwrap_or_default()
    };
    let good_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|it| it.bytes().all(|it| it.is_ascii_digit()));
    if !good_port {
        return Err(format!("invalid port {} after host", go_quoted(port)));
    }
    if let Some(wrong) =
        host.chars().find(|it| matches!(it, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        // Quotes and angle brackets Go lets pass.
        if !matches!(wrong, '"' | '<' | '>') {
            return Err(format!("invalid character {} in host name", go_quoted(&wrong.to_string())));
        }
    }
    if let Some(at) = host.find('%')
        && !host.starts_with('[')
    {
        return Err(format!("invalid URL escape {}", go_quoted(host.get(at..at + 3).unwrap_or("%"))));
    }
    Ok(host.to_owned())
}

/// Without escapes, or `None` if one is none.
fn unescape(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?), char::from(rest.next()?));
                u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok()?
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn bad_escape(text: &str) -> &str {
    for (at, _) in text.match_indices('%') {
        let escape = text.get(at..at + 3).unwrap_or_else(|| text.get(at..).unwrap_or_default());
        if escape.len() < 3 || !escape.bytes().skip(1).all(|it| it.is_ascii_hexdigit()) {
            return escape;
        }
    }
    ""
}

/// A path that needs no escapes stays as written; anything else is escaped.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@/%[]".contains(&byte);
        if plain { escaped.push(char::from(byte)) } else { escaped.push_str(&format!("%{byte:02X}")) }
    }
    escaped
}
