//! Notification configuration: Alertmanager's own files load, or are refused with the key named.

#![allow(clippy::unwrap_used)] // helpers of tests may fail by panicking, as tests do

use std::path::PathBuf;

use rivetwatch::model::Problem;
use rivetwatch::notify::Config;

/// Every mistake in `yaml`, as a user would read it.
fn mistakes(yaml: &str) -> Vec<String> {
    match Config::from_yaml(yaml) {
        Err(error) => vec![error.to_string()],
        Ok(config) => {
            let mut problems = Vec::new();
            config.validate("", &mut problems);
            if config.route.is_none() {
                // Here a missing route means the default one; a file of Alertmanager's must have it.
                problems.push(Problem::new("route", "is missing"));
            }
            problems.iter().map(Problem::to_string).collect()
        }
    }
}

/// What Alertmanager's own tests (config/config_test.go) say of each file: `None` loads, `Some(key)` is
/// refused because of that key.
const EXPECTED: &[(&str, Option<&str>)] = &[
    ("conf.empty-fields.yml", None),
    ("conf.good.yml", None),
    ("conf.group-by-all.yml", None),
    ("conf.http-config.good.yml", None),
    ("conf.mattermost-both-webhook-url-and-file.yml", Some("mattermost_webhook_url")),
    ("conf.mattermost-default-webhook-url-file.yml", None),
    ("conf.mattermost-default-webhook-url.yml", None),
    ("conf.mattermost-no-webhook-url.yml", Some("mattermost_configs[0].webhook_url")),
    ("conf.mattermost-valid-receiver-both-webhook-url-and-file.yml", Some("mattermost_webhook_url")),
    ("conf.nil-match_re-route.yml", Some("match_re.invalid_label")),
    ("conf.nil-source_match_re-inhibition.yml", Some("source_match_re.invalid_source_label")),
    ("conf.nil-target_match_re-inhibition.yml", Some("target_match_re.invalid_target_label")),
    ("conf.opsgenie-both-file-and-apikey.yml", Some("opsgenie_api_key")),
    ("conf.opsgenie-default-apikey-file.yml", None),
    ("conf.opsgenie-default-apikey-old-team.yml", Some("teams")),
    ("conf.opsgenie-default-apikey.yml", None),
    ("conf.opsgenie-no-apikey.yml", Some("opsgenie_configs[0].api_key")),
    ("conf.rocketchat-both-token-and-tokenfile.yml", Some("rocketchat_token")),
    ("conf.rocketchat-both-tokenid-and-tokenidfile.yml", Some("rocketchat_token_id")),
    ("conf.rocketchat-default-token-file.yml", None),
    ("conf.rocketchat-default-token.yml", None),
    ("conf.rocketchat-no-token.yml", Some("rocketchat_configs[0].token")),
    ("conf.smtp-both-password-and-file.yml", Some("smtp_auth_password")),
    ("conf.smtp-no-username-or-password.yml", None),
    ("conf.smtp-password-global-and-local.yml", None),
    ("conf.sns-invalid.yml", Some("topic_arn")),
    ("conf.sns-topic-arn.yml", None),
    ("conf.telegram-both-bot-token-and-file.yml", Some("telegram_bot_token")),
    ("conf.telegram-default-bot-token-file.yml", None),
    ("conf.telegram-default-bot-token.yml", None),
    ("conf.telegram-no-bot-token.yml", Some("telegram_configs[0].bot_token")),
    ("conf.telegram-valid-receiver-both-bot-token-and-file.yml", Some("telegram_bot_token")),
    ("conf.victorops-both-file-and-apikey.yml", Some("victorops_api_key")),
    ("conf.victorops-default-apikey-file.yml", None),
    ("conf.victorops-default-apikey.yml", None),
    ("conf.victorops-no-apikey.yml", Some("victorops_configs[0].api_key")),
    ("conf.wechat-both-file-and-secret.yml", Some("wechat_api_secret")),
    ("conf.wechat-default-api-secret-file.yml", None),
    ("conf.wechat-no-api-secret.yml", Some("wechat_configs[0].api_secret")),
];

#[test]
fn files_of_alertmanager_load_or_are_refused_with_the_key_named() {
    let shared = std::env::var("RIVETWATCH_SHARED").map_or_else(|_| PathBuf::from("../shared"), PathBuf::from);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(shared).join("conformance/alertmanager");
    if !folder.is_dir() {
        println!("passed over: {} is not there", folder.display());
        return;
    }
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (_, expected) =
            EXPECTED.iter().find(|(file, _)| *file == name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let found = mistakes(&std::fs::read_to_string(&path).unwrap());
        match expected {
            None => assert!(found.is_empty(), "{name}: {found:#?}"),
            Some(key) => assert!(found.iter().any(|m| m.contains(key)), "{name} should name {key}: {found:#?}"),
        }
        assert!(!found.iter().any(|m| m.contains("asd132") || m.contains("mysecret")), "{name}: {found:#?}");
        seen += 1;
    }
    assert_eq!(seen, EXPECTED.len());
}

