//! The Prometheus API from outside: the whole router over a store in memory.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use rivetwatch::api::{self, Auth, Health, QueryConfig, Refused};
use rivetwatch::clock::Clock;
use rivetwatch::model::{
    Exemplar, FloatHistogram, Labels, Metadata, MetricKind, Span, TimestampMs, Value as Point, stale_nan,
};
use rivetwatch::promql::{Engine, EngineOptions};
use rivetwatch::storage::{self, Append, Batch, Select};
use rivetwatch::tsdb::{Settings, Tsdb};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
const NOW: i64 = NOW_MS / 1000;

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

/// `up` of two instances over five minutes, a counter, odd floats, a native histogram and an ended series.
pub(crate) fn store() -> Tsdb {
    let store = Tsdb::in_memory(Settings::default());
    let mut batch = Batch::default();
    let mut add = |pairs: &[(&str, &str)], ago_s: i64, value: Point| {
        let t = TimestampMs(NOW_MS - ago_s * 1000);
        batch.points.push(storage::Point { labels: labels(pairs), t, value });
    };
    for ago in (0..=300).rev().step_by(15) {
        for instance in ["a", "b"] {
            add(&[("__name__", "up"), ("job", "j"), ("instance", instance)], ago, Point::Float(1.0));
        }
        add(&[("__name__", "hits_total"), ("job", "j"), ("instance", "a")], ago, Point::Float((300 - ago) as f64));
    }
    for (kind, v) in [("nan", f64::NAN), ("inf", f64::INFINITY), ("ninf", f64::NEG_INFINITY), ("small", 1e-9)] {
        add(&[("__name__", "odd"), ("kind", kind)], 0, Point::Float(v));
    }
    let histogram = FloatHistogram {
        schema: 0,
        count: 6.0,
        sum: 9.5,
        zero_threshold: 0.5,
        zero_count: 1.0,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_buckets: vec![2.0, 3.0],
        ..FloatHistogram::default()
    };
    add(&[("__name__", "sizes"), ("job", "j")], 0, Point::Histogram(Arc::new(histogram)));
    add(&[("__name__", "gone"), ("job", "j")], 30, Point::Float(5.0));
    add(&[("__name__", "gone"), ("job", "j")], 15, Point::Float(stale_nan()));
    let about = |kind, help: &str| Metadata { kind, help: help.into(), unit: String::new() };
    batch.metadata.push(("hits".into(), about(MetricKind::Counter, "Requests.")));
    batch.metadata.push(("up".into(), about(MetricKind::Gauge, "Whether it is up.")));
    let ticket = store.commit(batch);
    // The tests run on async threads, where waiting is not allowed.
    let receipt = std::thread::spawn(|| ticket.wait()).join().unwrap().unwrap();
    assert_eq!(receipt.refused, []);
    store
}

pub(crate) fn state(storage: Arc<dyn Select>, query: QueryConfig) -> api::State {
    api::State::new(shared(storage, query))
}

