//! Fetches a page over HTTP, within a deadline and a size.
//!
//! In:  an address.   Out: the whole body, or a [`Failure`] of a bounded kind.
//! Always: no redirect is followed and no proxy used; a body that ends early is never handed on as a page.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::{Client, Url};

use super::text::Format;
use crate::model::ByteSize;

/// A whole page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub body: &'a [u8],
    pub format: Format,
}

impl<'a> Page<'a> {
    /// A page in the text format 0.0.4, as the engine sends it.
    pub fn text(body: &'a [u8]) -> Self {
        Self { body, format: Format::Text }
    }
}

/// Why a scrape gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Refused, reset or unreachable: the process has ended, or never began.
    #[error("failed to connect: {cause}")]
    Connect { cause: String },
    #[error("no whole answer within {} ms", timeout.as_millis())]
    Timeout { timeout: Duration },
    #[error("answered with status {status}")]
    Status { status: u16 },
    /// The body ended before its announced length, or in the middle of a line or a histogram.
    #[error("the page is truncated: {what}")]
    Truncated { what: String },
    #[error("the page is larger than {limit}")]
    BodyTooLarge { limit: ByteSize },
    /// An answer without a single sample, such as an HTML page.
    #[error("the answer is not a metrics page: {example}")]
    NotAPage { example: String },
    #[error("failed to read the bearer token file: {cause}")]
    Token { cause: String },
}

impl Failure {
    /// Every value of [`Failure::reason`].
    pub const REASONS: [&'static str; 7] =
        ["connect", "timeout", "status", "truncated", "body_too_large", "not_a_page", "token"];

    /// The bounded class for a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } => "status",
            Self::Truncated { .. } => "truncated",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::NotAPage { .. } => "not_a_page",
            Self::Token { .. } => "token",
        }
    }
}

/// A body that has arrived as a whole.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub body: Bytes,
    pub format: Format,
}

impl Fetched {
    /// The page as the step reads it.
    pub fn page(&self) -> Page<'_> {
        Page { body: &self.body, format: self.format }
    }
}

const ACCEPT: &str = "text/plain;version=0.0.4;q=1,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";

/// Fetches pages; cheap to clone, connections are kept between scrapes.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    body_limit: ByteSize,
}

impl Fetcher {
    /// A fetcher that refuses pages larger than `body_limit`, uncompressed.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be set up.
    pub fn new(body_limit: ByteSize) -> Result<Self, reqwest::Error> {
        Ok(Self { client: plain_client()?, body_limit })
    }

    /// Fetches a page as [`Fetcher::fetch`] does, and says how long it took, also when it failed.
    pub async fn timed_fetch(
        &self,
        url: Url,
        timeout: Duration,
        token: Option<&str>,
    ) -> (Result<Fetched, Failure>, Duration) {
        let begun = Instant::now();
        (self.fetch(url, timeout, token).await, begun.elapsed())
    }

    /// Fetches a page within `timeout`, the connection included.
    ///
    /// # Errors
    /// See [`Failure`]; the token appears in none of them.
    pub async fn fetch(&self, url: Url, timeout: Duration, token: Option<&str>) -> Result<Fetched, Failure> {
        let mut request = self.client.get(url).timeout(timeout).header(http::header::ACCEPT, ACCEPT);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let mut response = request.send().await.map_err(|e| failure_to_connect(&e, timeout))?;
        if !response.status().is_success() {
            return Err(Failure::Status { status: response.status().as_u16() });
        }
        let content_type = response.headers().get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let format = Format::from_content_type(content_type.unwrap_or(""));
        let too_large = || Failure::BodyTooLarge { limit: self.body_limit };
        let announced = response.content_length().unwrap_or(0);
        if announced > self.body_limit.0 {
            return Err(too_large());
        }
        // The announced length is no more than a hint: it may be a lie, and is absent for compressed bodies.
        let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = response.chunk().await.map_err(|e| failure_in_body(&e, timeout, body.len()))? {
            if (body.len() + chunk.len()) as u64 > self.body_limit.0 {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { body: body.into(), format })
    }
}

/// An HTTP client that follows no redirect and uses no proxy, for sources that are named one by one.
///
/// # Errors
/// The TLS roots of the system cannot be set up.
pub(crate) fn plain_client() -> Result<Client, reqwest::Error> {
    // Whoever comes first installs the provider; the second try only finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(2)
        .user_agent(concat!("rivetwatch/", env!("CARGO_PKG_VERSION")))
        .build()
}

fn failure_to_connect(error: &reqwest::Error, timeout: Duration) -> Failure {
    if error.is_timeout() { Failure::Timeout { timeout } } else { Failure::Connect { cause: innermost(error) } }
}

fn failure_in_body(error: &reqwest::Error, timeout: Duration, after: usize) -> Failure {
    match error.is_timeout() {
        true => Failure::Timeout { timeout },
        false => Failure::Truncated { what: format!("the connection ended after {after} bytes of body") },
    }
}

/// The root cause of an error; the outer layers repeat the address.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
