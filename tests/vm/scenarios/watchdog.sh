# What systemd's watchdog would see. vmtool stands in for systemd; three periods are waited for.
# shellcheck shell=dash

PERIOD=5

# supervised [VARIABLE=VALUE...]: the daemon under the watchdog, its history in `record`.
supervised() {
    RESNETD_LOG=info vmtool supervise $PERIOD record env "$@" resnetd run --model "${MODEL:-$TINY}" \
        --socket "$PWD/socket" --source "v4l2:$CAMERA?size=640x360&fps=5" --threads 1 >>log 2>&1 &
    SUPERVISOR=$!
    await 90 1 READY=1 record "READY=1"
    DAEMON=$(sed -n 's/.* started //p' record)
    subscribe
}

three_periods_alive() {
    before=$(grep -c WATCHDOG=1 record)
    sleep $((3 * PERIOD + 1))
    ! grep -E 'timeout|exited|killed' record >end || fail "it did not stay: $(head -n 1 end)"
    [ "$(grep -c started record)" = 1 ] || fail "it was restarted"
    fed=$(($(grep -c WATCHDOG=1 record) - before))
    [ $fed -ge 6 ] || fail "the watchdog was fed only $fed times in three periods"
    still_runs
}

scenario_alive_with_a_still_picture() {
    still 0
    supervised
    await_labels 60 2
    before=$(grep -c '"type":"classification"' seen)
    three_periods_alive
    at_least $((before + 5)) '"type":"classification"' seen || fail "hardly any labels in three periods"
    [ "$(scores <seen | sort -u | wc -l)" = 1 ] || fail "the picture was not still"
}

scenario_alive_without_a_camera() {
    still 0
    supervised
    await_labels 60 2
    vmtool open "$CAMERA" $((6 * PERIOD)) >open &
    soon 10 grep -q open open || fail "the camera cannot be opened"
    control "Disconnect" 1
    await_state 20 camera_lost
    three_periods_alive
    case $(states) in
        *"streaming camera_lost ") ;;
        *) fail "the states were $(states)" ;;
    esac
}

# A whole ResNet101 without any vector instruction takes far longer here than the watchdog allows.
scenario_an_inference_that_does_not_end() {
    MODEL=/models/resnet101.nnef.tar
    supervised RESNETD_ISA=scalar
    await 60 1 "watchdog timeout, aborting $DAEMON" record "the watchdog's timeout"
    await 20 1 "killed by signal 6" record "the end by SIGABRT"
    await 90 2 READY=1 record "the second start"
    [ "$(sed -n 's/.* started //p' record | sort -u | wc -l)" -ge 2 ] || fail "it is the same process"
    resnetd watch --json --socket "$PWD/socket" >again 2>>watch.log &
    await 20 1 '"type":"hello"' again "the socket's greeting after the restart"
    ! grep -q '"type":"classification"' seen || fail "the inference ended in time, so that nothing was tried"
}
