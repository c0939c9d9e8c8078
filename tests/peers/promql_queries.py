"""PromQL queries by chance: a grammar over the differential data set, and a shrinker for queries that differ."""

from dataclasses import dataclass

VECTOR, SCALAR, MATRIX = "vector", "scalar", "matrix"


@dataclass(frozen=True)
class Node:
    """A piece of a query: text and further nodes, in the order they are written."""

    kind: str
    parts: tuple

    def __str__(self):
        return "".join(str(part) for part in self.parts)

    def children(self):
        return [part for part in self.parts if isinstance(part, Node)]

    def walk(self):
        yield self
        for child in self.children():
            yield from child.walk()


def node(kind, *parts):
    return Node(kind, parts)


NAMES = {
    "counter": ["requests_total", "bytes_total", "latency_seconds_count", "latency_seconds_sum", "late_total"],
    "gauge": ["temperature", "odd", "info", "pod_up"],
    "bucket": ["latency_seconds_bucket"],
}
MATCHERS = [
    'instance="a"', 'instance!="a"', 'instance=~"a|b"', 'instance!~"b.*"', 'code=~"[45].."', 'code=""', 'zone="x"',
    'path="/slow"', 'le="+Inf"', 'pod=~"p[12]"', 'job="diff"', 'job="nothing"', 'version=~".+"',
]
LABELS = ["instance", "code", "zone", "path", "pod", "job", "le", "nothing", "version"]
RANGES = ["30s", "1m", "2m", "5m", "7m30s", "12m", "1h"]
OFFSETS = ["1m", "5m", "-2m", "33m", "2s"]


