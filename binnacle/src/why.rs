//! `binnacle why`: the chain from a client's write to the last Pod's readiness, with revisions and everybody's reasons.
//!
//! Asks `binnacle up` through a kubeconfig: `GET /debug/why`, which whoever may get that path may ask. Where the control plane
//! is separate binaries it asks each for what it remembers, and joins that here: the API server for its journal, the
//! scheduler and the controller manager at their own ports for their records.

pub(crate) mod story;

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use apiserver::{observe::journal, server::Server};
use clap::{Args, ValueEnum};
use client::{
    Api, Key,
    controller::{Record, Records},
    serving::{CONTROLLER_MANAGER_PORT, RECORDS_PATH, SCHEDULER_PORT},
    transport::kubeconfig::Remote,
};
use http::{Method, Uri};
use jiff::Timestamp;
use scheduler::record::Brief;
use serde::Deserialize;
use serde_json::Value;

use self::story::{Memory, Place};

/// So many objects of one decision are named.
const NAMED_MAX: usize = 5;
const JSON: &str = "application/json";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The flags of `binnacle why`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// What to explain, such as deployment/web, pod/web-5d8f or node/node-1
    #[arg(value_name = "KIND/NAME")]
    object: String,
    /// Its namespace
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,
    /// Tell all that is remembered, not only what followed from the last change
    #[arg(long)]
    all: bool,
    /// How to tell it
    #[arg(short, long, default_value = "text", value_name = "FORM")]
    output: Form,
    /// Where the scheduler serves, if it is a process of its own
    #[arg(long, default_value_t = at(SCHEDULER_PORT), value_name = "URL")]
    scheduler: Uri,
    /// Where the controller manager serves, if it is a process of its own
    #[arg(long, default_value_t = at(CONTROLLER_MANAGER_PORT), value_name = "URL")]
    controller_manager: Uri,
    /// How to reach the cluster, and who to be there; without it KUBECONFIG or the environment says
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Text,
    Json,
}

/// Lets a server answer: it remembers what is written from now on, and looks into these memories when it is asked.
pub(crate) fn install(server: &Arc<Server>, records: Vec<Records>, scheduler: scheduler::record::Records) {
    server.registry.journal.keep(journal::CAPACITY);
    let journal = server.registry.journal.clone();
    server.components.explained_by(Box::new(move |resource, namespace, name, whole| {
        let asked = Key::new(namespace, name);
        let memory = Memory {
            journal: journal.all(),
            records: records.iter().flat_map(Records::all).collect(),
            decisions: scheduler.list().iter().map(|it| it.brief(&asked)).collect(),
        };
        let story = story::tell(&memory, &Place::new(resource, namespace, name), whole);
        serde_json::to_value(&story).unwrap_or_default()
    }));
}

/// Asks, and prints the answer.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Some((kind, name)) = arguments.object.split_once('/') else {
        bail!("{:?} is not KIND/NAME, such as deployment/web", arguments.object);
    };
    let transport = Remote::connect(arguments.kubeconfig.as_deref()).await?;
    let api = Api::new(Arc::new(transport), concat!("binnacle-why/", env!("CARGO_PKG_VERSION")));
    let (resource, namespaced) = resource_of(&api, kind).await?;
    let namespace = if namespaced { arguments.namespace.as_str() } else { "" };
    let whole = if arguments.all { "&all=true" } else { "" };
    let path = format!("/debug/why?resource={resource}&namespace={namespace}&name={name}{whole}");
    let story = match api.request(Method::GET, &path, JSON, None).await {
        Err(error) if error.is_not_found() => {
            let memory = gather(&arguments, &api, &Place::new(&resource, namespace, name)).await?;
            let story = story::tell(&memory, &Place::new(&resource, namespace, name), arguments.all);
            serde_json::to_value(&story)?
        }
        answer => serde_json::from_slice(&answer.context("cannot ask the server")?)
            .context("cannot read the answer")?,
    };
    let told = match arguments.output {
        Form::Json => serde_json::to_string_pretty(&story)? + "\n",
        Form::Text => text(&story),
    };
    std::io::stdout().write_all(told.as_bytes())?;
    Ok(())
}

/// What a component remembers, as it tells it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Told {
    records: Vec<Arc<Record>>,
    decisions: Vec<Brief>,
}

