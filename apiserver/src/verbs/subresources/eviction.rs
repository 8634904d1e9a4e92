//! `pods/eviction`: a delete that respects disruption budgets.

use std::sync::Arc;

use api_types::{kind::GroupVersionKind, object::ObjectExt, schema::schema, status::Status, typed::Typed};
use k8s_openapi::api::{
    core::v1::Pod,
    policy::v1::{Eviction, PodDisruptionBudget},
};
use serde_json::{Value, json};

use super::super::{
    Asked,
    decode::{self, Decoded, Expected},
    method_not_allowed,
    options::Write,
};
use crate::{
    admission::Operation,
    authn::user::{AUTHENTICATED, MASTERS, User},
    http::respond::Answer,
    registry::{Call, delete, strategy::Part, update::Plan, view::Shown},
    resources::core::pods,
    server::Server,
};

/// How often a write that meets others is tried.
const ATTEMPTS: usize = 20;

pub(super) async fn run(server: &Arc<Server>, mut asked: Asked) -> Result<Answer, Status> {
    if asked.info.verb != "create" {
        return Err(method_not_allowed());
    }
    let options = Write::read(&asked.query, "CreateOptions", false)?;
    let format = asked.body_format()?;
    let body = asked.body().await?;
    let expected = Expected {
        kind: GroupVersionKind::new("policy", "v1", "Eviction"),
        schema: schema().type_of("policy", "v1", "Eviction"),
        custom: None,
    };
    let Decoded { object, warnings } =
        decode::decode(&server.registry.catalogue, &body, format, &expected, options.field_validation)?;
    asked.warnings.extend(warnings);
    let mut call = asked.call(server, &options);
    let attributes = server.registry.admit(&call, expected.kind, Operation::Create, object).await?;
    let eviction = Eviction::from_value(&attributes.object).map_err(Status::internal)?;
    call.dry_run = pods::check_eviction(&eviction, &call.name, call.dry_run)?;
    server.registry.let_in(&attributes).await?;
    let how = attributes.object.get("deleteOptions").cloned().unwrap_or_else(|| json!({}));
    let how = delete::Options { unasked: true, ..delete::options(&how)? };
    if !delete_if_free(server, &call, &how).await? {
        delete_guarded(server, &call, &how).await?;
    }
    Ok(super::success(&asked, 201))
}

async fn pod(server: &Server, call: &Call) -> Result<(Pod, String), Status> {
    let object = server.registry.current(call).await?.object;
    let version = object.resource_version().to_owned();
    Ok((Pod::from_value(&object).map_err(Status::internal)?, version))
}

/// Deletes the Pod if budgets do not matter to it; `false` if they do.
async fn delete_if_free(server: &Server, call: &Call, how: &delete::Options) -> Result<bool, Status> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (pod, version) = pod(server, call).await?;
        if !pods::ignores_budgets(&pod) {
            return Ok(false);
        }
        // A Pod that may become ready must not do so unseen.
        let mut at = how.clone();
        if pods::must_not_change(&pod) {
            at.resource_version.get_or_insert(version);
        }
        match evict(server, call, &at).await {
            Err(status) if status.is("Conflict") && how.resource_version.is_none() && attempt < ATTEMPTS => {}
            result => return result.map(|()| true),
        }
    }
}

async fn delete_guarded(server: &Server, call: &Call, how: &delete::Options) -> Result<(), Status> {
    let (pod, version) = pod(server, call).await?;
    let mut budgets = Vec::new();
    for budget in server.list("policy", "v1", "poddisruptionbudgets", &call.namespace).await? {
        budgets.push(PodDisruptionBudget::from_value(&budget).map_err(Status::internal)?);
    }
    let Some(budget) = pods::budget_of(&pod, &budgets)? else { return evict(server, call, how).await };
    let name = budget.metadata.name.as_deref().unwrap_or_default();
    if !pods::goes_uncounted(&pod, budget) {
        charge(server, call, name).await?;
        return evict(server, call, how).await;
    }
    let unchanged = delete::Options { resource_version: Some(version), ..how.clone() };
    match evict(server, call, &unchanged).await {
        // It may have become ready: the caller shall ask again.
        Err(status) if status.is("Conflict") && how.resource_version.is_none() => {
            Err(pods::refused_for_now(name))
        }
        result => result,
    }
}

/// Takes one disruption from the budget.
async fn charge(server: &Server, call: &Call, budget: &str) -> Result<(), Status> {
    let Some(served) = server.registry.catalogue.find("policy", "v1", "poddisruptionbudgets") else {
        return Ok(());
    };
    // A write of the server's own, which admission may have something against.
    let write = Call {
        served,
        name: budget.to_owned(),
        subresource: "status".to_owned(),
        user: User::new("system:apiserver", &[MASTERS, AUTHENTICATED]),
        manager: "kube-apiserver".to_owned(),
        options: Value::Null,
        ..call.clone()
    };
    let plan = Plan::of(Part::Status);
    for _ in 0..ATTEMPTS {
        let written = server
            .registry
            .update(&write, plan, &|old| {
                let old = old.ok_or_else(|| write.not_found())?;
                let mut budget = PodDisruptionBudget::from_value(old).map_err(Status::internal)?;
                pods::take_from_budget(&mut budget, &call.name, call.now)?;
                Ok(budget.to_value())
            })
            .await;
        match written {
            Err(status) if status.is("Conflict") => {}
            result => return result.map(|_| ()),
        }
    }
    Err(Status::timeout(format!("couldn't update PodDisruptionBudget {budget:?} due to conflicts"), 10))
}

/// Says on the Pod why it goes, then deletes it.
async fn evict(server: &Server, call: &Call, how: &delete::Options) -> Result<(), Status> {
    if call.dry_run {
        return server.registry.delete(call, how).await.map(|_| ());
    }
    let checked = server.registry.current(call).await?;
    delete::check(call, how, &checked)?;
    let marked = Call { subresource: "status".to_owned(), ..call.clone() };
    let plan = Plan { shown: Shown::Nothing, ..Plan::of(Part::Status) };
    let written = server
        .registry
        .update(&marked, plan, &|old| {
            let old = old.ok_or_else(|| call.not_found())?;
            // Whatever others wrote meanwhile, unless the caller minds.
            if how.resource_version.is_some() && old.resource_version() != checked.object.resource_version() {
                return Err(Status::modified(&call.served.resource.resource(), &call.name));
            }
            let mut pod = Pod::from_value(old).map_err(Status::internal)?;
            pods::mark_evicted(&mut pod, call.now);
            Ok(pod.to_value())
        })
        .await?;
    let mut how = how.clone();
    if how.resource_version.is_some() {
        how.resource_version = Some(written.object.resource_version().to_owned());
    }
    server.registry.delete(call, &how).await.map(|_| ())
}
