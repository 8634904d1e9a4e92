//! One watch under way: the history from where it began, bookmarks, and its end.

use std::time::Duration;

use api_types::{object::ObjectExt, status::Status};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{FakeServer, objects::Entry, target::Target};

/// Bookmarks are sent this often to watches that allow them.
pub(super) const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// One watch under way.
pub(super) struct Watcher {
    pub(super) server: FakeServer,
    pub(super) target: Target,
    pub(super) generation: u64,
    pub(super) bookmarks: u64,
    pub(super) allow_bookmarks: bool,
    /// Everything up to here was told.
    pub(super) cursor: u64,
    pub(super) pending: std::collections::VecDeque<Bytes>,
    pub(super) ends: Instant,
    pub(super) next_bookmark: Instant,
}

// === impl Watcher ===

impl Drop for Watcher {
    fn drop(&mut self) {
        self.server.state.lock().watches -= 1;
    }
}

impl Watcher {
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Some(frame);
            }
            let news = self.server.signal.get();
            if news.generation != self.generation {
                return None;
            }
            if self.read_history() {
                continue;
            }
            if self.allow_bookmarks && news.bookmarks != self.bookmarks {
                self.bookmarks = news.bookmarks;
                self.pending.push_back(bookmark(self.cursor, false));
                continue;
            }
            tokio::select! {
                biased;
                _ = self.server.signal.wait(|now| *now != news) => {}
                () = tokio::time::sleep_until(self.ends) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.allow_bookmarks => {
                    self.next_bookmark += BOOKMARK_PERIOD;
                    self.pending.push_back(bookmark(self.cursor, false));
                }
            }
        }
    }

    /// True if there is something to send.
    pub(super) fn read_history(&mut self) -> bool {
        let state = self.server.state.lock();
        if state.held.contains(&self.target.of.1) {
            return false;
        }
        if self.cursor < state.compacted {
            let status = expired(self.cursor, state.compacted).to_value();
            self.cursor = state.revision;
            self.pending.push_back(line(&json!({"type": "ERROR", "object": status})));
            return true;
        }
        for entry in state.history.iter().filter(|entry| entry.revision > self.cursor) {
            if entry.of == self.target.of {
                self.pending.extend(entry.told_to(&self.target));
            }
        }
        self.cursor = state.revision;
        !self.pending.is_empty()
    }
}

impl Entry {
    /// A watch with selectors sees objects come into its selection and leave it.
    pub(super) fn told_to(&self, target: &Target) -> Option<Bytes> {
        let is = !self.deleted && target.selects(&self.object);
        let was = self.previous.as_ref().is_some_and(|previous| target.selects(previous));
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(frame("ADDED", &self.object, target)),
            (true, true) => Some(frame("MODIFIED", &self.object, target)),
            (true, false) => {
                let mut last = self.previous.clone().unwrap_or_default();
                last.set_meta("resourceVersion", self.revision.to_string());
                Some(frame("DELETED", &last, target))
            }
        }
    }
}

pub(super) fn frame(kind: &str, object: &Value, target: &Target) -> Bytes {
    line(&json!({"type": kind, "object": target.shown(object)}))
}

pub(super) fn bookmark(revision: u64, ends_initial_events: bool) -> Bytes {
    let mut object = json!({"metadata": {"resourceVersion": revision.to_string()}});
    if ends_initial_events {
        object.set_meta("annotations", json!({"k8s.io/initial-events-end": "true"}));
    }
    line(&json!({"type": "BOOKMARK", "object": object}))
}

pub(super) fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

pub(super) fn expired(from: u64, compacted: u64) -> Status {
    Status::expired(format!("too old resource version: {from} ({compacted})"))
}
