"""Capacity as others use it: KEDA's contract by a generated gRPC client, manifests by Kubernetes' own schemas, the table."""

import importlib
import json
import pathlib
import subprocess
import sys
import threading
import time

import grpc
import pytest
import remote_write
import requests
from conftest import BINARY, ROOT, free_port, wait_for

TLS = ROOT / "tests/otlp/tls"


@pytest.fixture(scope="module")
def keda(tmp_path_factory):
    """The modules that protoc makes of the contract: messages and stub."""
    from grpc_tools import protoc

    out = tmp_path_factory.mktemp("keda")
    source = pathlib.Path(__file__).with_name("externalscaler.proto")
    arguments = ["protoc", f"-I{source.parent}", f"--python_out={out}", f"--grpc_python_out={out}", str(source)]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(out))
    yield importlib.import_module("externalscaler_pb2"), importlib.import_module("externalscaler_pb2_grpc")
    sys.path.remove(str(out))


class Engine:
    """An engine that uses `cores` of a request of 2 and a limit of 3, told by remote write every second."""

    def __init__(self, agent, cores):
        self.agent, self.cores, self.stopped = agent, cores, threading.Event()
        self.thread = threading.Thread(target=self.live, daemon=True)
        self.thread.start()

    def live(self):
        session, began = requests.Session(), time.time() - 180
        # Three minutes that have been already, so that rates over two are full from the start.
        self.tell(session, began, range(0, 180, 15))
        while not self.stopped.wait(1):
            self.tell(session, began, [time.time() - began])

    def tell(self, session, began, moments):
        of = {"job": "rivet", "instance": "engine-0"}
        values = {
            "up": lambda s: 1,
            "rivet_gasoline_worker_last_ping": lambda s: (began + s) * 1000,
            "container_cpu_time_seconds_total": lambda s: 1000 + s * self.cores,
            "k8s_container_cpu_request": lambda s: 2,
            "k8s_container_cpu_limit": lambda s: 3,
        }
        series = [
            ({"__name__": name, **of}, [(float(value(s)), int((began + s) * 1000)) for s in moments])
            for name, value in values.items()
        ]
        remote_write.post(session, self.agent.url, series)

    def stop(self):
        self.stopped.set()
        self.thread.join(5)


@pytest.fixture
def scaled(agent):
    """`scaled(cores, **scaler)`: an agent with one engine and an external scaler; gives it, the engine and the address."""
    engines = []

    def make(cores, **scaler):
        address = f"127.0.0.1:{free_port()}"
        a = agent(
            api={"listen": f"127.0.0.1:{free_port()}", "external_scaler": {"listen": address, "stale_after": "15s", **scaler}},
            receive={
                "otlp": {p: {"endpoint": f"127.0.0.1:{free_port()}"} for p in ("grpc", "http")},
                "scrape": {"targets": []},
                "engine_api": {"enabled": False},
                "host": {"enabled": False},
                "remote_write": {"enabled": True},
            },
            rules={"interval": "1s"},
            engine={"backend": "postgres"},
            capacity={"postgres": {"max_connections": 500, "pubsub": False}},
        )
        engines.append(Engine(a, cores))
        wait_for("CPU of the engine", lambda: a.value("rivet:cpu_usage:cores"), 60)
        return a, engines[-1], address

    yield make
    for engine in engines:
        engine.stop()


def test_keda_gets_the_binding_headroom_and_an_error_once_it_is_stale(scaled, keda):
    messages, services = keda
    agent, engine, address = scaled(1.75)
    stub = services.ExternalScalerStub(grpc.insecure_channel(address))
    trigger = messages.ScaledObjectRef(name="rivet-engine", namespace="rivet", scalerMetadata={"metric": "binding"})
    spec = stub.GetMetricSpec(trigger, timeout=10).metricSpecs[0]
    assert (spec.metricName, spec.targetSizeFloat) == ("rivetwatch-binding-percent", 100.0)
    ask = messages.GetMetricsRequest(scaledObjectRef=trigger, metricName=spec.metricName)
    # 1.75 cores of 70 % of 2.
    def settled():
        try:
            return abs(stub.GetMetrics(ask, timeout=10).metricValues[0].metricValueFloat - 125.0) < 3
        except grpc.RpcError:
            return False  # The figures of before the start are old.

    assert wait_for("the rate to settle", settled, 60)
    assert stub.IsActive(trigger, timeout=10).result
    # 87 % of 70 % on one engine are 1.24, two engines.
    wanted = messages.ScaledObjectRef(scalerMetadata={"metric": "replicas", "job": "rivet"})
    answer = stub.GetMetrics(messages.GetMetricsRequest(scaledObjectRef=wanted), timeout=10).metricValues[0]
    assert (answer.metricName, answer.metricValue) == ("rivetwatch-wanted-replicas", 2)
    with pytest.raises(grpc.RpcError) as unknown:
        next(stub.StreamMetricSpec(trigger, timeout=10))
    assert unknown.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as nobody:
        other = messages.ScaledObjectRef(scalerMetadata={"job": "shop"})
        stub.GetMetrics(messages.GetMetricsRequest(scaledObjectRef=other), timeout=10)
    assert nobody.value.code() == grpc.StatusCode.UNAVAILABLE

    stream = stub.StreamIsActive(trigger, timeout=120)
    assert next(stream).result
    engine.stop()

    def error():
        try:
            stub.GetMetrics(ask, timeout=10)
        except grpc.RpcError as e:
            return e
        return None

    stale = wait_for("stale figures", error, 60)
    assert stale.code() == grpc.StatusCode.UNAVAILABLE and "old" in stale.details(), stale
    with pytest.raises(grpc.RpcError) as ended:
        next(stream)
    assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
    # What to aim at is still answered: without it KEDA would drop the metric, and the autoscaler could shrink.
    assert stub.GetMetricSpec(trigger, timeout=10).metricSpecs[0].targetSizeFloat == 100.0


