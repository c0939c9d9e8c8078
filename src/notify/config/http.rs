//! `http_config`: how one target is reached, in the schema of Prometheus' HTTP clients.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::opaque::Opaque;
use super::secret::{Secret, SecretRef};
use crate::model::Problem;

/// `http_config` of a receiver or of `global`.
///
/// Redirects are never followed, whatever stands here: a redirect could carry a secret to another host.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// Old spelling of `authorization` with type `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// Read, but not delivered by this release: a target with it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth2: Option<Opaque>,
    /// Accepted for compatibility; redirects are never followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_redirects: Option<bool>,
    /// Accepted for compatibility; HTTP/2 is negotiated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_http2: Option<bool>,
    /// Proxy for this target. Without it the environment (`HTTPS_PROXY`, `NO_PROXY`) decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_url: Option<String>,
    /// Hosts that are reached without `proxy_url`, comma separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
    /// Accepted for compatibility; the environment is asked whenever `proxy_url` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_from_environment: Option<bool>,
    /// Read, but not delivered by this release: a target with it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_connect_header: Option<Opaque>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_config: Option<TlsConfig>,
    /// Further request headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub http_headers: BTreeMap<String, HeaderValues>,
}

/// `authorization`: the `Authorization` header.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// Scheme; default `Bearer`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
}

/// `basic_auth`: user name and password.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    pub username: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// `tls_config`: whom to trust and what to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM text of the authority to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Not delivered by this release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_version: Option<String>,
}

/// The values of one header under `http_headers`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderValues {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<PathBuf>,
}

impl HttpConfig {
    /// Adds what is contradictory here, whether or not the receiver can be delivered to.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let bearer = self.bearer_token.is_some() || self.bearer_token_file.is_some();
        if [bearer, self.authorization.is_some(), self.basic_auth.is_some(), self.oauth2.is_some()]
            .iter()
            .filter(|set| **set)
            .count()
            > 1
        {
            problems
                .push(Problem::new(at, "must set at most one of basic_auth, authorization, oauth2 and bearer_token"));
        }
        if self.bearer_token.is_some() && self.bearer_token_file.is_some() {
            problems.push(Problem::new(at, "must set at most one of bearer_token and bearer_token_file"));
        }
        if let Some(auth) = &self.authorization {
            if auth.credentials.is_some() && auth.credentials_file.is_some() {
                let key = format!("{at}.authorization");
                problems.push(Problem::new(key, "must set at most one of credentials and credentials_file"));
            }
            if auth.scheme.as_deref().is_some_and(|s| s.trim().eq_ignore_ascii_case("basic")) {
                problems.push(Problem::new(format!("{at}.authorization.type"), "must not be `Basic`; use basic_auth"));
            }
        }
        if let Some(basic) = &self.basic_auth
            && basic.password.is_some()
            && basic.password_file.is_some()
        {
            let key = format!("{at}.basic_auth");
            problems.push(Problem::new(key, "must set at most one of password and password_file"));
        }
        if let Some(tls) = &self.tls_config {
            tls.validate(&format!("{at}.tls_config"), problems);
        }
    }

    /// Adds what a target that is delivered to cannot have in this release.
    pub fn validate_delivered(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut refuse = |key: &str, set: bool| {
            if set {
                problems.push(Problem::new(format!("{at}.{key}"), "is not delivered by this release"));
            }
        };
        refuse("oauth2", self.oauth2.is_some());
        refuse("proxy_connect_header", self.proxy_connect_header.is_some());
        refuse("basic_auth.username_file", self.basic_auth.as_ref().is_some_and(|b| b.username_file.is_some()));
        let tls = self.tls_config.clone().unwrap_or_default();
        refuse("tls_config.server_name", tls.server_name.is_some());
        refuse("tls_config.min_version", tls.min_version.is_some());
        refuse("tls_config.max_version", tls.max_version.is_some());
        if let Some(proxy) = &self.proxy_url
            && !["http://", "https://"].iter().any(|scheme| proxy.starts_with(scheme))
        {
            problems.push(Problem::new(format!("{at}.proxy_url"), "must begin with http:// or https://"));
        }
    }

    /// The `Authorization` header this configuration asks for.
    pub fn auth(&self) -> Option<Auth> {
        if let Some(basic) = &self.basic_auth {
            let password = SecretRef::from_pair(basic.password.as_ref(), basic.password_file.as_deref());
            return Some(Auth::Basic { username: basic.username.clone(), password });
        }
        let (scheme, secret) = match &self.authorization {
            Some(auth) => (
                auth.scheme.clone().unwrap_or_else(|| "Bearer".into()),
                SecretRef::from_pair(auth.credentials.as_ref(), auth.credentials_file.as_deref()),
            ),
            None => {
                ("Bearer".into(), SecretRef::from_pair(self.bearer_token.as_ref(), self.bearer_token_file.as_deref()))
            }
        };
        secret.map(|secret| Auth::Scheme { scheme, secret })
    }
}

impl TlsConfig {
    pub(super) fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        for (key, both) in [
            ("ca", self.ca.is_some() && self.ca_file.is_some()),
            ("cert", self.cert.is_some() && self.cert_file.is_some()),
            ("key", self.key.is_some() && self.key_file.is_some()),
        ] {
            if both {
                problems.push(Problem::new(at, format!("must set at most one of {key} and {key}_file")));
            }
        }
        let has_cert = self.cert.is_some() || self.cert_file.is_some();
        let has_key = self.key.is_some() || self.key_file.is_some();
        if has_cert != has_key {
            problems.push(Problem::new(at, "needs the client certificate and its key together"));
        }
    }
}

/// How a request shows who sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    Basic { username: String, password: Option<SecretRef> },
    Scheme { scheme: String, secret: SecretRef },
}
