//! What flow schemas and priority levels say, read as a whole: each depends on others.
//!
//! The two schemas and the two levels that a server cannot do without are always there, if need be as they are proposed.
//! What is broken is left out. Pure.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration, PriorityLevelConfigurationSpec,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{limits::Shares, queues::Discipline, schema::Matcher};
use crate::bootstrap::flow_control;

/// The level without a limit.
pub const EXEMPT: &str = "exempt";
/// The level and the schema for what nothing else is for.
pub const CATCH_ALL: &str = "catch-all";
const DANGLING: &str = "Dangling";

/// All levels and schemas.
#[derive(Debug, Default)]
pub struct Configuration {
    /// Levels, by name.
    pub levels: Vec<LevelSpec>,
    /// Schemas whose level is there, in the order they are tried.
    pub schemas: Vec<SchemaSpec>,
    /// Schemas whose status does not tell whether their level is there, and whether it is.
    pub untold: Vec<Untold>,
}

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelSpec {
    /// Its name.
    pub name: String,
    /// Its uid; empty if it is not stored.
    pub uid: String,
    /// What it has, lends and borrows.
    pub shares: Shares,
    /// What becomes of requests beyond its limit.
    pub discipline: Discipline,
}

/// A flow schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaSpec {
    /// Its name.
    pub name: String,
    /// Its uid; empty if it is not stored.
    pub uid: String,
    /// The name of its level.
    pub level: String,
    /// The lower, the earlier it is tried.
    pub precedence: i32,
    /// What it is about.
    pub matcher: Matcher,
}

/// A schema whose status is not true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Its name.
    pub name: String,
    /// What the condition should be, but for its time.
    pub condition: (&'static str, &'static str, String),
}

// === impl Configuration ===

impl Configuration {
    /// Of these objects.
    pub fn new<'a>(
        schemas: impl Iterator<Item = &'a Value>,
        levels: impl Iterator<Item = &'a Value>,
    ) -> Self {
        let mut it =
            Self { levels: levels.filter_map(read).filter_map(LevelSpec::new).collect(), ..Self::default() };
        let stored: Vec<FlowSchema> = schemas.filter_map(read).collect();
        for schema in &stored {
            let exists = it.has_level(level_of(schema));
            it.untold.extend(Untold::new(schema, exists));
        }
        let mut specs: Vec<_> =
            stored.iter().filter(|schema| it.has_level(level_of(schema))).map(SchemaSpec::new).collect();
        specs.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        it.schemas = specs;
        it.imagine();
        it
    }

    fn has_level(&self, name: &str) -> bool {
        self.levels.iter().any(|level| level.name == name)
    }

    /// Adds what must be there.
    fn imagine(&mut self) {
        let items = flow_control::items(jiff::Timestamp::UNIX_EPOCH);
        for name in flow_control::MANDATORY {
            let of = |resource: &str| {
                let item = items.iter().find(|it| it.resource == resource && is_named(&it.object, name));
                item.map(|item| &item.object)
            };
            if !self.has_level(name) {
                let level = of("prioritylevelconfigurations").and_then(read).and_then(LevelSpec::new);
                self.levels.extend(level);
            }
            if !self.schemas.iter().any(|schema| schema.name == name)
                && let Some(schema) = of("flowschemas").and_then(read)
            {
                let at = if name == EXEMPT { 0 } else { self.schemas.len() };
                self.schemas.insert(at, SchemaSpec::new(&schema));
            }
        }
    }
}

fn read<T: DeserializeOwned>(object: &Value) -> Option<T> {
    T::deserialize(object).ok()
}

fn is_named(object: &Value, name: &str) -> bool {
    object.pointer("/metadata/name").and_then(Value::as_str) == Some(name)
}

fn level_of(schema: &FlowSchema) -> &str {
    schema.spec.as_ref().map(|spec| spec.priority_level_configuration.name.as_str()).unwrap_or_default()
}

/// A number that validation lets be no less than zero.
fn count(number: Option<i32>, default: u32) -> u32 {
    number.map_or(default, |number| u32::try_from(number).unwrap_or_default())
}

fn size(number: Option<i32>, default: usize) -> usize {
    number.map_or(default, |number| usize::try_from(number).unwrap_or_default())
}

// === impl LevelSpec ===

impl LevelSpec {
    fn new(level: PriorityLevelConfiguration) -> Option<Self> {
        let name = level.metadata.name?;
        let (shares, discipline) = match level.spec? {
            PriorityLevelConfigurationSpec { type_, exempt: Some(exempt), limited: None }
                if type_ == "Exempt" && name == EXEMPT =>
            {
                let shares = Shares {
                    nominal: count(exempt.nominal_concurrency_shares, 0),
                    lendable_percent: count(exempt.lendable_percent, 0),
                    borrowing_percent: None,
                };
                (shares, Discipline::Exempt)
            }
            PriorityLevelConfigurationSpec { type_, exempt: None, limited: Some(limited) }
                if type_ == "Limited" && name != EXEMPT =>
            {
                let response = limited.limit_response?;
                let discipline = match (response.type_.as_str(), response.queuing) {
                    ("Reject", None) => Discipline::Reject,
                    ("Queue", Some(queuing)) => Discipline::Queue {
                        queues: size(queuing.queues, 64),
                        hand: size(queuing.hand_size, 8),
                        length: size(queuing.queue_length_limit, 50),
                    },
                    _ => return None,
                };
                let shares = Shares {
                    nominal: count(limited.nominal_concurrency_shares, 30),
                    lendable_percent: count(limited.lendable_percent, 0),
                    borrowing_percent: limited.borrowing_limit_percent.map(|it| count(Some(it), 0)),
                };
                (shares, discipline)
            }
            _ => return None,
        };
        Some(Self { name, uid: level.metadata.uid.unwrap_or_default(), shares, discipline })
    }
}

