//! From a client's write to the last Pod's readiness: joins what the server, the controllers and the scheduler remember.
//!
//! The server's journal says who wrote what at which revision; a controller's record says why it decided so, what it had
//! seen and which revisions came of it; the scheduler's record says why a Pod went where it is. The revisions join them.
//!
//! Invariant: values in, values out. Nothing is asked here.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use apiserver::observe::journal::Entry;
use client::controller::{
    Cause, Record,
    record::{Next, Outcome},
};
use jiff::Timestamp;
use scheduler::record::Brief;
use serde::Serialize;
use serde_json::Value;

/// What a process remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Who wrote what, oldest first.
    pub(crate) journal: Vec<Arc<Entry>>,
    /// What controllers decided, oldest first within a component.
    pub(crate) records: Vec<Arc<Record>>,
    /// Where Pods were put, oldest first.
    pub(crate) decisions: Vec<Brief>,
}

/// An object by its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Place {
    /// `deployments.apps`
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Why an object is as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Story {
    pub(crate) object: Place,
    /// What was written, in the order of revisions.
    pub(crate) steps: Vec<Step>,
    /// What those who look after it said last.
    pub(crate) now: Vec<Said>,
    /// Where the scheduler put it or why it could not, if it is a Pod.
    pub(crate) decisions: Vec<Value>,
}

/// One write.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Step {
    pub(crate) revision: u64,
    pub(crate) at: Timestamp,
    /// A controller, the scheduler, or a user.
    pub(crate) by: String,
    /// The program that a user used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) with: Option<String>,
    pub(crate) verb: Cow<'static, str>,
    #[serde(flatten)]
    pub(crate) object: Place,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) subresource: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) differences: Vec<String>,
    /// The writer's one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
    /// The revisions that made the writer look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) because: Vec<u64>,
    /// Steps of one decision have the same number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decision: Option<String>,
}

/// What a controller said last of one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Said {
    pub(crate) by: String,
    #[serde(flatten)]
    pub(crate) object: Place,
    pub(crate) at: Timestamp,
    pub(crate) why: String,
    /// What went wrong, if it has to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
}

/// The records, by what they wrote.
struct Writers<'a> {
    by_revision: BTreeMap<u64, &'a Arc<Record>>,
    /// The answer to a deletion has no revision.
    deleters: BTreeMap<Place, Vec<&'a Arc<Record>>>,
}

// === impl Place ===

impl Place {
    pub(crate) fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn of(entry: &Entry) -> Self {
        Self::new(&entry.resource, &entry.namespace, &entry.name)
    }

    /// The object a controller looked at.
    fn root_of(record: &Record) -> Self {
        Self::new(&record.resource, &record.key.namespace, &record.key.name)
    }
}

// === impl Writers ===

impl<'a> Writers<'a> {
    fn new(records: &'a [Arc<Record>]) -> Self {
        let mut writers = Self { by_revision: BTreeMap::new(), deleters: BTreeMap::new() };
        for record in records {
            for written in record.writes.iter().filter(|written| written.outcome == Outcome::Done) {
                if written.revision.is_none() || written.verb == "delete" {
                    let resource = written.resource.split('/').next().unwrap_or_default();
                    let place = Place::new(resource, &written.key.namespace, &written.key.name);
                    writers.deleters.entry(place).or_default().push(record);
                }
                // An answer that changed nothing shows the revision of before: whoever wrote it first is its writer.
                writers.by_revision.entry(written.revision.0).or_insert(record);
            }
        }
        writers
    }

    fn of(&self, entry: &Entry) -> Option<&'a Arc<Record>> {
        if let Some(record) = self.by_revision.get(&entry.revision) {
            return Some(record);
        }
        if !matches!(&*entry.verb, "delete" | "mark") {
            return None;
        }
        let begun = |record: &&&'a Arc<Record>| record.started <= entry.at;
        self.deleters
            .get(&Place::of(entry))?
            .iter()
            .filter(begun)
            .max_by_key(|record| record.started)
            .copied()
    }
}

/// Whether nobody inside the control plane decided this.
fn is_clients(entry: &Entry, writers: &Writers<'_>) -> bool {
    let decides = !matches!(entry.subresource.as_str(), "status" | "binding");
    writers.of(entry).is_none() && !entry.user.starts_with("system:") && decides
}