#[test]
fn every_mistake_is_reported_in_one_pass() {
    let found = mistakes(
        r#"
route:
  receiver: nobody
  group_by: [a, a]
  group_interval: 0s
  routes:
  - receiver: team
    matchers: ['severity="critical"']
    mute_time_intervals: [holidays]
receivers:
- name: team
  pagerduty_configs: [{}]
  webhook_configs: [{url: 'ftp://x', url_file: /f}]
- name: team
inhibit_rules:
- source_match_re: {a: '('}
"#,
    );
    for key in [
        "`route.receiver`",
        "`route.group_by`",
        "`route.group_interval`",
        "`route.routes[0].mute_time_intervals`",
        "`receivers[0].pagerduty_configs[0].routing_key`",
        "`receivers[0].webhook_configs[0].url`",
        "`receivers[1].name`",
        "`inhibit_rules[0].source_match_re.a`",
    ] {
        assert!(found.iter().any(|m| m.starts_with(key)), "{key} is not in {found:#?}");
    }
}

#[test]
fn a_kind_that_is_not_delivered_is_a_warning_that_names_receiver_and_key() {
    let config = Config::from_yaml(
        "route: {receiver: chat}\nreceivers: [{name: chat, slack_configs: [{api_url: 'https://hooks.example/x'}]}]",
    )
    .unwrap();
    let warnings: Vec<String> = config.warnings("notify").iter().map(Problem::to_string).collect();
    assert_eq!(
        warnings,
        ["`notify.receivers[0].slack_configs` is not delivered by this release: receiver `chat` gets nothing by it"]
    );
}

#[test]
fn secrets_of_the_configuration_are_not_printed() {
    let yaml = r#"
global: {slack_api_url: 'https://hooks.example/hunter2', smtp_auth_password: hunter2}
route: {receiver: r}
receivers:
- name: r
  pagerduty_configs: [{routing_key: hunter2}]
  webhook_configs: [{url: 'https://example.com/hunter2', http_config: {basic_auth: {username: u, password: hunter2}}}]
  heartbeat_configs: [{url: 'https://hc.example/hunter2'}]
  slack_configs: [{api_url: 'https://hooks.example/hunter2'}]
"#;
    let config = Config::from_yaml(yaml).unwrap();
    assert!(mistakes(yaml).is_empty());
    let printed = format!("{config:?} {}", serde_json::to_string(&config).unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("<secret>"));
    let broken = Config::from_yaml(&yaml.replace("basic_auth", "basic_oath")).unwrap_err().to_string();
    assert!(broken.contains("basic_oath") && !broken.contains("hunter2"), "{broken}");
}

#[test]
fn an_alertmanager_file_is_used_as_it_is_with_its_own_relative_paths() {
    use rivetwatch::notify::{Context, Settings};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alertmanager.yml");
    let yaml = "
route: {receiver: pager}
templates: ['texts/*.tmpl']
receivers: [{name: pager, pagerduty_configs: [{routing_key_file: key, description: '{{ template \"title\" . }}'}]}]
";
    std::fs::create_dir(folder.path().join("texts")).unwrap();
    std::fs::write(folder.path().join("texts/a.tmpl"), r#"{{ define "title" }}{{ .Status | toUpper }}{{ end }}"#)
        .unwrap();
    std::fs::write(&file, yaml).unwrap();
    let mut config = Config { config_file: Some(file.clone()), ..Config::default() };
    let settings = Settings::new(&config, &Context::default()).unwrap();
    let target = &settings.receivers["pager"].targets[0].target;
    assert!(format!("{:?}", target.key).contains(&folder.path().join("key").display().to_string()));

    config.receivers = Config::from_yaml(yaml).unwrap().receivers;
    let mut problems = Vec::new();
    config.validate("notify", &mut problems);
    assert_eq!(problems[0].key, "notify.config_file");

    std::fs::write(folder.path().join("texts/a.tmpl"), "{{ define").unwrap();
    config.receivers.clear();
    let problems = Settings::new(&config, &Context::default()).unwrap_err();
    assert!(problems[0].to_string().contains("a.tmpl"), "{problems:?}");
    std::fs::remove_file(file).unwrap();
    let problems = Settings::new(&config, &Context::default()).unwrap_err();
    assert_eq!(problems[0].key, "notify.config_file");
}
