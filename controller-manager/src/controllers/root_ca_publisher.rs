//! Root CA publisher: in every namespace a ConfigMap with the authority that Pods trust the API server by.

use std::sync::Arc;

use client::{
    Caches, Change, Controller, Key, Meta, Plan, Triggers, controller::Request, resource::CONFIG_MAPS,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::{Namespace, RootCa};

const NAME: &str = "kube-root-ca.crt";
const FILE: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// Upstream's words, which users see.
const DESCRIBED: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. \
    No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Keeps the ConfigMaps.
#[derive(Debug)]
pub struct RootCaPublisher {
    /// The authority, in PEM.
    pub root_ca: Arc<str>,
}

/// All that matters to a namespace's ConfigMap.
#[derive(Debug)]
pub struct Observed {
    namespace: Arc<Namespace>,
    published: Option<Arc<RootCa>>,
}

// === impl RootCaPublisher ===

impl Controller for RootCaPublisher {
    type Root = Namespace;
    type Observed = Observed;
    const NAME: &'static str = "root-ca-cert-publisher-controller";

    fn triggers(&self, on: &mut Triggers<Namespace>) {
        on.root().changes::<RootCa>(|change, _| match change {
            Change::Added(_) => Vec::new(),
            Change::Modified { .. } | Change::Deleted { .. } => {
                vec![Key::cluster(&change.object().metadata.namespace)]
            }
        });
    }

    fn observe(&self, root: &Key, caches: &Caches) -> Option<Observed> {
        let namespace = caches.read::<Namespace>().get(root)?;
        let published = caches.read::<RootCa>().get(&Key::new(&root.name, NAME));
        Some(Observed { namespace, published })
    }

    fn reconcile(&self, observed: &Observed, _now: Timestamp) -> Plan {
        let Observed { namespace, published } = observed;
        if !namespace.is_active() {
            return Plan::because("the namespace is on its way out");
        }
        let Some(published) = published else {
            let map = json!({
                "metadata": {"name": NAME, "namespace": &*namespace.metadata.name, "annotations": {DESCRIPTION: DESCRIBED}},
                "data": {FILE: &*self.root_ca},
            });
            return Plan::because("the authority is not published in the namespace").then(Request::create(
                CONFIG_MAPS,
                &namespace.metadata.name,
                map,
            ));
        };
        let as_wanted =
            published.data.len() == 1 && published.data.get(FILE).is_some_and(|pem| **pem == *self.root_ca);
        let described = published.metadata.annotations.get(DESCRIPTION).is_some_and(|text| !text.is_empty());
        if as_wanted && described {
            return Plan::because("the authority is published in the namespace");
        }
        Plan::because("what is published in the namespace is not the authority")
            .then(Request::update(CONFIG_MAPS, self.restored(&published.metadata)))
    }
}

// === impl RootCaPublisher ===

impl RootCaPublisher {
    /// A ConfigMap as it should be, whole: upstream's role lets the publisher replace it, but neither patch nor read it.
    fn restored(&self, is: &Meta) -> Value {
        let mut annotations = json!(is.annotations);
        annotations[DESCRIPTION] = DESCRIBED.into();
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": is.name,
                "namespace": is.namespace,
                "uid": is.uid,
                "resourceVersion": is.revision.to_string(),
                "labels": is.labels,
                "annotations": annotations,
                "ownerReferences": is.owners,
                "finalizers": is.finalizers,
            },
            "data": {FILE: &*self.root_ca},
        })
    }
}

#[cfg(test)]
mod tests {
    use client::{Write, controller::Verb, testing::Filled};

    use super::*;

    #[test]
    fn the_authority_is_published_and_restored() {
        let map = |data: Value, described: &str| {
            vec![json!({"metadata": {"namespace": "a", "name": NAME, "uid": "u", "resourceVersion": "3",
                "labels": {"whose": "theirs"}, "annotations": {DESCRIPTION: described}}, "data": data})]
        };
        for (maps, wanted) in [
            (vec![], Some(json!("PEM"))),
            (map(json!({FILE: "PEM"}), "x"), None),
            (map(json!({FILE: "other", "more": "x"}), "x"), Some(json!("PEM"))),
            (map(json!({FILE: "PEM"}), ""), Some(json!("PEM"))),
        ] {
            let caches = Filled::new()
                .with::<Namespace>([json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}})])
                .with::<RootCa>(maps)
                .caches();
            let publisher = RootCaPublisher { root_ca: "PEM".into() };
            let observed = publisher.observe(&Key::cluster("a"), &caches).unwrap();
            let plan = publisher.reconcile(&observed, Timestamp::UNIX_EPOCH);
            let written = plan.writes.first().map(|write| match write {
                Write::Request(request) => match &request.verb {
                    Verb::Create(object) => object["data"][FILE].clone(),
                    Verb::Update(object) => {
                        assert_eq!(object["metadata"]["resourceVersion"], "3");
                        assert_eq!(object["metadata"]["labels"], json!({"whose": "theirs"}));
                        assert_eq!(object["metadata"]["annotations"][DESCRIPTION], DESCRIBED);
                        object["data"][FILE].clone()
                    }
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            });
            assert_eq!(written, wanted);
        }
    }
}
