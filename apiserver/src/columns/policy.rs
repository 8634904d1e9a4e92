//! Disruption budgets.

use super::{
    TableDef,
    column::{AGE, NAME, integer, says, text},
    read::{self, ObjectExt as _, age, at, scalar},
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    (resource == "poddisruptionbudgets").then_some(&POD_DISRUPTION_BUDGETS)
}

static POD_DISRUPTION_BUDGETS: TableDef = TableDef::new(
    &[
        NAME,
        text("Min Available", says("The minimum number of pods that must be available.")),
        text("Max Unavailable", says("The maximum number of pods that may be unavailable.")),
        integer("Allowed Disruptions", says("Calculated number of pods that may be disrupted at this time.")),
        AGE,
    ],
    |budget, now| {
        let bound = |path| scalar(at(budget, path)).unwrap_or_else(|| "N/A".to_owned());
        vec![
            budget.name().into(),
            bound("spec.minAvailable").into(),
            bound("spec.maxUnavailable").into(),
            read::integer(budget, "status.disruptionsAllowed").into(),
            age(budget, now),
        ]
    },
);
