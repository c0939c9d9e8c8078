"""The real engine with a real actor host: the host dies, one page about it; calls succeed again, its resolve."""

import json
import signal
import time

import pytest
import requests
from conftest import ENGINE, ENGINE_DIR, Process, free_port, wait_for

TOKEN = "peer-test-admin-token"
GUARD, PEER, METRICS = free_port(), free_port(), free_port()


class Engine(Process):
    """A single node that keeps its data in `folder`/db and writes its process id to `folder`/engine.pid."""

    def __init__(self, folder, otlp):
        folder.mkdir(parents=True, exist_ok=True)
        env = {
            "RIVET_OTEL_ENABLED": "1",
            "RIVET_OTEL_SAMPLER_RATIO": "1",
            "RIVET_OTEL_GRPC_ENDPOINT": f"http://{otlp}",
            "RIVET__file_system__path": str(folder / "db"),
            "RIVET__AUTH__ADMIN_TOKEN": TOKEN,
            "RIVET__guard__port": str(GUARD),
            "RIVET__api_peer__port": str(PEER),
            "RIVET__metrics__port": str(METRICS),
            # Without this an engine outside a container takes the whole machine's load for its own and sheds work.
            "RIVET__runtime__worker_cpu_max": "1000000",
        }
        super().__init__([ENGINE, "start"], folder / "engine.log", env)
        (folder / "engine.pid").write_text(str(self.child.pid))
        health = f"http://127.0.0.1:{PEER}/health"
        wait_for("the engine", lambda: self.alive() and requests.get(health, timeout=2).ok, 60)

    def stop(self, how=signal.SIGKILL, patience=20):
        """Dies at once: asked politely it would wait for its requests for minutes."""
        return super().stop(how, patience)


class Host(Process):
    def __init__(self, folder, name):
        env = {"RIVET_ENDPOINT": f"http://default:{TOKEN}@127.0.0.1:{GUARD}"}
        super().__init__(["node", "host.mjs"], folder / f"host-{name}.log", env, cwd=ENGINE_DIR)

    def stop(self, how=signal.SIGKILL, patience=20):
        """Dies at once, as a host that is lost does."""
        return super().stop(how, patience)


class Load(Process):
    def __init__(self, folder, name, actors, seconds, rate):
        endpoint = f"http://default:{TOKEN}@127.0.0.1:{GUARD}"
        command = ["node", "load.mjs", endpoint, name, actors, seconds, rate]
        self.output = folder / f"load-{name}.log"
        super().__init__(command, self.output, cwd=ENGINE_DIR)

    def result(self, patience):
        self.child.wait(patience)
        return json.loads(self.output.read_text().strip().splitlines()[-1])


@pytest.mark.skipif(not ENGINE.exists(), reason="the engine's package is not installed")
def test_one_page_when_the_actor_host_dies_and_its_resolve(agent, pagerduty, start, tmp_path):
    a = agent(
        pager=pagerduty,
        receive={
            "scrape": {
                # The shipped timeout: an engine on a starved machine is slow, not gone.
                "interval": "10s",
                "timeout": "10s",
                "targets": [{"url": f"http://127.0.0.1:{METRICS}/metrics"}],
            },
            "engine_api": {
                "peer_url": f"http://127.0.0.1:{PEER}",
                "public_url": f"http://127.0.0.1:{GUARD}",
                "interval": "5s",
                "detail_interval": "10s",
            },
            "host": {
                "interval": "5s",
                "pid_file": str(tmp_path / "engine.pid"),
                "data_directory": str(tmp_path),
            },
            "spans": {"sampler_ratio": 1.0},
        },
        rules={"interval": "5s"},
        engine={"backend": "rocksdb"},
    )
    engine = start(Engine, tmp_path, a.otlp("grpc"))
    body = {"datacenters": {"default": {"normal": {}}}}
    url = f"http://127.0.0.1:{GUARD}/runner-configs/default?namespace=default"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    wait_for("the pool", lambda: requests.put(url, json=body, headers=headers, timeout=5).ok)

    def calls_succeed():
        return start(Load, tmp_path, f"probe-{time.time()}", 1, 2, 2).result(30)["ok"] > 0

    host = start(Host, tmp_path, "first")
    wait_for("a call", calls_succeed, 90, 2)
    start(Load, tmp_path, "warm", 5, 10, 2).result(60)
    healthy = start(Load, tmp_path, "steady", 5, 40, 5).result(90)
    # On a busy machine a call that starts an actor may run out of the engine's own 15 s.
    assert healthy["ok"] > 100 and healthy["failed"] <= healthy["ok"] / 50, healthy
    wait_for("signals", lambda: a.value("sum(rivet:request:rate)") > 1)
    wait_for("CPU of the engine", lambda: a.value("max(rivet:cpu_usage:cores)") > 0)
    wait_for("memory of the engine", lambda: a.value("max(rivet:memory_usage:bytes)") > 50e6)
    wait_for("free space", lambda: 0 < a.value("max(rivet:data_directory_free:ratio)") < 1)
    wait_for("the engine's version", lambda: a.query('rivet_engine_info{version="2.3.19"}'))
    wait_for("the pool's host", lambda: a.value("sum(rivet:host_connected:count)") == 1)
    wait_for("spans", lambda: a.value('sum(rivet_span_requests_total{span="guard_request"})') > 100)
    assert len(a.query('count by (job, instance) (rivet:engine_up:bool)')) == 1, "one engine has one identity"
    assert pagerduty.events() == [], "a healthy engine pages nobody"

    host.stop()
    # The same actors, whose host is gone; more calls than it takes to page.
    failing = start(Load, tmp_path, "steady", 5, 240, 5)
    wait_for("a page", lambda: pagerduty.events("trigger"), 180)
    summary = pagerduty.events("trigger")[0]["payload"]["summary"]
    assert "actor hosts is lost" in summary, summary
    failing.stop()

    # Old actors go on failing for many minutes; fresh ones show that calls succeed again.
    start(Host, tmp_path, "second")
    wait_for("a call", calls_succeed, 120, 2)
    fresh = start(Load, tmp_path, "fresh", 10, 300, 10)
    wait_for("the resolve", lambda: pagerduty.events("resolve"), 300)
    fresh.stop()
    pages = [(e["event_action"], e["payload"]["summary"]) for e in pagerduty.events("trigger")]
    assert len({e["dedup_key"] for e in pagerduty.events("trigger")}) == 1, pages
    assert len(pagerduty.events("resolve")) == 1 and pagerduty.open == {}, "every page has one resolve"
    engine.alive()

    assert a.own("rivetwatch_secrets_redacted_total") > 0, "the token came in spans, and was cut"
    assert a.stop() == 0
    written = [path for path in a.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert written == [], "the admin token is on the agent's disk or in its log"
