"""The agent's own metrics, traces and logs leave it through OTLP; a second agent takes them in."""

import requests
from conftest import wait_for

WATCHED = 'job="rivetwatch",instance="watched"'


def test_metrics_traces_and_logs_reach_another_agent(agent):
    b = agent("collector", env={"POD_NAME": "collector"})
    a = agent(
        "watched",
        env={"POD_NAME": "watched"},
        telemetry={"otlp": {"endpoint": f"http://{b.otlp('grpc')}", "interval": "1s"}},
        rules={"interval": "1s"},
    )
    wait_for("metrics", lambda: b.query(f"rivetwatch_points_stored_total{{{WATCHED}}}"))
    names = f"count(count by (__name__) ({{__name__=~'rivetwatch_.+',{WATCHED}}}))"
    wait_for("every metric", lambda: b.value(names) > 80)
    # The number of rules does not change, so both must tell the same.
    loaded = "rivetwatch_rules_loaded"
    assert b.value(f"{loaded}{{{WATCHED}}}") == a.value(f'{loaded}{{job="rivetwatch"}}') == a.own(loaded) > 100

    def received(signal):
        return b.own("rivetwatch_otlp_received_items_total", signal=signal)

    wait_for("the log lines of the start", lambda: received("logs") > 0)
    before = received("traces")
    for _ in range(20):
        assert requests.get(f"{a.url}/api/v1/query", params={"query": "vector(1)"}, timeout=5).ok
    wait_for("spans", lambda: received("traces") > before)
    assert b.own("rivetwatch_otlp_refused_requests_total") == 0