fn shared(storage: Arc<dyn Select>, query: QueryConfig) -> api::Shared {
    let options = EngineOptions { max_samples: query.max_samples, ..EngineOptions::default() };
    let rule = |name: &str, kind: &str| json!({"name": name, "type": kind, "alerts": [], "query": "up", "labels": {"severity": name.to_lowercase()}});
    let groups = json!({"groups": [
        {"name": "g1", "file": "a.yaml", "rules": [rule("Down", "alerting"), rule("job:up", "recording")]},
        {"name": "g2", "file": "b.yaml", "rules": [rule("Slow", "alerting")]},
    ]});
    let target = json!({
        "labels": {"job": "j", "instance": "a"}, "scrapePool": "j", "health": "up", "discoveredLabels": {},
    });
    let targets = json!({"activeTargets": [target], "droppedTargets": []});
    let slots = query.max_concurrency;
    api::Shared {
        storage,
        engine: Arc::new(Engine::new(options)),
        clock: Clock::new(|| TimestampMs(NOW_MS), 1.0),
        query,
        interval_ms: 15_000,
        scrape_interval_ms: 15_000,
        scrape_timeout_ms: 10_000,
        cors_origins: Vec::new(),
        external_labels: labels(&[("cluster", "eu"), ("job", "agent")]),
        query_slots: Arc::new(Semaphore::new(slots)),
        health: Arc::new(Health::default()),
        metrics_page: Arc::new(Vec::new),
        rules: Arc::new(move || groups.clone()),
        alerts: Arc::new(|| json!({"alerts": [{"labels": {"alertname": "Down"}, "state": "firing"}]})),
        targets: Arc::new(move || targets.clone()),
        capacity: Arc::new(|what_if| match what_if {
            None => Err(Refused::Failed("nothing to say".into())),
            Some(text) => Err(Refused::BadRequest(format!("`{text}` is unknown"))),
        }),
        why: Arc::new(|name| match name {
            "Down" => Ok(json!([{"name": "Down"}])),
            other => Err(Refused::NotFound(format!("no alerting rule is named `{other}`"))),
        }),
        instances: Arc::new(|| json!([{"instance": "a"}])),
        retire: Arc::new(|wanted| Ok(json!({"instance": wanted.instance}))),
        runtime: Arc::new(|| json!({"reloadConfigSuccess": true})),
        head: Arc::new(|| json!({"chunkCount": 9})),
        check: Arc::new(|| Err("nothing to say".into())),
    }
}

/// The API over any store.
pub(crate) fn router_over(storage: Arc<dyn Select>) -> Router {
    api::router(state(storage, QueryConfig::default()), Auth::default(), Router::new())
}

pub(crate) fn router() -> Router {
    api::router(state(Arc::new(store()), QueryConfig::default()), Auth::default(), Router::new())
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Vec<u8>) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    (status, to_bytes(answer.into_body(), 16 << 20).await.unwrap().to_vec())
}

pub(crate) async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    let (status, body) = send(router, Request::get(path).body(Body::empty()).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body:?}")))
}

pub(crate) async fn post(router: &Router, path: &str, form: &str) -> (StatusCode, Value) {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let (status, body) = send(router, request.body(Body::from(form.to_owned())).unwrap()).await;
    (status, serde_json::from_slice(&body).unwrap())
}

/// `data` of an answer that has to be a success.
pub(crate) async fn data(router: &Router, path: &str) -> Value {
    let (status, mut body) = get(router, path).await;
    assert_eq!((status, &body["status"]), (StatusCode::OK, &json!("success")), "{path}: {body}");
    body["data"].take()
}

#[tokio::test]
async fn instant_queries_answer_as_prometheus_does() {
    let router = router();
    let got = data(&router, &format!("/api/v1/query?query=up&time={NOW}")).await;
    let want = json!({"resultType": "vector", "result": [
        {"metric": {"__name__": "up", "instance": "a", "job": "j"}, "value": [NOW, "1"]},
        {"metric": {"__name__": "up", "instance": "b", "job": "j"}, "value": [NOW, "1"]},
    ]});
    assert_eq!(got, want);
    // What stands in a form comes before what stands in the address.
    let (_, body) = post(&router, "/api/v1/query?query=2", "query=1").await;
    assert_eq!(body["data"]["result"][1], "1");
    let parts = Request::post("/api/v1/query").header(header::CONTENT_TYPE, "multipart/form-data; boundary=x");
    let (status, body) = send(&router, parts.body(Body::from("--x--")).unwrap()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8(body).unwrap().contains("curl -d"));
    // Nothing lies between an end and a later start; the ends of time themselves are times.
    assert_eq!(data(&router, &format!("/api/v1/labels?start={NOW}&end={}", NOW - 60)).await, json!([]));
    let ends = "start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z";
    assert_eq!(data(&router, &format!("/api/v1/label/job/values?{ends}")).await, json!(["j"]));
    assert_eq!(data(&router, "/api/v1/metadata?limit=0").await, json!({}));
    // Without `time` the clock's now is taken, and a form does as well as a query string.
    let (status, body) = post(&router, "/api/v1/query", "query=count%28up%29").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["data"]["result"], json!([{"metric": {}, "value": [NOW, "2"]}]));
    let scalar = data(&router, "/api/v1/query?query=1%2B1&time=2023-11-14T22:13:20.5Z").await;
    assert_eq!(scalar, json!({"resultType": "scalar", "result": [1_700_000_000.5, "2"]}));
    let text = data(&router, "/api/v1/query?query=%22a%C3%A9%22&time=12").await;
    assert_eq!(text, json!({"resultType": "string", "result": [12, "aé"]}));
    let ended = data(&router, "/api/v1/query?query=gone").await;
    assert_eq!(ended["result"], json!([]));
}

