//! TLS by rustls, with the authorities that the system trusts (`SSL_CERT_FILE` names others). The server's name is always checked.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{ClientConfig, pki_types::ServerName};
use rustls_platform_verifier::ConfigVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    config::SslMode,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

use crate::store::StoreError;

/// Makes connections encrypted.
#[derive(Clone)]
pub(super) struct Tls(Option<TlsConnector>);

impl Tls {
    pub(super) fn new(mode: SslMode) -> Result<Self, StoreError> {
        if mode == SslMode::Disable {
            return Ok(Self(None));
        }
        let config = ClientConfig::with_platform_verifier()
            .map_err(|error| StoreError::Broken(format!("cannot use TLS: {error}")))?;
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = TlsTo;
    type Error = Infallible;

    /// A socket of this machine has no name, and needs none.
    fn make_tls_connect(&mut self, host: &str) -> Result<TlsTo, Infallible> {
        let host = ServerName::try_from(host.to_owned()).ok();
        Ok(TlsTo(self.0.clone().zip(host)))
    }
}

/// Makes a connection to one host encrypted.
pub(super) struct TlsTo(Option<(TlsConnector, ServerName<'static>)>);

impl TlsConnect<Socket> for TlsTo {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let no_name = || io::Error::other("the host has no name for a certificate");
            let (connector, host) = self.0.ok_or_else(no_name)?;
            let connected = connector.connect(host, socket).await;
            connected.map(Encrypted).map_err(|error| {
                let text = format!("{error}; make the server's authority trusted (SSL_CERT_FILE), or add sslmode=disable to DATABASE_URL in a network that you trust");
                io::Error::new(error.kind(), text)
            })
        })
    }
}

/// An encrypted connection.
pub(super) struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
