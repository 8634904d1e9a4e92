//! What the watch cache needs of an object, sliced from its bytes without reading the rest.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Revision,
    cache::{Describe, Header},
};

use super::{stored::Form, strategy::SelectableField};

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uid: Option<&'a RawValue>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

type Fields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The describer of a kind: puts the resource version into the bytes, where upstream has it (behind the uid), and takes
/// names, labels and selectable fields.
pub fn describe(form: Form, selectable: Vec<SelectableField>) -> Describe {
    Arc::new(move |_key: &str, stored: Bytes, revision: Revision| {
        let stored = form.json(&stored)?;
        // What lists leave out of their items.
        read(&stored, revision, &form.type_meta, &selectable).map_err(|error| error.to_string())
    })
}

fn read(
    stored: &Bytes,
    revision: Revision,
    type_meta: &str,
    selectable: &[SelectableField],
) -> Result<(Bytes, Header), serde_json::Error> {
    let top: Fields<'_> = serde_json::from_slice(stored)?;
    let raw = top.get("metadata").copied();
    let metadata: Metadata<'_> = match raw {
        Some(raw) => serde_json::from_str(raw.get())?,
        None => serde_json::from_str("{}")?,
    };
    let offset = |slice: &str| (slice.as_ptr() as usize).saturating_sub(stored.as_ptr() as usize);
    let version = format!(r#""resourceVersion":"{revision}""#);
    let bytes = match (metadata.uid, raw) {
        (Some(uid), _) => {
            let (before, after) = stored.split_at(offset(uid.get()) + uid.get().len());
            let (found, after) = resource_version(after);
            if found == Some(version.as_bytes()) {
                stored.clone()
            } else {
                join(&[before, b",", version.as_bytes(), after])
            }
        }
        (None, Some(raw)) => {
            let (before, after) = stored.split_at(offset(raw.get()) + 1);
            let comma: &[u8] = if after.starts_with(b"}") { b"" } else { b"," };
            join(&[before, version.as_bytes(), comma, after])
        }
        (None, None) => stored.clone(),
    };
    let mut opened = Opened::new(&top);
    let mut fields = Vec::with_capacity(selectable.len());
    for field in selectable {
        fields.push((field.label, opened.pick(field)?));
    }
    let header = Header {
        namespace: metadata.namespace.map(|namespace| Arc::from(&*namespace)),
        name: Arc::from(&*metadata.name),
        labels: metadata.labels.unwrap_or_default().into(),
        fields: fields.into_iter().collect(),
        extra: if stored.starts_with(type_meta.as_bytes()) { type_meta.len() as u64 } else { 0 },
    };
    Ok((bytes, header))
}

