//! VolumeAttributesClass protection: a class that is to go stays while a volume or a claim has it.

use std::sync::Arc;

use client::{Caches, Controller, Key, Plan, Triggers};
use jiff::Timestamp;

use crate::{
    kinds::{PersistentVolume, PersistentVolumeClaim, VolumeAttributesClass},
    protection,
};

const FINALIZER: &str = "kubernetes.io/vac-protection";

/// Protects classes.
#[derive(Debug)]
pub struct VacProtection;

/// All that matters to the protection of a class.
#[derive(Debug)]
pub struct Observed {
    class: Arc<VolumeAttributesClass>,
    user: Option<String>,
}

// === impl VacProtection ===

impl Controller for VacProtection {
    type Root = VolumeAttributesClass;
    type Observed = Observed;
    const NAME: &'static str = "volumeattributesclass-protection-controller";

    fn triggers(&self, on: &mut Triggers<VolumeAttributesClass>) {
        let key = |class: Option<&str>| class.map(Key::cluster).into_iter().collect::<Vec<_>>();
        on.root()
            .mapped::<PersistentVolume>(move |it, _| key(it.spec.volume_attributes_class_name.as_deref()))
            .mapped::<PersistentVolumeClaim>(move |it, _| {
                key(it.spec.volume_attributes_class_name.as_deref())
            });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let class = caches.read::<VolumeAttributesClass>().get(root)?;
        let has = |it: &Option<Box<str>>| it.as_deref() == Some(&*root.name);
        let user = class.metadata.is_terminating().then(|| {
            let volumes = caches.read::<PersistentVolume>().list();
            let volume = volumes.iter().find(|it| has(&it.spec.volume_attributes_class_name));
            volume.map(|it| format!("volume {}", it.metadata.name)).or_else(|| {
                let claims = caches.read::<PersistentVolumeClaim>().list();
                let claim = claims.iter().find(|it| has(&it.spec.volume_attributes_class_name));
                claim.map(|it| format!("claim {}", it.metadata.key()))
            })
        });
        Some(Observed { class, user: user.flatten() })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        protection::protect(&*observed.class, FINALIZER, observed.user.clone())
    }
}

#[cfg(test)]
mod tests {
    use client::testing::Filled;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_class_stays_while_something_has_it() {
        for (volume, claim, writes) in
            [("gold", Value::Null, 0), ("other", json!("gold"), 0), ("other", Value::Null, 1)]
        {
            let caches = Filled::new()
                .with::<VolumeAttributesClass>([json!({"metadata": {"name": "gold", "finalizers": [FINALIZER],
                    "deletionTimestamp": "2026-01-01T00:00:00Z"}})])
                .with::<PersistentVolume>([json!({"metadata": {"name": "v"}, "spec": {"volumeAttributesClassName": volume}})])
                .with::<PersistentVolumeClaim>([
                    json!({"metadata": {"namespace": "ns", "name": "c"}, "spec": {"volumeAttributesClassName": claim}}),
                ])
                .caches();
            let observed = VacProtection.observe(&Key::cluster("gold"), &caches).unwrap();
            assert_eq!(VacProtection.reconcile(&observed, Timestamp::UNIX_EPOCH).writes.len(), writes);
        }
    }
}
