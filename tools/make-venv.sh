#!/bin/sh
# make-venv.sh PYTHON FOLDER: create a virtual environment; on Debian, install python3-venv if needed.
set -eu
python=$1 venv=$2

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "error: $python is older than 3.11: make PYTHON=/path/to/a/newer/python" >&2; exit 1; }
"$python" -m venv "$venv" >/dev/null 2>&1 && exit 0

rm -rf "$venv"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "error: '$python -m venv' fails: install python3-venv, then repeat the command." >&2
  exit 1
fi
echo "Installing python3-venv ..."
apt-get -qq update && apt-get -qq -y install python3-venv >/dev/null
"$python" -m venv "$venv"
