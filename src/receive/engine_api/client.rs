//! Fetches JSON from the engine within a deadline and a size.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::answers::{self, Envoy, Namespace, Pool};
use super::config::Config;
use super::step::{Answer, Details, EngineInfo, PoolState, Probe};
use crate::model::TimestampMs;
use crate::receive::scrape::{check_url, plain_client};
use crate::rivet::limits::HOST_LOST_SECS;

/// Why the engine gave no answer that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    #[error("failed to connect")]
    Connect,
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The token is missing or wrong.
    #[error("refused the call with status {0}")]
    Forbidden(u16),
    /// The release has no such route.
    #[error("has no such route")]
    NotFound,
    #[error("answered with status {0}")]
    Status(u16),
    #[error("the answer is not the JSON that was expected")]
    BadAnswer,
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("failed to read the admin token file")]
    Token,
}

impl ProbeFailure {
    /// Every value of [`ProbeFailure::reason`].
    pub const REASONS: [&'static str; 8] =
        ["connect", "timeout", "forbidden", "not_found", "status", "bad_answer", "too_large", "token"];

    /// The bounded class for a metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout(_) => "timeout",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound => "not_found",
            Self::Status(_) => "status",
            Self::BadAnswer => "bad_answer",
            Self::TooLarge => "too_large",
            Self::Token => "token",
        }
    }
}

const ANSWER_BYTES_MAX: usize = 4 << 20;
const LIST_PAGES_MAX: usize = 20;
const ROWS_PER_PAGE: usize = 100;
const NAMESPACES_MAX: usize = 50;
const POOLS_MAX: usize = 1_000;

/// How much later than the engine's own limit a host counts as lost: the clocks of two machines differ a little.
const PING_SLACK_MS: i64 = 15_000;

/// Asks one engine.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    peer: Url,
    public: Url,
    config: Config,
}

/// Which API a list is asked of.
struct Door {
    base: Url,
    token: Option<SecretString>,
}

impl Client {
    /// A client for a validated configuration; `None` when an address does not parse.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be set up.
    pub fn new(config: Config) -> Result<Option<Self>, reqwest::Error> {
        let (Ok(peer), Ok(public)) = (check_url(&config.peer_url), check_url(&config.public_url)) else {
            return Ok(None);
        };
        Ok(Some(Self { http: plain_client()?, peer, public, config }))
    }

    /// Asks `/health` of the peer API; the version is taken from it where it has one.
    pub async fn health(&self) -> Probe<Option<String>> {
        let url = at(&self.peer, "/health", &[]);
        self.probe(url, None, |json| Some(json.get("version").and_then(Value::as_str).map(str::to_owned))).await
    }

    /// Asks for the version, and for pools where that is possible without breaking a rule.
    pub async fn details(&self, now: TimestampMs) -> Details {
        let url = at(&self.public, "/metadata", &[]);
        let metadata = self.probe(url, None, |json| Some(engine_info(json))).await;
        let door = match self.door().await {
            None => return Details { metadata, ..Details::default() },
            Some(Err(failure)) => {
                let refused = || Some(Probe { took: Duration::ZERO, answer: Err(failure.clone()) });
                return Details {
                    metadata,
                    envoys: refused(),
                    runner_configs: refused(),
                    pools: Vec::new(),
                    left_out: 0,
                };
            }
            Some(Ok(door)) => door,
        };
        let mut details = Details { metadata, ..Details::default() };
        let namespaces = self.list(&door, "/namespaces", "", answers::namespaces).await;
        let mut namespaces = match namespaces.answer {
            Ok((namespaces, left_out)) => {
                details.left_out += left_out;
                namespaces
            }
            Err(failure) => {
                let refused = Probe { took: namespaces.took, answer: Err(failure) };
                details.envoys = Some(refused.clone());
                details.runner_configs = Some(refused);
                return details;
            }
        };
        if !self.config.namespaces.is_empty() {
            namespaces.retain(|n| self.config.namespaces.contains(&n.name));
        }
        details.left_out += namespaces.len().saturating_sub(NAMESPACES_MAX) as u64;
        namespaces.truncate(NAMESPACES_MAX);
        for namespace in &namespaces {
            let envoys = self.list(&door, "/envoys", &namespace.name, answers::envoys).await;
            let configs = self.list(&door, "/runner-configs", &namespace.name, answers::pools).await;
            let both = (envoys.answer.as_ref().ok(), configs.answer.as_ref().ok());
            let (hosts, pools) = (both.0.map(|a| &a.0[..]), both.1.map(|a| &a.0[..]));
            details.left_out += both.0.map_or(0, |a| a.1) + both.1.map_or(0, |a| a.1);
            let mut states = pool_states(namespace, hosts, pools, now);
            let room = POOLS_MAX.saturating_sub(details.pools.len());
            details.left_out += states.len().saturating_sub(room) as u64;
            states.truncate(room);
            details.pools.extend(states);
            merge(&mut details.envoys, envoys);
            merge(&mut details.runner_configs, configs);
            // An engine that does not answer is not asked about every other namespace too: health comes first.
            let failed = |probe: &Option<Probe<()>>| probe.as_ref().is_some_and(|p| p.answer.is_err());
            if failed(&details.envoys) || failed(&details.runner_configs) {
                break;
            }
        }
        if namespaces.is_empty() {
            let nothing = Probe { took: Duration::ZERO, answer: Ok(()) };
            details.envoys = Some(nothing.clone());
            details.runner_configs = Some(nothing);
        }
        details
    }

