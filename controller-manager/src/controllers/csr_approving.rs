//! CertificateSigningRequest approving: a kubelet may have a certificate to be known to the API server by, if somebody has
//! said that whoever asks may: for any node, or for the one he is already known as.
//!
//! Whether he may is asked of the server, so this controller looks in the shell and not in the harness.

use std::{collections::BTreeSet, fmt, sync::Arc};

use client::{
    Api, Cache, Error, Key, Kind,
    controller::{Executor, Manager, Options as Workers, Plan, Request},
    events::Recorder,
    queue::Queue,
    resource::{CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS},
};
use futures::FutureExt;
use serde_json::{Value, json};

use crate::{
    certificates::Asked,
    conditions::{self, Condition},
    kinds::CertificateSigningRequest,
    shell::{self, Look, Looks},
};

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";

/// Approves requests.
struct CsrApproving {
    api: Api,
    executor: Executor,
    clock: runtime::SharedClock,
    requests: Cache<CertificateSigningRequest>,
}

/// A kind of request that is approved if whoever asks may `create` this subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Permission {
    subresource: &'static str,
    message: &'static str,
}

/// Starts the controller.
pub(super) fn start(manager: &Manager, workers: Workers) {
    let api = workers.api.unwrap_or_else(|| manager.api.clone());
    let queue = Queue::named("certificate", &manager.metrics);
    let requests = manager.caches.want::<CertificateSigningRequest>();
    let inbox = queue.clone();
    requests.subscribe(move |change| {
        if let Some(request) = change.after() {
            inbox.add(request.key());
        }
    });
    let events = Recorder::start(&manager.runtime, api.clone(), CsrApproving::NAME);
    let looks = CsrApproving {
        executor: Executor::new(api.clone(), events),
        api,
        clock: Arc::clone(&manager.runtime.clock),
        requests: requests.clone(),
    };
    let ready = async move { requests.synced().await };
    shell::start(manager, workers.workers, &queue, &Arc::new(looks), ready.boxed().shared());
}

/// What somebody must be allowed for a request to be approved, the narrowest first.
fn permissions(request: &CertificateSigningRequest) -> Vec<Permission> {
    let answered = request.status.conditions.iter().any(|it| matches!(&*it.r#type, "Approved" | "Denied"));
    if answered || !request.status.certificate.is_empty() || &*request.spec.signer_name != KUBELET_CLIENT {
        return Vec::new();
    }
    let Ok(asked) = Asked::read(&request.request()) else { return Vec::new() };
    let usages: BTreeSet<&str> = request.spec.usages.iter().map(|it| &**it).collect();
    if asked.kubelet_client_fault(&usages).is_some() {
        return Vec::new();
    }
    let own = Permission {
        subresource: "selfnodeclient",
        message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    };
    let any = Permission {
        subresource: "nodeclient",
        message: "Auto approving kubelet client certificate after SubjectAccessReview.",
    };
    if *request.spec.username == asked.common_name { vec![own, any] } else { vec![any] }
}

/// The question whether whoever asks may.
fn question(request: &CertificateSigningRequest, permission: Permission) -> Value {
    let spec = &request.spec;
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": spec.username,
            "uid": spec.uid,
            "groups": spec.groups,
            "extra": spec.extra,
            "resourceAttributes": {
                "group": "certificates.k8s.io",
                "resource": "certificatesigningrequests",
                "verb": "create",
                "version": "*",
                "subresource": permission.subresource,
            },
        },
    })
}

fn approve(request: &CertificateSigningRequest, permission: Permission, now: jiff::Timestamp) -> Plan {
    let mut all = request.status.conditions.clone();
    let approved = Condition::new("Approved", "True", "AutoApproved", permission.message, now);
    all.push(Condition { last_update_time: Some(now), ..approved });
    let document = json!({"status": {"conditions": conditions::to_value(&all)}});
    Plan::because(format!("whoever asks may have a {} certificate", permission.subresource)).then(
        Request::merge(CERTIFICATE_SIGNING_REQUESTS, request.key(), document)
            .on("approval")
            .if_unchanged(&request.metadata),
    )
}

// === impl CsrApproving ===

impl fmt::Debug for CsrApproving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsrApproving").finish_non_exhaustive()
    }
}

impl Looks for CsrApproving {
    type Key = Key;
    const NAME: &'static str = "csrapproving";

    async fn look(&self, key: &Key) -> Look {
        let Some(request) = self.requests.get(key) else {
            return Look::because(key.clone(), "the request is gone");
        };
        let permissions = permissions(&request);
        if permissions.is_empty() {
            return Look::because(key.clone(), "the request is answered, or not one of a kubelet");
        }
        for permission in permissions {
            match self.may(&request, permission).await {
                Ok(false) => {}
                Ok(true) => {
                    let plan = approve(&request, permission, self.clock.now());
                    return Look {
                        execution: self.executor.execute(&plan).await,
                        ..Look::because(key.clone(), plan.why.to_string())
                    };
                }
                Err(error) => {
                    return Look {
                        failure: Some(error.to_string()),
                        ..Look::because(key.clone(), "nobody can tell whether the asker may")
                    };
                }
            }
        }
        // Somebody may be allowed it yet; roles are not watched here.
        Look {
            failure: Some("whoever asks may not have such a certificate".to_owned()),
            ..Look::because(key.clone(), "the request is one of a kubelet, and not allowed")
        }
    }
}

impl CsrApproving {
    async fn may(&self, request: &CertificateSigningRequest, permission: Permission) -> Result<bool, Error> {
        let review: Value =
            self.api.create(&SUBJECT_ACCESS_REVIEWS, "", &question(request, permission)).await?;
        Ok(review["status"]["allowed"] == json!(true))
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::certificates::tests::request;

    #[test]
    fn a_kubelet_may_ask_for_itself_or_for_any_node() {
        let read = |user: &str,
                    organization: &str,
                    signer: &str,
                    conditions: Value|
         -> CertificateSigningRequest {
            let pem = request(organization, "system:node:a", &[]);
            serde_json::from_value(json!({"metadata": {"name": "a"}, "status": {"conditions": conditions},
                "spec": {"request": STANDARD.encode(pem), "signerName": signer, "usages": ["client auth", "digital signature"], "username": user}}))
            .unwrap()
        };
        let names = |request: &CertificateSigningRequest| -> Vec<&'static str> {
            permissions(request).into_iter().map(|it| it.subresource).collect()
        };
        let node = |user: &str, conditions: Value| read(user, "system:nodes", KUBELET_CLIENT, conditions);
        assert_eq!(names(&node("system:node:a", json!([]))), ["selfnodeclient", "nodeclient"]);
        assert_eq!(names(&node("bootstrap", json!([]))), ["nodeclient"]);
        assert!(names(&node("bootstrap", json!([{"type": "Denied", "status": "True"}]))).is_empty());
        assert!(names(&read("bootstrap", "other", KUBELET_CLIENT, json!([]))).is_empty());
        assert!(
            names(&read("bootstrap", "system:nodes", "kubernetes.io/kubelet-serving", json!([]))).is_empty()
        );
    }
}
