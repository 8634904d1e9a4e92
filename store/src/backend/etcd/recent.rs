//! What happened in etcd lately, so that the streams of all prefixes can be fed from one watch.
//!
//! It need not go far back: a stream that begins earlier, or falls behind, reads what it lacks from etcd ([`super::replay`]).

use std::collections::VecDeque;

use super::super::{
    Error, Event, Result, Revision,
    mvcc::{Log, Touch},
};

#[derive(Debug)]
pub(super) struct Recent {
    /// Everything after this is here.
    start: Revision,
    /// Up to here.
    revision: Revision,
    events: VecDeque<Event>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    /// Where the store was before it went back in time, if it did: revisions up to here are of another history.
    void: Revision,
}

fn revision(event: &Event) -> Revision {
    match event {
        Event::Put { entry, .. } => entry.revision,
        Event::Delete { revision, .. } | Event::Progress(revision) => *revision,
    }
}

fn key(event: &Event) -> &str {
    match event {
        Event::Put { entry, .. } => &entry.key,
        Event::Delete { key, .. } => key,
        Event::Progress(_) => "",
    }
}

fn weight(event: &Event) -> usize {
    match event {
        Event::Put { entry, .. } => entry.key.len() + entry.value.len(),
        Event::Delete { key, .. } => key.len(),
        Event::Progress(_) => 0,
    }
}

// === impl Recent ===

impl Recent {
    /// Nothing yet, at a revision. It keeps so many events, and so many bytes of them.
    pub(super) fn new(revision: Revision, events_max: usize, bytes_max: usize) -> Self {
        Self {
            start: revision,
            revision,
            events: VecDeque::new(),
            bytes: 0,
            events_max,
            bytes_max,
            void: Revision(0),
        }
    }

    /// What it goes back to.
    pub(super) fn start(&self) -> Revision {
        self.start
    }

    /// Adds whole revisions, in order, after which everything up to `reached` is here.
    pub(super) fn append(&mut self, events: Vec<Event>, reached: Revision, touch: &mut Touch<'_>) {
        for event in events {
            // A watch that is resumed may repeat itself.
            if revision(&event) <= self.revision {
                continue;
            }
            touch.key(key(&event), self.revision);
            self.bytes += weight(&event);
            self.events.push_back(event);
        }
        self.revision = self.revision.max(reached);
        while self.events.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.events.front().map(revision) else { break };
            self.forget(oldest);
        }
    }

    /// Forgets what happened up to a revision.
    pub(super) fn forget(&mut self, until: Revision) {
        let until = until.min(self.revision);
        self.start = self.start.max(until);
        while let Some(event) = self.events.pop_front_if(|event| revision(event) <= until) {
            self.bytes -= weight(&event);
        }
    }

    /// Begins anew at a revision: what happened before it is not known.
    pub(super) fn reset(&mut self, at: Revision, touch: &mut Touch<'_>) {
        touch.all(self.revision);
        let void = if at < self.revision { self.revision } else { Revision(0) };
        *self = Self { void, ..Self::new(at, self.events_max, self.bytes_max) };
    }
}

impl Log for Recent {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn events(&self, prefix: &str, after: Revision, limit: usize) -> Result<(Vec<Event>, Revision)> {
        let after = after.max(Revision::FIRST);
        if after < self.start || (after > self.revision && after <= self.void) {
            return Err(Error::Compacted { asked: after, oldest: self.start });
        }
        let mut found: Vec<Event> = Vec::new();
        if limit == 0 {
            return Ok((found, after));
        }
        let first = self.events.partition_point(|event| revision(event) <= after);
        for event in self.events.range(first..) {
            if !key(event).starts_with(prefix) {
                continue;
            }
            let at = revision(event);
            if found.len() >= limit && found.last().is_some_and(|last| revision(last) < at) {
                return Ok((found, Revision(at.saturating_sub(1))));
            }
            found.push(event.clone());
        }
        Ok((found, self.revision.max(after)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::mvcc::Shared, *};

    fn gone(key: &str, at: u64) -> Event {
        Event::Delete { key: key.to_owned(), revision: Revision(at), previous: None }
    }

    fn recent(events: Vec<Event>, reached: u64) -> Shared<Recent> {
        let shared = Shared::new(Recent::new(Revision(10), 4, 1000));
        shared.change(|log, touch| log.append(events, Revision(reached), touch));
        shared
    }

    #[test]
    fn a_revision_is_never_split() {
        let shared = recent(vec![gone("/a/1", 11), gone("/a/2", 11), gone("/b/1", 12), gone("/a/3", 13)], 13);
        let (events, reached) = shared.read(|log| log.events("/a/", Revision(10), 1)).unwrap();
        assert_eq!((events.len(), reached), (2, Revision(12)));
        let (events, reached) = shared.read(|log| log.events("/a/", reached, 1)).unwrap();
        assert_eq!((events, reached), (vec![gone("/a/3", 13)], Revision(13)));
    }

    #[test]
    fn what_is_too_much_is_forgotten_by_whole_revisions() {
        let shared = recent((11..16).flat_map(|at| [gone("/a/1", at), gone("/a/2", at)]).collect(), 15);
        assert_eq!(shared.read(Recent::start), Revision(13));
        assert!(matches!(
            shared.read(|log| log.events("/a/", Revision(12), 9)),
            Err(Error::Compacted { asked: Revision(12), .. })
        ));
        assert_eq!(shared.read(|log| log.events("/a/", Revision(13), 9)).unwrap().0.len(), 4);
    }

    #[test]
    fn a_store_that_went_back_in_time_voids_what_was_after() {
        let shared = recent(vec![gone("/a/1", 20)], 20);
        shared.change(|log, touch| log.reset(Revision(15), touch));
        for (after, ok) in [(14, false), (15, true), (16, false), (20, false), (21, true)] {
            assert_eq!(shared.read(|log| log.events("/a/", Revision(after), 9)).is_ok(), ok, "{after}");
        }
    }
}
