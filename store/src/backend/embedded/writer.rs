//! The writer: a thread of its own, because a sync of the disk blocks.
//!
//! It takes all writes that wait, decides them one after the other, puts them on disk as one group, makes them visible and
//! answers. While the disk is busy with one group, the next one gathers; no timer is needed for that.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use runtime::SharedClock;
use tokio::sync::oneshot;

use super::{
    super::{
        Error, Result, Revision,
        mvcc::{self, Change, Deadline, Op, Shared, State},
    },
    Options,
    journal::{Journal, Stamp},
    recover::Batch,
    snapshot,
};

/// How many writes go into one group at the most.
const GROUP_MAX: usize = 4096;
/// How many bytes of values, about.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// How many keys expire in one go at the most.
const EXPIRE_MAX: usize = 1000;
/// How long the writer sleeps at the most while it waits for a time, since the clock may be set.
const NAP_MAX: Duration = Duration::from_secs(60);
/// How long it waits after a snapshot failed.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(60);
/// How long it waits to try again when the disk refused what nobody waits for.
const RETRY: Duration = Duration::from_secs(1);

/// Writes that wait, and the handle to wake the writer.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    /// How many bytes the files have.
    size: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    requests: VecDeque<Request>,
    nudged: bool,
    stopped: bool,
}

/// A write, and where its answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) action: Action,
    pub(super) reply: oneshot::Sender<Result<Revision>>,
}

#[derive(Debug)]
pub(super) enum Action {
    Write(Op),
    Compact(Revision),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    journal: Journal,
    /// The groups of the history, oldest first.
    batches: VecDeque<Batch>,
    /// How many bytes of overwritten values they keep.
    history_bytes: usize,
    /// How many bytes keys and values have, about.
    live_bytes: u64,
    snapshot: Option<Snapshotting>,
    /// Not before this time expiries are written, after they could not be.
    not_before: u64,
    /// Not before this time a snapshot is tried, after one failed.
    snapshot_not_before: u64,
    options: Options,
    clock: SharedClock,
}

struct Snapshotting {
    revision: Revision,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<u64>>,
}

/// Answers those who wait when the writer ends, however it does.
struct Gone(Arc<Queue>);

