"""The same samples in Prometheus 2.42 and in the agent, and queries by chance: the answers must be equal.

`DIFFERENTIAL_QUERIES` and `DIFFERENTIAL_SEED` ask more, or others. Of each query that differs the smallest that still
does is looked for. What 2.42 does differently on purpose stands in `differences-2.42.json`, each with its reason, see
`known_differences.py`; everything else fails with that smallest query.
"""

import json
import math
import os
import random
import shutil
import subprocess

import pytest
import requests
import remote_write
from conftest import Agent, Process, agent_config, free_port, wait_for
from known_differences import ENTRIES, Case
from promql_queries import Queries, shrink

QUERIES = int(os.environ.get("DIFFERENTIAL_QUERIES", 3000))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", 1))
START = 1_700_000_100
END = START + remote_write.STEPS * remote_write.STEP
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
        return f"series missing: {missing[:3]}; series too many: {more[:3]}"
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


def problem_of(case):
    return difference(case.want, case.got)


def test_answers_are_those_of_prometheus(peers, capsys):
    theirs, ours = peers
    rng = random.Random(SEED)
    draw = Queries(rng, START, END)
    found, met, errors = [], {entry["name"]: 0 for entry in ENTRIES}, 0

    def compare(query, at):
        """The case where a difference stays: of equal values topk takes any, and not always the same."""
        for _ in range(3):
            want, got = theirs.ask(str(query), at), ours.ask(str(query), at)
            if difference(want, got) is None:
                return None
        return Case(query, at, want, got, theirs.ask, difference, close)

    for entry in ENTRIES:
        path, params = entry["example"]["path"], entry["example"]["times"]
        at = path, {name: START + value if name != "step" else value for name, value in params.items()}
        case = compare(entry["example"]["query"], at)
        assert case, f"`{entry['name']}` is no difference any more: {entry['example']['query']}"
        assert case.known() == entry["name"], f"`{entry['name']}` does not cover its own example: {problem_of(case)}"

    for _ in range(QUERIES):
        query, at = draw.query(), times(rng)
        errors += "error" in theirs.ask(str(query), at)
        least = compare(query, at)
        if least is None:
            continue

        def differs(candidate):
            nonlocal least
            case = compare(candidate, at)
            least = case or least
            return case is not None

        shrink(query, differs)
        name = least.known()
        if name:
            met[name] += 1
            continue
        found.append(f"{least.query}\n  {at}\n  {problem_of(least)}")
        if len(found) >= 20:
            break
    assert errors < QUERIES / 4, f"{errors} of {QUERIES} queries are errors, so that little was compared"
    unique = {}
    for text in found:
        unique.setdefault(text.split("\n")[0], text)
    listed = "".join(f"\n  {count:4} {name}" for name, count in met.items())
    assert not found, f"{len(found)} differences; known ones met:{listed}\n" + "\n".join(unique.values())
    with capsys.disabled():
        print(f"\n{QUERIES} queries, {errors} of them errors on both sides; known differences met beside their examples:{listed}")


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
