"""Three sidecars and a gateway: one incident seen by three gives one page and one resolve."""

import threading
import time

import pytest
from conftest import FakeHttp, wait_for

PAGE = """# TYPE rivet_guard_proxy_request_total counter
rivet_guard_proxy_request_total {ok:.0f}
# TYPE rivet_guard_proxy_request_errors_total counter
rivet_guard_proxy_request_errors_total{{error="guard.actor_runner_failed"}} {failed:.0f}
# TYPE rivet_guard_proxy_request_duration histogram
rivet_guard_proxy_request_duration_bucket{{status="200",le="0.1"}} {ok:.0f}
rivet_guard_proxy_request_duration_bucket{{status="200",le="+Inf"}} {ok:.0f}
rivet_guard_proxy_request_duration_sum{{status="200"}} {ok:.0f}
rivet_guard_proxy_request_duration_count{{status="200"}} {ok:.0f}
# TYPE rivet_gasoline_cpu_usage histogram
rivet_gasoline_cpu_usage_bucket{{le="1"}} {seconds:.0f}
rivet_gasoline_cpu_usage_bucket{{le="+Inf"}} {seconds:.0f}
rivet_gasoline_cpu_usage_sum {cpu}
rivet_gasoline_cpu_usage_count {seconds:.0f}
"""


class FakeEngine(FakeHttp):
    """Serves a :6430 page whose counters follow real time at `ok` and `failed` calls a second.

    As the recorded pool in error has it, a refused call shows only among the errors.
    """

    def __init__(self):
        super().__init__()
        engine, lock = self, threading.Lock()
        self.ok, self.failed = 10.0, 0.0
        counted = {"ok": 1000.0, "failed": 0.0, "seconds": 100.0, "cpu": 30.0}
        last = time.time()

        def do_GET(handler):
            nonlocal last
            with lock:
                seconds, last = time.time() - last, time.time()
                counted["ok"] += engine.ok * seconds
                counted["failed"] += engine.failed * seconds
                counted["seconds"] += seconds
                counted["cpu"] += 0.3 * seconds
                data = PAGE.format(**counted).encode()
            handler.send_response(200)
            handler.send_header("content-type", "text/plain; version=0.0.4")
            handler.send_header("content-length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)

        self.server.RequestHandlerClass.do_GET = do_GET


@pytest.fixture
def engines():
    fakes = [FakeEngine() for _ in range(3)]
    yield fakes
    for fake in fakes:
        fake.stop()


def test_one_incident_one_page(agent, pagerduty, engines):
    # The shipped expressions and windows; only what merely waits is shortened.
    quick = {"for": "5s", "keep_firing_for": "5s"}
    gateway = agent(
        "gateway",
        pagerduty,
        role="gateway",
        rules={"interval": "2s", "override": {"RivetPoolInError": quick}},
    )
    for i, engine in enumerate(engines):
        target = {"url": f"{engine.url}/metrics", "labels": {"cluster": "eu"}}
        agent(
            f"sidecar-{i}",
            role="sidecar",
            env={"POD_NAME": f"engine-{i}"},
            receive={"scrape": {"interval": "2s", "timeout": "1s", "targets": [target]}},
            forward={"otlp": {"endpoint": f"http://{gateway.otlp('grpc')}"}},
        )
    wait_for("three instances", lambda: gateway.value('count(up{job="rivet"} == 1)') == 3, 60)
    wait_for("signals", lambda: gateway.value("count(rivet:request:rate)") == 3)
    instances = {r["metric"]["instance"] for r in gateway.query('up{job="rivet"}')}
    assert instances == {"engine-0", "engine-1", "engine-2"}
    wait_for("the sidecars' own series", lambda: gateway.value('count(rivetwatch_scrapes_total{job="rivetwatch"})') >= 3)
    time.sleep(20)
    assert pagerduty.events() == [], "healthy engines page nobody"

    for engine in engines:
        engine.ok, engine.failed = 0.0, 20.0
    wait_for("the page", lambda: pagerduty.events("trigger"), 90)
    for engine in engines:
        # Many calls soon make the failed ones few in the two minutes that the signals look back on.
        engine.ok, engine.failed = 500.0, 0.0
    wait_for("the resolve", lambda: pagerduty.events("resolve"), 150)
    time.sleep(15)
    summaries = [(e["event_action"], e["dedup_key"], e.get("payload", {}).get("summary")) for e in pagerduty.events()]
    assert len({key for _, key, _ in summaries}) == 1, summaries
    assert [action for action, _, _ in summaries].count("resolve") == 1, summaries
    assert pagerduty.open == {}