/// What the processes of a control plane remember. One that cannot be asked is left out, and said.
async fn gather(arguments: &Arguments, api: &Api, object: &Place) -> anyhow::Result<Memory> {
    let journal = match api.request(Method::GET, "/debug/journal", JSON, None).await {
        Err(error) if error.is_not_found() => bail!("this server does not remember why"),
        answer => answer.context("cannot ask the server")?,
    };
    let journal = serde_json::from_slice(&journal).context("cannot read the answer")?;
    let mut memory = Memory { journal, ..Memory::default() };
    for (component, url) in
        [("scheduler", &arguments.scheduler), ("controller manager", &arguments.controller_manager)]
    {
        match ask(url, arguments.kubeconfig.as_deref(), object).await {
            Ok(told) => {
                memory.records.extend(told.records);
                memory.decisions.extend(told.decisions);
            }
            Err(error) => {
                writeln!(std::io::stderr(), "The {component} at {url} is left out: {error:#}.")?;
            }
        }
    }
    Ok(memory)
}

async fn ask(url: &Uri, kubeconfig: Option<&Path>, object: &Place) -> anyhow::Result<Told> {
    let remote = Remote::connect_to(url.clone(), kubeconfig).await?;
    let api = Api::new(Arc::new(remote), concat!("binnacle-why/", env!("CARGO_PKG_VERSION")));
    let Place { resource, namespace, name } = object;
    let path = format!("{RECORDS_PATH}?resource={resource}&namespace={namespace}&name={name}");
    let answer = api.request(Method::GET, &path, JSON, None).await.context("cannot ask it")?;
    serde_json::from_slice(&answer).context("cannot read its answer")
}

/// A port of this machine.
fn at(port: u16) -> Uri {
    Uri::builder()
        .scheme("https")
        .authority(format!("127.0.0.1:{port}"))
        .path_and_query("/")
        .build()
        .unwrap_or_default()
}

/// The resource that people mean by a word: its plural, its singular, its kind or a short name, with or without a group.
async fn resource_of(api: &Api, word: &str) -> anyhow::Result<(String, bool)> {
    let word = word.to_lowercase();
    for path in ["/api", "/apis"] {
        let answer =
            api.request(Method::GET, path, DISCOVERY, None).await.context("cannot ask the server")?;
        let document: Value =
            serde_json::from_slice(&answer).context("cannot read what the server serves")?;
        if let Some(found) = find_resource(&document, &word) {
            return Ok(found);
        }
    }
    bail!("the server has no resource {word:?}")
}

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

fn word<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn find_resource(document: &Value, wanted: &str) -> Option<(String, bool)> {
    let groups = items(document, "items");
    let all = groups.flat_map(|group| {
        let versions = items(group, "versions").flat_map(|version| items(version, "resources"));
        versions.map(move |resource| (word(group, "/metadata/name"), resource))
    });
    for (group, resource) in all {
        let plural = word(resource, "/resource");
        let full = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let kind = word(resource, "/responseKind/kind").to_lowercase();
        let names = [plural, word(resource, "/singularResource"), &kind, &full];
        let short = items(resource, "shortNames").filter_map(Value::as_str);
        if names.into_iter().chain(short).any(|name| !name.is_empty() && name == wanted) {
            return Some((full, word(resource, "/scope") == "Namespaced"));
        }
    }
    None
}

/// The story, for people.
fn text(story: &Value) -> String {
    let mut out = String::new();
    let object = story.get("object").cloned().unwrap_or_default();
    let _ = writeln!(out, "{}", titled(&object));
    let steps: Vec<&Value> = items(story, "steps").collect();
    let Some(began) = steps.first().and_then(|step| time(step, "/at")) else {
        out.push_str("\nNobody remembers anything about it: it is unknown, or it was too long ago.\n");
        return out;
    };
    let _ =
        writeln!(out, "\nSince {began}, in seconds; revisions in brackets, with those it follows from:\n");
    let mut rest = steps.as_slice();
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|step| alike(step, first)).count().max(1);
        let (lot, later) = rest.split_at(count);
        tell(&mut out, began, lot);
        rest = later;
    }
    if let Some(ready) = steps.iter().rev().find(|step| makes_ready(step)) {
        let after = seconds(began, ready);
        let name = word(ready, "/name");
        let _ = writeln!(out, "\nThe last Pod to become ready was {name}, after {after} s.");
    }
    now(&mut out, story);
    for decision in items(story, "decisions") {
        out.push_str(&table(decision));
    }
    out
}

/// Whether two writes can be told in one breath: those of one decision, and those that say the same of different objects.
fn alike(step: &Value, first: &Value) -> bool {
    let same = |paths: &[&str]| paths.iter().all(|path| step.pointer(path) == first.pointer(path));
    same(&["/by", "/verb", "/resource", "/subresource", "/why"])
        && first.get("decision").is_some()
        && (same(&["/decision"]) || same(&["/differences"]))
}

