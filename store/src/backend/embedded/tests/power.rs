//! A disk in memory that does what disks may do: it forgets what was not synced, in parts, when the power goes; it runs
//! full; it fails a sync and forgets what it should have synced. The writer is driven on it step by step, without its
//! thread, and after each loss of power the recovered store must be what was acknowledged, or that and the one group whose
//! outcome was not known.

use std::{collections::BTreeMap, io};

use proptest::prelude::*;

use super::{
    super::{disk::File, recover::recover, writer::Writer},
    *,
};

const SECTOR: usize = 16;

#[derive(Debug, Default)]
struct Sim {
    state: Mutex<SimState>,
}

#[derive(Debug, Default)]
struct SimState {
    files: Vec<SimFile>,
    names: BTreeMap<String, usize>,
    /// What the names are on disk, and how they changed since.
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<BTreeMap<String, usize>>,
    /// How many more operations succeed.
    good_for: Option<u32>,
    /// After that, all fail until the power is cut, or only one does.
    dead: bool,
    dice: u64,
}

#[derive(Debug, Default)]
struct SimFile {
    content: Vec<u8>,
    durable: Vec<u8>,
    /// Contents as the writes since the last sync made them.
    unsynced: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Handle {
    sim: Arc<Sim>,
    id: usize,
}

/// So that `Arc<Sim>` can be the disk and its handles can have it.
#[derive(Debug)]
struct SimDisk(Arc<Sim>);

impl SimState {
    fn dice(&mut self, sides: u64) -> u64 {
        // A linear congruential generator is random enough to lose sectors.
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % sides
    }

    /// Counts an operation. False if it fails.
    fn go(&mut self) -> io::Result<()> {
        let refused = || Err(io::Error::from(io::ErrorKind::StorageFull));
        match &mut self.good_for {
            None => Ok(()),
            Some(0) if self.dead => refused(),
            Some(0) => {
                self.good_for = None;
                refused()
            }
            Some(n) => {
                *n -= 1;
                Ok(())
            }
        }
    }

    /// What is on disk of a file after a loss of power: each sector as it was at some time since the last sync.
    fn settle(&mut self, id: usize) {
        let mut versions = vec![self.files[id].durable.clone()];
        versions.append(&mut self.files[id].unsynced);
        let pick = usize::try_from(self.dice(versions.len() as u64)).unwrap();
        // The length comes from one of them, the sectors from any that has them.
        let mut content = vec![0; versions[pick].len()];
        for start in (0..content.len()).step_by(SECTOR) {
            let end = (start + SECTOR).min(content.len());
            let pick = usize::try_from(self.dice(versions.len() as u64)).unwrap();
            for (at, byte) in (start..).zip(&mut content[start..end]) {
                *byte = versions[pick].get(at).copied().unwrap_or(0);
            }
        }
        self.files[id].durable = content;
    }

    fn cut_power(&mut self) {
        for id in 0..self.files.len() {
            self.settle(id);
            self.files[id].content = self.files[id].durable.clone();
        }
        // Names change in order, and any number of the changes came through.
        let kept = usize::try_from(self.dice(self.name_changes.len() as u64 + 1)).unwrap();
        if let Some(names) = kept.checked_sub(1).map(|last| self.name_changes[last].clone()) {
            self.durable_names = names;
        }
        self.name_changes.clear();
        self.names = self.durable_names.clone();
        self.good_for = None;
        self.dead = false;
    }

