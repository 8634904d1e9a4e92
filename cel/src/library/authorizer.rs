//! Questions to the authorizer: `authorizer.group('').resource('pods').namespace('default').check('create').allowed()`.

use std::sync::Arc;

use super::{Native, Opaque, unsuited};
use crate::{
    eval::{EvalError, Outcome},
    value::Value,
};

/// Who answers what a user may do. Whoever evaluates an expression brings one.
pub trait Authority: std::fmt::Debug + Send + Sync {
    /// Whether this is allowed.
    fn decide(&self, question: &Question) -> Verdict;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Another than the user of the request: a service account by namespace and name.
    pub service_account: Option<(Arc<str>, Arc<str>)>,
    /// The verb.
    pub verb: String,
    /// The path, if it is none about a resource.
    pub path: Option<Arc<str>>,
    /// The API group.
    pub group: Arc<str>,
    /// The resource.
    pub resource: Arc<str>,
    /// The subresource.
    pub subresource: Arc<str>,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// A field selector, unparsed.
    pub field_selector: Arc<str>,
    /// A label selector, unparsed.
    pub label_selector: Arc<str>,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// Something went wrong on the way.
    pub error: Option<String>,
}

/// Somebody who may be asked, on behalf of somebody.
#[derive(Clone, Debug)]
pub struct Asked<'v> {
    authority: &'v dyn Authority,
    service_account: Option<(Arc<str>, Arc<str>)>,
}

/// A path somebody asks about.
#[derive(Clone, Debug)]
pub struct PathCheck<'v> {
    asked: Asked<'v>,
    path: Arc<str>,
}

/// A group somebody asks about.
#[derive(Clone, Debug)]
pub struct GroupCheck<'v> {
    asked: Asked<'v>,
    group: Arc<str>,
}

/// A resource somebody asks about.
#[derive(Clone, Debug)]
pub struct ResourceCheck<'v> {
    asked: Asked<'v>,
    question: Question,
}

impl<'v> Value<'v> {
    /// The variable `authorizer`.
    pub fn authorizer(authority: &'v dyn Authority) -> Self {
        Value::Opaque(Opaque::Authorizer(Asked { authority, service_account: None }))
    }

    /// The variable `authorizer.requestResource`: group, resource, subresource, namespace and name are filled in.
    pub fn resource_check(authority: &'v dyn Authority, question: Question) -> Self {
        let asked = Asked { authority, service_account: None };
        Value::Opaque(Opaque::ResourceCheck(Arc::new(ResourceCheck { asked, question })))
    }
}

pub(super) fn find(name: &str) -> Option<Native> {
    Some(match name {
        "path" => |args| match args {
            [Value::Opaque(Opaque::Authorizer(_)), Value::String(path)] if path.trim().is_empty() => {
                Err(EvalError::new("path must not be empty"))
            }
            [Value::Opaque(Opaque::Authorizer(asked)), Value::String(path)] => {
                let check = PathCheck { asked: asked.clone(), path: (**path).into() };
                Ok(Value::Opaque(Opaque::PathCheck(Arc::new(check))))
            }
            _ => unsuited("path"),
        },
        "group" => |args| match args {
            [Value::Opaque(Opaque::Authorizer(asked)), Value::String(group)] => {
                let check = GroupCheck { asked: asked.clone(), group: (**group).into() };
                Ok(Value::Opaque(Opaque::GroupCheck(Arc::new(check))))
            }
            _ => unsuited("group"),
        },
        "serviceAccount" => service_account,
        "resource" => |args| match args {
            [Value::Opaque(Opaque::GroupCheck(_)), Value::String(resource)] if resource.trim().is_empty() => {
                Err(EvalError::new("resource must not be empty"))
            }
            [Value::Opaque(Opaque::GroupCheck(group)), Value::String(resource)] => {
                let question = Question {
                    group: Arc::clone(&group.group),
                    resource: (**resource).into(),
                    ..Question::default()
                };
                let check = ResourceCheck { asked: group.asked.clone(), question };
                Ok(Value::Opaque(Opaque::ResourceCheck(Arc::new(check))))
            }
            _ => unsuited("resource"),
        },
        "subresource" => |args| with("subresource", args, |it, text| it.subresource = text),
        "namespace" => |args| with("namespace", args, |it, text| it.namespace = text),
        "name" => |args| with("name", args, |it, text| it.name = text),
        "fieldSelector" => |args| with("fieldSelector", args, |it, text| it.field_selector = text),
        "labelSelector" => |args| with("labelSelector", args, |it, text| it.label_selector = text),
        "check" => check,
        "allowed" => |args| of("allowed", args, |it| Value::Bool(it.allowed)),
        "reason" => |args| of("reason", args, |it| Value::string(it.reason.as_str())),
        "errored" => |args| of("errored", args, |it| Value::Bool(it.error.is_some())),
        "error" => |args| of("error", args, |it| Value::string(it.error.as_deref().unwrap_or_default())),
        _ => return None,
    })
}

fn service_account<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let [Value::Opaque(Opaque::Authorizer(asked)), Value::String(namespace), Value::String(name)] = args
    else {
        return unsuited("serviceAccount");
    };
    let good = |text: &str, dots: bool, most: usize| {
        text.len() <= most
            && text.split('.').all(|label| {
                let edge =
                    |it: Option<char>| it.is_some_and(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
                edge(label.chars().next())
                    && edge(label.chars().last())
                    && label.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
            })
            && (dots || !text.contains('.'))
    };
    if !good(name, true, 253) {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !good(namespace, false, 63) {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let service_account = Some(((**namespace).into(), (**name).into()));
    Ok(Value::Opaque(Opaque::Authorizer(Asked { authority: asked.authority, service_account })))
}

fn with<'v>(name: &str, args: &[Value<'v>], set: fn(&mut Question, Arc<str>)) -> Outcome<'v> {
    let [Value::Opaque(Opaque::ResourceCheck(check)), Value::String(text)] = args else {
        return unsuited(name);
    };
    let mut check = check.as_ref().clone();
    set(&mut check.question, (**text).into());
    Ok(Value::Opaque(Opaque::ResourceCheck(Arc::new(check))))
}

fn check<'v>(args: &[Value<'v>]) -> Outcome<'v> {
    let (asked, question, verb) = match args {
        [Value::Opaque(Opaque::PathCheck(check)), Value::String(verb)] => {
            let path = Some(Arc::clone(&check.path));
            (&check.asked, Question { path, ..Question::default() }, verb)
        }
        [Value::Opaque(Opaque::ResourceCheck(check)), Value::String(verb)] => {
            (&check.asked, check.question.clone(), verb)
        }
        _ => return unsuited("check"),
    };
    let question =
        Question { verb: (**verb).to_owned(), service_account: asked.service_account.clone(), ..question };
    Ok(Value::Opaque(Opaque::Decision(Arc::new(asked.authority.decide(&question)))))
}

fn of<'v>(name: &str, args: &[Value<'v>], of: fn(&Verdict) -> Value<'v>) -> Outcome<'v> {
    match args {
        [Value::Opaque(Opaque::Decision(verdict))] => Ok(of(verdict)),
        _ => unsuited(name),
    }
}
