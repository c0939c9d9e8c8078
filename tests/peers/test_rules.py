"""The shipped rules and what is exported of them, in the hands of Prometheus', Alertmanager's and VictoriaMetrics' tools."""

import shutil
import subprocess

import pytest
from conftest import BINARY, ENGINE_DIR, ROOT


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


def export(*arguments):
    return run(BINARY, "rules", "export", *arguments)


def test_promtool_accepts_the_export_as_one_file_and_with_links(tmp_path):
    for arguments in [], ["--grafana-url", "https://g.example", "--skip-covered", "kube-prometheus"], ["--for-prometheus", "2.40"]:
        path = tmp_path / "rules.yaml"
        path.write_text(export(*arguments))
        assert "SUCCESS" in run("promtool", "check", "rules", path)


def test_amtool_accepts_the_exported_inhibition(tmp_path):
    path = tmp_path / "alertmanager.yml"
    path.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n" + export("--format", "alertmanager"))
    assert "inhibit rules" in run("amtool", "check-config", path)


@pytest.mark.skipif(shutil.which("vmalert") is None, reason="vmalert is not installed")
def test_vmalert_accepts_the_export(tmp_path):
    # Debian's is older than keep_firing_for, and refuses a whole group for it.
    path = tmp_path / "rules.yaml"
    path.write_text(export("--format", "vmalert", "--for-vmalert", "1.79"))
    run("vmalert", "-dryRun", f"-rule={path}")
    path.write_text(export("--format", "vmalert"))
    done = subprocess.run(["vmalert", "-dryRun", f"-rule={path}"], capture_output=True, text=True)
    assert "keep_firing_for" in done.stderr + done.stdout, "Debian's vmalert knows it by now: drop --for-vmalert above"


SCHEMA = ENGINE_DIR / "node_modules/@kubernetes-models/prometheus-operator"


@pytest.mark.skipif(not SCHEMA.exists(), reason="the operator's schema is not installed")
def test_the_operators_schema_accepts_the_export():
    def validate(text):
        return subprocess.run(["node", "prometheusrule.mjs"], cwd=ENGINE_DIR, input=text, capture_output=True, text=True)

    text = export("--format", "prometheusrule", "--namespace", "monitoring", "--label", "release=stack")
    done = validate(text)
    assert done.returncode == 0 and int(done.stdout) > 10, done.stderr
    assert "must match pattern" in validate(text.replace('for: "5m"', 'for: "5 minutes"')).stderr
