//! A far end that says what a test tells it to, byte by byte, with or without TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// One connection of a client.
pub(crate) struct Line {
    io: BufReader<Box<dyn Io>>,
    heads: Arc<Mutex<Vec<String>>>,
}

type Answering = Pin<Box<dyn Future<Output = Option<()>> + Send>>;

/// The far end; it ends with the runtime.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    names: Arc<Mutex<Vec<Option<String>>>>,
}

impl Line {
    /// Takes one request, its body included, and gives its head.
    pub(crate) async fn request(&mut self) -> Option<String> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.io.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.io.read_exact(&mut body).await.ok()?;
        self.heads.lock().unwrap().push(format!("{head}{}", String::from_utf8_lossy(&body)));
        Some(head)
    }

    /// Says this. None when the client has hung up.
    pub(crate) async fn say(&mut self, text: impl AsRef<[u8]>) -> Option<()> {
        self.io.write_all(text.as_ref()).await.ok()?;
        self.io.flush().await.ok()
    }
}

impl Peer {
    /// In the clear.
    pub(crate) async fn start<F>(answer: impl Fn(Line) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<()>> + Send + 'static,
    {
        Self::listen(None, move |line| Box::pin(answer(line))).await
    }

    /// Behind TLS, answering every request with `ok`.
    pub(crate) async fn with_tls(config: ServerConfig) -> Self {
        Self::listen(Some(TlsAcceptor::from(Arc::new(config))), |line| Box::pin(ok(line))).await
    }

    async fn listen(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Line) -> Answering + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            heads: Arc::default(),
            names: Arc::default(),
        };
        let (connections, heads, names) =
            (Arc::clone(&peer.connections), Arc::clone(&peer.heads), Arc::clone(&peer.names));
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (tls, answer, heads, names) =
                    (tls.clone(), Arc::clone(&answer), Arc::clone(&heads), Arc::clone(&names));
                tokio::spawn(async move {
                    let io: Box<dyn Io> = match tls {
                        None => Box::new(stream),
                        Some(tls) => {
                            let stream = tls.accept(stream).await.ok()?;
                            names.lock().unwrap().push(stream.get_ref().1.server_name().map(str::to_owned));
                            Box::new(stream)
                        }
                    };
                    answer(Line { io: BufReader::new(io), heads }).await
                });
            }
        });
        peer
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests so far: head and body.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The names that clients asked for in TLS.
    pub(crate) fn server_names(&self) -> Vec<Option<String>> {
        self.names.lock().unwrap().clone()
    }
}

/// Answers every request with `ok`, on one connection for as long as the client likes.
pub(crate) async fn ok(mut line: Line) -> Option<()> {
    loop {
        line.request().await?;
        line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
    }
}

// --- certificates ---

/// An authority of the tests.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With one name for all, a stranger's certificate would be taken for a forgery of ours.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed)));
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server for this name.
    pub(crate) fn server(&self, name: &str) -> ServerConfig {
        self.issue(CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A server for this name whose certificate was only good in years gone by.
    pub(crate) fn expired(&self, name: &str) -> ServerConfig {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}
