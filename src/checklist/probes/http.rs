//! GET requests within a deadline and a size, over no redirect and no proxy.

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use crate::checklist::known::{Gap, Known, unknown};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Refused or unreachable: nothing listens there for us.
    Closed(String),
    /// A connection, and no whole answer in time.
    Timeout(Duration),
    /// No connection in time: dropped on the way, as by a firewall.
    Silent(Duration),
    /// The name does not resolve, the TLS handshake fails, the answer is broken.
    Other(String),
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(why) | Self::Other(why) => f.write_str(why),
            Self::Timeout(time) => write!(f, "no answer within {} ms", time.as_millis()),
            Self::Silent(time) => write!(f, "no connection within {} ms", time.as_millis()),
        }
    }
}

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Vec<u8>,
    pub took: Duration,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Sends GET requests; cheap to clone.
#[derive(Clone, Debug)]
pub struct Http {
    client: reqwest::Client,
    timeout: Duration,
}

impl Http {
    /// A client that waits for `timeout` and trusts the roots of the system, and those of `ca_file` besides.
    ///
    /// # Errors
    /// The file cannot be read, or the roots of the system cannot be set up.
    pub fn new(timeout: Duration, ca_file: Option<&Path>) -> Known<Self> {
        // Whoever comes first installs the provider; the second try only finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(1)
            .connect_timeout(timeout)
            .user_agent(concat!("rivetwatch/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = ca_file {
            let bad = |e: &dyn Error| Gap::new(format!("`check.tls.ca_file` `{}` cannot be used: {e}", path.display()));
            let pem = std::fs::read(path).map_err(|e| bad(&e))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| bad(&e))?;
            builder = builder.tls_certs_merge(roots);
        }
        match builder.build() {
            Ok(client) => Ok(Self { client, timeout }),
            Err(e) => unknown(format!("the HTTP client cannot be set up: {e}")),
        }
    }

    /// `GET url`, with a bearer token where one is given.
    ///
    /// # Errors
    /// No whole answer; the token appears in none of them.
    pub async fn get(&self, url: Url, token: Option<&SecretString>) -> Result<Answer, NoAnswer> {
        let begun = Instant::now();
        let mut request = self.client.get(url).timeout(self.timeout);
        if let Some(token) = token {
            // reqwest marks the header as sensitive, so that it is printed nowhere.
            request = request.bearer_auth(token.expose_secret().trim());
        }
        let mut response = request.send().await.map_err(|e| self.no_answer(&e))?;
        let status = response.status().as_u16();
        let header = response.headers().get(reqwest::header::LOCATION).and_then(|v| v.to_str().ok());
        let location = header.map(str::to_owned);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.no_answer(&e))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(NoAnswer::Other(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, location, body, took: begun.elapsed() })
    }

    fn no_answer(&self, error: &reqwest::Error) -> NoAnswer {
        if error.is_timeout() {
            return match error.is_connect() {
                true => NoAnswer::Silent(self.timeout),
                false => NoAnswer::Timeout(self.timeout),
            };
        }
        let mut cause: &dyn Error = error;
        loop {
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                match io.kind() {
                    ErrorKind::ConnectionRefused => return NoAnswer::Closed("connection refused".into()),
                    ErrorKind::ConnectionReset => return NoAnswer::Closed("connection reset".into()),
                    ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                        return NoAnswer::Closed("no route to the host".into());
                    }
                    _ => {}
                }
            }
            match cause.source() {
                Some(source) => cause = source,
                None => return NoAnswer::Other(cause.to_string()),
            }
        }
    }
}

/// `base` with another path and query.
pub fn at(base: &Url, path: &str, query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    url.set_query(None);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// An address without what may be a secret: user, password, query and fragment.
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Fails for addresses that have no place for them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string().trim_end_matches('/').to_owned()
}

/// Whether the host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|a| a.is_loopback())
}
