//! Which key here is which key in etcd, and where ranges of keys end.

use super::super::{Entry, Event, Revision};
use super::{
    link::unsigned,
    wire::{KeyValue, WatchEvent},
};

/// Keys here begin with `here`, and in etcd with `there` instead.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    here: String,
    there: String,
}

/// The keys from one on, up to another, as etcd wants them said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Vec<u8>,
    /// One zero byte: up to the last key.
    pub(super) end: Vec<u8>,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(here: &str, there: &str) -> Self {
        Self { here: here.to_owned(), there: there.to_owned() }
    }

    /// The key in etcd. None if it cannot be there.
    pub(super) fn there(&self, key: &str) -> Option<Vec<u8>> {
        Some([self.there.as_bytes(), key.strip_prefix(&self.here)?.as_bytes()].concat())
    }

    /// The key here. None if it belongs to others.
    pub(super) fn here(&self, key: &[u8]) -> Option<String> {
        let key = std::str::from_utf8(key).ok()?;
        Some([&self.here, key.strip_prefix(&self.there)?].concat())
    }

    /// All keys with a prefix. None if there can be none.
    pub(super) fn span(&self, prefix: &str) -> Option<Span> {
        match self.there(prefix) {
            Some(start) => Some(Span::of(start)),
            None => self.here.starts_with(prefix).then(|| self.all()),
        }
    }

    /// All keys that are ours.
    pub(super) fn all(&self) -> Span {
        Span::of(self.there.clone().into_bytes())
    }

    /// A key of ours that is never written.
    pub(super) fn none(&self) -> Vec<u8> {
        format!("{}/", self.there.trim_end_matches('/')).into_bytes()
    }

    pub(super) fn entry(&self, kv: KeyValue) -> Option<Entry> {
        let key = self.here(&kv.key)?;
        Some(Entry { key, value: kv.value.into(), revision: Revision(unsigned(kv.mod_revision)) })
    }

    /// What happened, if it happened to a key of ours.
    pub(super) fn event(&self, event: WatchEvent) -> Option<Event> {
        let kv = event.kv?;
        let previous = event.prev_kv.and_then(|kv| self.entry(kv));
        if event.kind == 1 {
            let revision = Revision(unsigned(kv.mod_revision));
            return Some(Event::Delete { key: self.here(&kv.key)?, revision, previous });
        }
        let created = kv.create_revision == kv.mod_revision;
        Some(Event::Put { entry: self.entry(kv)?, created, previous })
    }
}

// === impl Span ===

impl Span {
    /// Every key there is.
    pub(super) fn everything() -> Self {
        Self { start: vec![0], end: vec![0] }
    }

    fn of(prefix: Vec<u8>) -> Self {
        let mut end = prefix.clone();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                return Self { start: prefix, end };
            }
        }
        Self { start: if prefix.is_empty() { vec![0] } else { prefix }, end: vec![0] }
    }

    /// What comes after a key.
    pub(super) fn after(mut self, key: Vec<u8>) -> Self {
        let next = [key, vec![0]].concat();
        self.start = self.start.max(next);
        self
    }

    /// Whether no key can be in it.
    pub(super) fn is_empty(&self) -> bool {
        self.end != [0] && self.start >= self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_move_from_one_root_to_another() {
        let keys = Keys::new("/registry", "/other/place");
        assert_eq!(keys.there("/registry/pods/a").unwrap(), b"/other/place/pods/a");
        assert_eq!(keys.here(b"/other/place/pods/a").unwrap(), "/registry/pods/a");
        assert_eq!(keys.here(b"/registry/pods/a"), None);
        assert_eq!(keys.there("/elsewhere"), None);
        assert_eq!(keys.span("/reg"), Some(keys.all()));
        assert_eq!(keys.span("/elsewhere"), None);
    }

    #[test]
    fn a_span_ends_before_the_next_prefix() {
        for (prefix, end) in [("/a/", &b"/a0"[..]), ("/a", b"/b"), ("", b"\0")] {
            assert_eq!(Keys::new("", "").span(prefix).unwrap().end, end, "{prefix}");
        }
        assert_eq!(Span::of(vec![b'a', 0xff]).end, b"b");
        assert_eq!(Span::of(vec![0xff]).end, b"\0");
        assert!(Span::of(b"/a/".to_vec()).after(b"/b".to_vec()).is_empty());
        assert!(!Span::everything().after(b"/b".to_vec()).is_empty());
    }
}
