//! TTL after finished: Jobs that are over go after as many seconds as they say.

use client::{
    Caches, Controller, Key, Kind, Plan, Triggers,
    controller::{DeleteOptions, Propagation, Request},
    resource::JOBS,
};
use jiff::{SignedDuration, Timestamp};

use crate::kinds::Job;

/// Removes Jobs that are over.
#[derive(Debug)]
pub struct TtlAfterFinished;

impl Controller for TtlAfterFinished {
    type Root = Job;
    type Observed = std::sync::Arc<Job>;
    const NAME: &'static str = "ttl-after-finished-controller";

    fn triggers(&self, on: &mut Triggers<Job>) {
        on.root();
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Self::Observed> {
        caches.read::<Job>().get(root)
    }

    fn reconcile(&self, job: &Self::Observed, now: Timestamp) -> Plan {
        let (Some(seconds), Some(over), false) =
            (job.spec.ttl_seconds_after_finished, job.finished(), job.metadata.is_terminating())
        else {
            return Plan::because(
                "the Job stays: it is not over, is going already, or says nothing about going",
            );
        };
        let Some(expiry) = over
            .last_transition_time
            .and_then(|since| since.checked_add(SignedDuration::from_secs(seconds.into())).ok())
        else {
            return Plan::because("nobody knows since when the Job is over");
        };
        if expiry > now {
            return Plan::because("the Job is over and stays for a while").look_again_at(expiry, now);
        }
        let options =
            DeleteOptions { propagation_policy: Some(Propagation::Foreground), ..DeleteOptions::default() };
        // Its TTL may have been prolonged meanwhile: it goes only as it was seen.
        Plan::because("the Job has been over for as long as it says")
            .then(Request::delete_with(JOBS, job.key(), options).if_unchanged(&job.metadata))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_job_goes_once_it_has_been_over_for_as_long_as_it_says() {
        let over =
            json!([{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        for (ttl, conditions, writes, later) in [
            (json!(60), over.clone(), 1, None),
            (json!(61), over.clone(), 0, Some(Duration::from_secs(1))),
            (json!(0), over.clone(), 1, None),
            (Value::Null, over, 0, None),
            (json!(0), json!([{"type": "Complete", "status": "False"}]), 0, None),
        ] {
            let job = json!({"metadata": {"name": "a"}, "spec": {"ttlSecondsAfterFinished": ttl}, "status": {"conditions": conditions}});
            let job: Arc<Job> = Arc::new(serde_json::from_value(job).unwrap());
            let plan = TtlAfterFinished.reconcile(&job, "2026-01-01T00:01:00Z".parse().unwrap());
            assert_eq!((plan.writes.len(), plan.look_again), (writes, later), "{ttl}");
        }
    }
}
