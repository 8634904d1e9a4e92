//! A model so simple that it can be read at a glance: the list of all that happened. A store is compared to it step by
//! step, for sequences a property test invents.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt};

use crate::backend::{Backend, Entry, Error, Event, EventStream, Range, Revision};

/// Something a test does to a store. Small numbers choose keys, values and revisions.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are what the variants' sentences say")]
pub enum Step {
    /// Creates a key.
    Create { key: u8, value: u8 },
    /// Updates a key, expecting its revision, or with `stale` an older one.
    Update { key: u8, value: u8, stale: bool },
    /// Deletes a key, expecting its revision, or with `stale` an older one.
    Delete { key: u8, stale: bool },
    /// Reads a page as of some revision.
    Range { namespace: u8, back: u8, limit: u8, after: u8 },
    /// Starts a watch that goes on until the end.
    Watch { namespace: u8, back: u8 },
    /// Compacts to some revision.
    Compact { back: u8 },
}

#[derive(Default)]
struct Model {
    /// What was written, one revision each, from revision 2 on.
    log: Vec<(String, Option<Bytes>)>,
    compacted: u64,
}

/// Where a key lies: one of two namespaces, four names in each.
fn key(n: u8) -> String {
    format!("{}{}", namespace(n % 2), n / 2 % 4)
}

fn namespace(n: u8) -> String {
    match n % 3 {
        0 => "/k/a/".to_owned(),
        1 => "/k/a-b/".to_owned(),
        _ => "/k/".to_owned(),
    }
}

impl Model {
    fn revision(&self) -> u64 {
        u64::try_from(self.log.len()).expect("fits") + 1
    }

    fn oldest(&self) -> u64 {
        self.compacted.max(1)
    }

    fn back(&self, back: u8) -> u64 {
        self.revision().saturating_sub(back.into()).max(1)
    }

    fn at(&self, revision: u64) -> BTreeMap<String, Entry> {
        let mut state = BTreeMap::new();
        for (at, (key, value)) in (2..=revision).zip(&self.log) {
            match value {
                Some(value) => state.insert(
                    key.clone(),
                    Entry { key: key.clone(), value: value.clone(), revision: Revision(at) },
                ),
                None => state.remove(key),
            };
        }
        state
    }

    fn now(&self) -> BTreeMap<String, Entry> {
        self.at(self.revision())
    }
}

