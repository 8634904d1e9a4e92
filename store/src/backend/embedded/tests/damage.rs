//! Files as they should not be: of other versions, cut short, with bits flipped. Wherever the damage is, the store opens with
//! all that was acknowledged, or not at all; after a crash it may lack what an unfinished end looks like, and nothing else.
//!
//! `format-1` is a directory that the program wrote when its format was version 1.

use std::collections::BTreeMap;

use super::*;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in files(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

fn version(path: &Path) -> u16 {
    let bytes = fs::read(path).unwrap();
    u16::from_le_bytes([bytes[10], bytes[11]])
}

#[tokio::test]
async fn a_directory_of_an_older_format_is_read_and_goes_on_in_the_new_one() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/backend/embedded/tests/format-1"), &path);
    let clock = HandClock::new();
    let open = || Embedded::open(&path, tiny(), Arc::clone(&clock) as SharedClock).unwrap();
    let mut expected: Vec<(String, String, u64)> = [
        ("/0", "value 20", 22),
        ("/1", "value 21", 23),
        ("/2", "value 22", 24),
        ("/4", "value 19", 21),
        ("/last", "2", 29),
        ("/short", "an hour", 27),
    ]
    .map(|(key, value, revision)| (key.to_owned(), value.to_owned(), revision))
    .into();
    assert_eq!(offline::verify(&path).unwrap().keys, expected.len());
    {
        let store = open();
        assert_eq!((all(&store).await, store.revision().await.unwrap()), (expected.clone(), Revision(29)));
        // Its history and its times to live, too.
        let past = store.range(Range { at: Some(Revision(25)), ..Range::default() }).await.unwrap();
        assert_eq!(past.entries.len(), 5);
        let left = store.times_to_live("/").await.unwrap();
        assert!(matches!(&left[..], [(key, left)] if key == "/short" && left.as_secs() > 3000), "{left:?}");
        let at = put(&store, "/new", "1").await;
        expected.insert(5, ("/new".to_owned(), "1".to_owned(), at.0));
        expected.sort();
    }
    let logs: Vec<u16> = files(&path)
        .iter()
        .filter(|name| name.starts_with("log-"))
        .map(|name| version(&path.join(name)))
        .collect();
    assert_eq!((logs.first(), logs.last()), (Some(&1), Some(&format::VERSION)), "none is rewritten");
    {
        let store = open();
        assert_eq!(all(&store).await, expected);
        for n in 0..200 {
            put(&store, "/new", &n.to_string()).await;
        }
    }
    // Old files go as the log moves on.
    drop(open());
    let old: Vec<String> = files(&path)
        .into_iter()
        .filter(|name| name != LOCK && version(&path.join(name)) < format::VERSION)
        .collect();
    assert!(old.is_empty(), "{old:?}");
    assert_eq!(all(&open()).await.len(), expected.len());
}

#[tokio::test]
async fn a_directory_of_a_newer_format_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    put(&open(directory.path()), "/a", "1").await;
    let path = log_file(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] += 1;
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    let refused = Embedded::open(directory.path(), Options::default(), Arc::new(SystemClock)).unwrap_err();
    let text = refused.to_string();
    let newer = format::VERSION + 1;
    assert!(
        text.contains(&format!("has format version {newer}, and this program reads versions 1 to")),
        "{text}"
    );
    assert!(text.contains("newer") && text.contains(path.file_name().unwrap().to_str().unwrap()), "{text}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

/// A store with a snapshot, finished log files and one that was written to last. Returns its contents after each revision
/// of the last file.
async fn sample(path: &Path) -> BTreeMap<u64, Vec<(String, String, u64)>> {
    let options =
        || Options { segment_bytes_max: 700, snapshot_bytes_min: 1, history_events_max: 10, ..tiny() };
    let store = Embedded::open(path, options(), Arc::new(SystemClock)).unwrap();
    let mut then = BTreeMap::new();
    for n in 0..60 {
        put(&store, &format!("/{}", n % 9), &format!("value {n}")).await;
        then.insert(store.revision().await.unwrap().0, all(&store).await);
    }
    drop(store);
    let names = files(path);
    assert!(names.iter().any(|name| name.starts_with("snapshot-")), "{names:?}");
    assert!(names.iter().filter(|name| name.starts_with("log-")).count() > 1, "{names:?}");
    then
}

/// What is found after a file was damaged: its contents, none if the store says that it is damaged.
async fn found(good: &Path, name: &str, damaged: &[u8]) -> Option<(u64, Vec<(String, String, u64)>)> {
    let directory = TempDir::new().unwrap();
    copy(good, directory.path());
    fs::write(directory.path().join(name), damaged).unwrap();
    let verified = offline::verify(directory.path());
    match Embedded::open(
        directory.path(),
        Options { fsync: false, ..Options::default() },
        Arc::new(SystemClock),
    ) {
        Ok(store) => {
            assert!(verified.is_ok(), "{name}: {verified:?}");
            Some((store.revision().await.unwrap().0, all(&store).await))
        }
        Err(Error::Corrupt(text)) => {
            assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
            assert!(verified.is_err(), "{name}: {text}");
            assert_eq!(fs::read(directory.path().join(name)).unwrap(), damaged, "{name} is left alone");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_is_noticed_or_harmless() {
    let directory = TempDir::new().unwrap();
    let then = sample(directory.path()).await;
    let (last, newest) = then.last_key_value().unwrap();
    for name in files(directory.path()).iter().filter(|name| *name != LOCK) {
        let good = fs::read(directory.path().join(name)).unwrap();
        let mut noticed = 0;
        for at in (0..good.len()).step_by(3) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            match found(directory.path(), name, &bytes).await {
                Some(store) => assert_eq!((&store.0, &store.1), (last, newest), "{name} byte {at}"),
                None => noticed += 1,
            }
        }
        // What is not is padding.
        assert!(noticed > good.len() / 3 / 2, "{name}: {noticed} of {}", good.len());
    }
}

#[tokio::test]
async fn after_a_crash_a_flipped_bit_is_noticed_or_costs_the_last_write_as_an_unfinished_one_would() {
    let directory = TempDir::new().unwrap();
    let then = sample(directory.path()).await;
    as_if_killed(directory.path());
    let path = log_file(directory.path());
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let good = fs::read(&path).unwrap();
    let (starts, end) = frames(&good);
    let last = *then.last_key_value().unwrap().0;
    for at in (0..end).step_by(3) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        if let Some((revision, contents)) = found(directory.path(), &name, &bytes).await {
            assert!(
                revision == last || (revision == last - 1 && at >= *starts.last().unwrap()),
                "byte {at}: {revision}"
            );
            assert_eq!(contents, then[&revision], "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_noticed_or_is_as_it_was_at_an_earlier_write() {
    let directory = TempDir::new().unwrap();
    let then = sample(directory.path()).await;
    let last = log_file(directory.path()).file_name().unwrap().to_str().unwrap().to_owned();
    for name in files(directory.path()).iter().filter(|name| *name != LOCK) {
        let good = fs::read(directory.path().join(name)).unwrap();
        for len in (0..good.len()).step_by(11) {
            if let Some((revision, contents)) = found(directory.path(), name, &good[..len]).await {
                // Only at the end of the log there can be something unfinished, which nobody was told of.
                assert_eq!(*name, last, "cut to {len}");
                assert_eq!(contents, then[&revision], "{name} cut to {len}");
            }
        }
    }
}
