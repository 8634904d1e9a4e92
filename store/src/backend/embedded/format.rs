//! What the files look like. Numbers are little-endian.
//!
//! ```text
//! file      header frame*
//! header    "BINNACLE" kind:u8 0:u8 version:u16 0:u32 start:u64 crc:u32 0:u32          32 bytes, crc of the 24 before
//! frame     len:u32 crc:u32 payload padding                 crc of len and payload; padded with zeros to 8 bytes
//!
//! log       log-<start>           start: the revision before the first in it
//! payload   first:u64 time:u64 count:u32 record*            one group of writes; time in milliseconds since 1970
//! record    1:u8 expires:u64 key value | 2:u8 key | 3:u8 revision:u64 | 4:u8      put, delete, compact, closed
//!
//! snapshot  snapshot-<start>      start: the revision it is of
//! payload   0:u8 entry*  |  1:u8 count:u64                  entries in the order of their keys, and the end with their count
//! entry     revision:u64 expires:u64 key value
//!
//! key, value  len:u32 bytes         expires: milliseconds since 1970, 0 for never
//! ```
//!
//! A group is one frame, so it is in the log as a whole or not at all, and a frame is begun only when the one before is
//! on disk. So after a frame that is not whole there can be no whole one, unless the file is damaged. Where a length of 0
//! would begin a frame the log ends: files are filled with zeros ahead of the writing.
//!
//! A store that is closed in peace writes so (`closed`) as a group of its own. Then the last write is not the last frame, and
//! damage to it cannot be taken for an unfinished end.
//!
//! Versions: 1 had no `closed`. Files of older versions are read, and never written to: who opens a directory begins a new file,
//! and the old ones go as the log moves on.

use bytes::{Buf, BufMut};

use super::super::{Revision, mvcc::Deadline};

pub(super) const HEADER_LEN: usize = 32;
const MAGIC: &[u8; 8] = b"BINNACLE";
/// What is written, and the oldest that is read.
pub(super) const VERSION: u16 = 2;
const VERSION_MIN: u16 = 1;
const FRAME_HEAD: usize = 8;
const ALIGN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Snapshot,
}

/// What begins at an offset of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    Whole {
        payload: &'a [u8],
        next: usize,
    },
    /// Nothing: the end.
    End,
    /// Something that is not a whole frame.
    Broken,
}

/// The payload of a log's frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    /// The revision of the first write; each takes one.
    pub(super) first: Revision,
    pub(super) time: u64,
    pub(super) records: Vec<Record<'a>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Put { key: &'a str, value: &'a [u8], expires: Option<Deadline> },
    Delete { key: &'a str },
    Compact { revision: Revision },
    Closed,
}

/// The payload of a snapshot's frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Entries(Vec<Entry<'a>>),
    End { count: u64 },
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
    pub(super) revision: Revision,
    pub(super) expires: Option<Deadline>,
}

// --- names ---

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Log => "log-",
            Self::Snapshot => "snapshot-",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Log => b'L',
            Self::Snapshot => b'S',
        }
    }

    /// Names sort as their revisions do.
    pub(super) fn name(self, start: Revision) -> String {
        format!("{}{:016x}", self.prefix(), start.0)
    }

    /// The revision in a name of this kind.
    pub(super) fn start(self, name: &str) -> Option<Revision> {
        let digits = name.strip_prefix(self.prefix())?;
        (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok().map(Revision)).flatten()
    }
}

// --- header ---

pub(super) fn header(kind: Kind, start: Revision) -> Vec<u8> {
    header_of(VERSION, kind, start)
}

fn header_of(version: u16, kind: Kind, start: Revision) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN);
    bytes.put_slice(MAGIC);
    bytes.put_u8(kind.code());
    bytes.put_u8(0);
    bytes.put_u16_le(version);
    bytes.put_u32_le(0);
    bytes.put_u64_le(start.0);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes.put_u32_le(0);
    bytes
}

