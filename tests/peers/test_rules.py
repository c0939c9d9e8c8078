"""The shipped rules in the hands of Prometheus' own tools."""

import subprocess

from conftest import BINARY, ROOT


def run(*command):
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules():
    assert "SUCCESS" in run("promtool", "check", "rules", "--lint=all", *sorted(ROOT.glob("alerts/[0-9]*.yaml")))


def test_promtool_passes_the_rule_tests():
    run("promtool", "test", "rules", *sorted(ROOT.glob("alerts/tests/*.yaml")))


def test_our_own_runner_passes_the_rule_tests():
    run(BINARY, "rules", "test", "--closed-windows", *sorted(ROOT.glob("alerts/tests/*.yaml")))
