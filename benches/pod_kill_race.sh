#!/usr/bin/env bash
# How long from the start of a process until the API server has received the DELETE of a pod: `chaos inject pod-kill`, `kubectl delete pod` and Chaos
# Toolkit's `terminate_pods`, one after the other on the same cluster, each the same number of times.
#
#   benches/pod_kill_race.sh CONTEXT [RUNS]
#
# A proxy on this machine stands between each of them and the API server and notes when the first line of the DELETE arrives; the cluster's own certificates are
# used behind it, plain HTTP before it, for all three alike. Chaos Toolkit comes from PyPI into a folder of its own: CHAOSTOOLKIT=PATH/TO/chaos names one that
# is installed. Needs kubectl, python3, and a release build of this project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
context=${1:?usage: benches/pod_kill_race.sh CONTEXT [RUNS]}
runs=${2:-10}
chaos=${CHAOS:-target/release/chaos}
scratch=$(mktemp -d)
# The measuring half, which takes the place of this shell in the end, removes both as well.
trap 'kubectl --context "$context" delete namespace pod-kill-race --ignore-not-found --wait=false >/dev/null; rm -rf "$scratch"' EXIT

[ -x "$chaos" ] || cargo build --release --bin chaos
if [ -z "${CHAOSTOOLKIT:-}" ]; then
  python3 -m venv "$scratch/venv"
  "$scratch/venv/bin/pip" install --quiet chaostoolkit chaostoolkit-kubernetes
  CHAOSTOOLKIT=$scratch/venv/bin/chaos
fi
image=${IMAGE:-registry.k8s.io/pause:3.10}
kubectl --context "$context" apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata: { name: pod-kill-race }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: target, namespace: pod-kill-race }
spec:
  replicas: 1
  selector: { matchLabels: { app: target } }
  template:
    metadata: { labels: { app: target } }
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - { name: target, image: "$image", imagePullPolicy: IfNotPresent, ports: [{ containerPort: 1433 }], command: ${COMMAND:-null} }
---
apiVersion: v1
kind: Service
metadata: { name: target, namespace: pod-kill-race }
spec: { selector: { app: target }, ports: [{ port: 1433 }] }
YAML
exec python3 benches/pod_kill_race.py "$context" "$runs" "$chaos" "$CHAOSTOOLKIT" "$scratch"
