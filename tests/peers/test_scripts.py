"""The scripts that hold what is exported and deployed against Prometheus, kustomize, systemd and Chromium."""

import os
import subprocess

from conftest import BINARY, ROOT


def run(name, *arguments):
    environment = {**os.environ, "RIVETWATCH": str(BINARY)}
    command = ["bash", str(ROOT / "tests/peers" / name), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    print(done.stdout + done.stderr)
    assert done.returncode == 0, f"{name} ended with {done.returncode}"


def test_prometheus_with_the_exported_relabelling_ends_in_canonical_names():
    run("relabel.sh")


def test_what_is_deployed_is_accepted():
    run("deploy.sh")


def test_the_page_comes_to_life(agent):
    run("page.sh", agent().url)
