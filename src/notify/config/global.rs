//! `global`: defaults that receivers inherit.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::http::{HttpConfig, TlsConfig};
use super::secret::Secret;
use crate::model::{HumanDuration, Problem};

macro_rules! global {
    ($($(#[$doc:meta])* $name:ident: $ty:ty,)*) => {
        /// `global` of Alertmanager's schema.
        ///
        /// Keys of receiver kinds that this release does not deliver to are read and checked, so that an
        /// existing file loads.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Global {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$ty>,)*
        }
    };
}

global! {
    /// After which time an alert that nobody repeats and that has no `endsAt` counts as resolved; default 5m.
    resolve_timeout: HumanDuration,
    /// For every receiver without its own `http_config`.
    http_config: HttpConfig,
    /// Where PagerDuty events go; default `https://events.pagerduty.com/v2/enqueue`.
    pagerduty_url: String,
    smtp_from: String,
    smtp_hello: String,
    smtp_smarthost: String,
    smtp_auth_username: String,
    smtp_auth_password: Secret,
    smtp_auth_password_file: PathBuf,
    smtp_auth_secret: Secret,
    smtp_auth_secret_file: PathBuf,
    smtp_auth_identity: String,
    smtp_require_tls: bool,
    smtp_force_implicit_tls: bool,
    smtp_tls_config: TlsConfig,
    slack_api_url: Secret,
    slack_api_url_file: PathBuf,
    slack_app_token: Secret,
    slack_app_token_file: PathBuf,
    slack_app_url: String,
    opsgenie_api_url: String,
    opsgenie_api_key: Secret,
    opsgenie_api_key_file: PathBuf,
    wechat_api_url: String,
    wechat_api_secret: Secret,
    wechat_api_secret_file: PathBuf,
    wechat_api_corp_id: String,
    victorops_api_url: String,
    victorops_api_key: Secret,
    victorops_api_key_file: PathBuf,
    telegram_api_url: String,
    telegram_bot_token: Secret,
    telegram_bot_token_file: PathBuf,
    webex_api_url: String,
    jira_api_url: String,
    rocketchat_api_url: String,
    rocketchat_token: Secret,
    rocketchat_token_file: PathBuf,
    rocketchat_token_id: Secret,
    rocketchat_token_id_file: PathBuf,
    mattermost_webhook_url: Secret,
    mattermost_webhook_url_file: PathBuf,
}

impl Global {
    /// Adds every contradiction found here.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let set = |s: &Option<Secret>| s.as_ref().is_some_and(|s| !s.is_empty());
        for (key, value, file) in [
            ("smtp_auth_password", &self.smtp_auth_password, &self.smtp_auth_password_file),
            ("smtp_auth_secret", &self.smtp_auth_secret, &self.smtp_auth_secret_file),
            ("slack_api_url", &self.slack_api_url, &self.slack_api_url_file),
            ("slack_app_token", &self.slack_app_token, &self.slack_app_token_file),
            ("opsgenie_api_key", &self.opsgenie_api_key, &self.opsgenie_api_key_file),
            ("wechat_api_secret", &self.wechat_api_secret, &self.wechat_api_secret_file),
            ("victorops_api_key", &self.victorops_api_key, &self.victorops_api_key_file),
            ("telegram_bot_token", &self.telegram_bot_token, &self.telegram_bot_token_file),
            ("rocketchat_token", &self.rocketchat_token, &self.rocketchat_token_file),
            ("rocketchat_token_id", &self.rocketchat_token_id, &self.rocketchat_token_id_file),
            ("mattermost_webhook_url", &self.mattermost_webhook_url, &self.mattermost_webhook_url_file),
        ] {
            if set(value) && file.is_some() {
                problems.push(Problem::new(
                    format!("{at}global.{key}"),
                    format!("must not be set together with {key}_file"),
                ));
            }
        }
        if let Some(http) = &self.http_config {
            http.validate(&format!("{at}global.http_config"), problems);
        }
        if self.resolve_timeout.is_some_and(|t| t.as_ms() == 0) {
            problems.push(Problem::new(format!("{at}global.resolve_timeout"), "must be longer than 0s"));
        }
    }

    /// Whether a global key or its `_file` sibling gives a value; used by kinds that inherit it.
    pub(super) fn provides(&self, key: &str) -> bool {
        let text = |s: &Option<String>| s.as_ref().is_some_and(|s| !s.is_empty());
        let secret = |s: &Option<Secret>, file: &Option<PathBuf>| {
            s.as_ref().is_some_and(|s| !s.is_empty()) || file.as_ref().is_some_and(|f| !f.as_os_str().is_empty())
        };
        match key {
            "smtp_smarthost" => text(&self.smtp_smarthost),
            "smtp_from" => text(&self.smtp_from),
            "slack_api_url" => {
                secret(&self.slack_api_url, &self.slack_api_url_file)
                    || secret(&self.slack_app_token, &self.slack_app_token_file)
            }
            "opsgenie_api_key" => secret(&self.opsgenie_api_key, &self.opsgenie_api_key_file),
            "wechat_api_secret" => secret(&self.wechat_api_secret, &self.wechat_api_secret_file),
            "wechat_api_corp_id" => text(&self.wechat_api_corp_id),
            "victorops_api_key" => secret(&self.victorops_api_key, &self.victorops_api_key_file),
            "telegram_bot_token" => secret(&self.telegram_bot_token, &self.telegram_bot_token_file),
            "rocketchat_token" => secret(&self.rocketchat_token, &self.rocketchat_token_file),
            "rocketchat_token_id" => secret(&self.rocketchat_token_id, &self.rocketchat_token_id_file),
            "mattermost_webhook_url" => secret(&self.mattermost_webhook_url, &self.mattermost_webhook_url_file),
            "jira_api_url" => text(&self.jira_api_url),
            _ => false,
        }
    }
}