#[tokio::test]
async fn odd_floats_are_texts() {
    let got = data(&router(), "/api/v1/query?query=odd").await;
    let mut values: Vec<&str> =
        got["result"].as_array().unwrap().iter().map(|s| s["value"][1].as_str().unwrap()).collect();
    values.sort_unstable();
    assert_eq!(values, ["+Inf", "-Inf", "0.000000001", "NaN"]);
}

#[tokio::test]
async fn range_queries_give_matrices() {
    let router = router();
    let path = format!("/api/v1/query_range?query=hits_total&start={}&end={NOW}&step=30s", NOW - 60);
    let got = data(&router, &path).await;
    let want = json!([{
        "metric": {"__name__": "hits_total", "instance": "a", "job": "j"},
        "values": [[NOW - 60, "240"], [NOW - 30, "270"], [NOW, "300"]],
    }]);
    assert_eq!((&got["resultType"], &got["result"]), (&json!("matrix"), &want));
    let form = format!("query=hits_total&start={}&end={NOW}&step=30", NOW - 60);
    let (_, body) = post(&router, "/api/v1/query_range", &form).await;
    assert_eq!(body["data"]["result"], want);
    let path = format!("/api/v1/query_range?query=changes(hits_total[1m])&start={NOW}&end={NOW}&step=1");
    let changes = data(&router, &path).await;
    assert_eq!(changes["result"][0]["values"], json!([[NOW, "3"]]));
}

#[tokio::test]
async fn native_histograms_have_buckets_with_boundaries() {
    let got = data(&router(), "/api/v1/query?query=sizes").await;
    let want = json!([NOW, {"count": "6", "sum": "9.5", "buckets": [
        [3, "-0.5", "0.5", "1"], [0, "1", "2", "2"], [0, "2", "4", "3"],
    ]}]);
    assert_eq!(got["result"][0]["histogram"], want);
    let path = format!("/api/v1/query_range?query=sizes&start={NOW}&end={NOW}&step=15");
    let ranged = data(&router(), &path).await;
    assert_eq!(ranged["result"][0]["histograms"], json!([want]));
    assert_eq!(ranged["result"][0]["values"], Value::Null);
}

