"""The whole library of scenarios and three quiet days, played by the release binary; and our `ALERTS` against promtool's."""

import json
import os
import re
import subprocess

import pytest
from conftest import BINARY, ROOT

LIBRARY = ROOT / "tests/scenarios"
# Of an outage of everything, from its first visible sign.
TOTAL = {"RivetEngineDown", "RivetDatabaseStalled", "RivetActorHostLost", "RivetPoolInError"}
# Total outages that page later, each with its reason; they stand in SCORES.md.
SLOWER = {
    "pool-in-error-few-calls": "Two calls come a minute. That all of them fail is told from chance by two windows of two minutes that share "
    "no call, so the page needs five minutes; a faster rule would page for a burst of two.",
}

# Seeds of the histories that promtool judges, and the scenarios of the library that join them.
SEEDS = [1, 2, 3, 4]
HISTORIES = ["incidents/engine-down", "incidents/host-rate-limited", "quiet/upgrade-to-prefixed", "quiet/upgrade-from-otlp"]


def simulate(*arguments, expected=0):
    command = [BINARY, "simulate", *arguments]
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def is_burn_rate(met):
    return met["alertname"].endswith("BudgetBurn")


def scores_page(played):
    """`tests/scenarios/SCORES.md`: virtual time is the same everywhere, so it holds to the tenth of a second."""
    scores = played["scores"]
    figures = [
        ("scenarios played, failed", f"{scores['scenarios']}, {scores['failed']}"),
        ("pages that had to come, came in time", f"{scores['pages_expected']}, {scores['pages_met']}"),
        ("detection rate", f"{scores['detection_rate']:.1%}"),
        ("median time to page", f"{scores['median_seconds_to_page']:.1f} s"),
        ("worst time to page", f"{scores['worst_seconds_to_page']:.1f} s"),
        ("burn-rate pages, and the most that one took of its long window + `for` + 60 s", f"{scores['burn_rate_pages']}, {scores['worst_burn_rate_share']:.0%}"),
        ("false pages in the library", f"{scores['false_pages']} in {scores['simulated_weeks']:.2f} weeks"),
    ]
    met = [(scenario["scenario"], met) for scenario in played["scenarios"] for met in scenario["expected"]["met"] if met["is_page"]]
    pages = [(name, met["alertname"], f"{met['after_seconds']:.1f} s") for name, met in met if not is_burn_rate(met)]
    burns = [
        (name, met["alertname"], f"{met['after_seconds']:.1f} s", f"{met['within_seconds']:.0f} s")
        for name, met in met
        if is_burn_rate(met)
    ]
    rows = lambda table: "".join("| " + " | ".join(row) + " |\n" for row in table)
    return (
        "# Scores of the shipped rules on the library of scenarios\n\n"
        "`rivetwatch simulate tests/scenarios/*/*.yaml`, in virtual time. `.ci/run` plays the library and compares; what is\n"
        "meant to change is renewed by `UPDATE=1 tests/peers/run -k library`. Quiet months are in `tests/LONG.md`.\n\n"
        "| Figure | Value |\n|---|---|\n" + rows(figures) + "\n"
        "| Scenario | Page | After its first visible sign |\n|---|---|---|\n" + rows(pages) + "\n"
        "## Burn rates\n\n"
        "A page for a budget that is burnt too fast must come within its long window + `for` + 60 s, measured from the first failing call.\n\n"
        "| Scenario | Page | After the first failing call | Bar |\n|---|---|---|---|\n" + rows(burns) + "\n"
        "## Total outages later than 90 s\n\n"
        "Every other total outage of the library is paged within 90 s of its first visible sign.\n\n"
        + "".join(f"- {name}: {reason}\n" for name, reason in SLOWER.items())
    )


def test_the_library_pages_whom_it_should_and_nobody_else():
    played = json.loads(simulate(*sorted(LIBRARY.glob("*/*.yaml")), "-o", "json"))
    scores = played["scores"]
    print(json.dumps(scores, indent=1))
    assert scores["scenarios"] >= 30
    assert (scores["failed"], scores["detection_rate"], scores["false_pages"]) == (0, 1.0, 0)
    path, page = LIBRARY / "SCORES.md", scores_page(played)
    if os.environ.get("UPDATE"):
        path.write_text(page)
    assert path.read_text() == page, "run with UPDATE=1 if this is meant"
    for scenario in played["scenarios"]:
        for met in scenario["expected"]["met"]:
            if met["is_page"] and met["alertname"] in TOTAL and scenario["scenario"] not in SLOWER:
                assert met["after_seconds"] <= 90, scenario["scenario"]
            if is_burn_rate(met):
                assert met["after_seconds"] <= met["within_seconds"], scenario["scenario"]


def test_three_quiet_days_page_nobody():
    report = json.loads(simulate("--random", 1, "--days", 3, "-o", "json"))
    assert report["pages"] == [] and report["failures"] == []


def samples(text):
    """Label sets of a promtool line such as `exp: {__name__="ALERTS", …} 1E+00, {…} 1E+00`."""
    return set(re.findall(r"\{[^}]*\}", text))


def differences(output):
    """For each tick that differs: its time, and what only one side has."""
    pattern = r'expr: "ALERTS", time: (\S+),\s*exp: ?(.*?)\n\s*got: ?(.*?)\n'
    for time, ours, theirs in re.findall(pattern, output):
        for side, only in (("ours", samples(ours) - samples(theirs)), ("promtool", samples(theirs) - samples(ours))):
            for labels in sorted(only):
                rule = re.search(r'alertname="([^"]*)"', labels)
                yield f"{rule and rule[1]} at {time}: only {side} has {labels}"


@pytest.mark.parametrize("history", [*HISTORIES, *SEEDS])
def test_promtool_sees_the_same_alerts_at_every_tick(history, tmp_path):
    what = ["--random", history, "--incidents", 1] if isinstance(history, int) else [LIBRARY / f"{history}.yaml"]
    simulate(*what, "--promtool", tmp_path)
    (test,) = tmp_path.glob("*.test.yaml")
    done = subprocess.run(["promtool", "test", "rules", str(test)], capture_output=True, text=True, timeout=900)
    found = "\n".join(differences(done.stdout + done.stderr))
    assert done.returncode == 0, found or done.stdout + done.stderr
