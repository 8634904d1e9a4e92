//! From the files to the state.
//!
//! The newest snapshot, then the log from there on. Each file of the log counts up to where the next one begins; the last
//! one up to its last whole group. If something whole follows something broken, or something is missing between two
//! files, the data is damaged: then nothing is touched, and people must decide.

use std::{io, io::Read, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    super::{
        Error, Revision,
        mvcc::{Change, Record, State},
    },
    Options, Stamp,
    disk::Disk,
    format::{self, Frame, Kind},
    journal::{Active, Journal, begin},
    snapshot::{self, UNFINISHED},
};

#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) state: State,
    pub(super) journal: Journal,
    /// When which revisions were written.
    pub(super) batches: Vec<Batch>,
}

/// A group of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// Milliseconds since 1970.
    pub(super) time: u64,
    /// The last revision of the group.
    pub(super) last: Revision,
    /// How many bytes of values it overwrote, which the history keeps.
    pub(super) bytes: usize,
}

/// Why a directory cannot be opened.
#[derive(Debug)]
pub(super) enum Fault {
    Io(String, io::Error),
    Damaged(String),
}

// === impl Fault ===

impl Fault {
    pub(super) fn named(self, path: &Path) -> Error {
        let path = path.display();
        match self {
            Self::Io(doing, error) => Error::Unavailable {
                reason: format!("cannot {doing} in data directory {path}: {error}"),
                outcome_unknown: false,
            },
            Self::Damaged(fault) => Error::Corrupt(format!(
                "data directory {path}: {fault}; nothing was changed, restore the directory from a backup"
            )),
        }
    }
}

fn io_fault(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Fault {
    let doing = doing.into();
    |error| match error.kind() {
        io::ErrorKind::InvalidData => Fault::Damaged(error.to_string()),
        _ => Fault::Io(doing, error),
    }
}

/// What a directory holds, as it was found; nothing was changed for it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) batches: Vec<Batch>,
    pub(super) snapshot: Option<(Revision, u64)>,
    pub(super) sealed: Vec<(Revision, u64)>,
    /// The last file of the log, where its last whole group ends, and its version.
    pub(super) active: Option<(Revision, usize, u16)>,
    /// Whether something unfinished comes after that.
    pub(super) torn: bool,
    /// Files that are not needed any more.
    pub(super) unneeded: Vec<String>,
}

/// Reads what is there.
pub(super) fn read(disk: &dyn Disk, stamp: Option<Stamp>) -> Result<Found, Fault> {
    let names = disk.list().map_err(io_fault("list the files"))?;
    let starts = |kind: Kind| -> Vec<Revision> { names.iter().filter_map(|name| kind.start(name)).collect() };
    let (snapshots, logs) = (starts(Kind::Snapshot), starts(Kind::Log));

    let (mut state, snapshot) = match snapshots.last() {
        Some(&revision) => {
            let (records, size) =
                snapshot::read(disk, revision, stamp).map_err(io_fault("read the snapshot"))?;
            (State::at(revision, records), Some((revision, size)))
        }
        None => (State::default(), None),
    };
    // Those before the last one that begins at or before the snapshot are superfluous, and were not removed in time.
    let needed = logs.iter().rposition(|start| *start <= state.revision()).unwrap_or(0);
    let (superfluous, logs) = logs.split_at_checked(needed).unwrap_or_default();

    let mut batches = Vec::new();
    let mut sealed = Vec::new();
    let (mut active, mut torn) = (None, false);
    for (n, &start) in logs.iter().enumerate() {
        let next = logs.get(n + 1).copied();
        let Replayed { version, end, broken } = replay(disk, (start, next), stamp, &mut state, &mut batches)?;
        match next {
            Some(_) => sealed.push((start, u64::try_from(end).unwrap_or(u64::MAX))),
            None => (active, torn) = (Some((start, end, version)), broken),
        }
    }
    let unneeded = |name: &&String| {
        name.ends_with(UNFINISHED)
            || Kind::Snapshot.start(name).is_some_and(|start| Some(&start) != snapshots.last())
            || Kind::Log.start(name).is_some_and(|start| superfluous.contains(&start))
    };
    let unneeded = names.iter().filter(unneeded).cloned().collect();
    Ok(Found { state, batches, snapshot, sealed, active, torn, unneeded })
}

/// Reads what is there, or begins a new store.
pub(super) fn recover(disk: Arc<dyn Disk>, options: &Options) -> Result<Recovered, Fault> {
    let Found { state, batches, snapshot, mut sealed, active, torn, unneeded } = read(&*disk, options.stamp)?;
    // From here on the directory is sound, and may be changed.
    for name in &unneeded {
        disk.remove(name).map_err(io_fault(format!("remove {name}")))?;
    }
    let begin = || {
        let begun = begin(&*disk, state.revision(), state.compacted());
        begun.map_err(|error| Fault::Io("begin the log".to_owned(), error.source))
    };
    let active = match active {
        Some((start, end, version)) => {
            if torn {
                let revision = state.revision();
                tracing::warn!(%revision, "the log ends in an unfinished write, which nobody was told of: it is cut off");
            }
            let active = resume(&*disk, start, end).map_err(io_fault("open the log"))?;
            if version == format::VERSION {
                active
            } else {
                tracing::info!(
                    from = version,
                    to = format::VERSION,
                    "the data directory is of an older format, and goes on in the new one"
                );
                let new = begin()?;
                // Without a single group it had the same name, and was replaced.
                if start < state.revision() {
                    sealed.push((start, active.end));
                }
                new
            }
        }
        None => begin()?,
    };
    let journal =
        Journal::new(disk, sealed, active, snapshot, (state.revision(), state.compacted()), options);
    Ok(Recovered { state, journal, batches })
}

