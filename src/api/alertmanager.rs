//! Alertmanager's HTTP API v2, so that `amtool`, Prometheus and Grafana can talk to the notifier.
//!
//! In:  alerts and silences of others.   Out: alerts, groups, silences, receivers and status as JSON.
//! Always: what was answered with 200 has been taken in by the notifier; silences are on disk by then.
//! Of several alerts in one request the good ones are taken and the others named in the 400 answer, as
//! Alertmanager does it. Limit: 16 MiB for a request.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::model::{Alert, AlertState, Labels, MatchOp, Matcher, TimestampMs};
use crate::notify::matchers::{Matchers, parse_matchers};
use crate::notify::runner::{Gone, Handle};
use crate::notify::view::{AlertView, View};
use crate::notify::{Input, Silence, SilenceState};

const BODY_MAX_BYTES: usize = 16 << 20;
/// Silences kept at once, ended ones among them; further new ones are refused.
const SILENCES_MAX: usize = 10_000;
/// Mistakes that one answer names.
const MISTAKES_MAX: usize = 10;

struct Door {
    notifier: Handle,
    started: TimestampMs,
}

/// The routes below `/api/v2`.
pub fn router(notifier: Handle) -> Router {
    let started = notifier.now();
    Router::new()
        .route("/api/v2/alerts", get(alerts).post(post_alerts))
        .route("/api/v2/alerts/groups", get(groups))
        .route("/api/v2/silences", get(silences).post(post_silence))
        .route("/api/v2/silence/{id}", get(silence).delete(delete_silence))
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(receivers))
        // Old Prometheus servers probe this address of version 1; they must learn that it is gone.
        .route("/api/v1/alerts", post(version_1))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(Arc::new(Door { notifier, started }))
}

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
enum Refusal {
    Bad(String),
    NotFound(String),
    Stopped,
}

impl From<Gone> for Refusal {
    fn from(_: Gone) -> Self {
        Self::Stopped
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Bad(text) => (StatusCode::BAD_REQUEST, text),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, text),
            Self::Stopped => (StatusCode::SERVICE_UNAVAILABLE, Gone.to_string()),
        };
        // Alertmanager answers with a JSON string, and its clients read one.
        (status, Json(Value::String(text))).into_response()
    }
}

// Alerts.

/// An alert as others send it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedAlert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: Option<String>,
    ends_at: Option<String>,
    #[serde(default, rename = "generatorURL")]
    generator_url: String,
}

impl PostedAlert {
    /// Alertmanager's defaults: without a start it starts now (or at its end), without an end it lasts for
    /// `resolve_timeout`.
    fn into_alert(self, now: TimestampMs) -> Result<Alert, String> {
        let labels = Labels::from_pairs(self.labels);
        if labels.is_empty() {
            return Err("at least one label pair required".into());
        }
        if labels.iter().any(|(name, _)| name.is_empty()) {
            return Err(format!("`{labels}` has a label without a name"));
        }
        let (start, end) = (time("startsAt", self.starts_at)?, time("endsAt", self.ends_at)?);
        let starts_at = start.or(end).unwrap_or(now);
        if let Some(end) = end.filter(|end| *end < starts_at) {
            return Err(format!("`{labels}`: endsAt `{end}` is before startsAt `{starts_at}`"));
        }
        let state = if end.is_some_and(|end| end <= now) { AlertState::Resolved } else { AlertState::Firing };
        let annotations = self.annotations.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        let ends_at = end.unwrap_or(TimestampMs(0));
        Ok(Alert { labels, annotations, state, starts_at, ends_at, generator_url: self.generator_url })
    }
}

/// An RFC 3339 time; Go's zero time and an empty text mean that there is none.
fn time(name: &str, text: Option<String>) -> Result<Option<TimestampMs>, String> {
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(zero) if zero.starts_with("0001-01-01T00:00:00") => Ok(None),
        Some(text) => {
            TimestampMs::from_rfc3339(text).map(Some).ok_or_else(|| format!("{name} `{text}` is not an RFC 3339 time"))
        }
    }
}