#[tokio::test]
async fn errors_have_their_type_and_status() {
    let router = router();
    let (s, e) = (NOW - 60, NOW);
    for (path, status, kind, part) in [
        ("query".into(), 400, "bad_data", "no expression found"),
        ("query?query=sum(".into(), 400, "bad_data", "1:"),
        ("query?query=up&time=tomorrow".into(), 400, "bad_data", "invalid parameter \"time\""),
        ("query?query=up&timeout=soon".into(), 400, "bad_data", "invalid parameter \"timeout\""),
        ("query?query=up&limit=-1".into(), 400, "bad_data", "invalid parameter \"limit\""),
        ("query?query=up&lookback_delta=x".into(), 400, "bad_data", "lookback_delta"),
        ("query?query=%zz".into(), 400, "bad_data", "escape"),
        ("query?query=up%2Bon(job)up".into(), 422, "execution", "many-to-many"),
        (format!("query_range?query=up&start={s}&end={e}"), 400, "bad_data", "\"step\""),
        (format!("query_range?query=up&end={e}&step=1"), 400, "bad_data", "\"start\""),
        (format!("query_range?query=up&start={e}&end={s}&step=1"), 400, "bad_data", "must not be before"),
        (format!("query_range?query=up&start={s}&end={e}&step=0"), 400, "bad_data", "zero or negative"),
        (format!("query_range?query=up&start={s}&end={e}&step=-1"), 400, "bad_data", "zero or negative"),
        (format!("query_range?query=up&start=0&end={e}&step=1"), 400, "bad_data", "11,000 points"),
        (format!("query_range?query=up[1m]&start={s}&end={e}&step=1"), 400, "bad_data", "range vector"),
        ("query_range?query=up&start=-1e300&end=1e300&step=1".into(), 400, "bad_data", "\"start\""),
        ("series".into(), 400, "bad_data", "no match[] parameter"),
        ("series?match[]=%7B%7D".into(), 400, "bad_data", "match[]"),
        ("series?match[]=%7Bjob%3D%22%22%7D".into(), 400, "bad_data", "non-empty matcher"),
        (format!("query_exemplars?query=up&start={e}&end={s}"), 400, "bad_data", "must not be before start timestamp"),
        ("query?query=up&timeout=0".into(), 503, "timeout", "timed out"),
        ("query?query=up[step()]".into(), 400, "bad_data", "invalid parameter \"query\": 1:4: parse error"),
        ("metadata?limit=x".into(), 400, "bad_data", "limit must be a number"),
        ("metadata?limit_per_metric=x".into(), 400, "bad_data", "limit_per_metric must be a number"),
        ("format_query?query=((".into(), 400, "bad_data", "parse error"),
        ("parse_query?query=)".into(), 400, "bad_data", "parse error"),
        ("rules?type=other".into(), 400, "bad_data", "\"type\""),
        ("status/tsdb?limit=0".into(), 400, "bad_data", "limit"),
        ("capacity".into(), 422, "execution", "nothing to say"),
        ("capacity?what_if=x".into(), 400, "bad_data", "`x` is unknown"),
        ("nothing/here".into(), 404, "not_found", "/nothing/here"),
        ("targets/metadata?metric=none".into(), 404, "not_found", "metadata"),
    ] {
        let (got, body) = get(&router, &format!("/api/v1/{path}")).await;
        assert_eq!((got.as_u16(), body["status"].as_str()), (status, Some("error")), "{path}: {body}");
        assert_eq!(body["errorType"], kind, "{path}: {body}");
        assert!(body["error"].as_str().unwrap().contains(part), "{path}: {body}");
    }
    let (status, body) = post(&router, "/api/v1/metadata", "").await;
    assert_eq!((status, &body["status"]), (StatusCode::METHOD_NOT_ALLOWED, &json!("error")));
}

#[tokio::test]
async fn huge_queries_are_refused_in_the_same_form() {
    let router = router();
    for query in ["(".repeat(10_000), format!("up{}", " ".repeat(3 << 20)), format!("up{}", "+up".repeat(300_000))] {
        let (status, body) = post(&router, "/api/v1/query", &format!("query={}", query.replace('+', "%2B"))).await;
        let kind = body["errorType"].as_str().unwrap();
        assert!(status.is_client_error() && kind == "bad_data", "{status} {kind}");
    }
}

