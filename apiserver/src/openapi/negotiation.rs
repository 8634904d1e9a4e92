//! Which form of a document a client wants. These paths negotiate by themselves: they know media types that objects
//! do not come in.

/// JSON.
pub(super) const JSON: (&str, &str) = ("application", "json");

/// The forms of OpenAPI 2.0: JSON first, then protobuf under its two names.
pub(super) const V2: &[(&str, &str)] = &[
    JSON,
    ("application", "com.github.proto-openapi.spec.v2@v1.0+protobuf"),
    ("application", "com.github.proto-openapi.spec.v2.v1.0+protobuf"),
];

/// The forms of OpenAPI 3.0.
pub(super) const V3: &[(&str, &str)] = &[
    JSON,
    ("application", "com.github.proto-openapi.spec.v3.v1.0+protobuf"),
    ("application", "com.github.proto-openapi.spec.v3@v1.0+protobuf"),
];

/// The position of the offered type that the client likes best; nothing said means anything goes.
pub(super) fn choose(accept: Option<&str>, offered: &[(&str, &str)]) -> Option<usize> {
    let accept = accept.filter(|it| !it.trim().is_empty()).unwrap_or("*/*");
    let mut clauses: Vec<(f64, &str, &str)> = accept
        .split(',')
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let (kind, subtype) = parts.next()?.split_once('/')?;
            let quality = parts
                .find_map(|parameter| parameter.strip_prefix("q="))
                .and_then(|quality| quality.parse().ok())
                .unwrap_or(1.0);
            Some((quality, kind, subtype))
        })
        .collect();
    clauses.sort_by(|(one, ..), (other, ..)| other.total_cmp(one));
    clauses.iter().filter(|(quality, ..)| *quality > 0.0).find_map(|(_, kind, subtype)| {
        offered.iter().position(|(offered_kind, offered_subtype)| {
            (*kind == "*" || kind == offered_kind) && (*subtype == "*" || subtype == offered_subtype)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_form_is_chosen() {
        for (accept, chosen) in [
            (None, Some(0)),
            (Some(""), Some(0)),
            (Some("*/*"), Some(0)),
            (Some("application/json"), Some(0)),
            (Some("application/com.github.proto-openapi.spec.v2@v1.0+protobuf"), Some(1)),
            (Some("application/com.github.proto-openapi.spec.v2.v1.0+protobuf,application/json"), Some(2)),
            (
                Some("application/json;q=0.5, application/com.github.proto-openapi.spec.v2@v1.0+protobuf"),
                Some(1),
            ),
            (Some("text/html, application/*;q=0.8"), Some(0)),
            (Some("text/html"), None),
            (Some("application/json;q=0"), None),
        ] {
            assert_eq!(choose(accept, V2), chosen, "{accept:?}");
        }
    }
}
