//! Names of signers of certificates, and of the trust bundles that go with them.

use api_types::field::{Fault, Faults, Path, go_quote};

use super::names::{
    DNS_LABEL_LENGTH_MAX, DNS_SUBDOMAIN_LENGTH_MAX, dns_subdomain, dns1123_label, dns1123_subdomain,
};

/// Whether the signer's name is one that the Kubernetes project keeps for itself.
pub(crate) fn is_kubernetes_signer(name: &str) -> bool {
    let host = name.split('/').next().unwrap_or_default();
    host == "kubernetes.io" || host.ends_with(".kubernetes.io")
}

/// Faults of a signer's name: a domain, a slash, and a path of dotted names.
pub(crate) fn signer_name(path: &Path, name: &str) -> Faults {
    // Room for the name of an object in a namespace.
    const PATH_LENGTH_MAX: usize = DNS_SUBDOMAIN_LENGTH_MAX + DNS_LABEL_LENGTH_MAX + 1;
    const LENGTH_MAX: usize = DNS_SUBDOMAIN_LENGTH_MAX + PATH_LENGTH_MAX + 1;
    if name.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let Some((domain, rest)) = name.split_once('/').filter(|(_, rest)| !rest.contains('/')) else {
        return vec![Fault::invalid(
            path,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        )];
    };
    let mut faults = Vec::new();
    if domain.len() > DNS_SUBDOMAIN_LENGTH_MAX {
        faults.push(Fault::too_long(path, DNS_SUBDOMAIN_LENGTH_MAX));
    }
    faults.extend(first_bad_label(path, domain, dns1123_label));
    if !domain.contains('.') {
        faults.push(Fault::invalid(
            path,
            domain,
            "should be a domain with at least two segments separated by dots",
        ));
    }
    faults.extend(first_bad_label(path, rest, dns1123_subdomain));
    if name.len() > LENGTH_MAX {
        faults.push(Fault::too_long(path, LENGTH_MAX));
    }
    faults
}

/// The faults of the first part between dots that has some; the rest would only repeat them.
fn first_bad_label(path: &Path, whole: &str, rule: fn(&str) -> Vec<String>) -> Faults {
    whole
        .split('.')
        .find_map(|label| {
            let sentences = rule(label);
            (!sentences.is_empty()).then(|| {
                sentences
                    .into_iter()
                    .map(|sentence| {
                        let detail = format!("validating label {}: {sentence}", go_quote(label));
                        Fault::invalid(path, whole, detail)
                    })
                    .collect()
            })
        })
        .unwrap_or_default()
}

/// What is wrong with the name of a trust bundle, which begins with its signer's, if it has one.
pub(crate) fn trust_bundle_name(name: &str) -> Vec<String> {
    // What comes before the last colon is the signer, so that the rest has none.
    let own = name.rsplit_once(':').map_or(name, |(_, own)| own);
    dns_subdomain(own, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signer_is_a_domain_and_a_path() {
        let path = Path::new("s");
        for (name, expected) in [
            ("example.com/signer", ""),
            ("example.com/ns.name", ""),
            ("", "s: Required value"),
            (
                "example.com",
                r#"s: Invalid value: "example.com": must be a fully qualified domain and path of the form 'example.com/signer-name'"#,
            ),
            (
                "example/a",
                r#"s: Invalid value: "example": should be a domain with at least two segments separated by dots"#,
            ),
        ] {
            let faults = signer_name(&path, name);
            assert_eq!(
                faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                expected,
                "{name}"
            );
        }
        assert!(is_kubernetes_signer("kubernetes.io/x"));
        assert!(!is_kubernetes_signer("akubernetes.io/x"));
    }
}
