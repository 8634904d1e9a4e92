//! The parameters of operations.

use serde_json::{Map, Value, json};

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
}

/// A parameter of an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parameter {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it stands.
    pub(super) place: Place,
    /// `string`, `integer` or `boolean`.
    kind: &'static str,
    /// What it means.
    description: String,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Known {
    Known { name, kind, description }
}

struct Known {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
}

const PRETTY: Known = query(
    "pretty",
    "string",
    "If 'true', the answer is indented. The default is 'false', but for browsers, curl and wget.",
);

/// Of operations that list, watch, or delete what they would list.
const SELECTION: &[Known] = &[
    query(
        "continue",
        "string",
        "The token of the next page, from the metadata of the page before. All other parameters must be those of \
         the first page. An expired token is answered with 410: start over, or go on from the newer list that the \
         token in that answer stands for.",
    ),
    query("fieldSelector", "string", "Only objects whose fields are so. Everything if not set."),
    query("labelSelector", "string", "Only objects whose labels are so. Everything if not set."),
    query(
        "limit",
        "integer",
        "At most so many objects. If there are more, the metadata of the list has a token to continue with.",
    ),
    query(
        "resourceVersion",
        "string",
        "How fresh the data must be; see \
         https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
    ),
    query(
        "resourceVersionMatch",
        "string",
        "How resourceVersion is meant in a list: Exact or NotOlderThan; see \
         https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions.",
    ),
    query(
        "sendInitialEvents",
        "boolean",
        "With watch: begin with an ADDED event for every object there is, then a bookmark with the annotation \
         k8s.io/initial-events-end, then go on with changes. Needs resourceVersionMatch=NotOlderThan and \
         allowWatchBookmarks.",
    ),
    query(
        "shardSelector",
        "string",
        "Only objects whose hash lies in these ranges: shardRange(object.metadata.uid, '0x0', \
         '0x8000000000000000'), several joined with ||.",
    ),
    query(
        "timeoutSeconds",
        "integer",
        "How long the call may take, whether anything happens or not; a watch ends then.",
    ),
];

const WATCHING: &[Known] = &[
    query(
        "allowWatchBookmarks",
        "boolean",
        "Send bookmarks from time to time, from whose resourceVersion a later watch can start.",
    ),
    query(
        "watch",
        "boolean",
        "Send the changes of the objects as a stream of events, from resourceVersion on, instead of a list.",
    ),
];

const DRY_RUN: Known =
    query("dryRun", "string", "Go through all steps, but store nothing. The only value is All.");

const WRITING: &[Known] = &[
    query(
        "fieldManager",
        "string",
        "Who makes this change, for the ownership of fields: at most 128 printable characters. Taken from the \
         user agent if not set; must be set to apply.",
    ),
    query(
        "fieldValidation",
        "string",
        "What becomes of unknown and duplicate fields. Ignore: they are dropped silently. Warn (the default): they \
         are dropped, and each is named in a warning. Strict: the request fails and names them all.",
    ),
];

const FORCE: Known =
    query("force", "boolean", "Take fields over that other managers own. Only for apply patches.");

const DELETION: &[Known] = &[
    query(
        "gracePeriodSeconds",
        "integer",
        "How many seconds the object has left; zero: none. If not set, what its kind or the object says.",
    ),
    query(
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
        "Delete an object that cannot be read from the store, without regard to finalizers and preconditions. \
         What belongs to the object is left behind: only for those who know what it was.",
    ),
    query(
        "orphanDependents",
        "boolean",
        "Deprecated, use propagationPolicy. Whether dependents are left without owner.",
    ),
    query(
        "propagationPolicy",
        "string",
        "What becomes of dependents. Orphan: they stay. Background: they go after the object. Foreground: they go \
         before it.",
    ),
];

const LOG: &[Known] = &[
    query("container", "string", "The container; needed if the pod has more than one."),
    query("follow", "boolean", "Go on as the log grows."),
    query(
        "insecureSkipTLSVerifyBackend",
        "boolean",
        "Do not verify the certificate of the kubelet. The log may then come from anyone.",
    ),
    query("limitBytes", "integer", "End after so many bytes, even within a line."),
    query("previous", "boolean", "The log of the container before it was restarted."),
    query("sinceSeconds", "integer", "Only lines of the last so many seconds."),
    query("stream", "string", "All (the default), Stdout or Stderr; with tailLines only All."),
    query("tailLines", "integer", "Only so many lines at the end."),
    query("timestamps", "boolean", "Begin every line with its time."),
];

