//! The notifier's settings: what the operator configured, and the inhibition rules that ship with the alerts.

use crate::config::Config;
use crate::notify::config::{InhibitRule, PagerdutyConfig, Receiver, Secret};
use crate::notify::{Context, Settings};

/// The inhibition rules that ship with the agent, as the file that an Alertmanager takes.
pub const SHIPPED_INHIBIT_RULES: &str = include_str!("../../alerts/inhibit_rules.yaml");

/// The settings of the notifier for this configuration.
///
/// # Errors
/// Every mistake in the routing, a line each.
pub fn notify_settings(config: &Config) -> Result<Settings, String> {
    let context = Context {
        deployment: config.deployment.clone(),
        external_url: config.external_url.clone(),
        shipped_inhibit_rules: shipped_inhibit_rules(),
    };
    Settings::new(&config.notify, &context)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The same for a replay: where nobody is configured to be paged, a pager is, so that it can be seen who would be.
///
/// # Errors
/// Every mistake in the routing.
pub fn replay_routes(config: &Config) -> Result<Settings, String> {
    let mut config = config.clone();
    if config.notify.receivers.is_empty() && config.notify.config_file.is_none() {
        let pager = PagerdutyConfig { routing_key: Some(Secret::new("replay")), ..PagerdutyConfig::default() };
        config.notify.receivers =
            vec![Receiver { name: "pager".into(), pagerduty_configs: vec![pager], ..Receiver::default() }];
    }
    notify_settings(&config)
}

fn shipped_inhibit_rules() -> Vec<InhibitRule> {
    #[derive(serde::Deserialize)]
    struct File {
        inhibit_rules: Vec<InhibitRule>,
    }
    let file: File = serde_saphyr::from_str(SHIPPED_INHIBIT_RULES).expect("a test reads the shipped inhibition rules");
    file.inhibit_rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_inhibition_rules_are_read() {
        assert!(shipped_inhibit_rules().len() > 5);
        assert!(!notify_settings(&Config::default()).unwrap().inhibitions.is_empty());
    }
}
