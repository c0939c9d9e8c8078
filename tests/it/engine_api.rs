//! Asking an engine over real sockets; its answers are those of 2.3.19.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use rivetwatch::model::{HumanDuration, TimestampMs};
use rivetwatch::receive::engine_api::{Client, Config, EngineInfo, ProbeFailure};
use serde_json::{Value, json};

const NOW: TimestampMs = TimestampMs(1_795_456_580_200);
const TOKEN: &str = "tok-admin";

/// What an engine was asked: path with query, and the `Authorization` header.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

fn note(asked: &Asked, uri: &Uri, headers: &HeaderMap) -> bool {
    let authorization = headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
    let is_admin = authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
    asked.lock().push((uri.to_string(), authorization));
    is_admin
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, Json(json!({"group": "api", "code": "forbidden"}))).into_response()
}

fn envoy(n: u64, pool: &str, last_ping: i64) -> Value {
    json!({"envoy_key": n.to_string(), "namespace_id": "t5b2", "datacenter": "default", "pool_name": pool, "version": 1,
        "slots": 3, "create_ts": 1, "stop_ts": null, "last_ping_ts": last_ping, "last_rtt": 5, "metadata": {}})
}

/// An engine: `needs_token` makes it the public API.
async fn engine(needs_token: bool, asked: Asked) -> SocketAddr {
    let list = async move |State(asked): State<Asked>, uri: Uri, headers: HeaderMap, query: Query<Value>| {
        let is_admin = note(&asked, &uri, &headers);
        if needs_token && !is_admin {
            return forbidden();
        }
        let cursor = query.get("cursor").and_then(Value::as_str).unwrap_or("");
        let answer = match (uri.path(), cursor) {
            ("/namespaces", _) => json!({"namespaces": [{"namespace_id": "t5b2", "name": "default"}],
                "pagination": {"cursor": "1795456420303"}}),
            ("/envoys", "") => {
                let rows: Vec<Value> = (0..100).map(|n| envoy(n, "default", NOW.0 - 1000)).collect();
                json!({"envoys": rows, "pagination": {"cursor": "100"}})
            }
            ("/envoys", _) => {
                let rows = [envoy(100, "default", NOW.0 - 1000), envoy(101, "default", NOW.0 - 120_000)];
                json!({"envoys": rows, "pagination": {"cursor": "101"}})
            }
            _ => json!({"runner_configs": {"default": {"normal": {}, "protocol_version": 8}, "bad": {"serverless":
                {"url": "http://h/api/rivet", "headers": {"x": "secret"}, "max_concurrent_actors": 50},
                "runner_pool_error": {"serverless_http_error": {"status_code": 500, "body": "no"}}}},
                "pagination": {"cursor": null}}),
        };
        Json(answer).into_response()
    };
    let open = async |State(asked): State<Asked>, uri: Uri, headers: HeaderMap| {
        note(&asked, &uri, &headers);
        Json(json!({"runtime": "engine", "status": "ok", "version": "2.3.19", "git_sha": "VERGEN_IDEMPOTENT_OUTPUT"}))
    };
    let router = Router::new()
        .route("/health", get(open))
        .route("/metadata", get(open))
        .route("/namespaces", get(list))
        .route("/envoys", get(list))
        .route("/runner-configs", get(list))
        .with_state(asked);
    serve(router).await
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn client(config: Config) -> Client {
    Client::new(config).expect("TLS").expect("addresses")
}

#[tokio::test]
async fn the_local_peer_is_asked_without_a_token() {
    let asked = Asked::default();
    let peer = format!("http://{}", engine(false, asked.clone()).await);
    let token_file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&token_file, TOKEN).expect("written");
    let config = Config {
        peer_url: peer.clone(),
        public_url: peer,
        admin_token_file: Some(token_file.path().to_owned()),
        ..Config::default()
    };
    let client = client(config);
    assert_eq!(client.health().await.answer, Ok(Some("2.3.19".to_owned())));
    let details = client.details(NOW).await;
    assert_eq!(details.metadata.answer, Ok(EngineInfo { version: "2.3.19".into(), git_sha: String::new() }));
    let pools: Vec<_> = details.pools.iter().map(|p| (p.name.as_str(), p.envoys, p.running_actors)).collect();
    assert_eq!(pools, [("bad", Some(0), Some(0)), ("default", Some(101), Some(303))], "lost hosts do not count");
    assert_eq!(details.pools[0].error.as_deref(), Some("serverless_http_error"));
    assert_eq!(details.pools[0].max_concurrent_actors, Some(50));
    assert!(asked.lock().iter().all(|(_, authorization)| authorization.is_none()));
    assert!(!format!("{details:?}").contains("secret"));
}

