"""Runs every query of the shipped dashboards on a Prometheus, as Grafana would with everything selected.

Usage: dashboards.py URL FOLDER
Waits until each has given data, for at most two minutes; exits 1 with those that are refused or stay empty. What only the
agent's own store has (headroom, the checklist, each rule) and counters that begin with a fault have no series on a
Prometheus: of them the query itself is tried.
"""

import json
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

OF_THE_AGENT = re.compile(
    r"rivet:(headroom|capacity):|rivetwatch_(check_|rule_(blind|evaluation_)|points_refused_)"
)
VARIABLES = {'"$cluster"': '".*"', '"$job"': '".+"', '"$instance"': '".+"', "$__rate_interval": "30s"}


def run(url: str, expr: str, is_range: bool) -> list:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    now = time.time()
    parameters = {"query": expr, "start": now - 60, "end": now, "step": 15} if is_range else {"query": expr}
    path = "query_range" if is_range else "query"
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def panels(dashboard: dict):
    for panel in dashboard["panels"]:
        yield from panel.get("panels") or []
        if panel["type"] != "row":
            yield panel


def queries(folder: str):
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        for panel in panels(json.loads(path.read_text())):
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}: {target['expr']}", target["expr"], target["range"]


def main() -> int:
    url, folder = sys.argv[1:3]
    waiting, refused = list(queries(folder)), []
    total, deadline = len(waiting), time.monotonic() + 120
    while waiting:
        left = []
        for where, expr, is_range in waiting:
            try:
                if not run(url, expr, is_range) and not OF_THE_AGENT.search(expr):
                    left.append((where, expr, is_range))
            except urllib.error.HTTPError as error:
                refused.append(f"{where}: {error.read().decode()}")
        waiting = left
        if time.monotonic() > deadline:
            break
        time.sleep(2)
    for where, _, _ in waiting:
        print(f"empty: {where}", file=sys.stderr)
    for where in refused:
        print(f"refused: {where}", file=sys.stderr)
    print(f"{total} dashboard queries: {len(refused)} refused, {len(waiting)} empty")
    return 1 if refused or waiting or not total else 0


sys.exit(main())
