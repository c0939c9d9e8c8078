"""Fixtures: the agent as a process, and the peers it talks to. Everything listens on loopback, on free ports."""

import gzip
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("RIVETWATCH_BINARY", ROOT / "target/release/rivetwatch"))
SHIPPED = ROOT / "tests/checklist/shipped"
ENGINE_DIR = ROOT / "target/peers/engine"
ENGINE = ENGINE_DIR / "node_modules/@rivetkit/engine-cli-linux-x64-musl/rivet-engine"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ended(Exception):
    """A process that should run has ended."""


def wait_for(what, check, seconds=60, every=0.25):
    """Polls `check` until it gives something true; returns that."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except (requests.RequestException, AssertionError, KeyError, IndexError) as error:
            last = error
        time.sleep(every)
    raise AssertionError(f"waited {seconds} s for {what}; last: {last!r}")


class Process:
    """A child process whose output goes to a file and that is gone after the test."""

    def __init__(self, command, log, env=None, cwd=None):
        self.log = pathlib.Path(log)
        self.out = open(self.log, "ab")
        self.command = [str(part) for part in command]
        self.child = subprocess.Popen(
            self.command, stdout=self.out, stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **(env or {})}
        )

    def stop(self, how=signal.SIGTERM, patience=20):
        """Ends it and returns its exit code; only what does not end in time is killed, and fails the test."""
        try:
            if self.child.poll() is None:
                self.child.send_signal(how)
                self.child.wait(patience)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.command[0]} did not stop in {patience} s") from None
        finally:
            self.out.close()
        return self.child.returncode

    def alive(self):
        """Raises once the process has ended, so that nobody waits for what cannot come."""
        code = self.child.poll()
        if code is not None:
            raise Ended(f"{self.command[0]} ended with {code}:\n{self.tail()}")
        return True

    def tail(self):
        return self.log.read_text(errors="replace")[-4000:]


class Agent(Process):
    """`rivetwatch run` with a configuration of its own."""

    def __init__(self, folder, config, env=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.api_port = config["api"]["listen"].rsplit(":", 1)[1]
        self.url = f"http://127.0.0.1:{self.api_port}"
        self.config = self.folder / "rivetwatch.yaml"
        self.config.write_text(json.dumps(config))  # JSON is YAML.
        super().__init__([BINARY, "run", "--config", self.config], self.folder / "agent.log", env)
        try:
            wait_for("the agent to be ready", lambda: self.alive() and requests.get(f"{self.url}/readyz", timeout=2).ok, 30, 0.05)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def otlp(self, protocol):
        """`host:port` of the receiver for `grpc` or `http`."""
        return json.loads(self.config.read_text())["receive"]["otlp"][protocol]["endpoint"]

    def query(self, expr):
        self.alive()
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]["result"]

    def value(self, expr):
        result = self.query(expr)
        assert len(result) == 1, f"{expr}: {result}"
        return float(result[0]["value"][1])

    def alerts(self):
        self.alive()
        return requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]

    def own(self, name, **labels):
        """Sum of an own metric, as `/metrics` has it; none counts as 0."""
        self.alive()
        total = 0.0
        for line in requests.get(f"{self.url}/metrics", timeout=10).text.splitlines():
            series, _, value = line.rpartition(" ")
            if series.split("{")[0] == name and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total


class FakeKubernetes:
    """Lists the shipped objects as an API server does, whatever the namespace; `forbidden` kinds are refused.

    `pod_metrics` answers metrics.k8s.io with a status and a body; the default is a cluster without metrics-server."""

    KINDS = {
        "deployments": "Deployment", "statefulsets": "StatefulSet", "services": "Service", "ingresses": "Ingress", "configmaps": "ConfigMap",
        "horizontalpodautoscalers": "HorizontalPodAutoscaler", "poddisruptionbudgets": "PodDisruptionBudget", "pods": "Pod",
    }
    TOKEN = "kube-t0ken"

    def __init__(self, forbidden=()):
        self.objects = [d for path in SHIPPED.glob("*.yaml") for d in yaml.safe_load_all(path.read_text())]
        self.forbidden, self.asked = forbidden, []
        self.pod_metrics = lambda: (404, {"kind": "Status", "code": 404})
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                fake.asked.append(self.path)
                status, body = fake.page(self.path.split("?")[0])
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self, path):
        if path.startswith("/apis/metrics.k8s.io/"):
            return self.pod_metrics()
        kind = path.rsplit("/", 1)[1]
        if kind in self.forbidden:
            return 403, {"kind": "Status", "code": 403, "message": "forbidden"}
        return 200, {"kind": "List", "metadata": {}, "items": [o for o in self.objects if o["kind"] == self.KINDS.get(kind)]}

    def kubeconfig(self, folder, **context):
        path = folder / "kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "t", "users": [{"name": "u", "user": {"token": self.TOKEN}}],
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "contexts": [{"name": "t", "context": {"cluster": "c", "user": "u", **context}}],
        }))
        return path


class FakeHttp:
    """Keeps what is posted to it. `answer` gives status and body for each request."""

    def __init__(self, answer=lambda path, body: (200, {})):
        self.requests = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                try:
                    body = json.loads(body)
                except ValueError:
                    body = body.decode(errors="replace")
                fake.requests.append((time.time(), self.path, body))
                status, reply = answer(self.path, body)
                data = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()


class PagerDuty(FakeHttp):
    """Events API v2 as PagerDuty documents it: 202 for well-formed events, 400 with `errors` otherwise."""

    def __init__(self):
        super().__init__(self.judge)
        self.open = {}

    def judge(self, path, body):
        errors = []
        if path != "/v2/enqueue":
            return 404, {"status": "not found"}
        if not isinstance(body, dict):
            return 400, {"status": "invalid event", "message": "not JSON", "errors": ["not JSON"]}
        if len(body.get("routing_key", "")) != 32:
            errors.append("'routing_key' must be 32 characters")
        if body.get("event_action") not in ("trigger", "acknowledge", "resolve"):
            errors.append("'event_action' is invalid")
        if body.get("event_action") == "trigger":
            payload = body.get("payload", {})
            for field in ("summary", "source", "severity"):
                if not payload.get(field):
                    errors.append(f"'payload.{field}' is missing or blank")
            if payload.get("severity") not in ("critical", "error", "warning", "info"):
                errors.append("'payload.severity' is invalid")
            if len(payload.get("summary", "")) > 1024:
                errors.append("'payload.summary' is too long")
        elif not body.get("dedup_key"):
            errors.append("'dedup_key' is missing")
        if errors:
            return 400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        key = body.get("dedup_key")
        if body["event_action"] == "trigger":
            self.open[key] = body
        elif body["event_action"] == "resolve":
            self.open.pop(key, None)
        return 202, {"status": "success", "message": "Event processed", "dedup_key": key}

    def events(self, action=None):
        return [body for _, _, body in self.requests if action in (None, body.get("event_action"))]


def agent_config(folder, pager=None, **more):
    """A configuration on free ports that scrapes nothing and pages the fake, without waiting in groups."""
    config = {
        "api": {"listen": f"127.0.0.1:{free_port()}"},
        "receive": {
            "otlp": {
                "grpc": {"endpoint": f"127.0.0.1:{free_port()}"},
                "http": {"endpoint": f"127.0.0.1:{free_port()}"},
            },
            "scrape": {"targets": []},
            "engine_api": {"enabled": False},
            "host": {"enabled": False},
        },
        "storage": {"path": str(folder / "data")},
    }
    if pager is not None:
        config["notify"] = {
            "route": {
                "receiver": "none",
                "group_wait": "0s",
                "group_interval": "5s",
                "group_by": ["alertname"],
                "routes": [{"receiver": "pager", "matchers": ['severity="critical"']}],
            },
            "receivers": [
                {"name": "none"},
                {"name": "pager", "pagerduty_configs": [{"routing_key": "k" * 32, "url": f"{pager.url}/v2/enqueue"}]},
            ],
        }
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key] = {**config[key], **value}
        else:
            config[key] = value
    return config


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails shows the end of what its processes wrote."""
    report = yield
    if report.failed:
        for process in getattr(item, "processes", []):
            report.sections.append((f"log of {process.log.parent.name}/{process.log.name}", process.tail()))
    return report


@pytest.fixture
def start(request):
    """Starts processes that are stopped, last first, when the test ends."""
    running = request.node.processes = []

    def run(kind, *args, **kwargs):
        process = kind(*args, **kwargs)
        running.append(process)
        return process

    yield run
    failures = []
    for process in reversed(running):
        try:
            process.stop()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, failures


@pytest.fixture
def agent(start, tmp_path):
    """`agent()`, `agent(name, pager, environment, **configuration)`: an agent of its own folder and ports."""

    def make(name="agent", pager=None, env=None, **more):
        folder = tmp_path / name
        return start(Agent, folder, agent_config(folder, pager, **more), env)

    return make


@pytest.fixture
def pagerduty():
    fake = PagerDuty()
    yield fake
    fake.stop()
