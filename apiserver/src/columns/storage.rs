//! Storage classes, drivers and attachments.

use k8s_openapi::api::storage::v1::{
    CSIDriverSpec, StorageClass, VolumeAttachmentSource, VolumeAttachmentSpec, VolumeAttachmentStatus,
    VolumeAttributesClass,
};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, boolean, integer, name, of, says, text},
    read::{self, ObjectExt as _, age, at, count, flag, list, optional_text},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "csidrivers" => &CSI_DRIVERS,
        "csinodes" => &CSI_NODES,
        "storageclasses" => &STORAGE_CLASSES,
        "volumeattachments" => &VOLUME_ATTACHMENTS,
        "volumeattributesclasses" => &VOLUME_ATTRIBUTES_CLASSES,
        _ => return None,
    })
}

static CSI_DRIVERS: TableDef = TableDef::new(
    &[
        NAME,
        boolean("AttachRequired", of::<CSIDriverSpec>("attachRequired")),
        boolean("PodInfoOnMount", of::<CSIDriverSpec>("podInfoOnMount")),
        boolean("StorageCapacity", of::<CSIDriverSpec>("storageCapacity")),
        text("TokenRequests", of::<CSIDriverSpec>("tokenRequests")),
        boolean("RequiresRepublish", of::<CSIDriverSpec>("requiresRepublish")),
        text("Modes", of::<CSIDriverSpec>("volumeLifecycleModes")),
        AGE,
    ],
    |driver, now| {
        let modes = match read::joined(list(driver, "spec.volumeLifecycleModes")) {
            none if none.is_empty() => "<none>".to_owned(),
            modes => modes,
        };
        let tokens = match at(driver, "spec.tokenRequests") {
            Value::Array(requests) => {
                requests.iter().map(|it| read::text(it, "audience")).collect::<Vec<_>>().join(",")
            }
            _ => "<unset>".to_owned(),
        };
        vec![
            driver.name().into(),
            at(driver, "spec.attachRequired").as_bool().unwrap_or(true).into(),
            flag(driver, "spec.podInfoOnMount").into(),
            flag(driver, "spec.storageCapacity").into(),
            tokens.into(),
            flag(driver, "spec.requiresRepublish").into(),
            modes.into(),
            age(driver, now),
        ]
    },
);

static CSI_NODES: TableDef = TableDef::new(
    &[
        NAME,
        integer("Drivers", says("Drivers indicates the number of CSI drivers registered on the node")),
        AGE,
    ],
    |node, now| vec![node.name().into(), count(node, "spec.drivers").into(), age(node, now)],
);

static STORAGE_CLASSES: TableDef = TableDef::new(
    &[
        NAME,
        text("Provisioner", of::<StorageClass>("provisioner")),
        text("ReclaimPolicy", of::<StorageClass>("reclaimPolicy")),
        text("VolumeBindingMode", of::<StorageClass>("volumeBindingMode")),
        text("AllowVolumeExpansion", of::<StorageClass>("allowVolumeExpansion")),
        AGE,
    ],
    |class, now| {
        let is_default = |key| class.annotation(key) == Some("true");
        let mut name = class.name().to_owned();
        if is_default("storageclass.kubernetes.io/is-default-class")
            || is_default("storageclass.beta.kubernetes.io/is-default-class")
        {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            read::text(class, "provisioner").into(),
            optional_text(class, "reclaimPolicy", "Delete").into(),
            optional_text(class, "volumeBindingMode", "Immediate").into(),
            flag(class, "allowVolumeExpansion").into(),
            age(class, now),
        ]
    },
);

static VOLUME_ATTACHMENTS: TableDef = TableDef::new(
    &[
        NAME,
        name("Attacher", of::<VolumeAttachmentSpec>("attacher")),
        text("PV", of::<VolumeAttachmentSource>("persistentVolumeName")),
        text("Node", of::<VolumeAttachmentSpec>("nodeName")),
        boolean("Attached", of::<VolumeAttachmentStatus>("attached")),
        AGE,
    ],
    |attachment, now| {
        vec![
            attachment.name().into(),
            read::text(attachment, "spec.attacher").into(),
            read::text(attachment, "spec.source.persistentVolumeName").into(),
            read::text(attachment, "spec.nodeName").into(),
            flag(attachment, "status.attached").into(),
            age(attachment, now),
        ]
    },
);

static VOLUME_ATTRIBUTES_CLASSES: TableDef = TableDef::new(
    &[NAME, text("DriverName", of::<VolumeAttributesClass>("driverName")), AGE],
    |class, now| vec![class.name().into(), read::text(class, "driverName").into(), age(class, now)],
);
