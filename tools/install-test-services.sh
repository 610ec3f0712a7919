#!/bin/sh
# Installs the database server that the integration tests start for themselves (never as a service
# of this machine). What cannot be installed is skipped by the tests; this script says so and
# succeeds, because the other tests are worth running all the same.
set -eu

skip() {
  echo "Tests on MariaDB will be skipped: $1."
  exit 0
}

PATH=$PATH:/usr/sbin:/sbin
if command -v mariadbd >/dev/null; then exit 0; fi
command -v apt-get >/dev/null || skip "mariadbd is not installed, and this is no Debian"
[ "$(id -u)" -eq 0 ] || skip "mariadbd is not installed, and only root can install it (apt-get install mariadb-server)"

# Debian starts a new service at once unless this file says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if { apt-get update && apt-get install --yes --no-install-recommends mariadb-server; } >"$log" 2>&1; then
  rm -f "$log"
else
  skip "apt-get could not install mariadb-server, see $log"
fi
