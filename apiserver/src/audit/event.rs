//! An event: `Event` of `audit.k8s.io/v1`, with its fields in upstream's order, as JSON or as one line of text. Pure.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use api_types::{
    field::go_quote,
    status::{Details, Status},
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::policy::{Level, Stage, VERSION};
use crate::authn::user::User;

/// What is on record of one stage of a request.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// How much is on record.
    pub level: Level,
    /// Names the request; the answer carries it too.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// How far the request is.
    pub stage: Stage,
    /// The path and the query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// The verb, of paths that are no resources the method in lower case.
    pub verb: String,
    /// Who asked.
    pub user: UserInfo,
    /// As whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<UserInfo>,
    /// How they were let be that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_metadata: Option<AuthenticationMetadata>,
    /// From where: what proxies say, then the connection.
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    /// With what.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// About what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectReference>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<ResponseStatus>,
    /// What was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Arc<RawValue>>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Arc<RawValue>>,
    /// When it came.
    #[serde(serialize_with = "micros")]
    pub request_received_timestamp: Timestamp,
    /// When it reached the stage.
    #[serde(serialize_with = "micros")]
    pub stage_timestamp: Timestamp,
    /// What steps on the way noted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Somebody: `UserInfo` of `authentication.k8s.io/v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserInfo {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// More facts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// How a caller was let be somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationMetadata {
    /// The verb that allowed it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub impersonation_constraint: String,
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// The plural name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Empty for cluster-scoped resources.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's uid, if the request says one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Empty for core.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    /// The version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    /// The object's version, if the request says one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Such as `status`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

/// How a request ended: `Status` of `meta/v1`, of which a success says its code only.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResponseStatus {
    metadata: Nothing,
    #[serde(skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Box<Details>>,
    /// The HTTP status code.
    pub code: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    kind: &'a str,
    api_version: &'a str,
    metadata: Nothing,
    items: &'a [Arc<Event>],
}

/// Six digits of a second, always.
fn micros<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
}

// === impl Event ===

impl Event {
    /// As JSON, with the line break that ends it.
    ///
    /// # Errors
    /// None that is known; what the encoder says.
    pub fn json(&self) -> Result<Vec<u8>, serde_json::Error> {
        // Written by hand, as flattening would parse the objects again.
        let body = serde_json::to_vec(self)?;
        let mut json = format!(r#"{{"kind":"Event","apiVersion":"{VERSION}","#).into_bytes();
        json.extend_from_slice(body.get(1..).unwrap_or_default());
        let mut json = as_go(&json);
        json.push(b'\n');
        Ok(json)
    }

    /// Many as one `EventList`.
    ///
    /// # Errors
    /// None that is known; what the encoder says.
    pub fn list(events: &[Arc<Self>]) -> Result<Vec<u8>, serde_json::Error> {
        let list =
            List { kind: "EventList", api_version: VERSION, metadata: Nothing::default(), items: events };
        let mut json = as_go(&serde_json::to_vec(&list)?);
        json.push(b'\n');
        Ok(json)
    }

    /// As one line of text, which says less.
    pub fn line(&self) -> String {
        let quoted =
            |list: &[String]| -> String { list.iter().map(|it| go_quote(it)).collect::<Vec<_>>().join(",") };
        let (user, groups) = match self.user.username.as_str() {
            "" => ("<none>", "<none>".to_owned()),
            name if self.user.groups.is_empty() => (name, "<none>".to_owned()),
            name => (name, quoted(&self.user.groups)),
        };
        let (as_user, as_groups) = match &self.impersonated_user {
            None => ("<self>", "<lookup>".to_owned()),
            Some(user) if user.groups.is_empty() => (user.username.as_str(), "<lookup>".to_owned()),
            Some(user) => (user.username.as_str(), quoted(&user.groups)),
        };
        let namespace = self.object_ref.as_ref().map(|it| it.namespace.as_str()).filter(|it| !it.is_empty());
        let response =
            self.response_status.as_ref().map_or_else(|| "<deferred>".to_owned(), |it| it.code.to_string());
        let mut line = format!("{} AUDIT:", self.request_received_timestamp);
        for (name, value) in [
            ("id", self.audit_id.as_str()),
            ("stage", self.stage.name()),
            ("ip", self.source_ips.first().map_or("<unknown>", String::as_str)),
            ("method", &self.verb),
            ("user", user),
            ("groups", &groups),
            ("as", as_user),
            ("asgroups", &as_groups),
            ("user-agent", &self.user_agent),
            ("namespace", namespace.unwrap_or("<none>")),
            ("uri", &self.request_uri),
        ] {
            let _infallible = write!(line, " {name}={}", go_quote(value));
        }
        let _infallible = write!(line, " response=\"{response}\"");
        line
    }
}

// === impl UserInfo, ResponseStatus ===

impl From<&User> for UserInfo {
    fn from(user: &User) -> Self {
        Self {
            username: user.name.clone(),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        }
    }
}

impl ResponseStatus {
    /// A success, or a failure that says no more.
    pub fn code(code: u16) -> Self {
        Self { code, ..Self::default() }
    }

