#!/bin/sh
# install-test-services.sh [bench]: install the programs that the tests use besides Python: the
# database server and the proxy that the tests start for themselves (never as a service of this
# machine), a browser, and newman, which executes the Postman collection. With `bench`, also the load
# generator and the instruction counter of `make bench`.
# The script succeeds even if something cannot be installed: it names what is missing, and the tests
# that need it are skipped. Under CI a skipped test fails.
set -eu
export DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/sbin:/sbin

# install PROGRAM WHAT PACKAGE...: install Debian packages unless PROGRAM is installed.
install() {
  program=$1 what=$2
  shift 2
  command -v "$program" >/dev/null && return
  if ! command -v apt-get >/dev/null; then
    echo "Skipping what needs $what: $program is not installed, and this is not Debian."
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "Skipping what needs $what: only root can install it (apt-get install $*)."
    return
  fi
  log=$(mktemp)
  if { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1; then
    rm -f "$log"
  else
    echo "Skipping what needs $what: apt-get could not install $*; see $log."
  fi
}

# Debian starts a newly installed service unless this file forbids it.
policy=/usr/sbin/policy-rc.d
if [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ] &&
  ! { command -v mariadbd && command -v nginx; } >/dev/null; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
install mariadbd MariaDB mariadb-server
install nginx nginx nginx
install chromium "a browser" chromium fonts-dejavu-core fonts-noto-cjk

if [ "${1:-}" = bench ]; then
  install wrk wrk wrk
  install valgrind valgrind valgrind
fi

newman=.venv/newman/node_modules/.bin/newman
if [ ! -x "$newman" ] && ! command -v newman >/dev/null; then
  npm install --silent --no-audit --no-fund --prefix .venv/newman newman@6.2.2 >/dev/null 2>&1 ||
    echo "Skipping the test of the Postman collection: npm cannot install newman."
fi
