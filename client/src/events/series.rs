//! Events of the events.k8s.io API: the first telling makes an Event, the second begins a series on it, and those after
//! are only counted, until the series is written again after half an hour or ends after six minutes of silence.
//!
//! Invariant: no I/O, no clock; memory is bounded, as the [correlator](super::correlator)'s is.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Names, Note, ObjectRef, Told, correlator::Memory, namespace_of};
use crate::{Key, meta::micro_time};

/// A series that was silent for so long ends; so often it is looked whether any was.
pub const FINISH: Duration = Duration::from_secs(360);

/// A series that goes on is written every so many looks: every half hour.
const LOOKS_PER_REFRESH: u32 = 5;

/// Decides for one instance of one controller.
#[derive(Debug)]
pub struct Series {
    controller: String,
    instance: String,
    told: Memory<Telling>,
    names: Names,
    looks: u32,
}

#[derive(Debug)]
struct Telling {
    event: Value,
    key: Key,
    count: u64,
    last: Timestamp,
}

// === impl Series ===

impl Series {
    /// Nothing was told yet.
    pub fn new(controller: &str, instance: &str) -> Self {
        Self {
            controller: controller.to_owned(),
            instance: instance.to_owned(),
            told: Memory::default(),
            names: Names::default(),
            looks: 0,
        }
    }

    /// Something is told at a time.
    pub fn tell(&mut self, about: &ObjectRef, note: &Note, now: Timestamp) -> Told {
        // What it says in words does not tell it from another: only the first note of a series is kept.
        let memory = format!(
            "{}\0{}\0{}\0{about:?}\0{:?}",
            note.severity.name(),
            note.action,
            note.reason,
            note.related
        );
        let (names, controller, instance) = (&mut self.names, &self.controller, &self.instance);
        let telling = self.told.get(&memory, || {
            let name = names.next(about, now);
            let mut event = json!({
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace_of(about)},
                "eventTime": micro_time(now),
                "reportingController": controller,
                "reportingInstance": instance,
                "action": note.action,
                "reason": note.reason,
                "regarding": about,
                "note": note.message,
                "type": note.severity.name(),
            });
            if let (Some(related), Some(fields)) = (&note.related, event.as_object_mut()) {
                fields.insert("related".to_owned(), json!(related));
            }
            Telling { event, key: Key::new(namespace_of(about), &name), count: 0, last: now }
        });
        telling.count += 1;
        telling.last = now;
        match telling.count {
            1 => Told::Create { event: telling.event.clone() },
            2 => telling.write(),
            _ => Told::Nothing,
        }
    }

    /// What is to be written every [`FINISH`].
    pub fn sweep(&mut self, now: Timestamp) -> Vec<Told> {
        self.looks += 1;
        let refresh = self.looks.is_multiple_of(LOOKS_PER_REFRESH);
        let silent = |telling: &Telling| {
            Duration::try_from(now.duration_since(telling.last)).is_ok_and(|silence| silence >= FINISH)
        };
        let in_series = self.told.values_mut().filter(|telling| telling.count > 1);
        let told =
            in_series.filter(|telling| refresh || silent(telling)).map(|telling| telling.write()).collect();
        self.told.retain(|telling| !silent(telling));
        told
    }
}

impl Telling {
    fn write(&self) -> Told {
        let patch = json!({"series": {"count": self.count, "lastObservedTime": micro_time(self.last)}});
        let mut event = self.event.clone();
        if let (Some(fields), Some(series)) = (event.as_object_mut(), patch.get("series")) {
            fields.insert("series".to_owned(), series.clone());
        }
        Told::Count { key: self.key.clone(), patch, event }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn count(told: &Told) -> Option<u64> {
        match told {
            Told::Count { patch, .. } => patch["series"]["count"].as_u64(),
            Told::Nothing | Told::Create { .. } => None,
        }
    }

    #[test]
    fn repetitions_become_a_series_that_is_written_seldom() {
        let mut series = Series::new("default-scheduler", "default-scheduler-host");
        let about =
            ObjectRef { kind: "Pod".into(), namespace: "ns".into(), name: "a".into(), ..Default::default() };
        let tell = |series: &mut Series, seconds: i64| {
            let message = format!("0/{seconds} nodes are available");
            series.tell(&about, &Note::warning("FailedScheduling", message).action("Scheduling"), at(seconds))
        };
        let Told::Create { event } = tell(&mut series, 0) else { panic!("not new") };
        assert_eq!(
            event,
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "Event",
                "metadata": {"name": "a.17979cfe362a0000", "namespace": "ns"},
                "eventTime": "2023-11-14T22:13:20.000000Z",
                "reportingController": "default-scheduler", "reportingInstance": "default-scheduler-host",
                "action": "Scheduling", "reason": "FailedScheduling", "type": "Warning",
                "note": "0/0 nodes are available",
                "regarding": {"apiVersion": "", "kind": "Pod", "namespace": "ns", "name": "a"},
            })
        );
        assert_eq!(count(&tell(&mut series, 10)), Some(2));
        assert_eq!(tell(&mut series, 20), Told::Nothing);
        assert_eq!(series.sweep(at(360)), [], "not silent for long enough");
        let finished = series.sweep(at(720));
        assert_eq!(finished.iter().map(count).collect::<Vec<_>>(), [Some(3)]);
        assert!(matches!(tell(&mut series, 730), Told::Create { .. }), "a new story");
    }

    #[test]
    fn a_series_that_goes_on_is_written_every_half_hour() {
        let mut series = Series::new("c", "i");
        let about = ObjectRef::default();
        let mut written = 0;
        for minute in 0..60 {
            let _ = series.tell(&about, &Note::normal("Same", "same"), at(minute * 60));
            if minute % 6 == 5 {
                written += series.sweep(at(minute * 60)).len();
            }
        }
        assert_eq!(written, 2);
    }
}
