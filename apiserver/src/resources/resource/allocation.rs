//! What is given: the status of claims.

use std::collections::BTreeSet;

use api_types::field::{BadValue, Fault, Faults, Path};
use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult,
    DeviceRequestAllocationResult, NetworkDeviceData, ResourceClaimConsumerReference, ResourceClaimStatus,
};
use serde_json::Value;

use super::{
    claim::Requests,
    parts::{
        CONFIG_MAX, REQUESTS_MAX, binding_faults, config_faults, driver_name_faults, duplicate_faults,
        label_faults, list_faults, pool_name_faults, raw_fault, set_faults,
    },
};
use crate::resources::shared::{
    conditions, internal,
    net::interface_address,
    optional::{Items, Text},
    pod_spec::affinity::node_selector,
};

const USERS_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const DATA_LENGTH_MAX: usize = 10 * 1024;
const INTERFACE_LENGTH_MAX: usize = 256;
const HARDWARE_ADDRESS_LENGTH_MAX: usize = 128;
const IPS_MAX: usize = 16;

/// A device, or a share of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceId {
    driver: String,
    pool: String,
    device: String,
    share: String,
}

impl From<&DeviceRequestAllocationResult> for DeviceId {
    fn from(it: &DeviceRequestAllocationResult) -> Self {
        Self {
            driver: it.driver.clone(),
            pool: it.pool.clone(),
            device: it.device.clone(),
            share: it.share_id.text().to_owned(),
        }
    }
}

impl From<&AllocatedDeviceStatus> for DeviceId {
    fn from(it: &AllocatedDeviceStatus) -> Self {
        Self {
            driver: it.driver.clone(),
            pool: it.pool.clone(),
            device: it.device.clone(),
            share: it.share_id.text().to_owned(),
        }
    }
}

