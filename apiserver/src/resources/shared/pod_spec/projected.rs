//! What is wrong with volumes that gather files from several sources.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::core::v1::{
    ClusterTrustBundleProjection, PodCertificateProjection, ProjectedVolumeSource,
    ServiceAccountTokenProjection,
};

use super::{
    super::{
        metadata::{ANNOTATIONS_SIZE_MAX, invalid_each},
        names::qualified_name,
        optional::{Items, Text},
        selectors::{self, Leniency},
        signers::{is_kubernetes_signer, signer_name, trust_bundle_name},
    },
    Rules, paths,
    volumes::{downward_file, key_to_path, mode},
};

const TOKEN_SECONDS_MIN: i64 = 10 * 60;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
const CERTIFICATE_SECONDS_MIN: i32 = 60 * 60;
const CERTIFICATE_SECONDS_MAX: i32 = 91 * 24 * 60 * 60;
const KUBERNETES_CERTIFICATE_SECONDS_MAX: i32 = 24 * 60 * 60;

/// The paths that are taken already.
#[derive(Default)]
struct Taken(BTreeSet<String>);

impl Taken {
    /// The fault of a path that is not new; `value` is what it prints.
    fn take(&mut self, target: &str, value: &str, path: &Path) -> Option<Fault> {
        (!self.0.insert(target.to_owned()))
            .then(|| Fault::invalid(path, value, "conflicting duplicate paths"))
    }
}

/// Faults of all sources, and of sources that get in each other's way.
pub(super) fn validate(volume: &ProjectedVolumeSource, rules: &Rules, path: &Path) -> Faults {
    let mut faults: Faults = mode("defaultMode", volume.default_mode, path).into_iter().collect();
    let mut taken = Taken::default();
    for (index, source) in volume.sources.items().iter().enumerate() {
        let here = path.child("sources").index(index);
        let keyed = [
            ("secret", source.secret.as_ref().map(|it| (it.name.as_str(), it.items.items()))),
            ("configMap", source.config_map.as_ref().map(|it| (it.name.as_str(), it.items.items()))),
        ];
        let mut count = 0;
        for (field, keyed) in keyed {
            let Some((name, items)) = keyed else { continue };
            count += 1;
            let here = here.child(field);
            if name.is_empty() {
                faults.push(Fault::required(&here.child("name"), ""));
            }
            for (index, item) in items.iter().enumerate() {
                faults.extend(key_to_path(item, &here.child("items").index(index)));
                if !item.path.is_empty() {
                    faults.extend(taken.take(&item.path, name, path));
                }
            }
        }
        if let Some(downward) = &source.downward_api {
            count += 1;
            for file in downward.items.items() {
                faults.extend(downward_file(file, &here.child("downwardAPI")));
                if !file.path.is_empty() {
                    faults.extend(taken.take(&file.path, &file.path, path));
                }
            }
        }
        if let Some(token) = &source.service_account_token {
            count += 1;
            faults.extend(self::token(token, rules, path, &here.child("serviceAccountToken")));
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            count += 1;
            faults.extend(trust_bundle(bundle, &here.child("clusterTrustBundle")));
            faults.extend(taken.take(&bundle.path, &bundle.path, path));
        }
        if let Some(certificate) = &source.pod_certificate {
            count += 1;
            faults.extend(pod_certificate(certificate, &mut taken, path, &here.child("podCertificate")));
        }
        if count > 1 {
            faults.push(Fault::forbidden(&here, "may not specify more than 1 volume type per source"));
        }
    }
    faults
}

fn token(token: &ServiceAccountTokenProjection, rules: &Rules, volume: &Path, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let seconds = token.expiration_seconds.unwrap_or_default();
    let wrong = if seconds < TOKEN_SECONDS_MIN {
        Some("may not specify a duration less than 10 minutes")
    } else if seconds > TOKEN_SECONDS_MAX {
        Some("may not specify a duration larger than 2^32 seconds")
    } else {
        None
    };
    faults.extend(wrong.map(|wrong| Fault::invalid(&path.child("expirationSeconds"), seconds, wrong)));
    // The path is that of the volume, not of the source.
    let path = volume.child("path");
    if token.path.is_empty() {
        faults.push(Fault::required(&path, ""));
    } else if !rules.non_local_token_path {
        faults.extend(paths::local_non_reserved(&token.path, &path));
    }
    faults
}