/// A file of the log, after it was read.
struct Replayed {
    version: u16,
    /// Where its last whole group ends.
    end: usize,
    /// Whether something unfinished follows.
    broken: bool,
}

/// Applies one file of the log, which counts up to where the `next` one begins.
fn replay(
    disk: &dyn Disk,
    (start, next): (Revision, Option<Revision>),
    stamp: Option<Stamp>,
    state: &mut State,
    batches: &mut Vec<Batch>,
) -> Result<Replayed, Fault> {
    let name = Kind::Log.name(start);
    let damaged = |fault: String| Fault::Damaged(format!("log file {name} {fault}"));
    let mut bytes = Vec::new();
    disk.read(&name)
        .and_then(|mut reader| reader.read_to_end(&mut bytes))
        .map_err(io_fault(format!("read {name}")))?;
    let version = format::check_header(&bytes, Kind::Log, start).map_err(damaged)?;
    if start > state.revision() {
        return Err(damaged(format!(
            "begins after revision {start}, what follows revision {} is missing",
            state.revision()
        )));
    }
    let mut at = format::HEADER_LEN;
    // What the file has come to; it may begin before the snapshot.
    let mut reached = start;
    let mut broken = false;
    while next.is_none_or(|next| reached < next) {
        let (payload, after) = match format::frame(&bytes, at) {
            Frame::Whole { payload, next } => (payload, next),
            end @ (Frame::End | Frame::Broken) => {
                broken = end == Frame::Broken;
                if let Some(next) = next {
                    return Err(damaged(format!(
                        "is damaged at byte {at}: revisions after {reached} up to {next} are missing"
                    )));
                }
                if let Some(whole) = format::whole_frame_after(&bytes, at, reached) {
                    return Err(damaged(format!(
                        "is damaged at byte {at}, after revision {reached}, and goes on at byte {whole}"
                    )));
                }
                break;
            }
        };
        let group =
            format::group(payload).ok_or_else(|| damaged(format!("cannot be understood at byte {at}")))?;
        if group.first != reached.next() {
            return Err(damaged(format!(
                "goes on with revision {} after {reached} at byte {at}",
                group.first
            )));
        }
        let mut overwritten = 0;
        for record in group.records {
            match record {
                format::Record::Compact { revision } => {
                    // The snapshot may be of a later revision already.
                    if revision <= state.revision() {
                        let _ = state.compact(revision);
                    }
                    continue;
                }
                format::Record::Closed => continue,
                format::Record::Put { .. } | format::Record::Delete { .. } => {}
            }
            reached = reached.next();
            if reached > state.revision() {
                overwritten += apply(state, reached, record, stamp).map_err(damaged)?;
            }
        }
        if next.is_some_and(|next| reached > next) {
            return Err(damaged(format!(
                "has revision {reached}, and the next file begins inside its group"
            )));
        }
        if reached > state.compacted() && group.first <= reached {
            batches.push(Batch { time: group.time, last: reached, bytes: overwritten });
        }
        at = after;
    }
    Ok(Replayed { version, end: at, broken })
}

/// Applies one write and returns how many bytes it overwrote.
fn apply(
    state: &mut State,
    revision: Revision,
    record: format::Record<'_>,
    stamp: Option<Stamp>,
) -> Result<usize, String> {
    let (key, put) = match record {
        format::Record::Put { key, value, expires } => (key, Some((value, expires))),
        format::Record::Delete { key } => (key, None),
        format::Record::Compact { .. } | format::Record::Closed => return Ok(0),
    };
    let previous = state.get(key).cloned();
    if previous.is_none() && put.is_none() {
        return Err(format!("deletes at revision {revision} a key that is not there: {key}"));
    }
    let overwritten = previous.as_ref().map_or(0, |record| record.value.len());
    let key = previous.as_ref().map_or_else(|| Arc::from(key), |record| Arc::clone(&record.key));
    let current = put.map(|(value, expires)| {
        let value = kept(value, revision, stamp);
        Arc::new(Record { key: Arc::clone(&key), value, revision, expires })
    });
    state.apply(Arc::new(Change { revision, key, previous, current }));
    Ok(overwritten)
}

/// What is kept of a value that was read: on its own, so that none keeps another in memory.
pub(super) fn kept(value: &[u8], revision: Revision, stamp: Option<Stamp>) -> Bytes {
    stamp.and_then(|stamp| stamp(value, revision)).unwrap_or_else(|| Bytes::copy_from_slice(value))
}

/// Opens the last file to go on after its last whole group. What comes after that was never acknowledged and is cut off.
/// What is kept may not have been acknowledged either, but is served from now on, so it must be on disk.
fn resume(disk: &dyn Disk, start: Revision, end: usize) -> io::Result<Active> {
    // The same goes for its name: the process before may have ended between the two.
    disk.sync()?;
    let mut file = disk.open(&Kind::Log.name(start))?;
    let end = u64::try_from(end).unwrap_or(u64::MAX);
    file.truncate(end)?;
    file.sync()?;
    Ok(Active { start, file, end, filled: end })
}
