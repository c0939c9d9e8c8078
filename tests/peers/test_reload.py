"""A changed rule file is taken over while the agent runs; a broken one is not, and that is an alert itself."""

import os
import signal

from conftest import wait_for


def rule(name, expr="vector(1)"):
    return f"groups: [{{name: g, rules: [{{alert: {name}, expr: '{expr}', labels: {{severity: info}}}}]}}]\n"


def test_rules_are_read_again_when_their_file_changes(agent, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(rule("First"))
    a = agent(rules={"files": [str(rules)], "interval": "1s"})

    def firing():
        return {alert["labels"]["alertname"] for alert in a.alerts() if alert["state"] == "firing"}

    wait_for("the first alert", lambda: "First" in firing())
    rules.write_text(rule("Second"))
    wait_for("the second in place of the first", lambda: "Second" in firing() and "First" not in firing())
    assert a.value("rivetwatch_config_last_reload_successful") == 1

    rules.write_text(rule("Third", "sum((1"))
    wait_for("the refusal", lambda: a.value("rivetwatch_config_last_reload_successful") == 0)
    wait_for("the alert about it", lambda: "RivetConfigReloadFailed" in firing())
    assert "Second" in firing(), "the old rules go on"
    assert "not usable" in a.tail() and "rules.yaml" in a.tail()

    rules.write_text(rule("Fourth"))
    os.kill(a.child.pid, signal.SIGHUP)
    wait_for("the mended rules", lambda: "Fourth" in firing() and "RivetConfigReloadFailed" not in firing())
    assert a.own("rivetwatch_config_reloads_total") >= 3