fn titled(object: &Value) -> String {
    let (namespace, name) = (word(object, "/namespace"), word(object, "/name"));
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{} {namespace}{slash}{name}", word(object, "/resource"))
}

fn time(value: &Value, path: &str) -> Option<Timestamp> {
    word(value, path).parse().ok()
}

fn seconds(began: Timestamp, step: &Value) -> String {
    let passed = time(step, "/at").map(|at| at.duration_since(began).as_secs_f64()).unwrap_or_default();
    format!("{passed:+.3}")
}

fn makes_ready(step: &Value) -> bool {
    let ready = |it: &Value| {
        it.as_str()
            .is_some_and(|it| it.starts_with("status.conditions[Ready].status:") && it.ends_with("True"))
    };
    word(step, "/resource") == "pods" && items(step, "differences").any(ready)
}

/// One decision: what it wrote, and why.
fn tell(out: &mut String, began: Timestamp, lot: &[&Value]) {
    let Some(first) = lot.first() else { return };
    let revision = |step: &&&Value| step.get("revision").and_then(Value::as_u64).unwrap_or_default();
    let (from, to) = (lot.first().map_or(0, |it| revision(&it)), lot.last().map_or(0, |it| revision(&it)));
    let revisions = if from == to { from.to_string() } else { format!("{from}..{to}") };
    let with = first.get("with").and_then(Value::as_str).map(|it| format!(" ({it})")).unwrap_or_default();
    let verb = match word(first, "/verb") {
        "create" => "makes",
        "delete" => "removes",
        "mark" => "tells to go",
        _ => "changes",
    };
    let subresource = word(first, "/subresource");
    let slash = if subresource.is_empty() { "" } else { "/" };
    let mut names: Vec<&str> = lot.iter().take(NAMED_MAX).map(|step| word(step, "/name")).collect();
    let more = lot.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.dedup();
    let _ = writeln!(
        out,
        "{:>9}  {}{with} {verb} {}{slash}{subresource} {}{more}  [{revisions}]{}",
        seconds(began, first),
        word(first, "/by"),
        word(first, "/resource"),
        names.join(", "),
        because(first),
    );
    if let Some(why) = first.get("why").and_then(Value::as_str) {
        let _ = writeln!(out, "{:>9}    {why}", "");
    }
    let differences: Vec<&str> = items(first, "differences").filter_map(Value::as_str).collect();
    let told = |step: &&Value| step.get("differences") == first.get("differences");
    if !differences.is_empty() && lot.iter().all(told) {
        let _ = writeln!(out, "{:>9}    {}", "", differences.join("; "));
    }
}

fn because(step: &Value) -> String {
    let causes: Vec<String> = items(step, "because").map(Value::to_string).collect();
    if causes.is_empty() { String::new() } else { format!(" <- {}", causes.join(", ")) }
}

fn now(out: &mut String, story: &Value) {
    let said: Vec<&Value> = items(story, "now").collect();
    if !said.is_empty() {
        out.push_str("\nNow:\n");
    }
    for it in said {
        let _ = writeln!(out, "  {} on {}: {}", word(it, "/by"), titled(it), word(it, "/why"));
        if let Some(trouble) = it.get("trouble").and_then(Value::as_str) {
            let _ = writeln!(out, "    tries again: {trouble}");
        }
    }
}

