//! Who is asking.
//!
//! Client certificates, bearer tokens, nobody at all: tried in upstream's order. A credential that is shown and wrong is
//! an error, never the anonymous user. Then, if the caller wishes and may, they become somebody else.
//!
//! Invariant: nothing here sees a connection or a body; headers and certificates come in, a user comes out.

pub mod user;

pub mod authenticator;
pub mod bearer;
pub mod bootstrap_tokens;
pub mod front_proxy;
pub mod impersonation;
pub mod keys;
pub mod objects;
pub mod oidc;
pub mod openid;
pub mod review;
pub mod service_account_tokens;
pub mod token_file;
pub mod token_request;
pub mod token_webhook;
pub mod x509;

mod recent;
