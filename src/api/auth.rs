//! Who may use a listener: loopback needs nothing, everything else a token or an explicit `none`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::model::Problem;

/// How callers of a listener prove themselves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthConfig {
    /// Nothing is configured: fine on loopback, refused elsewhere.
    #[default]
    Unset,
    /// No proof wanted, also beyond loopback.
    None,
    /// `Authorization: Bearer` with the text of this file.
    TokenFile(PathBuf),
}

/// Refuses a listener beyond loopback without a decision on authentication.
pub fn check_exposure(key: &str, listen: SocketAddr, auth: &AuthConfig, problems: &mut Vec<Problem>) {
    if !listen.ip().is_loopback() && matches!(auth, AuthConfig::Unset) {
        problems.push(Problem::new(
            key,
            format!("is `{listen}`, beyond loopback: set `auth: {{token_file: PATH}}` beside it, or `auth: none` to leave it open"),
        ));
    }
}

/// The proof a listener wants, read and ready.
#[derive(Clone, Default)]
pub struct Auth(Option<Arc<SecretString>>);

impl Auth {
    /// Reads the token file, where one is configured.
    ///
    /// # Errors
    /// The file cannot be read or is empty.
    pub fn load(config: &AuthConfig) -> Result<Self, String> {
        let AuthConfig::TokenFile(path) = config else { return Ok(Self(None)) };
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("failed to read the token file `{}`: {e}", path.display()))?;
        match text.trim() {
            "" => Err(format!("the token file `{}` is empty", path.display())),
            token => Ok(Self(Some(Arc::new(SecretString::from(token))))),
        }
    }

    fn allows(&self, request: &Request) -> bool {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        self.accepts(given.and_then(bearer))
    }

    /// Whether this token opens the listener; anything does where none is configured.
    pub(super) fn accepts(&self, given: Option<&str>) -> bool {
        let Some(token) = &self.0 else { return true };
        given.is_some_and(|given| same(given, token.expose_secret()))
    }
}

/// The token of an `Authorization` header with the scheme `Bearer`, in any case (RFC 9110, section 11.1).
pub(super) fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that does not depend on where the texts differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

/// Middleware: 401 without the token.
pub async fn require_token(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    if auth.allows(&request) {
        return next.run(request).await;
    }
    let body = "unauthorized: this listener wants `Authorization: Bearer TOKEN`\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_door_is_refused_and_a_decided_one_is_not() {
        let problems = |listen: &str, auth: AuthConfig| {
            let mut problems = Vec::new();
            check_exposure("api.listen", listen.parse().unwrap(), &auth, &mut problems);
            problems.len()
        };
        assert_eq!(problems("127.0.0.1:6440", AuthConfig::Unset), 0);
        assert_eq!(problems("0.0.0.0:6440", AuthConfig::Unset), 1);
        assert_eq!(problems("0.0.0.0:6440", AuthConfig::None), 0);
    }

    #[test]
    fn only_the_whole_token_passes() {
        let auth = Auth(Some(Arc::new(SecretString::from("s3cret"))));
        let request = |value: &str| {
            Request::builder().header(header::AUTHORIZATION, value).body(axum::body::Body::empty()).unwrap()
        };
        assert!(auth.allows(&request("Bearer s3cret")) && auth.allows(&request("bearer  s3cret")));
        assert!(!auth.allows(&request("Bearer s3cre")) && !auth.allows(&request("s3cret")));
        assert!(!auth.allows(&Request::builder().body(axum::body::Body::empty()).unwrap()));
    }
}
