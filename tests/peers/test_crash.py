"""Killed without warning under load, the agent still has every point it answered for."""

import json
import os
import signal
import threading
import time

import requests
from conftest import Agent, agent_config

CLIENTS, POINTS = 4, 50
# More of them in .ci/long.
ROUNDS = int(os.environ.get("RIVETWATCH_CRASH_ROUNDS", "3"))


class Client(threading.Thread):
    """Sends requests of 50 series, one point each, as fast as they are answered; keeps what was answered with 200."""

    def __init__(self, url, name):
        super().__init__(daemon=True)
        self.url, self.name, self.answered, self.sent = url, name, [], 0
        self.stopping = False

    def run(self):
        session, last = requests.Session(), 0
        while not self.stopping:
            last = max(last + 1, time.time_ns() // 1_000_000)
            self.sent += 1
            points = [
                {"timeUnixNano": str(last * 1_000_000), "asDouble": self.sent, "attributes": [
                    {"key": "series", "value": {"stringValue": f"{self.name}-{i}"}}]}
                for i in range(POINTS)
            ]  # fmt: skip
            resource = {"attributes": [
                {"key": "service.name", "value": {"stringValue": "crash"}},
                {"key": "service.instance.id", "value": {"stringValue": self.name}},
            ]}  # fmt: skip
            metrics = [{"name": "crash_sent", "gauge": {"dataPoints": points}}]
            body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}
            try:
                answer = session.post(f"{self.url}/v1/metrics", json=body, timeout=10)
            except requests.RequestException:
                return  # Not answered: it may be there or not.
            if answer.status_code == 200 and not answer.json().get("partialSuccess"):
                self.answered.append((last, float(self.sent)))


def test_every_answered_point_outlives_the_process(start, tmp_path):
    config = agent_config(tmp_path / "agent")
    a = start(Agent, tmp_path / "agent", config)
    expected = {}
    for attempt in range(ROUNDS):
        clients = [Client(f"http://{a.otlp('http')}", f"client-{attempt}-{i}") for i in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(1 + attempt)
        a.stop(signal.SIGKILL)
        for client in clients:
            client.join(20)
            assert client.answered, f"{client.name} sent {client.sent} requests and none was answered"
            for i in range(POINTS):
                expected[f"{client.name}-{i}"] = client.answered
        a = start(Agent, tmp_path / "agent", config)

    kept = {
        series["metric"]["series"]: {(round(t * 1000), float(v)) for t, v in series["values"]}
        for series in a.query('crash_sent{job="crash"}[10m]')
    }
    missing = {name: len(set(points) - kept.get(name, set())) for name, points in expected.items()}
    missing = {name: count for name, count in missing.items() if count}
    assert missing == {}, f"{sum(missing.values())} answered points are gone: {json.dumps(missing)[:500]}"
    total = sum(len(points) for points in expected.values())
    print(f"{total} answered points outlived {ROUNDS} kills")
    assert total > 10_000
    assert a.own("rivetwatch_wal_corruptions_total") == 0