fn trust_bundle(bundle: &ClusterTrustBundleProjection, path: &Path) -> Faults {
    let mut faults = Vec::new();
    match (bundle.name.as_deref(), bundle.signer_name.as_deref()) {
        (Some(_), Some(_)) => faults.push(Fault::invalid(
            path,
            BadValue::json(bundle),
            "only one of name and signerName may be used",
        )),
        (Some(name), None) => {
            let name_path = path.child("name");
            if name.is_empty() {
                faults.push(Fault::required(&name_path, "must be a valid object name"));
            }
            for sentence in trust_bundle_name(name) {
                faults.push(Fault::invalid(
                    &name_path,
                    name,
                    format!("not a valid clustertrustbundlename: {sentence}"),
                ));
            }
            if let Some(selector) = &bundle.label_selector {
                faults.push(Fault::invalid(
                    &path.child("labelSelector"),
                    selectors::printed(selector),
                    "labelSelector must be unset if name is specified",
                ));
            }
        }
        (None, Some(signer)) => {
            let signer_path = path.child("signerName");
            if signer.is_empty() {
                faults.push(Fault::required(&signer_path, "must be a valid signer name"));
            }
            faults.extend(signer_name(&signer_path, signer));
            faults.extend(selectors::validate(
                bundle.label_selector.as_ref(),
                Leniency::default(),
                &path.child("labelSelector"),
            ));
        }
        (None, None) => faults.push(Fault::required(path, "either name or signerName must be specified")),
    }
    let target_path = path.child("path");
    if bundle.path.is_empty() {
        faults.push(Fault::required(&target_path, ""));
    }
    faults.extend(paths::local_non_reserved(&bundle.path, &target_path));
    faults
}

fn pod_certificate(
    certificate: &PodCertificateProjection,
    taken: &mut Taken,
    volume: &Path,
    path: &Path,
) -> Faults {
    let mut faults = signer_name(&path.child("signerName"), &certificate.signer_name);
    let annotations = certificate.user_annotations.iter().flatten();
    let annotations_path = path.child("userAnnotations");
    let mut size = 0;
    for (key, value) in annotations {
        faults.extend(prefixed_key(&key.to_lowercase(), &annotations_path));
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_SIZE_MAX {
        faults.push(Fault::too_long(&annotations_path, ANNOTATIONS_SIZE_MAX));
    }
    if !KEY_TYPES.contains(&certificate.key_type.as_str()) {
        faults.push(Fault::not_supported(&path.child("keyType"), certificate.key_type.as_str(), KEY_TYPES));
    }
    if let Some(seconds) = certificate.max_expiration_seconds {
        let path = path.child("maxExpirationSeconds");
        if seconds < CERTIFICATE_SECONDS_MIN {
            faults.push(Fault::invalid(
                &path,
                seconds,
                format!("if provided, maxExpirationSeconds must be >= {CERTIFICATE_SECONDS_MIN}"),
            ));
        }
        let max = if is_kubernetes_signer(&certificate.signer_name) {
            KUBERNETES_CERTIFICATE_SECONDS_MAX
        } else {
            CERTIFICATE_SECONDS_MAX
        };
        if seconds > max {
            faults.push(Fault::invalid(
                &path,
                seconds,
                format!("if provided, maxExpirationSeconds must be <= {max}"),
            ));
        }
    }
    let targets = [
        ("credentialBundlePath", &certificate.credential_bundle_path),
        ("keyPath", &certificate.key_path),
        ("certificateChainPath", &certificate.certificate_chain_path),
    ];
    let mut count = 0;
    for (field, target) in targets {
        let target = target.text();
        if target.is_empty() {
            continue;
        }
        count += 1;
        faults.extend(paths::local_non_reserved(target, &path.child(field)));
        faults.extend(taken.take(target, target, volume));
    }
    if count == 0 {
        faults.push(Fault::required(
            path,
            "specify at least one of credentialBundlePath, keyPath, and certificateChainPath",
        ));
    }
    faults
}

/// Faults of a key that must name its domain.
fn prefixed_key(key: &str, path: &Path) -> Faults {
    if key.is_empty() {
        return vec![Fault::required(path, "")];
    }
    let faults = invalid_each(path, key, qualified_name(key));
    if !faults.is_empty() || key.contains('/') {
        return faults;
    }
    vec![Fault::invalid(path, key, "must be a domain-prefixed key (such as \"acme.io/foo\")")]
}
