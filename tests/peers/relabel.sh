#!/usr/bin/env bash
# A real Prometheus scrapes pages of both name shapes with the exported relabelling and loads the shipped rules: do both
# engines end in the same canonical names, do the signals have values, and does every query of the dashboards give data?
#
# Needs prometheus (Debian's 2.42 will do), python3, and the recordings in $RIVETWATCH_SHARED (default ../shared); without
# them it says so and passes. $RIVETWATCH is the binary (default target/release/rivetwatch): its `rules export --format
# relabel` is tried, and it runs beside for the dashboard about the agent. $ALERTS is the folder of rule files (default alerts).
set -euo pipefail
cd "$(dirname "$0")/../.."

recordings="${RIVETWATCH_SHARED:-../shared}/engine"
recording="$recordings/capture-2.3.19-host-lost"
rivetwatch="${RIVETWATCH:-target/release/rivetwatch}"
alerts=$(realpath "${ALERTS:-alerts}")
if [ ! -d "$recording" ]; then
  echo "passed over: no recordings in $recording"
  exit 0
fi

work=$(mktemp -d)
started=()
finish() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT

python3 tests/peers/pages.py "$recording" prefixed >"$work/prefixed" &
started+=($!)
python3 tests/peers/pages.py "$recording" bare src/rivet/inventory.json >"$work/bare" &
started+=($!)
# A third engine with a serverless host that refuses, and with what else than the engine itself would send.
python3 tests/peers/pages.py "$recordings/capture-2.3.19-rate-limited" prefixed tests/peers/beside-the-engine.prom >"$work/limited" &
started+=($!)
for page in prefixed bare limited; do
  for _ in $(seq 200); do [ -s "$work/$page" ] && break; sleep 0.1; done
done
prefixed="127.0.0.1:$(cat "$work/prefixed")"
bare="127.0.0.1:$(cat "$work/bare")"
limited="127.0.0.1:$(cat "$work/limited")"

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

"$rivetwatch" rules export --format relabel >"$work/relabel.yaml"
# An agent with troubles of its own: nobody takes what it sends, and the engine's API does not answer.
own="127.0.0.1:$(free_port)"
cat >"$work/agent.yaml" <<EOF
receive:
  scrape: {targets: [{url: "http://$limited/metrics"}]}
  otlp: {grpc: {enabled: false}, http: {enabled: false}}
  engine_api: {peer_url: "http://127.0.0.1:1", public_url: "http://127.0.0.1:1"}
storage: {path: "$work/agent"}
probe: {listen: "$own"}
api: {listen: "127.0.0.1:$(free_port)"}
forward: {otlp: {endpoint: "http://127.0.0.1:1"}}
notify:
  receivers: [{name: broken, webhook_configs: [{url: "http://127.0.0.1:1"}]}]
  route: {receiver: broken, group_wait: 1s}
EOF
"$rivetwatch" run --config "$work/agent.yaml" >"$work/agent.log" 2>&1 &
started+=($!)
{
  echo "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}"
  echo "rule_files: ['$alerts/[0-9]*.yaml']"
  echo "scrape_configs:"
  echo "  - job_name: rivet"
  echo "    static_configs: [{targets: ['$prefixed', '$bare', '$limited']}]"
  sed 's/^/    /' "$work/relabel.yaml"
  echo "  - job_name: rivetwatch"
  echo "    static_configs: [{targets: ['$own']}]"
} >"$work/prometheus.yml"
promtool check config "$work/prometheus.yml" >"$work/check" || { cat "$work/check"; exit 1; }

port=$(free_port)
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
  --web.listen-address="127.0.0.1:$port" --log.level=error 2>"$work/log" &
started+=($!)
for _ in $(seq 200); do
  python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/-/ready')" 2>/dev/null && break
  sleep 0.1
done

python3 tests/peers/relabel.py "http://127.0.0.1:$port" "$prefixed" "$bare" || { tail -5 "$work/log" >&2; exit 1; }
# The same Prometheus now has all that the dashboards read.
python3 tests/peers/dashboards.py "http://127.0.0.1:$port" dashboards
