//! Writing a struct over the value it came from. Most of an object stays as it is on its way through the structs, and
//! what is equal is left alone: no key and no text is copied a second time.
//!
//! Afterwards the value is what it would be if it were made anew, except that nulls may stay where the struct has
//! nothing: Go writes some lists that are not there as null, and a struct cannot tell.

use std::iter::Peekable;

use serde::{Serialize, Serializer, ser};
use serde_json::{Error, Map, Value, map};

/// Makes `to` the JSON form of some content.
pub(super) fn write(content: &impl Serialize, to: &mut Value, keep_nulls: bool) {
    if content.serialize(InPlace { to, keep_nulls }).is_err() {
        // Only maps with keys that are no strings can fail, and there are none.
        *to = serde_json::to_value(content).unwrap_or_default();
    }
}

/// Writes a value's new content over the old one.
struct InPlace<'a> {
    to: &'a mut Value,
    /// Whether a null stays that the content does not mention.
    keep_nulls: bool,
}

/// A list, up to where it is written.
struct List<'a> {
    items: &'a mut Vec<Value>,
    written: usize,
    keep_nulls: bool,
}

/// An object with fields known at compile time, which come in any order.
struct Struct<'a> {
    fields: &'a mut Map<String, Value>,
    written: Names,
    keep_nulls: bool,
}

/// The names of the fields that are there: few, as a rule.
#[derive(Default)]
struct Names {
    first: [&'static str; 16],
    len: usize,
    more: Vec<&'static str>,
}

/// A map, whose keys come in their order here and there.
struct Entries<'a> {
    to: &'a mut Map<String, Value>,
    old: Peekable<map::IntoIter>,
    entry: Option<(String, Value)>,
    keep_nulls: bool,
}

/// Finds what a key had.
struct Key<'a, 'b>(&'b mut Entries<'a>);

impl<'a> InPlace<'a> {
    fn set(self, value: impl Into<Value>) -> Result<(), Error> {
        *self.to = value.into();
        Ok(())
    }

    fn list(self) -> Result<List<'a>, Error> {
        if !self.to.is_array() {
            *self.to = Value::Array(Vec::new());
        }
        match self.to {
            Value::Array(items) => Ok(List { items, written: 0, keep_nulls: self.keep_nulls }),
            _ => unsupported("what is no list after it was made one"),
        }
    }

    fn object(self) -> Result<&'a mut Map<String, Value>, Error> {
        if !self.to.is_object() {
            *self.to = Value::Object(Map::new());
        }
        match self.to {
            Value::Object(fields) => Ok(fields),
            _ => unsupported("what is no object after it was made one"),
        }
    }
}

fn unsupported<T>(what: &str) -> Result<T, Error> {
    Err(ser::Error::custom(format_args!("{what} has no place in an object of Kubernetes")))
}

impl<'a> Serializer for InPlace<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Struct<'a>;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_i8(self, v: i8) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_i16(self, v: i16) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_u16(self, v: u16) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_u32(self, v: u32) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_f32(self, v: f32) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_f64(self, v: f64) -> Result<(), Error> {
        self.set(v)
    }

    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.set(v.to_string())
    }

    fn serialize_str(self, v: &str) -> Result<(), Error> {
        match self.to {
            Value::String(old) if old == v => Ok(()),
            to => {
                *to = Value::String(v.to_owned());
                Ok(())
            }
        }
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        unsupported("a run of bytes")
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.set(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.set(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.set(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        unsupported(variant)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<List<'a>, Error> {
        self.list()
    }

    fn serialize_tuple(self, _: usize) -> Result<List<'a>, Error> {
        self.list()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'a>, Error> {
        self.list()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        unsupported(variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, Error> {
        let keep_nulls = self.keep_nulls;
        let to = self.object()?;
        let old = std::mem::take(to).into_iter().peekable();
        Ok(Entries { to, old, entry: None, keep_nulls })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Struct<'a>, Error> {
        let keep_nulls = self.keep_nulls;
        Ok(Struct { fields: self.object()?, written: Names::default(), keep_nulls })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        unsupported(variant)
    }
}

// === impl List ===

impl List<'_> {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        if self.written == self.items.len() {
            self.items.push(Value::Null);
        }
        let Some(to) = self.items.get_mut(self.written) else { return Ok(()) };
        self.written += 1;
        value.serialize(InPlace { to, keep_nulls: self.keep_nulls })
    }
}

