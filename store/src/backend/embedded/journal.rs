//! The files: where the next group goes, and which files are still needed.
//!
//! The log is a row of files. The last one is written to; it is filled with zeros ahead of the writing, because then a
//! sync need not write the file's length too, which halves its time. When it is long enough the next one is begun.
//!
//! After a failure nothing is known of what the file has, so it is left alone: a new file is begun at the last revision
//! that is certain. The recovery takes a file only up to where the next one begins.

use std::{io, sync::Arc};

use super::{
    super::{Error, Revision, mvcc::Change},
    Options,
    disk::{Disk, File},
    format::{self, Kind, Record},
    snapshot::UNFINISHED,
};

/// How far ahead a file is filled with zeros.
const AHEAD: u64 = 1 << 20;
/// Groups as big as this gain nothing from it.
const AHEAD_GROUP_MAX: usize = 256 << 10;
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

#[derive(Debug)]
pub(super) struct Journal {
    disk: Arc<dyn Disk>,
    /// Finished files with their sizes, oldest first.
    sealed: Vec<(Revision, u64)>,
    active: Active,
    snapshot: Option<(Revision, u64)>,
    /// The last revision that is on disk.
    durable: Revision,
    /// The last compaction that is on disk.
    compacted: Revision,
    /// Why the active file must not be written to, until a new one is begun.
    broken: Option<String>,
    segment_bytes_max: u64,
    fsync: bool,
    buffer: Vec<u8>,
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) start: Revision,
    pub(super) file: Box<dyn File>,
    /// Where the next group goes.
    pub(super) end: u64,
    /// Up to where the file has zeros.
    pub(super) filled: u64,
}

/// A group that could not be written.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The group may be found in the log if the process ends now.
    pub(super) outcome_unknown: bool,
    /// The disk is full: it is not broken, and will do once there is room.
    pub(super) no_space: bool,
}

/// What there is to write besides changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// Milliseconds since 1970.
    pub(super) time: u64,
    pub(super) compact: Option<Revision>,
    /// Nothing more will be written by this process.
    pub(super) closed: bool,
}

// === impl Journal ===