/// Why an object is as it is: since the last time a client changed it or what it comes from, or since anybody remembers.
pub(crate) fn tell(memory: &Memory, object: &Place, whole: bool) -> Story {
    let writers = Writers::new(&memory.records);
    // Up: what it comes from, each until it made the next.
    let mut until: BTreeMap<Place, u64> = BTreeMap::new();
    let mut line = object.clone();
    while let Some(made) = memory.journal.iter().rev().find(|it| it.verb == "create" && Place::of(it) == line)
    {
        let parent = writers.of(made).map(|record| Place::root_of(record));
        let Some(parent) = parent.filter(|it| !it.resource.is_empty() && *it != line) else { break };
        if until.insert(parent.clone(), made.revision).is_some() {
            break;
        }
        line = parent;
    }
    // Down: what those who look after it look after.
    let mut family = BTreeSet::from([object.clone()]);
    for entry in &memory.journal {
        if writers.of(entry).is_some_and(|record| family.contains(&Place::root_of(record))) {
            family.insert(Place::of(entry));
        }
    }
    let belongs = |entry: &Entry| {
        let place = Place::of(entry);
        family.contains(&place) || until.get(&place).is_some_and(|until| entry.revision <= *until)
    };
    let chain: Vec<_> = memory.journal.iter().filter(|entry| belongs(entry)).collect();
    let began = chain.iter().rev().find(|entry| {
        let place = Place::of(entry);
        (place == *object || until.contains_key(&place)) && is_clients(entry, &writers)
    });
    let since = if whole { 0 } else { began.map_or(0, |entry| entry.revision) };
    let of_story = chain.into_iter().filter(|entry| entry.revision >= since);
    let steps = of_story.map(|entry| step(entry, &writers, &memory.decisions)).collect();
    let mine = |record: &&Brief| {
        object.resource == "pods"
            && *record.pod.namespace == *object.namespace
            && *record.pod.name == *object.name
    };
    let decisions = memory.decisions.iter().filter(mine);
    Story {
        steps,
        now: now(memory, &family),
        decisions: decisions.filter_map(|it| it.whole.clone()).collect(),
        object: object.clone(),
    }
}

fn step(entry: &Entry, writers: &Writers<'_>, decisions: &[Brief]) -> Step {
    let record = writers.of(entry);
    let causes = record.map(|record| record.causes.iter().filter_map(revision_of).collect());
    let scheduled = (entry.subresource == "binding").then(|| placed(entry, decisions)).flatten();
    let by = record.map_or_else(|| entry.user.clone(), |record| record.controller.clone().into_owned());
    Step {
        revision: entry.revision,
        at: entry.at,
        with: record.is_none().then(|| entry.manager.clone()).filter(|it| *it != by && !it.is_empty()),
        by,
        verb: entry.verb.clone(),
        object: Place::of(entry),
        subresource: entry.subresource.clone(),
        differences: entry.differences.clone(),
        why: record.map(|record| record.why.clone()).or(scheduled),
        because: causes.unwrap_or_default(),
        decision: record.map(|record| format!("{}-{}", record.controller, record.sequence)),
    }
}

fn revision_of(cause: &Cause) -> Option<u64> {
    match cause {
        Cause::Change { revision, .. } => Some(revision.0),
        Cause::LookAgain | Cause::Retry | Cause::Start => None,
    }
}

/// Why the scheduler bound a Pod, in one sentence.
fn placed(entry: &Entry, decisions: &[Brief]) -> Option<String> {
    let of_pod = |it: &&Brief| it.uid == entry.uid && it.node.is_some();
    let decision = decisions.iter().rev().find(of_pod)?;
    let node = decision.node.as_deref()?;
    let (feasible, nodes) = (decision.feasible, decision.nodes);
    Some(match decision.score {
        Some(score) => {
            format!("{feasible} of {nodes} nodes would do, and {node} is best with {score} points")
        }
        None => format!("{feasible} of {nodes} nodes would do: {node}"),
    })
}

/// What everybody who looks after one of these said last; of Pods only what went wrong.
fn now(memory: &Memory, family: &BTreeSet<Place>) -> Vec<Said> {
    let mut last: BTreeMap<(Place, &str), &Arc<Record>> = BTreeMap::new();
    for record in &memory.records {
        let place = Place::root_of(record);
        if family.contains(&place) {
            last.insert((place, &record.controller), record);
        }
    }
    let mut said: Vec<Said> = last
        .into_iter()
        .map(|((object, by), record)| Said {
            by: by.to_owned(),
            at: record.started,
            why: record.why.clone(),
            trouble: match &record.next {
                Next::Retry { message, .. } => Some(message.clone()),
                Next::Wait | Next::LookAgain { .. } | Next::Conflict => None,
            },
            object,
        })
        .filter(|said| said.object.resource != "pods" || said.trouble.is_some())
        .collect();
    let mut placed: BTreeMap<Place, &Brief> = BTreeMap::new();
    for decision in &memory.decisions {
        placed.insert(Place::new("pods", &decision.pod.namespace, &decision.pod.name), decision);
    }
    let alive: BTreeSet<Place> = memory.journal.iter().fold(BTreeSet::new(), |mut alive, entry| {
        match &*entry.verb {
            "delete" => drop(alive.remove(&Place::of(entry))),
            _ => drop(alive.insert(Place::of(entry))),
        }
        alive
    });
    let waits = placed
        .into_iter()
        .filter(|(place, it)| family.contains(place) && it.node.is_none() && alive.contains(place));
    said.extend(waits.map(|(object, it)| Said {
        by: it.profile.clone(),
        object,
        at: it.at,
        why: "no node will do".to_owned(),
        trouble: Some(it.message.clone()),
    }));
    said
}

