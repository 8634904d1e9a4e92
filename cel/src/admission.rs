//! What expressions of admission policies and of match conditions may name: the one place that who validates such
//! expressions, who evaluates them and who checks their types go by. The names and types are those of upstream's admission
//! plugins (`admission/plugin/cel`).

use std::sync::{Arc, LazyLock};

use crate::{
    declared::Declared,
    environment::{Environment, Library, Program},
    types::Type,
};

/// Which variables there are beyond those that always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// `params`
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`
    pub authorizer: bool,
    /// `Object` and `JSONPatch`, which patches are made of.
    pub patches: bool,
}

/// A variable of a policy, as later expressions see it.
#[derive(Debug)]
pub struct Variable {
    /// What it is called after `variables.`.
    pub name: String,
    /// What it stands for, or why that does not compile.
    pub program: Result<Program, String>,
}

/// The environment of an expression of admission, without variables of a policy.
pub fn environment(setting: Setting) -> Environment {
    static BASE: LazyLock<Environment> = LazyLock::new(|| {
        Environment::new()
            .with_variable("object", Type::Dyn)
            .with_variable("oldObject", Type::Dyn)
            .with_declared("namespaceObject", &namespace())
            .with_declared("request", &request())
    });
    let mut environment = BASE.clone();
    if setting.params {
        environment = environment.with_variable("params", Type::Dyn);
    }
    if setting.authorizer {
        environment = environment
            .with_variable("authorizer", Type::named("kubernetes.authorization.Authorizer"))
            .with_variable(
                "authorizer.requestResource",
                Type::named("kubernetes.authorization.ResourceCheck"),
            );
    }
    if setting.patches {
        environment =
            environment.with_open_objects().with_type(&json_patch()).with_library(Library::JsonPatch);
    }
    environment
}

/// The same with the variables that a policy has so far.
pub fn with_variables(environment: Environment, variables: &[Variable]) -> Environment {
    let fields = variables.iter().map(|variable| {
        let of = variable.program.as_ref().map_or(Type::Dyn, |program| of_variable(program.output()));
        (variable.name.as_str(), Declared::named(of))
    });
    environment.with_declared("variables", &Declared::object("kubernetes.variables", fields))
}

/// The type of a variable that stands for an expression of this type: objects and what libraries have become dynamic, also
/// within lists and maps.
fn of_variable(of: &Type) -> Type {
    match of {
        Type::Null | Type::Bool | Type::Int | Type::Uint | Type::Double | Type::String | Type::Bytes => {
            of.clone()
        }
        Type::Timestamp | Type::Duration => of.clone(),
        Type::List(of) => Type::list(of_variable(of)),
        Type::Map(key, value) => Type::map(of_variable(key), of_variable(value)),
        Type::Dyn | Type::Error | Type::Object(_) | Type::Opaque(..) | Type::Type(_) | Type::Variable(_) => {
            Type::Dyn
        }
    }
}

/// Compiles an expression that must be of one of these types; any will do if there are none.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn compile(environment: &Environment, expression: &str, types: &[Type]) -> Result<Program, String> {
    let program = environment.compile(expression).map_err(|why| format!("{}: {why}", why.stage()))?;
    let output = program.output();
    if types.is_empty() || types.iter().any(|of| of.is(output)) {
        return Ok(program);
    }
    let names: Vec<String> = types.iter().map(Type::go_name).collect();
    let output = output.go_name();
    Err(match names.as_slice() {
        [only] => format!("must evaluate to {only} but got {output}"),
        several => format!("must evaluate to one of [{}] but got {output}", several.join(" ")),
    })
}

/// What a patch of a policy must be: a list of operations.
pub fn patch_type() -> Type {
    Type::list(json_patch().to_type())
}

/// What an applied configuration of a policy must be.
pub fn object_type() -> Type {
    Declared::open("Object").to_type()
}

fn text() -> Arc<Declared> {
    Declared::string(0)
}

fn json_patch() -> Arc<Declared> {
    let fields = [("op", text()), ("path", text()), ("from", text()), ("value", Declared::any())];
    Declared::object("JSONPatch", fields)
}

fn request() -> Arc<Declared> {
    let texts =
        |name: &str, fields: [&'static str; 3]| Declared::object(name, fields.map(|field| (field, text())));
    let kind = texts("kubernetes.GroupVersionKind", ["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", ["group", "version", "resource"]);
    let user = Declared::object(
        "kubernetes.UserInfo",
        [
            ("username", text()),
            ("uid", text()),
            ("groups", Declared::list(text(), 0)),
            ("extra", Declared::map(Declared::list(text(), 0), 0)),
        ],
    );
    Declared::object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", Arc::clone(&kind)),
            ("resource", Arc::clone(&resource)),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Declared::bool()),
            ("options", Declared::any()),
        ],
    )
}

fn namespace() -> Arc<Declared> {
    let time = || Declared::named(Type::Timestamp);
    let texts = || Declared::list(text(), 0);
    let condition = Declared::object(
        "kubernetes.NamespaceCondition",
        [
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", time()),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let metadata = Declared::object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", Declared::map(text(), 0)),
            ("annotations", Declared::map(text(), 0)),
            ("UID", text()),
            ("creationTimestamp", time()),
            ("deletionGracePeriodSeconds", Declared::int()),
            ("deletionTimestamp", time()),
            ("generation", Declared::int()),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    let spec = Declared::object("kubernetes.NamespaceSpec", [("finalizers", texts())]);
    let status = Declared::object(
        "kubernetes.NamespaceStatus",
        [("conditions", Declared::list(condition, 0)), ("phase", text())],
    );
    Declared::object("kubernetes.Namespace", [("metadata", metadata), ("spec", spec), ("status", status)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_policies_name_what_upstream_gives_them() {
        let all = Setting { params: true, authorizer: true, patches: true };
        let none = Setting::default();
        for (setting, expression, types, wrong) in [
            (none, "object.spec.replicas <= 5 && request.userInfo.username != ''", vec![Type::Bool], None),
            (none, "has(namespaceObject.metadata.labels.a)", vec![Type::Bool], None),
            (none, "params.x", vec![], Some("undeclared reference to 'params'")),
            (none, "request.nope", vec![], Some("undefined field 'nope'")),
            (none, "1", vec![Type::Bool], Some("must evaluate to bool but got int")),
            (
                none,
                "1",
                vec![Type::String, Type::Null],
                Some("must evaluate to one of [string null_type] but got int"),
            ),
            (all, "authorizer.requestResource.check('get').allowed() && params.ok", vec![Type::Bool], None),
            (all, "Object{spec: Object.spec{replicas: 1}}", vec![object_type()], None),
            (all, "[JSONPatch{op: 'add', path: '/a', value: 1}]", vec![patch_type()], None),
            (all, "'a'", vec![patch_type()], Some("must evaluate to list(JSONPatch) but got string")),
        ] {
            let found = compile(&environment(setting), expression, &types);
            match (found, wrong) {
                (Ok(_), None) => {}
                (Err(found), Some(wrong)) => assert!(found.contains(wrong), "{expression}: {found}"),
                (found, _) => panic!("{expression}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_variable_is_dynamic_where_it_holds_objects() {
        let variable = |name: &str, expression| Variable {
            name: name.to_owned(),
            program: compile(&environment(Setting::default()), expression, &[]),
        };
        let variables = [
            variable("user", "request.userInfo"),
            variable("groups", "request.userInfo.groups"),
            variable("all", "[request]"),
            variable("wrong", "request.nope"),
        ];
        let environment = with_variables(environment(Setting::default()), &variables);
        for (expression, of) in [
            ("variables.user", "dyn"),
            ("variables.user.nope", "dyn"),
            ("variables.groups", "list(string)"),
            ("variables.all", "list(dyn)"),
            ("variables.wrong", "dyn"),
        ] {
            let program = compile(&environment, expression, &[]).unwrap();
            assert_eq!(program.output().to_string(), of, "{expression}");
        }
        assert!(compile(&environment, "variables.none", &[]).unwrap_err().contains("undefined field 'none'"));
    }
}
