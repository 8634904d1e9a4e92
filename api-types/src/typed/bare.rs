//! An object as a struct reads it, without its managed fields: nobody looks at those in a struct, and they are half of an
//! object as a rule.

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, Visitor, value::BorrowedStrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::{Map, Value, map};

/// Reads all of an object but `metadata.managedFields`.
#[derive(Clone, Copy)]
pub(super) struct Bare<'a> {
    fields: &'a Map<String, Value>,
    is_metadata: bool,
}

struct Fields<'a> {
    left: map::Iter<'a>,
    next: Option<(&'a str, &'a Value)>,
    is_metadata: bool,
}

// === impl Bare ===

impl<'a> Bare<'a> {
    pub(super) fn object(fields: &'a Map<String, Value>) -> Self {
        Self { fields, is_metadata: false }
    }
}

impl<'de> Deserializer<'de> for Bare<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_map(Fields { left: self.fields.iter(), next: None, is_metadata: self.is_metadata })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

// === impl Fields ===

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        let is_metadata = self.is_metadata;
        let mut left = self.left.by_ref().map(|(name, value)| (name.as_str(), value));
        self.next = left.find(|(name, _)| !is_metadata || *name != "managedFields");
        self.next.map(|(name, _)| seed.deserialize(BorrowedStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        match self.next.take() {
            Some(("metadata", Value::Object(fields))) if !self.is_metadata => {
                seed.deserialize(Bare { fields, is_metadata: true })
            }
            Some((_, value)) => seed.deserialize(value),
            None => Err(serde::de::Error::custom("a value was asked for before its key")),
        }
    }
}
