# What the scenarios of the machine with cameras have in common; sourced by init, in busybox's shell.
#
# A scenario is a function scenario_NAME. It runs in a shell and a folder of its own, with CAMERA set to its lane's
# device, and ends well by returning, else by `fail REASON` or `skip REASON`. It has PATIENCE seconds.
# shellcheck shell=dash

CAMERAS=10
MULTI_PLANAR=/dev/video9 # the last one; all others have one plane
PATIENCE=120
TINY=/models/tiny.nnef.tar
only=$(sed -n 's/.*vm_only=\([a-z0-9_,]*\).*/\1/p' /proc/cmdline)

# Every camera has two inputs: 0 a webcam with its list of sizes, 1 HDMI with a scaler, which gives any size.
load_cameras() {
    insmod /modules/vivid.ko n_devs=$CAMERAS "node_types=$(each 0x1)" "num_inputs=$(each 2)" "input_types=$(each 0xc)" \
        multiplanar=1,1,1,1,1,1,1,1,1,2
}

each() { yes "$1" | head -n $CAMERAS | paste -s -d ,; }

# lane NUMBER SCENARIO...: one after the other on /dev/videoNUMBER.
lane() {
    CAMERA=/dev/video$1
    shift
    for name in "$@"; do
        case ,$only, in
            ,, | *,"$name",*) verdict "$name" ;;
        esac
    done
}

# The scenario and what it has started form a process group, so that nothing of it is left behind.
verdict() {
    began=$(now_ms)
    mkdir -p "/tmp/$1"
    rm -f "/tmp/$1/reason"
    (
        cd "/tmp/$1" || exit 1
        export CAMERA name="$1"
        exec setsid timeout -s KILL "$PATIENCE" sh -c '. /vm/lib.sh; for s in /vm/scenarios/*.sh; do . "$s"; done; "scenario_$name"'
    ) >"/tmp/$1/script" 2>&1 </dev/null
    code=$?
    echo "# $1 took $(($(now_ms) - began)) ms of the machine's time"
    case $code in
        0) echo "ok $1" ;;
        77) echo "SKIP $1: $(cat "/tmp/$1/reason")" ;;
        78) show "$1" "$(cat "/tmp/$1/reason")" ;;
        137 | 143) show "$1" "it did not end within $PATIENCE s" ;;
        *) show "$1" "its script ended with $code" ;;
    esac
    # Its session's processes, by the folder that they work in.
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/cwd")" != "/tmp/$1" ] || kill -9 "${process#/proc/}"
    done 2>/dev/null
    rm -rf "/tmp/$1"
}

# A failure with the ends of all its files, in one piece.
show() {
    {
        for file in "/tmp/$1"/*; do
            [ ! -f "$file" ] || [ "${file%.png}" != "$file" ] || tail -n 15 "$file" | tr -cd '\11\12\40-\176' | cut -c 1-300 | sed "s|^|\| ${file##*/}: |"
        done
        echo "FAIL $1: $2"
    } >"/tmp/$1.shown"
    cat "/tmp/$1.shown"
}

# fail REASON, skip REASON: the end of the scenario.
fail() {
    printf '%s' "$*" | tr '\n' ' ' >reason
    exit 78
}

skip() {
    printf '%s' "$*" >reason
    exit 77
}

# soon SECONDS COMMAND...: repeats the command until it succeeds; false if it did not in that time.
soon() {
    local end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$end" ] || return 1
        sleep 0.2
    done
}

# Milliseconds since the machine started.
now_ms() {
    local up rest
    read -r up rest </proc/uptime
    echo $((${up%.*} * 1000 + 1${up#*.} * 10 - 1000))
}

# at_least COUNT PATTERN FILE: so many lines match.
at_least() { [ "$(grep -c "$2" "$3" 2>/dev/null)" -ge "$1" ]; }

# await SECONDS COUNT PATTERN FILE WHAT: waits for so many lines, or fails saying that WHAT did not come.
await() { soon "$1" at_least "$2" "$3" "$4" || fail "$5 did not come within $1 s"; }

# control NAME VALUE: sets a control of the camera, by its name; a button is pressed by 1.
control() { vmtool control "$CAMERA" "$1" "$2" || fail "the control $1 cannot be set"; }

# A picture that does not move and carries no clock: pattern NUMBER of vivid's list.
still() {
    control "OSD Text Mode" 2
    control "Horizontal Movement" 3
    control "Vertical Movement" 3
    control "Test Pattern" "$1"
}

# daemon [ARGUMENT...]: resnetd on the camera, with QUERY of its URI; its process is DAEMON, what a subscriber that
# stays attached sees goes to `seen`, its log to `log`.
daemon() {
    : "${MODEL:=$TINY}" "${QUERY:=?size=640x360&fps=5}"
    RESNETD_LOG=info resnetd run --model "$MODEL" --socket "$PWD/socket" --source "v4l2:$CAMERA$QUERY" --threads 1 "$@" \
        >>log 2>&1 &
    DAEMON=$!
    subscribe
}

# Waits until the daemon listens, then attaches the subscriber.
subscribe() {
    soon 60 listens_or_gone || fail "the daemon did not start within 60 s"
    still_runs
    resnetd watch --json --socket "$PWD/socket" >>seen 2>>watch.log &
}

listens_or_gone() { grep -q "labels on" log || ! runs "$DAEMON"; }

# states: those told so far, in their order, on one line; one that was told again for another reason counts once.
states() { sed -n 's/.*"type":"status".*"state":"\([a-z_]*\)".*/\1/p' seen | uniq | tr '\n' ' '; }

await_labels() { await "$1" "$2" '"type":"classification"' seen "$2 labels"; }

await_state() { await "$1" "${3:-1}" "\"state\":\"$2\"" seen "the state $2"; }

runs() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status"; }

still_runs() { runs "$DAEMON" || fail "the daemon is gone: $(tail -n 1 log)"; }
