//! One watch of etcd for all streams.
//!
//! How does a reader know that nothing is on its way to it? Of a watch of some keys etcd tells how far it is when asked, but
//! reliably so only since 3.4.31 and 3.5.13. With older ones we watch every key there is: then each revision shows itself, and
//! the last event says how far the watch is.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tonic::{Code, Status};

use super::{
    super::Revision,
    Core,
    keys::Span,
    link::{Repeat, describe, path, signed, unsigned},
    wire::{RangeRequest, RangeResponse, Response as _, WatchCreate, WatchEvent},
};

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// When the answer to a request for progress was not enough, or was lost, it is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(5);
const ASK_AGAIN_LOST: Duration = Duration::from_millis(250);

/// How the feed knows how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// As the version of etcd allows.
    Auto,
    /// It watches our keys and asks etcd.
    Requests,
    /// It watches all keys.
    Everything,
}

/// Why a watch is over.
enum End {
    Failed(Status),
    /// What would have come next has been compacted.
    Compacted,
    /// It must be opened in another way.
    Changed,
}

/// What stands for the version of an etcd that tells it to administrators only: all that do so are newer than this one, which
/// answers requests for progress.
pub(super) const SECRETIVE: &str = "3.5.13 or newer";

/// Whether an etcd of this version answers requests for progress reliably.
pub(super) fn answers_progress(version: &str) -> bool {
    let mut numbers =
        version.split(['.', '-', '+', ' ']).map(|number| number.parse::<u32>().unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    match (next(), next(), next()) {
        (3, 4, patch) => patch >= 31,
        (3, 5, patch) => patch >= 13,
        (major, minor, _) => (major, minor) > (3, 5),
    }
}

/// Follows etcd for as long as it is polled.
pub(super) async fn run(core: Arc<Core>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let opened = Instant::now();
        let end = match begin(&core).await {
            Ok(()) => follow(&core).await,
            Err(end) => end,
        };
        match end {
            End::Changed => {}
            End::Compacted => {
                tracing::warn!("etcd was compacted past the watch, caches list again");
                core.lost.store(true, Ordering::Release);
            }
            End::Failed(status) => {
                if opened.elapsed() > BACKOFF_MAX {
                    backoff = BACKOFF_MIN;
                }
                if !core.failing.swap(true, Ordering::AcqRel) {
                    tracing::warn!(reason = describe(&status), "the watch of etcd broke, trying again");
                }
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// Finds out whether the log can be continued.
async fn begin(core: &Core) -> Result<(), End> {
    let request = RangeRequest { key: core.keys.none(), ..RangeRequest::default() };
    let answer: RangeResponse = core
        .link
        .call(path::RANGE, request, Repeat::Harmless)
        .await
        .map_err(|failure| End::Failed(failure.status))?;
    let (now, known) = (Revision(unsigned(answer.revision())), core.shared.revision());
    let lost = core.lost.swap(false, Ordering::AcqRel);
    if now < known {
        tracing::warn!(%known, %now, "etcd went back in time, caches list again");
    }
    if lost || now < known {
        core.shared.change(|log, touch| log.reset(now, touch));
    }
    Ok(())
}

async fn follow(core: &Core) -> End {
    let by_requests = core.by_requests();
    let Span { start, end } = if by_requests { core.keys.all() } else { Span::everything() };
    let create = WatchCreate {
        key: start,
        range_end: end,
        start_revision: signed(core.shared.revision().next().0),
        progress_notify: true,
        prev_kv: false,
        fragment: true,
    };
    let mut watching = match core.link.watch(create).await {
        Ok(watching) => watching,
        Err(status) => return End::Failed(status),
    };
    let mut events: Vec<WatchEvent> = Vec::new();
    // When to ask how far the watch is.
    let mut ask_at: Option<Instant> = None;
    loop {
        let response = tokio::select! {
            biased;
            response = core.link.next(&mut watching) => response,
            () = core.ask.notified(), if by_requests && ask_at.is_none() => {
                ask_at = Some(Instant::now());
                continue;
            }
            () = sleep_until(ask_at) => {
                if watching.request_progress().is_err() {
                    return End::Failed(Status::unavailable("the watch ended"));
                }
                ask_at = Some(Instant::now() + ASK_AGAIN_LOST);
                continue;
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(status) => return End::Failed(status),
        };
        if response.canceled {
            if response.compact_revision > 0 {
                return End::Compacted;
            }
            let denied = response.cancel_reason.contains("permission denied");
            if denied && core.watch_only_ours() {
                return End::Changed;
            }
            let code = if denied { Code::PermissionDenied } else { Code::Unavailable };
            return End::Failed(Status::new(code, response.cancel_reason));
        }
        if core.failing.swap(false, Ordering::AcqRel) {
            tracing::info!("etcd is back");
        }
        let (created, fragment, told) = (response.created, response.fragment, response.revision());
        events.extend(response.events);
        if fragment {
            continue;
        }
        let reached = match events.last().and_then(|event| event.kv.as_ref()) {
            Some(kv) => kv.mod_revision,
            // The answer to the creation tells where etcd is, not where the watch is.
            None if created => continue,
            None => told,
        };
        let ours = events.drain(..).filter_map(|event| core.keys.event(event)).collect();
        core.shared.change(|log, touch| log.append(ours, Revision(unsigned(reached)), touch));
        ask_at = match ask_at {
            Some(_) if core.shared.revision().0 < unsigned(core.link.seen()) => {
                Some(Instant::now() + ASK_AGAIN)
            }
            _ => None,
        };
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_can_be_asked_for_of_those_versions_that_answer_it_right() {
        for (version, answers) in [
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.5.0-rc.1", false),
            (SECRETIVE, true),
            ("3.6.0", true),
            ("3.6.0-alpha.0", true),
            ("4.0.0", true),
            ("3.3.99", false),
            ("", false),
        ] {
            assert_eq!(answers_progress(version), answers, "{version}");
        }
    }
}
