//! The log: a line for each event, in a file that is put aside when it is full, or on standard output.
//!
//! Files that were put aside are named as upstream names them (`audit-2026-01-02T03-04-05.000.log`, in UTC), packed if so
//! wished, and removed when there are too many of them or they are too old. That is done on a thread of its own, one at a time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use parking_lot::Mutex;
use runtime::SharedClock;

use super::{
    backend::{Backend, Complaints, Done},
    event::Event,
};

const ASIDE_FORMAT: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const PACKED: &str = ".gz";
const MEGABYTE: u64 = 1024 * 1024;

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keeping {
    /// In days; 0 for ever.
    pub(super) age_max: u32,
    /// How many; 0 for all.
    pub(super) backups_max: usize,
    /// In megabytes; 0 for no bound.
    pub(super) size_max: u64,
    pub(super) compress: bool,
}

/// The backend.
#[derive(Debug)]
pub(super) struct Log {
    output: Mutex<Output>,
    is_json: bool,
    complaints: Complaints,
}

#[derive(Debug)]
pub(super) enum Output {
    Stdout,
    File(Rotating),
}

/// A file that is put aside when it is full.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    keeping: Keeping,
    clock: SharedClock,
    open: Option<(File, u64)>,
    cleaning: Arc<Mutex<()>>,
}

impl Log {
    pub(super) fn new(output: Output, is_json: bool, complaints: Complaints) -> Self {
        Self { output: Mutex::new(output), is_json, complaints }
    }

    fn write(&self, event: &Event) -> io::Result<()> {
        let line = if self.is_json {
            event.json().map_err(io::Error::other)?
        } else {
            let mut line = event.line();
            line.push('\n');
            line.into_bytes()
        };
        match &mut *self.output.lock() {
            Output::Stdout => io::stdout().lock().write_all(&line),
            Output::File(file) => file.write(&line),
        }
    }
}

impl Backend for Log {
    fn process(&self, events: Vec<Arc<Event>>) -> Done {
        let mut kept = true;
        for event in events {
            if let Err(error) = self.write(&event) {
                self.complaints.tell("log", &error, &[event]);
                kept = false;
            }
        }
        Done::Now(kept)
    }
}

impl Rotating {
    /// A log at this path, which can be written.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) fn new(path: &Path, keeping: Keeping, clock: SharedClock) -> io::Result<Self> {
        let path = path.to_owned();
        let mut log = Self { path, keeping, clock, open: None, cleaning: Arc::default() };
        log.open()?;
        Ok(log)
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent().filter(|it| !it.as_os_str().is_empty()) {
            make_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&self.path)?;
        let size = file.metadata()?.len();
        self.open = Some((file, size));
        Ok(())
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let (length, max) = (line.len() as u64, self.keeping.size_max.saturating_mul(MEGABYTE));
        if max > 0 && length > max {
            return Err(io::Error::other(format!("write length {length} exceeds maximum file size {max}")));
        }
        if self.open.is_none() {
            self.open()?;
        }
        if max > 0 && self.open.as_ref().is_some_and(|(_, size)| size + length > max) {
            self.put_aside()?;
        }
        let Some((file, size)) = &mut self.open else { return Err(io::Error::other("the log is closed")) };
        file.write_all(line)?;
        *size += length;
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        self.open = None;
        let now = self.clock.now();
        std::fs::rename(&self.path, aside(&self.path, now))?;
        self.open()?;
        let (path, keeping, cleaning) = (self.path.clone(), self.keeping.clone(), Arc::clone(&self.cleaning));
        std::thread::spawn(move || {
            let _one_at_a_time = cleaning.lock();
            if let Err(error) = clean(&path, &keeping, now) {
                tracing::warn!(%error, "cannot clean up after the audit log");
            }
        });
        Ok(())
    }
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}

/// The name before the extension, and the extension with its dot.
fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().map(|it| it.to_string_lossy().into_owned()).unwrap_or_default();
    match name.rfind('.') {
        Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
        None => (name, String::new()),
    }
}