async fn post_alerts(State(door): State<Arc<Door>>, body: Bytes) -> Result<Response, Refusal> {
    let posted: Vec<Value> = read_json(&body)?;
    let now = door.notifier.now();
    let (mut good, mut mistakes, mut bad) = (Vec::new(), Vec::new(), 0usize);
    for value in posted {
        let read = serde_json::from_value::<PostedAlert>(value).map_err(|e| e.to_string());
        match read.and_then(|alert| alert.into_alert(now)) {
            Ok(alert) => good.push(alert),
            Err(mistake) => {
                bad += 1;
                if mistakes.len() < MISTAKES_MAX {
                    mistakes.push(mistake);
                }
            }
        }
    }
    if !good.is_empty() {
        door.notifier.input(Input::Alerts(good)).await?;
    }
    if bad > 0 {
        return Err(Refusal::Bad(format!("{bad} of the alerts were refused: {}", mistakes.join("; "))));
    }
    Ok(StatusCode::OK.into_response())
}

async fn version_1() -> Refusal {
    Refusal::NotFound("version 1 of the API is gone since Alertmanager 0.27; use /api/v2/alerts".into())
}

async fn alerts(State(door): State<Arc<Door>>, RawQuery(query): RawQuery) -> Result<Json<Value>, Refusal> {
    let wanted = Wanted::read(query)?;
    let view = door.notifier.view().await?;
    Ok(Json(view.alerts.iter().filter(|a| wanted.takes(a)).map(alert_json).collect()))
}

async fn groups(State(door): State<Arc<Door>>, RawQuery(query): RawQuery) -> Result<Json<Value>, Refusal> {
    let wanted = Wanted::read(query)?;
    let view = door.notifier.view().await?;
    let groups = view.groups.iter().filter(|g| wanted.takes_receiver(&g.receiver)).filter_map(|group| {
        let members = group.alerts.iter().filter_map(|i| view.alerts.get(*i)).filter(|a| wanted.takes(a));
        let alerts: Vec<Value> = members.map(alert_json).collect();
        let receiver = json!({"name": group.receiver});
        (!alerts.is_empty()).then(|| json!({"labels": group.labels, "receiver": receiver, "alerts": alerts}))
    });
    Ok(Json(groups.collect()))
}

fn alert_json(view: &AlertView) -> Value {
    let is_held = !view.silenced_by.is_empty() || !view.inhibited_by.is_empty();
    let alert = &view.alert;
    json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.starts_at.to_rfc3339(),
        "endsAt": alert.ends_at.to_rfc3339(),
        "updatedAt": view.updated_at.to_rfc3339(),
        "generatorURL": alert.generator_url,
        "fingerprint": format!("{:016x}", alert.labels.hash64()),
        "receivers": view.receivers.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
        "status": {
            "state": if is_held { "suppressed" } else { "active" },
            "silencedBy": view.silenced_by,
            "inhibitedBy": view.inhibited_by,
            "mutedBy": [],
        },
    })
}

/// Which alerts a query asks for.
struct Wanted {
    filter: Matchers,
    receiver: Option<Matcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
}

impl Wanted {
    fn read(query: Option<String>) -> Result<Self, Refusal> {
        let mut wanted =
            Self { filter: Matchers::default(), receiver: None, active: true, silenced: true, inhibited: true };
        for (name, value) in pairs(query.as_deref().unwrap_or("")) {
            let flag =
                || value.parse().map_err(|_| Refusal::Bad(format!("{name} must be true or false, got `{value}`")));
            match name.as_str() {
                "filter" => wanted.filter.0.extend(matchers(&value)?),
                "receiver" => {
                    let pattern = Matcher::new("receiver", MatchOp::Matches, &value);
                    wanted.receiver = Some(pattern.map_err(|e| Refusal::Bad(e.to_string()))?);
                }
                "active" => wanted.active = flag()?,
                "silenced" => wanted.silenced = flag()?,
                "inhibited" => wanted.inhibited = flag()?,
                _ => {}
            }
        }
        Ok(wanted)
    }

