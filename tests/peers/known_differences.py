"""What Prometheus 2.42 answers differently on purpose, as `differences-2.42.json` lists it.

An entry covers a difference only if the smallest query that still differs has the shape of its `query`, the first
difference that of its `problem` (both patterns of the whole text), and if all differences are of the kind that its
`check` names, so that a fault of the agent in a query of the same shape is still found. `example` is a query that has
the difference, asked in each run: once it has not, the entry has to go.
"""

import json
import math
import pathlib
import re

ENTRIES = json.loads((pathlib.Path(__file__).parent / "differences-2.42.json").read_text())


def rows(data):
    """Labels as text, and pairs of time and value."""
    for series in data["result"]:
        yield json.dumps(series["metric"], sort_keys=True), [series["value"]] if "value" in series else series["values"]


def pairs(case):
    """All pairs of values that differ; `None` where the series or their times do."""
    want, got = dict(rows(case.want)), dict(rows(case.got))
    times = [{labels: [t for t, _ in points] for labels, points in side.items()} for side in (want, got)]
    if times[0] != times[1]:
        return None
    both = [(a, b) for labels in want for (_, a), (_, b) in zip(want[labels], got[labels])]
    return [(a, b) for a, b in both if not case.close(a, b)]


def zero_for_nan(case):
    found = pairs(case)
    return bool(found) and all(float(a) == 0 and math.isnan(float(b)) for a, b in found)


def nan_for_infinity(case):
    found = pairs(case)
    return bool(found) and all(math.isnan(float(a)) and math.isinf(float(b)) for a, b in found)


def somewhat_more(case):
    """Prometheus 2.42 has more, and less than twice as much as there can be."""
    found = pairs(case)
    return bool(found) and all(float(b) < float(a) < 2 * float(b) for a, b in found)


def without_name(case):
    """The answers are equal but for the name."""
    want = json.loads(json.dumps(case.want))
    for series in want["result"]:
        series["metric"].pop("__name__", None)
    return case.difference(want, case.got) is None


def values_of_each_time(case):
    """At each time there are the same values, whatever the labels."""
    sides = [sorted((t, float(v)) for _, points in rows(data) for t, v in points) for data in (case.want, case.got)]
    # NaN is kept where nothing else is, and cannot be sorted.
    sides = [[(t, "NaN" if math.isnan(v) else v) for t, v in side] for side in sides]
    same = lambda a, b: a == b or "NaN" not in (a, b) and case.close(a, b)
    return len(sides[0]) == len(sides[1]) and all(t == u and same(a, b) for (t, a), (u, b) in zip(*sides))


def as_instants(case):
    """At each time the agent's answer is what Prometheus says when it is asked for that time alone."""
    path, params = case.at
    if path != "query_range":
        return False
    query = case.query.replace("start()", str(params["start"])).replace("end()", str(params["end"]))
    ours = dict(rows(case.got))
    t = params["start"]
    while t <= params["end"]:
        theirs = {labels: points[0][1] for labels, points in rows(case.ask(query, ("query", {"time": t})))}
        mine = {labels: v for labels, points in ours.items() for u, v in points if abs(u - t) < 0.0005}
        if theirs.keys() != mine.keys() or not all(case.close(theirs[labels], mine[labels]) for labels in mine):
            return False
        t += params["step"]
    return True


def error_without_filter(case):
    """Prometheus gives the agent's error, too, where the comparison filters nothing out."""
    answer = case.ask(re.sub(r" (==|<|>) (?!bool)", r" \1 bool ", case.query), case.at)
    return "many-to-one matching must be explicit" in answer.get("text", "")


CHECKS = {
    check.__name__: check
    for check in (
        zero_for_nan, nan_for_infinity, somewhat_more, without_name, values_of_each_time, as_instants, error_without_filter,
    )
}


class Case:
    """A query with the answers of both. `ask` asks Prometheus again; `difference` and `close` are the test's."""

    def __init__(self, query, at, want, got, ask, difference, close):
        self.query, self.at, self.want, self.got, self.ask = str(query), at, want, got, ask
        self.difference, self.close = difference, close

    def known(self):
        """The name of the entry that covers the difference, or `None`."""
        problem = self.difference(self.want, self.got) or ""
        for entry in ENTRIES:
            if not re.fullmatch(entry["query"], self.query) or not re.fullmatch(entry["problem"], problem, re.DOTALL):
                continue
            if CHECKS[entry["check"]](self):
                return entry["name"]
        return None
