//! The protocol that keeps a cache current: everything as of a consistent read, then every change after it, resumed where
//! it broke off for as long as the server's history reaches back.
//!
//! ```text
//! nowhere --streamed list (sendInitialEvents) or paged list--> at a revision --watch--> at a later one ...
//!    ^                                                              |
//!    +----------- 410: the history does not reach back -------------+
//! ```
//!
//! Invariant: a broken connection loses nothing and repeats nothing to the cache's readers.

use std::time::Duration;

use api_types::status::Status;
use runtime::Random;
use tokio::time::{Instant, timeout_at};

use serde_json::value::RawValue;

use super::{Feed, Kind, Metadata};
use crate::{
    Api, Error, Meta, Resource, Revision,
    api::{
        Page, Selection,
        watch::{Event, From, Watch},
    },
    backoff::Backoff,
};

/// Items of a page when the list is not streamed.
const PAGE: u32 = 500;

/// A watch lasts between so many seconds and twice that.
const WATCH_SECONDS_MIN: u64 = 300;

/// After its time is up, a watch that the server has not ended is given so much longer.
const WATCH_GRACE: Duration = Duration::from_secs(30);

/// A watch that ends sooner, with nothing to tell, counts as a failure.
const WATCH_TOO_SHORT: Duration = Duration::from_secs(1);

const BACKOFF_INITIAL: Duration = Duration::from_millis(800);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Keeps one cache current.
#[derive(Debug)]
pub struct Reflector {
    api: Api,
    resource: Resource,
    selection: Selection,
    random: Random,
    backoff: Backoff,
    /// Where the cache stands: the resourceVersion to watch from; none before the first list and after a 410.
    position: Option<String>,
    /// The server knows `sendInitialEvents`, as far as we know.
    streams: bool,
}

/// Why a round ended.
#[derive(Debug)]
enum End {
    /// There is more to do at once: a list is in, or the server ended a watch in good order.
    Next,
    /// The history does not reach back to where we stand.
    Expired,
    /// The server cannot stream a list.
    Unstreamable,
    /// Something failed.
    Failed(Error),
}

// === impl Reflector ===

impl Reflector {
    /// A reflector of a selection of a resource.
    pub fn new(api: Api, resource: Resource, selection: Selection, random: Random) -> Self {
        let backoff = Backoff::new(BACKOFF_INITIAL, BACKOFF_MAX, random.clone());
        Self { api, resource, selection, random, backoff, position: None, streams: true }
    }

    /// A reflector of what the kind says.
    pub fn of<K: Kind>(api: Api, random: Random) -> Self {
        let selection = Selection { fields: K::FIELD_SELECTOR.to_owned(), ..Selection::default() };
        Self::new(api, K::RESOURCE, selection, random)
    }

    /// Feeds the cache for ever.
    pub async fn run<K: Kind>(mut self, mut feed: Feed<K>) {
        loop {
            match self.round(&mut feed).await {
                End::Next => self.backoff.reset(),
                End::Expired => {
                    tracing::debug!(resource = %self.resource, "history expired, listing again");
                    self.position = None;
                    self.pause(None).await;
                }
                End::Unstreamable => {
                    tracing::debug!(resource = %self.resource, "server does not stream lists, listing by pages");
                    self.streams = false;
                }
                End::Failed(error) => {
                    tracing::warn!(resource = %self.resource, error = %chain(&error), "watch failed");
                    self.pause(error.retry_after()).await;
                }
            }
        }
    }

    async fn pause(&mut self, asked: Option<Duration>) {
        let delay = self.backoff.next();
        tokio::time::sleep(asked.map_or(delay, |asked| asked.max(delay))).await;
    }

    /// One list or one watch.
    async fn round<K: Kind>(&mut self, feed: &mut Feed<K>) -> End {
        match self.position.clone() {
            None if self.streams => self.follow(feed, From::Now).await,
            None => self.list(feed).await,
            Some(position) => self.follow(feed, From::After(position)).await,
        }
    }

    /// Reads the whole list by pages, all of one revision.
    async fn list<K: Kind>(&mut self, feed: &mut Feed<K>) -> End {
        let mut objects: Vec<K> = Vec::new();
        let mut page = Page { limit: PAGE, ..Page::default() };
        loop {
            let list = match self.api.list::<Box<RawValue>>(&self.resource, &self.selection, &page).await {
                Ok(list) => list,
                // The pages took longer than the history lasts: read it in one piece.
                Err(error) if error.is_expired() && !page.token.is_empty() => {
                    objects.clear();
                    page = Page::default();
                    continue;
                }
                Err(error) if error.is_expired() => return End::Expired,
                Err(error) => return End::Failed(error),
            };
            objects.extend(list.items.iter().filter_map(|item| {
                let why = match serde_json::from_str(item.get()) {
                    Ok(object) => return Some(object),
                    Err(why) => why,
                };
                let Metadata { metadata } = serde_json::from_str(item.get()).unwrap_or_default();
                self.unreadable(&metadata, &why.to_string());
                None
            }));
            if list.metadata.token.is_empty() {
                feed.replace(objects, Revision::parse(&list.metadata.resource_version));
                self.position = Some(list.metadata.resource_version);
                return End::Next;
            }
            page.token = list.metadata.token;
        }
    }

