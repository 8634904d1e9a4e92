//! A store that does not forget by itself is told to, as upstream's apiserver tells etcd: what was overwritten some time
//! ago cannot be read or watched from any more, and takes no memory.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use store::{Backend, Revision};
use tokio::time::Instant;

/// How much of the past a store keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// How old the history becomes.
    pub(super) age_max: Duration,
    /// How many revisions it has at the most.
    pub(super) revisions_max: u64,
    /// How often it is looked after. Both bounds are kept to within this.
    pub(super) period: Duration,
}

/// Keeps a store's history within bounds, for as long as the process lives.
pub(super) async fn keep(backend: Arc<dyn Backend>, memory: Memory) {
    let mut marks = VecDeque::new();
    loop {
        tokio::time::sleep(memory.period).await;
        let Ok(latest) = backend.revision().await else { continue };
        if let Some(target) = due(&mut marks, Instant::now(), latest, &memory)
            && let Err(error) = backend.compact(target).await
        {
            tracing::warn!(%error, "cannot compact the store");
        }
    }
}

/// The revision to forget until, if there is one: the last mark that is too far back. Marks the present.
fn due(
    marks: &mut VecDeque<(Instant, Revision)>,
    now: Instant,
    latest: Revision,
    memory: &Memory,
) -> Option<Revision> {
    let mut target = None;
    while let Some(&(at, revision)) = marks.front()
        && (now.saturating_duration_since(at) >= memory.age_max
            || latest.0.saturating_sub(revision.0) >= memory.revisions_max)
    {
        marks.pop_front();
        target = Some(revision);
    }
    marks.push_back((now, latest));
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_too_far_back_is_forgotten() {
        let memory = Memory {
            age_max: Duration::from_secs(300),
            revisions_max: 1000,
            period: Duration::from_secs(60),
        };
        let start = Instant::now();
        let mut marks = VecDeque::new();
        let mut at = |minute: u64, latest: u64| {
            due(&mut marks, start + Duration::from_secs(60 * minute), Revision(latest), &memory)
        };
        assert_eq!(at(1, 10), None);
        assert_eq!(at(2, 20), None);
        // Five minutes after the first mark.
        assert_eq!(at(6, 30), Some(Revision(10)));
        assert_eq!(at(7, 500), Some(Revision(20)));
        // A thousand revisions after one that is not old.
        assert_eq!(at(8, 1030), Some(Revision(30)));
        assert_eq!(at(9, 1031), None);
    }
}