impl ser::SerializeSeq for List<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<(), Error> {
        self.items.truncate(self.written);
        Ok(())
    }
}

impl ser::SerializeTuple for List<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<(), Error> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for List<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.push(value)
    }

    fn end(self) -> Result<(), Error> {
        ser::SerializeSeq::end(self)
    }
}

// === impl Struct ===

impl Names {
    fn push(&mut self, name: &'static str) {
        match self.first.get_mut(self.len) {
            Some(place) => *place = name,
            None => self.more.push(name),
        }
        self.len += 1;
    }

    fn contains(&self, name: &str) -> bool {
        self.first.iter().take(self.len).chain(&self.more).any(|known| *known == name)
    }
}

impl ser::SerializeStruct for Struct<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.written.push(name);
        let keep_nulls = self.keep_nulls;
        if let Some(to) = self.fields.get_mut(name) {
            return value.serialize(InPlace { to, keep_nulls });
        }
        let mut new = Value::Null;
        value.serialize(InPlace { to: &mut new, keep_nulls })?;
        self.fields.insert(name.to_owned(), new);
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        if self.fields.len() > self.written.len {
            self.fields
                .retain(|name, value| self.written.contains(name) || (self.keep_nulls && value.is_null()));
        }
        Ok(())
    }
}

// === impl Entries ===

impl Entries<'_> {
    /// The old value of a key, or a new one. What comes before it is gone, or stays for being null.
    fn find(&mut self, key: &str) -> (String, Value) {
        while let Some((old, value)) = self.old.next_if(|(old, _)| old.as_str() < key) {
            self.pass(old, value);
        }
        let known = self.old.next_if(|(old, _)| old.as_str() == key);
        // Keys out of order are found here only if they are new, and then nothing of the old is kept: correct, if slower.
        known.unwrap_or_else(|| (key.to_owned(), Value::Null))
    }

    fn pass(&mut self, old: String, value: Value) {
        if self.keep_nulls && value.is_null() && !self.to.contains_key(&old) {
            self.to.insert(old, value);
        }
    }
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.entry = Some(key.serialize(Key(self))?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let Some((key, mut to)) = self.entry.take() else { return unsupported("a value without a key") };
        value.serialize(InPlace { to: &mut to, keep_nulls: self.keep_nulls })?;
        self.to.insert(key, to);
        Ok(())
    }

    fn end(mut self) -> Result<(), Error> {
        while let Some((old, value)) = self.old.next() {
            self.pass(old, value);
        }
        Ok(())
    }
}

/// Keys are texts.
macro_rules! no_key {
    ($($name:ident($ty:ty)),* $(,)?) => {$(
        fn $name(self, _: $ty) -> Result<Self::Ok, Error> {
            unsupported("a key that is no text")
        }
    )*};
}

impl Serializer for Key<'_, '_> {
    type Ok = (String, Value);
    type Error = Error;
    type SerializeSeq = ser::Impossible<Self::Ok, Error>;
    type SerializeTuple = ser::Impossible<Self::Ok, Error>;
    type SerializeTupleStruct = ser::Impossible<Self::Ok, Error>;
    type SerializeTupleVariant = ser::Impossible<Self::Ok, Error>;
    type SerializeMap = ser::Impossible<Self::Ok, Error>;
    type SerializeStruct = ser::Impossible<Self::Ok, Error>;
    type SerializeStructVariant = ser::Impossible<Self::Ok, Error>;

