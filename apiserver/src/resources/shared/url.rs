//! URLs taken apart the way Go's `net/url` does it, with its words for what is wrong: they stand in faults.

use api_types::field::go_quote;

/// The parts of a URL that rules ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Url<'a> {
    /// What comes before the colon, in lower case.
    pub(crate) scheme: String,
    /// The name and the password.
    pub(crate) user: Option<&'a str>,
    /// The host, and the port.
    pub(crate) host: &'a str,
    /// What comes after the question mark.
    pub(crate) query: &'a str,
    /// What comes after the hash.
    pub(crate) fragment: &'a str,
}

impl<'a> Url<'a> {
    /// Takes the text apart.
    ///
    /// # Errors
    /// What is wrong with it, with the whole text in it.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        parts(text).map_err(|wrong| format!("parse {}: {wrong}", go_quote(text)))
    }
}

fn parts(text: &str) -> Result<Url<'_>, String> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    check_escapes(fragment)?;
    let (scheme, rest) = scheme(rest)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url { scheme: scheme.to_lowercase(), query, fragment, ..Url::default() };
    if !rest.starts_with('/') {
        // What follows a scheme without a slash has no parts that we know.
        let first = rest.split('/').next().unwrap_or_default();
        if scheme.is_empty() && first.contains(':') {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
        if !scheme.is_empty() {
            return Ok(url);
        }
    }
    let mut path = rest;
    if let Some(after) = rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
        let at = after.find('/').unwrap_or(after.len());
        let (authority, behind) = after.split_at(at);
        path = behind;
        let host = match authority.rsplit_once('@') {
            None => authority,
            Some((user, host)) => {
                if !user.bytes().all(is_user_byte) {
                    return Err("net/url: invalid userinfo".to_owned());
                }
                check_escapes(user)?;
                url.user = Some(user);
                host
            }
        };
        check_host(host)?;
        url.host = host;
    }
    check_escapes(path)?;
    Ok(url)
}

/// The scheme and what follows its colon; no scheme if there is none.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if at > 0 => {}
            b':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok(text.split_once(':').unwrap_or(("", text))),
            _ => break,
        }
    }
    Ok(("", text))
}

fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte)
}

fn check_host(host: &str) -> Result<(), String> {
    let port = if host.starts_with('[') {
        let Some(end) = host.rfind(']') else { return Err("missing ']' in host".to_owned()) };
        host.get(end + 1..).unwrap_or_default()
    } else {
        host.rfind(':').and_then(|at| host.get(at..)).unwrap_or_default()
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_port {
        return Err(format!("invalid port {} after host", go_quote(port)));
    }
    if let Some(at) = host.find('%') {
        return Err(format!("invalid URL escape {}", go_quote(&escape_at(host, at))));
    }
    let allowed =
        |it: char| !it.is_ascii() || it.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(it);
    match host.chars().find(|&it| !allowed(it)) {
        Some(bad) => Err(format!("invalid character {} in host name", go_quote(&bad.to_string()))),
        None => Ok(()),
    }
}

/// The percent sign at a place and the two characters after it.
fn escape_at(text: &str, at: usize) -> String {
    text.get(at..).unwrap_or_default().chars().take(3).collect()
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let escape = escape_at(text, at);
        let is_escape = escape.len() == 3 && escape.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit());
        if !is_escape {
            return Err(format!("invalid URL escape {}", go_quote(&escape)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_parts() {
        let url = |scheme: &str, user, host, query, fragment| {
            Ok(Url { scheme: scheme.to_owned(), user, host, query, fragment })
        };
        let wrong = |wrong: &str| Err(wrong.to_owned());
        for (text, expected) in [
            ("", url("", None, "", "", "")),
            ("/a/b", url("", None, "", "", "")),
            ("HTTPS://a.b:443/c?d#e", url("https", None, "a.b:443", "d", "e")),
            ("https://u:p@[::1]:1", url("https", Some("u:p"), "[::1]:1", "", "")),
            ("//h/p", url("", None, "h", "", "")),
            ("mailto:a@b", url("mailto", None, "", "", "")),
            ("a b", url("", None, "", "", "")),
            (":a", wrong(r#"parse ":a": missing protocol scheme"#)),
            ("1:a", wrong(r#"parse "1:a": first path segment in URL cannot contain colon"#)),
            ("https://h:x/", wrong(r#"parse "https://h:x/": invalid port ":x" after host"#)),
            ("https://[::1", wrong(r#"parse "https://[::1": missing ']' in host"#)),
            ("https://a b/", wrong(r#"parse "https://a b/": invalid character " " in host name"#)),
            ("https://a/%zz", wrong(r#"parse "https://a/%zz": invalid URL escape "%zz""#)),
            ("https://a/\n", wrong(r#"parse "https://a/\n": net/url: invalid control character in URL"#)),
        ] {
            assert_eq!(Url::parse(text), expected, "{text}");
        }
    }
}
