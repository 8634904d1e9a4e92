//! From bytes on a connection to a request that knows what it is about, and back.

pub mod body;
pub mod compress;
mod cork;
pub mod info;
pub mod negotiate;
pub mod query;
pub mod respond;
pub mod serve;
pub mod websocket;
