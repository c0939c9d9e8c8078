//! Removes secrets from telemetry before it is kept or sent on.
//!
//! In:  a decoded OTLP request with its raw bytes, the labels of a series, or any single text.
//! Out: the same without secrets.
//! Always: what is redacted is counted by kind and by a bounded attribute name; redacting twice changes
//! and counts nothing. Requests without any suspicious byte sequence are not walked.
//! Limits: a secret is found by its shape or its key; a bare random string under an innocent key is not,
//! unless it is one of the tokens this process was given itself.

mod shapes;
mod walk;

use std::borrow::Cow;

use hashbrown::HashMap;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::Mutex;
use regex::bytes;
use secrecy::{ExposeSecret, SecretString};

use crate::model::{StatKind, StatRow, Stats};

/// What stands where a secret stood.
pub const REDACTED: &str = "REDACTED";

/// The shortest own token that is looked for: anything shorter would be found by chance.
const OWN_TOKEN_BYTES_MIN: usize = 8;

/// What kind of secret was found; the `kind` label of `rivetwatch_secrets_redacted_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretKind {
    /// A Rivet token: `rvt-token=…`, `x-rivet-token: …`, `rivet_token.…`.
    RivetToken,
    /// An `Authorization` value or a bearer token.
    Authorization,
    /// User and password, or namespace and token, in front of a URL's host.
    UrlUserinfo,
    /// The whole value of an attribute whose key says that it is secret.
    SecretAttribute,
    /// A known shape: cloud and forge keys, JSON web tokens, private keys.
    KnownShape,
    /// A token from this process' own configuration.
    OwnToken,
}

impl SecretKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::RivetToken => "rivet_token",
            Self::Authorization => "authorization",
            Self::UrlUserinfo => "url_userinfo",
            Self::SecretAttribute => "secret_attribute",
            Self::KnownShape => "known_shape",
            Self::OwnToken => "own_token",
        }
    }
}

/// Finds secrets and takes them out.
pub struct Redactor {
    /// Matches any of the process' own tokens; `None` when it has none.
    own_tokens: Option<bytes::Regex>,
    found: Mutex<HashMap<(SecretKind, &'static str), u64>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new([])
    }
}

impl Redactor {
    /// A redactor that also takes out every occurrence of `own_tokens`, such as the engine's admin token.
    ///
    /// Tokens below eight bytes are not looked for.
    pub fn new(own_tokens: impl IntoIterator<Item = SecretString>) -> Self {
        let tokens: Vec<SecretString> =
            own_tokens.into_iter().filter(|t| t.expose_secret().len() >= OWN_TOKEN_BYTES_MIN).collect();
        let pattern: Vec<String> = tokens.iter().map(|t| regex::escape(t.expose_secret())).collect();
        // Escaped literals always compile; were they too many for the engine's size limit, shapes still find most.
        let own_tokens = if tokens.is_empty() { None } else { bytes::Regex::new(&pattern.join("|")).ok() };
        Self { own_tokens, found: Mutex::default() }
    }

    /// Whether `raw`, the bytes of a protobuf message or of a page, may hold a secret at all.
    ///
    /// Never misses one that the other methods would find; may say yes to an innocent message.
    pub fn is_suspicious(&self, raw: &[u8]) -> bool {
        shapes::is_suspicious(raw) || self.own_tokens.as_ref().is_some_and(|own| own.is_match(raw))
    }

    /// The text without secrets, or `None` when there is nothing to take out.
    ///
    /// `key` is the attribute or label that holds the text; a key that is secret by its name loses its whole value.
    pub fn scrub(&self, key: &str, text: &str) -> Option<String> {
        if text.is_empty() || text == REDACTED {
            return None;
        }
        if shapes::is_secret_key(key) {
            self.count(SecretKind::SecretAttribute, key);
            return Some(REDACTED.to_owned());
        }
        let mut clean = Cow::Borrowed(text);
        if shapes::is_suspicious(text.as_bytes()) {
            shapes::take_out(&mut clean, |kind| self.count(kind, key));
        }
        if let Some(own) = &self.own_tokens
            && own.is_match(clean.as_bytes())
        {
            let bytes = own.replace_all(clean.as_bytes(), REDACTED.as_bytes());
            clean = Cow::Owned(String::from_utf8_lossy(&bytes).into_owned());
            self.count(SecretKind::OwnToken, key);
        }
        match clean {
            Cow::Borrowed(_) => None,
            Cow::Owned(clean) => Some(clean),
        }
    }