/// Checks a header and returns the version of the file, or says what is wrong with it.
pub(super) fn check_header(bytes: &[u8], kind: Kind, start: Revision) -> Result<u16, String> {
    let Some(header) = bytes.get(..HEADER_LEN) else { return Err("is too short".to_owned()) };
    if !header.starts_with(MAGIC) {
        return Err("is not a file of this store".to_owned());
    }
    let (checked, mut crc) = header.split_at(24);
    if crc.get_u32_le() != crc32fast::hash(checked) {
        return Err("has a damaged header".to_owned());
    }
    let mut rest = checked.get(10..12).unwrap_or_default();
    let version = rest.get_u16_le();
    if !(VERSION_MIN..=VERSION).contains(&version) {
        return Err(format!(
            "has format version {version}, and this program reads versions {VERSION_MIN} to {VERSION}: it was written by a \
             newer one, use that"
        ));
    }
    if header != header_of(version, kind, start) {
        return Err("is not what its name says".to_owned());
    }
    Ok(version)
}

// --- frames ---

/// Appends a frame, with the payload that `write` appends.
pub(super) fn put_frame(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.put_bytes(0, FRAME_HEAD);
    write(bytes);
    // Groups are limited to a few MiB beyond one write, and requests are limited far below 4 GiB.
    let len = u32::try_from(bytes.len() - start - FRAME_HEAD).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(frame) = bytes.get_mut(start..) {
        let (head, payload) = frame.split_at_mut(FRAME_HEAD);
        let crc = checksum(len, payload).to_le_bytes();
        let (len_at, crc_at) = head.split_at_mut(4);
        len_at.copy_from_slice(&len);
        crc_at.copy_from_slice(&crc);
    }
    bytes.resize(start + (bytes.len() - start).next_multiple_of(ALIGN), 0);
}

fn checksum(len: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(payload);
    hasher.finalize()
}

/// What begins at an offset.
pub(super) fn frame(bytes: &[u8], offset: usize) -> Frame<'_> {
    let Some(rest) = bytes.get(offset..) else { return Frame::End };
    let Some((len, crc)) = frame_head(rest) else {
        return if rest.iter().all(|byte| *byte == 0) { Frame::End } else { Frame::Broken };
    };
    if len == 0 {
        return if crc == 0 { Frame::End } else { Frame::Broken };
    }
    let padded = FRAME_HEAD + len.next_multiple_of(ALIGN);
    match rest.get(FRAME_HEAD..FRAME_HEAD + len) {
        Some(payload) if check_payload(payload, crc) => Frame::Whole { payload, next: offset + padded },
        Some(_) | None => Frame::Broken,
    }
}

/// The length and the checksum that begin a frame.
pub(super) fn frame_head(mut bytes: &[u8]) -> Option<(usize, u32)> {
    let len = bytes.try_get_u32_le().ok()?;
    let crc = bytes.try_get_u32_le().ok()?;
    Some((usize::try_from(len).ok()?, crc))
}

pub(super) fn frame_head_len() -> usize {
    FRAME_HEAD
}

/// How many bytes a payload of this length takes up.
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

pub(super) fn check_payload(payload: &[u8], crc: u32) -> bool {
    u32::try_from(payload.len()).is_ok_and(|len| checksum(len.to_le_bytes(), payload) == crc)
}

/// Whether somewhere after `offset` there is a whole frame of later writes than `last`: then what is between is not an
/// unfinished end.
pub(super) fn whole_frame_after(bytes: &[u8], offset: usize, last: Revision) -> Option<usize> {
    (offset.next_multiple_of(ALIGN)..bytes.len()).step_by(ALIGN).find(|at| {
        // The cheap test first: nearly nothing passes it by chance.
        let first = bytes.get(at + FRAME_HEAD..).and_then(|mut payload| payload.try_get_u64_le().ok());
        first.is_some_and(|first| first > last.0 && first - last.0 < 1 << 32)
            && matches!(frame(bytes, *at), Frame::Whole { payload, .. } if group(payload).is_some())
    })
}