const ATTACH: &[Known] = &[
    query("container", "string", "The container; the only one if the pod has one."),
    query("stderr", "boolean", "Whether standard error is sent."),
    query("stdin", "boolean", "Whether standard input is taken."),
    query("stdout", "boolean", "Whether standard output is sent."),
    query("tty", "boolean", "Whether a terminal is allocated."),
];

const COMMAND: Known =
    query("command", "string", "The command to run and its arguments. No shell is involved.");
const PORTS: Known = query("ports", "integer", "The ports to forward; needed with WebSockets.");
const PATH: Known = query("path", "string", "The path of the proxied request, with its query.");

// === impl Parameter ===

impl Parameter {
    fn known(known: &Known) -> Self {
        Self {
            name: known.name,
            place: Place::Query,
            kind: known.kind,
            description: known.description.to_owned(),
        }
    }

    /// `{name}`
    pub(super) fn name(kind: &str) -> Self {
        let description = format!("name of the {kind}");
        Self { name: "name", place: Place::Path, kind: "string", description }
    }

    /// `{namespace}`
    pub(super) fn namespace() -> Self {
        let description = "object name and auth scope, such as for teams and projects".to_owned();
        Self { name: "namespace", place: Place::Path, kind: "string", description }
    }

    /// `{path}`
    pub(super) fn path() -> Self {
        let description = "path to the resource".to_owned();
        Self { name: "path", place: Place::Path, kind: "string", description }
    }

    /// Of every operation that answers with objects.
    pub(super) fn pretty() -> Self {
        Self::known(&PRETTY)
    }

    /// Of lists and watches.
    pub(super) fn list() -> Vec<Self> {
        SELECTION.iter().chain(WATCHING).map(Self::known).collect()
    }

    /// Of deletions of many objects.
    pub(super) fn delete_collection() -> Vec<Self> {
        SELECTION.iter().chain(DELETION).chain([&DRY_RUN]).map(Self::known).collect()
    }

    /// Of deletions of one object.
    pub(super) fn delete() -> Vec<Self> {
        DELETION.iter().chain([&DRY_RUN]).map(Self::known).collect()
    }

    /// Of creates and updates.
    pub(super) fn write() -> Vec<Self> {
        WRITING.iter().chain([&DRY_RUN]).map(Self::known).collect()
    }

    /// Of patches.
    pub(super) fn patch() -> Vec<Self> {
        WRITING.iter().chain([&DRY_RUN, &FORCE]).map(Self::known).collect()
    }

    /// Of the reading of logs.
    pub(super) fn log() -> Vec<Self> {
        LOG.iter().map(Self::known).collect()
    }

    /// Of connections, by the kind of their options.
    pub(super) fn connect(options: &str) -> Vec<Self> {
        match options {
            "PodAttachOptions" => ATTACH.iter().map(Self::known).collect(),
            "PodExecOptions" => ATTACH.iter().chain([&COMMAND]).map(Self::known).collect(),
            "PodPortForwardOptions" => vec![Self::known(&PORTS)],
            _ => vec![Self::known(&PATH)],
        }
    }

    /// The parameter in 2.0, whose type stands beside the rest.
    pub(super) fn v2(&self) -> Value {
        let mut parameter = self.common();
        parameter.insert("type".to_owned(), self.kind.into());
        parameter.insert("uniqueItems".to_owned(), true.into());
        Value::Object(parameter)
    }

    /// The parameter in 3.0, whose type is a schema.
    pub(super) fn v3(&self) -> Value {
        let mut parameter = self.common();
        parameter.insert("schema".to_owned(), json!({"type": self.kind, "uniqueItems": true}));
        Value::Object(parameter)
    }

    fn common(&self) -> Map<String, Value> {
        let mut parameter = Map::new();
        parameter.insert("name".to_owned(), self.name.into());
        parameter.insert("description".to_owned(), self.description.clone().into());
        match self.place {
            Place::Query => {
                parameter.insert("in".to_owned(), "query".into());
            }
            Place::Path => {
                parameter.insert("in".to_owned(), "path".into());
                parameter.insert("required".to_owned(), true.into());
            }
        }
        parameter
    }
}
