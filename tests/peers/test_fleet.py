"""Three sidecars and a gateway: one incident seen by three gives one page and one resolve."""

import time

from conftest import wait_for
from conftest import FakeHttp

PAGE = """# TYPE rivet_guard_proxy_request_total counter
rivet_guard_proxy_request_total {total}
# TYPE rivet_guard_proxy_request_errors_total counter
rivet_guard_proxy_request_errors_total{{error="guard.actor_runner_failed"}} {errors}
"""


class FakeEngine(FakeHttp):
    """Serves a :6430 page whose numbers follow real time."""

    def __init__(self):
        super().__init__()
        engine = self
        self.broken = False
        self.total, self.errors, self.last = 1000.0, 0.0, time.time()

        def do_GET(handler):
            now = time.time()
            seconds, engine.last = now - engine.last, now
            if engine.broken:
                engine.errors += 10 * seconds
            else:
                engine.total += 10 * seconds
            data = PAGE.format(total=engine.total, errors=engine.errors).encode()
            handler.send_response(200)
            handler.send_header("content-length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)

        self.server.RequestHandlerClass.do_GET = do_GET


def test_one_incident_one_page(agent, pagerduty):
    gateway = agent(name="gateway", role="gateway", pager=pagerduty, rules={"interval": "2s"})
    endpoint = __import__("json").loads(gateway.config.read_text())["receive"]["otlp"]["grpc"]["endpoint"]
    engines = [FakeEngine() for _ in range(3)]
    for i, engine in enumerate(engines):
        agent(
            name=f"sidecar-{i}",
            role="sidecar",
            env={"POD_NAME": f"engine-{i}"},
            receive={"scrape": {"interval": "2s", "engine": f"{engine.url}/metrics"}},
            forward={"otlp": {"endpoint": f"http://{endpoint}"}},
        )
    wait_for("three instances", lambda: gateway.value('count(up{job="rivet"} == 1)') == 3, 60)
    wait_for("signals", lambda: gateway.value("count(rivet:request:rate)") == 3, 120)
    time.sleep(30)
    assert pagerduty.events() == [], "healthy engines page nobody"
    for engine in engines:
        engine.broken = True
    wait_for("the page", lambda: pagerduty.events("trigger"), 240)
    for engine in engines:
        engine.broken = False
    wait_for("the resolve", lambda: pagerduty.events("resolve"), 900)
    assert len({e["dedup_key"] for e in pagerduty.events("trigger")}) == 1
    assert len(pagerduty.events("resolve")) == 1
    for engine in engines:
        engine.stop()