#[tokio::test]
async fn limits_cut_and_say_so() {
    let router = router();
    let told = json!(["results truncated due to limit"]);
    for path in [
        "query?query=up&limit=1".to_owned(),
        format!("query_range?query=up&start={NOW}&end={NOW}&step=1&limit=1"),
        "series?match[]=up&limit=1".to_owned(),
        "labels?limit=1".to_owned(),
        "label/instance/values?limit=1".to_owned(),
    ] {
        let (status, body) = get(&router, &format!("/api/v1/{path}")).await;
        assert_eq!((status, &body["warnings"]), (StatusCode::OK, &told), "{path}");
        let list = if body["data"].is_array() { &body["data"] } else { &body["data"]["result"] };
        assert_eq!(list.as_array().unwrap().len(), 1, "{path}");
    }
    let (_, body) = get(&router, "/api/v1/query?query=up&limit=2").await;
    assert_eq!(body["warnings"], Value::Null);
}

#[tokio::test]
async fn warnings_and_infos_stand_beside_the_data() {
    let (status, body) = get(&router(), "/api/v1/query?query=rate(up[5m])").await;
    assert_eq!(status, StatusCode::OK);
    let info = body["infos"][0].as_str().unwrap();
    assert!(info.starts_with("PromQL info: metric might not be a counter") && info.ends_with("(1:6)"), "{info}");
}

#[tokio::test]
async fn series_labels_and_values_take_selectors_and_times() {
    let router = router();
    let series = data(&router, "/api/v1/series?match[]=up&match[]=hits_total&match[]=up").await;
    assert_eq!(series.as_array().unwrap().len(), 3);
    let (_, posted) = post(&router, "/api/v1/series", "match[]=up{instance%3D\"a\"}").await;
    assert_eq!(posted["data"], json!([{"__name__": "up", "instance": "a", "job": "j"}]));
    assert_eq!(data(&router, "/api/v1/labels").await, json!(["__name__", "instance", "job", "kind"]));
    assert_eq!(data(&router, "/api/v1/labels?match[]=odd").await, json!(["__name__", "kind"]));
    assert_eq!(data(&router, "/api/v1/label/instance/values?match[]=hits_total").await, json!(["a"]));
    assert_eq!(data(&router, "/api/v1/label/none/values").await, json!([]));
    let before = format!("/api/v1/label/__name__/values?end={}", NOW - 100);
    assert_eq!(data(&router, &before).await, json!(["hits_total", "up"]));
}

#[tokio::test]
async fn metadata_is_by_family() {
    let router = router();
    let all = data(&router, "/api/v1/metadata").await;
    assert_eq!(all["hits"], json!([{"type": "counter", "help": "Requests.", "unit": ""}]));
    assert_eq!(data(&router, "/api/v1/metadata?metric=up").await.as_object().unwrap().len(), 1);
    assert_eq!(data(&router, "/api/v1/metadata?limit=1").await.as_object().unwrap().len(), 1);
    let of_target = data(&router, "/api/v1/targets/metadata?match_target=%7Bjob%3D%22j%22%7D").await;
    let want = json!({"target": {"job": "j", "instance": "a"}, "metric": "hits", "type": "counter", "help": "Requests.", "unit": ""});
    assert_eq!(of_target[0], want);
    let of_metric = data(&router, "/api/v1/targets/metadata?metric=up").await;
    assert_eq!((of_metric.as_array().unwrap().len(), &of_metric[0]["metric"]), (1, &Value::Null));
}

