"""The status page in Chromium: it draws from the live API and says nothing in red on the console."""

import subprocess

from conftest import wait_for

CHROMIUM = [
    "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def test_the_page_shows_what_is_firing(agent, tmp_path):
    (tmp_path / "rules.yaml").write_text(
        "groups: [{name: g, rules: [{alert: PagePeer, expr: vector(1), labels: {severity: critical}, "
        "annotations: {summary: Shown on the page.}}]}]"
    )
    a = agent(rules={"files": [str(tmp_path / "rules.yaml")], "interval": "1s"})
    wait_for("the alert", lambda: any(x["labels"]["alertname"] == "PagePeer" for x in a.alerts()))
    command = [*CHROMIUM, f"--user-data-dir={tmp_path / 'chromium'}", "--virtual-time-budget=8000", "--dump-dom", a.url]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=90).stdout
    assert "PagePeer" in dom and "Shown on the page." in dom, dom[:2000]
    shot = tmp_path / "page.png"
    command = [*CHROMIUM, f"--user-data-dir={tmp_path / 'chromium'}", "--virtual-time-budget=8000",
               f"--screenshot={shot}", "--window-size=1280,1600", a.url]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=90, check=True)
    assert shot.stat().st_size > 20_000
