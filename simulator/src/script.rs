//! Scenarios as text: what a client does, what fails, and what the controllers then write.
//!
//! ```text
//! # A Deployment is made and scaled.
//! create
//!   {kind: Deployment, ...}      YAML
//! stabilize                      until nothing is left to do
//! writes                         all that controllers wrote since the last time, but for statuses and Events
//!   1  deployment-controller  create replicasets.apps web-*
//!   3  replicaset-controller  create pods web-*-*
//! patch deployment web {"spec": {"replicas": 4}}
//! stabilize
//! see deployment web /status/readyReplicas 4
//! ```
//!
//! The other steps are `delete KIND NAME [orphan|foreground]`, `gone KIND NAME`, `wait 5s`, `leap 3600s`,
//! `crash COMPONENT 2s`, `lose-replies COMPONENT 2`, `break-watches COMPONENT`, `lose-node NAME`, `nodes-return`, and
//! `stage LABEL=VALUE complete=1s exit=1`, which says what the Pods with a label do. Parts of names that are drawn or hashed
//! are written `*`.
//!
//! [`run`] gives the text back with the writes as they were: a test compares, and who wants can take it as it is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use client::{
    Key, Resource,
    api::{DeleteOptions, Patch, Propagation},
    controller::{Record, record::Outcome},
    resource,
};
use serde_json::Value;

use crate::{
    cluster::{Cluster, Component, Options, play},
    hollow::stages::{Match, Stage, Stages},
    safety::rest::unrest,
};

/// How long things may take that a script waits for.
const PATIENCE: Duration = Duration::from_secs(900);
/// Nothing was left to do, and is not after so long either.
const QUIET: Duration = Duration::from_secs(5);

/// A script and where it is.
struct Run<'a> {
    cluster: &'a Cluster,
    /// What was written since it was last told.
    untold: Vec<Arc<Record>>,
    /// From which record on nothing was told yet.
    next: u64,
    out: String,
}

/// Plays a script in a world of its own, and gives it back with what was written.
///
/// # Errors
/// What cannot be read, and what is not as the script says; with the line.
pub fn run(text: &str) -> anyhow::Result<String> {
    let options = Options { stages: stages(text)?, ..Options::seed(1) };
    play(options, async |cluster| {
        // The nodes come first.
        cluster.run_for(Duration::from_secs(2)).await;
        let mut run = Run { cluster, untold: Vec::new(), next: 0, out: String::new() };
        run.collect();
        run.untold.clear();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let mut block = Vec::new();
            while let Some((_, more)) = lines.next_if(|(_, it)| it.starts_with("  ")) {
                block.push(more);
            }
            let step = run.step(line, &block).await;
            step.with_context(|| format!("line {}: {line}", number + 1))?;
        }
        cluster.check()?;
        Ok(run.out)
    })
}

/// What Pods do, as the script says.
fn stages(text: &str) -> anyhow::Result<Stages> {
    let mut own = Vec::new();
    for line in text.lines() {
        let Some(words) = line.strip_prefix("stage ") else { continue };
        let mut stage = Stage::default();
        for word in words.split_whitespace() {
            let (name, value) = word.split_once('=').with_context(|| format!("no name=value: {word}"))?;
            match name {
                "complete" => stage.complete = Some(duration(value)?),
                "start" => stage.start = Some(duration(value)?),
                "ready" => stage.ready = Some(duration(value)?),
                "stop" => stage.stop = Some(duration(value)?),
                "exit" => stage.exit_code = value.parse()?,
                label => drop(stage.matches.labels.insert(label.to_owned(), value.to_owned())),
            }
        }
        stage.matches = Match { labels: std::mem::take(&mut stage.matches.labels), ..Match::default() };
        own.push(stage);
    }
    Ok(Stages::of_own(own))
}

fn duration(text: &str) -> anyhow::Result<Duration> {
    let span: jiff::SignedDuration = text.parse().with_context(|| format!("{text} is no duration"))?;
    Ok(Duration::try_from(span)?)
}

