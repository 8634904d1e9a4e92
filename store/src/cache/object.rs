//! An object as the cache holds it: the bytes to serve, a small header, and room for shared renderings.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use api_types::selectors::labels::Labels;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::backend::Revision;

/// What the cache must know of an object, taken from its bytes by the owner of the kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The namespace, if the kind has namespaces.
    pub namespace: Option<Arc<str>>,
    /// The name.
    pub name: Arc<str>,
    /// The labels.
    pub labels: Pairs,
    /// The fields that can be selected by, with their values.
    pub fields: Pairs,
    /// Whatever else the owner of the kind wants to have at hand.
    pub extra: u64,
}

/// A small map from text to text in two allocations, sorted. There is one in every object for its labels and one for its
/// fields; as `BTreeMap`s they would outweigh the bytes of a small object.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// Keys and values one after the other.
    text: Box<str>,
    /// Where each of them ends.
    ends: Box<[u32]>,
}

/// One state of one object. Objects are immutable and shared; the next revision is another object.
pub struct Object {
    /// The key in the store.
    pub key: Arc<str>,
    /// The revision that wrote it.
    pub revision: Revision,
    /// The encoded object, ready to be served.
    pub bytes: Bytes,
    /// What is known of it without decoding.
    pub header: Header,
    derived: ArcSwapOption<Forms>,
    upkeep: Option<Arc<Upkeep>>,
}

/// The derived forms of an object, by slot.
#[derive(Default)]
struct Forms {
    used: AtomicBool,
    cells: [OnceLock<Arc<dyn Any + Send + Sync>>; SLOTS],
    /// Slots from `SLOTS` on.
    more: OnceLock<Box<Forms>>,
}

const SLOTS: usize = 6;

/// Tells the feed that there are derived forms to be looked after.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    derived: AtomicBool,
    wanted: Notify,
}

// === impl Object ===

impl Object {
    /// An object that belongs to no cache, such as one in hand during a request.
    pub fn detached(key: Arc<str>, revision: Revision, bytes: Bytes, header: Header) -> Self {
        Self::new(key, revision, bytes, header, None)
    }

    pub(super) fn new(
        key: Arc<str>,
        revision: Revision,
        bytes: Bytes,
        header: Header,
        upkeep: Option<Arc<Upkeep>>,
    ) -> Self {
        Self { key, revision, bytes, header, derived: ArcSwapOption::empty(), upkeep }
    }

    /// Another form of this object (a table row, protobuf, metadata only), made when it is first asked for and shared
    /// from then on. A slot belongs to one type of form; who hands out the numbers sees to that. A form that is not used
    /// for a while is dropped, and made again when asked for.
    ///
    /// `make` may use other slots of the object, but not its own.
    ///
    /// # Panics
    /// If a slot is used for two types.
    pub fn derived<T: Any + Send + Sync>(&self, slot: usize, make: impl FnOnce(&Self) -> T) -> Arc<T> {
        let forms = self.forms();
        forms.used.store(true, Ordering::Relaxed);
        let form = Arc::clone(forms.cell(slot).get_or_init(|| Arc::new(make(self))));
        match form.downcast() {
            Ok(form) => form,
            Err(_) => panic!("slot {slot} is used for two types"),
        }
    }

    /// Whether derived forms were used since the last call; if not, they are dropped.
    pub(super) fn sweep_derived(&self) -> bool {
        let forms = self.derived.load();
        let Some(forms) = forms.as_ref() else { return false };
        let used = forms.used.swap(false, Ordering::Relaxed);
        if !used {
            self.derived.store(None);
        }
        used
    }

