"""The same samples in Prometheus 2.42 and in the agent, and queries by chance: the answers must be equal.

`DIFFERENTIAL_QUERIES` and `DIFFERENTIAL_SEED` ask more, or others. What 2.42 does differently on purpose stands in
`differences-2.42.json`, each with its reason and the shape of the queries it covers; everything else fails with the
smallest query that still differs.
"""

import json
import math
import os
import pathlib
import random
import shutil
import re
import subprocess

import pytest
import requests
import remote_write
from conftest import Agent, Process, agent_config, free_port, wait_for
from promql_queries import Queries, shrink

QUERIES = int(os.environ.get("DIFFERENTIAL_QUERIES", 3000))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", 1))
START = 1_700_000_100
END = START + remote_write.STEPS * remote_write.STEP
KNOWN = json.loads((pathlib.Path(__file__).parent / "differences-2.42.json").read_text())
RELATIVE = 1e-9
# Sums that cancel out leave a rest of the size of the rounding errors.
ABSOLUTE = 1e-12


class Peer:
    def __init__(self, url):
        self.url, self.session = url, requests.Session()

    def ask(self, query, times):
        path, params = times
        answer = self.session.get(f"{self.url}/api/v1/{path}", params={"query": query, **params}, timeout=60)
        body = answer.json()
        if body["status"] == "error":
            return {"error": body["errorType"], "text": body["error"], "code": answer.status_code}
        return body["data"]


def close(a, b):
    if a == b:
        return True
    a, b = float(a), float(b)
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or abs(a - b) <= max(RELATIVE * max(abs(a), abs(b)), ABSOLUTE)


def by_labels(result):
    found = {}
    for series in result:
        found.setdefault(json.dumps(series["metric"], sort_keys=True), []).append(series)
    return found


def values(result):
    return sorted(str(series.get("value") or series["values"]) for series in result)


def difference(want, got):
    """A sentence on the first difference, or `None`."""
    if "error" in want or "error" in got:
        same = want.get("error") == got.get("error") and want.get("code") == got.get("code")
        return None if same else f"prometheus: {str(want)[:300]}\n  agent: {str(got)[:300]}"
    if want["resultType"] != got["resultType"]:
        return f"types: {want['resultType']} and {got['resultType']}"
    if want["resultType"] in ("scalar", "string"):
        same = want["result"][0] == got["result"][0] and close(want["result"][1], got["result"][1])
        return None if same else f"{want['result']} and {got['result']}"
    ours, theirs = by_labels(got["result"]), by_labels(want["result"])
    if ours.keys() != theirs.keys():
        missing, more = sorted(theirs.keys() - ours.keys()), sorted(ours.keys() - theirs.keys())
        same = " with equal values" if values(want["result"]) == values(got["result"]) else ""
        return f"series missing: {missing[:3]}; series too many: {more[:3]}{same}"
    for key, (wanted, *_) in theirs.items():
        (found, *_) = ours[key]
        pairs = [(wanted["value"], found["value"])] if "value" in wanted else None
        if pairs is None:
            if len(wanted["values"]) != len(found["values"]):
                return f"{key}: {len(wanted['values'])} and {len(found['values'])} points"
            pairs = list(zip(wanted["values"], found["values"]))
        for (t, a), (u, b) in pairs:
            if t != u or not close(a, b):
                return f"{key}: {a} at {t} and {b} at {u}"
    return None


def is_known(query, problem):
    for known in KNOWN:
        if re.search(known["query"], query) and re.search(known["problem"], problem, re.DOTALL):
            return known["name"]
    return None


@pytest.fixture
def peers(start, tmp_path):
    if not shutil.which("prometheus"):
        pytest.skip("no prometheus on this machine")
    config = tmp_path / "prometheus.yml"
    config.write_text("global: {scrape_interval: 1h}\n")
    port = free_port()
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'prometheus'}",
        "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver", "--log.level=warn",
    ]
    start(Process, command, tmp_path / "prometheus.log")
    theirs = Peer(f"http://127.0.0.1:{port}")
    folder = tmp_path / "agent"
    config = agent_config(folder)
    config["api"]["query"] = {"window_edges": "closed"}
    config["receive"]["remote_write"] = {"enabled": True}
    config["storage"]["retention"] = "100y"
    agent = start(Agent, folder, config)
    wait_for("prometheus to be ready", lambda: requests.get(f"{theirs.url}/-/ready", timeout=2).ok, 30)
    ours = Peer(agent.url)
    series = remote_write.data_set(SEED)
    remote_write.write_all(theirs.session, [theirs.url, ours.url], series, START * 1000)
    return theirs, ours


def times(rng):
    """Path and parameters: an instant, or a range of some steps; beyond the data's ends, too."""
    if rng.random() < 0.5:
        return "query", {"time": rng.choice([rng.randrange(START - 60, END + 400), round(rng.uniform(START, END), 3)])}
    begin = rng.randrange(START - 300, END)
    step = rng.choice([1, 7, 15, 30, 60, 61.5])
    return "query_range", {"start": begin, "end": begin + step * rng.choice([0, 1, 10, 60]), "step": step}


def test_answers_are_those_of_prometheus(peers):
    theirs, ours = peers
    rng = random.Random(SEED)
    draw = Queries(rng, START, END)
    found, met, errors = [], {}, 0

    def compare(query, at):
        """The difference that stays: of equal values topk takes any, and not always the same."""
        problem = None
        for _ in range(3):
            problem = difference(theirs.ask(str(query), at), ours.ask(str(query), at))
            if problem is None:
                break
        return problem

    for _ in range(QUERIES):
        query, at = draw.query(), times(rng)
        errors += "error" in theirs.ask(str(query), at)
        problem = compare(query, at)
        if problem is None:
            continue
        name = is_known(str(query), problem)
        if name:
            met[name] = met.get(name, 0) + 1
            continue

        def differs(candidate):
            problem = compare(candidate, at)
            return problem is not None and is_known(str(candidate), problem) is None

        small = shrink(query, differs)
        found.append(f"{small}\n  {at}\n  {compare(small, at)}")
        if len(found) >= 20:
            break
    assert errors < QUERIES / 4, f"{errors} of {QUERIES} queries are errors, so that little was compared"
    unique = {}
    for text in found:
        unique.setdefault(text.split("\n")[0], text)
    assert not found, f"{len(found)} differences; known ones met: {met}\n" + "\n".join(unique.values())
    print(f"{QUERIES} queries, {errors} of them errors on both sides; known differences met: {met}")


def test_promtool_asks_the_agent(peers):
    _, ours = peers

    def promtool(*arguments):
        done = subprocess.run(["promtool", "query", *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    at = ["--time", END - 30]
    assert "info{" in promtool("instant", *at, ours.url, "info")
    assert "=>" in promtool("instant", *at, ours.url, "sum(rate(requests_total[5m]))")
    ranged = promtool("range", "--start", END - 300, "--end", END - 30, "--step", "15s", ours.url, "info")
    assert len(ranged.splitlines()) > 19 * 3
    window = ["--start", START, "--end", END]
    assert len(promtool("series", *window, "--match", "temperature", ours.url).splitlines()) == 6
    assert promtool("labels", *window, ours.url, "zone").split() == ["x", "y"]
    checked = subprocess.run(["promtool", "query", "instant", ours.url, "sum("], capture_output=True, text=True)
    assert checked.returncode != 0 and "parse error" in checked.stderr + checked.stdout