/// As upstream prints it.
impl From<DeviceId> for BadValue {
    fn from(it: DeviceId) -> Self {
        let [driver, pool, device, share] =
            [it.driver, it.pool, it.device, it.share].map(|part| Value::from(part).to_string());
        Self::Plain(format!(r#"{{"Driver":{driver},"Pool":{pool},"Device":{device},"ShareID":{share}}}"#))
    }
}

/// The devices that a status gives.
pub(super) fn allocated(status: &ResourceClaimStatus) -> impl Iterator<Item = DeviceId> {
    let devices = status.allocation.iter().filter_map(|allocation| allocation.devices.as_ref());
    devices.flat_map(|devices| devices.results.items()).map(DeviceId::from)
}

/// What is wrong with the change of a status.
pub(super) fn status_faults(
    new: &ResourceClaimStatus,
    old: &ResourceClaimStatus,
    deleted: bool,
    requests: &Requests<'_>,
    path: &Path,
) -> Faults {
    let (users, users_path) = (new.reserved_for.items(), path.child("reservedFor"));
    let mut faults = set_faults(users, USERS_MAX, &users_path, user_faults, |user| user.uid.clone());
    let given: BTreeSet<DeviceId> = allocated(new).collect();
    let (devices, devices_path) = (new.devices.items(), path.child("devices"));
    for (index, device) in devices.iter().enumerate() {
        faults.extend(device_faults(device, &given, &devices_path.index(index)));
    }
    faults.extend(duplicate_faults(devices, &devices_path, |device| DeviceId::from(device)));
    if !users.is_empty() {
        if new.allocation.is_none() {
            let detail = "may not be specified when `allocated` is not set";
            faults.push(Fault::forbidden(&users_path, detail));
        } else if deleted && users.iter().any(|user| !old.reserved_for.items().contains(user)) {
            let detail =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            faults.push(Fault::forbidden(&users_path, detail));
        }
    }
    let path = path.child("allocation");
    match (&new.allocation, &old.allocation) {
        (Some(new), Some(old)) => {
            faults.extend(internal::immutable("resource.AllocationResult", &path, new, old))
        }
        (Some(new), None) => faults.extend(allocation_faults(new, requests, &path)),
        (None, _) => {}
    }
    faults
}

fn user_faults(user: &ResourceClaimConsumerReference, path: &Path) -> Faults {
    [("resource", &user.resource), ("name", &user.name), ("uid", &user.uid)]
        .into_iter()
        .filter(|(_, value)| value.is_empty())
        .map(|(field, _)| Fault::required(&path.child(field), ""))
        .collect()
}

fn device_faults(device: &AllocatedDeviceStatus, given: &BTreeSet<DeviceId>, path: &Path) -> Faults {
    let mut faults = driver_name_faults(&device.driver, &path.child("driver"));
    faults.extend(pool_name_faults(&device.pool, &path.child("pool")));
    faults.extend(label_faults(&device.device, &path.child("device")));
    faults.extend(share_fault(device.share_id.as_deref(), path));
    let id = DeviceId::from(device);
    if !given.contains(&id) {
        faults.push(Fault::invalid(path, id, "must be an allocated device in the claim"));
    }
    let (conditions, conditions_path) = (device.conditions.items(), path.child("conditions"));
    if conditions.len() > CONDITIONS_MAX {
        faults.push(Fault::too_many(&conditions_path, conditions.len(), CONDITIONS_MAX));
    }
    faults.extend(conditions::faults(conditions, &conditions_path));
    if let Some(data) = device.data.as_ref().filter(|data| !data.0.is_null()) {
        faults.extend(raw_fault(data, Some(DATA_LENGTH_MAX), &path.child("data")));
    }
    faults
        .extend(device.network_data.iter().flat_map(|data| network_faults(data, &path.child("networkData"))));
    faults
}

fn network_faults(data: &NetworkDeviceData, path: &Path) -> Faults {
    let mut faults = Vec::new();
    for (field, value, max) in [
        ("interfaceName", &data.interface_name, INTERFACE_LENGTH_MAX),
        ("hardwareAddress", &data.hardware_address, HARDWARE_ADDRESS_LENGTH_MAX),
    ] {
        if value.text().len() > max {
            faults.push(Fault::too_long(&path.child(field), max));
        }
    }
    let address = |address: &String, path: &Path| interface_address(path, address);
    faults.extend(set_faults(data.ips.items(), IPS_MAX, &path.child("ips"), address, String::clone));
    faults
}

fn allocation_faults(allocation: &AllocationResult, requests: &Requests<'_>, path: &Path) -> Faults {
    let empty = DeviceAllocationResult::default();
    let devices = allocation.devices.as_ref().unwrap_or(&empty);
    let devices_path = path.child("devices");
    let mut faults =
        list_faults(devices.results.items(), REQUESTS_MAX, &devices_path.child("results"), |result, path| {
            result_faults(result, requests, path)
        });
    // Of the class and of the claim.
    let max = 2 * CONFIG_MAX;
    faults.extend(list_faults(devices.config.items(), max, &devices_path.child("config"), |config, path| {
        allocated_config_faults(config, requests, path)
    }));
    if let Some(selector) = &allocation.node_selector {
        faults.extend(node_selector(selector, false, &path.child("nodeSelector")));
    }
    faults
}

fn result_faults(result: &DeviceRequestAllocationResult, requests: &Requests<'_>, path: &Path) -> Faults {
    let mut faults = requests.reference_faults(&result.request, &path.child("request"));
    faults.extend(driver_name_faults(&result.driver, &path.child("driver")));
    faults.extend(pool_name_faults(&result.pool, &path.child("pool")));
    faults.extend(label_faults(&result.device, &path.child("device")));
    faults.extend(binding_faults(&result.binding_conditions, &result.binding_failure_conditions, path));
    faults.extend(share_fault(result.share_id.as_deref(), path));
    faults
}

fn allocated_config_faults(
    config: &DeviceAllocationConfiguration,
    requests: &Requests<'_>,
    path: &Path,
) -> Faults {
    let mut faults = Vec::new();
    let source_path = path.child("source");
    let sources = ["FromClaim", "FromClass"];
    match config.source.as_str() {
        "" => faults.push(Fault::required(&source_path, "")),
        known if sources.contains(&known) => {}
        odd => faults.push(Fault::not_supported(&source_path, odd, &sources)),
    }
    faults.extend(requests.references_faults(config.requests.items(), &path.child("requests")));
    faults.extend(config_faults(config.opaque.as_ref(), false, path));
    faults
}

/// The fault of the id of a share of a device, which must be a UUID as it is usually written.
fn share_fault(id: Option<&str>, path: &Path) -> Option<Fault> {
    let (id, path) = (id?, path.child("shareID"));
    if let Some(wrong) = uuid_wrong(id) {
        return Some(Fault::invalid(&path, id, format!("error validating uid: {wrong}")));
    }
    (id.len() != 36 || id.to_lowercase() != id).then(|| {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters";
        Fault::invalid(&path, id, detail)
    })
}

/// What is wrong with a UUID in any of the forms that `github.com/google/uuid` reads, in its words.
fn uuid_wrong(text: &str) -> Option<String> {
    const FORMAT: &str = "invalid UUID format";
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let dashed = match text.len() {
        32 => return (!is_hex(text)).then(|| FORMAT.to_owned()),
        36 => text,
        38 => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(inner) => inner,
            None => return Some("invalid bracketed UUID format".to_owned()),
        },
        45 => match text.split_at_checked(9) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("urn:uuid:") => rest,
            Some((prefix, _)) => {
                return Some(format!("invalid urn prefix: {}", api_types::field::go_quote(prefix)));
            }
            None => return Some(FORMAT.to_owned()),
        },
        other => return Some(format!("invalid UUID length: {other}")),
    };
    let parts: Vec<&str> = dashed.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_uuid = lengths == [8, 4, 4, 4, 12] && parts.into_iter().all(is_hex);
    (!is_uuid).then(|| FORMAT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_shares_are_uuids_in_the_usual_form() {
        let check = |id| share_fault(Some(id), &Path::new("d")).map(|fault| fault.detail);
        let normal = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(check(normal), None);
        for (id, detail) in [
            ("x", "error validating uid: invalid UUID length: 1"),
            ("0123456789abcdef0123456789abcdeg", "error validating uid: invalid UUID format"),
            ("0123456x-89ab-cdef-0123-456789abcdef", "error validating uid: invalid UUID format"),
            ("[01234567-89ab-cdef-0123-456789abcdef]", "error validating uid: invalid bracketed UUID format"),
            (
                "urn:uuidx01234567-89ab-cdef-0123-456789abcdef",
                r#"error validating uid: invalid urn prefix: "urn:uuidx""#,
            ),
        ] {
            assert_eq!(check(id).as_deref(), Some(detail), "{id}");
        }
        for id in [&normal.to_uppercase(), &format!("{{{normal}}}"), &normal.replace('-', "")] {
            assert!(check(id).unwrap().starts_with("uid must be in RFC 4122 normalized form"), "{id}");
        }
    }
}
