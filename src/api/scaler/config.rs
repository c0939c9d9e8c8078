//! `api.external_scaler`: the door for KEDA.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use crate::api::auth::AuthConfig;
use crate::model::{HumanDuration, Problem};

/// A gRPC listener that serves the headroom as KEDA's external scaler does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScalerConfig {
    /// Address to listen on, such as `0.0.0.0:6442`; off by default. Beyond loopback it needs `auth` or
    /// `tls.client_ca_file`.
    pub listen: Option<SocketAddr>,
    /// `none`, or `{token_file: PATH}`: callers carry `authorization: Bearer TOKEN`, or the trigger's metadata has
    /// `tokenFromEnv` (or `token`), since KEDA sends no headers.
    pub auth: AuthConfig,
    /// TLS; with `client_ca_file` callers need a certificate, which KEDA takes from `tlsClientCert` and `tlsClientKey`.
    pub tls: Option<ScalerTls>,
    /// Figures older than this are answered with an error, never with a number; default 2m, 15s to 10m.
    pub stale_after: HumanDuration,
}

impl Default for ScalerConfig {
    fn default() -> Self {
        Self { listen: None, auth: AuthConfig::default(), tls: None, stale_after: HumanDuration::secs(120) }
    }
}

/// `api.external_scaler.tls`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalerTls {
    /// This side's certificate chain (PEM).
    pub cert_file: PathBuf,
    /// Its private key (PEM).
    pub key_file: PathBuf,
    /// Authorities (PEM) of callers' certificates; a caller without one is turned away. Default none.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

impl ScalerConfig {
    /// Refuses an open door without a decision, and a staleness that cannot be meant.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let asks_for_certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && matches!(self.auth, AuthConfig::Unset)
            && !asks_for_certificates
        {
            let rule = format!(
                "is `{listen}`, beyond loopback: set `{at}.auth.token_file` or `{at}.tls.client_ca_file`, or `{at}.auth: none` to leave it open"
            );
            problems.push(Problem::new(format!("{at}.listen"), rule));
        }
        if !(HumanDuration::secs(15)..=HumanDuration::secs(600)).contains(&self.stale_after) {
            let rule = format!("must be between 15s and 10m, got {}", self.stale_after);
            problems.push(Problem::new(format!("{at}.stale_after"), rule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_door_needs_a_decision() {
        let problems = |yaml: &str| {
            let config: ScalerConfig = serde_saphyr::from_str(yaml).unwrap();
            let mut problems = Vec::new();
            config.validate("api.external_scaler", &mut problems);
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(problems("{}"), [""; 0]);
        assert_eq!(problems("listen: '127.0.0.1:6442'"), [""; 0]);
        let open = problems("listen: '0.0.0.0:6442'");
        assert!(open.len() == 1 && open[0].contains("api.external_scaler.auth.token_file"), "{open:?}");
        assert_eq!(problems("{listen: '0.0.0.0:6442', auth: none}"), [""; 0]);
        assert_eq!(problems("{listen: '0.0.0.0:6442', auth: {token_file: /t}}"), [""; 0]);
        let tls = "{listen: '0.0.0.0:6442', tls: {cert_file: /c, key_file: /k";
        assert_eq!(problems(&format!("{tls}, client_ca_file: /a}}}}")), [""; 0]);
        assert_eq!(problems(&format!("{tls}}}}}")).len(), 1, "encryption alone lets everyone in");
        assert_eq!(problems("stale_after: 1s").len(), 1);
    }
}
