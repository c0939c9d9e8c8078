//! What the code works with: the configuration after defaults, inheritance and checks.
//!
//! In:  [`Config`] and what the agent knows beside it ([`Context`]).
//! Out: [`Settings`]: a routing tree in which nothing is inherited any more, and targets with their
//!      addresses. After this no code asks again whether a key was set.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::config::{
    Auth, Config, Global, HttpConfig, InhibitRule, NamedInterval, PagerdutyConfig, Receiver, Route, Secret, SecretRef,
    TlsConfig,
};
use super::inhibit::Inhibition;
use super::matchers::{Matchers, parse_matchers};
use super::template::Templates;
use crate::model::{HumanDuration, Labels, Problem, TimestampMs};

/// PagerDuty's address in the US service region.
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// What the default route waits before it pages: long enough for a cause to arrive with its symptoms, short enough
/// that an outage pages within 90 s of its first sign.
const PAGER_GROUP_WAIT: HumanDuration = HumanDuration::secs(10);
/// What the default route groups by: one page for one kind of trouble in one place.
const DEFAULT_GROUP_BY: [&str; 6] = ["alertname", "cluster", "namespace", "job", "rivet_namespace", "pool_name"];

/// What the rest of the agent tells this room.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Names the installation in dedup keys.
    pub deployment: String,
    /// Where people reach this agent; without it pages carry no links.
    pub external_url: Option<String>,
    /// The inhibition rules that ship with the alerts.
    pub shipped_inhibit_rules: Vec<InhibitRule>,
}

/// Everything the notifier decides by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub deployment: String,
    pub external_url: Option<String>,
    pub resolve_timeout_ms: i64,
    pub alerts_max: usize,
    pub outbox_max: usize,
    pub root: Arc<RouteNode>,
    pub receivers: BTreeMap<String, ReceiverSettings>,
    pub inhibitions: Vec<Inhibition>,
    /// The routing part in Alertmanager's notation and without targets, for `amtool config`.
    pub routing_yaml: String,
}

/// A node of the routing tree with all it inherits.
#[derive(Clone, Debug)]
pub struct RouteNode {
    pub matchers: Matchers,
    pub receiver: String,
    pub group_by: GroupBy,
    pub group_wait_ms: i64,
    pub group_interval_ms: i64,
    pub repeat_interval_ms: i64,
    pub mute: Vec<NamedInterval>,
    pub active: Vec<NamedInterval>,
    pub continue_matching: bool,
    pub routes: Vec<Arc<RouteNode>>,
}

/// Which labels make a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    All,
    Labels(BTreeSet<String>),
}

impl GroupBy {
    /// The labels of the group that an alert belongs to.
    pub fn labels(&self, alert: &Labels) -> Labels {
        match self {
            Self::All => alert.clone(),
            Self::Labels(names) => alert.keep(|name| names.contains(name)),
        }
    }
}

impl RouteNode {
    /// The deepest routes that take an alert with these labels; at the root at least itself.
    pub fn matching(self: &Arc<Self>, labels: &Labels) -> Vec<Arc<Self>> {
        if !self.matchers.matches(labels) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for route in &self.routes {
            let deeper = route.matching(labels);
            let is_last = !deeper.is_empty() && !route.continue_matching;
            found.extend(deeper);
            if is_last {
                break;
            }
        }
        if found.is_empty() {
            found.push(self.clone());
        }
        found
    }

    /// Whether this route notifies nobody at `t`.
    pub fn is_muted(&self, t: TimestampMs) -> bool {
        self.mute.iter().any(|i| i.contains(t))
            || (!self.active.is_empty() && !self.active.iter().any(|i| i.contains(t)))
    }
}

/// A receiver's targets.
#[derive(Clone, Debug, Default)]
pub struct ReceiverSettings {
    pub fallback: Option<String>,
    /// Those that get a notification for a group: PagerDuty, webhooks, the terminal, and kinds not delivered to.
    pub targets: Vec<TargetSettings>,
    /// Alertmanagers, which get the alerts themselves.
    pub relays: Vec<RelaySettings>,
    pub heartbeats: Vec<HeartbeatSettings>,
}

