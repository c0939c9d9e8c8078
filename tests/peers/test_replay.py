"""Recordings of the real engine, played through the shipped rules and routes: whom they would have woken, and when."""

import json
import os
import pathlib
import subprocess

import pytest
from conftest import BINARY, ROOT

SHARED = pathlib.Path(os.environ.get("RIVETWATCH_SHARED", ROOT.parent / "shared")) / "engine"

# Folder, and for each page: its alert, from when it may come, until when it must have come, and whether it must
# (True), must not (False) or may (None) end within the recording, whose end may come before the group's next turn.
# Seconds after the first scrape, from the recording's phases.txt.
EXPECTED = {
    "capture-2.3.19": [("RivetActorHostLost", 139, 229, False)],
    "capture-2.3.19-pool-in-error": [("RivetPoolInError", 0, 90, False)],
    # The host is back at 1050 and calls go on failing to the end at 1418: no resolve before.
    "capture-2.3.19-host-lost": [("RivetActorHostLost", 660, 750, False)],
    "capture-2.3.19-rate-limited": [
        ("RivetActorHostRateLimited", 215, 315, True),
        ("RivetActorHostRateLimited", 935, 1025, None),
    ],
}


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings in {SHARED}")
@pytest.mark.parametrize("folder", EXPECTED)
def test_each_incident_pages_once_and_is_named_for_its_cause(folder):
    command = [BINARY, "simulate", "--replay", SHARED / folder, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = json.loads(done.stdout)["pages"]
    assert [page["alertname"] for page in pages] == [name for name, *_ in EXPECTED[folder]], pages
    for page, (_, earliest, latest, ends) in zip(pages, EXPECTED[folder]):
        assert earliest <= page["at_seconds"] <= latest, page
        assert ends is None or (page["resolved_at_seconds"] is not None) == ends, page