/// Carries out the steps on an empty store and compares each answer to the model; at the end every watch must have seen
/// what happened to its prefix.
///
/// # Panics
/// If the store and the model differ.
pub async fn check(store: Arc<dyn Backend>, steps: Vec<Step>) {
    let mut model = Model::default();
    let mut watches: Vec<(String, u64, EventStream)> = Vec::new();
    for step in steps {
        let now = model.now();
        match step {
            Step::Create { key: k, value } => {
                let (key, value) = (key(k), Bytes::from(vec![value]));
                match store.create(&key, value.clone(), None).await {
                    Ok(revision) => {
                        assert!(!now.contains_key(&key), "{key} was there");
                        model.log.push((key, Some(value)));
                        assert_eq!(revision.0, model.revision());
                    }
                    Err(Error::Exists(_)) => assert!(now.contains_key(&key), "{key} was not there"),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Update { key: k, value, stale } => {
                let (key, value) = (key(k), Bytes::from(vec![value]));
                let current = now.get(&key);
                let expected = current.map_or(1, |entry| entry.revision.0) - u64::from(stale);
                match store.update(&key, Revision(expected), value.clone(), None).await {
                    Ok(revision) => {
                        assert!(current.is_some() && !stale);
                        model.log.push((key, Some(value)));
                        assert_eq!(revision.0, model.revision());
                    }
                    Err(Error::NotFound(_)) => assert!(current.is_none()),
                    Err(Error::Conflict(entry)) => assert_eq!((Some(&*entry), stale), (current, true)),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Delete { key: k, stale } => {
                let key = key(k);
                let current = now.get(&key);
                let expected = current.map_or(1, |entry| entry.revision.0) - u64::from(stale);
                match store.delete(&key, Revision(expected)).await {
                    Ok(revision) => {
                        assert!(current.is_some() && !stale);
                        model.log.push((key, None));
                        assert_eq!(revision.0, model.revision());
                    }
                    Err(Error::NotFound(_)) => assert!(current.is_none()),
                    Err(Error::Conflict(entry)) => assert_eq!((Some(&*entry), stale), (current, true)),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Range { namespace: n, back, limit, after } => {
                let (prefix, at) = (namespace(n), model.back(back));
                let after = (after < 8).then(|| key(after));
                let range = Range {
                    prefix: prefix.clone(),
                    after: after.clone(),
                    limit: limit.into(),
                    at: (back > 0).then_some(Revision(at)),
                };
                match store.range(range).await {
                    Ok(page) => {
                        assert!(at >= model.oldest(), "{at} was compacted");
                        let all: Vec<Entry> = model
                            .at(at)
                            .into_values()
                            .filter(|e| {
                                e.key.starts_with(&prefix)
                                    && after.as_ref().is_none_or(|after| e.key > *after)
                            })
                            .collect();
                        let limit = if limit == 0 { all.len() } else { all.len().min(limit.into()) };
                        assert_eq!(page.entries, all[..limit]);
                        assert_eq!(
                            (page.revision.0, page.remaining),
                            (at, u64::try_from(all.len() - limit).unwrap())
                        );
                    }
                    Err(Error::Compacted { .. }) => assert!(at < model.oldest(), "{at} was not compacted"),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Watch { namespace: n, back } => {
                let (prefix, after) = (namespace(n), model.back(back));
                match store.watch(&prefix, Revision(after)).await {
                    Ok(stream) => watches.push((prefix, after, stream)),
                    Err(Error::Compacted { .. }) => assert!(after < model.oldest()),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Compact { back } => {
                let at = model.back(back);
                // Watches read before their history goes, so that what they must see is known.
                for (prefix, after, stream) in &mut watches {
                    see(&store, &model, prefix, after, stream).await;
                }
                store.compact(Revision(at)).await.expect("compact");
                model.compacted = model.compacted.max(at);
            }
        }
    }
    assert_eq!(store.revision().await.unwrap().0, model.revision());
    for (prefix, mut after, mut stream) in watches {
        see(&store, &model, &prefix, &mut after, &mut stream).await;
        if let Some(more) = stream.next().now_or_never() {
            let events = more.expect("the watch goes on").expect("the watch is well");
            assert!(
                events.iter().all(|event| matches!(event, Event::Progress(_))),
                "nothing more happened: {events:?}"
            );
        }
    }
}

/// Reads the stream up to the present and compares.
async fn see(
    store: &Arc<dyn Backend>,
    model: &Model,
    prefix: &str,
    after: &mut u64,
    stream: &mut EventStream,
) {
    let mut expected = (2..).zip(&model.log).filter(|(at, (key, _))| at > after && key.starts_with(prefix));
    store.request_progress(prefix);
    'reading: loop {
        let batch = tokio::time::timeout(super::PATIENCE, stream.next()).await.expect("in time");
        for event in batch.expect("the watch goes on").expect("the watch is well") {
            match event {
                Event::Put { entry, created, .. } => {
                    let (at, (key, value)) = expected.next().expect("something happened");
                    assert_eq!((entry.revision.0, &entry.key, Some(&entry.value)), (at, key, value.as_ref()));
                    assert_eq!(created, !model.at(at - 1).contains_key(key));
                }
                Event::Delete { key: gone, revision, previous } => {
                    let (at, (key, value)) = expected.next().expect("something happened");
                    assert_eq!((revision.0, &gone, None), (at, key, value.as_ref()));
                    let before = model.at(at - 1);
                    assert!(previous.is_none() || previous.as_ref() == before.get(key));
                }
                Event::Progress(revision) if revision.0 >= model.revision() => break 'reading,
                Event::Progress(_) => {}
            }
        }
    }
    assert!(expected.next().is_none(), "a revision was missed");
    *after = (*after).max(model.revision());
}

#[cfg(test)]
pub(crate) mod strategy {
    //! Invents steps.

    use proptest::prelude::*;

    use super::Step;

    pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
        let stale = || prop::bool::weighted(0.1);
        let step = prop_oneof![
            6 => (any::<u8>(), any::<u8>()).prop_map(|(key, value)| Step::Create { key, value }),
            6 => (any::<u8>(), any::<u8>(), stale()).prop_map(|(key, value, stale)| Step::Update { key, value, stale }),
            3 => (any::<u8>(), stale()).prop_map(|(key, stale)| Step::Delete { key, stale }),
            2 => (any::<u8>(), 0..12_u8, 0..4_u8, 0..12_u8)
                .prop_map(|(namespace, back, limit, after)| Step::Range { namespace, back, limit, after }),
            1 => (any::<u8>(), 0..12_u8).prop_map(|(namespace, back)| Step::Watch { namespace, back }),
            1 => (0..12_u8).prop_map(|back| Step::Compact { back }),
        ];
        prop::collection::vec(step, 0..60)
    }
}
