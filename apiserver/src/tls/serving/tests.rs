//! Handshakes in memory, between our server and clients that trust its authority.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConnection,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};

use super::*;
use crate::tls::{
    authority::{Authority, Issued, Subject},
    files::Access,
};

fn now() -> Timestamp {
    // Clients check the serving certificate against the real time.
    use runtime::Clock;
    runtime::SystemClock.now()
}

fn pair(issued: &Issued) -> Pair {
    Pair {
        certificates: files::certificates_in(issued.certificate.as_bytes()).unwrap(),
        key: PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
    }
}

fn serving(authority: &Authority) -> Issued {
    let names = BTreeSet::from(["localhost".to_owned()]);
    authority.issue(&Subject::server("kube-apiserver", names), now()).unwrap()
}

fn server(authority: &Authority, client_authorities: &[CertificateDer<'_>]) -> Arc<ServerConfig> {
    let certificate = ServingCertificate::new(pair(&serving(authority))).unwrap();
    Arc::new(config(Arc::new(certificate), client_authorities, Versions::default()).unwrap())
}

fn client(authority: &Authority, identity: Option<&Issued>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity.map(pair) {
        Some(Pair { certificates, key }) => builder.with_client_auth_cert(certificates, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Shakes hands and gives the server's end.
fn shake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> ServerConnection {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().unwrap();
    }
    server
}

#[test]
fn connections_come_with_any_certificate_or_none() {
    let (own, _) = Authority::generate("own", now()).unwrap();
    let (strange, _) = Authority::generate("strange", now()).unwrap();
    let config = server(&own, &[own.certificate().clone()]);
    let subject = Subject::client("alice", None);
    let known = own.issue(&subject, now()).unwrap();
    let unknown = strange.issue(&subject, now()).unwrap();
    for identity in [None, Some(&known), Some(&unknown)] {
        let connection = shake(&client(&own, identity), &config);
        assert_eq!(
            connection.peer_certificates().map(<[_]>::to_vec),
            identity.map(|issued| pair(issued).certificates)
        );
        assert_eq!(connection.alpn_protocol(), Some(b"h2".as_slice()));
    }
}

#[test]
fn no_certificate_is_asked_for_when_no_authority_is_known() {
    let (own, _) = Authority::generate("own", now()).unwrap();
    let known = own.issue(&Subject::client("alice", None), now()).unwrap();
    let connection = shake(&client(&own, Some(&known)), &server(&own, &[]));
    assert!(connection.peer_certificates().is_none());
}

#[test]
fn a_certificate_from_files_can_be_replaced_and_a_broken_one_is_not_taken() {
    let (own, _) = Authority::generate("own", now()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate_file, key_file) = (folder.path().join("c"), folder.path().join("k"));
    let write = |issued: &Issued| {
        files::write(&certificate_file, &issued.certificate, Access::Everybody).unwrap();
        files::write(&key_file, &issued.key, Access::Owner).unwrap();
    };
    let (first, second) = (serving(&own), serving(&own));
    write(&first);
    let certificate = ServingCertificate::from_files(&certificate_file, &key_file).unwrap();
    assert!(!certificate.reload().unwrap());
    write(&second);
    assert!(certificate.reload().unwrap());
    assert_eq!(certificate.current.load().cert, pair(&second).certificates);
    write(&Issued { certificate: first.certificate, key: second.key.clone() });
    assert!(certificate.reload().is_err(), "the key does not belong to the certificate");
    assert_eq!(certificate.current.load().cert, pair(&second).certificates);
}
