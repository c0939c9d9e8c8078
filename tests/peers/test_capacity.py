"""Capacity as others use it: KEDA's contract by a generated gRPC client, manifests by Kubernetes' own schemas, the table."""

import datetime
import importlib
import json
import pathlib
import subprocess
import sys
import threading
import time

import grpc
import jsonschema
import pytest
import remote_write
import requests
import yaml
from conftest import BINARY, ENGINE_DIR, ROOT, FakeKubernetes, free_port, wait_for

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
    """An engine that uses `cores` of a request of 2 and a limit of 3, told by remote write every second.

    With `kubernetes` it is a pod of a namespace, and kube-state-metrics tells of its pods and autoscaler as well."""

    def __init__(self, agent, cores, kubernetes=False):
        self.agent, self.cores, self.kubernetes, self.stopped = agent, cores, kubernetes, threading.Event()
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
        told = [({"__name__": name, **of}, value) for name, value in values.items()]
        if self.kubernetes:
            told = [({**labels, "namespace": "rivet", "pod": "engine-0"}, value) for labels, value in told]
            told += [(labels, lambda s, value=value: value) for labels, value in kube_state_metrics(began)]
        series = [
            (labels, [(float(value(s)), int((began + s) * 1000)) for s in moments]) for labels, value in told
        ]
        remote_write.post(session, self.agent.url, series)

    def stop(self):
        self.stopped.set()
        self.thread.join(5)


def kube_state_metrics(began):
    """What kube-state-metrics 2.x says of two engine pods, one of them pending, and of the shipped autoscaler."""
    of = {"job": "kube-state-metrics", "instance": "ksm", "namespace": "rivet"}
    hpa = {**of, "horizontalpodautoscaler": "rivet-engine"}
    ready = {**of, "pod": "engine-0"}
    yield {"__name__": "kube_horizontalpodautoscaler_spec_min_replicas", **hpa}, 2
    yield {"__name__": "kube_horizontalpodautoscaler_spec_max_replicas", **hpa}, 10
    yield {"__name__": "kube_horizontalpodautoscaler_status_current_replicas", **hpa}, 2
    yield {"__name__": "kube_horizontalpodautoscaler_status_desired_replicas", **hpa}, 2
    target = {"metric_name": "cpu", "metric_target_type": "utilization"}
    yield {"__name__": "kube_horizontalpodautoscaler_spec_target_metric", **hpa, **target}, 60
    for pod, phase in (("engine-0", "Running"), ("engine-1", "Pending")):
        yield {"__name__": "kube_pod_container_info", **of, "pod": pod, "container": "rivet-engine"}, 1
        yield {"__name__": "kube_pod_status_phase", **of, "pod": pod, "phase": phase}, 1
    yield {"__name__": "kube_pod_status_ready", **ready, "condition": "true"}, 1
    yield {"__name__": "kube_pod_status_ready_time", **ready}, began - 3600
    yield {"__name__": "kube_pod_start_time", **ready}, began - 3600


@pytest.fixture
def scaled(agent):
    """`scaled(cores, **scaler)`: an agent with one engine and an external scaler; gives it, the engine and the address."""
    engines = []

    def make(cores, kubernetes=False, pod_metrics=None, check=None, **scaler):
        address = f"127.0.0.1:{free_port()}"
        a = agent(
            api={"listen": f"127.0.0.1:{free_port()}", "external_scaler": {"listen": address, "stale_after": "15s", **scaler}},
            receive={
                "otlp": {p: {"endpoint": f"127.0.0.1:{free_port()}"} for p in ("grpc", "http")},
                "scrape": {"targets": []},
                "engine_api": {"enabled": False},
                "host": {"enabled": False},
                "remote_write": {"enabled": True},
                "pod_metrics": pod_metrics or {},
            },
            check=check or {},
            rules={"interval": "1s"},
            engine={"backend": "postgres"},
            capacity={"postgres": {"max_connections": 500, "pubsub": False}},
        )
        engines.append(Engine(a, cores, kubernetes))
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


def test_the_autoscaler_of_kubernetes_is_followed(scaled):
    agent, _, _ = scaled(1.75, kubernetes=True)
    capacity = lambda: requests.get(f"{agent.url}/api/v1/capacity", timeout=30).json()["data"]

    def settled():
        found = capacity()["autoscalers"]
        return found if found and found[0]["replicas"] == 2 and found[0]["wanted_replicas"] != "unknown" else None

    autoscaler = wait_for("the autoscaler", settled, 60)[0]
    assert (autoscaler["source"], autoscaler["min_replicas"], autoscaler["max_replicas"]) == ("kubernetes", 2, 10)
    # One pod at 87 % and one pending as idle: 43 % of 60 % turns the direction, so that the two stay.
    assert (autoscaler["wanted_replicas"], autoscaler["kubernetes_replicas"]) == (2, 2), autoscaler
    assert autoscaler["most_replicas"] == 7, "500 connections less 3, 64 for each engine"
    advice = [a["advice"] for a in capacity()["advice"]]
    assert any("`maxReplicas` to 7" in text for text in advice), advice


