//! VolumeAttachments: `volumeattachments` of `storage.k8s.io/v1`.

use api_types::field::{Fault, Faults, Path};
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentStatus, VolumeError,
};

use crate::{
    patch::apply::Reset,
    registry::strategy::{Context, Names, Part, Strategy},
    resources::{
        core::persistentvolumes::default_sources,
        shared::{
            internal::printed,
            metadata::{invalid_each, keep_for_status},
            names::{between, dns_subdomain},
            optional::{Entries, Text, same},
            pod_spec::volumes::csi_driver_name,
            volume_spec::{self, Place},
        },
    },
};

const METADATA_SIZE_MAX: usize = 256 * 1024;
const MESSAGE_LENGTH_MAX: usize = 1024;

/// The strategy of VolumeAttachments.
pub(crate) struct VolumeAttachments;

impl Strategy for VolumeAttachments {
    type Object = VolumeAttachment;

    const NAMES: Names = Names {
        group: "storage.k8s.io",
        version: "v1",
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        singular: "volumeattachment",
        short: &[],
        categories: &[],
        namespaced: false,
    };
    const REJUDGES_CHANGE: bool = false;
    const RESETS: &'static [(Part, Reset<'static>)] =
        &[(Part::Status, Reset::Fields(&[&["spec"], &["metadata"]]))];
    const RETURNS_DELETED: bool = true;
    const STATUS: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;

    fn default(object: &mut VolumeAttachment) {
        if let Some(spec) = &mut object.spec.source.inline_volume_spec {
            default_sources(spec);
        }
    }

    fn validate(_cx: &Context<'_>, object: &VolumeAttachment) -> Faults {
        let path = Path::new("spec");
        let spec = &object.spec;
        let mut faults = csi_driver_name(&spec.attacher, &path.child("attacher"));
        faults.extend(source_faults(&spec.source, &path.child("source")));
        faults.extend(invalid_each(
            &path.child("nodeName"),
            &spec.node_name,
            dns_subdomain(&spec.node_name, false),
        ));
        faults.extend(object.status.iter().flat_map(status_faults));
        if let Some(name) = &spec.source.persistent_volume_name {
            faults.extend(invalid_each(
                &path.child("source.persistentVolumeName"),
                name,
                dns_subdomain(name, false),
            ));
        }
        faults
    }

    fn validate_update(cx: &Context<'_>, object: &VolumeAttachment, old: &VolumeAttachment) -> Faults {
        let mut faults = Self::validate(cx, object);
        if !same(&object.spec, &old.spec) {
            let printed = printed("storage.VolumeAttachmentSpec", &object.spec);
            faults.push(Fault::invalid(&Path::new("spec"), printed, "field is immutable"));
        }
        faults
    }

    fn prepare_for_status_update(_cx: &Context<'_>, object: &mut VolumeAttachment, old: &VolumeAttachment) {
        keep_for_status(&mut object.metadata, &old.metadata);
    }

    fn validate_status_update(cx: &Context<'_>, object: &VolumeAttachment, old: &VolumeAttachment) -> Faults {
        Self::validate_update(cx, object, old)
    }
}

fn source_faults(source: &VolumeAttachmentSource, path: &Path) -> Faults {
    let exactly_one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&source.inline_volume_spec, &source.persistent_volume_name) {
        (None, None) => vec![Fault::required(path, exactly_one)],
        (Some(_), Some(_)) => vec![Fault::forbidden(path, exactly_one)],
        (None, Some(name)) if name.is_empty() => vec![Fault::required(
            &path.child("persistentVolumeName"),
            "must specify non empty persistentVolumeName",
        )],
        (None, Some(_)) => Vec::new(),
        (Some(spec), None) => {
            volume_spec::faults(spec, Place::Inline, false, &path.child("inlineVolumeSpec"))
        }
    }
}

fn status_faults(status: &VolumeAttachmentStatus) -> Faults {
    let path = Path::new("status");
    let mut faults = Vec::new();
    let size: usize = status.attachment_metadata.entries().map(|(key, value)| key.len() + value.len()).sum();
    if size > METADATA_SIZE_MAX {
        faults.push(Fault::too_long(&path.child("attachmentMetadata"), METADATA_SIZE_MAX));
    }
    for (field, error) in [("attachError", &status.attach_error), ("detachError", &status.detach_error)] {
        faults.extend(error.iter().flat_map(|error| error_faults(error, &path.child(field))));
    }
    faults
}

fn error_faults(error: &VolumeError, path: &Path) -> Faults {
    let mut faults = Vec::new();
    if error.message.text().len() > MESSAGE_LENGTH_MAX {
        // The limit that upstream names is another one's.
        faults.push(Fault::too_long(&path.child("message"), METADATA_SIZE_MAX));
    }
    if let Some(code) = error.error_code.filter(|&code| code < 0) {
        faults.push(Fault::invalid(&path.child("errorCode"), code, between(0, i32::MAX.into())));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::VolumeAttachments;
    use crate::resources::shared::testing::{check_create, check_status_update, check_update};

    fn attachment(source: Value) -> Value {
        json!({"spec": {"attacher": "a.b", "nodeName": "n", "source": source}})
    }

    #[test]
    fn an_attachment_has_one_source() {
        for (object, faults) in [
            (attachment(json!({"persistentVolumeName": "v"})), vec![]),
            (
                attachment(json!({})),
                vec![
                    "spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                ],
            ),
            (
                attachment(json!({"persistentVolumeName": "v", "inlineVolumeSpec": {}})),
                vec![
                    "spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName",
                ],
            ),
            (
                attachment(json!({"inlineVolumeSpec": {}})),
                vec![
                    "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                    "spec.source.inlineVolumeSpec.accessModes: Required value",
                    "spec.source.inlineVolumeSpec: Required value: must specify a volume type",
                ],
            ),
        ] {
            assert_eq!(check_create::<VolumeAttachments>(object), faults);
        }
    }

    #[test]
    fn the_spec_is_fixed() {
        assert_eq!(
            check_update::<VolumeAttachments>(
                attachment(json!({"persistentVolumeName": "b"})),
                attachment(json!({"persistentVolumeName": "a"}))
            ),
            [
                r#"spec: Invalid value: {"Attacher":"a.b","Source":{"PersistentVolumeName":"b","InlineVolumeSpec":null},"NodeName":"n"}: field is immutable"#
            ]
        );
    }

    #[test]
    fn errors_are_short() {
        let mut object = attachment(json!({"persistentVolumeName": "a"}));
        object["status"] =
            json!({"attached": false, "attachError": {"message": "x".repeat(1025), "errorCode": -1}});
        assert_eq!(
            check_status_update::<VolumeAttachments>(
                object,
                attachment(json!({"persistentVolumeName": "a"}))
            ),
            [
                "status.attachError.message: Too long: may not be more than 262144 bytes",
                "status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ]
        );
    }
}