fn component(name: &str) -> anyhow::Result<Component> {
    Ok(match name {
        "controller-manager" => Component::ControllerManager,
        "scheduler" => Component::Scheduler,
        "nodes" => Component::Nodes,
        other => bail!("no component {other:?}"),
    })
}

fn kind(name: &str) -> anyhow::Result<Resource> {
    let of_name =
        |it: &Resource| it.kind.to_lowercase() == name.to_lowercase() && it.group != "events.k8s.io";
    resource::all().into_iter().find(of_name).with_context(|| format!("no kind {name:?}"))
}

fn key(resource: &Resource, name: &str) -> Key {
    match name.split_once('/') {
        Some((namespace, name)) => Key::new(namespace, name),
        None if resource.namespaced => Key::new("default", name),
        None => Key::cluster(name),
    }
}

/// A name without what is drawn or hashed in it.
fn masked(name: &str) -> String {
    const ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";
    const UID_LENGTH: usize = 36;
    let chance = |part: &str| {
        let drawn = (5..=10).contains(&part.len()) && part.chars().all(|it| ALPHABET.contains(it));
        let minutes = part.len() >= 8 && part.chars().all(|it| it.is_ascii_digit());
        drawn || minutes
    };
    let uid_at = name.len().checked_sub(UID_LENGTH);
    if let Some((before, uid)) = uid_at.and_then(|at| name.split_at_checked(at))
        && uid.split('-').map(str::len).eq([8, 4, 4, 4, 12])
    {
        return format!("{before}*");
    }
    let mut parts = name.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + "-" + if chance(part) { "*" } else { part })
}

// === impl Run ===