    fn takes_receiver(&self, name: &str) -> bool {
        self.receiver.as_ref().is_none_or(|r| r.matches_value(name))
    }

    fn takes(&self, view: &AlertView) -> bool {
        let (is_silenced, is_inhibited) = (!view.silenced_by.is_empty(), !view.inhibited_by.is_empty());
        self.filter.matches(&view.alert.labels)
            && (self.receiver.is_none() || view.receivers.iter().any(|r| self.takes_receiver(r)))
            && (self.active || is_silenced || is_inhibited)
            && (self.silenced || !is_silenced)
            && (self.inhibited || !is_inhibited)
    }
}

// Silences.

/// A silence as others send it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PostedSilence {
    #[serde(default)]
    id: String,
    matchers: Vec<JsonMatcher>,
    starts_at: String,
    ends_at: String,
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    comment: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonMatcher {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl JsonMatcher {
    fn to_matcher(&self) -> Result<Matcher, Refusal> {
        let op = match (self.is_regex, self.is_equal) {
            (false, true) => MatchOp::Equal,
            (false, false) => MatchOp::NotEqual,
            (true, true) => MatchOp::Matches,
            (true, false) => MatchOp::NotMatches,
        };
        if self.name.is_empty() {
            return Err(Refusal::Bad("a matcher has no name".into()));
        }
        Matcher::new(&self.name, op, &self.value).map_err(|e| Refusal::Bad(e.to_string()))
    }

    fn from_matcher(matcher: &Matcher) -> Self {
        Self {
            name: matcher.name.clone(),
            value: matcher.value.clone(),
            is_regex: matches!(matcher.op, MatchOp::Matches | MatchOp::NotMatches),
            is_equal: matches!(matcher.op, MatchOp::Equal | MatchOp::Matches),
        }
    }
}

fn silence_json(silence: &Silence, now: TimestampMs) -> Value {
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now).as_str()},
        "matchers": silence.matchers.0.iter().map(JsonMatcher::from_matcher).collect::<Vec<_>>(),
        "startsAt": silence.starts_at.to_rfc3339(),
        "endsAt": silence.ends_at.to_rfc3339(),
        "updatedAt": silence.updated_at.to_rfc3339(),
        "createdBy": silence.created_by,
        "comment": silence.comment,
    })
}

async fn silences(State(door): State<Arc<Door>>, RawQuery(query): RawQuery) -> Result<Json<Value>, Refusal> {
    let mut filter = Vec::new();
    for (_, value) in pairs(query.as_deref().unwrap_or("")).into_iter().filter(|(name, _)| name == "filter") {
        filter.extend(matchers(&value)?);
    }
    let view = door.notifier.view().await?;
    // A filter looks at what the silence names, as if that were an alert.
    let names = |s: &Silence| Labels::from_pairs(s.matchers.0.iter().map(|m| (m.name.clone(), m.value.clone())));
    let filter = Matchers(filter);
    let mut found: Vec<&Silence> = view.silences.iter().filter(|s| filter.matches(&names(s))).collect();
    found.sort_by_key(|s| match s.state(view.now) {
        SilenceState::Active => (0, s.ends_at),
        SilenceState::Pending => (1, s.starts_at),
        SilenceState::Expired => (2, TimestampMs(s.ends_at.0.saturating_neg())),
    });
    Ok(Json(found.into_iter().map(|s| silence_json(s, view.now)).collect()))
}

async fn silence(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let view = door.notifier.view().await?;
    find(&view, &id).map(|s| Json(silence_json(s, view.now)))
}

