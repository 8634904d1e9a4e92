//! Stands in for modules that are about to land; goes with them.
#![allow(missing_docs, clippy::all, reason = "gone within the hour")]
pub mod json_patch {
    use api_types::status::Status;
    use serde_json::Value;
    pub fn apply(b: &[u8], o: &Value) -> Result<Value, Status> {
        let p: ::json_patch::Patch =
            serde_json::from_slice(b).map_err(|e| Status::bad_request(e.to_string()))?;
        let mut v = o.clone();
        ::json_patch::patch(&mut v, &p).map_err(|e| Status::bad_request(e.to_string()))?;
        Ok(v)
    }
}
pub mod merge {
    use api_types::status::Status;
    use serde_json::Value;
    pub fn apply(b: &Value, o: &Value) -> Result<Value, Status> {
        let mut v = o.clone();
        ::json_patch::merge(&mut v, b);
        Ok(v)
    }
}
pub mod strategic {
    use api_types::status::Status;
    use serde_json::Value;
    pub fn apply(b: &Value, o: &Value, _t: api_types::schema::TypeRef) -> Result<Value, Status> {
        super::merge::apply(b, o)
    }
}
pub mod observe {
    use crate::http::{query::Query, respond::Answer};
    use api_types::status::Status;
    #[derive(Debug)]
    pub struct Observer;
    pub struct Turn;
    impl Observer {
        pub fn new() -> Self {
            Self
        }
        pub fn set_ready(&self) {}
        pub fn request(&self, _r: &http::Request<axum::body::Body>) -> Turn {
            Turn
        }
        pub fn health(&self, _p: &str, _q: &Query) -> Result<Answer, Status> {
            Ok(crate::http::respond::text(200, "ok"))
        }
        pub fn metrics(&self) -> Result<Answer, Status> {
            Err(Status::unavailable("no metrics yet"))
        }
        pub fn paths(&self) -> Vec<String> {
            vec![]
        }
    }
    impl Turn {
        pub fn done(self, _a: &Answer) {}
    }
}
pub mod bootstrap {
    use crate::server::Server;
    use api_types::{object::ObjectExt, status::Status};
    use std::sync::Arc;
    pub async fn reconcile(server: &Arc<Server>) -> Result<(), Status> {
        let served = server
            .registry
            .catalogue
            .find("", "v1", "namespaces")
            .ok_or_else(|| Status::internal("no namespaces"))?;
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let call = crate::registry::Call {
                served: Arc::clone(&served),
                namespace: String::new(),
                name: String::new(),
                subresource: String::new(),
                user: crate::authn::user::User::new("system:apiserver", &["system:masters"]),
                now: server.runtime.clock.now(),
                dry_run: false,
                manager: "kube-apiserver".to_owned(),
                options: serde_json::Value::Null,
            };
            let mut object = serde_json::json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {}});
            object.set_meta("name", name);
            let object = served.resource.default(object).map_err(Status::internal)?;
            match server.registry.create(&call, object).await {
                Err(status) if !status.is("AlreadyExists") => return Err(status),
                _ => {}
            }
        }
        Ok(())
    }
    pub fn node_rules() -> Vec<crate::authz::rbac::rule::Rule> {
        vec![]
    }
}