    fn named(&mut self) {
        self.name_changes.push(self.names.clone());
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.state.lock().names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn io::Read>> {
        let state = self.0.state.lock();
        let id = state.id(name)?;
        Ok(Box::new(io::Cursor::new(state.files[id].content.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let mut state = self.0.state.lock();
        state.go()?;
        let id = state.files.len();
        state.files.push(SimFile::default());
        state.names.insert(name.to_owned(), id);
        state.named();
        Ok(Box::new(Handle { sim: Arc::clone(&self.0), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let id = self.0.state.lock().id(name)?;
        Ok(Box::new(Handle { sim: Arc::clone(&self.0), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.go()?;
        let id = state.id(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), id);
        state.named();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.go()?;
        state.id(name)?;
        state.names.remove(name);
        state.named();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.go()?;
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

impl Handle {
    fn change(&self, change: impl FnOnce(&mut Vec<u8>, u64)) -> io::Result<()> {
        let mut state = self.sim.state.lock();
        let went = state.go();
        let dice = state.dice(8);
        let file = &mut state.files[self.id];
        // A write that fails may have been done in part.
        change(&mut file.content, if went.is_ok() { 0 } else { dice + 1 });
        file.unsynced.push(file.content.clone());
        went
    }
}

impl File for Handle {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        // A whole MiB of zeros for each group would only make the test slow.
        let bytes = &bytes[..bytes.len().min(4096)];
        self.change(|content, lost| {
            let bytes = &bytes[..bytes.len() - bytes.len() * usize::try_from(lost).unwrap() / 8];
            content.resize(content.len().max(offset + bytes.len()), 0);
            content[offset..offset + bytes.len()].copy_from_slice(bytes);
        })
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.change(|content, lost| {
            if lost == 0 {
                content.resize(usize::try_from(len).unwrap(), 0);
            }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.sim.state.lock();
        match state.go() {
            Ok(()) => state.files[self.id].durable = state.files[self.id].content.clone(),
            // What a failed sync should have written is written in part and forgotten; reads still show it.
            Err(error) => {
                state.settle(self.id);
                return Err(error);
            }
        }
        state.files[self.id].unsynced.clear();
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A group of writes: key and length of the value; length 0 deletes.
    Write(Vec<(u8, u8)>),
    Compact(u8),
    Snapshot,
    /// After so many operations one fails.
    Fail(u8),
    /// After so many operations all fail, until the power is cut.
    Die(u8),
    CutPower,
    /// The process ends and starts again; what it wrote stays.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => prop::collection::vec((0..6_u8, 0..60_u8), 1..5).prop_map(Step::Write),
        1 => any::<u8>().prop_map(Step::Compact),
        2 => Just(Step::Snapshot),
        2 => (0..12_u8).prop_map(Step::Fail),
        2 => (0..12_u8).prop_map(Step::Die),
        3 => Just(Step::CutPower),
        2 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..60)
}

type Contents = BTreeMap<String, (u64, Bytes)>;

struct Rig {
    sim: Arc<Sim>,
    options: Options,
    shared: Arc<Shared>,
    writer: Writer,
    /// What was acknowledged.
    sure: Contents,
    /// What there is besides if a group happened whose outcome was not known.
    perhaps: Option<Contents>,
    revision: u64,
    perhaps_revision: u64,
    compacted: u64,
}

impl Rig {
    fn start(sim: &Arc<Sim>, options: &Options) -> Option<(Arc<Shared>, Writer)> {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk(Arc::clone(sim)));
        let recovered = match recover(disk, options) {
            Ok(recovered) => recovered,
            Err(super::super::recover::Fault::Io(..)) => return None,
            Err(fault) => panic!("{fault:?}"),
        };
        let shared = Arc::new(Shared::new(recovered.state));
        let queue = Arc::new(Queue::new(0));
        let clock: SharedClock = HandClock::new();
        let writer = Writer::new(
            Arc::clone(&shared),
            queue,
            recovered.journal,
            recovered.batches,
            options.clone(),
            clock,
        );
        Some((shared, writer))
    }

    /// Starts again, perhaps after failures of the disk, which then stops failing; compares what is there.
    fn restart(&mut self) {
        let (shared, writer) = loop {
            match Self::start(&self.sim, &self.options) {
                Some(started) => break started,
                None => {
                    // The disk failed at the start; somebody makes room.
                    let mut state = self.sim.state.lock();
                    state.good_for = None;
                }
            }
        };
        (self.shared, self.writer) = (shared, writer);
        let found = self.contents();
        let revision = self.shared.revision().0;
        if Some(&found) == self.perhaps.as_ref() && revision == self.perhaps_revision {
            (self.sure, self.revision) = (found, revision);
        } else {
            assert_eq!((&found, revision), (&self.sure, self.revision));
        }
        self.perhaps = None;
        assert!(self.shared.read(|state| state.compacted()).0 >= self.compacted.min(revision));
    }

    fn contents(&self) -> Contents {
        let entries = self.shared.range(&Range::default()).unwrap().entries;
        entries.into_iter().map(|entry| (entry.key, (entry.revision.0, entry.value))).collect()
    }

    fn write(&mut self, writes: Vec<(u8, u8)>) {
        let (mut after, mut revision) = (self.sure.clone(), self.revision);
        let mut requests = Vec::new();
        let mut answers = Vec::new();
        for (key, len) in writes {
            let key = format!("/{key}");
            let value = Bytes::from(vec![key.as_bytes()[1]; usize::from(len)]);
            let op = match (after.get(&key), len) {
                (Some((at, _)), 0) => Op::Delete { key: key.as_str().into(), expected: Revision(*at) },
                (Some((at, _)), _) => Op::Update {
                    key: key.as_str().into(),
                    expected: Revision(*at),
                    value: value.clone(),
                    expires: None,
                },
                (None, 0) => continue,
                (None, _) => Op::Create { key: key.as_str().into(), value: value.clone(), expires: None },
            };
            revision += 1;
            if len == 0 {
                after.remove(&key);
            } else {
                after.insert(key, (revision, value));
            }
            let (reply, answer) = oneshot::channel();
            requests.push(Request { action: Action::Write(op), reply });
            answers.push((answer, revision));
        }
        if requests.is_empty() {
            return;
        }
        self.writer.commit(requests);
        let results: Vec<_> =
            answers.into_iter().map(|(mut answer, at)| (answer.try_recv().unwrap(), at)).collect();
        if results.iter().all(|(result, _)| result.is_ok()) {
            assert!(results.iter().all(|(result, at)| result.as_ref().is_ok_and(|found| found.0 == *at)));
            (self.sure, self.revision) = (after, revision);
            self.perhaps = None;
        } else {
            for (result, _) in results {
                match result {
                    Err(error) if error.is_outcome_unknown() => {
                        (self.perhaps, self.perhaps_revision) = (Some(after.clone()), revision);
                    }
                    // The disk of this test fails by running full.
                    Err(Error::NoSpace { .. }) => {}
                    other => panic!("a group fails as a whole: {other:?}"),
                }
            }
        }
        // In the process that goes on, what was refused did not happen.
        assert_eq!((&self.contents(), self.shared.revision().0), (&self.sure, self.revision));
    }

    fn compact(&mut self, back: u8) {
        let at = self.revision.saturating_sub(u64::from(back % 16)).max(1);
        let (reply, mut answer) = oneshot::channel();
        self.writer.commit(vec![Request { action: Action::Compact(Revision(at)), reply }]);
        if answer.try_recv().unwrap().is_ok() {
            self.compacted = self.compacted.max(at);
        }
    }
}

fn check(steps: Vec<Step>, segment_bytes_max: u64, seed: u64) {
    let sim = Arc::new(Sim::default());
    sim.state.lock().dice = seed;
    let options = Options { segment_bytes_max, ..Options::default() };
    let (shared, writer) = Rig::start(&sim, &options).unwrap();
    let mut rig = Rig {
        sim,
        options,
        shared,
        writer,
        sure: Contents::new(),
        perhaps: None,
        revision: 1,
        perhaps_revision: 0,
        compacted: 1,
    };
    for step in steps {
        match step {
            Step::Write(writes) => rig.write(writes),
            Step::Compact(back) => rig.compact(back),
            Step::Snapshot => rig.writer.snapshot_now(),
            Step::Fail(after) => {
                let mut state = rig.sim.state.lock();
                (state.good_for, state.dead) = (Some(after.into()), false);
            }
            Step::Die(after) => {
                let mut state = rig.sim.state.lock();
                (state.good_for, state.dead) = (Some(after.into()), true);
            }
            Step::CutPower => {
                rig.sim.state.lock().cut_power();
                rig.restart();
            }
            Step::Restart => rig.restart(),
        }
    }
    rig.sim.state.lock().cut_power();
    rig.restart();
    rig.write(vec![(0, 1), (1, 1)]);
    rig.restart();
}

proptest! {
    #[test]
    fn what_was_acknowledged_survives_whatever_the_disk_does(
        steps in steps(),
        segment_bytes_max in prop_oneof![Just(64_u64), 100..2000_u64],
        seed in any::<u64>(),
    ) {
        check(steps, segment_bytes_max, seed);
    }
}
