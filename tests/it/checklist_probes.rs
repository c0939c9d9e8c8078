//! The probes over real sockets: an engine with a token and without, actor hosts, a TLS front, NATS, an agent, Grafana.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use reqwest::Url;
use rivetwatch::checklist::evidence::{Evidence, Told};
use rivetwatch::checklist::known::{Known, unknown};
use rivetwatch::checklist::probes::http::Http;
use rivetwatch::checklist::probes::telemetry::QUERIES;
use rivetwatch::checklist::probes::{ClusterSource, EngineAddress, HttpSeries, NatsSource, Series, Sources, collect};
use rivetwatch::checklist::{Choice, Finding, Status, judge};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::checklist::NOW;

const TOKEN: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// What was asked: the address's last part with the `Authorization` header.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).unwrap()
}

/// Sources that ask nothing.
fn sources<'a>() -> Sources<'a> {
    Sources {
        timeout: Duration::from_secs(5),
        engine: unknown("the engine was not asked"),
        cluster: ClusterSource::None("no Kubernetes".into()),
        engine_config: Vec::new(),
        node_hosts: Vec::new(),
        postgres: unknown("PostgreSQL was not asked"),
        backup_marker: None,
        nats: NatsSource::None("NATS was not asked".into()),
        nats_monitor_port: 0,
        nats_monitor_urls: Vec::new(),
        grafana: unknown("no Grafana was asked"),
        ca_file: None,
        series: unknown("no agent was asked"),
        tries_outside: false,
    }
}

fn finding(evidence: &Evidence, item: &str) -> Finding {
    let report = judge(evidence, &Choice::default());
    report.findings.into_iter().find(|f| f.item == item).unwrap()
}

/// An engine as 2.3.19 answers: `host` is the address of a serverless pool.
fn engine(has_token: bool, host: String, asked: Asked) -> Router {
    let guarded = move |State(asked): State<Asked>, headers: HeaderMap, request: Request| {
        let host = host.clone();
        async move {
            let given = headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
            let is_admin = given.as_deref() == Some(&format!("Bearer {TOKEN}"));
            let path = request.uri().path().to_owned();
            asked.lock().push((path.clone(), given));
            if has_token && !is_admin {
                let error =
                    json!({"group": "api", "code": "forbidden", "message": "Access denied: Token not provided"});
                return (StatusCode::FORBIDDEN, Json(error)).into_response();
            }
            let serverless = json!({"serverless": {"url": host, "headers": {"x-secret": "h3ader"}, "request_lifespan": 600,
                "max_concurrent_actors": 50, "drain_grace_period": 60, "actor_eviction_period": 0}});
            Json(match path.as_str() {
                "/namespaces" => json!({"namespaces": [{"namespace_id": "a", "name": "default"}], "pagination": {"cursor": null}}),
                "/envoys" => json!({"envoys": [{"pool_name": "p", "version": 1, "stop_ts": null}], "pagination": {"cursor": null}}),
                _ => json!({"runner_configs": {"p": {"datacenters": {"default": serverless}}}, "pagination": {"cursor": null}}),
            })
            .into_response()
        }
    };
    let health = async || Json(json!({"runtime": "engine", "status": "ok", "version": "2.3.19"}));
    Router::new()
        .route("/health", get(health))
        .route("/namespaces", get(guarded.clone()))
        .route("/envoys", get(guarded.clone()))
        .route("/runner-configs", get(guarded))
        .with_state(asked)
}

/// An actor host that hands `client_token` to everybody.
fn actor_host(client_token: Option<&'static str>, asked: Asked) -> Router {
    let metadata = move |State(asked): State<Asked>, headers: HeaderMap, request: Request| async move {
        let given = headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
        asked.lock().push((request.uri().path().to_owned(), given));
        // Each header that was sent, to see that none of the pool's came along.
        asked.lock().extend(headers.keys().map(|name| (name.to_string(), None)));
        Json(json!({"runtime": "rivetkit", "version": "2.3.19", "clientToken": client_token, "envoy": {"version": 1}}))
    };
    Router::new().route("/api/rivet/metadata", get(metadata)).with_state(asked)
}

fn address(guard: SocketAddr, peer: Option<Url>, token: Option<&str>) -> Known<EngineAddress> {
    let token = token.map(|t| Ok(SecretString::from(t)));
    Ok(EngineAddress { guard: url(guard), peer, metrics: None, token, actor_hosts: Vec::new() })
}

