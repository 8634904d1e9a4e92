//! Putting in what is not given: on every decoding, and on every read from the store.

use serde_json::Value;

use super::{Malformed, Structural};

impl Structural {
    /// Puts defaults in where nothing is given, or null where null is not a value.
    pub fn default(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                for (name, property) in self.properties() {
                    let Some(default) = property.default_value() else { continue };
                    let is_absent = match map.get(name) {
                        None => true,
                        Some(given) => given.is_null() && !property.is_nullable(),
                    };
                    if is_absent {
                        map.insert(name.to_owned(), default.clone());
                    }
                }
                for (name, value) in map.iter_mut() {
                    if let Some(property) = self.property(name) {
                        property.default(value);
                    } else if let Some(additional) = self.additional_schema() {
                        additional.default_null(value);
                        additional.default(value);
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = self.items() else { return };
                for item in list {
                    items.default_null(item);
                    items.default(item);
                }
            }
            _ => {}
        }
    }

    /// Puts the default in for a null that is not a value.
    fn default_null(&self, value: &mut Value) {
        if value.is_null()
            && !self.is_nullable()
            && let Some(default) = self.default_value()
        {
            *value = default.clone();
        }
    }

    /// Drops fields that are null where null is not a value and no default stands in.
    pub fn drop_nulls(&self, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|name, value| {
                    let Some(schema) = self.field(name) else { return true };
                    if value.is_null() && !schema.is_nullable() && schema.default_value().is_none() {
                        return false;
                    }
                    schema.drop_nulls(value);
                    true
                });
            }
            Value::Array(list) => {
                let Some(items) = self.items() else { return };
                list.iter_mut().for_each(|item| items.drop_nulls(item));
            }
            _ => {}
        }
    }

    /// Drops from defaults what their own schemas do not have. Definitions that were written long ago have such.
    pub(super) fn prune_defaults(&mut self) {
        if let Some(mut default) = self.default.take() {
            let mut unknown = Vec::new();
            // Dropping what is malformed cannot fail.
            let _ = self.coerce_embedded(&mut default, Malformed::Dropped, &mut unknown);
            self.prune_part(&mut default);
            self.default = Some(default);
        }
        if let super::Additional::Schema(schema) = &mut self.additional {
            schema.prune_defaults();
        }
        if let Some(items) = &mut self.items {
            items.prune_defaults();
        }
        for (_, property) in &mut self.properties {
            property.prune_defaults();
        }
    }
}
