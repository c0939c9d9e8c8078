#!/usr/bin/env bash
# Opens the status page of a running agent in Chromium and looks whether it came to life.
#
# Usage: page.sh URL [SCREENSHOT.png [WIDTH]]
# Exits 1 when the page stays empty, reports trouble, or a script or policy error was logged. Without chromium it says so
# and passes.
set -euo pipefail

url=$1
picture=${2:-}
width=${3:-1280}
if ! command -v chromium >/dev/null; then
  echo "passed over: no chromium"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

browse() {
  timeout 60 chromium --headless --no-sandbox --disable-gpu --no-first-run --hide-scrollbars \
    --disable-background-networking --disable-component-update --disable-sync \
    --user-data-dir="$work/profile" --window-size="$width,1600" --virtual-time-budget=8000 \
    --enable-logging=stderr "$@" "$url" 2>>"$work/log"
}

browse --dump-dom >"$work/page.html"
if [ -n "$picture" ]; then browse --screenshot="$picture" >/dev/null; fi

python3 - "$work/page.html" "$work/log" <<'PYTHON'
import pathlib, re, sys

page, log = (pathlib.Path(path).read_text(errors="replace") for path in sys.argv[1:3])
problems = [line for line in log.splitlines() if "CONSOLE" in line and re.search(r"Error|Refused|violates", line)]
verdict = re.search(r'<section id="verdict" class="verdict (good|warn|bad)"[^>]*><h1>(.*?)</h1><p>(.*?)</p>', page)
if not verdict:
    problems.append("no verdict: the page did not come to life")
if not re.search(r'<p id="trouble"[^>]*hidden', page):
    problems.append("trouble: " + "".join(re.findall(r'<p id="trouble"[^>]*>(.*?)</p>', page)))
if page.count('class="figure"') != 4:
    problems.append("the four figures are not there")
for problem in problems:
    print(problem, file=sys.stderr)
if verdict:
    print(f"{verdict[1]}: {verdict[2]} ({verdict[3]})")
sys.exit(1 if problems else 0)
PYTHON
