#!/bin/sh
# Makes sure that Debian packages are installed: need.sh PACKAGE...
# Installs only those that are missing, as root or through a sudo that asks no password. Where it may
# not, it prints the one command that a person must run and fails. Where there is no dpkg it says what
# the build is going to look for, and leaves it to the build to miss it.
set -eu

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "need.sh: no dpkg here, so nothing was checked; the build wants what Debian calls: $*" >&2
    exit 0
fi

missing=
for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root="env DEBIAN_FRONTEND=noninteractive"
elif sudo -n true 2>/dev/null; then
    as_root="sudo -n env DEBIAN_FRONTEND=noninteractive"
else
    echo "need.sh: packages are missing and this user may not install them; please run" >&2
    echo "    sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "need.sh: installing$missing" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # both lists are meant to be split into words
if ! { $as_root apt-get -q -o DPkg::Lock::Timeout=300 update &&
    $as_root apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing; } >"$log" 2>&1
then
    tail -n 20 "$log" >&2
    echo "need.sh: apt-get could not install$missing" >&2
    exit 1
fi