impl Settings {
    /// Files of keys and addresses that cannot be read now, each with its receiver and reason; they are read again
    /// whenever something is sent.
    pub fn unreadable_files(&self) -> Vec<String> {
        let mut unreadable = BTreeSet::new();
        for (name, receiver) in &self.receivers {
            let relays = receiver.relays.iter().map(|relay| &relay.target);
            let heartbeats = receiver.heartbeats.iter().map(|heartbeat| &heartbeat.target);
            for target in receiver.targets.iter().map(|t| &t.target).chain(relays).chain(heartbeats) {
                for secret in [&target.url, &target.key] {
                    if let Some(SecretRef::File(path)) = secret
                        && let Err(error) = std::fs::read(path)
                    {
                        let integration = target.integration.as_str();
                        let shown = path.display();
                        unreadable.insert(format!("receiver `{name}` ({integration}) reads `{shown}`: {error}"));
                    }
                }
            }
        }
        unreadable.into_iter().collect()
    }
}

/// A target and how its texts are made.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    pub target: Arc<Target>,
    pub send_resolved: bool,
    pub style: Style,
}

/// What differs in the wording of one target.
#[derive(Clone, Debug)]
pub enum Style {
    Pagerduty { config: Box<PagerdutyConfig>, templates: Arc<Templates> },
    Webhook { max_alerts: usize },
    Plain,
}

/// One Alertmanager instance.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    pub target: Arc<Target>,
    pub resend_ms: i64,
}

/// One heartbeat address.
#[derive(Clone, Debug)]
pub struct HeartbeatSettings {
    pub target: Arc<Target>,
    pub interval_ms: i64,
}

/// The kind of a target; its name is the `integration` label of our own series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integration {
    Pagerduty,
    Webhook,
    Alertmanager,
    Heartbeat,
    Terminal,
    /// A kind that is read but not delivered to, by its name in Alertmanager.
    Unsupported(String),
}

impl Integration {
    /// The name as Alertmanager writes it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pagerduty => "pagerduty",
            Self::Webhook => "webhook",
            Self::Alertmanager => "alertmanager",
            Self::Heartbeat => "heartbeat",
            Self::Terminal => "terminal",
            Self::Unsupported(name) => name,
        }
    }
}

/// Everything needed to reach a target again, even when the configuration no longer names it.
///
/// Its serialised form holds secrets and is written to the outbox only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub receiver: String,
    pub integration: Integration,
    pub url: Option<SecretRef>,
    /// PagerDuty's routing key.
    pub key: Option<SecretRef>,
    pub transport: Transport,
}

/// How a target is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    pub timeout_ms: i64,
    pub auth: Option<Auth>,
    /// Proxy address, which may hold a password.
    pub proxy: Option<SecretRef>,
    pub no_proxy: Option<String>,
    pub ca: Option<SecretRef>,
    pub cert: Option<SecretRef>,
    pub key: Option<SecretRef>,
    pub insecure_skip_verify: bool,
    pub headers: Vec<(String, SecretRef)>,
}

impl Target {
    /// Tells targets apart: the same receiver, kind, address and routing key are the same target, however
    /// it authenticates. Stable between processes.
    pub fn id(&self) -> u64 {
        let parts: [&[u8]; 4] = [
            self.receiver.as_bytes(),
            self.integration.as_str().as_bytes(),
            &self.url.as_ref().map(SecretRef::identity).unwrap_or_default(),
            &self.key.as_ref().map(SecretRef::identity).unwrap_or_default(),
        ];
        xxh3_64(&length_delimited(parts))
    }
}

/// Joins parts so that no two different lists give the same bytes.
pub(super) fn length_delimited<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

