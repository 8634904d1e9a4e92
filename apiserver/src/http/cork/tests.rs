//! Connections in memory, whose writes are counted.

use std::{collections::BTreeSet, sync::atomic::AtomicUsize};

use runtime::Clock as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::*;
use crate::tls::{
    authority::{Authority, Subject},
    files::{self, Pair},
    serving::{ServingCertificate, Versions, config, provider},
};

/// Counts how often something is written.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, to)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Both ends after the handshake, with room for so many bytes between them, and the count of the server's writes.
async fn connected(
    room: usize,
) -> (Corked<Counted>, Handle<Counted>, client::TlsStream<DuplexStream>, Arc<AtomicUsize>) {
    let now = runtime::SystemClock.now();
    let (authority, _) = Authority::generate("test", now).unwrap();
    let issued =
        authority.issue(&Subject::server("server", BTreeSet::from(["localhost".to_owned()])), now).unwrap();
    let certificate = ServingCertificate::new(Pair {
        certificates: files::certificates_in(issued.certificate.as_bytes()).unwrap(),
        key: PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
    });
    let server = config(Arc::new(certificate.unwrap()), &[], Versions::default()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = tokio::io::duplex(room);
    let writes = Arc::new(AtomicUsize::new(0));
    let gate = Gate::new(Counted(near, Arc::clone(&writes)));
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = tokio::join!(
        TlsAcceptor::from(Arc::new(server)).accept(gate),
        TlsConnector::from(Arc::new(client)).connect(name, far)
    );
    let (corked, handle) = Corked::new(server.unwrap());
    writes.store(0, Ordering::Relaxed);
    (corked, handle, client.unwrap(), writes)
}

#[tokio::test]
async fn what_one_poll_writes_leaves_together() {
    let (mut corked, handle, mut client, writes) = connected(1 << 20).await;
    let connection = async move {
        for number in 0..50_u8 {
            corked.write_all(&[number; 100]).await.unwrap();
            corked.flush().await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let mut read = vec![0; 5000];
    tokio::select! {
        biased;
        () = together(connection, handle) => unreachable!("it never ends"),
        done = client.read_exact(&mut read) => drop(done.unwrap()),
    }
    assert_eq!(read[4999], 49);
    // Fifty records, and one call for all of them.
    assert_eq!(writes.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn nothing_leaves_before_the_poll_ends_and_nothing_is_lost_on_a_full_socket() {
    const SIZE: usize = 1 << 20;
    let (mut corked, handle, mut client, writes) = connected(3000).await;
    let before = Arc::clone(&writes);
    let connection = async move {
        corked.write_all(b"first").await.unwrap();
        corked.flush().await.unwrap();
        assert_eq!(before.load(Ordering::Relaxed), 0, "it was to wait for the end of the poll");
        let some: Vec<u8> = (0..7400_u32).map(|it| u8::try_from(it % 251).unwrap()).collect();
        let mut left = SIZE;
        while left > 0 {
            let now = left.min(some.len());
            corked.write_all(&some[..now]).await.unwrap();
            corked.flush().await.unwrap();
            left -= now;
        }
        corked.shutdown().await.unwrap();
    };
    let reading = async {
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        all
    };
    let ((), all) = tokio::join!(together(connection, handle), reading);
    assert_eq!(all.len(), SIZE + 5);
    assert!(
        all[5..]
            .chunks(7400)
            .all(|chunk| chunk.iter().zip(0..7400_u32).all(|(it, at)| u32::from(*it) == at % 251))
    );
}

#[tokio::test]
async fn what_goes_on_after_the_connection_flushes_by_itself() {
    let (mut corked, handle, mut client, _) = connected(1 << 16).await;
    let mut upgraded = together(
        async move {
            corked.write_all(b"101 ").await.unwrap();
            corked
        },
        handle,
    )
    .await;
    let mut read = [0; 4];
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"101 ");
    upgraded.write_all(b"more").await.unwrap();
    upgraded.flush().await.unwrap();
    client.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"more");
}
