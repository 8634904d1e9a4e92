//! Invented histories, watchers of every kind, slow readers, lost watches and short memories: each watcher, replayed onto
//! what it started from, must give what is there.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Put {
        key: u8,
        labels: u8,
        node: u8,
    },
    Delete {
        key: u8,
    },
    /// The feed gets this many turns.
    Turns(u8),
    /// Starts a watcher.
    Watch {
        from: u8,
        filter: u8,
    },
    /// A watcher reads this many events.
    Read {
        watcher: u8,
        events: u8,
    },
    /// The cache loses its watch for good and must list.
    Cut,
    Compact {
        back: u8,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(key, labels, node)| Step::Put { key, labels, node }),
        3 => any::<u8>().prop_map(|key| Step::Delete { key }),
        4 => (0..10_u8).prop_map(Step::Turns),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(from, filter)| Step::Watch { from, filter }),
        4 => (any::<u8>(), 0..8_u8).prop_map(|(watcher, events)| Step::Read { watcher, events }),
        1 => Just(Step::Cut),
        1 => (0..10_u8).prop_map(|back| Step::Compact { back }),
    ];
    prop::collection::vec(step, 0..120)
}

fn key(n: u8) -> String {
    format!("/k/{}/{}", ["a", "b"][usize::from(n % 2)], n / 2 % 4)
}

fn filter(n: u8) -> Filter {
    let web = |header: &Header| header.labels.get("app") == Some("0");
    match n % 6 {
        0 => Filter::prefix("/k/"),
        1 => Filter::prefix("/k/a/"),
        2 => Filter::prefix("/k/").selecting(web),
        3 => Filter::key("/k/a/1"),
        4 => Filter::indexed("/k/", "1"),
        _ => Filter::indexed("/k/b/", "0").selecting(web),
    }
}

/// What a client makes of a watch: a list, kept up to date.
struct Client {
    filter: u8,
    watcher: Option<Watcher>,
    /// Key and revision; None while the initial state is still coming, or was not asked for.
    list: BTreeMap<String, u64>,
    last: u64,
    /// How many lists the cache had made at the start. If it made more, several changes may be told as one.
    lists: u64,
}

/// The store's own account: the selected objects at each revision.
struct Truth(Vec<BTreeMap<String, (u64, u8, u8)>>);

impl Truth {
    fn selected(&self, filter: u8, at: u64) -> BTreeMap<String, u64> {
        let web = |labels: u8| labels.is_multiple_of(2);
        let state = &self.0[usize::try_from(at).unwrap()];
        let objects = state.iter().filter(|(key, (_, labels, node))| match filter % 6 {
            0 => true,
            1 => key.starts_with("/k/a/"),
            2 => web(*labels),
            3 => *key == "/k/a/1",
            4 => node % 3 == 1,
            _ => node % 3 == 0 && web(*labels) && key.starts_with("/k/b/"),
        });
        objects.map(|(key, (revision, _, _))| (key.clone(), *revision)).collect()
    }
}

impl Client {
    /// Reads up to `limit` events. What comes must follow from what came before.
    fn read(&mut self, limit: usize, truth: &Truth, lists: u64) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(watcher) = &mut self.watcher
            && let Some(event) = watcher.next().now_or_never()
        {
            count += 1;
            match event {
                None | Some(Err(Error::Compacted { .. })) => self.watcher = None,
                Some(Err(error)) => panic!("{error}"),
                Some(Ok(event)) => self.take(&event, truth, lists > self.lists),
            }
        }
        count
    }

    fn take(&mut self, event: &WatchEvent, truth: &Truth, merged: bool) {
        let at = event.revision().0;
        if let Some(object) = event.object() {
            assert_eq!(
                object.bytes.split(|b| *b == b':').next().unwrap(),
                object.revision.to_string().as_bytes()
            );
        }
        match event {
            WatchEvent::Added(object) => {
                let before = self.list.insert(object.key.to_string(), at);
                assert_eq!(before, None, "{event:?}");
            }
            WatchEvent::Modified(object) => {
                let before = self.list.insert(object.key.to_string(), at);
                assert!(before.is_some_and(|before| before < at), "{event:?}");
            }
            WatchEvent::Deleted { object, revision } => {
                let before = self.list.remove(&*object.key);
                assert_eq!(before, Some(object.revision.0), "{event:?}");
                assert!(*revision > object.revision);
            }
            WatchEvent::Bookmark(revision) | WatchEvent::InitialEventsEnd(revision) => {
                assert_eq!(self.list, truth.selected(self.filter, revision.0), "{event:?}");
            }
        }
        if !matches!(event, WatchEvent::Added(_)) || self.last > 0 {
            assert!(at >= self.last, "{event:?} after {}", self.last);
            self.last = at;
            if !merged && !matches!(event, WatchEvent::Deleted { .. }) {
                // Each revision is told by itself, so the list is right at each of them.
                assert_eq!(self.list, truth.selected(self.filter, at), "{event:?}");
            }
        }
    }
}

fn lists(rig: &Rig) -> u64 {
    rig.cache.shared.counts.initializations.get()
}