// --- log ---

pub(super) fn put_group(
    bytes: &mut Vec<u8>,
    first: Revision,
    time: u64,
    count: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    put_frame(bytes, |bytes| {
        bytes.put_u64_le(first.0);
        bytes.put_u64_le(time);
        bytes.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
        write(bytes);
    });
}

pub(super) fn put_record(bytes: &mut Vec<u8>, record: &Record<'_>) {
    match record {
        Record::Put { key, value, expires } => {
            bytes.put_u8(1);
            put_deadline(bytes, *expires);
            put_slice(bytes, key.as_bytes());
            put_slice(bytes, value);
        }
        Record::Delete { key } => {
            bytes.put_u8(2);
            put_slice(bytes, key.as_bytes());
        }
        Record::Compact { revision } => {
            bytes.put_u8(3);
            bytes.put_u64_le(revision.0);
        }
        Record::Closed => bytes.put_u8(4),
    }
}

/// Reads a group; None if it is not one.
pub(super) fn group(mut payload: &[u8]) -> Option<Group<'_>> {
    let bytes = &mut payload;
    let first = Revision(bytes.try_get_u64_le().ok()?);
    let time = bytes.try_get_u64_le().ok()?;
    let count = bytes.try_get_u32_le().ok()?;
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(match bytes.try_get_u8().ok()? {
            1 => Record::Put {
                expires: take_deadline(bytes)?,
                key: take_text(bytes)?,
                value: take_slice(bytes)?,
            },
            2 => Record::Delete { key: take_text(bytes)? },
            3 => Record::Compact { revision: Revision(bytes.try_get_u64_le().ok()?) },
            4 => Record::Closed,
            _ => return None,
        });
    }
    bytes.is_empty().then_some(Group { first, time, records })
}

// --- snapshot ---

pub(super) fn put_entry(bytes: &mut Vec<u8>, entry: &Entry<'_>) {
    bytes.put_u64_le(entry.revision.0);
    put_deadline(bytes, entry.expires);
    put_slice(bytes, entry.key.as_bytes());
    put_slice(bytes, entry.value);
}

/// Begins a part with entries.
pub(super) fn put_entries(bytes: &mut Vec<u8>) {
    bytes.put_u8(0);
}

pub(super) fn put_end(bytes: &mut Vec<u8>, count: u64) {
    bytes.put_u8(1);
    bytes.put_u64_le(count);
}

/// Reads a part; None if it is not one.
pub(super) fn part(mut payload: &[u8]) -> Option<Part<'_>> {
    let bytes = &mut payload;
    match bytes.try_get_u8().ok()? {
        0 => {
            let mut entries = Vec::new();
            while !bytes.is_empty() {
                let revision = Revision(bytes.try_get_u64_le().ok()?);
                let expires = take_deadline(bytes)?;
                entries.push(Entry { revision, expires, key: take_text(bytes)?, value: take_slice(bytes)? });
            }
            Some(Part::Entries(entries))
        }
        1 => {
            let count = bytes.try_get_u64_le().ok()?;
            bytes.is_empty().then_some(Part::End { count })
        }
        _ => None,
    }
}

// --- values ---

fn put_slice(bytes: &mut Vec<u8>, slice: &[u8]) {
    bytes.put_u32_le(u32::try_from(slice.len()).unwrap_or(u32::MAX));
    bytes.put_slice(slice);
}

fn put_deadline(bytes: &mut Vec<u8>, deadline: Option<Deadline>) {
    bytes.put_u64_le(deadline.map_or(0, |Deadline(at)| at.max(1)));
}

fn take_slice<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    let (slice, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(slice)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_slice(bytes)?).ok()
}

