# The daemon's end, its return, and the subscribers through all of it.
# shellcheck shell=dash

scenario_sigterm_ends_it() {
    supervised
    await_labels 60 2
    kill "$DAEMON"
    wait "$SUPERVISOR"
    grep -q STOPPING=1 record || fail "STOPPING=1 was not told"
    grep -q "exited 0" record || fail "it $(sed -n 's/.* \(exited.*\|killed.*\)/\1/p' record)"
    [ ! -e socket ] || fail "the socket is left"
    grep -q '"state":"stopping"' seen || fail "subscribers were not told"
}

scenario_killed_and_started_again() {
    daemon
    await_labels 60 2
    kill -9 "$DAEMON"
    wait "$DAEMON"
    [ -S socket ] || fail "no socket is left, so that nothing is tried"
    rm log
    daemon
    await 60 2 '"type":"hello"' seen "the second greeting"
    before=$(grep -c '"type":"classification"' seen)
    await_labels 60 $((before + 2))
    still_runs
}

# One that reads, one that comes back whenever it is cut off, and one that is stuck.
scenario_subscribers_through_all_of_it() {
    daemon
    while :; do
        resnetd watch --json --socket "$PWD/socket" >>returning 2>>watch.log
        sleep 0.3
    done &
    resnetd watch --json --socket "$PWD/socket" >stuck 2>>watch.log &
    STUCK=$!
    await 60 3 '"type":"classification"' stuck "a label at the third subscriber"
    kill -STOP $STUCK
    control "Inject V4L2_BUF_FLAG_ERROR" 1
    control "Inject VIDIOC_QBUF Error" 1
    await_state 30 camera_lost
    await_state 60 streaming 2
    control "Disconnect" 1
    await_state 30 camera_lost 2
    await_state 60 streaming 3
    await_labels 60 $(($(grep -c '"type":"classification"' seen) + 3))
    still_runs
    # The one that reads has missed nothing, and the one that came later has the same.
    ! grep -q '"type":"lagged"' seen || fail "a subscriber that reads lags"
    awk '/"type":"classification"/ { match($0, "\"frame_id\":[0-9]+"); id = substr($0, RSTART + 11, RLENGTH - 11) + 0
        if (id <= last) exit 1
        last = id }' seen || fail "frames came twice or in the wrong order"
    grep '"type":"status"' seen | tail -n 4 >a
    soon 10 at_least 2 '"state":"camera_lost"' returning || fail "a second subscriber saw other states"
    kill -CONT $STUCK
    await 20 2 '"state":"camera_lost"' stuck "what the stuck subscriber had missed"
    kill -9 "$DAEMON"
    wait "$DAEMON"
    rm log
    daemon
    await 60 2 '"type":"hello"' returning "the returning subscriber's second greeting"
    greeted=$(grep -c '"type":"classification"' returning)
    await 60 $((greeted + 2)) '"type":"classification"' returning "labels at the returning subscriber"
}