#[tokio::test]
async fn rules_and_alerts_are_filtered() {
    let router = router();
    let escaped = |text: &str| text.replace('{', "%7B").replace('}', "%7D").replace('"', "%22").replace('|', "%7C");
    let names = |data: &Value| -> Vec<String> {
        let rules = data["groups"].as_array().unwrap().iter().flat_map(|g| g["rules"].as_array().unwrap());
        rules.map(|rule| rule["name"].as_str().unwrap().to_owned()).collect()
    };
    for (filter, want) in [
        ("", vec!["Down", "job:up", "Slow"]),
        ("?type=alert", vec!["Down", "Slow"]),
        ("?type=record", vec!["job:up"]),
        ("?rule_name[]=Slow&rule_name[]=Down", vec!["Down", "Slow"]),
        ("?rule_group[]=g2", vec!["Slow"]),
        ("?file[]=a.yaml&type=alert", vec!["Down"]),
        ("?rule_name[]=None", vec![]),
        ("?match[]={severity=~\"down|slow\"}", vec!["Down", "Slow"]),
        ("?match[]={severity=\"slow\",team=\"\"}&match[]={severity=\"job:up\"}", vec!["job:up", "Slow"]),
        ("?match[]={team!=\"\"}", vec![]),
        ("?group_limit=1", vec!["Down", "job:up"]),
        ("?group_limit=2", vec!["Down", "job:up", "Slow"]),
    ] {
        assert_eq!(names(&data(&router, &format!("/api/v1/rules{}", escaped(filter))).await), want, "{filter}");
    }
    let first = data(&router, "/api/v1/rules?group_limit=1").await;
    let next = format!("/api/v1/rules?group_limit=1&group_next_token={}", first["groupNextToken"].as_str().unwrap());
    let second = data(&router, &next).await;
    assert_eq!((names(&second), &second["groupNextToken"]), (vec!["Slow".to_owned()], &Value::Null));
    for wrong in [
        "type=x",
        "match[]={bad",
        "match[]={a=\"\"}",
        "exclude_alerts=foo",
        "group_limit=0",
        "group_limit=x",
        "group_next_token=a",
        "group_limit=1&group_next_token=a",
    ] {
        let (status, body) = get(&router, &format!("/api/v1/rules?{}", escaped(wrong))).await;
        assert_eq!((status, &body["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")), "{wrong}");
        let name = wrong.rsplit('&').next().unwrap().split('=').next().unwrap();
        assert!(body["error"].as_str().unwrap().contains(name), "{body}");
    }
    let bare = data(&router, "/api/v1/rules?exclude_alerts=1").await;
    assert_eq!(bare["groups"][0]["rules"][0]["alerts"], Value::Null);
    assert_eq!(data(&router, "/api/v1/alerts").await["alerts"][0]["labels"]["alertname"], "Down");
}

#[tokio::test]
async fn queries_are_formatted_and_parsed() {
    let router = router();
    let got = data(&router, "/api/v1/format_query?query=sum+by(job)(rate(up%5B5m%5D))").await;
    assert_eq!(got, json!("sum by (job) (rate(up[5m]))"));
    let query = "sum by(job)(rate(up{a=~\"b\"}[5m] offset 1m)) > bool on(x) group_left(y) (-m[1h:30s] @ end())";
    let (status, body) = post(&router, "/api/v1/parse_query", "query=abs(m)%20%2B%202").await;
    assert_eq!(status, StatusCode::OK);
    let selector = json!({
        "type": "vectorSelector", "name": "m", "offset": 0, "timestamp": null, "startOrEnd": null,
        "anchored": false, "smoothed": false, "matchers": [{"name": "__name__", "value": "m", "type": "="}],
    });
    let want = json!({
        "type": "binaryExpr", "op": "+", "bool": false, "matching": null,
        "rhs": {"type": "numberLiteral", "val": "2"},
        "lhs": {
            "type": "call", "args": [selector],
            "func": {"name": "abs", "argTypes": ["vector"], "variadic": 0, "returnType": "vector"},
        },
    });
    assert_eq!(body["data"], want);
    let query = query.replace("(-m[1h:30s] @ end())", "max_over_time((-m)[1h:30s] @ end())");
    let form: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
    let (_, body) = post(&router, "/api/v1/parse_query", &format!("query={form}")).await;
    let tree = &body["data"];
    let matching = json!({"card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"]});
    assert_eq!((&tree["matching"], &tree["bool"]), (&matching, &json!(true)), "{body}");
    let matrix = &tree["lhs"]["expr"]["args"][0];
    assert_eq!((&matrix["type"], &matrix["range"]), (&json!("matrixSelector"), &json!(300_000)));
    assert_eq!((&matrix["offset"], &tree["lhs"]["grouping"]), (&json!(60_000), &json!(["job"])));
    let subquery = &tree["rhs"]["args"][0];
    assert_eq!((&subquery["range"], &subquery["step"]), (&json!(3_600_000), &json!(30_000)));
    assert_eq!((&subquery["startOrEnd"], &subquery["expr"]["expr"]["op"]), (&json!("end"), &json!("-")));
}

