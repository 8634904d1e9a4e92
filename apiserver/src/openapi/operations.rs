//! What can be done at which path: the operations of the served resources, in no form of OpenAPI yet.
//!
//! Clients find kinds by the `x-kubernetes-*` extensions of operations (`kubectl explain`), and the parameters that a
//! server understands (`fieldValidation`); people read the rest.

use std::collections::BTreeMap;

use api_types::kind::{GroupVersion, GroupVersionKind};

use super::parameters::Parameter;
use crate::discovery::{ServedResource, ServedSubresource};

/// What is sent or answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// An object of the definition under this name.
    Object(String),
    /// A string.
    Text,
}

/// The media types of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// Those of objects.
    Objects,
    /// Those of objects, and of streams of watch events.
    ObjectsAndWatches,
    /// Plain text, or a text in those of objects.
    Log,
    /// Anything.
    Any,
    /// JSON alone.
    Json,
    /// Those of custom objects.
    Custom,
}

/// The media types a patch may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// As an object.
    Object {
        /// Whether the request makes no sense without it.
        required: bool,
    },
    /// As a custom object, which not every media type can carry.
    Custom {
        /// As in `Object`.
        required: bool,
    },
    /// As a patch.
    Patch {
        /// Whether strategic merge patches are understood; they need a schema with patch keys.
        strategic: bool,
    },
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// In lower case.
    pub(super) method: &'static str,
    /// Unique among all operations of all documents.
    pub(super) id: String,
    /// What it does.
    pub(super) description: String,
    /// By name.
    pub(super) parameters: Vec<Parameter>,
    /// What is sent, and how.
    pub(super) body: Option<(Body, String)>,
    /// Codes and what they bring; 401 stands for itself.
    pub(super) responses: Vec<(u16, Content)>,
    /// The media types of the responses.
    pub(super) media: Media,
    /// `x-kubernetes-action`
    pub(super) action: Option<&'static str>,
    /// `x-kubernetes-group-version-kind`
    pub(super) kind: Option<GroupVersionKind>,
    /// Groups operations for generators.
    pub(super) tag: String,
}

/// The operations of a path.
#[derive(Clone, Debug, Default)]
pub(super) struct PathItem {
    /// What is common to all of its operations.
    pub(super) parameters: Vec<Parameter>,
    /// By method.
    pub(super) operations: Vec<Operation>,
}

/// Paths and their operations.
pub(super) type Paths = BTreeMap<String, PathItem>;

/// Resources that answer a deletion with the object instead of a Status.
const RETURN_DELETED: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "pods"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("", "serviceaccounts"),
    ("", "services"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
];

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const WATCH_DEPRECATED: &str = "deprecated: use the 'watch' parameter with a list operation instead";

/// The definition of a type of meta/v1.
pub(super) fn meta(name: &str) -> String {
    format!("{META}.{name}")
}

