//! PersistentVolume protection: a volume that is to go stays for as long as it is bound.

use std::sync::Arc;

use client::{Caches, Controller, Key, Plan, Triggers};
use jiff::Timestamp;

use crate::{kinds::PersistentVolume, protection};

const FINALIZER: &str = "kubernetes.io/pv-protection";

/// Protects volumes.
#[derive(Debug)]
pub struct PvProtection;

impl Controller for PvProtection {
    type Root = PersistentVolume;
    type Observed = Arc<PersistentVolume>;
    const NAME: &'static str = "pv-protection-controller";

    fn triggers(&self, on: &mut Triggers<PersistentVolume>) {
        on.root();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Self::Observed> {
        caches.read::<PersistentVolume>().get(root)
    }

    fn reconcile(&self, volume: &Self::Observed, _now: Timestamp) -> Plan {
        let bound = &*volume.status.phase == "Bound";
        let claim = || volume.spec.claim_ref.as_ref().map(|it| format!("{}/{}", it.namespace, it.name));
        let user = bound.then(|| format!("claim {}", claim().unwrap_or_default()));
        protection::protect(&**volume, FINALIZER, user)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bound_volume_stays() {
        for (phase, writes) in [("Bound", 0), ("Released", 1), ("Available", 1)] {
            let volume = json!({"metadata": {"name": "v", "finalizers": [FINALIZER], "deletionTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"claimRef": {"namespace": "ns", "name": "c"}}, "status": {"phase": phase}});
            let volume: Arc<PersistentVolume> = Arc::new(serde_json::from_value(volume).unwrap());
            assert_eq!(
                PvProtection.reconcile(&volume, Timestamp::UNIX_EPOCH).writes.len(),
                writes,
                "{phase}"
            );
        }
    }
}
