//! ReplicaSet: as many Pods of one template as wanted, by the loop of [`crate::replicas`].

use crate::{
    kinds::{
        ReplicaSet,
        replica_set::{ReplicaSetSpec, ReplicaSetStatus},
    },
    replicas::{Replicas, Replicated},
};

/// Keeps ReplicaSets.
pub type ReplicaSets = Replicas<ReplicaSet>;

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const TELLS_TERMINATING: bool = true;

    fn wants(&self) -> &ReplicaSetSpec {
        &self.spec
    }

    fn status(&self) -> &ReplicaSetStatus {
        &self.status
    }
}