impl Settings {
    /// Reads `config_file` where there is one, checks everything and resolves it.
    ///
    /// # Errors
    /// Every mistake of [`Config::validate`], and templates that cannot be read.
    pub fn new(config: &Config, context: &Context) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let loaded = config.with_file().map_err(|error| {
            let cause = std::error::Error::source(&error).map(|s| format!(": {s}")).unwrap_or_default();
            vec![Problem::new("notify.config_file", format!("cannot be used: {error}{cause}"))]
        })?;
        let config = &loaded;
        config.validate("notify", &mut problems);
        let templates = Templates::read(&config.templates, "notify.templates", &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let global = config.global.clone().unwrap_or_default();
        let templates = Arc::new(templates);
        let mut receivers: BTreeMap<String, ReceiverSettings> =
            config.receivers.iter().map(|r| (r.name.clone(), receiver(r, &global, &templates))).collect();
        let intervals: BTreeMap<&str, &NamedInterval> =
            config.time_intervals.iter().chain(&config.mute_time_intervals).map(|i| (i.name.as_str(), i)).collect();
        let route = config.route.clone().unwrap_or_else(|| default_route(&mut receivers));
        let mut names: Vec<&String> = receivers.keys().collect();
        names.sort();
        let routing = serde_json::json!({
            "route": serde_json::to_value(&route).unwrap_or_default(),
            "receivers": names.iter().map(|n| serde_json::json!({"name": n})).collect::<Vec<_>>(),
            "inhibit_rules": serde_json::to_value(&config.inhibit_rules).unwrap_or_default(),
            "time_intervals": config.time_intervals.iter().chain(&config.mute_time_intervals).collect::<Vec<_>>(),
            "templates": [],
        });
        let shipped = context.shipped_inhibit_rules.iter().filter(|_| config.shipped_inhibit_rules);
        let defaults = RouteNode {
            matchers: Matchers::default(),
            receiver: String::new(),
            group_by: GroupBy::Labels(BTreeSet::new()),
            group_wait_ms: 30_000,
            group_interval_ms: 300_000,
            repeat_interval_ms: 4 * 3_600_000,
            mute: Vec::new(),
            active: Vec::new(),
            continue_matching: false,
            routes: Vec::new(),
        };
        Ok(Self {
            deployment: context.deployment.clone(),
            external_url: context.external_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            resolve_timeout_ms: global.resolve_timeout.map_or(300_000, HumanDuration::as_ms),
            alerts_max: config.alerts_max,
            outbox_max: config.outbox_max,
            root: node(&route, &defaults, &intervals),
            receivers,
            inhibitions: shipped.chain(&config.inhibit_rules).map(inhibition).collect(),
            routing_yaml: serde_saphyr::to_string(&routing).unwrap_or_default(),
        })
    }
}

fn node(route: &Route, parent: &RouteNode, intervals: &BTreeMap<&str, &NamedInterval>) -> Arc<RouteNode> {
    let named = |names: &[String]| {
        names.iter().filter_map(|n| intervals.get(n.as_str()).map(|i| (*i).clone())).collect::<Vec<_>>()
    };
    let ms = |own: Option<HumanDuration>, inherited: i64| own.map_or(inherited, HumanDuration::as_ms);
    let mut made = RouteNode {
        matchers: route.all_matchers(),
        receiver: route.receiver.clone().filter(|r| !r.is_empty()).unwrap_or_else(|| parent.receiver.clone()),
        group_by: match &route.group_by {
            Some(names) if names.iter().any(|n| n == "...") => GroupBy::All,
            Some(names) => GroupBy::Labels(names.iter().cloned().collect()),
            None => parent.group_by.clone(),
        },
        group_wait_ms: ms(route.group_wait, parent.group_wait_ms),
        group_interval_ms: ms(route.group_interval, parent.group_interval_ms),
        repeat_interval_ms: ms(route.repeat_interval, parent.repeat_interval_ms),
        mute: named(&route.mute_time_intervals),
        active: named(&route.active_time_intervals),
        continue_matching: route.continue_matching,
        routes: Vec::new(),
    };
    made.routes = route.routes.iter().map(|child| node(child, &made, intervals)).collect();
    Arc::new(made)
}

fn inhibition(rule: &InhibitRule) -> Inhibition {
    Inhibition { sources: rule.sources(), targets: rule.targets(), equal: rule.equal.clone() }
}

