//! Asks a component at its port whether it is well, whatever certificate it shows.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::serving::provider;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of an answer is shown.
const TEXT_MAX: usize = 10 * 1024;

/// Asks `https://127.0.0.1:PORT/healthz`.
///
/// # Errors
/// Why it is not well, in the words of upstream's prober.
pub(super) async fn ask(port: u16) -> Result<String, String> {
    let url = format!("https://127.0.0.1:{port}/healthz");
    match tokio::time::timeout(PATIENCE, get(port)).await {
        Ok(Ok((200..=399, text))) => Ok(text),
        Ok(Ok((code, _))) => Err(format!("HTTP probe failed with statuscode: {code}")),
        Ok(Err(why)) => Err(format!("Get \"{url}\": {why}")),
        Err(_) => Err(format!("Get \"{url}\": context deadline exceeded")),
    }
}

async fn get(port: u16) -> Result<(u16, String), String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => error.to_string(),
        };
        format!("dial tcp 127.0.0.1:{port}: connect: {why}")
    })?;
    let any = AnyServer(provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&any.0))
        .with_safe_default_protocol_versions()
        .map_err(text)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(any))
        .with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(text)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::get("/healthz")
        .header(header::HOST, format!("127.0.0.1:{port}"))
        .header(header::USER_AGENT, "kube-probe/1.36")
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(text)?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), TEXT_MAX).collect().await.map_err(text)?;
        Ok((code, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    // The connection is driven by the same task, and goes when the answer is there.
    tokio::pin!(connection, answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(text(error)),
        },
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

/// Takes any certificate: it is our own machine that is asked, for one word.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

// === impl AnyServer ===

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_where_nobody_listens_refuses() {
        let free = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let expected = format!(
            "Get \"https://127.0.0.1:{port}/healthz\": dial tcp 127.0.0.1:{port}: connect: connection refused"
        );
        assert_eq!(ask(port).await, Err(expected));
    }
}