    fn serialize_str(self, key: &str) -> Result<Self::Ok, Error> {
        Ok(self.0.find(key))
    }

    no_key! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_u8(u8),
        serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_f32(f32), serialize_f64(f64),
        serialize_char(char), serialize_bytes(&[u8]), serialize_unit_struct(&'static str),
    }

    fn serialize_none(self) -> Result<Self::Ok, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Self::Ok, Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Self::Ok, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Self::Ok, Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Self::Ok, Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<Self::Ok, Error> {
        unsupported(variant)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        unsupported(variant)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        unsupported("a key that is no text")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        unsupported(variant)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1 as core;
    use proptest::prelude::*;
    use serde_json::json;

    use crate::typed::Typed as _;

    /// A Pod of parts that may be there or not.
    fn pod() -> impl Strategy<Value = serde_json::Value> {
        let labels = prop::collection::btree_map("[a-c]{1,2}", "[xy]?", 0..4);
        let container = ("[a-b]", prop::option::of("[i-j]"), prop::option::of(0..3_i32), 0..3_usize)
            .prop_map(|(name, image, port, env)| {
                let env: Vec<_> =
                    (0..env).map(|n| json!({"name": format!("{name}{n}"), "value": "v"})).collect();
                let mut container = json!({"name": name, "env": env, "resources": {"limits": {"cpu": "1"}}});
                if let Some(image) = image {
                    container["image"] = image.into();
                }
                if let Some(port) = port {
                    container["livenessProbe"] = json!({"httpGet": {"port": port}});
                }
                container
            });
        let containers = prop::collection::vec(container, 0..3);
        (prop::option::of(labels), containers, prop::option::of("[pq]"), any::<bool>(), any::<bool>()).prop_map(
            |(labels, containers, phase, host, null)| {
                let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": containers}});
                if let Some(labels) = labels {
                    pod["metadata"]["labels"] = json!(labels);
                }
                if let Some(phase) = phase {
                    pod["status"] = json!({"phase": phase, "conditions": [{"type": "t", "status": phase}]});
                }
                if host {
                    pod["spec"]["hostNetwork"] = true.into();
                }
                if null {
                    pod["spec"]["volumes"] = serde_json::Value::Null;
                }
                pod
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_there_before_leaves_no_trace(before in pod(), after in pod()) {
            let after = core::Pod::from_value(&after).unwrap();
            let mut value = before;
            after.write_to(&mut value, false);
            prop_assert_eq!(value, after.to_value());
        }
    }

    #[test]
    fn nulls_that_the_struct_does_not_know_may_stay() {
        let before = json!({"metadata": {"labels": {"a": "b", "z": "y"}}, "spec": {"containers": [{"name": "a", "env": null}],
            "volumes": null, "nodeName": "n"}, "other": null, "more": 1});
        let mut pod = core::Pod::from_value(&before).unwrap();
        pod.spec.as_mut().unwrap().node_name = None;
        pod.metadata.labels = Some([("m".to_owned(), "n".to_owned())].into());
        let (mut kept, mut gone) = (before.clone(), before);
        pod.write_to(&mut kept, true);
        assert_eq!(
            kept,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"m": "n"}}, "other": null,
                "spec": {"containers": [{"name": "a", "env": null}], "volumes": null}})
        );
        pod.write_to(&mut gone, false);
        assert_eq!(gone, pod.to_value());
    }

    #[test]
    fn a_value_of_another_form_is_replaced() {
        let pod = core::Pod::from_value(&json!({"spec": {"containers": [{"name": "a"}]}})).unwrap();
        for mut value in
            [json!(null), json!([1]), json!({"spec": "x"}), json!({"spec": {"containers": {"a": 1}}})]
        {
            pod.write_to(&mut value, false);
            assert_eq!(value, pod.to_value());
        }
    }
}
