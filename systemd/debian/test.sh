#!/usr/bin/env bash
# Installs this machine's packages in a Debian of their own (a folder under target/deb-test, entered by chroot as root)
# and uses them as people would: the service's user runs the installed configuration, a member of the group reads
# labels and a stranger may not, an upgrade keeps a changed configuration, a purge leaves nothing. What needs a running
# systemd is tested in an emulated machine.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=target/deb-test
root=$PWD/$work/root

fail() {
    echo "FAIL $*" >&2
    exit 1
}

# Without a mirror of its own mmdebstrap takes Debian's; this machine's sources may name a nearer one.
debian() {
    local sources=() file
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        if [ -s "$file" ]; then sources=("$file") && break; fi
    done
    [ -s "$work/base.tar" ] || mmdebstrap --quiet --variant=minbase --include=systemd-standalone-sysusers \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/base.tar" "${sources[@]}"
    rm -rf "$root"
    mkdir -p "$root"
    tar -xf "$work/base.tar" -C "$root"
}

outside() {
    if [ "$(id -u)" != 0 ]; then
        echo "test.sh: SKIPPED: it enters a Debian of its own, which takes root; please run: sudo make test-deb" >&2
        exit 0
    fi
    cross/need.sh mmdebstrap
    mkdir -p "$work/packages/1" "$work/packages/2"
    rm -f "$work"/packages/*/*
    ONLY=native REVISION=1 OUT=$work/packages/1 systemd/debian/build.sh
    ONLY=native REVISION=2 PREBUILT=1 OUT=$work/packages/2 systemd/debian/build.sh
    debian
    cp -r "$work/packages" "$0" "$root/"
    # Whatever was started there ends with the namespace.
    unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
        chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        bash "/${0##*/}" inside
}

# Takes the shell's place, so that $! is the program itself.
as() {
    local user=$1
    shift
    exec setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs --bounding-set=-all "$@"
}

# Every file but those that change in any use of dpkg and of users.
everything() {
    find / -xdev \( -path /proc -o -path /run -o -path /packages -o -path /tmp -o -path /home -o -path /var/lib/dpkg \
        -o -path /var/log -o -path /var/mail -o -path /var/cache/ldconfig \) -prune -o -print |
        grep -vE '^/etc/(passwd|group|shadow|gshadow|subuid|subgid|\.pwd\.lock)-?$' | sort
}

installs() {
    everything >/tmp/before
    dpkg -i /packages/1/*.deb >/tmp/dpkg.log 2>&1 </dev/null || { cat /tmp/dpkg.log; fail "dpkg -i"; }
    id resnetd | grep -q 'resnetd.*(resnetd).*(video)' || fail "the user resnetd is not in the groups resnetd and video: $(id resnetd)"
    [ "$(getent passwd resnetd | cut -d: -f6-7)" = /var/lib/resnetd:/usr/sbin/nologin ] || fail "home or shell: $(getent passwd resnetd)"
    [ -L /etc/systemd/system/multi-user.target.wants/resnetd.service ] || fail "the service is not enabled"
    [ -L /etc/systemd/system/multi-user.target.wants/resnetd-teach.path ] || fail "nobody waits for lessons"
    [ ! -e /etc/systemd/system/sockets.target.wants/resnetd.socket ] || fail "the socket is enabled, which nobody asked for"
    resnetd --version && resnetd-model --version
    echo "ok   both packages install, with user, group and an enabled service"
}

serves() {
    useradd --create-home member
    useradd --create-home stranger
    usermod --append --groups resnetd member
    # What systemd does for the service: RuntimeDirectory= and StateDirectory=.
    install -d -o resnetd -g resnetd -m 755 /run/resnetd /var/lib/resnetd
    as resnetd resnetd run --config /etc/resnetd/resnetd.toml --source demo: 2>/tmp/daemon.log &
    daemon=$!
    local tries
    for tries in $(seq 300); do
        [ ! -S /run/resnetd/resnetd.sock ] || break
        kill -0 "$daemon" || { cat /tmp/daemon.log; fail "the daemon ended"; }
        sleep 0.2
    done
    [ "$(stat -c '%a %U %G' /run/resnetd/resnetd.sock)" = "660 resnetd resnetd" ] || fail "the socket: $(stat -c '%a %U %G' /run/resnetd/resnetd.sock) after $tries tries"
    (as member timeout 120 resnetd watch --json) | grep -m 1 '"type":"classification"' >/tmp/label ||
        { cat /tmp/daemon.log; fail "a member of the group reads no label"; }
    echo "ok   a member of the group reads: $(cut -c 1-100 /tmp/label) ..."
    local code=0
    (as stranger timeout 120 resnetd watch --json) >/tmp/stranger 2>&1 || code=$?
    { [ "$code" = 6 ] && grep -qi permission /tmp/stranger; } || fail "a stranger got code $code: $(head -n 3 /tmp/stranger)"
    echo "ok   a stranger is refused: $(head -n 1 /tmp/stranger)"
    kill "$daemon"
    wait "$daemon" || fail "the daemon ended with $?"
    [ ! -e /run/resnetd/resnetd.sock ] || fail "the socket is still there"
    echo "ok   the daemon leaves with its socket"
}

upgrades() {
    echo '# mine' >>/etc/resnetd/resnetd.toml
    dpkg -i /packages/2/*.deb >/tmp/dpkg.log 2>&1 </dev/null || { cat /tmp/dpkg.log; fail "the upgrade"; }
    dpkg-query -W -f '${Version}' resnetd | grep -q -- '-2$' || fail "the version after the upgrade"
    tail -n 1 /etc/resnetd/resnetd.toml | grep -qx '# mine' || fail "the upgrade took a changed configuration away"
    echo "ok   an upgrade keeps a changed configuration"
}

leaves() {
    touch /var/lib/resnetd/state
    dpkg -r resnetd resnetd-model >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; fail "dpkg -r"; }
    [ ! -e /usr/bin/resnetd ] || fail "the program is still there"
    tail -n 1 /etc/resnetd/resnetd.toml | grep -qx '# mine' || fail "remove took the configuration away"
    [ -e /var/lib/resnetd/state ] || fail "remove took the state away"
    echo "ok   remove keeps configuration and state"
    dpkg -P resnetd resnetd-model >/tmp/dpkg.log 2>&1 || { cat /tmp/dpkg.log; fail "dpkg -P"; }
    everything >/tmp/after
    diff /tmp/before /tmp/after >/tmp/difference || fail "purge left: $(cat /tmp/difference)"
    [ ! -e /run/resnetd ] || fail "purge left /run/resnetd"
    echo "ok   purge leaves nothing but the user and the group"
}

case ${1:-outside} in
    outside) outside ;;
    inside) installs && serves && upgrades && leaves ;;
    *) echo "test.sh: takes no arguments" >&2; exit 2 ;;
esac
