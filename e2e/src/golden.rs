//! Replays the recorded exchanges of the reference server, where they are at hand, and holds what has been reached: an
//! exchange that passed once never fails again.
//!
//! `golden-failing.txt` names the exchanges that do not pass yet, with the reason's place in the order of work. The list
//! only shrinks: one that fails without standing there is an error, and so is a standing one that passes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};

use crate::{Cluster, etcd::Etcd, say, tools};

/// The topics that are replayed.
pub const TOPICS: &[&str] = &[
    "health",
    "discovery",
    "kinds",
    "workloads",
    "pods",
    "services",
    "validation",
    "update",
    "patch",
    "apply",
    "delete",
    "list",
    "tables",
    "watch",
    "crd",
    "crd-apply",
    "negotiation",
    "namespaces",
    "subresources",
    "auth",
    "quota",
    "admission",
];

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replayed {
    /// How many exchanges passed.
    pub passed: usize,
    /// How many failed.
    pub failed: usize,
    /// Those that failed, as `topic / scenario / step`.
    pub failing: BTreeSet<String>,
}

/// Where the exchanges are, if they are there.
pub fn folder() -> Option<PathBuf> {
    let folder = tools::workspace().parent()?.join("shared/golden");
    folder.join("replay").is_file().then_some(folder)
}

/// The exchanges that are known to fail.
///
/// # Errors
/// When the list cannot be read.
pub fn known() -> anyhow::Result<BTreeSet<String>> {
    let path = list();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

/// The list of exchanges that are known to fail.
pub fn list() -> PathBuf {
    tools::workspace().join("e2e/golden-failing.txt")
}

/// Plays topics against a fresh apiserver over this store, as the recorded one ran.
///
/// # Errors
/// When the server or the player cannot be run.
pub fn replay(folder: &Path, store: &str, topics: &[&str], jobs: u32) -> anyhow::Result<Replayed> {
    let home = tempfile::tempdir()?;
    let tokens = folder.join("tokens.csv");
    let etcd = match store {
        "etcd" => Some(Etcd::start()?.context("etcd is not installed")?),
        _ => None,
    };
    let servers = etcd.as_ref().map(Etcd::url);
    let mut flags = vec![
        "--store",
        store,
        "--service-cluster-ip-range",
        "10.0.0.0/24",
        "--token-auth-file",
        tokens.to_str().context("the path of the tokens is no UTF-8")?,
    ];
    if let Some(servers) = &servers {
        flags.extend(["--etcd-servers", servers]);
    }
    let kubectl = tools::kubectl()?;
    let server = Cluster::start("apiserver", &kubectl, &home.path().join("data"), &flags)?;
    let url = server.url()?;
    let mut replayed = Replayed::default();
    for topic in topics {
        let file = folder.join(format!("{topic}.json"));
        ensure!(file.is_file(), "there is no topic {topic}");
        let mut command = Command::new("python3");
        command
            .arg(folder.join("replay"))
            .args(["--server", &url, "--token", "admintoken", "--insecure", "--patience", "3"])
            .args(["--jobs", &jobs.to_string()])
            .arg(&file);
        let said = say(command, "")?;
        let count = |word: &str| {
            let last = said.out.lines().last().unwrap_or_default();
            let numbers: Vec<&str> = last.split([' ', ',']).collect();
            let at = numbers.iter().position(|it| *it == word)?;
            numbers.get(at.checked_sub(1)?)?.parse::<usize>().ok()
        };
        replayed.passed += count("passed").with_context(|| format!("{topic}: {}", said.whole()))?;
        replayed.failed += count("failed").unwrap_or_default();
        replayed.failing.extend(said.out.lines().filter_map(failing));
    }
    Ok(replayed)
}

/// The exchange that a line of the player tells of.
fn failing(line: &str) -> Option<String> {
    let told = line.strip_prefix("FAIL ")?;
    let mut parts = told.splitn(3, " / ");
    let (topic, scenario, step) = (parts.next()?, parts.next()?, parts.next()?);
    // A step's name may contain a colon itself; what is wrong with it follows the first colon and blank.
    let step = step.split(": ").next().unwrap_or(step);
    Some(format!("{topic} / {scenario} / {step}"))
}

impl Cluster {
    /// How clients address the server.
    ///
    /// # Errors
    /// When the kubeconfig does not say.
    pub fn url(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.kubeconfig())?;
        let line = text.lines().find_map(|line| line.trim().strip_prefix("server:"));
        Ok(line.context("the kubeconfig names no server")?.trim().trim_matches('"').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_player_names_an_exchange() {
        assert_eq!(
            failing("FAIL update / generation / 1 post deploy: spec.replicas want 1 got (absent)").as_deref(),
            Some("update / generation / 1 post deploy")
        );
        assert_eq!(failing("3 passed, 1 failed"), None);
    }
}
