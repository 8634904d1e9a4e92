//! What must be done before a Pod is bound: its claims get volumes, and [`devices`].
//!
//! A volume that is there is given to its claim; for one that is not, the claim is told which node it is for, so that somebody
//! makes it. Then it is waited until the claims are bound. What has been written stays if the Pod does not get there.
//!
//! Invariant: writes only on what was decided on: an object that has changed since is a failure, and the Pod has another turn.

mod devices;

pub(crate) use devices::Reserved;

use std::{sync::Arc, time::Duration};

use client::{
    Error, Key,
    api::Patch,
    resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES},
};
use serde_json::json;

use crate::{
    plugin::Holding,
    pod::Pod,
    run::Shared,
    storage::{Claim, SELECTED_NODE, Volume},
};

/// It is looked so often whether claims are bound, at first and after a while.
const LOOK_MIN: Duration = Duration::from_millis(50);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// A claim whose binding is waited for, as it was written, or the volume that was.
enum Awaited {
    Static(Key, Arc<Volume>),
    Provisioned(Arc<Claim>),
}

impl Shared {
    /// Gets the claims of a Pod bound to what is held for them.
    ///
    /// # Errors
    /// What failed, for people.
    pub(crate) async fn prepare_volumes(
        &self,
        pod: &Pod,
        node: &str,
        holdings: &[Holding],
        patience: Duration,
    ) -> Result<(), String> {
        let failed = |why: String| format!("binding volumes: {why}");
        let mut awaited = Vec::new();
        for holding in holdings {
            awaited.push(match holding {
                Holding::Volume { volume, claim } => {
                    Awaited::Static(claim.clone(), self.give(volume, claim).await.map_err(failed)?)
                }
                Holding::Provision { claim, .. } => {
                    Awaited::Provisioned(self.ask_for(claim, node).await.map_err(failed)?)
                }
                Holding::Devices(_) => continue,
            });
        }
        let bound = async {
            let mut look = LOOK_MIN;
            while !self.are_bound(pod, node, &awaited)? {
                tokio::time::sleep(look).await;
                look = (look * 2).min(LOOK_MAX);
            }
            Ok(())
        };
        match tokio::time::timeout(patience, bound).await {
            Ok(result) => result.map_err(failed),
            Err(_elapsed) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    /// Gives a volume to a claim.
    async fn give(&self, name: &str, key: &Key) -> Result<Arc<Volume>, String> {
        let missing = |what: &str, name: &str| format!("could not find {what} {name:?}");
        let volume =
            self.volumes.get(&Key::cluster(name)).ok_or_else(|| missing("v1.PersistentVolume", name))?;
        let claim =
            self.claims.get(key).ok_or_else(|| missing("v1.PersistentVolumeClaim", &key.to_string()))?;
        if volume.claim.as_ref().is_some_and(|said| said.means(&claim) && !said.uid.is_empty()) {
            return Ok(volume);
        }
        let patch = Patch::merge(json!({
            "metadata": {
                "resourceVersion": volume.metadata.revision,
                "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"},
            },
            "spec": {"claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": &*key.namespace,
                "name": &*key.name,
                "uid": &*claim.metadata.uid,
                "resourceVersion": claim.metadata.revision,
            }},
        }));
        let answer: Result<Volume, Error> =
            self.api.patch(&PERSISTENT_VOLUMES, &volume.metadata.key(), "", &patch).await;
        answer.map(Arc::new).map_err(|error| error.to_string())
    }

    /// Asks for a volume for a claim, on a node.
    async fn ask_for(&self, key: &Key, node: &str) -> Result<Arc<Claim>, String> {
        let claim = self
            .claims
            .get(key)
            .ok_or_else(|| format!("could not find v1.PersistentVolumeClaim {:?}", key.to_string()))?;
        if claim.selected_node() == Some(node) {
            return Ok(claim);
        }
        let patch = Patch::merge(json!({"metadata": {
            "resourceVersion": claim.metadata.revision,
            "annotations": {SELECTED_NODE: node},
        }}));
        let answer: Result<Claim, Error> = self.api.patch(&PERSISTENT_VOLUME_CLAIMS, key, "", &patch).await;
        answer.map(Arc::new).map_err(|error| error.to_string())
    }

    /// Whether all claims are bound by now.
    fn are_bound(&self, pod: &Pod, node: &str, awaited: &[Awaited]) -> Result<bool, String> {
        if self.pods.get_same(&pod.key(), pod.uid()).is_none() {
            return Err(format!("pod does not exist any more: pod {:?} not found", pod.metadata.name));
        }
        let mut all = true;
        for awaited in awaited {
            all &= match awaited {
                Awaited::Static(key, written) => self.is_given(key, written, node)?,
                Awaited::Provisioned(written) => self.is_made(written, node)?,
            };
        }
        Ok(all)
    }

    fn is_given(&self, key: &Key, written: &Volume, node: &str) -> Result<bool, String> {
        let name = written.name();
        let volume = self
            .volumes
            .get(&written.metadata.key())
            .ok_or_else(|| format!("failed to check binding: could not find v1.PersistentVolume {name:?}"))?;
        let claim = self.claims.get(key).ok_or_else(|| {
            let key = key.to_string();
            format!("failed to check binding: could not find v1.PersistentVolumeClaim {key:?}")
        })?;
        if volume.metadata.revision < written.metadata.revision {
            return Ok(false);
        }
        self.check_reach(&volume, node)?;
        if volume.claim.as_ref().is_none_or(|said| said.uid.is_empty()) {
            return Err(format!("ClaimRef got reset for pv {name:?}"));
        }
        Ok(claim.is_bound())
    }

    fn is_made(&self, written: &Claim, node: &str) -> Result<bool, String> {
        let key = written.key();
        let claim = self.claims.get(&key).ok_or_else(|| {
            let key = key.to_string();
            format!("failed to check provisioning pvc: could not find v1.PersistentVolumeClaim {key:?}")
        })?;
        if claim.metadata.revision < written.metadata.revision {
            return Ok(false);
        }
        // Who cannot make the volume takes the choice back, so that another node is tried.
        if claim.selected_node() != Some(node) {
            return Err(format!("provisioning failed for PVC {:?}", claim.metadata.name));
        }
        if !claim.volume.is_empty() {
            let Some(volume) = self.volumes.get(&Key::cluster(&claim.volume)) else { return Ok(false) };
            self.check_reach(&volume, node)?;
        }
        Ok(claim.is_bound())
    }

    fn check_reach(&self, volume: &Volume, node: &str) -> Result<(), String> {
        let state = &mut *self.state.lock();
        let snapshot = state.cluster.snapshot();
        let Some(row) = snapshot.row(node) else { return Err(format!("failed to get node {node:?}")) };
        if volume.reaches(snapshot.node(row)) {
            return Ok(());
        }
        let name = volume.name();
        Err(format!("pv {name:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms"))
    }
}
