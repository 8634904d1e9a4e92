//! What is wrong with how a pod finds others by name, and is found.

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfig, PodSpec};

use super::super::{
    addresses::legacy_ip,
    metadata::invalid_each,
    names::{dns1123_subdomain, dns1123_subdomain_with_underscore},
    optional::{Items, Switch, Text},
};

/// What the C library reads of nameservers.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCHES_LENGTH_MAX: usize = 2048;
const HOSTNAME_LENGTH_MAX: usize = 64;

/// Faults of the configuration of name resolution.
pub(super) fn validate(config: Option<&PodDNSConfig>, policy: &str, path: &Path) -> Faults {
    let nameservers = config.map(|config| config.nameservers.items()).unwrap_or_default();
    if policy == "None" {
        if config.is_none() {
            return vec![Fault::required(path, "must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        if nameservers.is_empty() {
            return vec![Fault::required(
                &path.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            )];
        }
    }
    let Some(config) = config else { return Vec::new() };
    let mut faults = Vec::new();
    let too_much = |field: &str, list: &[String], detail: String| {
        Fault::invalid(&path.child(field), BadValue::json(&list), detail)
    };
    if nameservers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        faults.push(too_much("nameservers", nameservers, detail));
    }
    for (index, nameserver) in nameservers.iter().enumerate() {
        faults.extend(legacy_ip(&path.child("nameservers").index(index), nameserver, &[]));
    }
    let searches = config.searches.items();
    if searches.len() > SEARCHES_MAX {
        let detail = format!("must not have more than {SEARCHES_MAX} search paths");
        faults.push(too_much("searches", searches, detail));
    }
    if searches.join(" ").len() > SEARCHES_LENGTH_MAX {
        let detail = format!(
            "must not have more than {SEARCHES_LENGTH_MAX} characters (including spaces) in the search list"
        );
        faults.push(too_much("searches", searches, detail));
    }
    for (index, search) in searches.iter().enumerate() {
        if search != "." {
            let domain = search.strip_suffix('.').unwrap_or(search);
            let path = path.child("searches").index(index);
            faults.extend(invalid_each(&path, domain, dns1123_subdomain_with_underscore(domain)));
        }
    }
    for (index, option) in config.options.items().iter().enumerate() {
        if option.name.text().is_empty() {
            faults.push(Fault::required(&path.child("options").index(index), "must not be empty"));
        }
    }
    faults
}

/// Faults of entries for the hosts file.
pub(super) fn host_aliases(aliases: &[HostAlias], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, alias) in aliases.iter().enumerate() {
        let path = path.index(index);
        faults.extend(legacy_ip(&path.child("ip"), &alias.ip, &[]));
        for (index, hostname) in alias.hostnames.items().iter().enumerate() {
            let path = path.child("hostnames").index(index);
            faults.extend(invalid_each(&path, hostname, dns1123_subdomain(hostname)));
        }
    }
    faults
}

/// Faults of the host name that replaces all others.
pub(super) fn hostname_override(spec: &PodSpec, path: &Path) -> Faults {
    let Some(hostname) = spec.hostname_override.as_deref() else { return Vec::new() };
    let path = path.child("hostnameOverride");
    let mut faults = Vec::new();
    if spec.set_hostname_as_fqdn.is_on() {
        faults.push(Fault::forbidden(&path, "may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.host_network.is_on() {
        faults.push(Fault::forbidden(&path, "may not be specified when hostNetwork is true"));
    }
    if hostname.len() > HOSTNAME_LENGTH_MAX {
        faults.push(Fault::too_long(&path, HOSTNAME_LENGTH_MAX));
    }
    faults.extend(invalid_each(&path, hostname, dns1123_subdomain(hostname)));
    faults
}
