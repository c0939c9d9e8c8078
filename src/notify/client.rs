//! Requests to targets over HTTP.
//!
//! In:  a [`Send`] of the notifier.   Out: its [`Outcome`].
//! Always: redirects are not followed, each request has a deadline, answers are read to 4 KB, and no
//! secret (key, address, credential) is in an outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use parking_lot::Mutex;
use reqwest::{Client, Proxy, Response, redirect};

use super::config::{Auth, REDACTED, SecretRef};
use super::notifier::Send;
use super::retry::Outcome;
use super::settings::{Target, Transport};
use super::targets;

/// Longest part of an answer that is read.
const ANSWER_MAX_BYTES: usize = 4_096;
/// Longest part of an answer that is shown.
const SHOWN_MAX: usize = 300;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For targets that give no timeout of their own.
const TIMEOUT_MS: u64 = 30_000;

/// Sends to targets; keeps one connection pool for each way of reaching one.
#[derive(Default)]
pub struct HttpSender {
    clients: Mutex<BTreeMap<Vec<u8>, Client>>,
}

impl HttpSender {
    /// A sender without connections.
    pub fn new() -> Self {
        // Whoever was first has chosen already; then that choice stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::default()
    }

    /// Makes one attempt.
    #[tracing::instrument(name = "send_notification", skip_all)]
    pub async fn send(&self, send: &Send) -> Outcome {
        let mut secrets = Vec::new();
        match self.attempt(send, &mut secrets).await {
            Ok(outcome) => without_secrets(outcome, &secrets),
            Err(what) => without_secrets(Outcome::Unusable { what }, &secrets),
        }
    }

    async fn attempt(&self, send: &Send, secrets: &mut Vec<String>) -> Result<Outcome, String> {
        let target: &Target = &send.target;
        let url = read(target.url.as_ref(), "the address", secrets).await?.ok_or("the address is missing")?;
        let key = read(target.key.as_ref(), "the routing key", secrets).await?;
        let request = targets::request(&target.integration, &send.body, key.as_deref())?;
        let url = match request.path {
            // A slash at the end of a webhook's address may matter to it.
            "" => url,
            path => format!("{}{path}", url.trim_end_matches('/')),
        };
        let client = self.client(&target.transport, secrets).await?;
        let timeout = u64::try_from(target.transport.timeout_ms).ok().filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS);
        let mut builder = client
            .post(&url)
            .timeout(Duration::from_millis(timeout))
            .header("content-type", request.content_type)
            .header("user-agent", concat!("rivetwatch/", env!("CARGO_PKG_VERSION")));
        match &target.transport.auth {
            None => {}
            Some(Auth::Basic { username, password }) => {
                let password = read(password.as_ref(), "the password", secrets).await?;
                builder = builder.basic_auth(username, password);
            }
            Some(Auth::Scheme { scheme, secret }) => {
                let secret = read(Some(secret), "the credentials", secrets).await?.unwrap_or_default();
                builder = builder.header("authorization", format!("{scheme} {secret}"));
            }
        }
        for (name, value) in &target.transport.headers {
            let value = read(Some(value), "a header", secrets).await?.unwrap_or_default();
            builder = builder.header(name.as_str(), value);
        }
        Ok(match builder.body(request.body).send().await {
            Ok(response) => answered(response).await,
            Err(error) if error.is_builder() => return Err(describe(error)),
            // What failed before a connection stood cannot have had an effect.
            Err(error) => Outcome::Failed { may_have_arrived: !error.is_connect(), what: describe(error) },
        })
    }

    async fn client(&self, transport: &Transport, secrets: &mut Vec<String>) -> Result<Client, String> {
        // Files are read anew, so a rotated certificate makes a new client.
        let ca = read(transport.ca.as_ref(), "tls_config.ca_file", &mut Vec::new()).await?;
        let cert = read(transport.cert.as_ref(), "tls_config.cert_file", &mut Vec::new()).await?;
        let key = read(transport.key.as_ref(), "tls_config.key_file", secrets).await?;
        let proxy = read(transport.proxy.as_ref(), "proxy_url", secrets).await?;
        let identity =
            format!("{ca:?}{cert:?}{key:?}{proxy:?}{:?}{}", transport.no_proxy, transport.insecure_skip_verify);
        let identity = xxhash_rust::xxh3::xxh3_128(identity.as_bytes()).to_le_bytes().to_vec();
        if let Some(client) = self.clients.lock().get(&identity) {
            return Ok(client.clone());
        }
        let mut builder = Client::builder().redirect(redirect::Policy::none()).connect_timeout(CONNECT_TIMEOUT);
        if let Some(proxy) = proxy {
            let no_proxy = transport.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
            builder = builder.proxy(Proxy::all(proxy).map_err(describe)?.no_proxy(no_proxy));
        }
        if let Some(ca) = ca {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(ca.as_bytes()).map_err(describe)?);
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            let pem = format!("{cert}\n{key}\n");
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).map_err(describe)?);
        }
        if transport.insecure_skip_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let client = builder.build().map_err(describe)?;
        let mut clients = self.clients.lock();
        // Rotation leaves old clients behind; beginning anew costs a handshake each.
        if clients.len() >= 64 {
            clients.clear();
        }
        clients.insert(identity, client.clone());
        Ok(client)
    }
}

