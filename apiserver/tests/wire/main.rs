//! A whole server in memory, and what must hold of every built-in kind on the wire.

mod fill;
mod forms;
mod kube_rs;
mod objects;
mod server;
mod subresources;
mod typed;
