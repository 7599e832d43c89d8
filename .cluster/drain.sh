#!/usr/bin/env bash
# On a spot worker: waits for the cloud's notice (two minutes before the machine goes), then tells Ray, which moves its lineages
# elsewhere without spending one of their retries.  Started by cluster.yaml; $1 is the address of the head.
set -euo pipefail
metadata=${METADATA:-http://169.254.169.254/latest}
notice() {
  local token
  token=$(curl -sfX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token") &&
    curl -sf -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action"
}
until notice; do sleep "${EVERY:-5}"; done
RAY_ADDRESS=$1 ray drain-node --address "$1" --reason DRAIN_NODE_REASON_PREEMPTION --reason-message spot \
  --deadline-remaining-seconds 110