/// Writes down the operations of one group and version.
pub(super) struct Writer<'a> {
    group_version: &'a GroupVersion,
    /// The definition of a kind.
    definition: &'a dyn Fn(&GroupVersionKind) -> String,
    /// Custom kinds have no deprecated watch paths and no strategic merge patch.
    custom: bool,
    paths: Paths,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    pub(super) fn new(
        group_version: &'a GroupVersion,
        custom: bool,
        definition: &'a dyn Fn(&GroupVersionKind) -> String,
    ) -> Self {
        Self { group_version, definition, custom, paths: Paths::new() }
    }

    /// The paths of these resources, and of their list.
    pub(super) fn finish(mut self, resources: &[ServedResource]) -> Paths {
        let root = root(self.group_version);
        if !self.custom {
            let id = format!("get{}APIResources", self.id_of_version());
            let tag = self.tag();
            self.add(
                &format!("{root}/"),
                document(id, "get available resources", &meta("APIResourceList"), tag),
            );
        }
        for resource in resources {
            self.resource(&root, resource);
        }
        lift_common_parameters(&mut self.paths);
        self.paths
    }

    fn add(&mut self, path: &str, mut operation: Operation) {
        operation.parameters.sort();
        let item = self.paths.entry(path.to_owned()).or_default();
        item.operations.push(operation);
        item.operations.sort_by(|one, other| one.method.cmp(other.method));
    }

    fn resource(&mut self, root: &str, resource: &ServedResource) {
        let all = format!("{root}/{}", resource.name);
        let collection = if resource.namespaced {
            format!("{root}/namespaces/{{namespace}}/{}", resource.name)
        } else {
            all.clone()
        };
        let item = format!("{collection}/{{name}}");
        let has = |verb: &str| resource.verbs.iter().any(|it| it == verb);
        let of = Of { writer: self, resource, part: None, kind: self.own(&resource.kind) };

        let mut operations = Vec::new();
        if has("deletecollection") {
            operations.push((collection.clone(), of.delete_collection()));
        }
        if has("list") {
            operations.push((collection.clone(), of.list(false)));
            if resource.namespaced {
                operations.push((all.clone(), of.list(true)));
            }
        }
        if has("create") {
            operations.push((collection.clone(), of.create()));
        }
        if has("delete") {
            operations.push((item.clone(), of.delete()));
        }
        if has("get") {
            operations.push((item.clone(), of.read()));
        }
        if has("patch") {
            operations.push((item.clone(), of.patch()));
        }
        if has("update") {
            operations.push((item.clone(), of.replace()));
        }
        if has("watch") && !self.custom {
            let watched = |path: &str| path.replacen(root, &format!("{root}/watch"), 1);
            operations.push((watched(&collection), of.watch_list(false)));
            operations.push((watched(&item), of.watch()));
            if resource.namespaced {
                operations.push((watched(&all), of.watch_list(true)));
            }
        }
        for part in &resource.subresources {
            let kind = match &part.group_version {
                Some(of) => GroupVersionKind::new(&of.group, &of.version, &part.kind),
                None => self.own(&part.kind),
            };
            let path = format!("{item}/{}", part.name);
            let of = Of { writer: self, resource, part: Some(part), kind };
            operations.extend(of.part(&path, part));
        }
        for (path, operation) in operations {
            self.add(&path, operation);
        }
    }

    fn own(&self, kind: &str) -> GroupVersionKind {
        GroupVersionKind::new(&self.group_version.group, &self.group_version.version, kind)
    }

    /// Group and version in an operation's id, such as `RbacAuthorizationV1`.
    fn id_of_version(&self) -> String {
        format!("{}{}", group_id(&self.group_version.group), capitalized(&self.group_version.version))
    }

    fn tag(&self) -> String {
        tag(&group_id(&self.group_version.group), Some(&self.group_version.version))
    }
}

/// The path of a group and version.
pub(super) fn root(group_version: &GroupVersion) -> String {
    if group_version.group.is_empty() {
        format!("/api/{}", group_version.version)
    } else {
        format!("/apis/{group_version}")
    }
}

/// The group in an operation's id, such as `RbacAuthorization`.
pub(super) fn group_id(group: &str) -> String {
    if group.is_empty() {
        return "Core".to_owned();
    }
    group.strip_suffix(".k8s.io").unwrap_or(group).split(['.', '-']).map(capitalized).collect()
}

/// The tag of a group's operations: its id with a small first letter, and the version.
pub(super) fn tag(group_id: &str, version: Option<&str>) -> String {
    let mut characters = group_id.chars();
    let group: String =
        characters.next().into_iter().flat_map(char::to_lowercase).chain(characters).collect();
    match version {
        Some(version) => format!("{group}_{version}"),
        None => group,
    }
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().into_iter().flat_map(char::to_uppercase).chain(characters).collect()
}

/// The reading of a document that is no object of the API.
pub(super) fn document(id: String, description: &str, definition: &str, tag: String) -> Operation {
    Operation {
        method: "get",
        id,
        description: description.to_owned(),
        parameters: Vec::new(),
        body: None,
        responses: vec![(200, Content::Object(definition.to_owned()))],
        media: Media::Objects,
        action: None,
        kind: None,
        tag,
    }
}

/// What all operations of a path take is said once, with the path.
fn lift_common_parameters(paths: &mut Paths) {
    for item in paths.values_mut() {
        let mut common = item.operations.first().map(|it| it.parameters.clone()).unwrap_or_default();
        common.retain(|parameter| item.operations.iter().all(|it| it.parameters.contains(parameter)));
        for operation in &mut item.operations {
            operation.parameters.retain(|parameter| !common.contains(parameter));
        }
        item.parameters = common;
    }
}

/// What an operation's id says besides what it is about.
#[derive(Clone, Copy, Default)]
struct Id<'a> {
    verb: &'a str,
    how: &'a str,
    suffix: &'a str,
    all_namespaces: bool,
}

impl<'a> Id<'a> {
    fn of(verb: &'a str) -> Self {
        Self { verb, ..Self::default() }
    }
}

/// The operations of a resource, or of a part of one.
struct Of<'a> {
    writer: &'a Writer<'a>,
    resource: &'a ServedResource,
    part: Option<&'a ServedSubresource>,
    /// What is read and written.
    kind: GroupVersionKind,
}

// === impl Of ===

