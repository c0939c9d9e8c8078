//! `receivers`: where notifications go, one struct for each kind that is delivered to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::foreign::{self, Entry};
use super::global::Global;
use super::http::HttpConfig;
use super::secret::Secret;
use crate::model::{HumanDuration, Problem};

/// One receiver: a name and any number of targets. Each notification goes to every one of them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Receiver {
    pub name: String,
    /// Receiver that gets a page no target of this one could take (wrong key, wrong address). Not in
    /// Alertmanager's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pagerduty_configs: Vec<PagerdutyConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhook_configs: Vec<WebhookConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alertmanager_configs: Vec<AlertmanagerConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heartbeat_configs: Vec<HeartbeatConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub terminal_configs: Vec<TerminalConfig>,

    // Read and checked, not delivered to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub discord_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incidentio_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jira_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mattermost_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub msteams_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub msteamsv2_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opsgenie_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pushover_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rocketchat_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slack_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sns_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub telegram_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub victorops_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webex_configs: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wechat_configs: Vec<Entry>,
}

/// PagerDuty, by its Events API v2.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PagerdutyConfig {
    /// Whether the incident is resolved when the alerts are; default true.
    pub send_resolved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfig>,
    /// Integration key of the service (Events API v2), 32 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<Secret>,
    /// File that holds the key; read at each sending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing_key_file: Option<PathBuf>,
    /// Key of the old Events API v1; sent to v2 as the routing key, which PagerDuty accepts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_key: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_key_file: Option<PathBuf>,
    /// Default: `global.pagerduty_url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Texts may be Go templates over Alertmanager's data; default: our own wording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Longest wait for an answer; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
}

/// A link that a PagerDuty incident shows.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    pub href: String,
    pub text: String,
}

/// Any HTTP address, with Alertmanager's JSON of version 4.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Whether resolved notifications are sent; default true.
    pub send_resolved: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    /// Most alerts in one message; the rest is counted in `truncatedAlerts`. 0, the default, is no limit.
    pub max_alerts: u64,
    /// Longest wait for an answer; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
}

/// An Alertmanager that gets the alerts themselves, to group and deliver on its own.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertmanagerConfig {
    /// Address of an instance, e.g. `http://alertmanager:9093`; `/api/v2/alerts` is added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Every instance of the cluster; each gets every alert.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfig>,
    /// Firing alerts are sent again this often; default 1m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resend_interval: Option<HumanDuration>,
    /// Longest wait for an answer; default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
}

/// An outside service that raises the alarm when our pings stop.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatConfig {
    /// The address that is pinged; it is the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_config: Option<HttpConfig>,
    /// Time between pings; default 1m, at least 5s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
    /// Longest wait for an answer; default 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<HumanDuration>,
}

/// The terminal that the agent runs in.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TerminalConfig {
    /// Whether the end of an incident is printed; default true.
    pub send_resolved: bool,
}

impl Default for TerminalConfig {
    fn default() -> Self {
        Self { send_resolved: true }
    }
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self { send_resolved: true, http_config: None, url: None, url_file: None, max_alerts: 0, timeout: None }
    }
}

impl Default for PagerdutyConfig {
    fn default() -> Self {
        Self {
            send_resolved: true,
            http_config: None,
            routing_key: None,
            routing_key_file: None,
            service_key: None,
            service_key_file: None,
            url: None,
            client: None,
            client_url: None,
            description: None,
            details: BTreeMap::new(),
            images: Vec::new(),
            links: Vec::new(),
            source: None,
            severity: None,
            class: None,
            component: None,
            group: None,
            timeout: None,
        }
    }
}

impl Receiver {
    /// Key in the file and entries of the kinds that are not delivered to.
    pub fn foreign(&self) -> impl Iterator<Item = (&'static str, &[Entry])> {
        [
            ("discord_configs", self.discord_configs.as_slice()),
            ("email_configs", &self.email_configs),
            ("incidentio_configs", &self.incidentio_configs),
            ("jira_configs", &self.jira_configs),
            ("mattermost_configs", &self.mattermost_configs),
            ("msteams_configs", &self.msteams_configs),
            ("msteamsv2_configs", &self.msteamsv2_configs),
            ("opsgenie_configs", &self.opsgenie_configs),
            ("pushover_configs", &self.pushover_configs),
            ("rocketchat_configs", &self.rocketchat_configs),
            ("slack_configs", &self.slack_configs),
            ("sns_configs", &self.sns_configs),
            ("telegram_configs", &self.telegram_configs),
            ("victorops_configs", &self.victorops_configs),
            ("webex_configs", &self.webex_configs),
            ("wechat_configs", &self.wechat_configs),
        ]
        .into_iter()
        .filter(|(_, entries)| !entries.is_empty())
    }