impl Drop for Gone {
    fn drop(&mut self) {
        let mut inner = self.0.inner.lock();
        inner.stopped = true;
        // Their senders are dropped, which is an answer.
        inner.requests.clear();
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(clock: &SharedClock) -> u64 {
    u64::try_from(clock.now().as_millisecond()).unwrap_or_default()
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(size: u64) -> Self {
        Self { inner: Mutex::default(), wake: Condvar::new(), size: AtomicU64::new(size) }
    }

    /// False if the writer has stopped.
    pub(super) fn push(&self, request: Request) -> bool {
        let mut inner = self.inner.lock();
        if inner.stopped {
            return false;
        }
        inner.requests.push_back(request);
        drop(inner);
        self.wake.notify_one();
        true
    }

    pub(super) fn stop(&self) {
        self.inner.lock().stopped = true;
        self.wake.notify_one();
    }

    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn nudge(&self) {
        self.inner.lock().nudged = true;
        self.wake.notify_one();
    }

    /// Waits for requests, for `nap` at the most, and takes what fits in a group. None when stopped and empty.
    fn take(&self, nap: Option<Duration>) -> Option<Vec<Request>> {
        let mut inner = self.inner.lock();
        if inner.requests.is_empty() && !inner.nudged && !inner.stopped {
            match nap {
                Some(nap) => drop(self.wake.wait_for(&mut inner, nap)),
                None => self.wake.wait(&mut inner),
            }
        }
        inner.nudged = false;
        if inner.requests.is_empty() && inner.stopped {
            return None;
        }
        let mut bytes = 0;
        let fits = |request: &Request| {
            bytes += match &request.action {
                Action::Write(Op::Create { value, .. } | Op::Update { value, .. }) => value.len(),
                Action::Write(Op::Delete { .. }) | Action::Compact(_) => 0,
            };
            bytes < GROUP_BYTES_MAX
        };
        let fitting = inner.requests.iter().take(GROUP_MAX).map(fits).take_while(|fits| *fits).count();
        let count = fitting.max(1).min(inner.requests.len());
        Some(inner.requests.drain(..count).collect())
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: Arc<Queue>,
        journal: Journal,
        mut batches: Vec<Batch>,
        options: Options,
        clock: SharedClock,
    ) -> Self {
        // Downtime does not age the history.
        let now = millis(&clock);
        if let Some(last) = batches.last().map(|batch| batch.time) {
            for batch in &mut batches {
                batch.time = now.saturating_sub(last.saturating_sub(batch.time));
            }
        }
        let live_bytes = shared.read(|state| state.records().values().map(|record| weight(record)).sum());
        let history_bytes = batches.iter().map(|batch| batch.bytes).sum();
        Self {
            shared,
            queue,
            journal,
            batches: batches.into(),
            history_bytes,
            live_bytes,
            snapshot: None,
            not_before: 0,
            snapshot_not_before: 0,
            options,
            clock,
        }
    }

    pub(super) fn run(mut self) {
        let _gone = Gone(Arc::clone(&self.queue));
        self.keep_history();
        while let Some(requests) = self.queue.take(self.nap()) {
            self.commit(requests);
            self.keep_history();
            self.keep_snapshot();
            self.queue.size.store(self.journal.size(), Ordering::Relaxed);
        }
        if let Some(snapshot) = self.snapshot.take() {
            snapshot.stop.store(true, Ordering::Relaxed);
            self.finish_snapshot(snapshot);
        }
        self.journal.close(millis(&self.clock));
    }

    /// Until the next time something is to be done unasked; None if there is nothing.
    fn nap(&self) -> Option<Duration> {
        let expiry = self.shared.read(State::next_deadline).map(|Deadline(at)| at.max(self.not_before));
        let age_max = u64::try_from(self.options.history_age_max.as_millis()).unwrap_or(u64::MAX);
        let history = self.batches.front().map(|batch| batch.time.saturating_add(age_max));
        let at = [expiry, history].into_iter().flatten().min()?;
        Some(Duration::from_millis(at.saturating_sub(millis(&self.clock)).max(1)).min(NAP_MAX))
    }

    /// Decides, writes, applies and answers.
    pub(super) fn commit(&mut self, requests: Vec<Request>) {
        let now = millis(&self.clock);
        let expire = now >= self.not_before;
        let mut compact = None;
        let (changes, answers) = self.shared.read(|state| {
            let mut batch = mvcc::Batch::on(state).stamped(self.options.stamp);
            let expired = if expire { state.expired(Deadline(now), EXPIRE_MAX) } else { Vec::new() };
            for op in expired {
                let decided = batch.push(op);
                debug_assert!(decided.is_ok(), "an expired record is there at its own revision");
            }
            let answers: Vec<_> = requests
                .into_iter()
                .map(|Request { action, reply }| {
                    let answer = match action {
                        Action::Write(op) => batch.push(op),
                        Action::Compact(asked) if asked > state.revision() => {
                            Err(Error::Future { asked, current: state.revision() })
                        }
                        Action::Compact(asked) => {
                            compact = compact.max(Some(asked));
                            Ok(asked)
                        }
                    };
                    (reply, answer)
                })
                .collect();
            (batch.into_changes(), answers)
        });
        if !changes.is_empty() || compact.is_some() {
            let stamp = Stamp { time: now, compact, closed: false };
            if let Err(failure) = self.journal.append(&changes, stamp) {
                tracing::error!(reason = failure.reason, "write refused");
                self.not_before = now.saturating_add(u64::try_from(RETRY.as_millis()).unwrap_or_default());
                for (reply, _) in answers {
                    // Even a refusal may rest on a write of the same group that did not happen.
                    let _ = reply.send(Err(failure.error()));
                }
                return;
            }
            self.account(&changes, now);
            self.shared.write(|_| (changes, ()));
            if let Some(revision) = compact {
                // It is not in the future, as was checked.
                let _ = self.shared.compact(revision);
            }
        }
        for (reply, answer) in answers {
            // Who does not listen any more has gone; the write stays.
            let _ = reply.send(answer);
        }
    }

    fn account(&mut self, changes: &[Change], time: u64) {
        let Some(last) = changes.last().map(|change| change.revision) else { return };
        let mut bytes = 0;
        for change in changes {
            if let Some(previous) = &change.previous {
                bytes += previous.value.len();
                self.live_bytes = self.live_bytes.saturating_sub(weight(previous));
            }
            self.live_bytes += change.current.as_ref().map_or(0, |record| weight(record));
        }
        self.history_bytes += bytes;
        self.batches.push_back(Batch { time, last, bytes });
    }

    /// Forgets what is too old or too much.
    fn keep_history(&mut self) {
        let (now, revision) = (millis(&self.clock), self.shared.revision());
        let age_max = u64::try_from(self.options.history_age_max.as_millis()).unwrap_or(u64::MAX);
        let events_max = u64::try_from(self.options.history_events_max).unwrap_or(u64::MAX);
        let mut target = None;
        while let Some(batch) = self.batches.front().copied()
            && (now.saturating_sub(batch.time) >= age_max
                || revision.saturating_sub(*batch.last) >= events_max
                || self.history_bytes > self.options.history_bytes_max)
        {
            self.batches.pop_front();
            self.history_bytes = self.history_bytes.saturating_sub(batch.bytes);
            target = Some(batch.last);
        }
        if let Some(target) = target {
            // It is a revision of the past, and going back does nothing.
            let _ = self.shared.compact(target);
        }
    }

    // --- snapshots ---

    fn keep_snapshot(&mut self) {
        if let Some(snapshot) = self.snapshot.take_if(|snapshot| snapshot.thread.is_finished()) {
            self.finish_snapshot(snapshot);
        }
        let compacted = self.shared.read(State::compacted);
        let enough = self.options.snapshot_bytes_min.max(self.live_bytes);
        let may = self.snapshot.is_none() && millis(&self.clock) >= self.snapshot_not_before;
        if may && self.journal.superfluous(compacted) >= enough {
            self.begin_snapshot();
        }
    }

    /// A snapshot is of the oldest revision that can be read, so that the log has the whole history after it.
    fn begin_snapshot(&mut self) {
        let (state, revision) = self.shared.read(|state| (state.past(), state.compacted()));
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, disk, queue) = (Arc::clone(&stop), self.journal.disk(), Arc::clone(&self.queue));
        let thread = std::thread::Builder::new().name("store-snapshot".to_owned()).spawn(move || {
            let written =
                snapshot::write(&*disk, revision, &state.into_records(), &|| stopped.load(Ordering::Relaxed));
            queue.nudge();
            written
        });
        match thread {
            Ok(thread) => self.snapshot = Some(Snapshotting { revision, stop, thread }),
            Err(error) => tracing::warn!(%error, "cannot start a snapshot, the log grows on"),
        }
    }

    /// Takes a snapshot and waits for it.
    #[cfg(test)]
    pub(super) fn snapshot_now(&mut self) {
        self.begin_snapshot();
        if let Some(snapshot) = self.snapshot.take() {
            self.finish_snapshot(snapshot);
        }
    }

    fn finish_snapshot(&mut self, snapshot: Snapshotting) {
        match snapshot.thread.join() {
            Ok(Ok(size)) => {
                tracing::debug!(revision = %snapshot.revision, size, "snapshot taken");
                self.journal.snapshot_taken(snapshot.revision, size);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot take a snapshot, the log grows on");
                let retry = u64::try_from(SNAPSHOT_RETRY.as_millis()).unwrap_or_default();
                self.snapshot_not_before = millis(&self.clock).saturating_add(retry);
            }
            Err(_) => tracing::error!("the snapshot thread panicked"),
        }
    }
}

fn weight(record: &mvcc::Record) -> u64 {
    u64::try_from(record.key.len() + record.value.len()).unwrap_or(u64::MAX)
}
