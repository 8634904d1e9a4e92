//! What the watch cache needs of an object, sliced from its bytes without reading the rest.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use api_types::kind::GroupVersionKind;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::{
    Revision,
    cache::{Describe, Header},
};

use super::strategy::SelectableField;

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
pub fn describe(kind: &GroupVersionKind, selectable: Vec<SelectableField>) -> Describe {
    // What lists leave out of their items.
    let type_meta = format!(r#"{{"kind":"{}","apiVersion":"{}","#, kind.kind, kind.api_version());
    Arc::new(move |_key: &str, stored: Bytes, revision: Revision| {
        read(&stored, revision, &type_meta, &selectable).map_err(|error| error.to_string())
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
    let mut bytes = BytesMut::with_capacity(stored.len() + version.len() + 1);
    match (metadata.uid, raw) {
        (Some(uid), _) => {
            let (before, after) = stored.split_at(offset(uid.get()) + uid.get().len());
            bytes.put_slice(before);
            bytes.put_u8(b',');
            bytes.put_slice(version.as_bytes());
            bytes.put_slice(after);
        }
        (None, Some(raw)) => {
            let (before, after) = stored.split_at(offset(raw.get()) + 1);
            bytes.put_slice(before);
            bytes.put_slice(version.as_bytes());
            if !after.starts_with(b"}") {
                bytes.put_u8(b',');
            }
            bytes.put_slice(after);
        }
        (None, None) => bytes.put_slice(stored),
    }
    let mut fields = Vec::with_capacity(selectable.len());
    for field in selectable {
        fields.push((field.label, pick(&top, field)?));
    }
    let header = Header {
        namespace: metadata.namespace.map(|namespace| Arc::from(&*namespace)),
        name: Arc::from(&*metadata.name),
        labels: metadata.labels.unwrap_or_default().into(),
        fields: fields.into_iter().collect(),
        extra: if stored.starts_with(type_meta.as_bytes()) { type_meta.len() as u64 } else { 0 },
    };
    Ok((bytes.freeze(), header))
}

/// A field's value; of several paths, the first that has one.
fn pick(top: &Fields<'_>, field: &SelectableField) -> Result<String, serde_json::Error> {
    for path in field.path.split('|') {
        let value = follow(top, path, field.absent)?;
        if !value.is_empty() {
            return Ok(value);
        }
    }
    Ok(String::new())
}

fn follow(top: &Fields<'_>, path: &str, absent: &str) -> Result<String, serde_json::Error> {
    let absent = || absent.to_owned();
    let mut steps = path.split('.');
    let Some(mut at) = steps.next().and_then(|step| top.get(step).copied()) else { return Ok(absent()) };
    for step in steps {
        if !at.get().starts_with('{') {
            return Ok(absent());
        }
        let fields: Fields<'_> = serde_json::from_str(at.get())?;
        match fields.get(step) {
            Some(next) => at = next,
            None => return Ok(absent()),
        }
    }
    let text = at.get();
    if text.starts_with('"') { serde_json::from_str(text) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECTABLE: &[SelectableField] = &[
        SelectableField { label: "spec.nodeName", path: "spec.nodeName", absent: "" },
        SelectableField { label: "spec.hostNetwork", path: "spec.hostNetwork", absent: "false" },
    ];

    fn check(stored: &'static str) -> (String, Header) {
        let describe = describe(&GroupVersionKind::new("", "v1", "Pod"), SELECTABLE.to_vec());
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
}
