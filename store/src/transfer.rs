//! Moving all objects from one store to another.
//!
//! Revisions go along: an object's resource version is the revision that wrote it, and clients hold on to those. A directory
//! takes them as they are. An etcd counts by itself; but it can be made to count up to each, as long as it has not come past
//! them yet.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};

use crate::backend::{Backend, Entry, Page, Range, Result, Revision};

/// How many writes are under way at once.
const AT_ONCE: usize = 64;
/// Written and deleted to make a store count.
const FILLER: &str = "/registry/binnacle-transfer/";

/// All there is at one revision.
#[derive(Debug)]
pub struct Contents {
    /// The entries, in the order of their keys.
    pub entries: Vec<Entry>,
    /// The revision they are of.
    pub revision: Revision,
    /// How long those live that do not live for ever.
    pub times_to_live: BTreeMap<String, Duration>,
}

/// What a transfer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many keys were written.
    pub written: usize,
    /// How many were there already, as they should be.
    pub unchanged: usize,
    /// How many were deleted, since they are not where the others come from.
    pub deleted: usize,
    /// How many of those written have another revision than before.
    pub renumbered: usize,
    /// Where the target is now.
    pub revision: Revision,
}

/// Reads everything with a prefix.
///
/// # Errors
/// Those of the store.
pub async fn read(from: &dyn Backend, prefix: &str) -> Result<Contents> {
    let times_to_live = from.times_to_live(prefix).await?.into_iter().collect();
    let range = Range { prefix: prefix.to_owned(), ..Range::default() };
    let Page { entries, revision, .. } = from.range(range).await?;
    Ok(Contents { entries, revision, times_to_live })
}

/// Makes `to` hold exactly these contents under a prefix. If it is interrupted it can be begun again, also with newer
/// contents: what is there already is left alone.
///
/// Up to `fill_max` revisions are used up to make the target count as the source did.
///
/// # Errors
/// Those of the store; [`crate::Error::Conflict`] and kin if somebody else writes to it meanwhile.
pub async fn write(to: &dyn Backend, prefix: &str, contents: Contents, fill_max: u64) -> Result<Report> {
    let there = to.range(Range { prefix: prefix.to_owned(), ..Range::default() }).await?;
    let mut found: BTreeMap<String, Entry> =
        there.entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    let mut report = Report { revision: there.revision, ..Report::default() };
    let mut missing = Vec::new();
    for entry in contents.entries {
        match found.remove(&entry.key) {
            Some(old) if old.value == entry.value => report.unchanged += 1,
            old => missing.push((entry, old.map(|old| old.revision))),
        }
    }
    for (key, entry) in found {
        report.revision = to.delete(&key, entry.revision).await?;
        report.deleted += usize::from(!key.starts_with(FILLER));
    }
    missing.sort_by_key(|(entry, _)| entry.revision);
    let count = contents.revision.saturating_sub(*report.revision) <= fill_max;
    let ttl = |key: &str| contents.times_to_live.get(key).copied();
    if !count {
        // Nothing to keep in order: many at once.
        let writes = missing.iter().map(|(entry, old)| put(to, entry, *old, ttl(&entry.key)));
        let mut writes = stream::iter(writes).buffer_unordered(AT_ONCE);
        while let Some(written) = writes.next().await {
            report.revision = report.revision.max(written?);
            report.written += 1;
        }
        report.renumbered = report.written;
        return Ok(report);
    }
    for (entry, old) in &missing {
        fill(to, &mut report.revision, Revision(entry.revision.saturating_sub(1))).await?;
        report.revision = put(to, entry, *old, ttl(&entry.key)).await?;
        report.written += 1;
        report.renumbered += usize::from(report.revision != entry.revision);
    }
    fill(to, &mut report.revision, contents.revision).await?;
    if let Some(entry) = to.get(&odd()).await? {
        report.revision = to.delete(&entry.key, entry.revision).await?;
    }
    Ok(report)
}

/// The key that stands for one revision.
fn odd() -> String {
    format!("{FILLER}odd")
}

