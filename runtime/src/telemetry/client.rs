//! Posting spans to the collector, with the HTTP client and the TLS that the host has anyway.

use std::path::Path;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use reqwest::redirect;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::TelemetryError;
use crate::config::TracesConfig;

/// Bytes of the collector's answer that are read: it is a few words.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Posts what the exporter makes. Follows no redirects, so that credentials go only where they were meant to, and takes
/// no proxy from the environment, which handlers' requests do not take either.
#[derive(Debug)]
pub(super) struct Client(reqwest::Client);

/// What encodes spans and posts them.
///
/// # Errors
/// When the certificates or the exporter's own settings cannot be used.
pub(super) fn exporter(config: &TracesConfig, resource: &Resource) -> Result<SpanExporter, TelemetryError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client::new(config)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&config.url)
        .with_timeout(config.timeout)
        .build()
        .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
    exporter.set_resource(resource);
    Ok(exporter)
}

// === impl Client ===

impl Client {
    fn new(config: &TracesConfig) -> Result<Self, TelemetryError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(config.certificate.as_deref())?)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(config.timeout)
            .user_agent(concat!("jobcell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| TelemetryError::Exporter(error.to_string()))?;
        Ok(Self(client))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut response = self.0.execute(request.try_into()?).await.map_err(reqwest::Error::without_url)?;
        let mut answer = Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            *headers = std::mem::take(response.headers_mut());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(answer.body(body.freeze())?)
    }
}

/// Whom the connection trusts: the certificates of a file, or the machine's authorities.
fn tls(certificate: Option<&Path>) -> Result<ClientConfig, TelemetryError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut roots = RootCertStore::empty();
    match certificate {
        Some(path) => {
            let fault =
                |cause: String| TelemetryError::Certificate { path: path.display().to_string(), cause };
            let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| fault(error.to_string()))?;
                roots.add(certificate).map_err(|error| fault(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fault("it has none".to_owned()));
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}