fn find<'v>(view: &'v View, id: &str) -> Result<&'v Silence, Refusal> {
    view.silences.iter().find(|s| s.id == id).ok_or_else(|| Refusal::NotFound(format!("silence `{id}` is not known")))
}

async fn post_silence(State(door): State<Arc<Door>>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let posted: PostedSilence = read_json(&body)?;
    let view = door.notifier.view().await?;
    let now = view.now;
    let need = |name: &str, text: String| {
        time(name, Some(text)).map_err(Refusal::Bad)?.ok_or_else(|| Refusal::Bad(format!("{name} is missing")))
    };
    let matchers = posted.matchers.iter().map(JsonMatcher::to_matcher).collect::<Result<Vec<_>, _>>()?;
    let mut silence = Silence {
        id: posted.id,
        matchers: Matchers(matchers),
        starts_at: need("startsAt", posted.starts_at)?,
        ends_at: need("endsAt", posted.ends_at)?,
        updated_at: now,
        created_by: posted.created_by,
        comment: posted.comment,
    };
    silence.check(now).map_err(|e| Refusal::Bad(e.to_string()))?;
    let before = if silence.id.is_empty() { None } else { Some(find(&view, &silence.id)?) };
    if before.is_none() && view.silences.len() >= SILENCES_MAX {
        return Err(Refusal::Bad(format!("there are {SILENCES_MAX} silences already")));
    }
    match before.filter(|before| is_same_silence(before, &silence, now)) {
        Some(_) => {}
        None => {
            // It says something else now, so it is another one, and the old one ends.
            if let Some(before) = before.filter(|b| b.state(now) != SilenceState::Expired) {
                door.notifier.input(Input::ExpireSilence(before.id.clone())).await?;
            }
            silence.id = door.notifier.new_silence_id();
            silence.starts_at = silence.starts_at.max(now);
        }
    }
    let id = silence.id.clone();
    door.notifier.put_silence(silence).await?;
    Ok(Json(json!({"silenceID": id})))
}

/// Whether `after` only moves what may be moved of `before`: the end, or the start of one that has not begun.
fn is_same_silence(before: &Silence, after: &Silence, now: TimestampMs) -> bool {
    before.matchers == after.matchers
        && match before.state(now) {
            SilenceState::Active => before.starts_at == after.starts_at,
            SilenceState::Pending => after.starts_at >= now,
            SilenceState::Expired => false,
        }
}

async fn delete_silence(State(door): State<Arc<Door>>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let view = door.notifier.view().await?;
    find(&view, &id)?;
    door.notifier.input(Input::ExpireSilence(id)).await?;
    Ok(StatusCode::OK)
}

// The rest.

async fn status(State(door): State<Arc<Door>>) -> Result<Json<Value>, Refusal> {
    let view = door.notifier.view().await?;
    Ok(Json(json!({
        "cluster": {"name": "", "status": "disabled", "peers": []},
        "versionInfo": {
            "version": env!("CARGO_PKG_VERSION"),
            "revision": "",
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
        "config": {"original": view.routing_yaml},
        "uptime": door.started.to_rfc3339(),
    })))
}

async fn receivers(State(door): State<Arc<Door>>) -> Result<Json<Value>, Refusal> {
    let view = door.notifier.view().await?;
    Ok(Json(view.receivers.iter().map(|name| json!({"name": name})).collect()))
}

fn read_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|e| Refusal::Bad(format!("the body cannot be read: {e}")))
}

fn matchers(text: &str) -> Result<Vec<Matcher>, Refusal> {
    parse_matchers(text).map_err(|e| Refusal::Bad(format!("bad matcher format: {e}")))
}

/// The decoded pairs of a query, in order, repeats kept.
fn pairs(query: &str) -> Vec<(String, String)> {
    // A base is needed to read a query; it is not looked at.
    let url = reqwest::Url::parse("http://query.invalid/").map(|mut url| {
        url.set_query(Some(query));
        url
    });
    url.map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default()
}
