//! Points sent as fleets of engines send them: round after round, a request for each instance.
//!
//! In:  a server, and the way in.   Out: rounds that it answered.
//! Limits: one connection; a request waits for the answer to the one before.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rivetwatch::receive::remote_write::proto::{Label, Sample, TimeSeries, WriteRequest};
use tonic::transport::Channel;

use super::http::Client;
use super::peers::Peer;

/// Time between two points of a series.
const STEP_MS: u64 = 15_000;
/// Series of an instance, all in one request: 50 metrics of a hundred.
const SERIES_PER_INSTANCE: usize = 5_000;
const SERIES_PER_METRIC: usize = 100;

/// How points reach a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http,
    HttpGzip,
    Grpc,
    RemoteWrite,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Http, Self::HttpGzip, Self::Grpc, Self::RemoteWrite];
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "OTLP/HTTP, protobuf",
            Self::HttpGzip => "OTLP/HTTP, protobuf, gzip",
            Self::Grpc => "OTLP/gRPC",
            Self::RemoteWrite => "remote write 1.0, snappy",
        })
    }
}

/// The senders, and how far they are.
pub struct Fleet {
    series: usize,
    round: u64,
    begin_ms: u64,
}

impl Fleet {
    /// So many series, whose last of `rounds` rounds is now.
    pub fn new(series: usize, rounds: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64;
        Self { series, round: 0, begin_ms: now - u64::from(rounds) * STEP_MS }
    }

    pub fn len(&self) -> usize {
        self.series
    }

    /// Time of the last round that was sent, in seconds since 1970.
    pub fn newest_seconds(&self) -> f64 {
        (self.begin_ms + self.round * STEP_MS) as f64 / 1000.0
    }

    fn instances(&self) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + use<> {
        let series = self.series;
        let starts = (0..series).step_by(SERIES_PER_INSTANCE);
        starts.map(move |first| (first / SERIES_PER_INSTANCE, 0..SERIES_PER_INSTANCE.min(series - first)))
    }

    /// Half counters that move, a quarter counters that stand, a quarter gauges with fractions.
    fn value(&self, n: usize) -> f64 {
        let round = self.round;
        match n / SERIES_PER_METRIC % 4 {
            0 | 1 => (n as u64 % 97 * round) as f64 + (round * round % 7) as f64,
            2 => (n % 1_000) as f64,
            _ => 0.25 + ((n as u64 * 31 + round * 17) % 1_000) as f64 / 777.0,
        }
    }

    fn otlp(&self, instance: usize, series: std::ops::Range<usize>) -> ExportMetricsServiceRequest {
        let time_unix_nano = (self.begin_ms + self.round * STEP_MS) * 1_000_000;
        let point = |n: usize| NumberDataPoint {
            attributes: attributes(n).map(|(key, value)| attribute(key, value)).into(),
            start_time_unix_nano: self.begin_ms * 1_000_000,
            time_unix_nano,
            value: Some(number_data_point::Value::AsDouble(self.value(n))),
            ..NumberDataPoint::default()
        };
        let metric = |first: usize| {
            let data_points: Vec<_> = (first..(first + SERIES_PER_METRIC).min(series.end)).map(point).collect();
            let data = match is_gauge(first) {
                true => metric::Data::Gauge(Gauge { data_points }),
                false => metric::Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: AggregationTemporality::Cumulative as i32,
                    is_monotonic: true,
                }),
            };
            Metric { name: name(first), data: Some(data), ..Metric::default() }
        };
        let resource = [
            attribute("service.name", "bench".into()),
            attribute("service.instance.id", format!("bench-7f9c6d5b8-{instance:05}")),
        ];
        let metrics = series.clone().step_by(SERIES_PER_METRIC).map(metric).collect();
        let scope = InstrumentationScope { name: "bench".into(), ..InstrumentationScope::default() };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource { attributes: resource.into(), ..Resource::default() }),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }],
                schema_url: String::new(),
            }],
        }
    }

    fn remote_write(&self, instance: usize, series: std::ops::Range<usize>) -> WriteRequest {
        let timestamp = (self.begin_ms + self.round * STEP_MS) as i64;
        let one = |n: usize| {
            let suffix = if is_gauge(n) { "" } else { "_total" };
            let mut labels = vec![
                ("__name__".to_owned(), name(n) + suffix),
                ("instance".to_owned(), format!("bench-7f9c6d5b8-{instance:05}")),
                ("job".to_owned(), "bench".to_owned()),
            ];
            labels.extend(attributes(n).map(|(key, value)| (key.replace('.', "_"), value)));
            labels.sort();
            TimeSeries {
                labels: labels.into_iter().map(|(name, value)| Label { name, value }).collect(),
                samples: vec![Sample { value: self.value(n), timestamp }],
                ..TimeSeries::default()
            }
        };
        WriteRequest { timeseries: series.map(one).collect(), metadata: Vec::new() }
    }
}