fn aside(path: &Path, now: Timestamp) -> PathBuf {
    let (name, extension) = parts(path);
    path.with_file_name(format!("{name}-{}{extension}", now.strftime(ASIDE_FORMAT)))
}

/// When a file beside the log was put aside; `None` if it is another one.
fn put_aside_at(path: &Path, file: &str) -> Option<Timestamp> {
    let (name, extension) = parts(path);
    let time = file.strip_prefix(&name)?.strip_prefix('-')?;
    let time = time.strip_suffix(PACKED).unwrap_or(time).strip_suffix(&extension)?;
    let time = DateTime::strptime(ASIDE_FORMAT, time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// Removes what is too old or too much, and packs the rest.
fn clean(path: &Path, keeping: &Keeping, now: Timestamp) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut files: Vec<(Timestamp, String)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(time) = put_aside_at(path, &name) {
            files.push((time, name));
        }
    }
    // The newest first.
    files.sort_by(|a, b| b.cmp(a));
    let oldest = (keeping.age_max > 0)
        .then(|| now.checked_sub(SignedDuration::from_hours(24 * i64::from(keeping.age_max))).ok())
        .flatten();
    let mut seen: Vec<String> = Vec::new();
    for (time, name) in files {
        let plain = name.strip_suffix(PACKED).unwrap_or(&name).to_owned();
        if !seen.contains(&plain) {
            seen.push(plain);
        }
        let file = folder.join(&name);
        let is_too_much = keeping.backups_max > 0 && seen.len() > keeping.backups_max;
        if is_too_much || oldest.is_some_and(|oldest| time < oldest) {
            std::fs::remove_file(file)?;
        } else if keeping.compress && !name.ends_with(PACKED) {
            pack(&file)?;
        }
    }
    Ok(())
}

fn pack(file: &Path) -> io::Result<()> {
    let mut packed = file.as_os_str().to_owned();
    packed.push(PACKED);
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut into = GzEncoder::new(options.open(&packed)?, Compression::default());
    io::copy(&mut File::open(file)?, &mut into)?;
    into.finish()?.sync_all()?;
    std::fs::remove_file(file)
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, time::Duration};

    use flate2::read::GzDecoder;
    use runtime::SimulatedClock;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            files.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_log_is_put_aside_under_the_time_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/audit.log");
        let clock = Arc::new(SimulatedClock::starting_at("2026-01-02T03:04:05Z".parse().unwrap()));
        let keeping = Keeping { age_max: 0, backups_max: 2, size_max: 1, compress: true };
        let mut log = Rotating::new(&path, keeping, clock).unwrap();
        let half = vec![b'x'; 600 * 1024];
        for _ in 0..4 {
            log.write(&half).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
            // The thread that cleans up holds this while it works.
            while Arc::strong_count(&log.cleaning) > 1 {
                std::thread::yield_now();
            }
        }
        let names = names(&folder.path().join("deep"));
        assert_eq!(
            names,
            ["audit-2026-01-02T03-04-07.000.log.gz", "audit-2026-01-02T03-04-08.000.log.gz", "audit.log"]
        );
        let mut text = Vec::new();
        let packed = File::open(folder.path().join("deep").join(&names[0])).unwrap();
        GzDecoder::new(packed).read_to_end(&mut text).unwrap();
        assert_eq!(text, half);
        let error = log.write(&vec![b'x'; 1024 * 1024 + 1]).unwrap_err();
        assert_eq!(error.to_string(), "write length 1048577 exceeds maximum file size 1048576");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn old_files_go_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        for name in ["audit-2026-01-01T00-00-00.000.log", "audit-2026-01-08T00-00-00.000.log", "audit-x.log"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let keeping = Keeping { age_max: 3, backups_max: 0, size_max: 1, compress: false };
        clean(&path, &keeping, "2026-01-09T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(names(folder.path()), ["audit-2026-01-08T00-00-00.000.log", "audit-x.log"]);
    }
}
