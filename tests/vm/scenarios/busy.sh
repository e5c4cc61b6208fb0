# Another program has the camera, or has changed it.
# shellcheck shell=dash

# kicked_out COMMAND...: the daemon loses the camera, and the command, which waits for that, gets at it first.
kicked_out() {
    "$@" >other 2>&1 &
    sleep 0.5
    control "Inject VIDIOC_QBUF Error" 1
    await_state 20 camera_lost
}

scenario_busy_at_the_start() {
    vmtool hold "$CAMERA" 640x360 60 >other &
    soon 20 grep -q holding other || fail "the other program does not capture"
    resnetd run --model "$TINY" --socket "$PWD/socket" --source "v4l2:$CAMERA" >out 2>&1
    code=$?
    [ $code = 5 ] || fail "the exit code is $code, not 5"
    grep -q "$CAMERA is in use by another program" out || fail "the message does not say so"
    [ ! -e socket ] || fail "the socket is left"
}

scenario_busy_later() {
    daemon
    await_labels 60 2
    kicked_out vmtool hold "$CAMERA" 1280x720 4
    soon 10 grep -q holding other || fail "the other program did not get the camera"
    sleep 2
    [ "$(grep -c '"state":"streaming"' seen)" = 1 ] || fail "it captures although another program does"
    still_runs
    await_state 60 streaming 2
    # The other program's format does not stay.
    before=$(grep -c '"type":"classification"' seen)
    await_labels 60 $((before + 2))
    tail -n 1 seen | grep -q '"image":{"width":640,"height":360}' || fail "the picture has another size: $(tail -n 1 seen)"
    still_runs
}

# HDMI gives the size that is asked for; the webcam that is there afterwards only has another one.
scenario_another_format_after_a_loss() {
    vmtool input "$CAMERA" 1 || fail "no HDMI input"
    QUERY="?size=320x240"
    daemon
    await 60 2 '"image":{"width":320,"height":240}' seen "a label at 320x240"
    kicked_out vmtool input "$CAMERA" 0
    await_state 60 streaming 2
    await 60 2 '"image":{"width":320,"height":180}' seen "a label at 320x180"
    still_runs
}

# The HDMI source changes its timings, then gives nothing, then the old picture again. vivid shows noise meanwhile and
# tells no error: the labels go on.
scenario_another_signal() {
    vmtool input "$CAMERA" 1 || fail "no HDMI input"
    QUERY="?size=320x240"
    daemon
    await_labels 60 2
    for mode in 2 1 0; do # 2: the timings chosen here, 1: no signal, 0: those in force
        control "DV Timings" 3
        control "DV Timings Signal Mode" $mode
        await_labels 60 $(($(grep -c '"type":"classification"' seen) + 3))
    done
    still_runs
    [ "$(states)" = "starting streaming " ] || [ "$(states)" = "streaming " ] || fail "the states were $(states)"
}
