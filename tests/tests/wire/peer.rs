//! A server that misbehaves in ways that no sandbox would.

use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::NamedTempFile;
use tokio::{io::AsyncReadExt as _, net::TcpListener, task::AbortHandle};
use tokio_rustls::TlsAcceptor;

/// What a peer does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It says nothing at all after the TCP handshake.
    NoTls,
    /// It does not offer HTTP/2.
    NoHttp2,
    /// It takes everything that is sent and never says a word.
    Silent,
}

/// A running server with a fault; it ends when dropped.
pub(crate) struct Peer {
    pub(crate) base_url: String,
    open: Arc<AtomicUsize>,
    ca_file: NamedTempFile,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    pub(crate) async fn start(fault: Fault) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let mut ca_file = NamedTempFile::new().expect("temporary file");
        ca_file.write_all(made.cert.pem().as_bytes()).expect("written");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("the key fits");
        if fault != Fault::NoHttp2 {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, open) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    serve(stream, acceptor, fault).await;
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        })
        .abort_handle();
        Self {
            base_url: format!("https://localhost:{port}"),
            open,
            ca_file,
            task,
        }
    }

    pub(crate) fn ca_file(&self) -> &Path {
        self.ca_file.path()
    }

    /// Connections that the client has not closed.
    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: tokio::net::TcpStream, acceptor: TlsAcceptor, fault: Fault) {
    let mut waste = [0; 4096];
    if fault == Fault::NoTls {
        while matches!(stream.read(&mut waste).await, Ok(1..)) {}
    } else if let Ok(mut stream) = acceptor.accept(stream).await {
        while matches!(stream.read(&mut waste).await, Ok(1..)) {}
    }
}
