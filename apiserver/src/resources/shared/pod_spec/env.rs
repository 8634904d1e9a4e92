//! What is wrong with a container's environment.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::{
    api::core::v1::{
        EnvFromSource, EnvVar, EnvVarSource, FileKeySelector, ObjectFieldSelector, ResourceFieldSelector,
    },
    apimachinery::pkg::api::resource::Quantity as QuantityText,
};

use super::{
    super::{
        metadata::invalid_each,
        names::{self, config_map_key, dns_subdomain, dns1123_label, env_var_name, qualified_name},
        optional::Text,
        quantities::amount,
    },
    paths,
};

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a volume can show besides.
pub(super) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Fields of a pod that have a name here at all.
const FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Faults of variables.
pub(super) fn validate(variables: &[EnvVar], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        if variable.name.is_empty() {
            faults.push(Fault::required(&path.child("name"), ""));
        } else {
            faults.extend(invalid_each(&path.child("name"), &variable.name, env_var_name(&variable.name)));
        }
        if let Some(from) = &variable.value_from {
            faults.extend(value_from(from, variable.value.text(), &path.child("valueFrom")));
        }
    }
    faults
}

fn value_from(from: &EnvVarSource, value: &str, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut sources = 0;
    if let Some(field) = &from.field_ref {
        sources += 1;
        faults.extend(object_field(field, ENV_FIELDS, &path.child("fieldRef")));
    }
    if let Some(resource) = &from.resource_field_ref {
        sources += 1;
        faults.extend(resource_field(resource, false, &path.child("resourceFieldRef")));
    }
    if let Some(key) = &from.config_map_key_ref {
        sources += 1;
        faults.extend(key_of(&key.name, &key.key, &path.child("configMapKeyRef")));
    }
    if let Some(key) = &from.secret_key_ref {
        sources += 1;
        faults.extend(key_of(&key.name, &key.key, &path.child("secretKeyRef")));
    }
    if let Some(file) = &from.file_key_ref {
        sources += 1;
        faults.extend(file_key(file, &path.child("fileKeyRef")));
    }
    let wrong = match (sources, value) {
        (0, _) => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        (1, "") => return faults,
        (_, "") => "may not have more than one field specified at a time",
        _ => "may not be specified when `value` is not empty",
    };
    faults.push(Fault::invalid(path, "", wrong));
    faults
}

/// Faults of a reference to a field of the pod, which must be one of some.
pub(super) fn object_field(selector: &ObjectFieldSelector, supported: &[&str], path: &Path) -> Faults {
    let version = selector.api_version.text();
    if version.is_empty() {
        return vec![Fault::required(&path.child("apiVersion"), "")];
    }
    let field = selector.field_path.as_str();
    if field.is_empty() {
        return vec![Fault::required(&path.child("fieldPath"), "")];
    }
    let unconvertible = |why: String| {
        vec![Fault::invalid(&path.child("fieldPath"), field, format!("error converting fieldPath: {why}"))]
    };
    if version != "v1" {
        return unconvertible(format!("unsupported pod version: {version}"));
    }
    if let Some((map, key)) = subscripted(field) {
        return match map {
            "metadata.annotations" => {
                let key = key.to_lowercase();
                invalid_each(path, &key, qualified_name(&key))
            }
            "metadata.labels" => invalid_each(path, key, qualified_name(key)),
            _ => unconvertible(format!("field label does not support subscript: {field}")),
        };
    }
    // An old name.
    let name = if field == "spec.host" { "spec.nodeName" } else { field };
    if !FIELDS.contains(&name) {
        return unconvertible(format!("field label not supported: {field}"));
    }
    if supported.contains(&name) {
        Vec::new()
    } else {
        vec![Fault::not_supported(&path.child("fieldPath"), name, supported)]
    }
}

/// `path['key']`, taken apart.
fn subscripted(field: &str) -> Option<(&str, &str)> {
    field.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// Faults of a reference to a container's requests or limits.
pub(super) fn resource_field(selector: &ResourceFieldSelector, in_volume: bool, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let resource = selector.resource.as_str();
    if in_volume && selector.container_name.text().is_empty() {
        faults.push(Fault::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        faults.push(Fault::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !is_huge_pages_field(resource) {
        faults.push(Fault::not_supported(&path.child("resource"), resource, RESOURCES));
    }
    if let Some(divisor) = &selector.divisor {
        faults.extend(self::divisor(resource, divisor, &path.child("divisor")));
    }
    faults
}

fn is_huge_pages_field(resource: &str) -> bool {
    resource.starts_with("requests.hugepages-") || resource.starts_with("limits.hugepages-")
}

fn divisor(resource: &str, divisor: &QuantityText, path: &Path) -> Option<Fault> {
    let divisor = amount(divisor);
    if divisor.is_zero() {
        return None;
    }
    let (supported, what): (&[&str], &str) = match resource {
        "limits.cpu" | "requests.cpu" => {
            (&["1m", "1"], "only divisor's values 1m and 1 are supported with the cpu resource")
        }
        "limits.memory" | "requests.memory" => (
            SIZES,
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => (
            SIZES,
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
        ),
        _ if is_huge_pages_field(resource) => (
            SIZES,
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
        _ => return None,
    };
    let text = divisor.to_string();
    (!supported.contains(&text.as_str())).then(|| Fault::invalid(path, resource, what))
}

fn key_of(name: &str, key: &str, path: &Path) -> Faults {
    let mut faults = invalid_each(&path.child("name"), name, dns_subdomain(name, false));
    if key.is_empty() {
        faults.push(Fault::required(&path.child("key"), ""));
    } else {
        faults.extend(invalid_each(&path.child("key"), key, config_map_key(key)));
    }
    faults
}

fn file_key(selector: &FileKeySelector, path: &Path) -> Faults {
    let mut faults = Vec::new();
    let mut field = |name: &str, value: &str, judge: &dyn Fn(&Path) -> Faults| {
        let path = path.child(name);
        if value.is_empty() {
            faults.push(Fault::required(&path, ""));
        } else {
            faults.extend(judge(&path));
        }
    };
    field("key", &selector.key, &|path| invalid_each(path, &selector.key, env_var_name(&selector.key)));
    field("volumeName", &selector.volume_name, &|path| {
        invalid_each(path, &selector.volume_name, dns1123_label(&selector.volume_name))
    });
    field("path", &selector.path, &|path| paths::no_backsteps(&selector.path, path).into_iter().collect());
    faults
}

/// Faults of sources of many variables.
pub(super) fn validate_from(sources: &[EnvFromSource], path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let here = path.index(index);
        let prefix = source.prefix.text();
        if !prefix.is_empty() {
            faults.extend(invalid_each(&here.child("prefix"), prefix, names::env_var_name(prefix)));
        }
        let references = [
            ("configMapRef", source.config_map_ref.as_ref().map(|it| it.name.as_str())),
            ("secretRef", source.secret_ref.as_ref().map(|it| it.name.as_str())),
        ];
        let mut count = 0;
        for (field, name) in references {
            let Some(name) = name else { continue };
            count += 1;
            let path = here.child(field).child("name");
            if name.is_empty() {
                faults.push(Fault::required(&path, ""));
            } else {
                faults.extend(invalid_each(&path, name, dns_subdomain(name, true)));
            }
        }
        match count {
            0 => faults.push(Fault::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => {
                faults.push(Fault::invalid(path, "", "may not have more than one field specified at a time"))
            }
        }
    }
    faults
}