async fn put(
    to: &dyn Backend,
    entry: &Entry,
    old: Option<Revision>,
    ttl: Option<Duration>,
) -> Result<Revision> {
    match old {
        None => to.create(&entry.key, entry.value.clone(), ttl).await,
        Some(old) => to.update(&entry.key, old, entry.value.clone(), ttl).await,
    }
}

/// Makes a store count from one revision up to another, if it has not come further. It leaves [`odd`] behind or not.
async fn fill(to: &dyn Backend, at: &mut Revision, until: Revision) -> Result<()> {
    // Two revisions each: a key comes and goes.
    while until.saturating_sub(**at) >= 2 {
        let pairs = until.saturating_sub(**at) / 2;
        let keys = (0..pairs.min(u64::try_from(AT_ONCE).unwrap_or(1))).map(|n| format!("{FILLER}{n}"));
        let mut pairs = stream::iter(keys)
            .map(|key| async move {
                let created = to.create(&key, bytes::Bytes::new(), None).await?;
                to.delete(&key, created).await
            })
            .buffer_unordered(AT_ONCE);
        while let Some(done) = pairs.next().await {
            *at = (*at).max(done?);
        }
    }
    if until > *at {
        // One revision cannot come and go; it stays until the next.
        *at = match to.get(&odd()).await? {
            None => to.create(&odd(), bytes::Bytes::new(), None).await?,
            Some(entry) => to.delete(&entry.key, entry.revision).await?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use runtime::Tasks;

    use super::*;
    use crate::Memory;

    fn entry(key: &str, value: &str, revision: u64) -> Entry {
        Entry { key: key.to_owned(), value: value.to_owned().into(), revision: Revision(revision) }
    }

    fn contents(entries: &[(&str, &str, u64)], revision: u64) -> Contents {
        Contents {
            entries: entries.iter().map(|(key, value, at)| entry(key, value, *at)).collect(),
            revision: Revision(revision),
            times_to_live: BTreeMap::new(),
        }
    }

    async fn all(store: &Memory) -> Vec<Entry> {
        store.range(Range { prefix: "/registry/".to_owned(), ..Range::default() }).await.unwrap().entries
    }

    #[tokio::test(start_paused = true)]
    async fn revisions_go_along_where_the_target_has_not_passed_them() {
        let (to, a, b, c) = (Memory::new(&Tasks::new()), "/registry/a", "/registry/b", "/registry/c");
        let from = contents(&[(a, "1", 500), (b, "1", 7), (c, "1", 8)], 1000);
        let report = write(&to, "/registry/", from, 10_000).await.unwrap();
        assert_eq!((report.written, report.renumbered), (3, 0));
        assert_eq!(all(&to).await, [entry(a, "1", 500), entry(b, "1", 7), entry(c, "1", 8)]);
        let now = to.revision().await.unwrap();
        assert!((1000..=1001).contains(&now.0), "{now}");
        // Again, with what has changed since.
        let from = contents(&[(a, "1", 500), (b, "2", 1005)], 1010);
        let report = write(&to, "/registry/", from, 10_000).await.unwrap();
        let counts = (report.written, report.unchanged, report.deleted, report.renumbered);
        assert_eq!(counts, (1, 1, 1, 0));
        assert_eq!(all(&to).await, [entry(a, "1", 500), entry(b, "2", 1005)]);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_revisions_are_not_made_up() {
        let to = Memory::new(&Tasks::new());
        let from = contents(&[("/registry/a", "1", 500_000)], 1_000_000);
        let report = write(&to, "/registry/", from, 1000).await.unwrap();
        assert_eq!((report.written, report.renumbered, report.revision), (1, 1, Revision(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn times_to_live_go_along() {
        let (from, to) = (Memory::new(&Tasks::new()), Memory::new(&Tasks::new()));
        from.create("/registry/a", "1".into(), Some(Duration::from_secs(100))).await.unwrap();
        from.create("/registry/b", "1".into(), None).await.unwrap();
        tokio::time::sleep(Duration::from_secs(40)).await;
        let contents = read(&from, "/registry/").await.unwrap();
        write(&to, "/registry/", contents, 1000).await.unwrap();
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(all(&to).await.len(), 2);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(all(&to).await.len(), 1);
    }
}