    /// Takes secrets out of the labels of one series, names included. Says whether any was found.
    pub fn labels<'a, N, V>(&self, labels: impl IntoIterator<Item = (&'a mut N, &'a mut V)>) -> bool
    where
        N: AsRef<str> + From<String> + 'a,
        V: AsRef<str> + From<String> + 'a,
    {
        let mut found = false;
        for (name, value) in labels {
            if let Some(clean) = self.scrub(name.as_ref(), value.as_ref()) {
                *value = clean.into();
                found = true;
            }
            if let Some(clean) = self.scrub("name", name.as_ref()) {
                *name = clean.into();
                found = true;
            }
        }
        found
    }

    /// Takes secrets out of a metrics request. Says whether any was found.
    ///
    /// `raw` is the protobuf message it was decoded from; `None`, for messages that were JSON with its escapes,
    /// visits every text.
    pub fn metrics(&self, raw: Option<&[u8]>, request: &mut ExportMetricsServiceRequest) -> bool {
        raw.is_none_or(|raw| self.is_suspicious(raw)) && walk::Walk::new(self).metrics(request)
    }

    /// Takes secrets out of the resource of a request, of which `raw` is the message; see [`Redactor::metrics`].
    pub fn resource(&self, raw: &[u8], resource: &mut Option<Resource>) -> bool {
        self.is_suspicious(raw) && walk::Walk::new(self).one(|walk| walk.resource(resource))
    }

    /// Takes secrets out of a scope, of which `raw` is the message; see [`Redactor::metrics`].
    pub fn scope(&self, raw: &[u8], scope: &mut Option<InstrumentationScope>) -> bool {
        self.is_suspicious(raw) && walk::Walk::new(self).one(|walk| walk.scope(scope))
    }

    /// Takes secrets out of one metric, of which `raw` is the message; see [`Redactor::metrics`].
    pub fn metric(&self, raw: &[u8], metric: &mut Metric) -> bool {
        self.is_suspicious(raw) && walk::Walk::new(self).one(|walk| walk.metric(metric))
    }

    /// Takes secrets out of a trace request; see [`Redactor::metrics`].
    pub fn traces(&self, raw: Option<&[u8]>, request: &mut ExportTraceServiceRequest) -> bool {
        raw.is_none_or(|raw| self.is_suspicious(raw)) && walk::Walk::new(self).traces(request)
    }

    /// Takes secrets out of a logs request; see [`Redactor::metrics`].
    pub fn logs(&self, raw: Option<&[u8]>, request: &mut ExportLogsServiceRequest) -> bool {
        raw.is_none_or(|raw| self.is_suspicious(raw)) && walk::Walk::new(self).logs(request)
    }

    fn count(&self, kind: SecretKind, key: &str) {
        *self.found.lock().entry((kind, shapes::known_attribute(key))).or_default() += 1;
    }
}

impl Stats for Redactor {
    fn rows(&self) -> Vec<StatRow> {
        let mut found: Vec<_> = self.found.lock().iter().map(|(at, n)| (*at, *n)).collect();
        found.sort_unstable();
        let row = |((kind, attribute), n): ((SecretKind, &'static str), u64)| StatRow {
            name: "rivetwatch_secrets_redacted_total",
            help: "Secrets taken out of received telemetry before it was kept or forwarded.",
            kind: StatKind::Counter,
            labels: vec![("kind", kind.as_str().to_owned()), ("attribute", attribute.to_owned())],
            value: n as f64,
        };
        found.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests;