    /// Where lists may be asked: the local peer without a token, else the public API with one; `None` without either.
    async fn door(&self) -> Option<Result<Door, ProbeFailure>> {
        if self.config.has_local_peer() {
            return Some(Ok(Door { base: self.peer.clone(), token: None }));
        }
        let path = self.config.admin_token_file.as_deref()?;
        let token = read_token(path).await;
        Some(token.map(|token| Door { base: self.public.clone(), token: Some(token) }))
    }

    /// Reads all pages of a list; with the rows comes how many pages had to be left out.
    async fn list<T>(
        &self,
        door: &Door,
        path: &str,
        namespace: &str,
        rows: impl Fn(&Value) -> Option<Vec<T>>,
    ) -> Probe<(Vec<T>, u64)> {
        let (mut all, mut cursor, mut took) = (Vec::new(), None::<String>, Duration::ZERO);
        let limit = ROWS_PER_PAGE.to_string();
        for _ in 0..LIST_PAGES_MAX {
            let mut query = vec![("limit", limit.as_str())];
            if !namespace.is_empty() {
                query.push(("namespace", namespace));
            }
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let url = at(&door.base, path, &query);
            let page = self.probe(url, door.token.as_ref(), |json| Some((rows(json)?, answers::cursor(json)))).await;
            took += page.took;
            let (page, next) = match page.answer {
                Ok(page) => page,
                Err(failure) => return Probe { took, answer: Err(failure) },
            };
            let is_last = page.len() < ROWS_PER_PAGE || next.is_none() || next == cursor;
            all.extend(page);
            if is_last {
                return Probe { took, answer: Ok((all, 0)) };
            }
            cursor = next;
        }
        Probe { took, answer: Ok((all, 1)) }
    }

    async fn probe<T>(&self, url: Url, token: Option<&SecretString>, read: impl Fn(&Value) -> Option<T>) -> Probe<T> {
        let begun = Instant::now();
        let answer = self.get(url, token).await.and_then(|json| read(&json).ok_or(ProbeFailure::BadAnswer));
        Probe { took: begun.elapsed(), answer }
    }

    async fn get(&self, url: Url, token: Option<&SecretString>) -> Answer<Value> {
        let timeout = self.config.timeout.0;
        let mut request = self.http.get(url).timeout(timeout);
        if let Some(token) = token {
            // reqwest marks the header as sensitive, so that it is printed nowhere.
            request = request.bearer_auth(token.expose_secret());
        }
        let failure = |e: reqwest::Error| match e.is_timeout() {
            true => ProbeFailure::Timeout(timeout),
            false => ProbeFailure::Connect,
        };
        let mut response = request.send().await.map_err(failure)?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ProbeFailure::Forbidden(response.status().as_u16()));
            }
            StatusCode::NOT_FOUND => return Err(ProbeFailure::NotFound),
            status if !status.is_success() => return Err(ProbeFailure::Status(status.as_u16())),
            _ => {}
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ProbeFailure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|_| ProbeFailure::BadAnswer)
    }
}

async fn read_token(path: &Path) -> Result<SecretString, ProbeFailure> {
    let text = tokio::fs::read_to_string(path).await.map_err(|_| ProbeFailure::Token)?;
    match text.trim() {
        "" => Err(ProbeFailure::Token),
        token => Ok(SecretString::from(token)),
    }
}

fn at(base: &Url, path: &str, query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_path(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

fn engine_info(json: &Value) -> EngineInfo {
    let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    // Reproducible builds put this in the place of the commit.
    let git_sha = Some(text("git_sha")).filter(|sha| sha != "VERGEN_IDEMPOTENT_OUTPUT").unwrap_or_default();
    EngineInfo { version: text("version"), git_sha }
}

/// Adds up one namespace; `None` for a list that could not be read.
fn pool_states(
    namespace: &Namespace,
    hosts: Option<&[Envoy]>,
    pools: Option<&[Pool]>,
    now: TimestampMs,
) -> Vec<PoolState> {
    let oldest_ping = now.0 - i64::from(HOST_LOST_SECS) * 1000 - PING_SLACK_MS;
    let connected = |e: &&Envoy| !e.is_stopping && e.last_ping >= oldest_ping;
    let mut names: Vec<&str> = pools.unwrap_or(&[]).iter().map(|p| p.name.as_str()).collect();
    names.extend(hosts.unwrap_or(&[]).iter().map(|e| e.pool.as_str()));
    names.sort_unstable();
    names.dedup();
    let state = |name: &str| {
        let config = pools.unwrap_or(&[]).iter().find(|p| p.name == name);
        let here = || hosts.into_iter().flatten().filter(|e| e.pool == name).filter(connected);
        PoolState {
            namespace: namespace.clone(),
            name: name.to_owned(),
            envoys: hosts.map(|_| here().count() as u64),
            running_actors: hosts.map(|_| here().map(|e| e.slots).sum()),
            max_concurrent_actors: config.and_then(|p| p.max_concurrent_actors),
            error: config.and_then(|p| p.error.clone()),
        }
    };
    names.into_iter().map(state).collect()
}

/// A list of several namespaces fails when any of them does, and takes as long as all together.
fn merge<T>(sum: &mut Option<Probe<()>>, part: Probe<T>) {
    let part = Probe { took: part.took, answer: part.answer.map(|_| ()) };
    *sum = Some(match sum.take() {
        None => part,
        Some(sum) => Probe { took: sum.took + part.took, answer: sum.answer.and(part.answer) },
    });
}
