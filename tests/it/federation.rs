//! `/federate` from outside: the newest samples as another Prometheus asks for them.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use rivetwatch::model::{TimestampMs, Value as Point};
use rivetwatch::storage::{self, Append, Batch};
use serde_json::json;
use tower::ServiceExt;

use crate::prometheus_api::{NOW_MS, data, get, labels, router, router_over, send, store};

#[tokio::test]
async fn federation_gives_the_newest_samples_as_text() {
    let path = "/federate?match[]=up&match[]=odd&match[]=gone&match[]=sizes&match[]=up";
    let (status, body) = send(&router(), Request::get(path).body(Body::empty()).unwrap()).await;
    let (t, more) = (NOW_MS, "cluster=\"eu\",instance=\"\",job=\"agent\"");
    let want = format!(
        "# TYPE odd untyped\n\
         odd{{kind=\"inf\",{more}}} +Inf {t}\nodd{{kind=\"nan\",{more}}} NaN {t}\n\
         odd{{kind=\"ninf\",{more}}} -Inf {t}\nodd{{kind=\"small\",{more}}} 0.000000001 {t}\n\
         # TYPE up untyped\nup{{instance=\"a\",job=\"j\",cluster=\"eu\"}} 1 {t}\n\
         up{{instance=\"b\",job=\"j\",cluster=\"eu\"}} 1 {t}\n"
    );
    assert_eq!((status, String::from_utf8(body).unwrap()), (StatusCode::OK, want));
}

#[tokio::test]
async fn federation_has_native_histograms_where_protobuf_is_asked_for() {
    let accept = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let request = Request::get("/federate?match[]=sizes&match[]=hits_total").header(header::ACCEPT, accept);
    let answer = router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/vnd.google.protobuf; proto=") && kind.ends_with("escaping=underscores"));
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    // Field 1 of each family is its name, field 3 its type: untyped, then a histogram.
    let names: Vec<_> = ["hits_total", "sizes"]
        .map(|name| body.windows(name.len()).position(|w| w == name.as_bytes()))
        .into_iter()
        .map(|at| at.unwrap())
        .collect();
    assert_eq!((body[names[0] + 10], body[names[0] + 11]), (0x18, 3));
    assert_eq!((body[names[1] + 5], body[names[1] + 6]), (0x18, 4));
    // Field 4 of the histogram is its count as a double.
    let count = [[0x21].as_slice(), &6f64.to_le_bytes()].concat();
    assert!(body.windows(9).any(|w| w == count));
}

#[tokio::test]
async fn names_that_need_quotes_are_escaped_for_who_cannot_read_them_and_read_back() {
    let store = store();
    let mut batch = Batch::default();
    let (t, value) = (TimestampMs(NOW_MS), Point::Float(1.0));
    let labels = labels(&[("__name__", "fed.dots"), ("service.name", "web")]);
    batch.points.push(storage::Point { labels, t, value });
    let ticket = store.commit(batch);
    std::thread::spawn(|| ticket.wait()).join().unwrap().unwrap();
    let router = router_over(Arc::new(store));
    let scraped = |accept: &'static str| {
        let request = Request::get("/federate?match[]=%7B%22fed.dots%22%7D").header(header::ACCEPT, accept);
        let router = router.clone();
        async move {
            let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
        }
    };
    assert!(scraped("text/plain;version=0.0.4").await.contains("\nfed_dots{service_name=\"web\","));
    let values = scraped("text/plain;escaping=values").await;
    assert!(values.contains("\nU__fed_2e_dots{U__service_2e_name=\"web\","), "{values}");
    assert!(scraped("text/plain;escaping=allow-utf-8").await.contains("\n{\"fed.dots\",\"service.name\"=\"web\","));
    assert_eq!(data(&router, "/api/v1/label/U__service_2e_name/values").await, json!(["web"]));
    assert_eq!(data(&router, "/api/v1/label/service.name/values").await, json!(["web"]));
    let (status, body) = get(&router, "/api/v1/label/%FF/values").await;
    assert_eq!((status, &body["errorType"]), (StatusCode::BAD_REQUEST, &json!("bad_data")));
    assert_eq!(body["error"], "invalid label name: \"\\xff\"");
}
