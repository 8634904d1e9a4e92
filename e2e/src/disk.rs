//! A disk that fills up or stalls at a word. `disk.c` is built with the C compiler that the build needs anyway, and preloaded
//! into a server; so the server under test is the one that is released.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::tools;

/// A disk under a server's data.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    files: PathBuf,
    word: PathBuf,
}

// === impl Disk ===

impl Disk {
    /// For a server whose files of the store are in this directory; none, with the reason printed, where programs cannot be
    /// preloaded so.
    ///
    /// # Errors
    /// When the library cannot be built.
    #[expect(clippy::print_stdout, reason = "a test that does nothing says so")]
    pub fn of(files: &Path, home: &Path) -> anyhow::Result<Option<Self>> {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            println!("skipped: a failing disk can be had on Linux with glibc only");
            return Ok(None);
        }
        let library = home.join("disk.so");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(tools::workspace().join("e2e/src/disk.c"))
            .arg("-ldl")
            .status()
            .context("cannot run cc")?;
        ensure!(status.success(), "disk.c cannot be built");
        let disk = Self { library, files: files.to_owned(), word: home.join("disk-word") };
        disk.say("")?;
        Ok(Some(disk))
    }

    /// What the server must have in its environment.
    pub fn environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("DISK_FILES", self.files.clone().into()),
            ("DISK_WORD", self.word.clone().into()),
        ]
    }

    /// From now on nothing can be written.
    ///
    /// # Errors
    /// When the word cannot be said.
    pub fn fill(&self) -> anyhow::Result<()> {
        self.say("full")
    }

    /// From now on each sync takes so long.
    ///
    /// # Errors
    /// When the word cannot be said.
    pub fn stall(&self, milliseconds: u32) -> anyhow::Result<()> {
        self.say(&format!("stall {milliseconds}"))
    }

    /// All is well again.
    ///
    /// # Errors
    /// When the word cannot be said.
    pub fn recover(&self) -> anyhow::Result<()> {
        self.say("")
    }

    fn say(&self, word: &str) -> anyhow::Result<()> {
        // Whole or not at all: it may be read at any time.
        let new = self.word.with_extension("new");
        std::fs::write(&new, word)?;
        std::fs::rename(&new, &self.word)?;
        Ok(())
    }
}
