//! Admission webhooks and policies.

use serde_json::Value;

use super::{
    TableDef,
    column::{AGE, NAME, integer, says, text},
    read::{self, ObjectExt as _, age, at, count},
    selector,
};

pub(super) fn find(resource: &str) -> Option<&'static TableDef> {
    Some(match resource {
        "mutatingadmissionpolicies" => &MUTATING_POLICIES,
        "validatingadmissionpolicies" => &VALIDATING_POLICIES,
        "mutatingadmissionpolicybindings" | "validatingadmissionpolicybindings" => &BINDINGS,
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => &WEBHOOKS,
        _ => return None,
    })
}

static WEBHOOKS: TableDef = TableDef::new(
    &[
        NAME,
        integer(
            "Webhooks",
            says("Webhooks indicates the number of webhooks registered in this configuration"),
        ),
        AGE,
    ],
    |configuration, now| {
        vec![configuration.name().into(), count(configuration, "webhooks").into(), age(configuration, now)]
    },
);

static VALIDATING_POLICIES: TableDef = TableDef::new(
    &[
        NAME,
        integer(
            "Validations",
            says("Validations indicates the number of validation rules defined in this configuration"),
        ),
        PARAM_KIND,
        AGE,
    ],
    |policy, now| {
        vec![
            policy.name().into(),
            count(policy, "spec.validations").into(),
            param_kind(policy).into(),
            age(policy, now),
        ]
    },
);

static MUTATING_POLICIES: TableDef = TableDef::new(
    &[
        NAME,
        integer(
            "Mutations",
            says("Mutation indicates the number of mutations rules defined in this configuration"),
        ),
        PARAM_KIND,
        AGE,
    ],
    |policy, now| {
        vec![
            policy.name().into(),
            count(policy, "spec.mutations").into(),
            param_kind(policy).into(),
            age(policy, now),
        ]
    },
);

const PARAM_KIND: super::Column =
    text("ParamKind", says("ParamKind specifies the kind of resources used to parameterize this policy"));

fn param_kind(policy: &Value) -> String {
    let kind = at(policy, "spec.paramKind");
    if kind.is_object() {
        format!("{}/{}", read::text(kind, "apiVersion"), read::text(kind, "kind"))
    } else {
        "<unset>".to_owned()
    }
}

static BINDINGS: TableDef = TableDef::new(
    &[
        NAME,
        text(
            "PolicyName",
            says("PolicyName indicates the policy definition which the policy binding binded to"),
        ),
        text("ParamRef", says("ParamRef indicates the param resource which sets the configuration param")),
        AGE,
    ],
    |binding, now| {
        vec![
            binding.name().into(),
            read::text(binding, "spec.policyName").into(),
            param_ref(at(binding, "spec.paramRef")).into(),
            age(binding, now),
        ]
    },
);

fn param_ref(param: &Value) -> String {
    match (read::text(param, "namespace"), read::text(param, "name"), at(param, "selector")) {
        (_, "", Value::Object(_)) => selector::go_string(at(param, "selector")),
        (_, "", _) => "<unset>".to_owned(),
        // Whether the parameter is cluster-scoped cannot be told from here.
        ("", name, _) => format!("*/{name}"),
        (namespace, name, _) => format!("{namespace}/{name}"),
    }
}
