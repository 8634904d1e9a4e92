//! Secrets: `secrets` of `v1`.

mod go_json;
mod key_pair;

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::configmaps::DATA_SIZE_MAX;
use crate::{
    registry::strategy::{Context, Names, SelectableField, Strategy},
    resources::shared::{
        fields::{changed_text, same_map},
        metadata::invalid_each,
        names::config_map_key,
        optional::{Entries, Text},
    },
};

/// The strategy of Secrets.
pub(crate) struct Secrets;

impl Strategy for Secrets {
    type Object = Secret;

    const NAMES: Names = Names {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short: &[],
        categories: &[],
        namespaced: true,
    };
    const SELECTABLE: &'static [SelectableField] =
        &[SelectableField { label: "type", path: "type", absent: "" }];

    fn default(object: &mut Secret) {
        if object.type_.text().is_empty() {
            object.type_ = Some("Opaque".to_owned());
        }
        // A convenience for writers that is never read back.
        if let Some(plain) = object.string_data.take().filter(|plain| !plain.is_empty()) {
            let data = object.data.get_or_insert_default();
            data.extend(plain.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))));
        }
    }

    fn validate(_cx: &Context<'_>, object: &Secret) -> Faults {
        let path = Path::new("data");
        let mut faults = Vec::new();
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            faults.extend(invalid_each(&path.key(key), key, config_map_key(key)));
            size += value.0.len();
        }
        if size > DATA_SIZE_MAX {
            faults.push(Fault::too_long(&path, DATA_SIZE_MAX));
        }
        faults.extend(type_faults(object, &path));
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &Secret, old: &Secret) -> Faults {
        let mut faults: Faults =
            changed_text(&Path::new("type"), &object.type_, &old.type_).into_iter().collect();
        if old.immutable == Some(true) {
            let mut frozen = |same: bool, field: &str| {
                if !same {
                    let path = Path::new(field);
                    faults.push(Fault::forbidden(&path, "field is immutable when `immutable` is set"));
                }
            };
            frozen(object.immutable == Some(true), "immutable");
            frozen(same_map(object.data.as_ref(), old.data.as_ref()), "data");
        }
        faults.extend(Self::validate(cx, object));
        faults
    }

    fn warnings(_cx: &Context<'_>, object: &Secret, _old: Option<&Secret>) -> Vec<String> {
        if object.type_.text() != "kubernetes.io/tls" {
            return Vec::new();
        }
        let bytes = |key| object.data.at(key).map(|value| value.0.as_slice()).unwrap_or_default();
        key_pair::wrong(bytes("tls.crt"), bytes("tls.key")).into_iter().collect()
    }
}

/// What a well-known type asks of the data.
fn type_faults(object: &Secret, path: &Path) -> Faults {
    let absent = |key: &str| object.data.at(key).is_none().then(|| Fault::required(&path.key(key), ""));
    let json = |key: &str| match object.data.at(key) {
        None => Some(Fault::required(&path.key(key), "")),
        Some(value) => go_json::object_error(&value.0)
            .map(|error| Fault::invalid(&path.key(key), "<secret contents redacted>", error)),
    };
    match object.type_.text() {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            let named = object.metadata.annotations.at(name).is_some_and(|name| !name.is_empty());
            let path = Path::new("metadata.annotations").key(name);
            (!named).then(|| Fault::required(&path, "")).into_iter().collect()
        }
        "kubernetes.io/dockercfg" => json(".dockercfg").into_iter().collect(),
        "kubernetes.io/dockerconfigjson" => json(".dockerconfigjson").into_iter().collect(),
        "kubernetes.io/basic-auth" => match (absent("username"), absent("password")) {
            (Some(username), Some(password)) => vec![username, password],
            _ => Vec::new(),
        },
        "kubernetes.io/ssh-auth" => {
            let key = "ssh-privatekey";
            let given = object.data.at(key).is_some_and(|value| !value.0.is_empty());
            (!given).then(|| Fault::required(&path.key(key), "")).into_iter().collect()
        }
        "kubernetes.io/tls" => [absent("tls.crt"), absent("tls.key")].into_iter().flatten().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Secrets;
    use crate::resources::shared::testing::{check_create, check_update, created, warnings};

    #[test]
    fn plain_strings_become_data_and_the_type_is_opaque() {
        assert_eq!(
            created::<Secrets>(json!({"data": {"a": "YQ==", "b": "Yg=="}, "stringData": {"a": "x"}})),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {}, "type": "Opaque",
                "data": {"a": "eA==", "b": "Yg=="}})
        );
    }

    #[test]
    fn a_well_known_type_asks_for_its_keys() {
        for (object, faults) in [
            (json!({"type": "example.com/any"}), vec![]),
            (
                json!({"type": "kubernetes.io/tls"}),
                vec!["data[tls.crt]: Required value", "data[tls.key]: Required value"],
            ),
            (json!({"type": "kubernetes.io/basic-auth", "stringData": {"username": "a"}}), vec![]),
            (
                json!({"type": "kubernetes.io/basic-auth"}),
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/ssh-auth", "stringData": {"ssh-privatekey": ""}}),
                vec!["data[ssh-privatekey]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": "{"}}),
                vec![
                    r#"data[.dockercfg]: Invalid value: "<secret contents redacted>": unexpected end of JSON input"#,
                ],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson"}),
                vec!["data[.dockerconfigjson]: Required value"],
            ),
        ] {
            assert_eq!(check_create::<Secrets>(object), faults);
        }
    }

    #[test]
    fn the_type_never_changes_and_frozen_data_does_not_either() {
        let old = json!({"type": "a", "immutable": true, "stringData": {"a": "1"}});
        assert_eq!(
            check_update::<Secrets>(json!({"type": "b", "immutable": true}), old),
            [
                r#"type: Invalid value: "b": field is immutable"#,
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
    }

    #[test]
    fn a_bad_key_pair_is_only_warned_about() {
        assert_eq!(
            warnings::<Secrets>(json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": "x"}})),
            ["tls: failed to find any PEM data in certificate input"]
        );
    }
}
