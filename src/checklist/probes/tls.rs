//! A TLS handshake with the public address: what was agreed on, which certificates came, whether they are trusted.
//!
//! Always: the handshake accepts every certificate, so that a bad one can be read, and nothing is sent over it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use x509_cert::der::Decode;

use crate::checklist::evidence::{Certificate, TlsSeen};
use crate::checklist::known::{Gap, Known, unknown};
use crate::model::TimestampMs;

/// Shakes hands with the host of an `https` address.
///
/// # Errors
/// The host cannot be reached, so that nothing is known of its TLS, or the roots cannot be set up.
pub async fn shake_hands(url: &Url, ca_file: Option<&Path>, timeout: Duration, now: TimestampMs) -> Known<TlsSeen> {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return unknown(format!("`{url}` names no host"));
    };
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = format!("{host}:{port}");
    let Ok(server_name) = ServerName::try_from(name) else { return unknown(format!("`{host}` is no name for TLS")) };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = roots(ca_file, &provider)?;
    let recorder = Arc::new(AcceptAny::new(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Gap::new(format!("TLS cannot be set up: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    let connected = tokio::time::timeout(timeout, TcpStream::connect((server_host(host), port))).await;
    let stream = match connected {
        Err(_) => return unknown(format!("no connection to {address} within {} ms", timeout.as_millis())),
        Ok(Err(e)) => return unknown(format!("no connection to {address}: {e}")),
        Ok(Ok(stream)) => stream,
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let handshake = match tokio::time::timeout(timeout, connector.connect(server_name.clone(), stream)).await {
        Err(_) => Err(format!("no end of it within {} ms", timeout.as_millis())),
        Ok(Err(e)) => Err(e.to_string()),
        Ok(Ok(stream)) => {
            Ok(stream.get_ref().1.protocol_version().map_or_else(|| "TLS".into(), |v| protocol(v.as_str())))
        }
    };
    let ders = recorder.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
    let chain = ders.iter().filter_map(certificate).collect();
    let verification = match ders.split_first() {
        None => Err("no certificate came".to_owned()),
        Some((own, others)) => {
            let at = UnixTime::since_unix_epoch(Duration::from_millis(now.0.max(0).unsigned_abs()));
            let verified = roots.verify_server_cert(own, others, &server_name, &[], at);
            verified.map(|_| ()).map_err(|e| reason(&e))
        }
    };
    Ok(TlsSeen { address, handshake, chain, verification })
}

fn server_host(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn protocol(name: Option<&str>) -> String {
    name.map_or_else(|| "TLS".to_owned(), |n| n.replace("TLSv1_", "TLS 1."))
}

/// The part of rustls' error that a person can act on.
fn reason(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            rustls::CertificateError::UnknownIssuer => "no trusted root issued it".into(),
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. } => {
                "it has expired".into()
            }
            rustls::CertificateError::NotValidYet | rustls::CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet".into()
            }
            rustls::CertificateError::NotValidForName | rustls::CertificateError::NotValidForNameContext { .. } => {
                "it is for another name".into()
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

/// Judges certificates by the platform's roots and those of `check.tls.ca_file`.
pub(super) fn roots(ca_file: Option<&Path>, provider: &Arc<CryptoProvider>) -> Known<Arc<dyn ServerCertVerifier>> {
    let extra = match ca_file {
        None => Vec::new(),
        Some(path) => {
            let bad = |e: &dyn std::fmt::Display| {
                Gap::new(format!("`check.tls.ca_file` `{}` cannot be used: {e}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|e| bad(&e))?;
            CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|e| bad(&e))?
        }
    };
    match rustls_platform_verifier::Verifier::new_with_extra_roots(extra, Arc::clone(provider)) {
        Ok(verifier) => Ok(Arc::new(verifier)),
        Err(e) => unknown(format!("the trusted roots cannot be set up: {e}")),
    }
}

/// Accepts every certificate and keeps it: for reading a bad one, and where libpq would not look either.
#[derive(Debug)]
pub(super) struct AcceptAny {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Vec<CertificateDer<'static>>>,
}

impl AcceptAny {
    /// Accepts whatever comes.
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, seen: Mutex::default() }
    }
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = [end_entity].into_iter().chain(intermediates).map(|c| c.clone().into_owned()).collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Names and times of a certificate; `None` where it is no certificate.
fn certificate(der: &CertificateDer<'_>) -> Option<Certificate> {
    let parsed = x509_cert::Certificate::from_der(der).ok()?;
    let tbs = parsed.tbs_certificate;
    let time = |t: &x509_cert::time::Time| {
        let seconds = i64::try_from(t.to_unix_duration().as_secs()).unwrap_or(i64::MAX / 1_000);
        TimestampMs(seconds.saturating_mul(1_000))
    };
    Some(Certificate {
        subject: tbs.subject.to_string(),
        issuer: tbs.issuer.to_string(),
        not_before: time(&tbs.validity.not_before),
        not_after: time(&tbs.validity.not_after),
    })
}
