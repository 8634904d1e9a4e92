//! Which of the things a component tells become new Events, which only count, and which are dropped.
//!
//! As client-go's correlator: the same message again counts on the Event it made first; from the tenth different message
//! of one reason about one object within ten minutes on, one Event stands for all; and of one object, after a burst of 25,
//! one Event in five minutes is told.
//!
//! Invariant: no I/O, no clock; memory is bounded and the longest untouched is forgotten first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Names, Note, ObjectRef, Told, namespace_of};
use crate::{Key, meta::time};

/// So many objects, reasons and messages are remembered, each.
const MEMORY: usize = 4096;

/// So many different messages of one reason are told apart.
const SIMILAR_MAX: usize = 10;

/// Messages further apart are not similar.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);

/// What is told of one object at once, and how long it takes until one more may be.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// Decides for one component.
#[derive(Debug)]
pub struct Correlator {
    component: String,
    similar: Memory<Similar>,
    told: Memory<Telling>,
    budgets: Memory<Budget>,
    names: Names,
}

#[derive(Debug, Default)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Telling {
    name: String,
    first: String,
    count: u64,
}

#[derive(Debug)]
struct Budget {
    left: f64,
    since: Timestamp,
}

// === impl Correlator ===

impl Correlator {
    /// Nothing was told yet.
    pub fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            similar: Memory::default(),
            told: Memory::default(),
            budgets: Memory::default(),
            names: Names::default(),
        }
    }

    /// Something is told at a time.
    pub fn tell(&mut self, about: &ObjectRef, note: &Note, now: Timestamp) -> Told {
        let object = format!(
            "{}\0{}\0{}\0{}\0{}",
            about.kind, about.namespace, about.name, about.uid, about.api_version
        );
        let reason = format!("{object}\0{}\0{}", note.severity.name(), note.reason);
        let (memory, note) = self.combine(reason, note, now);
        let told = self.count(&memory, about, &note, now);
        if self.budgets.get(&object, || Budget::full(now)).spend(now) { told } else { Told::Nothing }
    }

    /// The note to tell, and under what it is remembered: itself, or one that stands for many.
    fn combine(&mut self, reason: String, note: &Note, now: Timestamp) -> (String, Note) {
        let similar = self.similar.get(&reason, Similar::default);
        if since(similar.last, now) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.last = now;
        similar.messages.insert(note.message.clone().into_owned());
        if similar.messages.len() < SIMILAR_MAX {
            return (format!("{reason}\0{}", note.message), note.clone());
        }
        similar.messages.pop_first();
        let message = format!("(combined from similar events): {}", note.message);
        (reason, Note { message: message.into(), ..note.clone() })
    }

    fn count(&mut self, memory: &str, about: &ObjectRef, note: &Note, now: Timestamp) -> Told {
        let at = time(now);
        let mut is_new = false;
        let names = &mut self.names;
        let telling = self.told.get(memory, || {
            is_new = true;
            Telling { name: names.next(about, now), first: at.clone(), count: 0 }
        });
        telling.count += 1;
        let mut event = event_object(about, note, &self.component, &telling.name, &at);
        if is_new {
            return Told::Create { event };
        }
        let patch = json!({"count": telling.count, "lastTimestamp": at, "message": note.message});
        if let Some(fields) = event.as_object_mut() {
            fields.insert("count".to_owned(), telling.count.into());
            fields.insert("firstTimestamp".to_owned(), telling.first.clone().into());
        }
        Told::Count { key: Key::new(namespace_of(about), &telling.name), patch, event }
    }
}

/// The Event at its first telling.
fn event_object(about: &ObjectRef, note: &Note, component: &str, name: &str, time: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace_of(about)},
        "involvedObject": about,
        "type": note.severity.name(),
        "reason": note.reason,
        "message": note.message,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

// === impl Budget ===

impl Budget {
    fn full(now: Timestamp) -> Self {
        Self { left: BURST, since: now }
    }

    fn spend(&mut self, now: Timestamp) -> bool {
        let refilled = since(self.since, now).as_secs_f64() / REFILL_SECONDS;
        self.left = (self.left + refilled).min(BURST);
        self.since = now;
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

/// A bounded map. When full: the entry longest untouched goes.
#[derive(Debug)]
pub(super) struct Memory<V> {
    entries: BTreeMap<Arc<str>, (u64, V)>,
    touched: BTreeMap<u64, Arc<str>>,
    now: u64,
}

impl<V> Default for Memory<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), touched: BTreeMap::new(), now: 0 }
    }
}