impl Journal {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        sealed: Vec<(Revision, u64)>,
        active: Active,
        snapshot: Option<(Revision, u64)>,
        (durable, compacted): (Revision, Revision),
        options: &Options,
    ) -> Self {
        Self {
            disk,
            sealed,
            active,
            snapshot,
            durable,
            compacted,
            broken: None,
            segment_bytes_max: options.segment_bytes_max,
            fsync: options.fsync,
            buffer: Vec::new(),
        }
    }

    pub(super) fn disk(&self) -> Arc<dyn Disk> {
        Arc::clone(&self.disk)
    }

    /// How many bytes the files have.
    pub(super) fn size(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|(_, size)| size).sum();
        sealed + self.active.end.max(self.active.filled) + self.snapshot.map_or(0, |(_, size)| size)
    }

    /// Puts a group on disk. When this returns, it is there, or the failure says what is known.
    pub(super) fn append(&mut self, changes: &[Change], stamp: Stamp) -> Result<(), Failure> {
        if let Some(reason) = self.broken.clone()
            && let Err(error) = self.begin_segment()
        {
            return Err(Failure {
                reason: format!("{reason}; and no new file can be begun: {}", error.source),
                outcome_unknown: false,
                no_space: is_no_space(&error.source),
            });
        }
        self.encode(changes, stamp);
        if let Err(error) = self.write() {
            let reason = format!("cannot write to the log: {error}");
            self.broken = Some(reason.clone());
            // With a new file begun, the failed group is no longer part of the log, whatever the old one has.
            let outcome_unknown = self.begin_segment().is_err();
            return Err(Failure { reason, outcome_unknown, no_space: is_no_space(&error) });
        }
        self.durable = changes.last().map_or(self.durable, |change| change.revision);
        self.compacted = self.compacted.max(stamp.compact.unwrap_or_default());
        if self.active.end >= self.segment_bytes_max
            && self.active.start < self.durable
            && let Err(error) = self.begin_segment()
        {
            // The group is written, and the file can take more, unless the new one may be found beside it.
            tracing::warn!(error = %error.source, "cannot begin a new log file");
            self.broken = error.named.then(|| format!("cannot begin a new log file: {}", error.source));
        }
        Ok(())
    }

    fn encode(&mut self, changes: &[Change], stamp: Stamp) {
        let buffer = &mut self.buffer;
        buffer.clear();
        let first = changes.first().map_or(self.durable.next(), |change| change.revision);
        let count = changes.len() + usize::from(stamp.compact.is_some()) + usize::from(stamp.closed);
        format::put_group(buffer, first, stamp.time, count, |bytes| {
            for change in changes {
                let record = match &change.current {
                    Some(record) => {
                        Record::Put { key: &record.key, value: &record.value, expires: record.expires }
                    }
                    None => Record::Delete { key: &change.key },
                };
                format::put_record(bytes, &record);
            }
            if let Some(revision) = stamp.compact {
                format::put_record(bytes, &Record::Compact { revision });
            }
            if stamp.closed {
                format::put_record(bytes, &Record::Closed);
            }
        });
    }

    /// Says in the log that it ends here. If that fails it ends as after a crash, which is as good.
    pub(super) fn close(&mut self, time: u64) {
        if self.broken.is_some() {
            return;
        }
        self.encode(&[], Stamp { time, compact: None, closed: true });
        let written = self.write();
        // Nothing is to be filled ahead any more.
        if let Err(error) = written.and_then(|()| self.active.file.truncate(self.active.end)) {
            tracing::debug!(%error, "the end of the log was not marked");
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Active { file, end, filled, .. } = &mut self.active;
        file.write_at(*end, &self.buffer)?;
        let next = *end + u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        if next > *filled && self.buffer.len() < AHEAD_GROUP_MAX {
            // Only for speed: a disk that has no room for it may have room for the group.
            match file.write_at(next, &ZEROS) {
                Ok(()) => *filled = next + AHEAD,
                Err(error) => tracing::debug!(%error, "cannot fill the log ahead"),
            }
        }
        if self.fsync {
            file.sync()?;
        }
        *end = next;
        if self.buffer.capacity() > 4 * AHEAD_GROUP_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    /// Begins a new file after the last durable revision.
    fn begin_segment(&mut self) -> Result<(), BeginError> {
        let active = begin(&*self.disk, self.durable, self.compacted)?;
        let old = std::mem::replace(&mut self.active, active);
        // A file without a single group had the same name, and was replaced.
        if old.start < self.durable {
            let mut file = old.file;
            // Only to save room. After a failure what is behind the end is not ours to know.
            if file.truncate(old.end).is_err() {
                tracing::debug!("cannot cut a finished log file to its length");
            }
            self.sealed.push((old.start, old.end));
        }
        if let Some(reason) = self.broken.take() {
            tracing::warn!(reason, "writing again, to a new log file");
        }
        Ok(())
    }

    /// How many bytes of log a snapshot at `revision` would make superfluous.
    pub(super) fn superfluous(&self, revision: Revision) -> u64 {
        let superfluous = self.superfluous_segments(revision);
        self.sealed.iter().take(superfluous).map(|(_, size)| size).sum()
    }

    /// A file is superfluous when the next one begins at or before the revision.
    fn superfluous_segments(&self, revision: Revision) -> usize {
        let starts = self.sealed.iter().map(|(start, _)| *start).skip(1).chain([self.active.start]);
        starts.take(self.sealed.len()).take_while(|next| *next <= revision).count()
    }

    /// A snapshot is on disk: removes what it replaces.
    pub(super) fn snapshot_taken(&mut self, revision: Revision, size: u64) {
        let superfluous = self.superfluous_segments(revision);
        let mut remove: Vec<String> =
            self.sealed.drain(..superfluous).map(|(start, _)| Kind::Log.name(start)).collect();
        if let Some((old, _)) = self.snapshot.replace((revision, size))
            && old != revision
        {
            remove.push(Kind::Snapshot.name(old));
        }
        for name in remove {
            // What stays is removed at the next start.
            if let Err(error) = self.disk.remove(&name) {
                tracing::warn!(name, %error, "cannot remove a file that is no longer needed");
            }
        }
    }
}

fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

// === impl Failure ===

impl Failure {
    pub(super) fn error(&self) -> Error {
        let (reason, outcome_unknown) = (self.reason.clone(), self.outcome_unknown);
        if self.no_space {
            let reason = format!("the disk of the store is full: {reason}");
            return Error::NoSpace { reason, outcome_unknown };
        }
        Error::Unavailable { reason, outcome_unknown }
    }
}

/// Why no new file was begun.
#[derive(Debug)]
pub(super) struct BeginError {
    pub(super) source: io::Error,
    /// It may have got its name all the same. Then the file before counts only up to it.
    named: bool,
}

/// Makes a new log file that is on disk for certain. It says again how far the history was compacted: the file that said
/// it before counts only up to this one.
pub(super) fn begin(disk: &dyn Disk, start: Revision, compacted: Revision) -> Result<Active, BeginError> {
    let name = Kind::Log.name(start);
    let unfinished = format!("{name}{UNFINISHED}");
    let mut header = format::header(Kind::Log, start);
    if compacted > Revision::FIRST {
        format::put_group(&mut header, start.next(), 0, 1, |bytes| {
            format::put_record(bytes, &Record::Compact { revision: compacted });
        });
    }
    let write = || {
        let mut file = disk.create(&unfinished)?;
        file.write_at(0, &header)?;
        file.sync()?;
        Ok(file)
    };
    let file = write().map_err(|source| BeginError { source, named: false })?;
    let name = || {
        disk.rename(&unfinished, &name)?;
        disk.sync()
    };
    name().map_err(|source| BeginError { source, named: true })?;
    let end = u64::try_from(header.len()).unwrap_or(u64::MAX);
    Ok(Active { start, file, end, filled: end })
}