#[tokio::test]
async fn an_engine_with_a_token_is_closed_and_its_pools_are_told_with_it() {
    let (at_engine, at_host) = (Asked::default(), Asked::default());
    let host = serve(actor_host(Some("pk_public"), at_host.clone())).await;
    let guard = serve(engine(true, format!("http://{host}/api/rivet"), at_engine.clone())).await;
    let engine = address(guard, None, Some(TOKEN));
    let evidence = collect(NOW, Told::default(), &Sources { engine, ..sources() }).await;

    assert_eq!(finding(&evidence, "admin-token-set").status, Status::Pass);
    assert_eq!(finding(&evidence, "health-answers").status, Status::Pass);
    assert_eq!(
        finding(&evidence, "admin-token-not-public").status,
        Status::Pass,
        "the client's token was tried and refused"
    );
    assert_eq!(finding(&evidence, "request-lifespan").status, Status::Pass);
    let version = finding(&evidence, "runner-version");
    assert_eq!(version.status, Status::Warn, "{version:?}");
    assert!(at_host.lock().iter().all(|(_, authorization)| authorization.is_none()), "a token went to an actor host");
    assert!(!at_host.lock().iter().any(|(name, _)| name == "x-secret"), "a pool's header went along");
    assert!(!format!("{evidence:?}").contains("h3ader") && !format!("{evidence:?}").contains(TOKEN));
    let tokens: Vec<_> = at_engine.lock().iter().filter_map(|(_, a)| a.clone()).collect();
    assert!(tokens.iter().any(|t| t.ends_with("pk_public")), "what clients have was tried on the engine");
}

#[tokio::test]
async fn an_admin_token_in_the_metadata_is_found_with_and_without_knowing_it() {
    for known in [None, Some(TOKEN)] {
        let host = serve(actor_host(Some(TOKEN), Asked::default())).await;
        let guard = serve(engine(true, String::new(), Asked::default())).await;
        let mut engine = address(guard, None, known).unwrap();
        engine.actor_hosts.push(Url::parse(&format!("http://{host}/api/rivet/")).unwrap());
        let told = Told { admin_token: known.map(|t| Ok(t.into())), ..Told::default() };
        let evidence = collect(NOW, told, &Sources { engine: Ok(engine), ..sources() }).await;
        let finding = finding(&evidence, "admin-token-not-public");
        assert_eq!(finding.status, Status::Fail, "{known:?}: {finding:?}");
        assert!(!format!("{finding:?} {evidence:?}").contains(TOKEN));
    }
}

#[tokio::test]
async fn an_engine_without_a_token_is_open() {
    let asked = Asked::default();
    let guard = serve(engine(false, String::new(), asked.clone())).await;
    let evidence = collect(NOW, Told::default(), &Sources { engine: address(guard, None, None), ..sources() }).await;
    assert_eq!(finding(&evidence, "admin-token-set").status, Status::Fail);
    assert_eq!(finding(&evidence, "actor-eviction").status, Status::Info, "an open API tells its pools");
    assert!(asked.lock().iter().all(|(_, a)| a.is_none()));
}

#[tokio::test]
async fn the_token_goes_to_no_address_that_is_not_an_engine() {
    let asked = Asked::default();
    let elsewhere = serve(engine(true, String::new(), asked.clone())).await;
    let redirect = Router::new().fallback(async move || Redirect::temporary(&format!("http://{elsewhere}/namespaces")));
    let not_an_engine = Router::new().fallback(|State(asked): State<Asked>, headers: HeaderMap| async move {
        let given = headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
        asked.lock().push(("page".into(), given));
        "<html>a page</html>"
    });
    for router in [redirect, not_an_engine.with_state(asked.clone())] {
        let guard = serve(router).await;
        let evidence =
            collect(NOW, Told::default(), &Sources { engine: address(guard, None, Some(TOKEN)), ..sources() }).await;
        assert_eq!(finding(&evidence, "admin-token-set").status, Status::Unknown);
    }
    assert!(asked.lock().iter().all(|(_, authorization)| authorization.is_none()), "{:?}", asked.lock());
}

#[tokio::test]
async fn doors_that_hang_or_refuse_are_unknown() {
    let hanging = serve(Router::new().fallback(async || std::future::pending::<()>().await)).await;
    let timeout = Duration::from_millis(100);
    let all = Sources { timeout, engine: address(hanging, Some(url(hanging)), Some(TOKEN)), ..sources() };
    let evidence = collect(NOW, Told::default(), &all).await;
    for item in ["admin-token-set", "health-answers", "runner-version", "actor-eviction"] {
        let finding = finding(&evidence, item);
        assert_eq!(finding.status, Status::Unknown, "{finding:?}");
        assert!(finding.reason.contains("100 ms") || finding.reason.contains("0.1 s"), "{finding:?}");
    }
    let closed = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let evidence = collect(NOW, Told::default(), &Sources { engine: address(closed, None, None), ..sources() }).await;
    assert!(finding(&evidence, "admin-token-set").reason.contains("connection refused"));
}

