//! `StorageObjectInUseProtection`: volumes, claims and volume attributes classes stay until nothing uses them any
//! more. The finalizer is put on here; a controller takes it off.

use api_types::{object::ObjectExt, status::Status};
use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};

/// What is protected, by group and resource, and with which finalizer.
const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

/// The plugin.
#[derive(Debug)]
pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes) -> BoxFuture<'a, Result<(), Status>> {
        if attributes.operation == Operation::Create {
            let finalizer = PROTECTED.iter().find(|(group, resource, _)| attributes.is(group, resource, ""));
            if let Some((_, _, finalizer)) = finalizer {
                protect(&mut attributes.object, finalizer);
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

fn protect(object: &mut Value, finalizer: &str) {
    let mut finalizers = object.finalizers();
    if !finalizers.contains(&finalizer) {
        finalizers.push(finalizer);
        let finalizers = json!(finalizers);
        object.set_meta("finalizers", finalizers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finalizer_comes_last_and_once() {
        for (there, expected) in [
            (json!(null), json!(["f"])),
            (json!(["a/b"]), json!(["a/b", "f"])),
            (json!(["f", "a/b"]), json!(["f", "a/b"])),
        ] {
            let mut object = json!({"metadata": {"finalizers": there}});
            protect(&mut object, "f");
            assert_eq!(object.pointer("/metadata/finalizers"), Some(&expected));
        }
    }
}
