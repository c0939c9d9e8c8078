"""The real engine with a real actor host: the host dies, one page about it; calls succeed again, its resolve."""

import json
import subprocess
import time

import pytest
import requests
from conftest import ENGINE, ENGINE_DIR, Process, wait_for

TOKEN = "peer-test-admin-token"
GUARD, PEER, METRICS = 6420, 6421, 6430


class Engine(Process):
    def __init__(self, folder, otlp):
        folder.mkdir(parents=True, exist_ok=True)
        env = {
            "RIVET_OTEL_ENABLED": "1",
            "RIVET_OTEL_SAMPLER_RATIO": "1",
            "RIVET_OTEL_GRPC_ENDPOINT": f"http://{otlp}",
            "RIVET__file_system__path": str(folder / "db"),
            "RIVET__AUTH__ADMIN_TOKEN": TOKEN,
        }
        super().__init__([ENGINE, "start"], folder / "engine.log", env)
        wait_for("the engine", lambda: requests.get(f"http://127.0.0.1:{PEER}/health", timeout=2).ok, 60)


class Host(Process):
    def __init__(self, folder):
        env = {"RIVET_ENDPOINT": f"http://default:{TOKEN}@127.0.0.1:{GUARD}"}
        super().__init__(["node", "host.mjs"], folder / "host.log", env, cwd=ENGINE_DIR)


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
            "otlp": {"grpc": {"endpoint": "127.0.0.1:14317"}, "http": {"endpoint": "127.0.0.1:14318"}},
            "scrape": {"interval": "5s"},
        },
        rules={"interval": "5s"},
        engine={"data_dir": str(tmp_path / "db"), "backend": "rocksdb", "sampler_ratio": 1.0},
    )
    engine = start(Engine, tmp_path, "127.0.0.1:14317")
    body = {"datacenters": {"default": {"normal": {}}}}
    url = f"http://127.0.0.1:{GUARD}/runner-configs/default?namespace=default"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    wait_for("the pool", lambda: requests.put(url, json=body, headers=headers, timeout=5).ok)
    host = start(Host, tmp_path)
    wait_for("a call", lambda: start(Load, tmp_path, f"first-{time.time()}", 1, 2, 2).result(30)["ok"] > 0, 90, 2)

    healthy = start(Load, tmp_path, "steady", 10, 45, 10).result(90)
    assert healthy["failed"] == 0, healthy
    wait_for("signals", lambda: a.value("sum(rivet:request:rate)") > 1)
    wait_for("CPU of the host", lambda: a.value("max(rivet:cpu_usage:cores)") > 0)
    wait_for("memory of the host", lambda: a.value("max(rivet:memory_usage:bytes)") > 50e6)
    wait_for("the engine's version", lambda: a.query('rivet_engine_info{version="2.3.19"}'))
    wait_for("spans", lambda: a.value('sum(rivet_span_requests_total{span="guard_request"})') > 100)
    assert pagerduty.events() == [], "a healthy engine pages nobody"

    host.stop()
    failing = start(Load, tmp_path, "steady", 10, 150, 5)
    trigger = wait_for("a page", lambda: pagerduty.events("trigger"), 180)[0]
    assert "host" in json.dumps(trigger["payload"]).lower() or "actor" in trigger["payload"]["summary"].lower(), trigger
    failing.result(240)

    start(Host, tmp_path)
    # Old actors go on failing for many minutes; fresh ones show that calls succeed again.
    wait_for("a call", lambda: start(Load, tmp_path, f"again-{time.time()}", 1, 2, 2).result(30)["ok"] > 0, 120, 2)
    fresh = start(Load, tmp_path, "fresh", 10, 240, 10)
    wait_for("the resolve", lambda: pagerduty.events("resolve"), 600)
    fresh.stop()
    keys = {e["dedup_key"] for e in pagerduty.events("trigger")}
    assert len(keys) == 1, [e["payload"]["summary"] for e in pagerduty.events("trigger")]
    assert pagerduty.open == {}, "every page has its resolve"
    assert TOKEN not in a.tail(), "the admin token is in the agent's log"
    wal = b"".join(p.read_bytes() for p in (a.folder / "data").rglob("*") if p.is_file())
    assert TOKEN.encode() not in wal, "the admin token is on the agent's disk"
    assert engine.child.poll() is None
