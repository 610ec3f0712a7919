#!/usr/bin/env bash
# Removes hello-flask from the cluster of the current kubectl context, from the namespace default and from
# hello-flask, however it was installed. Can be repeated. The folders on the host, the MySQL of yaml/db/
# and the results in its database stay.
set -uo pipefail

yaml=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../yaml
backend=app.kubernetes.io/name=hello-flask,app.kubernetes.io/component=backend
training=app.kubernetes.io/managed-by=hello-flask,app.kubernetes.io/component=training

remove() { # what kubectl delete is to delete
  kubectl delete --ignore-not-found --timeout=90s "$@" && return
  printf 'uninstall: "kubectl delete %s" did not finish; see the error above. ' "$*" >&2
  printf 'A pod of a node that is gone ends with "kubectl delete pod NAME --force". Then run this again.\n' >&2
  exit 1
}

for namespace in default hello-flask; do
  # The backend first, which could create another Job. Then the Jobs with their pods: a claim that a pod
  # mounts stays, and a volume waits for its claim.
  remove -n "$namespace" deployments,services -l "$backend"
  remove -n "$namespace" pods -l "$backend"
  remove -n "$namespace" jobs -l "$training" --cascade=foreground
  remove -n "$namespace" pods -l "$training"
  remove -n "$namespace" services hello-flask-training
  remove -n "$namespace" pvc hello-flask-input hello-flask-output
done
remove namespace hello-flask hello-flask-setup
remove pv hello-flask-input hello-flask-output
remove -n default secret hello-flask-db hello-flask-api hello-flask-webhooks
remove -n default networkpolicy hello-flask-training hello-flask-gangs
remove -n default roles,rolebindings hello-flask-queues
remove -f "$yaml/setup/3_crb.yaml" -f "$yaml/setup/2_sa.yaml"