    /// What a handler that panicked leaves.
    pub fn panicked(why: &str) -> Self {
        Self {
            status: "Failure".to_owned(),
            message: format!("APIServer panic'd: {why}"),
            reason: "InternalError".to_owned(),
            ..Self::code(500)
        }
    }
}

impl From<&Status> for ResponseStatus {
    fn from(status: &Status) -> Self {
        Self {
            metadata: Nothing::default(),
            status: status.status.clone(),
            message: status.message.clone(),
            reason: status.reason.clone(),
            details: status.details.clone(),
            code: status.code,
        }
    }
}

/// JSON as Go writes it: what could be taken for HTML is escaped. Such characters stand in strings only.
fn as_go(json: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(json.len() + 16);
    let mut rest = json;
    while let Some((&first, after)) = rest.split_first() {
        let (text, taken): (&[u8], usize) = match first {
            b'<' => (br"\u003c", 1),
            b'>' => (br"\u003e", 1),
            b'&' => (br"\u0026", 1),
            0xe2 if after.starts_with(&[0x80, 0xa8]) => (br"\u2028", 3),
            0xe2 if after.starts_with(&[0x80, 0xa9]) => (br"\u2029", 3),
            _ => (rest.get(..1).unwrap_or_default(), 1),
        };
        escaped.extend_from_slice(text);
        rest = rest.get(taken..).unwrap_or_default();
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            level: Level::Metadata,
            audit_id: "id".to_owned(),
            stage: Stage::ResponseComplete,
            request_uri: "/api/v1/namespaces/a/pods?x=1&y=<2>".to_owned(),
            verb: "list".to_owned(),
            user: UserInfo {
                username: "jane".to_owned(),
                groups: vec!["a".to_owned(), "b".to_owned()],
                ..UserInfo::default()
            },
            source_ips: vec!["192.0.2.1".to_owned()],
            object_ref: Some(ObjectReference {
                resource: "pods".to_owned(),
                namespace: "a".to_owned(),
                api_version: "v1".to_owned(),
                ..ObjectReference::default()
            }),
            response_status: Some(ResponseStatus::code(200)),
            request_received_timestamp: "2026-01-02T03:04:05.5Z".parse().unwrap(),
            stage_timestamp: "2026-01-02T03:04:05.654321987Z".parse().unwrap(),
            annotations: BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]),
            ..Event::default()
        }
    }

    #[test]
    fn an_event_is_written_as_upstream_writes_it() {
        assert_eq!(
            String::from_utf8(event().json().unwrap()).unwrap(),
            concat!(
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","#,
                r#""stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/pods?x=1\u0026y=\u003c2\u003e","#,
                r#""verb":"list","user":{"username":"jane","groups":["a","b"]},"sourceIPs":["192.0.2.1"],"#,
                r#""objectRef":{"resource":"pods","namespace":"a","apiVersion":"v1"},"#,
                r#""responseStatus":{"metadata":{},"code":200},"#,
                r#""requestReceivedTimestamp":"2026-01-02T03:04:05.500000Z","#,
                r#""stageTimestamp":"2026-01-02T03:04:05.654321Z","annotations":{"a":"1","b":"2"}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_list_says_once_what_it_is() {
        let list = Event::list(&[Arc::new(event())]).unwrap();
        let start = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"level":"Metadata""#;
        assert!(String::from_utf8(list).unwrap().starts_with(start));
    }

    #[test]
    fn a_line_says_less() {
        assert_eq!(
            event().line(),
            r#"2026-01-02T03:04:05.5Z AUDIT: id="id" stage="ResponseComplete" ip="192.0.2.1" method="list" user="jane" groups="\"a\",\"b\"" as="<self>" asgroups="<lookup>" user-agent="" namespace="a" uri="/api/v1/namespaces/a/pods?x=1&y=<2>" response="200""#
        );
        let bare = Event { user: UserInfo::default(), response_status: None, ..event() };
        assert!(bare.line().contains(r#"user="<none>" groups="<none>""#));
        assert!(bare.line().ends_with(r#"response="<deferred>""#));
    }
}
