//! Snapshots: all records at one revision, in one file.
//!
//! A snapshot is written beside the log while writes go on, under a temporary name, and gets its name when it is on disk
//! as a whole. So a file with the name of a snapshot is one, or is damaged.

use std::{
    io::{self, Read},
    sync::Arc,
};

use imbl::OrdMap;

use super::{
    super::{Revision, mvcc::Record},
    Stamp,
    disk::Disk,
    format::{self, Kind, Part},
    recover::kept,
};

/// How big the frames become.
const FRAME_BYTES: usize = 1 << 20;
/// How much is written before it is synced, so that the log need not wait for more.
const SYNC_BYTES: u64 = 8 << 20;
/// What files are called that are not finished.
pub(super) const UNFINISHED: &str = ".new";

/// Writes a snapshot and returns its size. With `stop` it gives up in the middle and leaves nothing.
pub(super) fn write(
    disk: &dyn Disk,
    revision: Revision,
    records: &OrdMap<Arc<str>, Arc<Record>>,
    stop: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let name = Kind::Snapshot.name(revision);
    let unfinished = format!("{name}{UNFINISHED}");
    let written = write_unfinished(disk, &unfinished, revision, records, stop);
    match written {
        Ok(size) => {
            disk.rename(&unfinished, &name)?;
            disk.sync()?;
            Ok(size)
        }
        Err(error) => {
            // If that fails too, the next start removes it.
            let _ = disk.remove(&unfinished);
            Err(error)
        }
    }
}

fn write_unfinished(
    disk: &dyn Disk,
    name: &str,
    revision: Revision,
    records: &OrdMap<Arc<str>, Arc<Record>>,
    stop: &dyn Fn() -> bool,
) -> io::Result<u64> {
    let mut file = disk.create(name)?;
    let mut bytes = format::header(Kind::Snapshot, revision);
    let (mut offset, mut synced) = (0, 0);
    let mut rest = records.values().peekable();
    loop {
        if stop() {
            return Err(io::Error::other("the store is closing"));
        }
        let last = rest.peek().is_none();
        format::put_frame(&mut bytes, |bytes| {
            if last {
                format::put_end(bytes, u64::try_from(records.len()).unwrap_or(u64::MAX));
                return;
            }
            format::put_entries(bytes);
            while bytes.len() < FRAME_BYTES
                && let Some(record) = rest.next()
            {
                let Record { key, value, revision, expires } = &**record;
                format::put_entry(
                    bytes,
                    &format::Entry { key, value, revision: *revision, expires: *expires },
                );
            }
        });
        file.write_at(offset, &bytes)?;
        offset += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        bytes.clear();
        if last || offset - synced > SYNC_BYTES {
            file.sync()?;
            synced = offset;
        }
        if last {
            return Ok(offset);
        }
    }
}

/// Reads a snapshot. The error of kind `InvalidData` says what is wrong with it.
pub(super) fn read(
    disk: &dyn Disk,
    revision: Revision,
    stamp: Option<Stamp>,
) -> io::Result<(Vec<Record>, u64)> {
    let name = Kind::Snapshot.name(revision);
    let damaged =
        |fault: &str| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot {name} {fault}"));
    let mut reader = io::BufReader::with_capacity(FRAME_BYTES, disk.read(&name)?);
    let mut take = |len: usize| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.by_ref().take(u64::try_from(len).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        if bytes.len() == len { Ok(bytes) } else { Err(damaged("ends too early")) }
    };
    format::check_header(&take(format::HEADER_LEN)?, Kind::Snapshot, revision)
        .map_err(|fault| damaged(&fault))?;
    let mut size = format::HEADER_LEN;
    let mut records: Vec<Record> = Vec::new();
    loop {
        let head = take(format::frame_head_len())?;
        let (len, crc) = format::frame_head(&head).ok_or_else(|| damaged("ends too early"))?;
        let padded = take(format::padded(len))?;
        size += head.len() + padded.len();
        let payload = padded.get(..len).unwrap_or_default();
        let part = Some(payload).filter(|payload| format::check_payload(payload, crc)).and_then(format::part);
        match part {
            None => return Err(damaged(&format!("is damaged before byte {size}"))),
            Some(Part::Entries(entries)) => {
                for entry in entries {
                    if records.last().is_some_and(|last| *last.key >= *entry.key) || entry.revision > revision
                    {
                        return Err(damaged("is not in order"));
                    }
                    records.push(Record {
                        key: entry.key.into(),
                        value: kept(entry.value, entry.revision, stamp),
                        revision: entry.revision,
                        expires: entry.expires,
                    });
                }
            }
            Some(Part::End { count }) if u64::try_from(records.len()).is_ok_and(|len| len == count) => {
                return Ok((records, u64::try_from(size).unwrap_or(u64::MAX)));
            }
            Some(Part::End { .. }) => return Err(damaged("lacks entries")),
        }
    }
}
