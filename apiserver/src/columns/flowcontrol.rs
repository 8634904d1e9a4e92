//! Priority and fairness. Flow schemas are listed in the order they match in, not in the order of their names.

use k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, LimitedPriorityLevelConfiguration, PriorityLevelConfigurationReference,
    PriorityLevelConfigurationSpec, QueuingConfiguration,
};
use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, of, says, text},
    read::{self, ObjectExt as _, age, at, list},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "flowschemas" => &FLOW_SCHEMAS,
        "prioritylevelconfigurations" => &PRIORITY_LEVELS,
        _ => return None,
    })
}

static FLOW_SCHEMAS: TableDef = TableDef::new(
    &[
        NAME,
        text("PriorityLevel", of::<PriorityLevelConfigurationReference>("name")),
        text("MatchingPrecedence", of::<FlowSchemaSpec>("matchingPrecedence")),
        text("DistinguisherMethod", of::<FlowSchemaSpec>("distinguisherMethod")),
        AGE,
        text("MissingPL", says("references a broken or non-existent PriorityLevelConfiguration")),
    ],
    |schema, now| {
        let distinguisher = at(schema, "spec.distinguisherMethod");
        let distinguisher =
            if distinguisher.is_object() { read::text(distinguisher, "type") } else { "<none>" };
        let dangling = list(schema, "status.conditions")
            .iter()
            .find(|condition| read::text(condition, "type") == "Dangling")
            .map_or("?", |condition| read::text(condition, "status"));
        vec![
            schema.name().into(),
            read::text(schema, "spec.priorityLevelConfiguration.name").into(),
            read::integer(schema, "spec.matchingPrecedence").into(),
            distinguisher.into(),
            age(schema, now),
            dangling.into(),
        ]
    },
)
.order(|one, other| {
    let key = |schema: &Value| (read::integer(schema, "spec.matchingPrecedence"), schema.name().to_owned());
    key(one).cmp(&key(other))
});

static PRIORITY_LEVELS: TableDef = TableDef::new(
    &[
        NAME,
        text("Type", of::<PriorityLevelConfigurationSpec>("type")),
        text("NominalConcurrencyShares", of::<LimitedPriorityLevelConfiguration>("nominalConcurrencyShares")),
        text("Queues", of::<QueuingConfiguration>("queues")),
        text("HandSize", of::<QueuingConfiguration>("handSize")),
        text("QueueLengthLimit", of::<QueuingConfiguration>("queueLengthLimit")),
        AGE,
    ],
    |level, now| {
        let limited = at(level, "spec.limited");
        let queuing = at(limited, "limitResponse.queuing");
        let number = |of: &Value, field| -> Value {
            if of.is_object() { read::integer(of, field).into() } else { "<none>".into() }
        };
        vec![
            level.name().into(),
            read::text(level, "spec.type").into(),
            number(limited, "nominalConcurrencyShares"),
            number(queuing, "queues"),
            number(queuing, "handSize"),
            number(queuing, "queueLengthLimit"),
            age(level, now),
        ]
    },
);