/// The tree for a configuration without `route`: pagers get `critical` alerts, heartbeats `Watchdog`, Alertmanagers
/// all alerts, since their own dead man's switch waits for `Watchdog`, and everything else all but `Watchdog`. Without any receiver the terminal shows what a pager would get.
fn default_route(receivers: &mut BTreeMap<String, ReceiverSettings>) -> Route {
    if receivers.is_empty() {
        let terminal = terminal_target("terminal", true);
        receivers.insert("terminal".into(), ReceiverSettings { targets: vec![terminal], ..Default::default() });
    }
    let route = |receiver: &str, matchers: &str| Route {
        receiver: Some(receiver.to_owned()),
        matchers: match matchers {
            "" => Matchers::default(),
            text => Matchers(parse_matchers(text).expect("the matchers of the default route are written here")),
        },
        continue_matching: true,
        ..Default::default()
    };
    let mut routes = Vec::new();
    let is_lone_terminal = receivers.len() == 1;
    for (name, settings) in receivers.iter() {
        let integrations: Vec<&Integration> = settings.targets.iter().map(|t| &t.target.integration).collect();
        if !settings.heartbeats.is_empty() {
            let group_wait = Some(HumanDuration::secs(0));
            routes.push(Route { group_wait, ..route(name, r#"alertname="Watchdog""#) });
        }
        let wakes = integrations.contains(&&Integration::Pagerduty)
            || (is_lone_terminal && integrations.contains(&&Integration::Terminal));
        let is_fallback_only = integrations.is_empty() && settings.relays.is_empty();
        match (is_fallback_only, wakes) {
            (true, _) => {}
            (false, true) => {
                let group_wait = Some(PAGER_GROUP_WAIT);
                routes.push(Route { group_wait, ..route(name, r#"severity="critical""#) });
            }
            (false, false) if integrations.is_empty() => routes.push(route(name, "")),
            (false, false) => routes.push(route(name, r#"alertname!="Watchdog""#)),
        }
    }
    // The root takes what no route wants, and delivers it to nobody.
    receivers.entry("none".into()).or_default();
    Route {
        receiver: Some("none".into()),
        group_by: Some(DEFAULT_GROUP_BY.map(str::to_owned).into()),
        routes,
        ..Default::default()
    }
}

fn terminal_target(receiver: &str, send_resolved: bool) -> TargetSettings {
    let target = Target {
        receiver: receiver.to_owned(),
        integration: Integration::Terminal,
        url: None,
        key: None,
        transport: Transport::default(),
    };
    TargetSettings { target: Arc::new(target), send_resolved, style: Style::Plain }
}

fn receiver(config: &Receiver, global: &Global, templates: &Arc<Templates>) -> ReceiverSettings {
    let target = |integration, url, key, http: &Option<HttpConfig>, timeout: Option<HumanDuration>, default_ms| {
        let http = http.as_ref().or(global.http_config.as_ref());
        let timeout_ms = timeout.map(HumanDuration::as_ms).filter(|ms| *ms > 0).unwrap_or(default_ms);
        Arc::new(Target {
            receiver: config.name.clone(),
            integration,
            url,
            key,
            transport: transport(http, timeout_ms),
        })
    };
    let mut made = ReceiverSettings { fallback: config.fallback.clone(), ..Default::default() };
    for c in &config.pagerduty_configs {
        let url = c.url.clone().or_else(|| global.pagerduty_url.clone()).unwrap_or_else(|| PAGERDUTY_URL.into());
        let key = SecretRef::from_pair(c.routing_key.as_ref(), c.routing_key_file.as_deref())
            .or_else(|| SecretRef::from_pair(c.service_key.as_ref(), c.service_key_file.as_deref()));
        made.targets.push(TargetSettings {
            target: target(Integration::Pagerduty, plain(&url), key, &c.http_config, c.timeout, 30_000),
            send_resolved: c.send_resolved,
            style: Style::Pagerduty { config: Box::new(c.clone()), templates: templates.clone() },
        });
    }
    for c in &config.webhook_configs {
        let url = SecretRef::from_pair(c.url.as_ref(), c.url_file.as_deref());
        made.targets.push(TargetSettings {
            target: target(Integration::Webhook, url, None, &c.http_config, c.timeout, 30_000),
            send_resolved: c.send_resolved,
            style: Style::Webhook { max_alerts: usize::try_from(c.max_alerts).unwrap_or(usize::MAX) },
        });
    }
    for c in &config.terminal_configs {
        made.targets.push(terminal_target(&config.name, c.send_resolved));
    }
    for (field, _) in config.foreign() {
        let name = field.trim_end_matches("_configs").to_owned();
        made.targets.push(TargetSettings {
            target: target(Integration::Unsupported(name), None, None, &None, None, 0),
            send_resolved: true,
            style: Style::Plain,
        });
    }
    // Two entries that are the same target would page twice.
    let mut seen = BTreeSet::new();
    made.targets.retain(|t| seen.insert(t.target.id()));
    for c in &config.alertmanager_configs {
        let resend_ms = c.resend_interval.map_or(60_000, HumanDuration::as_ms);
        for url in c.url.iter().chain(&c.urls) {
            let target = target(Integration::Alertmanager, plain(url), None, &c.http_config, c.timeout, 10_000);
            made.relays.push(RelaySettings { target, resend_ms });
        }
    }
    made.relays.retain(|r| seen.insert(r.target.id()));
    for c in &config.heartbeat_configs {
        let url = SecretRef::from_pair(c.url.as_ref(), c.url_file.as_deref());
        let target = target(Integration::Heartbeat, url, None, &c.http_config, c.timeout, 10_000);
        made.heartbeats
            .push(HeartbeatSettings { target, interval_ms: c.interval.map_or(60_000, HumanDuration::as_ms) });
    }
    made.heartbeats.retain(|h| seen.insert(h.target.id()));
    made
}

fn plain(text: &str) -> Option<SecretRef> {
    Some(SecretRef::Value(Secret::new(text)))
}

fn transport(http: Option<&HttpConfig>, timeout_ms: i64) -> Transport {
    let Some(http) = http else { return Transport { timeout_ms, ..Default::default() } };
    let tls = http.tls_config.clone().unwrap_or_default();
    let pem = |text: &Option<String>, file: &Option<PathBuf>| {
        SecretRef::from_pair(text.clone().map(Secret::new).as_ref(), file.as_deref())
    };
    let TlsConfig { ca, ca_file, cert, cert_file, key, key_file, .. } = &tls;
    let headers = http.http_headers.iter().flat_map(|(name, values)| {
        let texts = values.values.iter().map(|v| SecretRef::Value(Secret::new(v.clone())));
        let secrets = values.secrets.iter().map(|s| SecretRef::Value(s.clone()));
        let files = values.files.iter().map(|f| SecretRef::File(f.clone()));
        texts.chain(secrets).chain(files).map(|value| (name.clone(), value)).collect::<Vec<_>>()
    });
    Transport {
        timeout_ms,
        auth: http.auth(),
        proxy: http.proxy_url.as_deref().and_then(plain),
        no_proxy: http.no_proxy.clone(),
        ca: pem(ca, ca_file),
        cert: pem(cert, cert_file),
        key: SecretRef::from_pair(key.as_ref(), key_file.as_deref()),
        insecure_skip_verify: tls.insecure_skip_verify.unwrap_or(false),
        headers: headers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> Settings {
        let config = Config::from_yaml(yaml).unwrap();
        Settings::new(&config, &Context::default()).unwrap()
    }

    fn receivers(settings: &Settings, pairs: &[(&str, &str)]) -> Vec<String> {
        let labels = Labels::from_pairs(pairs.iter().copied());
        settings.root.matching(&labels).iter().map(|r| r.receiver.clone()).collect()
    }

    #[test]
    fn without_a_route_pagers_get_critical_only_and_the_heartbeat_gets_watchdog() {
        let s = settings(
            "receivers:\n- {name: pager, pagerduty_configs: [{routing_key: k}]}\n\
             - {name: beat, heartbeat_configs: [{url: 'http://hc/x'}]}\n- {name: chat, webhook_configs: [{url: 'http://x'}]}",
        );
        assert_eq!(receivers(&s, &[("alertname", "A"), ("severity", "critical")]), ["chat", "pager"]);
        assert_eq!(receivers(&s, &[("alertname", "A"), ("severity", "warning")]), ["chat"]);
        assert_eq!(receivers(&s, &[("alertname", "Watchdog"), ("severity", "none")]), ["beat"]);
        let nothing = settings("");
        assert_eq!(receivers(&nothing, &[("severity", "critical")]), ["terminal"]);
        assert_eq!(receivers(&nothing, &[("severity", "warning")]), ["none"]);
    }

    #[test]
    fn routes_inherit_and_continue_as_in_alertmanager() {
        let s = settings(
            r#"
route:
  receiver: root
  group_by: [job]
  group_wait: 10s
  routes:
  - {receiver: a, matchers: [team="a"], continue: true}
  - receiver: b
    match_re: {team: 'a|b'}
    repeat_interval: 1h
    routes: [{match: {severity: critical}, group_by: ['...']}]
  - {receiver: never, matchers: [team="b"]}
receivers: [{name: root}, {name: a}, {name: b}, {name: never}]
"#,
        );
        assert_eq!(receivers(&s, &[("team", "a")]), ["a", "b"]);
        assert_eq!(receivers(&s, &[("team", "c")]), ["root"]);
        let labels = Labels::from_pairs([("team", "b"), ("severity", "critical")]);
        let matched = s.root.matching(&labels);
        let [leaf] = matched.as_slice() else { panic!("{matched:?}") };
        assert_eq!((leaf.receiver.as_str(), leaf.group_wait_ms, leaf.repeat_interval_ms), ("b", 10_000, 3_600_000));
        assert_eq!(leaf.group_by, GroupBy::All);
    }

    #[test]
    fn a_new_credential_does_not_make_a_new_target() {
        let id = |yaml: &str| settings(yaml).receivers["r"].targets[0].target.id();
        let with = |auth: &str| {
            id(&format!(
                "receivers: [{{name: r, webhook_configs: [{{url: 'http://x/', http_config: {{bearer_token: {auth}}}}}]}}]"
            ))
        };
        assert_eq!(with("one"), with("two"));
        assert_ne!(with("one"), id("receivers: [{name: r, webhook_configs: [{url: 'http://y/'}]}]"));
    }
}
