//! `rules` and `alerts`, with Prometheus' filters, and why an alert stands where it stands.

use axum::extract;
use axum::response::Response;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::answer::{ApiError, success};
use super::params::Params;
use crate::api::{Ask, State, View};
use crate::model::Matcher;

pub async fn rules(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let kind = match params.get("type").map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("alert") => Some("alerting"),
        Some("record") => Some("recording"),
        Some(other) => return Err(ApiError::bad_param("type", format!("not supported value {other:?}"))),
    };
    let selectors = params.selectors()?;
    let hides_alerts = params.truth("exclude_alerts")?.unwrap_or(false);
    let page = Page::of(&params)?;
    let mut data = look(&state.rules).await?;
    if let Some(groups) = data["groups"].as_array_mut() {
        page.skip_to_its_begin(groups)?;
        keep_named(groups, "name", &params, "rule_group[]");
        keep_named(groups, "file", &params, "file[]");
        for group in groups.iter_mut() {
            if let Some(rules) = group["rules"].as_array_mut() {
                keep_named(rules, "name", &params, "rule_name[]");
                rules.retain(|rule| kind.is_none_or(|kind| rule["type"] == kind) && is_selected(rule, &selectors));
                if hides_alerts {
                    for rule in rules {
                        rule.as_object_mut().map(|fields| fields.remove("alerts"));
                    }
                }
            }
        }
        groups.retain(|group| group["rules"].as_array().is_some_and(|rules| !rules.is_empty()));
        if let Some(next) = page.end(groups) {
            data["groupNextToken"] = next.into();
        }
    }
    Ok(success(data, &[], &[]))
}

/// Whether the labels that a rule gives pass every matcher of any selector, or there is none.
fn is_selected(rule: &Value, selectors: &[Vec<Matcher>]) -> bool {
    let label = |name: &str| rule["labels"][name].as_str().unwrap_or("");
    selectors.is_empty() || selectors.iter().any(|all| all.iter().all(|m| m.matches_value(label(&m.name))))
}

/// The groups that are asked for at once: at most so many, from the one that a token of the answer before names.
struct Page {
    groups_max: Option<usize>,
    token: Option<String>,
}

impl Page {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let groups_max = match params.get("group_limit").map(str::parse::<u32>) {
            None => None,
            Some(Ok(limit)) if limit > 0 => Some(limit as usize),
            Some(_) => return Err(ApiError::bad_param("group_limit", "must be a number above zero".into())),
        };
        let token = params.get("group_next_token").map(str::to_owned);
        if token.is_some() && groups_max.is_none() {
            let reason = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::bad_param("group_next_token", reason.into()));
        }
        Ok(Self { groups_max, token })
    }

    fn skip_to_its_begin(&self, groups: &mut Vec<Value>) -> Result<(), ApiError> {
        let Some(token) = &self.token else { return Ok(()) };
        let begin = groups.iter().position(|group| token_of(group) == *token).ok_or_else(|| {
            let reason = format!("no group has the token {token:?}. Were rule groups changed?");
            ApiError::bad_param("group_next_token", reason)
        })?;
        groups.drain(..begin);
        Ok(())
    }

    /// Cuts what is beyond the page, and gives the token of the next one.
    fn end(&self, groups: &mut Vec<Value>) -> Option<String> {
        let groups_max = self.groups_max?;
        let next = groups.get(groups_max).map(token_of);
        groups.truncate(groups_max);
        next
    }
}

/// A name of a group for one link to the next page.
fn token_of(group: &Value) -> String {
    let text = |field: &str| group[field].as_str().unwrap_or("");
    format!("{:016x}", xxh3_64(format!("{};{}", text("file"), text("name")).as_bytes()))
}

pub async fn alerts(extract::State(state): extract::State<State>) -> Result<Response, ApiError> {
    Ok(success(look(&state.alerts).await?, &[], &[]))
}

/// Each part of the expressions behind an alert's name, with its value now. Not a path of Prometheus.
pub async fn why(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let name = params.get("name").ok_or_else(|| ApiError::bad_param("name", "must be the name of an alert".into()))?;
    answered(state.why.clone(), name.to_owned()).await
}

/// Asks on a blocking thread.
pub async fn answered(ask: Ask, name: String) -> Result<Response, ApiError> {
    let work = tokio::task::spawn_blocking(move || ask(&name));
    match work.await.map_err(|e| ApiError::internal(e.to_string()))? {
        Ok(data) => Ok(success(data, &[], &[])),
        Err(refused) => Err(refused.into()),
    }
}

/// Looks on a blocking thread: the rules may be in the middle of a tick, and whoever looks waits for its end.
async fn look(view: &View<Value>) -> Result<Value, ApiError> {
    let view = view.clone();
    tokio::task::spawn_blocking(move || view()).await.map_err(|e| ApiError::internal(e.to_string()))
}

/// Keeps the items whose `field` is one of the parameter's values; all of them when it is not given.
fn keep_named(items: &mut Vec<Value>, field: &str, params: &Params, param: &str) {
    let wanted: Vec<&str> = params.all(param).collect();
    items.retain(|item| wanted.is_empty() || item[field].as_str().is_some_and(|name| wanted.contains(&name)));
}
