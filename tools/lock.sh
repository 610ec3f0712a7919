#!/bin/sh
# lock.sh BIN: write the exact versions that the ranges of requirements*.txt resolve to today.
set -eu
bin=$1
"$bin/python" -m pip --quiet install 'pip-tools>=7.4,<8'
compile() {
  "$bin/pip-compile" --quiet --upgrade --strip-extras --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@"
}
compile --output-file=requirements.lock requirements.txt
compile --constraint=requirements.lock --output-file=requirements-dev.lock requirements-dev.txt
compile --constraint=requirements-dev.lock --output-file=requirements-bench.lock \
  requirements-bench.txt