/// A secret's text, which is also noted so that it can be kept out of outcomes.
async fn read(secret: Option<&SecretRef>, what: &str, secrets: &mut Vec<String>) -> Result<Option<String>, String> {
    let text = match secret {
        None => return Ok(None),
        Some(SecretRef::Value(secret)) => secret.expose().to_owned(),
        Some(SecretRef::File(path)) => tokio::fs::read_to_string(path)
            .await
            .map_err(|e| format!("failed to read {what} from `{}`: {e}", path.display()))?
            .trim()
            .to_owned(),
    };
    secrets.push(text.clone());
    Ok(Some(text))
}

async fn answered(response: Response) -> Outcome {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let retry_after = header("retry-after");
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    // The status has decided already; an answer that breaks off changes nothing.
    while let Some(Ok(chunk)) = chunks.next().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= ANSWER_MAX_BYTES {
            break;
        }
    }
    bytes.truncate(ANSWER_MAX_BYTES);
    Outcome::Answered { status, retry_after, body: String::from_utf8_lossy(&bytes).into_owned() }
}

/// The error with its causes and without the address, which is a secret for most targets.
fn describe(error: reqwest::Error) -> String {
    crate::model::chain(&error.without_url())
}

fn without_secrets(outcome: Outcome, secrets: &[String]) -> Outcome {
    // Very short ones would cut ordinary words; they protect nothing either.
    let clean = |text: String| {
        secrets.iter().filter(|s| s.len() >= 6).fold(text, |text, secret| text.replace(secret.as_str(), REDACTED))
    };
    match outcome {
        Outcome::Answered { status, retry_after, body } => {
            // Throttling in JSON must stay readable, so only what is not such an answer is shortened.
            let body = if status == 429 { clean(body) } else { super::page::cut(&clean(body), SHOWN_MAX) };
            Outcome::Answered { status, retry_after, body }
        }
        Outcome::Failed { may_have_arrived, what } => Outcome::Failed { may_have_arrived, what: clean(what) },
        Outcome::Unusable { what } => Outcome::Unusable { what: clean(what) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_repeats_a_secret_is_cut() {
        let body = "key hunter2-hunter2 is unknown".to_owned();
        let outcome = Outcome::Answered { status: 400, retry_after: None, body };
        let Outcome::Answered { body, .. } = without_secrets(outcome, &["hunter2-hunter2".into()]) else { panic!() };
        assert_eq!(body, "key <secret> is unknown");
    }
}
