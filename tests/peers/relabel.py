"""Asks a Prometheus whether two engines that send different name shapes ended in one set of names and signals.

Usage: relabel.py URL PREFIXED_INSTANCE BARE_INSTANCE
Waits until both have the signals, for at most three minutes, and exits 1 with what is missing otherwise.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

# Signals that the recording gives in both shapes, each read by some alert, panel or the capacity table.
SIGNALS = [
    "rivet:engine_up:bool",
    "rivet:cpu_usage:cores",
    "rivet:load_shedding:ratio",
    "rivet:request:rate",
    "rivet:request_errors:rate",
    "rivet:request_errors:ratio",
    "rivet:request_latency:p50",
    "rivet:request_latency:p99",
    "rivet:api_request:rate",
    "rivet:actor_create:rate",
    "rivet:actor_wake:rate",
    "rivet:actor_demand:rate",
    "rivet:workflow_lag:p99",
    "rivet:database_latency:p99",
    "rivet:pubsub_lag:p99",
    "rivet:threshold:instance",
]
# What Prometheus writes itself.
OWN = ("up", "scrape_", "ALERTS")


def get(url: str, path: str, **query: str) -> object:
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def missing(url: str, instances: list[str]) -> list[str]:
    out = []
    for signal in SIGNALS:
        found = {r["metric"].get("instance"): r["value"][1] for r in get(url, "/api/v1/query", query=signal)["result"]}
        out += [f"{signal} of {i}: {found.get(i)}" for i in instances if found.get(i) in (None, "NaN")]
    return out


def main() -> int:
    url, prefixed, bare = sys.argv[1:4]
    deadline = time.monotonic() + 180
    while (lacking := missing(url, [prefixed, bare])) and time.monotonic() < deadline:
        time.sleep(1)
    problems = [f"no value: {what}" for what in lacking]

    def names(instance: str) -> set[str]:
        values = get(url, "/api/v1/label/__name__/values", **{"match[]": f'{{instance="{instance}"}}'})
        return {n for n in values if not n.startswith(OWN) and ":" not in n}

    # One engine may be a page ahead of the other, and what is born on that page is a moment late at the other.
    patience = time.monotonic() + 15
    while (of_bare := names(bare)) - (of_prefixed := names(prefixed)) and time.monotonic() < patience:
        time.sleep(1)
    problems += [f"not canonical: {n}" for n in sorted(of_prefixed | of_bare) if not n.startswith("rivet_")]
    problems += [f"only from the page without prefix: {n}" for n in sorted(of_bare - of_prefixed)]
    if len(of_bare) < 100:
        problems.append(f"only {len(of_bare)} names from the page without prefix")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(SIGNALS)} signals, {len(of_prefixed)} names with prefix, {len(of_bare)} without: {len(problems)} problems")
    return 1 if problems else 0


sys.exit(main())
