//! Large answers: sent in pieces, in a slot until the last, and given up with whoever reads them.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode, header};
use futures_util::StreamExt;
use rivetwatch::api::{self, Auth, QueryConfig};
use rivetwatch::model::{HumanDuration, TimestampMs, Value as Point};
use rivetwatch::storage::{self, Append, Batch};
use rivetwatch::tsdb::{Settings, Tsdb};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::prometheus_api::{NOW_MS, get, labels, state};

/// Some 9 MB: thirty series at 11,000 times.
const LARGE: &str = "/api/v1/query_range?query=big&start=1699999990&end=1700000000.999&step=0.001";

async fn router(timeout_secs: u64) -> Router {
    let store = Tsdb::in_memory(Settings::default());
    let mut batch = Batch::default();
    for n in 0..30 {
        let labels = labels(&[("__name__", "big"), ("n", &n.to_string())]);
        batch.points.push(storage::Point {
            labels,
            t: TimestampMs(NOW_MS - 60_000),
            value: Point::Float(f64::from(n)),
        });
    }
    store.commit(batch).await.unwrap();
    let query =
        QueryConfig { max_concurrency: 1, timeout: HumanDuration::secs(timeout_secs), ..QueryConfig::default() };
    api::router(state(Arc::new(store), query), Auth::default(), Router::new())
}

async fn ask(router: &Router) -> BodyDataStream {
    let answer = router.clone().oneshot(Request::get(LARGE).body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    answer.into_body().into_data_stream()
}

#[tokio::test]
async fn a_large_answer_comes_in_pieces_and_is_whole() {
    let mut body = ask(&router(30).await).await;
    let (mut text, mut pieces) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        text.extend_from_slice(&piece.unwrap());
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces}");
    let answer: Value = serde_json::from_slice(&text).unwrap();
    let series = answer["data"]["result"].as_array().unwrap();
    assert_eq!((series.len(), &answer["status"]), (30, &json!("success")));
    for one in series {
        let (n, values) = (&one["metric"]["n"], one["values"].as_array().unwrap());
        assert!(values.len() == 11_000 && values.iter().all(|point| point[1] == *n), "{n}");
    }
}

#[tokio::test]
async fn a_large_answer_may_be_compressed() {
    for encoding in ["gzip", "zstd"] {
        let request = Request::get(LARGE).header(header::ACCEPT_ENCODING, encoding).body(Body::empty()).unwrap();
        let answer = router(30).await.oneshot(request).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_ENCODING], encoding);
        let body = axum::body::to_bytes(answer.into_body(), 64 << 20).await.unwrap();
        assert!(body.len() > 1_000, "{encoding}: {} bytes", body.len());
    }
}

#[tokio::test]
async fn the_slot_is_free_once_the_reader_has_left_and_not_before() {
    let router = router(30).await;
    let mut body = ask(&router).await;
    body.next().await.unwrap().unwrap();
    let (status, answer) = get(&router, "/api/v1/query?query=1&timeout=50ms").await;
    assert_eq!((status, &answer["errorType"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("timeout")));
    drop(body);
    assert_eq!(get(&router, "/api/v1/query?query=1&timeout=10s").await.0, StatusCode::OK);
}

#[tokio::test]
async fn who_takes_nothing_for_long_gets_half_an_answer_and_gives_the_slot_back() {
    let router = router(1).await;
    let mut body = ask(&router).await;
    // Nobody waits for longer than the timeout of a query, and the slot is given back after it.
    let status = async || get(&router, "/api/v1/query?query=1").await.0;
    let mut tries = 0..60;
    while status().await != StatusCode::OK {
        tries.next().expect("the slot is given back");
    }
    let mut last = None;
    while let Some(piece) = body.next().await {
        last = Some(piece);
    }
    assert!(last.unwrap().is_err(), "what is not whole does not look whole");
}

#[tokio::test]
async fn lists_of_series_wait_for_their_slot_as_queries_do() {
    let router = router(30).await;
    let mut body = ask(&router).await;
    body.next().await.unwrap().unwrap();
    let series = get(&router, "/api/v1/series?match[]=big");
    let waited = tokio::time::timeout(Duration::from_millis(200), series).await;
    assert!(waited.is_err(), "the only slot is taken");
    drop(body);
    let (status, answer) = get(&router, "/api/v1/series?match[]=big&limit=7").await;
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (StatusCode::OK, 7));
    assert_eq!(answer["warnings"], json!(["results truncated due to limit"]));
    let (_, answer) = get(&router, "/api/v1/label/n/values?limit=30").await;
    assert_eq!((answer["data"].as_array().unwrap().len(), &answer["warnings"]), (30, &Value::Null));
}
