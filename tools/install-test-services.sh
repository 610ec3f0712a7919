#!/bin/sh
# Installs what the tests use beside Python: the database server that the integration tests start
# for themselves (never as a service of this machine), and the browser that looks at the dashboard,
# and newman, which runs the Postman collection.
# With the word `bench`, what `make bench` loads servers and counts instructions with, too.
# What cannot be installed is skipped by the tests; this script says so and succeeds, because the
# other tests are worth running all the same. Under CI a skipped test fails.
set -eu
export DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/sbin:/sbin

# install PROGRAM WHAT PACKAGE...: install Debian packages unless PROGRAM is there.
install() {
  program=$1 what=$2
  shift 2
  command -v "$program" >/dev/null && return
  if ! command -v apt-get >/dev/null; then
    echo "What needs $what is left out: $program is not installed, and this is no Debian."
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "What needs $what is left out: only root can install it (apt-get install $*)."
    return
  fi
  log=$(mktemp)
  if { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1; then
    rm -f "$log"
  else
    echo "What needs $what is left out: apt-get could not install $*, see $log."
  fi
}

# Debian starts a new service at once unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ] && ! command -v mariadbd >/dev/null; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
install mariadbd MariaDB mariadb-server
install chromium "a browser" chromium fonts-dejavu-core fonts-noto-cjk

if [ "${1:-}" = bench ]; then
  install wrk wrk wrk
  install valgrind valgrind valgrind
fi

newman=.venv/newman/node_modules/.bin/newman
if [ ! -x "$newman" ] && ! command -v newman >/dev/null; then
  npm install --silent --no-audit --no-fund --prefix .venv/newman newman@6.2.2 >/dev/null 2>&1 ||
    echo "The test of the Postman collection will be skipped: npm cannot install newman."
fi
