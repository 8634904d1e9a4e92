//! Forgetting the past, by one apiserver at a time, in upstream's way, so that ours and upstream's take turns too.
//!
//! The version of one key counts the compactions. Who finds the count as it left it may compact, to the revision there was one
//! period before; who does not, was overtaken, and waits for a whole period from there.

use std::{sync::Arc, time::Duration};

use super::{
    super::{Result, Revision},
    Core,
    link::{Repeat, path, unsigned},
    wire::{
        Compare, Expected, Operation, PutRequest, RangeRequest, Request, Response as _, StatusRequest,
        StatusResponse, TxnRequest, TxnResponse,
    },
};

/// Upstream's.
const COUNTER: &[u8] = b"compact_rev_key";
/// How often etcd is asked for its size. Upstream's.
const SIZE_PERIOD: Duration = Duration::from_secs(30);

/// What a compactor knows of the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    count: i64,
    /// Where the store was then; 0 for the first time.
    revision: i64,
}

/// Compacts again and again.
pub(super) async fn run(core: Arc<Core>, period: Duration) {
    let mut turn = Turn::default();
    loop {
        tokio::time::sleep(period).await;
        match take_turn(&core, turn).await {
            Ok((next, compacted)) => {
                turn = next;
                if let Some(revision) = compacted {
                    tracing::debug!(%revision, "compacted etcd");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot compact etcd"),
        }
    }
}

/// Compacts if nobody else did since the last time. Tells what to know the next time, and up to where it compacted.
async fn take_turn(core: &Core, Turn { count, revision }: Turn) -> Result<(Turn, Option<Revision>)> {
    let key = COUNTER.to_vec();
    let put = PutRequest { key: key.clone(), value: revision.to_string().into(), lease: 0 };
    let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let request = TxnRequest {
        compare: vec![Compare { target: Compare::VERSION, key, expected: Some(Expected::Version(count)) }],
        success: vec![Operation { request: Some(Request::Put(put)) }],
        failure: vec![Operation { request: Some(Request::Range(get)) }],
    };
    let answer: TxnResponse =
        core.link.call(path::TXN, request, Repeat::Never).await.map_err(|failure| failure.into_error())?;
    let now = answer.revision();
    if !answer.succeeded {
        let found = answer.responses.into_iter().find_map(|answer| answer.range?.kvs.into_iter().next());
        return Ok((Turn { count: found.map_or(0, |kv| kv.version), revision: now }, None));
    }
    let next = Turn { count: count + 1, revision: now };
    if revision == 0 {
        return Ok((next, None));
    }
    core.compact(Revision(unsigned(revision))).await?;
    Ok((next, Some(Revision(unsigned(revision)))))
}

/// Keeps the size of etcd's database at hand.
pub(super) async fn measure(core: Arc<Core>) {
    loop {
        let status: std::result::Result<StatusResponse, _> =
            core.link.call(path::STATUS, StatusRequest {}, Repeat::Harmless).await;
        if let Ok(status) = status {
            core.size.store(unsigned(status.db_size), std::sync::atomic::Ordering::Relaxed);
        }
        tokio::time::sleep(SIZE_PERIOD).await;
    }
}

#[cfg(test)]
pub(super) mod tests {
    //! Against an etcd: see [`super::super::tests`].

    use super::*;

    /// Two compactors take turns; only one compacts in each period.
    pub(in super::super) async fn one_at_a_time(core: &Core, write: impl AsyncFn() -> Revision) {
        let (mut ours, mut theirs) = (Turn::default(), Turn::default());
        let mut compacted = Vec::new();
        for _ in 0..3 {
            write().await;
            for turn in [&mut ours, &mut theirs] {
                let (next, done) = take_turn(core, *turn).await.unwrap();
                *turn = next;
                compacted.extend(done);
            }
        }
        assert_eq!(compacted.len(), 2, "once a period, and not in the first");
        assert!(compacted.is_sorted());
        assert_eq!(super::super::replay::compacted(core).await, compacted.last().copied());
    }
}