fn is_gauge(n: usize) -> bool {
    n / SERIES_PER_METRIC % 4 == 3
}

fn name(n: usize) -> String {
    format!("bench_guard_requests_{}", n / SERIES_PER_METRIC)
}

/// About as long as those of the engine.
fn attributes(n: usize) -> [(&'static str, String); 4] {
    [
        ("http.route", format!("/actors/:actor_id/keys/{}", n % SERIES_PER_METRIC)),
        ("http.request.method", if n.is_multiple_of(2) { "GET" } else { "POST" }.to_owned()),
        ("http.response.status_code", if n.is_multiple_of(10) { "500" } else { "200" }.to_owned()),
        ("datacenter", "us-east-1".to_owned()),
    ]
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

enum Connection {
    Http { client: Client, path: &'static str, headers: &'static str },
    Grpc { runtime: tokio::runtime::Runtime, client: MetricsServiceClient<Channel> },
}

/// A connection to a server.
pub struct Sender {
    way: Way,
    name: &'static str,
    connection: Connection,
    /// Bytes of the bodies that were sent.
    pub bytes: usize,
}

impl Sender {
    /// `None` where the server knows no such way.
    pub fn connect(peer: &Peer, way: Way) -> Option<Self> {
        const OTLP: &str = "content-type: application/x-protobuf\r\n";
        const OTLP_GZIP: &str = "content-type: application/x-protobuf\r\ncontent-encoding: gzip\r\n";
        const REMOTE_WRITE: &str = "content-type: application/x-protobuf\r\ncontent-encoding: snappy\r\n\
                                    x-prometheus-remote-write-version: 0.1.0\r\n";
        let http = |address, path, headers| {
            let client = Client::connect(address).expect("the server listens");
            Some(Connection::Http { client, path, headers })
        };
        let connection = match way {
            Way::Http => http(peer.otlp_http?.0, peer.otlp_http?.1, OTLP),
            Way::HttpGzip => http(peer.otlp_http?.0, peer.otlp_http?.1, OTLP_GZIP),
            Way::RemoteWrite => http(peer.address, "/api/v1/write", REMOTE_WRITE),
            Way::Grpc => {
                let address = peer.otlp_grpc?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime can be built");
                let client = runtime.block_on(MetricsServiceClient::connect(format!("http://{address}")));
                Some(Connection::Grpc { runtime, client: client.expect("the server listens") })
            }
        };
        Some(Self { way, name: peer.name, connection: connection?, bytes: 0 })
    }

    /// Sends the next round of all instances; false where the server knows no such way.
    pub fn round(&mut self, fleet: &mut Fleet) -> bool {
        fleet.round += 1;
        for (instance, series) in fleet.instances() {
            let body = match self.way {
                Way::RemoteWrite => {
                    let request = fleet.remote_write(instance, series).encode_to_vec();
                    snap::raw::Encoder::new().compress_vec(&request).expect("a request fits")
                }
                Way::Http => fleet.otlp(instance, series).encode_to_vec(),
                Way::HttpGzip => gzip(&fleet.otlp(instance, series).encode_to_vec()),
                Way::Grpc => Vec::new(),
            };
            self.bytes += body.len();
            match &mut self.connection {
                Connection::Http { client, path, headers } => {
                    let (status, answer) = client.post(path, headers, &body).expect("the server answers");
                    if matches!(status, 400 | 404) && fleet.round == 1 {
                        return false;
                    }
                    assert!(status / 100 == 2, "{}: {status} {}", self.name, String::from_utf8_lossy(answer));
                }
                Connection::Grpc { runtime, client } => {
                    let request = fleet.otlp(instance, fleet.instances().nth(instance).expect("it is one of them").1);
                    self.bytes += request.encoded_len();
                    let answer = runtime.block_on(client.export(request)).expect("the server takes the request");
                    assert!(answer.into_inner().partial_success.is_none_or(|part| part.rejected_data_points == 0));
                }
            }
        }
        true
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}
