//! TLS as it is served.
//!
//! Client certificates are asked for and their keys proved, but whom they are good for is decided later, in
//! `authn::x509`: so a caller with a certificate of an unknown authority gets 401 and not a broken connection.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    Error,
    files::{self, Pair},
    suites,
};

/// `--tls-min-version`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// `VersionTLS12`
    #[default]
    Tls12,
    /// `VersionTLS13`
    Tls13,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Versions<'a> {
    /// `--tls-min-version`
    pub min: MinVersion,
    /// `--tls-cipher-suites`; all if there are none.
    pub suites: &'a [rustls::CipherSuite],
}

/// The one provider of cryptography, the same everywhere.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Draws the first random bytes of the process.
///
/// The library gathers entropy from the processor for some 40 ms before it gives any, once a process. Call this on a
/// thread of its own at the very start, so that keys and connections find it done.
pub fn warm_up() {
    // A failure will come back, and be told, where bytes are needed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().secure_random.fill(&mut [0; 1]);
}

/// The certificate that is served; it can be replaced while connections come and go.
#[derive(Debug)]
pub struct ServingCertificate {
    current: ArcSwap<CertifiedKey>,
    /// Certificate and key file, if it comes from files.
    source: Option<(PathBuf, PathBuf)>,
}

/// How often the files of a serving certificate are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Serves what the certificate's files hold as they change; ends at once if it does not come from files.
pub async fn keep_up(certificate: Arc<ServingCertificate>) {
    while certificate.source.is_some() {
        tokio::time::sleep(LOOK_AGAIN).await;
        let looked = Arc::clone(&certificate);
        // A file or two, but files may lie on a network.
        let Ok(outcome) = tokio::task::spawn_blocking(move || looked.reload()).await else { continue };
        match outcome {
            Ok(true) => tracing::info!("the serving certificate is a new one"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(error = %error, "cannot read the serving certificate again, the old one stays");
            }
        }
    }
}

/// Asks for a client certificate and believes whatever it says: only that the client has its key is checked.
#[derive(Debug)]
struct AnyClient {
    provider: Arc<CryptoProvider>,
    /// The authorities we know; many clients only show a certificate of one of these.
    hints: Vec<DistinguishedName>,
}

// === impl ServingCertificate ===

impl ServingCertificate {
    /// This one, as it is.
    pub fn new(pair: Pair) -> Result<Self, Error> {
        Ok(Self { current: ArcSwap::from_pointee(certified(pair)?), source: None })
    }

    /// From `--tls-cert-file` and `--tls-private-key-file`.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, Error> {
        let pair = files::pair(certificates, key)?;
        Ok(Self {
            current: ArcSwap::from_pointee(certified(pair)?),
            source: Some((certificates.to_owned(), key.to_owned())),
        })
    }

    /// Looks at the files again; true if there was something new. On an error the old certificate stays.
    pub fn reload(&self) -> Result<bool, Error> {
        let Some((certificates, key)) = &self.source else { return Ok(false) };
        let next = certified(files::pair(certificates, key)?)?;
        let is_new = next.cert != self.current.load().cert;
        if is_new {
            self.current.store(next.into());
        }
        Ok(is_new)
    }
}

impl ServingCertificate {
    /// As it is now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.current.load_full()
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn certified(Pair { certificates, key }: Pair) -> Result<CertifiedKey, Error> {
    // This also refuses a key that does not belong to the certificate.
    Ok(CertifiedKey::from_der(certificates, key, &provider())?)
}

// === impl AnyClient ===

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The configuration to accept connections with: HTTP/2 and HTTP/1.1, client certificates welcome.
///
/// `client_authorities` are those whose certificates clients should show; none means that none is asked for.
pub fn config(
    certificate: Arc<dyn ResolvesServerCert>,
    client_authorities: &[CertificateDer<'_>],
    spoken: Versions<'_>,
) -> Result<ServerConfig, Error> {
    let provider = Arc::new(suites::only(rustls::crypto::aws_lc_rs::default_provider(), spoken.suites));
    let versions: &[&SupportedProtocolVersion] = match spoken.min {
        MinVersion::Tls12 => &[&TLS13, &TLS12],
        MinVersion::Tls13 => &[&TLS13],
    };
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = if client_authorities.is_empty() {
        builder.with_no_client_auth()
    } else {
        let mut roots = rustls::RootCertStore::empty();
        for authority in client_authorities {
            roots.add(authority.clone().into_owned())?;
        }
        builder.with_client_cert_verifier(Arc::new(AnyClient { provider, hints: roots.subjects() }))
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests;