def measured(cpu):
    """What metrics-server answers while engine-0 uses so much."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    usage = {"name": "rivet-engine", "usage": {"cpu": cpu, "memory": "524288Ki"}}
    return 200, {"items": [{"metadata": {"name": "engine-0"}, "timestamp": now, "window": "15.02s", "containers": [usage]}]}


def test_metrics_k8s_io_is_followed_and_its_absence_said_once(scaled, tmp_path):
    kubernetes = FakeKubernetes()
    kubeconfig = kubernetes.kubeconfig(tmp_path, namespace="rivet")
    agent, _, _ = scaled(
        0.5, kubernetes=True, pod_metrics={"interval": "5s"},
        check={"enabled": False, "kubernetes": {"kubeconfig": str(kubeconfig)}},
    )

    def autoscaler():
        found = requests.get(f"{agent.url}/api/v1/capacity", timeout=30).json()["data"]["autoscalers"]
        return found[0] if found and found[0]["replicas"] == 2 else None

    def noted(word, wanted):
        found = autoscaler()
        return found if found and any(word in note for note in found["notes"]) and found["wanted_replicas"] == wanted else None

    wait_for("two failures", lambda: agent.own("rivetwatch_pod_metrics_failures_total", reason="absent") >= 2, 60)
    assert agent.own("rivetwatch_pod_metrics_readable") == 0
    assert wait_for("approximate figures", lambda: noted("approximate: usage over 2 m", 2), 60)

    kubernetes.pod_metrics = lambda: measured("3000000000n")
    # 3 of 4 cores of both, the pending one counted as idle, are 75 %: 75 / 60 × 2 = 2.5, three.
    seen = wait_for("figures of metrics.k8s.io", lambda: noted("usage from metrics.k8s.io", 3), 60)
    assert not any("approximate" in note for note in seen["notes"]), seen
    assert agent.value("rivet:cpu_usage:cores") == 3
    assert agent.value("rivet:memory_limit:bytes") == 4 << 30
    assert agent.own("rivetwatch_pod_metrics_readable") == 1 and agent.own("rivetwatch_pod_metrics_pods") == 1

    kubernetes.pod_metrics = lambda: (403, {"kind": "Status", "message": "pods.metrics.k8s.io is forbidden"})
    wait_for("two refusals", lambda: agent.own("rivetwatch_pod_metrics_failures_total", reason="forbidden") >= 2, 60)
    log = agent.log.read_text()
    for words in ("there is no metrics-server", "metrics.k8s.io is read", "no right to list pods in namespace `rivet`"):
        assert log.count(words) == 1, (words, agent.tail())
    assert kubernetes.TOKEN not in log
    paths = {path.split("?")[0] for path in kubernetes.asked}
    assert paths == {
        "/apis/apps/v1/namespaces/rivet/deployments",
        "/apis/apps/v1/namespaces/rivet/statefulsets",
        "/apis/metrics.k8s.io/v1beta1/namespaces/rivet/pods",
        "/api/v1/namespaces/rivet/pods",
    }, "least privilege"


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


KEDA_TYPES = ENGINE_DIR / "node_modules/@kubernetes-models/keda"
# A mistake in the exported object, and what finds it: KEDA's own types, or the closed schema, since the API server drops what
# it does not know.
SCALED_OBJECT_MISTAKES = [
    ("maxReplicaCount: 7", "maxReplicas: 7", "closed"),
    ("maxReplicaCount: 7", 'maxReplicaCount: "7"', "both"),
    ("metricType: Value", "metricType: Utilization", "closed"),
    ("scalerAddress:", "address:", "closed"),
    ('value: "70"', "value: 70", "both"),
    ("periodSeconds: 600", "periodSeconds: 3600", "closed"),
    ("stabilizationWindowSeconds", "stabilisationWindowSeconds", "closed"),
    ("  triggers:", "  trigger:", "both"),
    ("kind: ScaledObject", "kind: ScaledJob", "both"),
]


def exported_scaled_object(*more):
    export = [BINARY, "capacity", "export", "keda", "--max", "7", "--namespace", "rivet-engine", *more]
    return subprocess.run(export, capture_output=True, text=True, check=True).stdout


def closed_schema_of_scaled_objects():
    schema = json.loads(pathlib.Path(__file__).with_name("scaledobject.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    "more", [(), ("--target-kind", "StatefulSet", "--scaler-token-env", "TOKEN", "--scaler-authentication", "rivetwatch")]
)
def test_the_exported_scaled_object_has_only_what_keda_knows(more):
    validator = closed_schema_of_scaled_objects()
    errors = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(yaml.safe_load(exported_scaled_object(*more)))]
    assert not errors, errors


def test_the_closed_schema_of_scaled_objects_finds_mistakes():
    validator, text = closed_schema_of_scaled_objects(), exported_scaled_object()
    for right, wrong, _ in SCALED_OBJECT_MISTAKES:
        assert right in text
        assert not validator.is_valid(yaml.safe_load(text.replace(right, wrong))), wrong


@pytest.mark.skipif(not KEDA_TYPES.exists(), reason="KEDA's types are not installed")
def test_kedas_own_types_accept_the_exported_scaled_object():
    def validate(text):
        return subprocess.run(["node", "scaledobject.mjs"], cwd=ENGINE_DIR, input=text, capture_output=True, text=True)

    text = exported_scaled_object("--scaler-authentication", "rivetwatch")
    done = validate(text)
    assert done.returncode == 0 and done.stdout == "1\n", done.stderr
    for right, wrong, by in SCALED_OBJECT_MISTAKES:
        if by == "both":
            assert "ValidationError" in validate(text.replace(right, wrong)).stderr, wrong
