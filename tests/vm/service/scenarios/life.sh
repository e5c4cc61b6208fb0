# What systemd does with a service that dies, hangs, is too large, or is not there yet.
# shellcheck shell=dash

scenario_journal_has_priorities() {
    serving
    control Disconnect 1
    await_state 30 camera_lost
    await_state 60 streaming 2
    journal -p warning >warnings
    grep -q camera warnings || fail "the loss of the camera is no warning"
    ! grep -q '^<[0-7]>' warnings || fail "the priority is left in the text"
    ! grep -qE '^\[?20[0-9][0-9]-' warnings || fail "it carries a time of its own"
    journalctl -q -u resnetd -p 3 -o cat --after-cursor="$(cat cursor)" >errors
    ! [ -s errors ] || fail "the loss of a camera is an error: $(head -n 1 errors)"
}

scenario_killed_and_restarted() {
    serving
    pid=$(property MainPID)
    before=$(property NRestarts)
    kill -9 "$pid"
    soon 60 restarted "$pid" || fail "it was not restarted"
    [ "$(property NRestarts)" -gt "$before" ] || fail "systemd counts no restart"
    attach
    await 30 2 '"type":"hello"' seen "the greeting after the restart"
    before=$(labels)
    await_labels 60 $((before + 2))
}

# Three periods; the service is not restarted.
three_periods_alive() {
    pid=$(property MainPID)
    sleep $((3 * PERIOD + 1))
    [ "$(property MainPID)" = "$pid" ] && active || fail "it was restarted: $(journal | tail -n 2)"
}

scenario_alive_with_a_still_picture() {
    still 0
    configured
    changed "WatchdogSec=$PERIOD"
    started
    await_labels 60 2
    before=$(labels)
    three_periods_alive
    [ "$(labels)" -ge $((before + 5)) ] || fail "hardly any labels in three periods"
}

scenario_alive_without_a_camera() {
    # As the scenario before has left it.
    mark
    attach
    await_labels 60 1
    # Whoever holds the device keeps it from coming back.
    vmtool open "$CAMERA" $((6 * PERIOD)) >open &
    holder=$!
    soon 10 grep -q open open || fail "the camera cannot be opened"
    control Disconnect 1
    await_state 30 camera_lost
    three_periods_alive
    case $(states) in
        *"streaming camera_lost ") ;;
        *) fail "the states were $(states)" ;;
    esac
    kill $holder
    await_state 60 streaming 2
}

# A whole ResNet101 without any vector instruction takes far longer here than the watchdog allows.
scenario_an_inference_that_does_not_end() {
    configured /models/resnet101.nnef.tar
    changed "WatchdogSec=$PERIOD" Environment=RESNETD_ISA=scalar
    started
    pid=$(property MainPID)
    soon 60 told 'Watchdog timeout' || fail "the watchdog did not bite"
    soon 60 restarted "$pid" || fail "it was not restarted"
    journal >log
    grep -q 'status=6/ABRT' log || fail "it did not end by SIGABRT"
    ! grep -q '"type":"classification"' seen || fail "the inference ended in time, so that nothing was tried"
}

scenario_activated_by_its_socket() {
    configured
    changed
    systemctl stop resnetd.service
    systemctl start resnetd.socket || fail "the socket does not start"
    ! active || fail "the service runs already"
    [ "$(stat -c '%a %U %G' $SOCKET)" = "660 resnetd resnetd" ] || fail "the socket is $(stat -c '%a %U %G' $SOCKET)"
    inode=$(stat -c %i $SOCKET)
    mark
    attach
    await_labels 90 2
    active || fail "labels come and the service does not run"
    systemctl restart resnetd.service
    [ "$(stat -c %i $SOCKET)" = "$inode" ] || fail "the socket's file is another one after a restart"
    attach
    await 60 2 '"type":"hello"' seen "the greeting after a restart"
    before=$(labels)
    await_labels 60 $((before + 2))
    systemctl stop resnetd.service 2>/dev/null
    [ -S $SOCKET ] || fail "the socket went with the service"
    systemctl stop resnetd.socket
    [ ! -e $SOCKET ] || fail "the socket's file is left without a listener"
}

scenario_memory_is_bounded() {
    configured
    changed
    started
    await_labels 60 3
    group=/sys/fs/cgroup$(property ControlGroup)
    bound=$(sed -n 's/^MemoryMax=\([0-9]*\)M$/\1/p' "$(property FragmentPath)")
    [ "$(cat "$group/memory.max")" = $((bound << 20)) ] || fail "the bound is $(cat "$group/memory.max")"
    figure "with the small network: $(($(cat "$group/memory.current") >> 20)) MiB, $(cat "$group/pids.current") tasks"
    # Before its configuration changes, which a running service would follow.
    systemctl stop resnetd
    configured /models/resnet101.nnef.tar
    changed MemoryMax=24M MemorySwapMax=0
    mark
    systemctl start --no-block resnetd
    soon 60 told 'OOM killer\|oom-kill\|out of memory' || fail "24 MiB are enough for ResNet101"
    systemctl stop resnetd
}
