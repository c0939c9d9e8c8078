"""Prometheus remote write 1.0 from first principles, and the samples that the differential test writes with it."""

import math
import random
import struct

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
STEP = 15
STEPS = 240


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def label(name, value):
    return field(1, field(1, name.encode()) + field(2, value.encode()))


def sample(value, t_ms):
    # A float that is the staleness marker must keep its bits, so nothing is computed with it.
    return field(2, varint(1 << 3 | 1) + struct.pack("<d", value) + varint(2 << 3) + varint(t_ms))


def write_request(series):
    """`series`: pairs of a dictionary of labels and a list of (value, milliseconds)."""
    out = bytearray()
    for labels, samples in series:
        body = b"".join(label(n, v) for n, v in sorted(labels.items()))
        out += field(1, body + b"".join(sample(v, t) for v, t in samples))
    return bytes(out)


def snappy(data):
    """The block format with literals alone, which every reader takes."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 1 << 16):
        part = data[at : at + (1 << 16)]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}


def post(session, url, series):
    answer = session.post(f"{url}/api/v1/write", data=snappy(write_request(series)), headers=HEADERS, timeout=30)
    assert answer.status_code in (200, 204), f"{url}: {answer.status_code} {answer.text}"


def counters(rng):
    for instance in ("a", "b", "c"):
        for code in ("200", "404", "500"):
            labels = {"__name__": "requests_total", "job": "diff", "instance": instance, "code": code}
            value, values = 0, []
            rate = rng.choice([1, 7, 40])
            for i in range(STEPS):
                # A reset every now and then, to exactly zero: what the process counts from.
                value = 0 if i == 0 or rng.random() < 0.02 else value + rng.randrange(rate * 2)
                values.append(value)
            yield labels, values
    for instance in ("a", "b"):
        # Gaps stand in a counter that is far from zero.
        labels = {"__name__": "bytes_total", "job": "diff", "instance": instance}
        value, values = 1e9, []
        for _ in range(STEPS):
            value += rng.randrange(1000) * 0.5
            values.append(None if rng.random() < 0.3 else value)
        yield labels, values
    # Begins late and small: where the two releases extrapolate differently.
    yield {"__name__": "late_total", "job": "diff", "instance": "a"}, [
        None if i < 100 or i % 9 > 5 else (i - 99) * 2 for i in range(STEPS)
    ]


def gauges(rng):
    for instance in ("a", "b", "c"):
        for zone in ("x", "y"):
            labels = {"__name__": "temperature", "job": "diff", "instance": instance, "zone": zone}
            gap, values = 0, []
            for i in range(STEPS):
                if gap == 0 and rng.random() < 0.03:
                    gap = rng.choice([1, 5, 22, 30])  # Longer and shorter than the lookback of 20 steps.
                gap = max(0, gap - 1)
                values.append(None if gap else round(20 + 10 * math.sin(i / 17) + rng.uniform(-3, 3), 3))
            yield labels, values
    for instance in ("a", "b"):
        labels = {"__name__": "odd", "job": "diff", "instance": instance}
        odd = [0.0, -0.0, math.nan, math.inf, -math.inf, 1e300, 1e-300, 1.0, 2.5, -7.0]
        yield labels, [rng.choice(odd) for _ in range(STEPS)]
    for instance in ("a", "b", "c"):
        labels = {"__name__": "info", "job": "diff", "instance": instance, "version": "1." + instance}
        yield labels, [1] * STEPS


def stale(rng):
    for number in range(4):
        labels = {"__name__": "pod_up", "job": "diff", "instance": "a", "pod": f"p{number}"}
        values, alive = [], False
        for _ in range(STEPS):
            if rng.random() < 0.06:
                if alive:
                    values.append(STALE)
                    alive = False
                    continue
                alive = True
            values.append(1 if alive else None)
        yield labels, values


def histograms(rng):
    for instance in ("a", "b"):
        for path in ("/", "/slow"):
            bounds = [0.1, 0.5, 1, 2.5, 10, math.inf]
            counts, total, rows = [0] * len(bounds), 0.0, []
            for i in range(STEPS):
                if rng.random() < 0.01:
                    counts, total = [0] * len(bounds), 0.0
                for _ in range(rng.randrange(20) if i else 0):
                    value = rng.expovariate(1 if path == "/" else 0.2)
                    at = next(i for i, bound in enumerate(bounds) if value <= bound)
                    counts[at] += 1
                    total += round(value, 4)
                rows.append((list(counts), total))
            base = {"job": "diff", "instance": instance, "path": path}
            for at, bound in enumerate(bounds):
                le = "+Inf" if bound == math.inf else f"{bound:g}"
                yield {"__name__": "latency_seconds_bucket", "le": le, **base}, [sum(c[: at + 1]) for c, _ in rows]
            yield {"__name__": "latency_seconds_sum", **base}, [total for _, total in rows]
            yield {"__name__": "latency_seconds_count", **base}, [sum(c) for c, _ in rows]


def data_set(seed):
    """Pairs of labels and one value (or `None`) a step."""
    rng = random.Random(seed)
    return [series for kind in (counters, gauges, stale, histograms) for series in kind(rng)]


def write_all(session, urls, series, start_ms):
    """Writes in the order of time, as Prometheus wants it, twenty steps at once."""
    for first in range(0, STEPS, 20):
        batch = []
        for labels, values in series:
            steps = range(first, min(first + 20, STEPS))
            samples = [(values[i], start_ms + i * STEP * 1000) for i in steps if values[i] is not None]
            if samples:
                batch.append((labels, samples))
        for url in urls:
            post(session, url, batch)
