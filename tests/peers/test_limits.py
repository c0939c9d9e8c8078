"""Queries made to take all memory or time, asked of an agent that holds a million series: errors in the API's form,
and memory that stays where it was."""

import pathlib
import time

import pytest
import requests
import remote_write
from conftest import Agent, agent_config, wait_for

SERIES = 1_000_000
# What queries may add to what the agent needs for its series, some 450 MB; most of it are values that expressions are
# matched with, and what the allocator keeps.
GROWTH_MB = 200


def million(session, url, t_ms):
    """Writes `x{n="0000000"}` and so on, one sample each; the bytes around the digits are always the same."""
    request = remote_write.write_request([({"__name__": "x", "n": "0000000"}, [(1.0, t_ms)])])
    before, after = request.split(b"0000000")
    for first in range(0, SERIES, 20_000):
        body = b"".join(before + b"%07d" % n + after for n in range(first, first + 20_000))
        answer = session.post(f"{url}/api/v1/write", data=remote_write.snappy(body), headers=remote_write.HEADERS, timeout=60)
        assert answer.status_code in (200, 204), answer.text


def resident_mb(agent, key):
    status = pathlib.Path(f"/proc/{agent.child.pid}/status").read_text()
    return int(status.split(f"{key}:")[1].split()[0]) / 1024


@pytest.fixture
def agent(start, tmp_path):
    config = agent_config(tmp_path / "agent")
    config["receive"]["remote_write"] = {"enabled": True}
    config["storage"]["limits"] = {"series": 2 * SERIES, "series_per_job": 2 * SERIES, "memory": "4GiB"}
    return start(Agent, tmp_path / "agent", config)


def test_bad_queries_are_refused_with_memory_flat(agent):
    session, now = requests.Session(), int(time.time())
    million(session, agent.url, now * 1000)
    wait_for("the first series", lambda: agent.query('x{n="0000000"}'))
    century = 100 * 365 * 86400
    instant = [
        (400, "bad_data", "1" + " + 1" * (1 << 18)),
        (400, "bad_data", "(" * 10_000 + "x" + ")" * 10_000),
        (400, "bad_data", 'x{n=~"(a{1000}){1000}"}'),
        (400, "bad_data", "x{" + 'n=~"[a-z]{9}(b|c.*)",' * 10_000 + "}"),
        (422, "execution", "sum_over_time(x[100y:1ms])"),
        *((422, "execution", query) for query in (
            "x", "sum(x)", "-x", "topk(3, x)", "x * on (n) x", 'count_values("v", x)', "rate(x[5m])", "absent(x)",
            'count({__name__=~".+"})', 'sum by (n) (x{n=~".*[0-9]{3}.*"})', 'label_replace(x, "m", "$1$1", "n", "(.*)")',
        )),
    ]
    asked = [("query", status, kind, {"query": query, "time": now}) for status, kind, query in instant]
    asked += [
        ("query_range", 400, "bad_data", {"query": "x", "start": now - century, "end": now, "step": 1}),
        ("query_range", 400, "bad_data", {"query": "x", "start": now - 60, "end": now, "step": 0}),
        ("query_range", 400, "bad_data", {"query": "x", "start": now - 60, "end": now, "step": -1}),
        ("query_range", 422, "execution", {"query": "x", "start": now - 60, "end": now, "step": 1}),
    ]
    # Forgets the peak so far.
    pathlib.Path(f"/proc/{agent.child.pid}/clear_refs").write_text("5")
    before = resident_mb(agent, "VmRSS")
    for path, status, kind, form in asked:
        since = time.monotonic()
        answer = session.post(f"{agent.url}/api/v1/{path}", data=form, timeout=60)
        took, grown = time.monotonic() - since, resident_mb(agent, "VmHWM") - before
        shown = form["query"][:60]
        body = answer.json()
        assert (answer.status_code, body["status"], body["errorType"]) == (status, "error", kind), f"{shown}: {answer.text[:300]}"
        print(f"at most {grown:5.1f} MB more than {before:.0f}, {took:5.2f} s, {shown}: {body['error'][:90]}")
        assert grown < GROWTH_MB, f"{shown} took {grown:.0f} MB"
    assert agent.value("count(x{n=~'00000.*'})") == 100