#[tokio::test]
async fn statistics_come_when_they_are_asked_for() {
    let router = router();
    assert_eq!(data(&router, "/api/v1/query?query=up").await["stats"], Value::Null);
    let got = data(&router, "/api/v1/query?query=up[1m]&stats=all").await;
    assert_eq!(got["stats"]["samples"]["totalQueryableSamples"], 8);
    assert!(got["stats"]["timings"]["execTotalTime"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn status_pages_hold_what_tools_look_for() {
    let router = router();
    assert!(data(&router, "/api/v1/status/buildinfo").await["version"].as_str().unwrap().starts_with("3."));
    let config = data(&router, "/api/v1/status/config").await;
    let yaml = "global:\n  scrape_interval: 15s\n  scrape_timeout: 10s\n  evaluation_interval: 15s\n  external_labels:\n    \"cluster\": \"eu\"\n    \"job\": \"agent\"\n";
    assert_eq!(config["yaml"], yaml);
    assert_eq!(data(&router, "/api/v1/status/flags").await["query.timeout"], "30s");
    assert_eq!(data(&router, "/api/v1/status/runtimeinfo").await["reloadConfigSuccess"], true);
    assert_eq!(data(&router, "/api/v1/status/walreplay").await, json!({"min": 0, "max": 0, "current": 0}));
    let tsdb = data(&router, "/api/v1/status/tsdb?limit=1").await;
    assert_eq!(tsdb["headStats"]["numSeries"], 9);
    assert_eq!(tsdb["headStats"]["chunkCount"], 9);
    assert_eq!(tsdb["seriesCountByMetricName"], json!([{"name": "odd", "value": 4}]));
    assert_eq!(tsdb["seriesCountByLabelValuePair"], json!([{"name": "job=j", "value": 5}]));
    assert_eq!(data(&router, "/api/v1/alertmanagers").await["activeAlertmanagers"], json!([]));
    let targets = data(&router, "/api/v1/targets?state=dropped").await;
    assert_eq!(targets["activeTargets"], json!([]));
    let nonsense = data(&router, "/api/v1/targets?state=foo").await;
    assert_eq!((&nonsense["activeTargets"], &nonsense["droppedTargets"]), (&json!([]), &json!([])));
    assert_eq!(data(&router, "/api/v1/targets?scrapePool=j").await["activeTargets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn answers_are_compressed_where_the_client_takes_it_and_heads_have_no_body() {
    let router = router();
    let request = Request::get("/api/v1/query?query=up").header(header::ACCEPT_ENCODING, "gzip");
    let answer = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
    let head = Request::builder().method(Method::HEAD).uri("/api/v1/query?query=up").body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(head).await.unwrap();
    assert_eq!(
        (answer.status(), answer.headers()[header::CONTENT_TYPE].as_bytes()),
        (StatusCode::OK, &b"application/json"[..])
    );
    assert!(to_bytes(answer.into_body(), 1).await.unwrap().is_empty());
    let foreign =
        Request::get("/api/v1/labels").header(header::ORIGIN, "https://elsewhere").body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(foreign).await.unwrap();
    assert!(answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN).is_none());
}

#[tokio::test]
async fn too_many_samples_are_an_execution_error() {
    let query = QueryConfig { max_samples: 10, ..QueryConfig::default() };
    let router = api::router(state(Arc::new(store()), query), Auth::default(), Router::new());
    let (status, body) = get(&router, "/api/v1/query?query=up[5m]").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("execution")), "{body}");
}

#[tokio::test]
async fn exemplars_come_with_the_series_that_the_query_names() {
    let store = store();
    let series = Labels::from_pairs([("__name__", "hits"), ("code", "200")]);
    let exemplar = |id: &str, t| Exemplar::new([("trace_id", id)], 0.25, TimestampMs(t));
    let exemplars = vec![(series.clone(), exemplar("a", 1_500)), (series, exemplar("b", 9_000))];
    let ticket = store.commit(Batch { exemplars, ..Batch::default() });
    std::thread::spawn(|| ticket.wait()).join().unwrap().unwrap();
    let router = api::router(state(Arc::new(store), QueryConfig::default()), Auth::default(), Router::new());
    let found = data(&router, "/api/v1/query_exemplars?query=rate(hits[5m])%2Bup&start=1&end=2").await;
    let wanted = json!([{
        "seriesLabels": {"__name__": "hits", "code": "200"},
        "exemplars": [{"labels": {"trace_id": "a"}, "value": "0.25", "timestamp": 1.5}],
    }]);
    assert_eq!(found, wanted);
    assert_eq!(data(&router, "/api/v1/query_exemplars?query=up").await, json!([]));
    assert_eq!(get(&router, "/api/v1/query_exemplars?query=up&start=2&end=1").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn answers_are_packed_as_the_client_asks() {
    for (accepted, wanted) in [("gzip", Some("gzip")), ("zstd", Some("zstd")), ("identity", None)] {
        let request = Request::get("/api/v1/status/flags").header("accept-encoding", accepted);
        let answer = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let given = answer.headers().get("content-encoding").map(|v| v.to_str().unwrap());
        assert_eq!(given, wanted, "{accepted}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_only_where_configured() {
    let ask = |cors_origins: Vec<String>| async move {
        let shared = shared(Arc::new(store()), QueryConfig::default());
        let state = api::State::new(api::Shared { cors_origins, ..shared });
        let router = api::router(state, Auth::default(), Router::new());
        let request = Request::get("/api/v1/query?query=up").header("origin", "https://grafana.example.com");
        let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        answer.headers().get("access-control-allow-origin").map(|v| v.to_str().unwrap().to_owned())
    };
    assert_eq!(ask(vec![]).await, None);
    assert_eq!(ask(vec!["https://other.example.com".into()]).await, None);
    let allowed = "https://grafana.example.com".to_owned();
    assert_eq!(ask(vec![allowed.clone()]).await, Some(allowed));
    let shared = shared(Arc::new(store()), QueryConfig::default());
    let cors_origins = vec!["https://a".to_owned(), "https://b".to_owned()];
    let router = api::router(api::State::new(api::Shared { cors_origins, ..shared }), Auth::default(), Router::new());
    assert_eq!(data(&router, "/api/v1/status/flags").await["web.cors.origin"], "https://a|https://b");
}

#[tokio::test]
async fn why_answers_for_a_name() {
    let router = router();
    assert_eq!(data(&router, "/api/v1/alerts/why?name=Down").await[0]["name"], "Down");
    let (status, body) = get(&router, "/api/v1/alerts/why?name=Up").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    assert_eq!(get(&router, "/api/v1/alerts/why").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_instance_is_retired_by_a_json_body_only() {
    let router = router();
    assert_eq!(data(&router, "/api/v1/instances").await, json!([{"instance": "a"}]));
    let post = |kind: &'static str, body: &'static str| {
        let request = Request::post("/api/v1/instances/retire").header("content-type", kind).body(Body::from(body));
        let router = router.clone();
        async move { send(&router, request.unwrap()).await }
    };
    assert_eq!(post("application/json", r#"{"instance":"a"}"#).await.0, StatusCode::OK);
    for (kind, body) in [("text/plain", r#"{"instance":"a"}"#), ("application/json", r#"{"name":"a"}"#)] {
        let (status, answer) = post(kind, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(&answer));
    }
}
