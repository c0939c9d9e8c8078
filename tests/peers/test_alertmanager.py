"""Debian's Alertmanager receives an alert from the agent, and amtool talks to the agent's own API."""

import subprocess

import requests
from conftest import Process, free_port, wait_for

ALWAYS = """
groups:
  - name: peer
    rules:
      - alert: PeerAlways
        expr: vector(1)
        labels: {severity: warning}
        annotations: {summary: Always fires., description: "value {{ $value }}"}
"""


def alertmanager(start, tmp_path):
    port, cluster = free_port(), free_port()
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    start(
        Process,
        [
            "prometheus-alertmanager",
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--cluster.listen-address=127.0.0.1:{cluster}",
            f"--storage.path={tmp_path / 'am'}",
        ],
        tmp_path / "alertmanager.log",
    )
    url = f"http://127.0.0.1:{port}"
    wait_for("alertmanager", lambda: requests.get(f"{url}/-/ready", timeout=2).ok)
    return url


def test_alertmanager_receives_alerts(agent, start, tmp_path):
    url = alertmanager(start, tmp_path)
    (tmp_path / "rules.yaml").write_text(ALWAYS)
    agent(
        rules={"files": [str(tmp_path / "rules.yaml")], "interval": "1s"},
        notify={
            "route": {"receiver": "am", "group_wait": "0s"},
            "receivers": [{"name": "am", "alertmanager_configs": [{"urls": [url]}]}],
        },
    )

    def received():
        alerts = requests.get(f"{url}/api/v2/alerts", timeout=5).json()
        return [a for a in alerts if a["labels"]["alertname"] == "PeerAlways"]

    alert = wait_for("the alert", received)[0]
    assert alert["labels"]["severity"] == "warning"
    assert alert["annotations"]["description"] == "value 1"
    assert alert["status"]["state"] == "active"


def test_amtool_silences_on_the_agent(agent, tmp_path):
    (tmp_path / "rules.yaml").write_text(ALWAYS)
    a = agent(rules={"files": [str(tmp_path / "rules.yaml")], "interval": "1s"})

    def amtool(*words):
        command = ["amtool", f"--alertmanager.url={a.url}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    wait_for("the alert", lambda: "PeerAlways" in amtool("alert", "query"))
    silence = amtool("silence", "add", "alertname=PeerAlways", "--comment=peer", "--duration=1h", "--author=peer").strip()
    assert silence in amtool("silence", "query")
    wait_for("the silence to hold", lambda: "PeerAlways" not in amtool("alert", "query"))
    amtool("silence", "expire", silence)
    wait_for("the alert again", lambda: "PeerAlways" in amtool("alert", "query"))


def test_the_agent_routes_for_others(agent, pagerduty):
    a = agent(pager=pagerduty)
    alert = [{"labels": {"alertname": "FromElsewhere", "severity": "critical"}, "annotations": {"summary": "Elsewhere."}}]
    assert requests.post(f"{a.url}/api/v2/alerts", json=alert, timeout=5).status_code == 200
    event = wait_for("the page", lambda: pagerduty.events("trigger"))[0]
    assert "FromElsewhere" in str(event)