/// What the scheduler found of each node.
fn table(decision: &Value) -> String {
    let number = |path: &str| decision.pointer(path).map(Value::to_string).unwrap_or_default();
    let mut out = format!(
        "\nThe scheduler at {}, attempt {}: {} of {} nodes would do",
        word(decision, "/at"),
        number("/attempt"),
        number("/feasible"),
        number("/nodes"),
    );
    match decision.get("node").and_then(Value::as_str) {
        Some(node) => {
            let _ = writeln!(out, "; it goes to {node}");
        }
        None => {
            let _ = writeln!(out, "\n  {}", word(decision, "/message"));
        }
    }
    let scores = decision.get("scores").and_then(Value::as_object);
    let mut plugins: Vec<&String> = Vec::new();
    for plugin in scores.into_iter().flatten().filter_map(|(_, of)| of.as_object()).flat_map(|of| of.keys()) {
        if plugin != "total" && !plugins.contains(&plugin) {
            plugins.push(plugin);
        }
    }
    if let Some(scores) = scores.filter(|scores| !scores.is_empty()) {
        let wide = scores.keys().map(String::len).max().unwrap_or_default().max("NODE".len());
        let _ = write!(out, "  {:wide$}  {:>6}", "NODE", "TOTAL");
        for plugin in &plugins {
            let _ = write!(out, "  {plugin}");
        }
        out.push('\n');
        for (node, of) in scores {
            let points = |plugin: &str| of.get(plugin).map(Value::to_string).unwrap_or_default();
            let _ = write!(out, "  {node:wide$}  {:>6}", points("total"));
            for plugin in &plugins {
                let _ = write!(out, "  {:>wide$}", points(plugin), wide = plugin.len());
            }
            out.push('\n');
        }
    }
    for (node, verdict) in decision.get("rejected").and_then(Value::as_object).into_iter().flatten() {
        let reasons: Vec<&str> = items(verdict, "reasons").filter_map(Value::as_str).collect();
        let _ = writeln!(out, "  {node}  {}: {}", word(verdict, "/plugin"), reasons.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_is_found_by_every_name_people_use() {
        let document = json!({"items": [
            {"metadata": {"name": ""}, "versions": [{"resources": [{"resource": "nodes", "scope": "Cluster",
                "singularResource": "node", "shortNames": ["no"], "responseKind": {"kind": "Node"}}]}]},
            {"metadata": {"name": "apps"}, "versions": [{"resources": [{"resource": "deployments", "scope": "Namespaced",
                "singularResource": "deployment", "shortNames": ["deploy"], "responseKind": {"kind": "Deployment"}}]}]},
        ]});
        for (said, found) in [
            ("deploy", Some(("deployments.apps".to_owned(), true))),
            ("deployment", Some(("deployments.apps".to_owned(), true))),
            ("deployments.apps", Some(("deployments.apps".to_owned(), true))),
            ("no", Some(("nodes".to_owned(), false))),
            ("nonsense", None),
        ] {
            assert_eq!(find_resource(&document, said), found, "{said}");
        }
    }

    #[test]
    fn a_story_is_told_in_order_and_one_decision_in_one_line() {
        let step = |revision: u64, name: &str, decision: &str| {
            json!({"revision": revision, "at": "2026-01-01T00:00:01Z", "by": "replicaset-controller", "verb": "create",
                "resource": "pods", "namespace": "ns", "name": name, "why": "2 of 2 Pods are missing", "because": [2],
                "decision": decision})
        };
        let story = json!({
            "object": {"resource": "deployments.apps", "namespace": "ns", "name": "web"},
            "steps": [
                {"revision": 1, "at": "2026-01-01T00:00:00Z", "by": "anna", "with": "kubectl-create", "verb": "create",
                    "resource": "deployments.apps", "namespace": "ns", "name": "web"},
                step(3, "web-a", "x-1"),
                step(4, "web-b", "x-1"),
                {"revision": 5, "at": "2026-01-01T00:00:02.5Z", "by": "kubelet", "verb": "update", "subresource": "status",
                    "resource": "pods", "namespace": "ns", "name": "web-a",
                    "differences": ["status.conditions[Ready].status: False -> True"]},
            ],
            "now": [{"by": "it", "resource": "pods", "namespace": "ns", "name": "p", "why": "so", "trouble": "no room"}],
            "decisions": [{"at": "2026-01-01T00:00:00Z", "attempt": 1, "feasible": 1, "nodes": 2, "node": "n1",
                "scores": {"n1": {"total": 7, "Fit": 7}},
                "rejected": {"n2": {"plugin": "TaintToleration", "reasons": ["tainted"]}}}],
        });
        let expected = "\
deployments.apps ns/web

Since 2026-01-01T00:00:00Z, in seconds; revisions in brackets, with those it follows from:

   +0.000  anna (kubectl-create) makes deployments.apps web  [1]
   +1.000  replicaset-controller makes pods web-a, web-b  [3..4] <- 2
             2 of 2 Pods are missing
   +2.500  kubelet changes pods/status web-a  [5]
             status.conditions[Ready].status: False -> True

The last Pod to become ready was web-a, after +2.500 s.

Now:
  it on pods ns/p: so
    tries again: no room

The scheduler at 2026-01-01T00:00:00Z, attempt 1: 1 of 2 nodes would do; it goes to n1
  NODE   TOTAL  Fit
  n1         7    7
  n2  TaintToleration: tainted
";
        assert_eq!(text(&story), expected);
        assert!(text(&json!({"object": {}})).contains("Nobody remembers"));
    }
}
