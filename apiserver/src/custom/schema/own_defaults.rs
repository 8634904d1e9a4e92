//! Whether the defaults that a definition writes fit its own schema.

use api_types::field::{Fault, Faults, Path, aggregate};
use serde_json::{Map, Value};

use super::{Structural, metadata::printed};

/// Where a default stands in the object around it.
#[derive(Clone)]
enum Step<'a> {
    Field(&'a str),
    Item,
}

struct Walk {
    /// Whether a default may have no fields that its schema does not have.
    pruned: bool,
    faults: Faults,
}

/// The innermost object around a default, and where in it the default stands.
#[derive(Clone)]
struct Around<'a> {
    object: &'a Structural,
    steps: Vec<Step<'a>>,
    in_metadata: bool,
}

/// What is wrong with the defaults in the schema of a whole object. `pruned` unless stored ones were worse.
pub(crate) fn faults(schema: &Value, pruned: bool, path: &Path) -> Faults {
    let schema = Structural::read(schema);
    let mut walk = Walk { pruned, faults: Vec::new() };
    let around = Around { object: &schema, steps: Vec::new(), in_metadata: false };
    walk.visit(&schema, true, &around, path);
    walk.faults
}

/// Whether a schema has a default with fields that its schema does not have.
pub(crate) fn has_unpruned(schema: &Value) -> bool {
    fn any(schema: &Structural) -> bool {
        let own = schema.default_value().is_some_and(|default| {
            let mut pruned = default.clone();
            schema.prune_part(&mut pruned);
            pruned != *default
        });
        own || schema.items().is_some_and(any) || schema.properties().any(|(_, property)| any(property))
    }
    any(&Structural::read(schema))
}

impl Walk {
    fn visit(&mut self, schema: &Structural, is_root: bool, around: &Around<'_>, path: &Path) {
        let own;
        let around = if schema.is_embedded() || is_root {
            own = Around { object: schema, steps: Vec::new(), in_metadata: false };
            &own
        } else {
            around
        };
        if let Some(default) = schema.default_value() {
            self.judge(schema, default, around, &path.child("default"));
        }
        // Defaults cannot stand within additional properties.
        if let Some(items) = schema.items() {
            self.visit(items, false, &around.within(Step::Item, false), &path.child("items"));
        }
        for (name, property) in schema.properties() {
            let of_object = matches!(name, "metadata" | "apiVersion" | "kind");
            let in_metadata = (schema.is_embedded() || is_root) && of_object;
            let around = around.within(Step::Field(name), in_metadata);
            self.visit(property, false, &around, &path.child("properties").key(name));
        }
    }

    fn judge(&mut self, schema: &Structural, default: &Value, around: &Around<'_>, path: &Path) {
        if around.in_metadata {
            self.judge_in_metadata(schema, default, around, path);
            return;
        }
        if self.pruned {
            let mut pruned = default.clone();
            if schema.is_embedded() {
                schema.prune(&mut pruned);
            } else {
                schema.prune_part(&mut pruned);
            }
            if pruned != *default {
                self.faults.push(Fault::invalid(path, printed(default), "must not have unknown fields"));
            }
        }
        let mut coerced = default.clone();
        let result = if schema.is_embedded() {
            schema.coerce_object(path, &mut coerced)
        } else {
            schema.coerce_part(path, &mut coerced)
        };
        if let Err(fault) = result {
            self.faults.push(*fault);
            return;
        }
        let embedded = schema.embedded_faults(path, &coerced, schema.is_embedded());
        if embedded.is_empty() {
            self.judge_value(schema, &coerced, path);
        } else {
            self.faults.extend(embedded);
        }
    }

    /// By limits, and if those are kept by rules: as a value that stays, and as one that comes.
    fn judge_value(&mut self, schema: &Structural, default: &Value, path: &Path) {
        let mut faults = schema.value_faults(path, default, None);
        let is_root = schema.is_embedded();
        for old in [Some(default), None] {
            if faults.is_empty() {
                faults = schema.judge_rules(path, default, old, false, is_root).faults;
            }
        }
        self.faults.extend(faults);
    }

    fn judge_in_metadata(&mut self, schema: &Structural, default: &Value, around: &Around<'_>, path: &Path) {
        let mut object = around.build(default);
        let wrong = match around.object.coerce_object(&Path::root(), &mut object) {
            Err(fault) => Some(fault.to_string()),
            Ok(()) => {
                let faults = around.object.embedded_faults(&Path::root(), &object, true);
                (!faults.is_empty()).then(|| aggregate(faults))
            }
        };
        if let Some(wrong) = wrong {
            let detail = format!("must result in valid metadata: {wrong}");
            self.faults.push(Fault::invalid(path, printed(default), detail));
        } else {
            self.judge_value(schema, default, path);
        }
    }
}

impl<'a> Around<'a> {
    fn within(&self, step: Step<'a>, in_metadata: bool) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { object: self.object, steps, in_metadata: self.in_metadata || in_metadata }
    }

    /// The object with nothing in it but the default, and a kind.
    fn build(&self, default: &Value) -> Value {
        let mut value = default.clone();
        for step in self.steps.iter().rev() {
            value = match step {
                Step::Item => Value::Array(vec![value]),
                Step::Field(name) => Value::Object(Map::from_iter([((*name).to_owned(), value)])),
            };
        }
        if let Some(map) = value.as_object_mut() {
            map.entry("kind").or_insert_with(|| "Validation".into());
            map.entry("apiVersion").or_insert_with(|| "validation/v1".into());
        }
        value
    }
}
