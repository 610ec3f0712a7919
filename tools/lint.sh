#!/bin/sh
# lint.sh BIN [python]: every static check with the tools in the folder BIN, or only those of Python.
set -eu
PATH=$1:$PATH
export PATH

ruff check --quiet .
ruff format --check --quiet .
mypy backend hello_flask gunicorn.conf.py tools bench models/common models/autoencoder
for model in classifier conv-autoencoder; do # each has a module `train`, which mypy accepts once
  mypy "models/$model"
done
if [ "${2:-}" = python ]; then exit; fi
yamllint --strict .
hadolint Dockerfile models/*/Dockerfile tests/chaos/Dockerfile tests/e2e/deaf/Dockerfile tests/e2e/hostile/Dockerfile
shellcheck build.sh .ci/run tools/*.sh
python -m tools.audit
