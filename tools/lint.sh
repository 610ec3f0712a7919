#!/bin/sh
# lint.sh BIN: every static check, with the tools of the virtual environment's folder BIN.
set -eu
PATH=$1:$PATH
export PATH

ruff check .
ruff format --check --quiet .
mypy backend gunicorn.conf.py tools bench models/autoencoder
yamllint --strict .
hadolint Dockerfile models/autoencoder/Dockerfile tests/chaos/Dockerfile tests/e2e/hostile/Dockerfile
shellcheck build.sh .ci/run tools/*.sh
python -m tools.audit
