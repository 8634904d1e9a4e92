//! Disks of iSCSI and Fibre Channel. Kubelets log in to them themselves, but not before they are told that they may.

use client::meta::null_is_default;
use serde::Deserialize;

/// What disks of iSCSI are called in the status of nodes begins with this.
const ISCSI: &str = "kubernetes.io/iscsi/";
/// What those of Fibre Channel are called.
const FC: &str = "kubernetes.io/fc/";

/// A disk of iSCSI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Iscsi {
    target_portal: Box<str>,
    iqn: Box<str>,
    lun: i32,
}

/// A disk of Fibre Channel: by targets and a number of theirs, or by identifiers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fc {
    #[serde(rename = "targetWWNs", deserialize_with = "null_is_default")]
    target_wwns: Vec<String>,
    lun: Option<i32>,
    #[serde(deserialize_with = "null_is_default")]
    wwids: Vec<String>,
}

/// What the status of nodes calls a disk, which kubelets make of the same fields; `None` if it is none of these.
pub fn name(iscsi: Option<&Iscsi>, fc: Option<&Fc>) -> Option<Box<str>> {
    if let Some(Iscsi { target_portal, iqn, lun }) = iscsi {
        return Some(format!("{ISCSI}{target_portal}:{iqn}:{lun}").into());
    }
    match fc? {
        Fc { target_wwns, lun: Some(lun), .. } if !target_wwns.is_empty() => {
            Some(format!("{FC}[{}]:{lun}", target_wwns.join(" ")).into())
        }
        Fc { wwids, .. } if !wwids.is_empty() => Some(format!("{FC}[{}]", wwids.join(" ")).into()),
        Fc { .. } => None,
    }
}

/// Whether a name in the status of a node is that of such a disk.
pub fn is_disk(name: &str) -> bool {
    name.starts_with(ISCSI) || name.starts_with(FC)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn disks_are_called_as_kubelets_call_them() {
        let iscsi = |of: Value| name(Some(&serde_json::from_value(of).unwrap()), None);
        let fc = |of: Value| name(None, Some(&serde_json::from_value(of).unwrap()));
        let portal =
            json!({"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:storage", "lun": 2});
        for (called, expected) in [
            (iscsi(portal), Some("kubernetes.io/iscsi/10.0.0.1:3260:iqn.2001-04.com.example:storage:2")),
            (fc(json!({"targetWWNs": ["5005", "5006"], "lun": 0})), Some("kubernetes.io/fc/[5005 5006]:0")),
            (
                fc(json!({"targetWWNs": null, "wwids": ["3600", "3601"]})),
                Some("kubernetes.io/fc/[3600 3601]"),
            ),
            (fc(json!({"targetWWNs": ["5005"]})), None),
            (name(None, None), None),
        ] {
            assert_eq!(called.as_deref(), expected);
            assert!(expected.is_none_or(is_disk));
        }
    }
}
