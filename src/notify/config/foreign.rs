//! Receiver kinds of Alertmanager that this release reads and checks but does not deliver to.
//!
//! In: the entries of `slack_configs`, `email_configs`, … as they stand in a file.
//! Out: problems (unknown key, missing key, contradiction), as strict as Alertmanager's own.
//! What each kind may hold is data: the keys of Alertmanager 0.34.

use std::collections::BTreeMap;

use serde_json::Value;

use super::global::Global;
use super::http::HttpConfig;
use super::opaque::Opaque;
use crate::model::Problem;

/// One entry of such a kind; its values print as `<secret>`.
pub type Entry = BTreeMap<String, Opaque>;

/// What one kind's entries may and must hold.
struct Kind {
    field: &'static str,
    keys: &'static str,
    /// One of the keys of each group must be set, here or by the global key that follows the arrow.
    needs: &'static [(&'static [&'static str], Option<&'static str>)],
    /// Values must not stand beside their `_file` sibling.
    exclusive: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        field: "discord_configs",
        keys: "webhook_url webhook_url_file content title message username avatar_url",
        needs: &[(&["webhook_url", "webhook_url_file"], None)],
        exclusive: &["webhook_url"],
    },
    Kind {
        field: "email_configs",
        keys: "to from hello smarthost auth_username auth_password auth_password_file auth_secret auth_secret_file \
               auth_identity headers html text require_tls tls_config force_implicit_tls threading",
        needs: &[(&["to"], None), (&["smarthost"], Some("smtp_smarthost")), (&["from"], Some("smtp_from"))],
        exclusive: &["auth_password", "auth_secret"],
    },
    Kind {
        field: "incidentio_configs",
        keys: "url url_file alert_source_token alert_source_token_file max_alerts timeout metadata",
        needs: &[(&["url", "url_file"], None)],
        exclusive: &["url", "alert_source_token"],
    },
    Kind {
        field: "jira_configs",
        keys: "api_url api_type project summary description labels priority issue_type reopen_transition \
               resolve_transition wont_fix_resolution reopen_duration fields",
        needs: &[(&["project"], None), (&["issue_type"], None), (&["api_url"], Some("jira_api_url"))],
        exclusive: &[],
    },
    Kind {
        field: "mattermost_configs",
        keys: "webhook_url webhook_url_file channel username text icon_url icon_emoji attachments type props priority \
               fallback color pretext author_name author_link author_icon title title_link fields thumb_url footer \
               footer_icon image_url",
        needs: &[(&["webhook_url", "webhook_url_file"], Some("mattermost_webhook_url"))],
        exclusive: &["webhook_url"],
    },
    Kind {
        field: "msteams_configs",
        keys: "webhook_url webhook_url_file title summary text",
        needs: &[(&["webhook_url", "webhook_url_file"], None)],
        exclusive: &["webhook_url"],
    },
    Kind {
        field: "msteamsv2_configs",
        keys: "webhook_url webhook_url_file title text",
        needs: &[(&["webhook_url", "webhook_url_file"], None)],
        exclusive: &["webhook_url"],
    },
    Kind {
        field: "opsgenie_configs",
        keys: "api_key api_key_file api_url message description source details entity responders actions tags note \
               priority update_alerts",
        needs: &[(&["api_key", "api_key_file"], Some("opsgenie_api_key"))],
        exclusive: &["api_key"],
    },
    Kind {
        field: "pushover_configs",
        keys: "user_key user_key_file token token_file title message url url_title device sound priority retry expire \
               ttl html monospace",
        needs: &[(&["user_key", "user_key_file"], None), (&["token", "token_file"], None)],
        exclusive: &["user_key", "token"],
    },
    Kind {
        field: "rocketchat_configs",
        keys: "api_url token_id token_id_file token token_file channel color title title_link text fields short_fields \
               emoji icon_url image_url thumb_url link_names actions",
        needs: &[
            (&["token", "token_file"], Some("rocketchat_token")),
            (&["token_id", "token_id_file"], Some("rocketchat_token_id")),
        ],
        exclusive: &["token", "token_id"],
    },
    Kind {
        field: "slack_configs",
        keys: "api_url api_url_file app_token app_token_file app_url channel username color title title_link pretext \
               text message_text fields short_fields footer fallback callback_id icon_emoji icon_url image_url \
               thumb_url link_names mrkdwn_in actions edit_messages update_message timeout",
        needs: &[(&["api_url", "api_url_file", "app_token", "app_token_file"], Some("slack_api_url"))],
        exclusive: &["api_url", "app_token"],
    },
    Kind {
        field: "sns_configs",
        keys: "api_url sigv4 topic_arn phone_number target_arn subject message attributes",
        needs: &[(&["topic_arn", "phone_number", "target_arn"], None)],
        exclusive: &[],
    },
    Kind {
        field: "telegram_configs",
        keys: "api_url bot_token bot_token_file chat_id chat_id_file message_thread_id message disable_notifications \
               parse_mode",
        needs: &[(&["bot_token", "bot_token_file"], Some("telegram_bot_token")), (&["chat_id", "chat_id_file"], None)],
        exclusive: &["bot_token", "chat_id"],
    },
    Kind {
        field: "victorops_configs",
        keys: "api_key api_key_file api_url routing_key message_type state_message entity_display_name \
               monitoring_tool custom_fields",
        needs: &[(&["routing_key"], None), (&["api_key", "api_key_file"], Some("victorops_api_key"))],
        exclusive: &["api_key"],
    },
    Kind {
        field: "webex_configs",
        keys: "api_url message room_id",
        needs: &[(&["room_id"], None), (&["http_config"], None)],
        exclusive: &[],
    },
    Kind {
        field: "wechat_configs",
        keys: "api_secret api_secret_file corp_id message api_url to_user to_party to_tag agent_id message_type",
        needs: &[
            (&["api_secret", "api_secret_file"], Some("wechat_api_secret")),
            (&["corp_id"], Some("wechat_api_corp_id")),
        ],
        exclusive: &["api_secret"],
    },
];

