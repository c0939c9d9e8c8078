"""OpenTelemetry's Python SDK sends over both protocols; the API returns what was sent."""

import pytest
from conftest import wait_for
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource


@pytest.mark.parametrize("protocol", ["grpc", "http", "http-gzip"])
def test_counters_and_histograms_arrive(agent, protocol):
    a = agent()
    grpc, http = a.otlp("grpc"), a.otlp("http")
    exporter = {
        "grpc": lambda: GrpcExporter(endpoint=f"http://{grpc}", insecure=True),
        "http": lambda: HttpExporter(endpoint=f"http://{http}/v1/metrics"),
        "http-gzip": lambda: HttpExporter(endpoint=f"http://{http}/v1/metrics", compression=Compression.Gzip),
    }[protocol]()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource.create({"service.name": "shop", "service.instance.id": "shop-1"})
    exponential = View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider(metric_readers=[reader], resource=resource, views=[exponential])
    meter = provider.get_meter("peer")
    meter.create_counter("orders").add(3, {"kind": "book"})
    meter.create_up_down_counter("open").add(-2)
    latency = meter.create_histogram("latency", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for seconds in (0.05, 0.5, 5.0):
        latency.record(seconds)
    size = meter.create_histogram("size")
    for value in (1, 2, 4, 8):
        size.record(value)
    assert provider.force_flush()
    provider.shutdown()

    labels = '{job="shop",instance="shop-1"}'
    assert wait_for("the counter", lambda: a.value(f'orders_total{labels[:-1]},kind="book"}}') == 3.0)
    assert a.value(f"open{labels}") == -2.0
    buckets = {r["metric"]["le"]: float(r["value"][1]) for r in a.query(f"latency_seconds_bucket{labels}")}
    assert {float(le): n for le, n in buckets.items()} == {0.1: 1.0, 1.0: 2.0, float("inf"): 3.0}
    assert a.value(f"latency_seconds_sum{labels}") == pytest.approx(5.55)
    assert a.value(f"histogram_count(size{labels})") == 4.0
    assert a.value(f"histogram_sum(size{labels})") == 15.0
    # 160 buckets from 1 to 8 leave scale 5, whose bounds lie 2.2 % apart; 0.4 falls into the bucket of 2.
    assert a.value(f"histogram_quantile(0.4, size{labels})") == pytest.approx(2.0, rel=0.022)
    assert a.own("rivetwatch_otlp_refused_requests_total") == 0