    fn forms(&self) -> Arc<Forms> {
        loop {
            if let Some(forms) = self.derived.load_full() {
                return forms;
            }
            let none = self.derived.load();
            if none.is_none() {
                self.derived.compare_and_swap(&none, Some(Arc::default()));
                if let Some(upkeep) = &self.upkeep {
                    upkeep.notice();
                }
            }
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("key", &self.key)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

// === impl Forms ===

impl Forms {
    fn cell(&self, slot: usize) -> &OnceLock<Arc<dyn Any + Send + Sync>> {
        match slot.checked_sub(SLOTS) {
            None => &self.cells[slot],
            Some(slot) => self.more.get_or_init(Box::default).cell(slot),
        }
    }
}

// === impl Upkeep ===

impl Upkeep {
    fn notice(&self) {
        if !self.derived.swap(true, Ordering::Relaxed) {
            self.wanted.notify_one();
        }
    }

    /// Waits until there are derived forms.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// There are none any more; the next one is noticed.
    pub(super) fn rest(&self) {
        self.derived.store(false, Ordering::Relaxed);
    }
}

// === impl Pairs ===

impl Pairs {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let (found, value) = self.pair(middle)?;
            match found.cmp(key) {
                std::cmp::Ordering::Equal => return Some(value),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// All pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.len()).filter_map(|n| self.pair(n))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn pair(&self, n: usize) -> Option<(&str, &str)> {
        let end = |n: usize| self.ends.get(n).and_then(|end| usize::try_from(*end).ok());
        let start = if n == 0 { 0 } else { end(2 * n - 1)? };
        let (middle, stop) = (end(2 * n)?, end(2 * n + 1)?);
        Some((self.text.get(start..middle)?, self.text.get(middle..stop)?))
    }
}

/// Of two pairs with the same key the later one counts, as in a map.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(K, V)> = pairs.into_iter().collect();
        pairs.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        let (mut text, mut ends) = (String::new(), Vec::with_capacity(2 * pairs.len()));
        let mut pairs = pairs.into_iter().peekable();
        while let Some((key, value)) = pairs.next() {
            if pairs.peek().is_some_and(|(next, _)| next.as_ref() == key.as_ref()) {
                continue;
            }
            for part in [key.as_ref(), value.as_ref()] {
                text.push_str(part);
                // Objects are a few MiB at the most, and u32 counts to 4 GiB.
                ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        Self { text: text.into(), ends: ends.into() }
    }
}

impl<K: AsRef<str>, V: AsRef<str>, const N: usize> From<[(K, V); N]> for Pairs {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl From<std::collections::BTreeMap<String, String>> for Pairs {
    fn from(map: std::collections::BTreeMap<String, String>) -> Self {
        map.into_iter().collect()
    }
}

impl Labels for Pairs {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn object() -> Object {
        Object::detached("/a".into(), Revision(1), Bytes::from_static(b"abc"), Header::default())
    }

    #[test]
    fn a_derived_form_is_made_once_and_shared() {
        let object = object();
        let len = object.derived(0, |object| object.bytes.len());
        assert_eq!(*len, 3);
        assert!(Arc::ptr_eq(&len, &object.derived(0, |_| -> usize { panic!("made twice") })));
        let text = object.derived(40, |object| format!("{}", *object.derived(0, |_| 0_usize)));
        assert_eq!(*text, "3");
    }

    #[test]
    fn a_derived_form_that_nobody_uses_is_dropped() {
        let object = object();
        let first = object.derived(0, |_| 1);
        assert!(object.sweep_derived(), "it was just used");
        assert!(Arc::ptr_eq(&first, &object.derived(0, |_| 2)));
        assert!(object.sweep_derived());
        assert!(!object.sweep_derived());
        assert_eq!(*object.derived(0, |_| 3), 3);
    }

    proptest! {
        #[test]
        fn pairs_are_a_map(map in prop::collection::btree_map("\\PC{0,3}", "\\PC{0,3}", 0..9), other in "\\PC{0,3}") {
            let pairs = Pairs::from(map.clone());
            prop_assert_eq!(pairs.len(), map.len());
            for key in map.keys().chain([&other]) {
                prop_assert_eq!(pairs.get(key), map.get(key).map(String::as_str));
            }
            let back: BTreeMap<_, _> = pairs.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(back, map);
        }
    }
}
