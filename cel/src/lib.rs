//! The Common Expression Language as Kubernetes 1.36 speaks it.
//!
//! An [`Environment`] says which variables an expression may use; [`Environment::compile`] parses and checks an
//! expression and makes a [`Program`], which can say beforehand what it may cost ([`Program::estimate`]) and is evaluated
//! as often as wanted ([`Program::evaluate`]) over JSON that it looks into and never copies.
//!
//! The modules come in the order an expression meets them. Error texts and costs are those of cel-go and of Kubernetes,
//! since both are part of the API: texts stand in the answers of the server, costs decide what it accepts.
//!
//! It knows nothing of requests, storage or policies, and does no I/O: whoever evaluates an expression that asks the
//! authorizer brings an [`Authority`].

mod source;

mod ast;
mod lexer;
mod parser;

mod macros;

mod types;

mod declared;
mod functions;

mod checker;
mod literals;

mod cost;

mod plan;
mod value;

mod equality;
mod eval;

pub mod admission;
pub mod device;
mod environment;
pub mod escaping;
mod goregex;
mod library;
pub mod schema;

pub use declared::{Declared, Field, ListKind};
pub use environment::{
    Environment, Evaluation, LONGEST_MESSAGE, Library, MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT, Program,
    RUNTIME_BUDGET,
};
pub use eval::{Activation, EvalError, Lazy};
pub use library::authorizer::{Authority, Question, Verdict};
pub use source::CompileErrors;
pub use types::Type;
pub use value::{Duration, List, MadeObject, Map, Timestamp, Value};