// === impl SchemaSpec ===

impl SchemaSpec {
    fn new(schema: &FlowSchema) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: text(&schema.metadata.name),
            uid: text(&schema.metadata.uid),
            level: level_of(schema).to_owned(),
            precedence: schema.spec.as_ref().and_then(|spec| spec.matching_precedence).unwrap_or(1000),
            matcher: schema.spec.as_ref().map(Matcher::new).unwrap_or_default(),
        }
    }
}

// === impl Untold ===

impl Untold {
    /// If the status does not say it already.
    fn new(schema: &FlowSchema, level_exists: bool) -> Option<Self> {
        let condition = flow_control::dangling(level_of(schema), level_exists);
        let conditions = schema.status.as_ref().and_then(|status| status.conditions.as_deref());
        let told = conditions.unwrap_or_default().iter().find(|it| it.type_.as_deref() == Some(DANGLING));
        let says = |it: &FlowSchemaCondition| {
            (it.status.as_deref(), it.reason.as_deref(), it.message.as_deref())
                == (Some(condition.0), Some(condition.1), Some(condition.2.as_str()))
        };
        let name = schema.metadata.name.clone()?;
        (!told.is_some_and(says)).then_some(Self { name, condition })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn level(name: &str, spec: Value) -> Value {
        json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "spec": spec})
    }

    fn schema(name: &str, level: &str, precedence: i32) -> Value {
        json!({"metadata": {"name": name}, "spec": {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}})
    }

    fn limited(response: Value) -> Value {
        json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 7, "lendablePercent": 20, "limitResponse": response}})
    }

    fn names(configuration: &Configuration) -> (Vec<&str>, Vec<&str>) {
        (
            configuration.levels.iter().map(|it| it.name.as_str()).collect(),
            configuration.schemas.iter().map(|it| it.name.as_str()).collect(),
        )
    }

    #[test]
    fn what_a_server_cannot_do_without_is_there_before_anything_is_stored() {
        let configuration = Configuration::new([].iter(), [].iter());
        assert_eq!(names(&configuration), (vec!["exempt", "catch-all"], vec!["exempt", "catch-all"]));
        assert_eq!(configuration.levels[0].discipline, Discipline::Exempt);
        assert_eq!(configuration.levels[1].discipline, Discipline::Reject);
    }

    #[test]
    fn schemas_are_tried_by_precedence_then_by_name_and_those_without_a_level_not_at_all() {
        let queue = json!({"type": "Queue", "queuing": {"queues": 8, "handSize": 2, "queueLengthLimit": 5}});
        let levels = [level("l", limited(queue)), level("odd", limited(json!({"type": "Queue"})))];
        let schemas = [
            schema("z", "l", 10),
            schema("b", "l", 20),
            schema("a", "l", 20),
            schema("lost", "odd", 1),
            schema("gone", "none", 1),
        ];
        let configuration = Configuration::new(schemas.iter(), levels.iter());
        assert_eq!(names(&configuration).1, ["exempt", "z", "a", "b", "catch-all"]);
        let spec = &configuration.levels[0];
        assert_eq!(spec.discipline, Discipline::Queue { queues: 8, hand: 2, length: 5 });
        assert_eq!(spec.shares, Shares { nominal: 7, lendable_percent: 20, borrowing_percent: None });
        let untold: Vec<_> =
            configuration.untold.iter().map(|it| (it.name.as_str(), it.condition.0)).collect();
        assert_eq!(
            untold,
            [("z", "False"), ("b", "False"), ("a", "False"), ("lost", "True"), ("gone", "True")]
        );
    }

    #[test]
    fn a_status_that_is_true_is_not_told_again() {
        let levels = [level("l", limited(json!({"type": "Reject"})))];
        for (status, message, untold) in [
            (
                "False",
                "This FlowSchema references the PriorityLevelConfiguration object named \"l\" and it exists",
                0,
            ),
            ("False", "something else", 1),
            (
                "True",
                "This FlowSchema references the PriorityLevelConfiguration object named \"l\" and it exists",
                1,
            ),
        ] {
            let mut one = schema("s", "l", 5);
            one["status"] = json!({"conditions": [{"type": "Dangling", "status": status, "reason": "Found", "message": message}]});
            let configuration = Configuration::new([one].iter(), levels.iter());
            assert_eq!(configuration.untold.len(), untold, "{status} {message}");
        }
    }

    #[test]
    fn a_fresh_clusters_configuration_is_read_whole() {
        let items = flow_control::items(jiff::Timestamp::UNIX_EPOCH);
        let of = |resource: &str| {
            let resource = resource.to_owned();
            items.iter().filter(move |it| it.resource == resource).map(|it| &it.object)
        };
        let configuration = Configuration::new(of("flowschemas"), of("prioritylevelconfigurations"));
        let (levels, schemas) = names(&configuration);
        assert_eq!(levels.len(), 8);
        assert_eq!((schemas.len(), schemas[0], schemas[schemas.len() - 1]), (11, "exempt", "catch-all"));
    }
}