#[cfg(test)]
mod tests {
    use client::{Key, Revision, controller::record::Written};

    use super::*;

    fn entry(revision: u64, user: &str, verb: &'static str, resource: &str, name: &str) -> Arc<Entry> {
        Arc::new(Entry {
            revision,
            at: Timestamp::UNIX_EPOCH,
            user: user.to_owned(),
            manager: "kubectl".to_owned(),
            verb: verb.into(),
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            differences: Vec::new(),
        })
    }

    /// A look at `root` because of a revision, that wrote one object.
    fn record(
        root: (&str, &str),
        cause: u64,
        wrote: (&'static str, &str, &str, u64),
        why: &str,
    ) -> Arc<Record> {
        let (verb, resource, name, revision) = wrote;
        Arc::new(Record {
            sequence: revision,
            controller: "somebody".into(),
            resource: root.0.to_owned(),
            key: Key::new("ns", root.1),
            started: Timestamp::UNIX_EPOCH,
            waited: std::time::Duration::ZERO,
            took: std::time::Duration::ZERO,
            causes: vec![Cause::Change {
                resource: root.0.to_owned(),
                key: Key::new("ns", root.1),
                revision: Revision(cause),
                what: "added".into(),
            }],
            reads: Vec::new(),
            why: why.to_owned(),
            writes: vec![Written {
                verb: verb.into(),
                resource: resource.to_owned(),
                key: Key::new("ns", name),
                revision: Revision(revision),
                outcome: Outcome::Done,
            }],
            next: Next::Wait,
        })
    }

    /// A Deployment that somebody makes and changes, with a ReplicaSet and two Pods; and another one.
    fn memory() -> Memory {
        let system = "system:serviceaccount:kube-system:somebody";
        Memory {
            journal: vec![
                entry(1, "anna", "create", "deployments.apps", "web"),
                entry(2, system, "create", "replicasets.apps", "web-1"),
                entry(3, system, "create", "pods", "web-1-a"),
                entry(4, "bert", "create", "deployments.apps", "other"),
                entry(5, "system:node:n", "update", "pods", "web-1-a"),
                entry(6, "anna", "update", "deployments.apps", "web"),
                entry(7, system, "create", "pods", "web-1-b"),
                entry(8, system, "delete", "pods", "web-1-a"),
            ],
            records: vec![
                record(
                    ("deployments.apps", "web"),
                    1,
                    ("create", "replicasets.apps", "web-1", 2),
                    "a new template",
                ),
                record(("replicasets.apps", "web-1"), 2, ("create", "pods", "web-1-a", 3), "one is missing"),
                record(
                    ("replicasets.apps", "web-1"),
                    6,
                    ("create", "pods", "web-1-b", 7),
                    "one more is missing",
                ),
                record(("replicasets.apps", "web-1"), 6, ("delete", "pods", "web-1-a", 0), "one is too many"),
            ],
            decisions: Vec::new(),
        }
    }

    fn check(resource: &str, name: &str, whole: bool) -> Vec<String> {
        let story = tell(&memory(), &Place::new(resource, "ns", name), whole);
        let line = |step: &Step| {
            let why = step.why.as_deref().unwrap_or("-");
            format!(
                "{} {} {} {}: {why} {:?}",
                step.revision, step.by, step.verb, step.object.name, step.because
            )
        };
        story.steps.iter().map(line).collect()
    }

    #[test]
    fn a_story_goes_from_the_last_change_of_a_client_down_to_the_pods() {
        let since_the_change = [
            "6 anna update web: - []",
            "7 somebody create web-1-b: one more is missing [6]",
            "8 somebody delete web-1-a: one is too many [6]",
        ];
        assert_eq!(check("deployments.apps", "web", false), since_the_change);
        let whole = check("deployments.apps", "web", true);
        assert_eq!(whole.len(), 7, "{whole:?}");
        assert!(whole.iter().all(|line| !line.contains("other")));
    }

    #[test]
    fn a_story_goes_up_to_what_an_object_comes_from() {
        let story = [
            "1 anna create web: - []",
            "2 somebody create web-1: a new template [1]",
            "3 somebody create web-1-a: one is missing [2]",
            "5 system:node:n update web-1-a: - []",
            "8 somebody delete web-1-a: one is too many [6]",
        ];
        assert_eq!(check("pods", "web-1-a", false), story);
        assert!(check("pods", "unknown", false).is_empty());
    }

    #[test]
    fn what_was_said_last_is_told() {
        let story = tell(&memory(), &Place::new("deployments.apps", "ns", "web"), false);
        let said: Vec<_> = story.now.iter().map(|it| format!("{}: {}", it.object.name, it.why)).collect();
        assert_eq!(said, ["web: a new template", "web-1: one is too many"]);
    }
}
