#!/usr/bin/env bash
# Builds the kustomize bases and holds them, with the systemd unit, against the real tools where these are installed:
# kubectl (kustomize), kubernetes-validate (PyPI), systemd-analyze. What is missing is said and passed over.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v kubectl >/dev/null; then
  kubectl kustomize deploy/kubernetes/gateway >"$work/gateway.yaml"
  # An engine Deployment as small as one can be, to hang the component on.
  cp -r deploy/kubernetes/sidecar "$work/sidecar"
  cat >"$work/engine.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: { name: rivet-engine }
spec:
  selector: { matchLabels: { app: rivet-engine } }
  template:
    metadata: { labels: { app: rivet-engine } }
    spec:
      containers:
        - name: rivet-engine
          image: rivetdev/engine:2.3.19
          ports: [{ name: guard, containerPort: 6420 }, { name: api-peer, containerPort: 6421 }]
          resources: { requests: { cpu: "2", memory: 2Gi }, limits: { cpu: "3", memory: 4Gi } }
YAML
  printf 'resources: [engine.yaml]\ncomponents: [sidecar]\n' >"$work/kustomization.yaml"
  kubectl kustomize "$work" >"$work/engine-with-sidecar.yaml"
  for what in 'containerPort: 6430' 'containerPort: 6420' 'restartPolicy: Always' 'shareProcessNamespace: true'; do
    grep -q "$what" "$work/engine-with-sidecar.yaml" || { echo "the patched engine lacks \`$what\`" >&2; exit 1; }
  done
  if command -v kubernetes-validate >/dev/null; then
    for version in 1.29 1.33; do
      kubernetes-validate --strict -k "$version" "$work/gateway.yaml" "$work/engine-with-sidecar.yaml"
    done
  else
    echo "passed over: no kubernetes-validate"
  fi
else
  echo "passed over: no kubectl"
fi

if command -v systemd-analyze >/dev/null; then
  # The binary need not be installed for its unit to be checked.
  sed 's|/usr/bin/rivetwatch|/bin/true|' deploy/systemd/rivetwatch.service >"$work/rivetwatch.service"
  systemd-analyze verify "$work/rivetwatch.service"
  # 2.0 of 10: what is left is the network, which the agent is for, and /proc.
  systemd-analyze security --offline=true --threshold=20 "$work/rivetwatch.service" | tail -1
else
  echo "passed over: no systemd-analyze"
fi
