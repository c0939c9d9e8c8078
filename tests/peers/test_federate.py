"""`/federate` as Debian's Prometheus scrapes it: in the text format, and in protobuf with native histograms."""

import json
import shutil
import struct
import time

import pytest
import remote_write
import requests
from conftest import Agent, Process, agent_config, free_port, wait_for


def native_histogram(t_ms):
    """Count 6, sum 9.5, two positive buckets, as whole numbers (`prompb.Histogram`)."""
    varint, field = remote_write.varint, remote_write.field
    whole = lambda number, value: varint(number << 3) + varint(value)
    double = lambda number, value: varint(number << 3 | 1) + struct.pack("<d", value)
    # Signed numbers are doubled ("zigzag"): a span of two buckets from index 1, with counts 2 and then 2 more.
    span = field(11, whole(1, 1 << 1) + whole(2, 2))
    deltas = field(12, varint(2 << 1) + varint(2 << 1))
    return field(4, whole(1, 6) + double(3, 9.5) + double(5, 0.5) + span + deltas + whole(15, t_ms))


def write(agent):
    now = int(time.time() * 1000)
    plain = remote_write.write_request([({"__name__": "fed.dots", "service.name": "web"}, [(2.5, now)])])
    labels = remote_write.label("__name__", "fed_sizes") + remote_write.label("job", "j")
    body = plain + remote_write.field(1, labels + native_histogram(now))
    answer = requests.post(
        f"{agent.url}/api/v1/write", data=remote_write.snappy(body), headers=remote_write.HEADERS, timeout=10
    )
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize("features", ["", "native-histograms"])
def test_prometheus_scrapes_what_the_agent_federates(start, tmp_path, features):
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus on this machine")
    config = agent_config(tmp_path / "agent", rules={"external_labels": {"cluster": "eu"}})
    config["receive"]["remote_write"] = {"enabled": True}
    agent = start(Agent, tmp_path / "agent", config)
    write(agent)
    port = free_port()
    job = {
        "job_name": "federate", "honor_labels": True, "metrics_path": "/federate", "scrape_interval": "1s",
        "params": {"match[]": ['{__name__=~"fed.*"}']},
        "static_configs": [{"targets": [agent.url.removeprefix("http://")]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    command = [
        "prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn", f"--enable-feature={features}",
    ]
    start(Process, command, tmp_path / "prometheus.log")

    def ask(query):
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}, timeout=5).json()
        return answer["data"]["result"]

    found = wait_for("the sample to be federated", lambda: ask("fed_dots"), 30)
    labels = {"service_name": "web", "cluster": "eu", "job": "federate"}
    assert found[0]["metric"] == {"__name__": "fed_dots", **labels}
    assert found[0]["value"][1] == "2.5"
    assert [row["value"][1] for row in ask('up{job="federate"}')] == ["1"]
    counts = ask("histogram_count(fed_sizes)")
    if not features:
        assert counts == []
        return
    assert [(row["metric"], row["value"][1]) for row in counts] == [({"job": "j", "cluster": "eu"}, "6")]
    assert ask("histogram_sum(fed_sizes)")[0]["value"][1] == "9.5"
    assert ask("histogram_quantile(1, fed_sizes)")[0]["value"][1] == "4"
