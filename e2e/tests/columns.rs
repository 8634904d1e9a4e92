//! What people see of every resource: the columns of `kubectl get`, and the fields of `kubectl explain`.
//!
//! Method: an apiserver without controllers, so that objects stay as they were made, and one object of each kind. The
//! headers are compared with `columns/expected.txt`, which says what upstream prints.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::collections::BTreeMap;

use e2e::{Cluster, Said, tools};

const EXPECTED: &str = include_str!("columns/expected.txt");
const OBJECTS: &str = include_str!("columns/objects.yaml");

/// A resource as kubectl wants it spelled out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Resource {
    group: String,
    version: String,
    plural: String,
}

struct Server {
    cluster: Cluster,
    _home: tempfile::TempDir,
}

fn server() -> Server {
    let home = tempfile::tempdir().unwrap();
    let kubectl = tools::kubectl().unwrap();
    let data = home.path().join("data");
    let cluster = Cluster::start("apiserver", &kubectl, &data, &["--store", "memory"]).unwrap();
    Server { cluster, _home: home }
}

/// Every resource that the server says it has.
fn resources(cluster: &Cluster) -> Vec<(Resource, String)> {
    let mut found = Vec::new();
    for line in cluster.kubectl("api-resources --no-headers -o wide").lines() {
        // Short names and categories may be missing; what comes after the version of the group never is.
        let words: Vec<&str> = line.split_whitespace().collect();
        let scope = words.iter().position(|it| matches!(*it, "true" | "false")).unwrap();
        let (version, verbs) = (words[scope - 1], words[scope + 2]);
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource =
            Resource { group: group.to_owned(), version: version.to_owned(), plural: words[0].to_owned() };
        found.push((resource, verbs.to_owned()));
    }
    assert!(found.len() > 60, "{found:?}");
    found
}

impl Resource {
    fn of(text: &str) -> Self {
        let (version, plural) = text.rsplit_once('/').unwrap();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        Self { group: group.to_owned(), version: version.to_owned(), plural: plural.to_owned() }
    }

    /// As an argument of `get`.
    fn argument(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{}.{group}", self.plural, self.version),
        }
    }

    fn api_version(&self) -> String {
        match self.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// What stands above the rows: column names may have single blanks in them, and stand further apart.
fn header(said: &Said) -> Vec<String> {
    assert!(said.status.success(), "{}", said.whole());
    let line = said.out.lines().next().unwrap_or_default();
    line.split("  ").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn columns(text: &str) -> Vec<String> {
    text.split(',').map(|name| name.trim().to_owned()).collect()
}

#[test]
fn kubectl_get_prints_upstreams_columns_of_every_resource() {
    let server = server();
    let cluster = &server.cluster;
    let made = cluster.try_kubectl_with(&["create", "-f", "-"], OBJECTS).unwrap();
    assert!(made.status.success(), "{}", made.whole());

    let mut expected: BTreeMap<Resource, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for line in EXPECTED.lines().filter(|line| !line.starts_with('#')) {
        let (resource, names) = line.split_once(": ").unwrap();
        let (narrow, wide) = names.split_once(" | ").unwrap_or((names, names));
        expected.insert(Resource::of(resource), (columns(narrow), columns(wide)));
    }
    let listed = resources(cluster).into_iter().filter(|(_, verbs)| verbs.contains("list"));
    // Custom resources have the columns that their definition gives them; one is defined among the objects.
    for (resource, _) in listed.filter(|(resource, _)| resource.group != "example.com") {
        assert!(expected.contains_key(&resource), "{resource:?} has no expected columns");
    }

    let mut wrong = String::new();
    for (resource, (narrow, wide)) in expected {
        let argument = resource.argument();
        for (form, names) in [("", narrow), (" -o wide", wide)] {
            let said = cluster.try_kubectl(&format!("get {argument}{form}")).unwrap();
            let found = header(&said);
            if found != names {
                wrong += &format!("get {argument}{form}\n  wanted {names:?}\n  found  {found:?}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn kubectl_explain_knows_every_resource_down_to_its_leaves() {
    let server = server();
    let mut wrong = String::new();
    for (resource, _) in resources(&server.cluster) {
        let (plural, version) = (&resource.plural, resource.api_version());
        let said =
            server.cluster.try_kubectl(&format!("explain {plural} --api-version={version} --recursive"));
        let said = said.unwrap();
        let fields = said.out.split_once("FIELDS:").map(|(_, fields)| fields).unwrap_or_default();
        let named = |field: &str| fields.lines().any(|line| line.trim_start().starts_with(field));
        if !said.status.success() || !["apiVersion", "kind", "metadata"].into_iter().all(named) {
            wrong += &said.whole();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
