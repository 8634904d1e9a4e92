//! Specs in the form in which upstream prints them: all fields, by the names that they have inside of it.

use k8s_openapi::api::flowcontrol::v1::{
    FlowDistinguisherMethod, FlowSchemaSpec, GroupSubject, LimitResponse, PriorityLevelConfigurationSpec,
    QueuingConfiguration, Subject, UserSubject,
};
use serde::Serialize;

use crate::resources::shared::optional::{Items, Switch};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Schema<'a> {
    priority_level_configuration: Named<'a>,
    matching_precedence: i32,
    distinguisher_method: Option<Method<'a>>,
    rules: Option<Vec<Rule<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Method<'a> {
    r#type: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rule<'a> {
    subjects: Option<Vec<Who<'a>>>,
    resource_rules: Option<Vec<ResourceRule<'a>>>,
    non_resource_rules: Option<Vec<NonResourceRule<'a>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Who<'a> {
    kind: &'a str,
    user: Option<Named<'a>>,
    group: Option<Named<'a>>,
    service_account: Option<Account<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Account<'a> {
    namespace: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ResourceRule<'a> {
    verbs: Option<&'a [String]>,
    #[serde(rename = "APIGroups")]
    api_groups: Option<&'a [String]>,
    resources: Option<&'a [String]>,
    cluster_scope: bool,
    namespaces: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NonResourceRule<'a> {
    verbs: Option<&'a [String]>,
    #[serde(rename = "NonResourceURLs")]
    non_resource_urls: Option<&'a [String]>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Level<'a> {
    r#type: &'a str,
    limited: Option<Limited<'a>>,
    exempt: Option<Exempt>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Limited<'a> {
    nominal_concurrency_shares: i32,
    limit_response: Response<'a>,
    lendable_percent: Option<i32>,
    borrowing_limit_percent: Option<i32>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response<'a> {
    r#type: &'a str,
    queuing: Option<Queuing>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Queuing {
    queues: i32,
    hand_size: i32,
    queue_length_limit: i32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Exempt {
    nominal_concurrency_shares: Option<i32>,
    lendable_percent: Option<i32>,
}

/// A list without items prints like one that was not given.
fn list<T>(items: &[T]) -> Option<&[T]> {
    (!items.is_empty()).then_some(items)
}

fn each<'a, T, P>(items: &'a [T], print: impl Fn(&'a T) -> P) -> Option<Vec<P>> {
    list(items).map(|items| items.iter().map(print).collect())
}

pub(super) fn method(method: &FlowDistinguisherMethod) -> Method<'_> {
    Method { r#type: &method.type_ }
}

pub(super) fn schema(spec: &FlowSchemaSpec) -> Schema<'_> {
    Schema {
        priority_level_configuration: Named { name: &spec.priority_level_configuration.name },
        matching_precedence: spec.matching_precedence.unwrap_or_default(),
        distinguisher_method: spec.distinguisher_method.as_ref().map(method),
        rules: each(spec.rules.items(), |rule| Rule {
            subjects: each(&rule.subjects, subject),
            resource_rules: each(rule.resource_rules.items(), |rule| ResourceRule {
                verbs: list(&rule.verbs),
                api_groups: list(&rule.api_groups),
                resources: list(&rule.resources),
                cluster_scope: rule.cluster_scope.is_on(),
                namespaces: list(rule.namespaces.items()),
            }),
            non_resource_rules: each(rule.non_resource_rules.items(), |rule| NonResourceRule {
                verbs: list(&rule.verbs),
                non_resource_urls: list(&rule.non_resource_urls),
            }),
        }),
    }
}

fn subject(subject: &Subject) -> Who<'_> {
    Who {
        kind: &subject.kind,
        user: subject.user.as_ref().map(|UserSubject { name }| Named { name }),
        group: subject.group.as_ref().map(|GroupSubject { name }| Named { name }),
        service_account: subject
            .service_account
            .as_ref()
            .map(|it| Account { namespace: &it.namespace, name: &it.name }),
    }
}

pub(super) fn level(spec: &PriorityLevelConfigurationSpec) -> Level<'_> {
    Level {
        r#type: &spec.type_,
        limited: spec.limited.as_ref().map(|limited| Limited {
            nominal_concurrency_shares: limited.nominal_concurrency_shares.unwrap_or_default(),
            limit_response: limited.limit_response.as_ref().map(response).unwrap_or_default(),
            lendable_percent: limited.lendable_percent,
            borrowing_limit_percent: limited.borrowing_limit_percent,
        }),
        exempt: spec.exempt.as_ref().map(|exempt| Exempt {
            nominal_concurrency_shares: exempt.nominal_concurrency_shares,
            lendable_percent: exempt.lendable_percent,
        }),
    }
}

fn response(response: &LimitResponse) -> Response<'_> {
    let queuing = |it: &QueuingConfiguration| Queuing {
        queues: it.queues.unwrap_or_default(),
        hand_size: it.hand_size.unwrap_or_default(),
        queue_length_limit: it.queue_length_limit.unwrap_or_default(),
    };
    Response { r#type: &response.type_, queuing: response.queuing.as_ref().map(queuing) }
}
