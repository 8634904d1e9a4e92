//! `binnacle envtest`: a folder that controller-runtime's envtest takes for its `KUBEBUILDER_ASSETS`.
//!
//! The folder has the names that envtest starts: `kube-apiserver` and `etcd` lead to this program, which acts as it is
//! called, and `kubectl` to the one of the machine. Whatever the names do stands in their own modules; this one makes links
//! and knows nothing of clusters.

pub(crate) mod api_server;
pub(crate) mod etcd;

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;

/// The names in the folder that are this program.
const OURS: [&str; 2] = [api_server::NAME, etcd::NAME];
const KUBECTL: &str = "kubectl";
/// The name of the program itself, if it is copied.
const PROGRAM: &str = "binnacle";

/// The flags of `binnacle envtest`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The folder to fill; it is made if it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Copy this program into the folder, so that the folder can be packed and moved
    #[arg(long)]
    copy: bool,
    /// The kubectl to link; the first on the search path if not given
    #[arg(long, value_name = "FILE")]
    kubectl: Option<PathBuf>,
}

/// What a process is that was started under one of envtest's names; `None` for all other names.
pub(crate) fn called_as(program: &OsStr) -> Option<fn() -> ExitCode> {
    match Path::new(program).file_name()?.to_str()? {
        api_server::NAME => Some(api_server::main),
        etcd::NAME => Some(etcd::main),
        _ => None,
    }
}

/// Fills the folder, and prints where it is and nothing else, so that a shell can take the line.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let kubectl = match &arguments.kubectl {
        Some(given) => {
            Some(fs::canonicalize(given).with_context(|| format!("no kubectl at {}", given.display()))?)
        }
        None => on_path(KUBECTL),
    };
    let folder = fill(&arguments.folder, &program, arguments.copy, kubectl.as_deref())?;
    writeln!(io::stdout(), "{}", folder.display())?;
    if kubectl.is_none() {
        tracing::warn!(
            "there is no kubectl on the search path, so there is none in the folder; most tests need none"
        );
    }
    Ok(())
}

/// Makes the names; what stands there that we did not make is left alone.
fn fill(folder: &Path, program: &Path, copy: bool, kubectl: Option<&Path>) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = fs::canonicalize(folder).with_context(|| format!("cannot use {}", folder.display()))?;
    let ours = if copy {
        copy_to(program, &folder.join(PROGRAM))?;
        Path::new(PROGRAM)
    } else {
        program
    };
    for name in OURS {
        link(ours, &folder.join(name))?;
    }
    if let Some(kubectl) = kubectl {
        link(kubectl, &folder.join(KUBECTL))?;
    }
    Ok(folder)
}

/// Copies beside and renames: a program that runs can be replaced, not written to.
fn copy_to(program: &Path, to: &Path) -> anyhow::Result<()> {
    let beside = to.with_extension("new");
    let made = fs::copy(program, &beside).and_then(|_bytes| fs::rename(&beside, to));
    made.with_context(|| format!("cannot copy {} to {}", program.display(), to.display()))
}

fn link(to: &Path, at: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(at) {
        Ok(there) if there.is_symlink() => {
            fs::remove_file(at).with_context(|| format!("cannot replace {}", at.display()))?;
        }
        Ok(_) => bail!("{} is there and is no link; remove it or choose another folder", at.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot look at {}", at.display())),
    }
    symlink(to, at).with_context(|| format!("cannot make {}", at.display()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(folder: &Path, name: &str) -> String {
        let target = fs::read_link(folder.join(name));
        target.map_or_else(|error| error.kind().to_string(), |it| it.display().to_string())
    }

    #[test]
    fn the_names_of_envtest_lead_to_the_program() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("some-binnacle");
        fs::write(&program, "program").unwrap();
        let kubectl = Path::new("/usr/bin/kubectl");
        let asked = home.path().join("a/b");
        let folder = fill(&asked, &program, false, Some(kubectl)).unwrap();
        for name in OURS {
            assert_eq!(seen(&folder, name), program.display().to_string());
        }
        assert_eq!(seen(&folder, KUBECTL), "/usr/bin/kubectl");
        // Again, and as a folder that can be moved.
        fill(&asked, &program, true, None).unwrap();
        assert_eq!(seen(&folder, "etcd"), "binnacle");
        assert_eq!(fs::read_to_string(folder.join("kube-apiserver")).unwrap(), "program");
    }

    #[test]
    fn what_others_put_into_the_folder_stays() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("etcd"), "upstream's").unwrap();
        let refused = fill(home.path(), Path::new("/program"), false, None).unwrap_err();
        assert!(refused.to_string().contains("is no link"), "{refused:#}");
        assert_eq!(fs::read_to_string(home.path().join("etcd")).unwrap(), "upstream's");
    }

    #[test]
    fn a_program_acts_as_it_is_called() {
        for (name, acts) in [
            ("/a/b/kube-apiserver", true),
            ("etcd", true),
            ("binnacle", false),
            ("/a/etcd/binnacle", false),
            ("", false),
        ] {
            assert_eq!(called_as(OsStr::new(name)).is_some(), acts, "{name}");
        }
    }
}