/// A NATS server that greets and answers on its monitoring port.
async fn nats(id: &'static str, others: &[&'static str], slow: u64) -> (String, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let info = json!({"server_id": id, "server_name": id, "version": "2.10.0", "cluster": "c", "jetstream": false});
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // In two pieces, as a slow network delivers it.
            let line = format!("INFO {info} \r\n");
            let (first, second) = line.split_at(20);
            let _ = socket.write_all(first.as_bytes()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = socket.write_all(second.as_bytes()).await;
        }
    });
    let routes: Vec<Value> = others.iter().map(|o| json!({"remote_id": o})).collect();
    let router = Router::new()
        .route("/varz", get(async move || Json(json!({"slow_consumers": slow, "jetstream": {}}))))
        .route("/routez", get(async move || Json(json!({"num_routes": routes.len(), "routes": routes}))));
    (address.to_string(), url(serve(router).await))
}

#[tokio::test]
async fn nats_is_read_from_its_greeting_and_its_monitoring_port() {
    let ((a, monitor_a), (b, monitor_b)) = (nats("A", &["B"], 0).await, nats("B", &["A"], 3).await);
    let asked = Sources {
        nats: NatsSource::Servers(vec![a.clone(), b]),
        nats_monitor_urls: vec![monitor_a.clone(), monitor_b],
        ..sources()
    };
    let evidence = collect(NOW, Told::default(), &asked).await;
    assert_eq!(finding(&evidence, "nats-servers").status, Status::Pass);
    let slow = finding(&evidence, "nats-slow-consumers");
    assert!(slow.status == Status::Warn && slow.reason.contains("B cut off 3"), "{slow:?}");
    // A server alone, and something that is no NATS at all.
    let (alone, monitor) = nats("C", &[], 0).await;
    let asked = Sources { nats: NatsSource::Servers(vec![alone]), nats_monitor_urls: vec![monitor], ..sources() };
    assert_eq!(finding(&collect(NOW, Told::default(), &asked).await, "nats-servers").status, Status::Fail);
    let http = serve(Router::new()).await.to_string();
    let timeout = Duration::from_millis(200);
    let asked = Sources { nats: NatsSource::Servers(vec![http]), timeout, ..sources() };
    let found = finding(&collect(NOW, Told::default(), &asked).await, "nats-servers");
    assert!(found.status == Status::Unknown && found.reason.contains("no greeting"), "{found:?}");
}

/// A TLS listener with the test certificate, behind which nothing answers.
async fn tls_front() -> SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/tls");
    let chain =
        CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(socket).await.map(drop) });
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_is_read_even_where_it_is_not_trusted() {
    let port = tls_front().await.port();
    let ca = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/tls/ca.pem");
    let seen = async |ca_file: Option<std::path::PathBuf>| {
        let told = Told { public_url: Some(format!("https://localhost:{port}")), ..Told::default() };
        let asked = Sources { tries_outside: true, ca_file, ..sources() };
        // The test certificate is valid from the day it was made.
        collect(rivetwatch::app::clock::wall().now(), told, &asked).await
    };
    let untrusted = seen(None).await;
    assert_eq!(finding(&untrusted, "tls-handshake").status, Status::Pass);
    let chain = finding(&untrusted, "tls-chain");
    assert!(chain.status == Status::Fail && chain.reason.contains("no trusted root issued it"), "{chain:?}");
    assert_ne!(finding(&untrusted, "tls-expiry").status, Status::Unknown, "its dates were read all the same");
    let trusted = seen(Some(ca)).await;
    assert_eq!(finding(&trusted, "tls-chain").status, Status::Pass, "{:?}", finding(&trusted, "tls-chain"));
}

#[tokio::test]
async fn plain_http_where_tls_should_be_is_a_failed_handshake() {
    let port = serve(engine(true, String::new(), Asked::default())).await.port();
    let told = Told { public_url: Some(format!("https://localhost:{port}")), ..Told::default() };
    let evidence = collect(NOW, told, &Sources { tries_outside: true, ..sources() }).await;
    assert_eq!(finding(&evidence, "tls-handshake").status, Status::Fail);
    assert_eq!(finding(&evidence, "tls-chain").status, Status::Skipped);
}