fn join(parts: &[&[u8]]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// The resource version in what follows the uid, if it is there, and what follows both.
fn resource_version(after_uid: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let found = after_uid.strip_prefix(b",").and_then(|rest| {
        let value = rest.strip_prefix(br#""resourceVersion":"#)?;
        let end = rest.len() - string(value)?.1.len();
        rest.split_at_checked(end)
    });
    found.map_or((None, after_uid), |(version, after)| (Some(version), after))
}

/// What a store that shares its bytes with the watch cache keeps of an object: the object with its resource version. None for
/// one that is not in the order in which we write built-in kinds, or has it already.
pub fn stamp(stored: &[u8], revision: Revision) -> Option<Bytes> {
    let after = after_uid(stored)?;
    if resource_version(after).0.is_some() {
        return None;
    }
    let before = stored.get(..stored.len() - after.len())?;
    Some(join(&[before, format!(r#","resourceVersion":"{revision}""#).as_bytes(), after]))
}

/// What follows the uid of an object whose fields are in upstream's order.
fn after_uid(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = string(bytes.strip_prefix(br#"{"kind":"#)?)?;
    let (_, rest) = string(rest.strip_prefix(br#","apiVersion":"#)?)?;
    let mut rest = rest.strip_prefix(br#","metadata":{"#)?;
    loop {
        let (name, value) = string(rest)?;
        let (_, after) = string(value.strip_prefix(b":")?)?;
        match name {
            b"uid" => return Some(after),
            b"name" | b"generateName" | b"namespace" | b"selfLink" => rest = after.strip_prefix(b",")?,
            _ => return None,
        }
    }
}

/// A string without escapes at the beginning of some JSON, and what follows it.
fn string(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = json.strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    let (text, rest) = rest.split_at_checked(end)?;
    Some((text, rest.strip_prefix(b"\"")?))
}

/// The parts of an object whose fields have been looked for. Most selectable fields are in the same two or three parts, each of
/// which is cut into its fields once.
struct Opened<'t, 'a> {
    top: &'t Fields<'a>,
    parts: Vec<(&'t str, Fields<'a>)>,
}

impl<'t, 'a> Opened<'t, 'a> {
    fn new(top: &'t Fields<'a>) -> Self {
        Self { top, parts: Vec::new() }
    }

    /// A field's value; of several paths, the first that has one.
    fn pick(&mut self, field: &'t SelectableField) -> Result<String, serde_json::Error> {
        for path in field.path.split('|') {
            let value = self.follow(path, field.absent)?;
            if !value.is_empty() {
                return Ok(value);
            }
        }
        Ok(String::new())
    }

    fn follow(&mut self, path: &'t str, absent: &str) -> Result<String, serde_json::Error> {
        let found = match path.split_once('.') {
            None => self.top.get(path).copied(),
            Some((part, rest)) => {
                let Some(fields) = self.part(part)? else { return Ok(absent.to_owned()) };
                descend(fields, rest)?
            }
        };
        match found.map(RawValue::get) {
            None => Ok(absent.to_owned()),
            Some(text) if text.starts_with('"') => serde_json::from_str(text),
            Some(text) => Ok(text.to_owned()),
        }
    }

    /// The fields of a part of the object; None if it has none.
    fn part(&mut self, name: &'t str) -> Result<Option<&Fields<'a>>, serde_json::Error> {
        let at = match self.parts.iter().position(|(known, _)| *known == name) {
            Some(at) => at,
            None => {
                let Some(raw) = self.top.get(name) else { return Ok(None) };
                let Some(fields) = open(raw)? else { return Ok(None) };
                self.parts.push((name, fields));
                self.parts.len() - 1
            }
        };
        Ok(self.parts.get(at).map(|(_, fields)| fields))
    }
}

/// The fields of a value; None if it is no object.
fn open(raw: &RawValue) -> Result<Option<Fields<'_>>, serde_json::Error> {
    if raw.get().starts_with('{') { serde_json::from_str(raw.get()).map(Some) } else { Ok(None) }
}

fn descend<'a>(fields: &Fields<'a>, path: &str) -> Result<Option<&'a RawValue>, serde_json::Error> {
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    let Some(found) = fields.get(step) else { return Ok(None) };
    let Some(rest) = rest else { return Ok(Some(*found)) };
    match open(found)? {
        Some(inner) => descend(&inner, rest),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use api_types::kind::GroupVersionKind;

    use super::*;

    const SELECTABLE: &[SelectableField] = &[
        SelectableField { label: "spec.nodeName", path: "spec.nodeName", absent: "" },
        SelectableField { label: "spec.hostNetwork", path: "spec.hostNetwork", absent: "false" },
    ];

    fn check(stored: &'static str) -> (String, Header) {
        let describe = describe(Form::new(GroupVersionKind::new("", "v1", "Pod"), None), SELECTABLE.to_vec());
        let (bytes, header) = describe("", Bytes::from_static(stored.as_bytes()), Revision(7)).unwrap();
        (String::from_utf8(bytes.to_vec()).unwrap(), header)
    }

    #[test]
    fn the_resource_version_stands_behind_the_uid() {
        let (bytes, header) = check(
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","labels":{"x":"y"}},"spec":{"nodeName":"n\"1"}}"#,
        );
        assert_eq!(
            bytes,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","resourceVersion":"7","labels":{"x":"y"}},"spec":{"nodeName":"n\"1"}}"#
        );
        assert_eq!(&*header.name, "a");
        assert_eq!(header.labels.get("x"), Some("y"));
        assert_eq!(header.fields, [("spec.nodeName", "n\"1"), ("spec.hostNetwork", "false")].into());
        assert_eq!(&bytes[usize::try_from(header.extra).unwrap()..][..11], r#""metadata":"#);
    }

    #[test]
    fn an_object_without_uid_gets_its_version_too() {
        assert_eq!(
            check(r#"{"metadata":{"name":"a"}}"#).0,
            r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#
        );
        assert_eq!(check(r#"{"metadata":{}}"#).0, r#"{"metadata":{"resourceVersion":"7"}}"#);
    }

    #[test]
    fn what_the_store_has_stamped_is_shared() {
        let stored = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"u","labels":{"x":"y"}},"spec":{}}"#;
        let stamped = stamp(stored, Revision(7)).unwrap();
        assert_eq!(stamp(&stamped, Revision(7)), None, "once is enough");
        let describe = describe(Form::new(GroupVersionKind::new("", "v1", "Pod"), None), SELECTABLE.to_vec());
        let (bytes, header) = describe("", stamped.clone(), Revision(7)).unwrap();
        assert_eq!(bytes.as_ptr(), stamped.as_ptr());
        assert_eq!(describe("", Bytes::from_static(stored), Revision(7)).unwrap(), (bytes, header));
        // A value that was carried to another store may have another revision there.
        let (bytes, _) = describe("", stamped, Revision(12)).unwrap();
        assert_eq!(bytes, describe("", Bytes::from_static(stored), Revision(12)).unwrap().0);
    }

    #[test]
    fn what_is_not_in_our_order_is_not_stamped() {
        for stored in [
            r#"{"apiVersion":"v1","kind":"Boat","metadata":{"name":"a","uid":"u"}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"labels":{"uid":"u"},"uid":"v"}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a\"b","uid":"v"}}"#,
            r#"{"kind":"Pod","apiVersion":"v1","metadata":{}}"#,
            r#"{"kind":"Pod""#,
            "",
        ] {
            assert_eq!(stamp(stored.as_bytes(), Revision(7)), None, "{stored}");
        }
    }
}
