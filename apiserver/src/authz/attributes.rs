//! What an authorizer is asked: who wants to do what to which object.

use crate::authn::user::User;

/// The question. For requests that are not about a resource only `user`, `verb` and `path` say something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who.
    pub user: User,
    /// `get`, `list`, `watch`, `create`, ...; for other paths the HTTP method in lower case.
    pub verb: String,
    /// The namespace, empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    /// The API group, empty for core.
    pub group: String,
    /// The version.
    pub version: String,
    /// The plural name of the resource.
    pub resource: String,
    /// Such as `status`; empty for the main resource.
    pub subresource: String,
    /// The object's name, if the request names one.
    pub name: String,
    /// Whether the request is about a resource at all.
    pub resource_request: bool,
    /// The URL path.
    pub path: String,
    /// The field selector of a list, watch or deletecollection as the client sent it.
    pub field_selector: String,
    /// The label selector likewise.
    pub label_selector: String,
}