    /// Adds everything that is wrong with this receiver; `at` is its path.
    pub fn validate(&self, global: &Global, at: &str, problems: &mut Vec<Problem>) {
        if self.name.is_empty() {
            problems.push(Problem::new(format!("{at}.name"), "is missing"));
        }
        for (i, c) in self.pagerduty_configs.iter().enumerate() {
            c.validate(&format!("{at}.pagerduty_configs[{i}]"), problems);
        }
        for (i, c) in self.webhook_configs.iter().enumerate() {
            let at = format!("{at}.webhook_configs[{i}]");
            validate_url_pair(c.url.as_ref(), c.url_file.as_ref(), &at, problems);
            validate_transport(c.http_config.as_ref(), c.timeout, &at, problems);
        }
        for (i, c) in self.alertmanager_configs.iter().enumerate() {
            let at = format!("{at}.alertmanager_configs[{i}]");
            if c.url.is_none() && c.urls.is_empty() {
                problems.push(Problem::new(format!("{at}.url"), "is missing; set url or urls"));
            }
            c.url.iter().for_each(|url| validate_url(url, &format!("{at}.url"), problems));
            c.urls.iter().enumerate().for_each(|(i, url)| validate_url(url, &format!("{at}.urls[{i}]"), problems));
            let (least, most) = (HumanDuration::secs(5), HumanDuration::secs(180));
            if c.resend_interval.is_some_and(|t| t < least || t > most) {
                problems.push(Problem::new(format!("{at}.resend_interval"), "must be between 5s and 3m"));
            }
            validate_transport(c.http_config.as_ref(), c.timeout, &at, problems);
        }
        for (i, c) in self.heartbeat_configs.iter().enumerate() {
            let at = format!("{at}.heartbeat_configs[{i}]");
            validate_url_pair(c.url.as_ref(), c.url_file.as_ref(), &at, problems);
            if let Some(interval) = c.interval.filter(|t| *t < HumanDuration::secs(5)) {
                let rule = format!("must be at least 5s, got {interval}");
                problems.push(Problem::new(format!("{at}.interval"), rule));
            }
            validate_transport(c.http_config.as_ref(), c.timeout, &at, problems);
        }
        for (field, entries) in self.foreign() {
            for (i, entry) in entries.iter().enumerate() {
                foreign::validate(field, entry, global, &format!("{at}.{field}[{i}]"), problems);
            }
        }
    }
}

impl PagerdutyConfig {
    fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let pairs = [
            ("routing_key", self.routing_key.as_ref(), self.routing_key_file.as_ref()),
            ("service_key", self.service_key.as_ref(), self.service_key_file.as_ref()),
        ];
        let set = |value: Option<&Secret>| value.is_some_and(|v| !v.is_empty());
        if !pairs.iter().any(|(_, value, file)| set(*value) || file.is_some()) {
            problems.push(Problem::new(format!("{at}.routing_key"), "is missing; set routing_key or routing_key_file"));
        }
        for (key, value, file) in pairs {
            if set(value) && file.is_some() {
                problems.push(Problem::new(format!("{at}.{key}"), format!("must not be set together with {key}_file")));
            }
        }
        self.url.iter().for_each(|url| validate_url(url, &format!("{at}.url"), problems));
        validate_transport(self.http_config.as_ref(), self.timeout, at, problems);
    }
}

/// Adds a problem when `url` is not an absolute http(s) address.
pub(super) fn validate_url(url: &str, at: &str, problems: &mut Vec<Problem>) {
    if reqwest::Url::parse(url).is_ok_and(|u| ["http", "https"].contains(&u.scheme()) && u.has_host()) {
        return;
    }
    // The address itself may hold a token, so it is not quoted.
    problems.push(Problem::new(at, "must be an address that begins with http:// or https://"));
}

fn validate_url_pair(url: Option<&Secret>, file: Option<&PathBuf>, at: &str, problems: &mut Vec<Problem>) {
    match (url.filter(|u| !u.is_empty()), file) {
        (None, None) => problems.push(Problem::new(format!("{at}.url"), "is missing; set url or url_file")),
        (Some(_), Some(_)) => {
            problems.push(Problem::new(format!("{at}.url"), "must not be set together with url_file"))
        }
        (Some(url), None) => validate_url(url.expose(), &format!("{at}.url"), problems),
        (None, Some(_)) => {}
    }
}

fn validate_transport(
    http: Option<&HttpConfig>,
    timeout: Option<HumanDuration>,
    at: &str,
    problems: &mut Vec<Problem>,
) {
    if let Some(http) = http {
        http.validate(&format!("{at}.http_config"), problems);
        http.validate_delivered(&format!("{at}.http_config"), problems);
    }
    // 0 means "no limit" to Alertmanager; here it means the default, since a send without end blocks its group.
    if timeout.is_some_and(|t| t > HumanDuration::secs(300)) {
        problems.push(Problem::new(format!("{at}.timeout"), "must be at most 5m"));
    }
}
