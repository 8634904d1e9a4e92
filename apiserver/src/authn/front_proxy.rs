//! A proxy in front that authenticates callers itself and says in headers who they are (`--requestheader-*`).
//!
//! Its word counts only if it shows a certificate of its own authority, and, if names are given, one with such a name.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;

use super::{bearer::text, user::User, x509::ClientAuthorities};

/// Which headers say what; names in any case, the first that is there wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `--requestheader-username-headers`
    pub username: Vec<String>,
    /// `--requestheader-uid-headers`
    pub uid: Vec<String>,
    /// `--requestheader-group-headers`: all of them, all their values.
    pub group: Vec<String>,
    /// `--requestheader-extra-headers-prefix`
    pub extra_prefix: Vec<String>,
}

/// Whose headers are believed, and which.
#[derive(Clone, Debug)]
pub struct FrontProxy {
    /// `--requestheader-client-ca-file`
    pub authorities: Arc<ClientAuthorities>,
    /// `--requestheader-allowed-names`; empty for any.
    pub allowed_names: Vec<String>,
    /// Which headers.
    pub headers: Headers,
}

// === impl Headers ===

impl Headers {
    /// Those that are taken out of every request, whoever is believed.
    pub fn standard() -> Self {
        Self {
            username: vec!["x-remote-user".to_owned()],
            uid: vec!["x-remote-uid".to_owned()],
            group: vec!["x-remote-group".to_owned()],
            extra_prefix: vec!["x-remote-extra-".to_owned()],
        }
    }

    /// Whom the headers name; `None` if nobody.
    pub fn user(&self, headers: &HeaderMap) -> Option<User> {
        let first = |names: &[String]| {
            names
                .iter()
                .map(|name| headers.get(name.as_str()).map(text).unwrap_or_default())
                .find(|it| !it.is_empty())
        };
        let groups = self.group.iter().flat_map(|name| headers.get_all(name.as_str())).map(text);
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in &self.extra_prefix {
            for (name, value) in headers.iter() {
                if let Some(key) = after(name, prefix) {
                    extra.entry(decoded(key)).or_default().push(text(value));
                }
            }
        }
        Some(User {
            name: first(&self.username)?,
            uid: first(&self.uid).unwrap_or_default(),
            groups: groups.filter(|group| !group.is_empty()).collect(),
            extra,
        })
    }

    /// Takes them out of a request.
    pub fn strip(&self, headers: &mut HeaderMap) {
        for name in self.username.iter().chain(&self.uid).chain(&self.group) {
            headers.remove(name.as_str());
        }
        let extras: Vec<HeaderName> = headers
            .keys()
            .filter(|name| self.extra_prefix.iter().any(|prefix| after(name, prefix).is_some()))
            .cloned()
            .collect();
        for name in extras {
            headers.remove(name);
        }
    }
}

/// What follows the prefix; names of headers are in lower case already.
fn after<'a>(name: &'a HeaderName, prefix: &str) -> Option<&'a str> {
    name.as_str().strip_prefix(prefix.to_ascii_lowercase().as_str())
}

/// Keys have what a header's name cannot have as `%xx`; what cannot be decoded is taken as it is.
fn decoded(key: &str) -> String {
    let well_formed = key
        .split('%')
        .skip(1)
        .all(|rest| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    if !well_formed {
        return key.to_owned();
    }
    percent_decode_str(key).decode_utf8_lossy().into_owned()
}

// === impl FrontProxy ===

impl FrontProxy {
    /// Whom the proxy names, if it is one; `None` if no certificate is shown or nobody is named.
    ///
    /// # Errors
    /// The certificate is not a proxy's, and why.
    pub fn identify(
        &self,
        shown: &[CertificateDer<'_>],
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Option<User>, String> {
        if shown.is_empty() {
            return Ok(None);
        }
        let proxy = self.authorities.identify(shown, now)?.unwrap_or_default();
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(&proxy.name) {
            return Err(format!("x509: subject with cn={} is not in the allowed list", proxy.name));
        }
        Ok(self.headers.user(headers))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::tls::{
        authority::{Authority, Subject},
        files,
    };

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_first_name_that_is_there_and_all_groups_and_extras_count() {
        let ours = Headers {
            username: vec!["X-Mine".to_owned(), "X-Remote-User".to_owned()],
            uid: vec!["X-Remote-Uid".to_owned()],
            group: vec!["X-Remote-Group".to_owned(), "X-More".to_owned()],
            extra_prefix: vec!["X-Remote-Extra-".to_owned()],
        };
        let all = headers(&[
            ("x-remote-user", "alice"),
            ("x-mine", ""),
            ("x-remote-uid", "7"),
            ("x-more", "qa"),
            ("x-remote-group", "dev"),
            ("x-remote-group", ""),
            ("x-remote-group", "ops"),
            ("x-remote-extra-acme.com%2fproject", "p"),
            ("x-remote-extra-acme.com%2fproject", "q"),
            ("x-remote-extra-odd%2", "o"),
        ]);
        let user = ours.user(&all).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("alice", "7"));
        assert_eq!(user.groups, ["dev", "ops", "qa"]);
        assert_eq!(user.extra["acme.com/project"], ["p", "q"]);
        assert_eq!(user.extra["odd%2"], ["o"]);
        assert_eq!(ours.user(&headers(&[("x-remote-group", "dev")])), None);
        let mut all = all;
        ours.strip(&mut all);
        assert!(all.is_empty(), "{all:?}");
    }

    #[test]
    fn headers_are_believed_only_beside_a_certificate_of_a_proxy() {
        let now: Timestamp = "2026-07-01T00:00:00Z".parse().unwrap();
        let (ours, _) = Authority::generate("proxies", now).unwrap();
        let (theirs, _) = Authority::generate("proxies", now).unwrap();
        let shown = |authority: &Authority, name: &str| {
            let issued = authority.issue(&Subject::client(name, None), now).unwrap();
            files::certificates_in(issued.certificate.as_bytes()).unwrap()
        };
        let named = headers(&[("x-remote-user", "alice")]);
        let none = HeaderMap::new();
        let (proxy, other, strange) = (shown(&ours, "proxy"), shown(&ours, "other"), shown(&theirs, "proxy"));
        for (what, allowed, certificates, headers, wanted) in [
            ("no certificate", vec![], &[][..], &named, Ok(None)),
            ("any name", vec![], &other[..], &named, Ok(Some("alice"))),
            ("a name on the list", vec!["proxy"], &proxy[..], &named, Ok(Some("alice"))),
            ("nobody named", vec!["proxy"], &proxy[..], &none, Ok(None)),
            (
                "a name that is not on the list",
                vec!["proxy"],
                &other[..],
                &named,
                Err("x509: subject with cn=other is not in the allowed list"),
            ),
            ("another authority", vec!["proxy"], &strange[..], &named, Err("verifying certificate SN=")),
        ] {
            let front_proxy = FrontProxy {
                authorities: Arc::new(ClientAuthorities::new(vec![ours.certificate().clone()]).unwrap()),
                allowed_names: allowed.into_iter().map(str::to_owned).collect(),
                headers: Headers::standard(),
            };
            let found = front_proxy.identify(certificates, headers, now).map(|user| user.map(|it| it.name));
            match (&found, wanted) {
                (Err(found), Err(wanted)) => assert!(found.starts_with(wanted), "{what}: {found}"),
                _ => assert_eq!(found.as_ref().ok().map(|it| it.as_deref()), wanted.ok(), "{what}"),
            }
        }
    }
}