    /// Watches from a position until the watch ends, however it ends.
    async fn follow<K: Kind>(&mut self, feed: &mut Feed<K>, from: From) -> End {
        let seconds = WATCH_SECONDS_MIN + self.random.below(WATCH_SECONDS_MIN);
        let started = Instant::now();
        let deadline = started + Duration::from_secs(seconds) + WATCH_GRACE;
        let streamed = from == From::Now;
        let opened = self.api.watch::<K>(&self.resource, &self.selection, &from, seconds);
        let mut watch = match timeout_at(deadline, opened).await {
            Ok(Ok(watch)) => watch,
            Ok(Err(error)) if error.is_expired() => return End::Expired,
            Ok(Err(error)) if streamed && error.is_invalid() => return End::Unstreamable,
            Ok(Err(error)) => return End::Failed(error),
            Err(_elapsed) => return End::Next,
        };
        let mut events: u64 = 0;
        let end = if streamed {
            match self.initial(feed, &mut watch, deadline).await {
                Ok(()) => {
                    events += 1;
                    self.changes(feed, &mut watch, deadline, &mut events).await
                }
                Err(end) => end,
            }
        } else {
            self.changes(feed, &mut watch, deadline, &mut events).await
        };
        if events > 0 {
            self.backoff.reset();
        }
        match end {
            End::Next if events == 0 && started.elapsed() < WATCH_TOO_SHORT => {
                End::Failed(Status::unavailable("very short watch without events").into())
            }
            end => end,
        }
    }

    /// Collects the initial events and replaces the cache by them, as of the bookmark that ends them.
    async fn initial<K: Kind>(
        &mut self,
        feed: &mut Feed<K>,
        watch: &mut Watch<K>,
        deadline: Instant,
    ) -> Result<(), End> {
        let mut objects = std::collections::BTreeMap::new();
        loop {
            match next(watch, deadline).await? {
                Some(Event::Added(object) | Event::Modified(object)) => {
                    objects.insert(object.key(), object);
                }
                Some(Event::Deleted(object)) => {
                    objects.remove(&object.key());
                }
                Some(Event::Bookmark { resource_version, ends_initial_events }) => {
                    if ends_initial_events {
                        feed.replace(objects.into_values(), Revision::parse(&resource_version));
                        self.position = Some(resource_version);
                        return Ok(());
                    }
                }
                Some(Event::Unreadable { metadata, why, .. }) => self.unreadable(&metadata, &why),
                Some(Event::Error(status)) => return Err(failed(status)),
                None => {
                    let status = Status::unavailable("the watch ended before its initial events did");
                    return Err(End::Failed(status.into()));
                }
            }
        }
    }

    /// An object that the projection cannot read is left out, loudly: everything else goes on.
    fn unreadable(&self, metadata: &Meta, why: &str) {
        tracing::error!(resource = %self.resource, key = %metadata.key(), why, "an object cannot be read and is ignored");
    }

    /// Applies changes until the watch ends.
    async fn changes<K: Kind>(
        &mut self,
        feed: &mut Feed<K>,
        watch: &mut Watch<K>,
        deadline: Instant,
        events: &mut u64,
    ) -> End {
        loop {
            let event = match next(watch, deadline).await {
                Ok(Some(event)) => event,
                Ok(None) => return End::Next,
                Err(end) => return end,
            };
            *events += 1;
            match event {
                Event::Added(object) | Event::Modified(object) => {
                    self.position = Some(object.meta().revision.to_string());
                    feed.upsert(object);
                }
                Event::Deleted(object) => {
                    self.position = Some(object.meta().revision.to_string());
                    feed.remove(object);
                }
                Event::Bookmark { resource_version, .. } => {
                    feed.advance(Revision::parse(&resource_version));
                    self.position = Some(resource_version);
                }
                Event::Unreadable { metadata, deleted, why } => {
                    self.unreadable(&metadata, &why);
                    if !metadata.revision.is_none() {
                        self.position = Some(metadata.revision.to_string());
                        feed.skip(&metadata, deleted);
                    }
                }
                Event::Error(status) => return failed(status),
            }
        }
    }
}

/// The next event, or why there is none. A watch that outstays its time has simply ended.
async fn next<K: Kind>(watch: &mut Watch<K>, deadline: Instant) -> Result<Option<Event<K>>, End> {
    match timeout_at(deadline, watch.next()).await {
        Ok(Ok(event)) => Ok(event),
        Ok(Err(error)) => Err(End::Failed(error)),
        Err(_elapsed) => Ok(None),
    }
}

fn failed(status: Status) -> End {
    let error = Error::from(status);
    if error.is_expired() { End::Expired } else { End::Failed(error) }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(here) = cause {
        let next = here.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = here.source();
    }
    text
}