class Queries:
    """Draws queries from `rng`; `start`, `end` are the seconds between which there are samples."""

    def __init__(self, rng, start, end):
        self.rng, self.start, self.end = rng, start, end

    def labels(self, most=2):
        return ", ".join(self.rng.sample(LABELS, self.rng.randrange(most + 1)))

    def modifiers(self):
        text = ""
        if self.rng.random() < 0.12:
            text += f" offset {self.rng.choice(OFFSETS)}"
        if self.rng.random() < 0.08:
            text += self.rng.choice([" @ start()", " @ end()", f" @ {self.rng.randrange(self.start, self.end)}"])
        return text

    def selector(self, family=None):
        family = family or self.rng.choice(["counter", "gauge", "gauge", "bucket"])
        name = self.rng.choice(NAMES[family])
        if name == "late_total" and self.rng.random() < 0.7:
            name = "requests_total"
        matchers = self.rng.sample(MATCHERS, self.rng.choice([0, 0, 1, 1, 2]))
        return name + ("{" + ", ".join(matchers) + "}" if matchers else "")

    def instant_selector(self):
        return node(VECTOR, self.selector() + self.modifiers())

    def matrix(self, depth, family=None):
        if depth > 1 and self.rng.random() < 0.2:
            step = self.rng.choice(["", "15s", "40s", "1m"])
            inner = self.vector(depth - 2)
            return node(MATRIX, "(", inner, f")[{self.rng.choice(RANGES[2:])}:{step}]" + self.modifiers())
        return node(MATRIX, f"{self.selector(family)}[{self.rng.choice(RANGES)}]" + self.modifiers())

    def number(self):
        return self.rng.choice(["0", "1", "2", "0.5", "-3", "100", "NaN", "Inf", "1e3"])

    def scalar(self, depth):
        draw = self.rng.random()
        if depth > 1 and draw < 0.2:
            return node(SCALAR, "scalar(", self.vector(depth - 1), ")")
        if draw < 0.3:
            return node(SCALAR, "time()")
        if depth > 1 and draw < 0.4:
            op = self.rng.choice(["+", "-", "*", "/", "%", "^", "atan2"])
            return node(SCALAR, "(", self.scalar(depth - 1), f" {op} ", self.scalar(depth - 1), ")")
        return node(SCALAR, self.number())

    def vector(self, depth):
        if depth <= 0:
            return self.instant_selector()
        draw = self.rng.choices(
            [self.over_time, self.function, self.aggregation, self.binary, self.quantile, self.labelled, self.leaf],
            [30, 12, 24, 20, 5, 4, 5],
        )[0]
        return draw(depth)

    def leaf(self, depth):
        return self.instant_selector()

    def over_time(self, depth):
        name = self.rng.choice(
            "rate increase irate rate increase delta idelta deriv changes resets avg_over_time sum_over_time "
            "min_over_time max_over_time count_over_time last_over_time present_over_time stddev_over_time "
            "stdvar_over_time absent_over_time quantile_over_time predict_linear".split()
        )
        if name == "quantile_over_time":
            return node(VECTOR, f"{name}(", self.scalar(1), ", ", self.matrix(depth), ")")
        if name == "predict_linear":
            return node(VECTOR, f"{name}(", self.matrix(depth), ", ", self.scalar(1), ")")
        family = "counter" if name in ("rate", "increase", "irate", "resets") and self.rng.random() < 0.85 else None
        return node(VECTOR, f"{name}(", self.matrix(depth, family), ")")

    def function(self, depth):
        draw = self.rng.random()
        if draw < 0.15:
            return node(VECTOR, "clamp(", self.vector(depth - 1), ", ", self.scalar(1), ", ", self.scalar(1), ")")
        if draw < 0.25:
            name = self.rng.choice(["clamp_min", "clamp_max", "round"])
            inner = self.instant_selector() if name == "round" else self.vector(depth - 1)
            return node(VECTOR, f"{name}(", inner, ", ", self.scalar(1), ")")
        if draw < 0.3:
            return node(VECTOR, "vector(", self.scalar(depth), ")")
        # Not exp: what is left of its last digits after `%` or a sine is chance.
        name = self.rng.choice(
            "abs ceil floor round ln log2 log10 sqrt sgn absent timestamp sort sort_desc sin cos atan deg rad "
            "date date".split()
        )
        if name == "date":
            return self.date(depth)
        if name in ("ceil", "floor", "round", "sgn", "sin", "cos"):
            # Of values as they were sent: the last digit of a result may differ, and would decide.
            return node(VECTOR, f"{name}(", self.instant_selector(), ")")
        return node(VECTOR, f"{name}(", self.vector(depth - 1), ")")

    def date(self, depth):
        """Of times alone: what other numbers give depends on the processor."""
        name = self.rng.choice("hour minute day_of_week day_of_month month year days_in_month".split())
        days = self.rng.randrange(-4000, 4000)
        if self.rng.random() < 0.5:
            return node(VECTOR, f"{name}(vector(time() + {days * 86400 + 3661}))")
        times = node(VECTOR, "timestamp(", self.vector(depth - 1), ")")
        return node(VECTOR, f"{name}((", times, f" + {days * 86400}))")

    def aggregation(self, depth):
        name = self.rng.choice(
            "sum sum avg min max count group stddev stdvar topk bottomk quantile count_values".split()
        )
        grouping = self.rng.choice(["", f" by ({self.labels()})", f" by ({self.labels()})", f" without ({self.labels()})"])
        inner = self.vector(depth - 1)
        if name in ("topk", "bottomk", "quantile"):
            parameter = self.scalar(1) if name == "quantile" else node(SCALAR, self.rng.choice(["1", "2", "5", "0", "-1"]))
            return node(VECTOR, f"{name}{grouping} (", parameter, ", ", inner, ")")
        if name == "count_values":
            # Of values as they were sent: the last digit of a result may differ, and would be another label.
            inner = self.instant_selector()
            return node(VECTOR, f'{name}{grouping} ("{self.rng.choice(["value", "instance"])}", ', inner, ")")
        return node(VECTOR, f"{name}{grouping} (", inner, ")")

    def binary(self, depth):
        if self.rng.random() < 0.35:
            op = self.rng.choice("+ - * / % ^ atan2 == != > < >= <=".split())
            text = f" {op} bool " if op in "== != > < >= <=".split() and self.rng.random() < 0.4 else f" {op} "
            sides = [self.vector(depth - 1), self.scalar(depth - 1)]
            if op == "%":
                # The same: what is left of a division hangs on the last digit.
                sides = [self.instant_selector(), node(SCALAR, self.number())]
            self.rng.shuffle(sides)
            return node(VECTOR, "(", sides[0], text, sides[1], ")")
        if self.rng.random() < 0.3:
            op = self.rng.choice(["and", "or", "unless"])
            matching = self.rng.choice(["", f" on ({self.labels()})", f" ignoring ({self.labels()})"])
            return node(VECTOR, "(", self.vector(depth - 1), f" {op}{matching} ", self.vector(depth - 1), ")")
        op = self.rng.choice("+ - * / == > <".split())
        if op in "== > <" and self.rng.random() < 0.3:
            op += " bool"
        matching = self.rng.choice(["", f" on ({self.labels()})", f" ignoring ({self.labels()})", " on (instance)"])
        if matching and self.rng.random() < 0.5:
            matching += self.rng.choice([" group_left", " group_right"]) + self.rng.choice(["", f" ({self.labels(1)})"])
        return node(VECTOR, "(", self.vector(depth - 1), f" {op}{matching} ", self.vector(depth - 1), ")")

    def quantile(self, depth):
        over = self.rng.choice(["rate", "increase", "last_over_time"])
        buckets = node(VECTOR, f"{over}(latency_seconds_bucket[{self.rng.choice(RANGES)}]{self.modifiers()})")
        if self.rng.random() < 0.6:
            buckets = node(VECTOR, f"sum by (le{self.rng.choice(['', ', instance', ', path'])}) (", buckets, ")")
        q = node(SCALAR, self.rng.choice(["0.5", "0.9", "0.99", "0", "1", "-1", "2", "NaN"]))
        return node(VECTOR, "histogram_quantile(", q, ", ", buckets, ")")

    def labelled(self, depth):
        inner = self.vector(depth - 1)
        if self.rng.random() < 0.5:
            return node(VECTOR, "label_replace(", inner, ', "instance", "$1-x", "zone", "(.*)")')
        return node(VECTOR, "label_join(", inner, ', "joined", "-", "instance", "code")')

    def query(self):
        """A query: mostly vectors, now and then something else."""
        if self.rng.random() < 0.04:
            return self.scalar(3)
        return self.vector(self.rng.choice([1, 1, 2, 2, 3]))


def smaller(query):
    """Queries that are a step smaller: a node replaced by one of its own nodes, or by a plain one."""
    plain = {VECTOR: ["temperature", "requests_total"], SCALAR: ["1"], MATRIX: ["temperature[1m]", "requests_total[5m]"]}
    for at in query.walk():
        inner = [n for n in at.walk() if n is not at and n.kind == at.kind]
        texts = [node(at.kind, text) for text in plain[at.kind] if len(text) < len(str(at))]
        for replacement in inner + texts:
            yield replace(query, at, replacement)


def replace(query, old, new):
    if query is old:
        return new
    return Node(query.kind, tuple(replace(p, old, new) if isinstance(p, Node) else p for p in query.parts))


def shrink(query, differs, budget=200):
    """The smallest query found for which `differs` still holds."""
    found = True
    while found and budget > 0:
        found = False
        for candidate in sorted(smaller(query), key=lambda q: len(str(q))):
            budget -= 1
            if budget <= 0:
                break
            if len(str(candidate)) < len(str(query)) and differs(candidate):
                query, found = candidate, True
                break
    return query
