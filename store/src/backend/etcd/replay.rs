//! A stream that is fed from the log of what is recent, and reads from etcd what that lacks.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use tonic::Status;

use super::{
    super::{Error, Event, EventStream, Result, Revision},
    Core,
    keys::Span,
    link::{Watching, signed, unavailable, unsigned},
    recent::Recent,
    wire::{Response as _, WatchCreate, WatchEvent, WatchResponse},
};

/// How long an answer to a request for progress is waited for.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long etcd is given to say that a watch of the past is not possible.
const ANSWER: Duration = Duration::from_secs(5);

/// Everything of a prefix after a revision.
pub(super) struct Following {
    core: Arc<Core>,
    prefix: String,
    phase: Phase,
}

enum Phase {
    Recent(EventStream),
    Older(Box<Older>),
    Done,
}

/// A watch of its own, until it reaches what is recent.
struct Older {
    watching: Watching,
    position: Revision,
    by_requests: bool,
    created: bool,
    fragments: Vec<WatchEvent>,
}

// === impl Following ===

impl Following {
    pub(super) async fn open(core: Arc<Core>, prefix: String, after: Revision) -> Result<EventStream> {
        let phase = Self::at(&core, &prefix, after).await?;
        let following = Self { core, prefix, phase };
        Ok(stream::unfold(following, |mut following| async {
            let batch = following.next().await?;
            Some((batch, following))
        })
        .boxed())
    }

    async fn at(core: &Arc<Core>, prefix: &str, after: Revision) -> Result<Phase> {
        match core.shared.watch(prefix, after) {
            Ok(stream) => Ok(Phase::Recent(stream)),
            Err(Error::Compacted { asked, oldest }) if asked > core.shared.revision() => {
                // The store went back in time: what was after this revision never was.
                Err(Error::Compacted { asked, oldest })
            }
            Err(Error::Compacted { asked, .. }) => {
                Ok(Phase::Older(Box::new(Older::open(core, prefix, asked).await?)))
            }
            Err(error) => Err(error),
        }
    }

    async fn next(&mut self) -> Option<Result<Vec<Event>>> {
        loop {
            let (failed, resume) = match &mut self.phase {
                Phase::Done => return None,
                Phase::Recent(stream) => match stream.next().await {
                    Some(Err(Error::Compacted { asked, .. })) => (None, asked),
                    Some(Ok(events)) => return Some(Ok(events)),
                    Some(Err(error)) => (Some(error), Revision(0)),
                    None => {
                        self.phase = Phase::Done;
                        return None;
                    }
                },
                Phase::Older(older) => match older.next(&self.core, &self.prefix).await {
                    Ok(Some(events)) => return Some(Ok(events)),
                    Ok(None) => (None, older.position),
                    Err(error) => (Some(error), Revision(0)),
                },
            };
            let next = match failed {
                Some(error) => Err(error),
                None => Self::at(&self.core, &self.prefix, resume).await,
            };
            match next {
                Ok(phase) => self.phase = phase,
                Err(error) => {
                    self.phase = Phase::Done;
                    return Some(Err(error));
                }
            }
        }
    }
}

// === impl Older ===

impl Older {
    async fn open(core: &Core, prefix: &str, after: Revision) -> Result<Self> {
        let by_requests = core.by_requests();
        let span = if by_requests { core.keys.span(prefix) } else { Some(Span::everything()) };
        let span = span.unwrap_or_else(|| core.keys.all());
        let create = WatchCreate {
            key: span.start,
            range_end: span.end,
            // From the revision itself: etcd would let a watch begin right after what was compacted, and what was
            // overwritten there would be missed.
            start_revision: signed(after.max(Revision::FIRST).0),
            progress_notify: false,
            prev_kv: true,
            fragment: true,
        };
        let watching = core.link.watch(create).await.map_err(|status| unavailable(&status))?;
        Ok(Self { watching, position: after, by_requests, created: false, fragments: Vec::new() })
    }

    /// The next events; None when the rest is recent.
    async fn next(&mut self, core: &Core, prefix: &str) -> Result<Option<Vec<Event>>> {
        loop {
            if self.position >= core.shared.read(Recent::start) {
                return Ok(None);
            }
            let response = self.receive(core).await?;
            if response.canceled {
                return Err(if response.compact_revision > 0 {
                    let oldest = Revision(unsigned(response.compact_revision));
                    Error::Compacted { asked: self.position, oldest }
                } else {
                    unavailable(&Status::unavailable(response.cancel_reason))
                });
            }
            let (created, fragment, told) = (response.created, response.fragment, response.revision());
            self.created |= created;
            self.fragments.extend(response.events);
            if fragment {
                continue;
            }
            let reached = match self.fragments.last().and_then(|event| event.kv.as_ref()) {
                Some(kv) => kv.mod_revision,
                None if created => continue,
                None => told,
            };
            let begun = self.position;
            self.position = self.position.max(Revision(unsigned(reached)));
            let events: Vec<Event> = self
                .fragments
                .drain(..)
                .filter_map(|event| core.keys.event(event))
                .filter(|event| match event {
                    Event::Put { entry, .. } => entry.key.starts_with(prefix) && entry.revision > begun,
                    Event::Delete { key, revision, .. } => key.starts_with(prefix) && *revision > begun,
                    Event::Progress(_) => false,
                })
                .collect();
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }

    async fn receive(&mut self, core: &Core) -> Result<WatchResponse> {
        loop {
            if self.by_requests && self.created {
                self.watching.request_progress()?;
            }
            let patience = if self.by_requests { ASK_AGAIN } else { super::ANSWER_PATIENCE };
            match tokio::time::timeout(patience, core.link.next(&mut self.watching)).await {
                Ok(response) => return response.map_err(|status| unavailable(&status)),
                Err(_) if self.by_requests => {}
                Err(_) => return Err(unavailable(&Status::deadline_exceeded("no events came"))),
            }
        }
    }
}

/// The revision etcd is compacted to, which it tells those who would watch from before it.
pub(super) async fn compacted(core: &Core) -> Option<Revision> {
    let create = WatchCreate { key: core.keys.none(), start_revision: 1, ..WatchCreate::default() };
    let mut watching = core.link.watch(create).await.ok()?;
    let told = async {
        loop {
            let response = core.link.next(&mut watching).await.ok()?;
            if response.canceled {
                return Some(Revision(unsigned(response.compact_revision)));
            }
        }
    };
    tokio::time::timeout(ANSWER, told).await.ok().flatten()
}
