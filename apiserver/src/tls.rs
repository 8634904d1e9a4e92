//! Keys and certificates: the cluster's own, those given by flags, and the TLS that is served with them.
//!
//! What happens at start-up uses plain blocking file access; nothing reads a clock. Only the files of the serving certificate
//! are looked at again later. Who a client certificate
//! makes its holder is `authn`'s business.

pub mod authority;
pub mod files;
pub mod kubeconfig;
pub mod pki;
pub mod serving;
pub mod sni;
pub mod suites;

use std::{io, path::PathBuf};

/// Why keys or certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("cannot {action} {}", path.display())]
    File {
        /// `read`, `write`, `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {wanted} in PEM form", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Such as `certificate`.
        wanted: &'static str,
    },
    /// A key or certificate cannot be understood.
    #[error("cannot use {what}: {why}")]
    Unusable {
        /// Which one, such as a file's name.
        what: String,
        /// Why.
        why: String,
    },
    /// A certificate cannot be made.
    #[error("cannot issue a certificate for {subject}")]
    Issue {
        /// Whom it was for.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// The TLS library said no.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
}

// === impl Error ===

impl Error {
    fn unusable(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Unusable { what: what.into(), why: why.to_string() }
    }
}