async fn check(steps: Vec<Step>, config: Config) {
    let rig = Rig::new(config).await;
    let mut truth = Truth(vec![BTreeMap::new(); 2]);
    let mut clients: Vec<Client> = Vec::new();
    for step in steps {
        match step {
            Step::Put { key: k, labels, node } => {
                let text = format!("app={}|node={}", labels % 2, node % 3);
                let revision = rig.put(&key(k), &text).await.0;
                let mut state = truth.0.last().unwrap().clone();
                state.insert(key(k), (revision, labels, node));
                truth.0.push(state);
            }
            Step::Delete { key: k } => {
                let mut state = truth.0.last().unwrap().clone();
                if state.remove(&key(k)).is_some() {
                    rig.delete(&key(k)).await;
                    truth.0.push(state);
                }
            }
            Step::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Step::Watch { from, filter: f } => {
                let now = rig.cache.revision().0;
                let (from, start) = match from % 4 {
                    0 => (WatchFrom::InitialState, None),
                    1 => (WatchFrom::Now, Some(now)),
                    _ => {
                        let after = now.saturating_sub(u64::from(from / 4 % 16)).max(1);
                        (WatchFrom::After(Revision(after)), Some(after))
                    }
                };
                clients.push(Client {
                    filter: f,
                    watcher: Some(rig.watch(from, filter(f))),
                    list: start.map(|at| truth.selected(f, at)).unwrap_or_default(),
                    last: start.unwrap_or_default(),
                    lists: if matches!(from, WatchFrom::After(_)) { 1 } else { lists(&rig) },
                });
            }
            Step::Read { watcher, events } => {
                let count = clients.len().max(1);
                if let Some(client) = clients.get_mut(usize::from(watcher) % count) {
                    client.read(events.into(), &truth, lists(&rig));
                }
            }
            Step::Cut => {
                rig.store.cut.notify_waiters();
            }
            Step::Compact { back } => {
                let now = rig.store.store().revision().await.unwrap().0;
                rig.store.compact(Revision(now.saturating_sub(back.into()).max(1))).await.unwrap();
            }
        }
    }
    let end = truth.0.len() - 1;
    let fresh = rig.cache.fresh().await.unwrap();
    assert_eq!(fresh.revision.0, u64::try_from(end).unwrap());
    let listed: BTreeMap<String, u64> =
        fresh.range("/k/", None).map(|object| (object.key.to_string(), object.revision.0)).collect();
    assert_eq!(listed, truth.selected(0, fresh.revision.0));
    assert_eq!(fresh.count("/k/a/"), fresh.range("/k/a/", None).count());
    for value in ["0", "1", "2"] {
        let by_index: Vec<_> = names(fresh.by_index(value, "/k/").unwrap());
        let by_scan =
            fresh.range("/k/", None).filter(|object| object.header.fields.get("node") == Some(value));
        assert_eq!(by_index, names(by_scan));
    }
    for mut client in clients {
        let mut quiet = 0;
        while quiet < 30 {
            quiet = if client.read(usize::MAX, &truth, lists(&rig)) == 0 { quiet + 1 } else { 0 };
            tokio::task::yield_now().await;
        }
        if let Some(watcher) = &client.watcher {
            assert_eq!(client.list, truth.selected(client.filter, fresh.revision.0), "{watcher:?}");
            assert!(watcher.caught_up().is_some());
        }
    }
    // Every revision the history or the store still has reads as it was.
    for at in 1..=end {
        let at = u64::try_from(at).unwrap();
        match rig.cache.at(Revision(at)).await {
            Ok(snapshot) => {
                let listed =
                    snapshot.range("/k/", None).map(|object| (object.key.to_string(), object.revision.0));
                let relisted = lists(&rig) > 1;
                assert!(relisted || listed.collect::<BTreeMap<_, _>>() == truth.selected(0, at), "at {at}");
            }
            Err(Error::Compacted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

proptest! {
    #[test]
    fn a_watcher_replayed_onto_its_start_gives_what_is_there(
        steps in steps(),
        faults in any::<bool>(),
        watcher_queue_max in 1..6_usize,
        history_events_max in prop_oneof![1..8_usize, Just(1000)],
        history_bytes_max in prop_oneof![0..200_usize, Just(100_000)],
        backfill_events_max in prop_oneof![1..8_usize, Just(1000)],
        list_page_max in 1..5_usize,
    ) {
        let config =
            Config { watcher_queue_max, history_events_max, history_bytes_max, backfill_events_max, list_page_max, ..small() };
        // Without faults each revision is told by itself, which is checked then.
        let steps = steps.into_iter().filter(|step| faults || !matches!(step, Step::Cut | Step::Compact { .. })).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(steps, config));
    }

    #[test]
    fn a_cache_agrees_with_the_model(steps in conformance::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            // A cache that missed something because it was compacted tells it in sum, and that is the other test's.
            let steps = steps.into_iter().filter(|step| !matches!(step, conformance::Step::Compact { .. })).collect();
            conformance::check_against_model(Arc::new(Through::new().await), steps).await;
        });
    }
}