impl Of<'_> {
    /// An operation whose id is made of `id`, group and version, and the resource.
    fn operation(&self, method: &'static str, id: Id<'_>, description: String) -> Operation {
        let scope = if self.resource.namespaced && !id.all_namespaces { "Namespaced" } else { "" };
        let part = self.part.map(|part| capitalized(&part.name)).unwrap_or_default();
        let all = if id.all_namespaces { "ForAllNamespaces" } else { "" };
        Operation {
            method,
            id: format!(
                "{}{}{}{scope}{}{part}{}{all}",
                id.verb,
                self.writer.id_of_version(),
                id.how,
                self.resource.kind,
                id.suffix
            ),
            description,
            parameters: Vec::new(),
            body: None,
            responses: Vec::new(),
            media: if self.writer.custom { Media::Custom } else { Media::Objects },
            action: None,
            kind: Some(self.kind.clone()),
            tag: self.writer.tag(),
        }
    }

    /// `KIND`, or `PART of KIND` with the article or adjective before the kind.
    fn object(&self, adjective: &str) -> String {
        match self.part {
            None => format!("{adjective} {}", self.resource.kind),
            Some(part) => format!("{} of {adjective} {}", part.name, self.resource.kind),
        }
    }

    fn definition(&self) -> String {
        (self.writer.definition)(&self.kind)
    }

    /// The body that has an object.
    fn body(&self, required: bool) -> Body {
        if self.writer.custom { Body::Custom { required } } else { Body::Object { required } }
    }

    fn list_definition(&self) -> String {
        format!("{}List", self.definition())
    }

    fn answer(&self, codes: &[u16], definition: &str) -> Vec<(u16, Content)> {
        codes.iter().map(|code| (*code, Content::Object(definition.to_owned()))).collect()
    }

    /// The parameters of the path, and these.
    fn parameters(&self, item: bool, others: Vec<Parameter>) -> Vec<Parameter> {
        let mut parameters = others;
        parameters.push(Parameter::pretty());
        self.add_path(item, &mut parameters);
        parameters
    }

    fn add_path(&self, item: bool, parameters: &mut Vec<Parameter>) {
        if item {
            parameters.push(Parameter::name(&self.kind.kind));
        }
        if self.resource.namespaced {
            parameters.push(Parameter::namespace());
        }
    }

    fn delete_collection(&self) -> Operation {
        let description = format!("delete collection of {}", self.resource.kind);
        let mut operation =
            self.operation("delete", Id { how: "Collection", ..Id::of("delete") }, description);
        operation.parameters = self.parameters(false, Parameter::delete_collection());
        operation.body = Some((self.body(false), meta("DeleteOptions")));
        operation.responses = self.answer(&[200], &meta("Status"));
        operation.action = Some("deletecollection");
        operation
    }

    fn list(&self, all_namespaces: bool) -> Operation {
        let watches = self.resource.verbs.iter().any(|verb| verb == "watch");
        let what = if watches && !self.writer.custom { "list or watch" } else { "list" };
        let description = format!("{what} objects of kind {}", self.resource.kind);
        let mut operation = self.operation("get", Id { all_namespaces, ..Id::of("list") }, description);
        operation.parameters = self.parameters(false, Parameter::list());
        if all_namespaces {
            operation.parameters.retain(|parameter| parameter.name != "namespace");
        }
        operation.responses = self.answer(&[200], &self.list_definition());
        if !self.writer.custom {
            operation.media = Media::ObjectsAndWatches;
        }
        operation.action = Some("list");
        operation
    }

    fn create(&self) -> Operation {
        let object = self.object(article(&self.resource.kind));
        let mut operation = self.operation("post", Id::of("create"), format!("create {object}"));
        operation.parameters = self.parameters(self.part.is_some(), Parameter::write());
        operation.body = Some((self.body(true), self.definition()));
        operation.responses = self.answer(&[200, 201, 202], &self.definition());
        operation.action = Some("post");
        operation
    }

    fn delete(&self) -> Operation {
        let object = self.object(article(&self.resource.kind));
        let mut operation = self.operation("delete", Id::of("delete"), format!("delete {object}"));
        operation.parameters = self.parameters(true, Parameter::delete());
        operation.body = Some((self.body(false), meta("DeleteOptions")));
        let returned = RETURN_DELETED.iter().any(|(group, resource)| {
            *group == self.writer.group_version.group && *resource == self.resource.name
        });
        let definition = if returned { self.definition() } else { meta("Status") };
        operation.responses = self.answer(&[200, 202], &definition);
        operation.action = Some("delete");
        operation
    }

    fn read(&self) -> Operation {
        let description = format!("read {}", self.object("the specified"));
        let mut operation = self.operation("get", Id::of("read"), description);
        operation.parameters = self.parameters(true, Vec::new());
        operation.responses = self.answer(&[200], &self.definition());
        operation.action = Some("get");
        operation
    }

    fn patch(&self) -> Operation {
        let description = format!("partially update {}", self.object("the specified"));
        let mut operation = self.operation("patch", Id::of("patch"), description);
        operation.parameters = self.parameters(true, Parameter::patch());
        operation.body = Some((Body::Patch { strategic: !self.writer.custom }, meta("Patch")));
        let codes: &[u16] = if self.writer.custom { &[200] } else { &[200, 201] };
        operation.responses = self.answer(codes, &self.definition());
        operation.action = Some("patch");
        operation
    }

    fn replace(&self) -> Operation {
        let description = format!("replace {}", self.object("the specified"));
        let mut operation = self.operation("put", Id::of("replace"), description);
        operation.parameters = self.parameters(true, Parameter::write());
        operation.body = Some((self.body(true), self.definition()));
        operation.responses = self.answer(&[200, 201], &self.definition());
        operation.action = Some("put");
        operation
    }

    fn watch(&self) -> Operation {
        let description = format!(
            "watch changes to an object of kind {}. {WATCH_DEPRECATED}, filtered to a single item with the \
             'fieldSelector' parameter.",
            self.resource.kind
        );
        let mut operation = self.operation("get", Id::of("watch"), description);
        operation.parameters = self.parameters(true, Parameter::list());
        self.events(operation, "watch")
    }

    fn watch_list(&self, all_namespaces: bool) -> Operation {
        let description =
            format!("watch individual changes to a list of {}. {WATCH_DEPRECATED}.", self.resource.kind);
        let id = Id { suffix: "List", all_namespaces, ..Id::of("watch") };
        let mut operation = self.operation("get", id, description);
        operation.parameters = self.parameters(false, Parameter::list());
        if all_namespaces {
            operation.parameters.retain(|parameter| parameter.name != "namespace");
        }
        self.events(operation, "watchlist")
    }

    fn events(&self, mut operation: Operation, action: &'static str) -> Operation {
        operation.responses = self.answer(&[200], &meta("WatchEvent"));
        operation.media = Media::ObjectsAndWatches;
        operation.action = Some(action);
        operation
    }

    fn log(&self) -> Operation {
        let mut operation = self.read();
        operation.parameters.extend(Parameter::log());
        operation.responses = vec![(200, Content::Text)];
        operation.media = Media::Log;
        operation
    }

    /// The operations of a part.
    fn part(&self, path: &str, part: &ServedSubresource) -> Vec<(String, Operation)> {
        let here = |operation| (path.to_owned(), operation);
        if part.kind.ends_with("Options") {
            return self.connect(path, part);
        }
        if part.name == "log" {
            return vec![here(self.log())];
        }
        part.verbs
            .iter()
            .filter_map(|verb| match verb.as_str() {
                "create" => Some(here(self.create())),
                "get" => Some(here(self.read())),
                "patch" => Some(here(self.patch())),
                "update" => Some(here(self.replace())),
                _ => None,
            })
            .collect()
    }

    /// Connections go on in another protocol, or are passed to someone else.
    fn connect(&self, path: &str, part: &ServedSubresource) -> Vec<(String, Operation)> {
        let proxy = part.name == "proxy";
        let methods: &[(&'static str, &str)] = if proxy {
            &[
                ("delete", "Delete"),
                ("get", "Get"),
                ("head", "Head"),
                ("options", "Options"),
                ("patch", "Patch"),
                ("post", "Post"),
                ("put", "Put"),
            ]
        } else {
            &[("get", "Get"), ("post", "Post")]
        };
        let mut operations = Vec::new();
        for (method, word) in methods {
            let description = format!(
                "connect {} requests to {} of {}",
                method.to_uppercase(),
                part.name,
                self.resource.kind
            );
            for beneath in [false, true] {
                if beneath && !proxy {
                    continue;
                }
                let suffix = if beneath { "WithPath" } else { "" };
                let id = Id { how: word, suffix, ..Id::of("connect") };
                let mut operation = self.operation(method, id, description.clone());
                operation.parameters = Parameter::connect(&part.kind);
                self.add_path(true, &mut operation.parameters);
                let mut path = path.to_owned();
                if beneath {
                    operation.parameters.push(Parameter::path());
                    path.push_str("/{path}");
                }
                operation.responses = vec![(200, Content::Text)];
                operation.media = Media::Any;
                operation.action = Some("connect");
                operations.push((path, operation));
            }
        }
        operations
    }
}

/// `a` or `an`.
fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}