impl Run<'_> {
    /// Takes note of what was recorded in the present life of the controllers.
    fn collect(&mut self) {
        let Some(records) = self.cluster.records(Component::ControllerManager) else { return };
        let new = records.since(self.next);
        self.next = new.last().map_or(self.next, |record| record.sequence + 1);
        self.untold.extend(new);
    }

    fn echo(&mut self, line: &str, block: &[&str]) {
        for line in std::iter::once(&line).chain(block) {
            self.out.push_str(line);
            self.out.push('\n');
        }
    }

    async fn step(&mut self, line: &str, block: &[&str]) -> anyhow::Result<()> {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let step = word();
        if step == "writes" {
            self.collect();
            self.echo(line, &[]);
            let told = self.writes();
            self.out.push_str(&told);
            return Ok(());
        }
        self.echo(line, block);
        match step {
            "" | "#" | "stage" => {}
            "create" => self.create(&block.join("\n")).await?,
            "patch" => self.patch(word(), word(), word()).await?,
            "delete" => self.delete(word(), word(), word()).await?,
            "see" => self.see(word(), word(), word()).await?,
            "gone" => self.gone(word(), word()).await?,
            "stabilize" => self.stabilize().await?,
            "wait" => self.cluster.run_for(duration(word())?).await,
            "leap" => self.cluster.leap(duration(word())?),
            "crash" => {
                let component = component(word())?;
                self.collect();
                self.cluster.crash(component, duration(word())?).await;
                if component == Component::ControllerManager {
                    self.next = 0;
                }
            }
            "lose-replies" => {
                let link = self.cluster.link(component(word())?);
                link.lose_replies(word().parse()?);
            }
            "break-watches" => self.cluster.link(component(word())?).break_watches(),
            "lose-node" => self.cluster.lose_node(word()),
            "nodes-return" => self.cluster.return_nodes(),
            other => bail!("no step {other:?}"),
        }
        Ok(())
    }

    async fn create(&self, text: &str) -> anyhow::Result<()> {
        for document in text.split("\n  ---\n") {
            let object: Value = serde_yaml::from_str(document).context("no YAML")?;
            let resource = kind(object.get("kind").and_then(Value::as_str).unwrap_or_default())?;
            let namespace =
                object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("default");
            let namespace = if resource.namespaced { namespace } else { "" };
            let _: Value = self.cluster.api.create(&resource, namespace, &object).await?;
        }
        Ok(())
    }

    async fn patch(&self, of: &str, name: &str, change: &str) -> anyhow::Result<()> {
        let resource = kind(of)?;
        let change: Value = serde_json::from_str(change).context("no JSON")?;
        let _: Value =
            self.cluster.api.patch(&resource, &key(&resource, name), "", &Patch::strategic(change)).await?;
        Ok(())
    }

    async fn delete(&self, of: &str, name: &str, how: &str) -> anyhow::Result<()> {
        let resource = kind(of)?;
        let propagation_policy = match how {
            "" => Propagation::Background,
            "orphan" => Propagation::Orphan,
            "foreground" => Propagation::Foreground,
            other => bail!("no way to delete: {other:?}"),
        };
        let options =
            DeleteOptions { propagation_policy: Some(propagation_policy), ..DeleteOptions::default() };
        self.cluster.api.delete(&resource, &key(&resource, name), &options).await?;
        Ok(())
    }

    /// Whether a field has a value, now or soon.
    async fn see(&self, of: &str, name: &str, rest: &str) -> anyhow::Result<()> {
        let resource = kind(of)?;
        let (path, wanted) = rest.split_once(' ').context("no value")?;
        let wanted: Value = serde_json::from_str(wanted).context("no JSON")?;
        let start = tokio::time::Instant::now();
        loop {
            let object: Value = self.cluster.api.get(&resource, &key(&resource, name)).await?;
            let is = object.pointer(path).cloned().unwrap_or_default();
            if is == wanted {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                bail!("it is {is}");
            }
            self.cluster.run_for(Duration::from_millis(100)).await;
        }
    }

    async fn gone(&self, of: &str, name: &str) -> anyhow::Result<()> {
        let resource = kind(of)?;
        match self.cluster.api.get::<Value>(&resource, &key(&resource, name)).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => bail!("it is there"),
        }
    }

    async fn stabilize(&self) -> anyhow::Result<()> {
        let start = tokio::time::Instant::now();
        let mut quiet_since = start;
        while quiet_since.elapsed() < QUIET {
            self.cluster.run_for(Duration::from_millis(200)).await;
            let left = self.cluster.look(|safety| unrest(&safety.world));
            if left.is_empty() {
                continue;
            }
            quiet_since = tokio::time::Instant::now();
            if start.elapsed() > PATIENCE {
                bail!("still to do:\n  {}", left.join("\n  "));
            }
        }
        self.cluster.check()
    }

    /// What was written, each with how often, in the order of the first time.
    fn writes(&mut self) -> String {
        let mut order: Vec<String> = Vec::new();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for record in self.untold.drain(..) {
            for written in &record.writes {
                if written.outcome != Outcome::Done || written.resource.ends_with("/status") {
                    continue;
                }
                let (verb, resource, name) = (&written.verb, &written.resource, masked(&written.key.name));
                let what = format!("{}  {verb} {resource} {name}", record.controller);
                if !counts.contains_key(&what) {
                    order.push(what.clone());
                }
                *counts.entry(what).or_default() += 1;
            }
        }
        let line = |what: &String| format!("  {}  {what}\n", counts.get(what).copied().unwrap_or_default());
        order.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_or_hashed_in_a_name_is_masked() {
        for (name, told) in [
            ("web-7957885594-z6nck", "web-*-*"),
            ("db-0", "db-0"),
            ("data-db-0", "data-db-0"),
            ("tick-29457321", "tick-*"),
            ("job-1-0-xskf4", "job-1-0-*"),
            ("pvc-ea0233f9-b347-4a05-bb7c-122206b0e1b9", "pvc-*"),
            ("web", "web"),
        ] {
            assert_eq!(masked(name), told);
        }
    }
}