/// An agent's query API with canned answers by a part of the expression.
fn agent(answers: &'static [(&'static str, &'static str, &'static str)]) -> Router {
    Router::new().route(
        "/api/v1/query",
        get(async |Query(query): Query<Value>, headers: HeaderMap| -> Response {
            if headers.get("authorization").is_none_or(|v| v != "Bearer agent-token") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            let expr = query["query"].as_str().unwrap_or_default();
            let found = answers.iter().filter(|(part, ..)| expr.contains(part));
            let rows: Vec<Value> = found
                .map(|(_, labels, value)| json!({"metric": serde_json::from_str::<Value>(labels).unwrap(), "value": [1, value]}))
                .collect();
            Json(json!({"status": "success", "data": {"resultType": "vector", "result": rows}})).into_response()
        }),
    )
}

#[tokio::test]
async fn telemetry_is_read_through_the_query_api() {
    let answers: &[(&str, &str, &str)] = &[
        (
            "max by (cluster, namespace, job, instance, pod) (rivet:engine_up:bool)",
            r#"{"job": "rivet", "instance": "e0", "pod": "e0"}"#,
            "1",
        ),
        ("timestamp(up)", r#"{"job": "rivet", "instance": "e0"}"#, "7.5"),
        ("rivet_span_observed_total[1h]", r#"{"job": "rivet", "instance": "e0"}"#, "12"),
        ("rivet:actors_running:count", "{}", "1500"),
        ("rivetwatch_rule_tick_duration_seconds", "{}", "1"),
        ("target_broken", r#"{"receiver": "oncall", "integration": "pagerduty"}"#, "0"),
        ("last_success", r#"{"receiver": "oncall", "integration": "pagerduty"}"#, "60"),
    ];
    let agent = url(serve(agent(answers)).await);
    let http = Http::new(Duration::from_secs(5), None).unwrap();
    let with_token = HttpSeries { http: http.clone(), agent: agent.clone(), token: Some("agent-token".into()) };
    let series: Known<&dyn Series> = Ok(&with_token);
    let evidence = collect(NOW, Told::default(), &Sources { series, ..sources() }).await;
    assert_eq!(finding(&evidence, "metrics-arriving").status, Status::Pass);
    assert_eq!(finding(&evidence, "traces-arriving").status, Status::Pass);
    assert_eq!(finding(&evidence, "alerts-reach-somebody").status, Status::Pass);
    assert_eq!(finding(&evidence, "enterprise-support").status, Status::Info);
    let secrets = finding(&evidence, "admin-token-not-in-telemetry");
    assert!(secrets.status == Status::Unknown && secrets.reason.contains("redacted secrets"), "{secrets:?}");
    let without = HttpSeries { http, agent, token: None };
    let series: Known<&dyn Series> = Ok(&without);
    let evidence = collect(NOW, Told::default(), &Sources { series, ..sources() }).await;
    assert!(finding(&evidence, "metrics-arriving").reason.contains("--token-file"));
}

#[test]
fn every_query_parses_and_names_series_that_exist() {
    let shipped: String = crate::export::shipped().into_iter().map(|file| file.text).collect();
    for expr in QUERIES {
        rivetwatch::promql::parse(expr).unwrap_or_else(|e| panic!("{expr}: {e}"));
        let words = expr.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        for signal in words.filter(|w| w.starts_with("rivet:")) {
            assert!(shipped.contains(&format!("record: {signal}\n")), "{signal} in {expr}");
        }
    }
}

#[tokio::test]
async fn grafana_is_searched_for_dashboards_of_the_engine() {
    let search = async |headers: HeaderMap| -> Response {
        match headers.get("authorization").is_some_and(|v| v == "Bearer viewer") {
            true => {
                Json(json!([{"title": "Nodes", "tags": []}, {"title": "Overview", "tags": ["rivet"]}])).into_response()
            }
            false => StatusCode::UNAUTHORIZED.into_response(),
        }
    };
    let grafana = url(serve(Router::new().route("/api/search", get(search))).await);
    let asked = Sources { grafana: Ok((grafana.clone(), Some("viewer".into()))), ..sources() };
    assert_eq!(finding(&collect(NOW, Told::default(), &asked).await, "dashboards").status, Status::Pass);
    let asked = Sources { grafana: Ok((grafana, None)), ..sources() };
    let found = finding(&collect(NOW, Told::default(), &asked).await, "dashboards");
    assert!(found.status == Status::Unknown && found.reason.contains("token_file"), "{found:?}");
}
