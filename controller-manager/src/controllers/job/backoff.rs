//! How long a Job waits before it replaces Pods that failed: 10 seconds, doubled with every failure since the last
//! success, up to 10 minutes.
//!
//! Nothing is remembered: how often and when Pods have failed stands on the Pods themselves.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use crate::kinds::Pod;

const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_secs(600);

/// How much of the delay after so many failures is left; `None` if nothing is.
pub(super) fn left(failures: u32, last: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let doublings = failures.checked_sub(1)?;
    let delay = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LAST);
    let left = SignedDuration::try_from(delay).ok()? - now.duration_since(last?);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// How many of these Pods have failed since the last success, and when the last of them did.
pub(super) fn failures(succeeded: &[&Arc<Pod>], failed: &[&Arc<Pod>]) -> (u32, Option<Timestamp>) {
    let last_success = succeeded.iter().filter_map(|pod| finished_at(pod)).max();
    let since: Vec<Timestamp> = failed
        .iter()
        .filter_map(|pod| finished_at(pod))
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    (u32::try_from(since.len()).unwrap_or(u32::MAX), since.into_iter().max())
}

/// When a Pod ended: when the last of its containers did; if that is not known, when it ceased to be ready, was deleted, or
/// at least was created.
pub(super) fn finished_at(pod: &Pod) -> Option<Timestamp> {
    let unready = || pod.condition("Ready").filter(|ready| &*ready.status == "False")?.last_transition_time;
    let deleted = || {
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or_default());
        pod.metadata.deletion_timestamp?.checked_sub(grace).ok()
    };
    containers_finished_at(pod).or_else(unready).or_else(deleted).or(pod.metadata.creation_timestamp)
}

fn containers_finished_at(pod: &Pod) -> Option<Timestamp> {
    let sidecars = pod.status.init_container_statuses.iter().filter(|status| {
        pod.spec.init_containers.iter().any(|it| it.name == status.name && &*it.restart_policy == "Always")
    });
    let mut times = Vec::new();
    for status in pod.status.container_statuses.iter().chain(sidecars) {
        times.push(Reverse(status.state.terminated.as_ref()?.finished_at?));
    }
    times.into_iter().min().map(|Reverse(latest)| latest)
}

#[cfg(test)]
mod backoff_tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn delays_double_up_to_ten_minutes() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let failed = at("2026-01-01T00:00:00Z");
        for (failures, now, seconds) in [
            (0, "2026-01-01T00:00:00Z", None),
            (1, "2026-01-01T00:00:00Z", Some(10)),
            (1, "2026-01-01T00:00:10Z", None),
            (3, "2026-01-01T00:00:15Z", Some(25)),
            (40, "2026-01-01T00:01:00Z", Some(540)),
        ] {
            assert_eq!(
                left(failures, Some(failed), at(now)),
                seconds.map(Duration::from_secs),
                "{failures} at {now}"
            );
        }
    }

    #[test]
    fn failures_count_since_the_last_success() {
        let pod = |second: u8| {
            let status = json!({"containerStatuses": [{"name": "c", "state": {"terminated":
                {"exitCode": 1, "finishedAt": format!("2026-01-01T00:00:{second:02}Z")}}}]});
            Arc::new(serde_json::from_value::<Pod>(json!({ "status": status })).unwrap())
        };
        let (one, two, three) = (pod(1), pod(2), pod(3));
        assert_eq!(failures(&[], &[&one, &three]).0, 2);
        assert_eq!(failures(&[&two], &[&one, &three]), (1, finished_at(&three)));
        assert_eq!(failures(&[&three], &[&one, &two]), (0, None));
    }
}