fn take_deadline(bytes: &mut &[u8]) -> Option<Option<Deadline>> {
    let at = bytes.try_get_u64_le().ok()?;
    Some((at > 0).then_some(Deadline(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records() -> Vec<Record<'static>> {
        vec![
            Record::Put { key: "/a", value: b"x", expires: Some(Deadline(7)) },
            Record::Put { key: "/ä", value: b"", expires: None },
            Record::Delete { key: "/a" },
            Record::Compact { revision: Revision(3) },
            Record::Closed,
        ]
    }

    fn log() -> Vec<u8> {
        let mut bytes = header(Kind::Log, Revision(1));
        put_group(&mut bytes, Revision(2), 99, 5, |bytes| {
            records().iter().for_each(|it| put_record(bytes, it))
        });
        bytes
    }

    #[test]
    fn a_group_reads_back() {
        let bytes = log();
        check_header(&bytes, Kind::Log, Revision(1)).unwrap();
        let Frame::Whole { payload, next } = frame(&bytes, HEADER_LEN) else { panic!("whole") };
        assert_eq!(group(payload), Some(Group { first: Revision(2), time: 99, records: records() }));
        assert_eq!((next, next % 8), (bytes.len(), 0));
        assert_eq!(frame(&bytes, next), Frame::End);
    }

    #[test]
    fn the_bytes_are_what_the_format_says() {
        let mut bytes = Vec::new();
        put_group(&mut bytes, Revision(2), 3, 1, |bytes| put_record(bytes, &Record::Delete { key: "k" }));
        let payload =
            [&[2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, b'k'][..]].concat();
        assert_eq!(bytes[..4], [26, 0, 0, 0]);
        assert_eq!(bytes[8..34], payload);
        assert_eq!((bytes.len(), &bytes[34..]), (40, &[0; 6][..]));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = log();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[at] ^= 1 << bit;
                let header = check_header(&bytes, Kind::Log, Revision(1)).is_ok();
                let Frame::Whole { payload, .. } = frame(&good, HEADER_LEN) else { panic!("whole") };
                let whole = frame(&bytes, HEADER_LEN) == Frame::Whole { payload, next: good.len() };
                let padding = at >= HEADER_LEN + FRAME_HEAD + payload.len();
                assert!(!(header && whole) || padding, "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_log_cut_anywhere_is_broken_there_and_not_before() {
        let good = log();
        for len in HEADER_LEN..good.len() - 8 {
            let cut = &good[..len];
            assert!(matches!(frame(cut, HEADER_LEN), Frame::Broken | Frame::End), "{len}");
            assert_eq!(whole_frame_after(cut, HEADER_LEN, Revision(1)), None);
        }
    }

    #[test]
    fn a_whole_frame_behind_a_broken_one_is_found() {
        let mut bytes = log();
        let second = bytes.len();
        put_group(&mut bytes, Revision(5), 99, 1, |bytes| put_record(bytes, &Record::Delete { key: "/b" }));
        bytes[HEADER_LEN + 12] ^= 1;
        assert_eq!(frame(&bytes, HEADER_LEN), Frame::Broken);
        assert_eq!(whole_frame_after(&bytes, HEADER_LEN, Revision(1)), Some(second));
    }

    #[test]
    fn names_tell_their_revision() {
        assert_eq!(Kind::Log.name(Revision(255)), "log-00000000000000ff");
        assert_eq!(Kind::Log.start("log-00000000000000ff"), Some(Revision(255)));
        for other in ["log-ff", "log-00000000000000ff.new", "snapshot-00000000000000ff", "lock"] {
            assert_eq!(Kind::Log.start(other), None, "{other}");
        }
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_one_of_an_older_is_read() {
        assert_eq!(check_header(&header_of(1, Kind::Log, Revision(1)), Kind::Log, Revision(1)), Ok(1));
        for version in [0, VERSION + 1] {
            let fault = check_header(&header_of(version, Kind::Log, Revision(1)), Kind::Log, Revision(1));
            let fault = fault.unwrap_err();
            assert!(fault.starts_with(&format!("has format version {version}, and this program")), "{fault}");
        }
    }
}