def test_keda_shows_a_certificate(scaled, keda):
    messages, services = keda
    tls = {"cert_file": TLS / "server.pem", "key_file": TLS / "server.key", "client_ca_file": TLS / "ca.pem"}
    agent, _, address = scaled(0.5, tls={name: str(path) for name, path in tls.items()})
    read = lambda name: (TLS / name).read_bytes()
    options = [("grpc.ssl_target_name_override", "localhost")]
    trigger = messages.ScaledObjectRef(name="rivet-engine")
    with pytest.raises(grpc.RpcError):
        without = grpc.secure_channel(address, grpc.ssl_channel_credentials(read("ca.pem")), options)
        services.ExternalScalerStub(without).GetMetricSpec(trigger, timeout=10)
    shown = grpc.ssl_channel_credentials(read("ca.pem"), read("client.key"), read("client.pem"))
    stub = services.ExternalScalerStub(grpc.secure_channel(address, shown, options))
    assert stub.GetMetricSpec(trigger, timeout=10).metricSpecs


def test_an_open_scaler_is_refused_at_start(tmp_path):
    config = tmp_path / "rivetwatch.yaml"
    config.write_text(json.dumps({"api": {"external_scaler": {"listen": "0.0.0.0:6442"}}}))
    run = subprocess.run([BINARY, "run", "--config", config], capture_output=True, text=True, timeout=30, cwd=tmp_path)
    assert run.returncode == 2 and "api.external_scaler.auth" in run.stderr, run.stderr


def test_the_table_says_what_an_operator_must_know(scaled):
    agent, _, _ = scaled(1.75)
    capacity = lambda *more: subprocess.run(
        [BINARY, "capacity", "--agent", agent.url, *more], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    wait_for("the rate to settle", lambda: abs(agent.value("rivet:cpu_usage:cores") - 1.75) < 0.05, 60)
    text = capacity()
    assert text.startswith("Nearest limit: cpu to 70 % of request of engine-0"), text
    assert "64 for each engine" in text and "configured" in text, text
    report = json.loads(capacity("-o", "json"))
    kinds = {row["kind"]: row for row in report["rows"]}
    assert kinds["cpu_target"]["headroom_ratio"] == pytest.approx(-0.25, abs=0.05)
    assert kinds["postgres_connections"]["limit"] == 497
    text = capacity("--what-if", "replicas=4,traffic=2x,target.cpu=60%")
    assert "What if: 2 times the traffic" in text and "cpu to 60 % of request" in text, text
    assert "cpu_target" in capacity("-o", "yaml")


@pytest.mark.parametrize("version", ["1.30", "1.33", "1.37"])
def test_the_exported_autoscaler_passes_kubernetes_schemas(tmp_path, version):
    manifest = tmp_path / "hpa.yaml"
    export = [BINARY, "capacity", "export", "hpa", "--max", "7", "--namespace", "rivet-engine"]
    manifest.write_text(subprocess.run(export, capture_output=True, text=True, check=True).stdout)
    validate = [pathlib.Path(sys.executable).with_name("kubernetes-validate"), "--strict", "-k", version, manifest]
    run = subprocess.run(validate, capture_output=True, text=True)
    assert run.returncode == 0 and "passed" in run.stdout + run.stderr, run.stdout + run.stderr
    broken = tmp_path / "broken.yaml"
    broken.write_text(manifest.read_text().replace("maxReplicas: 7", "maxReplica: 7"))
    assert subprocess.run([*validate[:-1], broken], capture_output=True).returncode != 0, "the validator validates"