impl<V> Memory<V> {
    /// The entry, made if it is not there.
    pub(super) fn get(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key)
            && self.entries.len() >= MEMORY
            && let Some((_, oldest)) = self.touched.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.now += 1;
        let key: Arc<str> = key.into();
        self.touched.insert(self.now, Arc::clone(&key));
        let (touched, value) = self.entries.entry(key).or_insert_with(|| (0, make()));
        self.touched.remove(touched);
        *touched = self.now;
        value
    }

    /// All values, by key, which may be changed without touching them.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    /// Forgets what `keep` does not hold for.
    pub(super) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        let touched = &mut self.touched;
        self.entries.retain(|_, (at, value)| {
            let kept = keep(value);
            if !kept {
                touched.remove(at);
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn about(name: &str) -> ObjectRef {
        ObjectRef { kind: "Pod".into(), namespace: "ns".into(), name: name.into(), ..ObjectRef::default() }
    }

    #[test]
    fn the_same_message_again_counts_on_its_first_event() {
        let mut correlator = Correlator::new("tester");
        let note = Note::normal("Done", "all done");
        let Told::Create { event } = correlator.tell(&about("a"), &note, at(0)) else { panic!("not new") };
        assert_eq!(event["metadata"], json!({"name": "a.17979cfe362a0000", "namespace": "ns"}));
        assert_eq!(event["source"], json!({"component": "tester"}));
        let Told::Count { key, patch, event } = correlator.tell(&about("a"), &note, at(5)) else {
            panic!("not counted")
        };
        assert_eq!(key.to_string(), "ns/a.17979cfe362a0000");
        assert_eq!(
            patch,
            json!({"count": 2, "lastTimestamp": "2023-11-14T22:13:25Z", "message": "all done"})
        );
        assert_eq!(event["firstTimestamp"], "2023-11-14T22:13:20Z");
        // Another object, another event, and another name though no time has passed.
        let Told::Create { event } = correlator.tell(&about("b"), &note, at(0)) else { panic!("not new") };
        assert_eq!(event["metadata"]["name"], "b.17979cfe362a0001");
    }

    #[test]
    fn many_similar_messages_become_one_event() {
        let mut correlator = Correlator::new("tester");
        let mut tell = |number: i64| {
            correlator.tell(&about("a"), &Note::warning("Failed", format!("attempt {number}")), at(number))
        };
        for number in 0..9 {
            assert!(matches!(tell(number), Told::Create { .. }), "{number}");
        }
        let Told::Create { event } = tell(9) else { panic!("not new") };
        assert_eq!(event["message"], "(combined from similar events): attempt 9");
        let Told::Count { patch, .. } = tell(10) else { panic!("not counted") };
        assert_eq!(patch["message"], "(combined from similar events): attempt 10");
        // Ten quiet minutes later it is a new story.
        let Told::Create { event } = tell(1000) else { panic!("not new") };
        assert_eq!(event["message"], "attempt 1000");
    }

    #[test]
    fn too_much_of_one_object_is_cut_short() {
        let mut correlator = Correlator::new("tester");
        let note = Note::normal("Done", "all done");
        for _ in 0..25 {
            assert_ne!(correlator.tell(&about("a"), &note, at(0)), Told::Nothing);
        }
        assert_eq!(correlator.tell(&about("a"), &note, at(1)), Told::Nothing);
        assert_ne!(correlator.tell(&about("b"), &note, at(1)), Told::Nothing);
        assert_ne!(correlator.tell(&about("a"), &note, at(400)), Told::Nothing);
        assert_eq!(correlator.tell(&about("a"), &note, at(401)), Told::Nothing);
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for number in 0..MEMORY {
            memory.get(&number.to_string(), || number);
        }
        memory.get("0", || 7);
        memory.get("new", || 8);
        assert_eq!(memory.entries.len(), MEMORY);
        assert_eq!(memory.touched.len(), MEMORY);
        assert!(memory.entries.contains_key("0") && !memory.entries.contains_key("1"));
    }
}
