//! What is wrong with how objects are converted between versions.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    json::{get, items, text},
    spec::Rules,
};
use crate::resources::shared::{
    metadata::invalid_each,
    names::dns1035_label,
    pem::blocks,
    webhook_client::{ServiceRef, service_faults, url_faults},
};

const STRATEGIES: &[&str] = &["None", "Webhook"];
const REVIEW_VERSIONS: &[&str] = &["v1", "v1beta1"];

/// What is wrong with a conversion. Some fields had other names, and stood elsewhere, in the beta version.
pub(super) fn conversion_faults(
    conversion: &Value,
    keeps_unknown: bool,
    rules: &Rules,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let (strategy, strategy_path) = (text(conversion, "strategy"), path.child("strategy"));
    if strategy != "None" && keeps_unknown {
        let detail = "must be None if spec.preserveUnknownFields is true";
        faults.push(Fault::invalid(&strategy_path, strategy, detail));
    }
    if strategy.is_empty() {
        faults.push(Fault::required(&strategy_path, ""));
    } else if !STRATEGIES.contains(&strategy) {
        faults.push(Fault::not_supported(&strategy_path, strategy, STRATEGIES));
    }
    let webhook = get(conversion, "webhook").unwrap_or(&Value::Null);
    let (client, client_path) = (get(webhook, "clientConfig"), path.child("webhookClientConfig"));
    let (versions, versions_path) =
        (items(webhook, "conversionReviewVersions"), path.child("conversionReviewVersions"));
    if strategy == "Webhook" {
        match client {
            None => {
                let detail = "required when strategy is set to Webhook";
                faults.push(Fault::required(&client_path, detail));
            }
            Some(client) => faults.extend(client_faults(client, rules.ca_bundle, &client_path)),
        }
        faults.extend(review_version_faults(versions, rules.known_review_version, &versions_path));
    } else {
        let detail = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            faults.push(Fault::forbidden(&client_path, detail));
        }
        if !versions.is_empty() {
            faults.push(Fault::forbidden(&versions_path, detail));
        }
    }
    faults
}

fn client_faults(client: &Value, judge_ca_bundle: bool, path: &Path) -> Faults {
    let mut faults = match (get(client, "url").and_then(Value::as_str), get(client, "service")) {
        (Some(url), None) => url_faults(&path.child("url"), url),
        (None, Some(service)) => {
            // Upstream has them crosswise here, and clients see a missing name as a missing namespace.
            let service = ServiceRef {
                namespace: text(service, "name"),
                name: text(service, "namespace"),
                path: get(service, "path").and_then(Value::as_str),
                port: get(service, "port").and_then(Value::as_i64).and_then(|port| i32::try_from(port).ok()),
            };
            service_faults(&path.child("service"), service)
        }
        _ => vec![Fault::required(path, "exactly one of url or service is required")],
    };
    if judge_ca_bundle && let Some(detail) = ca_bundle_wrong(client) {
        let value = BadValue::Json(client.get("caBundle").cloned().unwrap_or_default());
        faults.push(Fault::invalid(&path.child("caBundle"), value, detail));
    }
    faults
}

/// What is wrong with the certificates that a webhook is trusted by, if any are given.
fn ca_bundle_wrong(client: &Value) -> Option<String> {
    let bundle = STANDARD.decode(text(client, "caBundle")).unwrap_or_default();
    if bundle.is_empty() {
        return None;
    }
    let is_certificate = |der: &[u8]| X509Certificate::from_der(der).is_ok();
    let blocks = blocks(&bundle);
    let certificates: Vec<_> =
        blocks.iter().filter(|block| block.label == "CERTIFICATE" && !block.has_headers).collect();
    if certificates.iter().any(|block| is_certificate(&block.content)) {
        return None;
    }
    let wrong = if blocks.is_empty() {
        "unable to parse bytes as PEM block"
    } else if certificates.is_empty() {
        "no valid certificate authority data seen"
    } else {
        "failed to parse certificate: x509: malformed certificate"
    };
    Some(format!("unable to load root certificates: {wrong}"))
}

/// Whether stored certificates are no good, so that new ones need not be better.
pub(super) fn had_bad_ca_bundle(spec: &Value) -> bool {
    spec.pointer("/conversion/webhook/clientConfig").is_some_and(|client| ca_bundle_wrong(client).is_some())
}

/// Whether a stored conversion can be asked for in a version that we speak, or has not said.
pub(super) fn had_known_review_version(spec: &Value) -> bool {
    let webhook = spec.pointer("/conversion/webhook").unwrap_or(&Value::Null);
    let versions = items(webhook, "conversionReviewVersions");
    versions.is_empty() || versions.iter().filter_map(Value::as_str).any(|it| REVIEW_VERSIONS.contains(&it))
}

fn review_version_faults(versions: &[Value], must_be_known: bool, path: &Path) -> Faults {
    if versions.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let names: Vec<&str> = versions.iter().filter_map(Value::as_str).collect();
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (index, &name) in names.iter().enumerate() {
        let path = path.index(index);
        if seen.insert(name) {
            faults.extend(invalid_each(&path, name, dns1035_label(name)));
        } else {
            faults.push(Fault::invalid(&path, name, "duplicate version"));
        }
    }
    if must_be_known && !names.iter().any(|name| REVIEW_VERSIONS.contains(name)) {
        let detail = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        faults.push(Fault::invalid(path, BadValue::json(&names), detail));
    }
    faults
}
