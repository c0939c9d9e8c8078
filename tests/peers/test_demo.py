"""The demo: an incident is paged and resolved, with the shipped rules and routes."""

import json
import subprocess

from conftest import BINARY


def test_the_demo_pages_and_resolves():
    done = subprocess.run([BINARY, "demo", "--seconds", "60", "-o", "json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    statuses = [page["status"] for page in result["pages"]]
    assert statuses.count("firing") == 1 and statuses.count("resolved") == 1, result
    assert result["ingested_points"] > 10_000
