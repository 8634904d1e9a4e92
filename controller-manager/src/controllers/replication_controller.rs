//! ReplicationController: as many Pods of one template as wanted, by the loop of [`crate::replicas`].

use crate::{
    kinds::{
        ReplicationController,
        replica_set::{ReplicaSetSpec, ReplicaSetStatus},
    },
    replicas::{Replicas, Replicated},
};

/// Keeps ReplicationControllers.
pub type ReplicationControllers = Replicas<ReplicationController>;

impl Replicated for ReplicationController {
    const CONTROLLER: &'static str = "replication-controller";
    const TELLS_TERMINATING: bool = false;

    fn wants(&self) -> &ReplicaSetSpec {
        &self.spec
    }

    fn status(&self) -> &ReplicaSetStatus {
        &self.status
    }
}
