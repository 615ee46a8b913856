#!/bin/bash
# Installs the lab's Debian packages that are missing, and lets none of them start a service. Says so when Go is missing.
set -euo pipefail
cd "$(dirname "$0")/lab"

refuse() {
    echo "REFUSED: $1" >&2
    echo "HINT: $2" >&2
    exit 3
}

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

command -v go >/dev/null || refuse "Go is missing: the lab builds Kubernetes and Velero with it" \
    "install Go 1.25 or newer (https://go.dev/dl/) into /usr/local/go, or put it into PATH"
command -v dpkg-query >/dev/null || refuse "this is not Debian: dpkg-query is missing" "the lab needs Debian 12 or newer"

missing=()
for package in $(sed 's/#.*//' apt.txt); do
    installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || refuse "not installed: ${missing[*]}" "run this as root, or: apt-get install ${missing[*]}"

echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then # the lab starts its own containerd, sshd and PostgreSQL, each where it belongs
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
fi
apt-get update -qq
if [[ " ${missing[*]} " == *" postgresql"* ]]; then
    apt-get install -qq --yes --no-install-recommends postgresql-common >/dev/null
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
fi
apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
