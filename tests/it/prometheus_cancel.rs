//! A query ends with whoever waits for it: its client, its time, its place in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use rivetwatch::api::{self, Auth, QueryConfig};
use rivetwatch::model::{Labels, Matcher, Metadata, Sample, TimeRange, TimestampMs};
use rivetwatch::storage::{Select, SelectError, SeriesData, SeriesSet};
use serde_json::json;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::prometheus_api::{NOW_MS, get, labels, state};

/// A store whose selections give series without end until someone takes the query away.
struct Endless {
    entered: Notify,
    left: AtomicBool,
}

struct EndlessSet<'a>(&'a Endless);

impl SeriesSet for EndlessSet<'_> {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        self.0.entered.notify_one();
        // Slow enough that neither the limit on samples nor the one on series is met.
        std::thread::sleep(Duration::from_millis(1));
        into.clear();
        into.floats.push(Sample { t: TimestampMs(NOW_MS), v: 1.0 });
        Ok(Some(labels(&[("__name__", "up")])))
    }
}

impl Drop for EndlessSet<'_> {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::SeqCst);
    }
}

impl Select for Endless {
    fn select<'a>(&'a self, _: &[Matcher], _: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        Ok(Box::new(EndlessSet(self)))
    }

    fn series(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<Labels>, SelectError> {
        Err(SelectError::Read { reason: "broken".into() })
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Vec<(String, Metadata)> {
        Vec::new()
    }
}

fn endless() -> (Arc<Endless>, Router) {
    let storage = Arc::new(Endless { entered: Notify::new(), left: AtomicBool::new(false) });
    let query = QueryConfig { max_concurrency: 1, ..QueryConfig::default() };
    (storage.clone(), api::router(state(storage, query), Auth::default(), Router::new()))
}

async fn wait_until_left(storage: &Endless) {
    for _ in 0..1000 {
        if storage.left.load(Ordering::SeqCst) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the query goes on although nobody waits for it");
}

#[tokio::test]
async fn a_query_ends_with_its_client() {
    let (storage, router) = endless();
    let request = Request::get("/api/v1/query?query=up").body(Body::empty()).unwrap();
    let client = tokio::spawn(router.oneshot(request));
    storage.entered.notified().await;
    client.abort();
    wait_until_left(&storage).await;
}

#[tokio::test]
async fn a_query_ends_with_its_time() {
    let (storage, router) = endless();
    let (status, body) = get(&router, "/api/v1/query?query=up&timeout=50ms").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("timeout")), "{body}");
    wait_until_left(&storage).await;
}

#[tokio::test]
async fn a_query_that_finds_no_slot_in_time_is_a_timeout() {
    let (storage, router) = endless();
    let request = Request::get("/api/v1/query?query=up").body(Body::empty()).unwrap();
    let first = tokio::spawn(router.clone().oneshot(request));
    storage.entered.notified().await;
    let (status, body) = get(&router, "/api/v1/query?query=1&timeout=20ms").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("timeout")));
    first.abort();
    wait_until_left(&storage).await;
}

#[tokio::test]
async fn no_time_at_all_is_too_little_for_any_query() {
    let (_, router) = endless();
    let (status, body) = get(&router, "/api/v1/query?query=1&timeout=0").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("timeout")), "{body}");
}