#[tokio::test]
async fn the_token_goes_to_the_lists_of_the_public_address_alone() {
    let (asked, elsewhere) = (Asked::default(), Asked::default());
    let public = engine(true, asked.clone()).await;
    let token_file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&token_file, format!("{TOKEN}\n")).expect("written");
    let config = Config {
        // Not loopback: a name that resolves nowhere stands for another machine.
        peer_url: "http://engine.invalid:6421".into(),
        public_url: format!("http://{public}"),
        admin_token_file: Some(token_file.path().to_owned()),
        timeout: HumanDuration::secs(20),
        ..Config::default()
    };
    let with_token = client(config.clone());
    assert_eq!(with_token.details(NOW).await.pools.len(), 2);
    let seen: Vec<_> = asked.lock().iter().map(|(path, a)| (path.starts_with("/metadata"), a.is_some())).collect();
    assert!(seen.iter().all(|(is_open, has_token)| is_open != has_token), "{seen:?}");
    assert_eq!(with_token.health().await.answer, Err(ProbeFailure::Connect));

    std::fs::write(&token_file, "wrong").expect("written");
    let details = with_token.details(NOW).await;
    assert_eq!(details.envoys.map(|p| p.answer), Some(Err(ProbeFailure::Forbidden(403))));
    assert!(details.pools.is_empty());

    let details = client(Config { admin_token_file: None, ..config.clone() }).details(NOW).await;
    assert_eq!((details.envoys, details.runner_configs), (None, None), "without a token nothing is asked");

    let other = engine(true, elsewhere.clone()).await;
    let redirect = Router::new().fallback(async move || Redirect::temporary(&format!("http://{other}/namespaces")));
    let config = Config { public_url: format!("http://{}", serve(redirect).await), ..config };
    let details = client(config).details(NOW).await;
    assert_eq!(details.envoys.map(|p| p.answer), Some(Err(ProbeFailure::Status(307))));
    assert!(elsewhere.lock().is_empty(), "the token does not follow a redirect");
}

#[tokio::test]
async fn older_releases_and_odd_answers_have_a_bounded_reason() {
    let old = Router::new()
        .route("/health", get(async || Json(json!({"status": "ok", "timestamp": 1}))))
        .route("/namespaces", get(async || "not JSON"));
    let address = format!("http://{}", serve(old).await);
    let client = client(Config { peer_url: address.clone(), public_url: address, ..Config::default() });
    assert_eq!(client.health().await.answer, Ok(None), "25.7 tells no version");
    let details = client.details(NOW).await;
    assert_eq!(details.metadata.answer, Err(ProbeFailure::NotFound));
    assert_eq!(details.envoys.map(|p| p.answer), Some(Err(ProbeFailure::BadAnswer)));
}

#[tokio::test]
async fn an_engine_that_hangs_is_a_timeout() {
    let hanging = Router::new().fallback(async || std::future::pending::<()>().await);
    let address = format!("http://{}", serve(hanging).await);
    let timeout = HumanDuration::millis(50);
    let client = client(Config { peer_url: address.clone(), public_url: address, timeout, ..Config::default() });
    assert_eq!(client.health().await.answer, Err(ProbeFailure::Timeout(Duration::from_millis(50))));
}
