//! Texts made of names: domains with enough segments, domains with a path.

use api_types::field::{Fault, Faults, Path};

use super::{
    metadata::invalid_each,
    names::{dns1123_label, dns1123_subdomain, is_http_path, with_regex},
};

/// The form of a path in a URL.
const HTTP_PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";

/// What is wrong with a name that must be a domain of at least three segments.
pub(crate) fn fully_qualified_name(path: &Path, name: &str) -> Faults {
    if name.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let wrongs = dns1123_subdomain(name);
    if !wrongs.is_empty() {
        return vec![Fault::invalid(path, name, wrongs.join(","))];
    }
    if name.split('.').count() < 3 {
        return vec![Fault::invalid(
            path,
            name,
            "should be a domain with at least three segments separated by dots",
        )];
    }
    Vec::new()
}

/// What is wrong with a domain name of at least two segments, which may end in a dot.
pub(crate) fn fully_qualified_domain_name(path: &Path, name: &str) -> Faults {
    if name.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrongs = dns1123_subdomain(name);
    if !wrongs.is_empty() {
        return vec![Fault::invalid(path, name, wrongs.join(","))];
    }
    if name.split('.').count() < 2 {
        return vec![Fault::invalid(
            path,
            name,
            "should be a domain with at least two segments separated by dots",
        )];
    }
    name.split('.')
        .find_map(|label| {
            let wrongs = dns1123_label(label);
            (!wrongs.is_empty()).then(|| Fault::invalid(path, label, wrongs.join(",")))
        })
        .into_iter()
        .collect()
}

/// What is wrong with a domain followed by a path, such as `acme.io/foo`.
pub(crate) fn domain_prefixed_path(path: &Path, value: &str) -> Faults {
    if value.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let Some((domain, rest)) =
        value.split_once('/').filter(|(domain, rest)| !domain.is_empty() && !rest.is_empty())
    else {
        return vec![Fault::invalid(path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")")];
    };
    let mut faults = invalid_each(path, domain, dns1123_subdomain(domain));
    if !is_http_path(rest) {
        faults.push(Fault::invalid(path, rest, with_regex("Invalid path", HTTP_PATH, &[])));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&Path, &str) -> Faults, value: &str) -> Vec<String> {
        rule(&Path::new("f"), value).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn domains_have_enough_segments() {
        assert_eq!(check(fully_qualified_name, "a.b.c"), [""; 0]);
        assert_eq!(
            check(fully_qualified_name, "a.b"),
            [r#"f: Invalid value: "a.b": should be a domain with at least three segments separated by dots"#]
        );
        assert_eq!(check(fully_qualified_domain_name, "a.b."), [""; 0]);
        assert_eq!(
            check(fully_qualified_domain_name, "a"),
            [r#"f: Invalid value: "a": should be a domain with at least two segments separated by dots"#]
        );
        assert_eq!(check(fully_qualified_domain_name, ""), ["f: Required value"]);
    }

    #[test]
    fn a_domain_may_prefix_a_path() {
        assert_eq!(check(domain_prefixed_path, "acme.io/foo/bar"), [""; 0]);
        for (value, fault) in [
            (
                "acme.io",
                r#"f: Invalid value: "acme.io": must be a domain-prefixed path (such as "acme.io/foo")"#,
            ),
            (
                "acme.io/a b",
                r#"f: Invalid value: "a b": Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')"#,
            ),
        ] {
            assert_eq!(check(domain_prefixed_path, value), [fault]);
        }
    }
}
