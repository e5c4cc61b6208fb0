# What scenarios of the service have in common, beside lib.sh.
# shellcheck shell=dash

SOCKET=/run/resnetd/resnetd.sock
CONFIG=/etc/resnetd/resnetd.toml
DROP_INS=/run/systemd/system/resnetd.service.d
#: As drop-ins set it where time is short.
PERIOD=5
#: systemctl and dpkg take their time in here: longer than lib.sh has it.
PATIENCE=240

# One that may read labels, and one that may not. The root file system has no PAM set up, hence setpriv and no su.
people() {
    useradd -G resnetd member
    useradd stranger
}

as() {
    local user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --init-groups "$@"
}

# configuration [MODEL] [SOURCE]
configuration() {
    printf 'source = "%s"\nmodel = "%s"\nthreads = 1\n' "${2:-v4l2:$CAMERA?size=320x180&fps=5}" "${1:-$TINY}"
}

# configured [MODEL] [SOURCE]: the service's configuration from its next start on.
configured() { configuration "$@" >$CONFIG; }

# changed [LINE...]: the unit as it is shipped, with these lines in a drop-in.
changed() {
    rm -rf $DROP_INS
    if [ $# -gt 0 ]; then
        mkdir -p $DROP_INS
        printf '%s\n' '[Service]' "$@" >$DROP_INS/scenario.conf
    fi
    systemctl daemon-reload
}

# started: starts the service anew and attaches a subscriber, who is let in as a member of the group. From here on
# `journal` shows what is new.
started() {
    systemctl stop resnetd.socket resnetd.service
    mark
    systemctl start resnetd || fail "it does not start: $(journal | tail -n 3)"
    attach
}

# serving: the service as it is shipped, with the small network, from the scenario before if that has left it so.
serving() {
    configuration >wanted
    mark
    if ! active || ! cmp -s wanted $CONFIG || [ -e $DROP_INS ]; then
        configured
        changed
        started
    else
        attach
    fi
    await_labels 60 2
}

mark() {
    journalctl -q -n 0 --show-cursor | sed -n 's/^-- cursor: //p' >cursor
}

journal() {
    journalctl -q -u resnetd -o cat --after-cursor="$(cat cursor)" "$@"
}

# A line beside the verdicts.
figure() { echo "| $*" >/dev/ttyAMA0; }

told() { journal >log && grep -q "$1" log; }

attach() {
    as member resnetd watch --json >>seen 2>>watch.log &
    SUBSCRIBER=$!
}

property() { systemctl show -P "$1" resnetd; }

active() { [ "$(property ActiveState)" = active ]; }

# restarted PID: another process serves.
restarted() { active && [ "$(property MainPID)" != "$1" ]; }

# members: the processes in the service's control group, as NUMBER NAME.
members() {
    local process
    for process in $(cat "/sys/fs/cgroup$(property ControlGroup)/cgroup.procs"); do
        echo "$process $(cat "/proc/$process/comm")"
    done
}

labels() { grep -c '"type":"classification"' seen; }
