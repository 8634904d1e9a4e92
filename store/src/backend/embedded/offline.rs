//! What can be done with a directory without opening it as a store: look at it, and copy it.
//!
//! It only reads, and takes no lock, so it works on the directory of a running process too: what is found then is what was on
//! disk at some time while it was read. Files may be removed meanwhile; then it is begun again.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use imbl::OrdMap;

use super::{
    super::{
        Entry, Error, Result, Revision,
        mvcc::{Deadline, Record},
    },
    disk::Directory,
    recover::{self, Fault, Found},
    snapshot, unavailable,
};
use crate::transfer::Contents;

/// How often a directory that changes is read again.
const AGAIN: u32 = 5;

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The last revision.
    pub revision: Revision,
    /// The oldest revision that can be read and watched from.
    pub oldest: Revision,
    /// How many keys there are.
    pub keys: usize,
    /// How many bytes keys and values have.
    pub bytes: u64,
    /// Whether the log ends in a write that was never acknowledged. It is cut off at the next start.
    pub torn: bool,
}

/// Reads every byte that counts, checks it, and says what there is.
///
/// # Errors
/// [`Error::Corrupt`] with the place of the damage; [`Error::Unavailable`] if the directory cannot be read or is no store.
pub fn verify(path: &Path) -> Result<Report> {
    let Found { state, torn, .. } = read(path)?;
    let weight = |record: &Arc<Record>| record.key.len() + record.value.len();
    let bytes: usize = state.records().values().map(weight).sum();
    Ok(Report {
        revision: state.revision(),
        oldest: state.compacted(),
        keys: state.records().len(),
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        torn,
    })
}

/// Writes what a directory holds at its last revision to another one, which is a store then. It is there as a whole or not at
/// all. This makes a backup, and restores one.
///
/// # Errors
/// Those of [`verify`], and [`Error::Unavailable`] if the other directory cannot be written or has files in it.
pub fn copy(from: &Path, to: &Path) -> Result<Revision> {
    let state = read(from)?.state;
    write(to, state.revision(), state.records())?;
    Ok(state.revision())
}

/// Everything a directory holds, as it is at a time in milliseconds since 1970.
///
/// # Errors
/// Those of [`verify`].
pub fn contents(from: &Path, now: u64) -> Result<Contents> {
    let state = read(from)?.state;
    let times_to_live = state.times_to_live("", Deadline(now)).into_iter().collect();
    let entries = state.records().values().map(|record| record.entry()).collect();
    Ok(Contents { entries, revision: state.revision(), times_to_live })
}

/// Makes a store that holds these entries at this revision. Keys with a time to live have it as milliseconds since 1970.
///
/// # Errors
/// As [`copy`].
pub fn import(
    to: &Path,
    revision: Revision,
    entries: impl IntoIterator<Item = (Entry, Option<u64>)>,
) -> Result<()> {
    let mut records = OrdMap::new();
    for (entry, expires) in entries {
        if entry.revision > revision {
            return Err(unavailable(format!("{} is newer than revision {revision}", entry.key)));
        }
        let key: Arc<str> = entry.key.into();
        let record = Record {
            key: Arc::clone(&key),
            value: entry.value,
            revision: entry.revision,
            expires: expires.map(Deadline),
        };
        records.insert(key, Arc::new(record));
    }
    write(to, revision, &records)
}

fn write(to: &Path, revision: Revision, records: &OrdMap<Arc<str>, Arc<Record>>) -> Result<()> {
    let failed = |error: io::Error| unavailable(format!("cannot write to {}: {error}", to.display()));
    fs::create_dir_all(to).map_err(failed)?;
    for file in fs::read_dir(to).map_err(failed)? {
        let name = file.map_err(failed)?.file_name();
        // What an interrupted copy left is replaced.
        if !name.to_string_lossy().ends_with(snapshot::UNFINISHED) {
            return Err(unavailable(format!("cannot write to {}: it is not empty", to.display())));
        }
    }
    snapshot::write(&Directory::new(to.to_owned()), revision, records, &|| false).map_err(failed)?;
    Ok(())
}

fn read(path: &Path) -> Result<Found> {
    let disk = Directory::new(path.to_owned());
    let mut tries = 0;
    loop {
        tries += 1;
        match recover::read(&disk, None) {
            Ok(found) if found.snapshot.is_none() && found.active.is_none() => {
                return Err(unavailable(format!("{} is no store", path.display())));
            }
            Ok(found) => return Ok(found),
            // A file that was listed is gone, or was written to between two looks at it.
            Err(Fault::Io(_, error))
                if error.kind() == io::ErrorKind::NotFound && path.exists() && tries < AGAIN => {}
            Err(Fault::Damaged(_)) if tries < AGAIN => std::thread::sleep(Duration::from_millis(20)),
            Err(fault) => {
                return Err(match fault.named(path) {
                    // Here nothing would have been changed in any case.
                    Error::Corrupt(text) => {
                        Error::Corrupt(text.replace("; nothing was changed, restore", "; restore"))
                    }
                    other => other,
                });
            }
        }
    }
}
