//! The life of a request, in the order it happens.

pub mod flags;
pub mod launch;
pub mod storage;

pub mod http;
pub mod server;
pub mod tls;

pub mod audit;
pub mod authn;
pub mod authz;
pub mod components;
pub mod fairness;
pub mod feeds;
pub mod identity;
pub mod nonresource;

pub mod verbs;

pub mod admission;
pub mod patch;
pub mod registry;
pub mod resources;
pub mod webhooks;

pub mod aggregation;
pub mod custom;
pub mod kubelet;
mod proxy;

pub mod columns;
pub mod discovery;
pub mod openapi;

pub mod bootstrap;
pub mod observe;
mod startup;