/// Keys that every kind has.
const COMMON: [&str; 2] = ["send_resolved", "http_config"];

/// Adds what is wrong with one entry of `field`; `at` is the entry's path.
pub fn validate(field: &str, entry: &Entry, global: &Global, at: &str, problems: &mut Vec<Problem>) {
    let kind = KINDS.iter().find(|k| k.field == field).expect("the receiver lists only kinds that stand in the table");
    let set = |key: &str| entry.get(key).is_some_and(|v| !is_unset(&v.0));
    for key in entry.keys() {
        if !COMMON.contains(&key.as_str()) && !kind.keys.split_whitespace().any(|known| known == key) {
            let rule = format!("is not a key of {field}; known are {}", kind.keys.replace(' ', ", "));
            problems.push(Problem::new(format!("{at}.{key}"), rule));
        }
    }
    for (one_of, inherited) in kind.needs {
        if one_of.iter().any(|key| set(key)) || inherited.is_some_and(|key| global.provides(key)) {
            continue;
        }
        let or_global = inherited.map(|key| format!(" (or global.{key})")).unwrap_or_default();
        let also = match one_of {
            [_] => String::new(),
            [_, others @ ..] => format!(" or {}", others.join(" or ")),
            [] => String::new(),
        };
        problems.push(Problem::new(format!("{at}.{}", one_of[0]), format!("is missing{also}{or_global}")));
    }
    for key in kind.exclusive {
        let file = format!("{key}_file");
        if set(key) && set(&file) {
            problems.push(Problem::new(format!("{at}.{key}"), format!("must not be set together with {file}")));
        }
    }
    if let Some(http) = entry.get("http_config") {
        let at = format!("{at}.http_config");
        match HttpConfig::deserialize_from(&http.0) {
            Ok(http) => http.validate(&at, problems),
            Err(rule) => problems.push(Problem::new(at, rule)),
        }
    }
    match field {
        "opsgenie_configs" => validate_responders(entry, at, problems),
        "sns_configs" => {
            let targets = ["topic_arn", "phone_number", "target_arn"].iter().filter(|key| set(key)).count();
            if targets > 1 {
                problems.push(Problem::new(at, "must set only one of topic_arn, phone_number and target_arn"));
            }
        }
        _ => {}
    }
}

impl HttpConfig {
    fn deserialize_from(value: &Value) -> Result<Self, String> {
        if value.is_null() {
            return Ok(Self::default());
        }
        serde_json::from_value(value.clone()).map_err(|e| format!("is not valid: {e}"))
    }
}

fn validate_responders(entry: &Entry, at: &str, problems: &mut Vec<Problem>) {
    let Some(Value::Array(responders)) = entry.get("responders").map(|v| &v.0) else { return };
    for (i, responder) in responders.iter().enumerate() {
        let at = format!("{at}.responders[{i}]");
        let text = |key: &str| responder.get(key).and_then(Value::as_str).unwrap_or("");
        if ["id", "name", "username"].iter().all(|key| text(key).is_empty()) {
            problems.push(Problem::new(&at, "needs one of id, name and username"));
        }
        let kind = text("type").to_lowercase();
        let known = ["team", "teams", "user", "escalation", "schedule"].contains(&kind.as_str());
        if !known && !kind.contains("{{") {
            let rule = format!("must be team, teams, user, escalation or schedule, got `{kind}`");
            problems.push(Problem::new(format!("{at}.type"), rule));
        }
    }
}

fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Number(n) => n.as_i64() == Some(0),
        _ => false,
    }
}
