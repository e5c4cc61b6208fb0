# A driver that drops frames, damages them, refuses calls, or falls silent.
# shellcheck shell=dash

# The daemon at work; `labels` counts what it told so far.
at_work() {
    daemon
    await_labels 60 2
}

labels() { grep -c '"type":"classification"' seen; }

# more_labels COUNT: so many more than now.
more_labels() { await_labels 60 $(($(labels) + $1)); }

only_streaming() { [ "$(states)" = "starting streaming " ] || [ "$(states)" = "streaming " ] || fail "the states were $(states)"; }

lost_and_back() {
    await_state 30 camera_lost
    await_state 60 streaming 2
    more_labels 2
    still_runs
}

scenario_dropped_buffers() {
    control "Percentage of Dropped Buffers" 60
    at_work
    more_labels 5
    still_runs
    only_streaming
}

scenario_buffers_with_errors() {
    at_work
    for _ in 1 2 3 4; do
        control "Inject V4L2_BUF_FLAG_ERROR" 1
        more_labels 1
    done
    at_least 1 "damaged or incomplete frames dropped" log || fail "the log does not speak of damaged frames"
    still_runs
    only_streaming
}

scenario_queueing_fails() {
    at_work
    control "Inject VIDIOC_QBUF Error" 1
    lost_and_back
}

scenario_streaming_breaks() {
    at_work
    control "Inject Fatal Streaming Error" 1
    lost_and_back
}

scenario_starting_fails() {
    control "Inject VIDIOC_STREAMON Error" 1
    resnetd run --model "$TINY" --socket "$PWD/socket" --source "v4l2:$CAMERA" >out 2>&1
    code=$?
    [ $code = 5 ] || fail "the exit code is $code, not 5"
    grep -q "$CAMERA: starting failed" out || fail "the message does not say what failed"
    # In mid-life it tries again: once without buffers, once without a start.
    at_work
    control "Inject VIDIOC_REQBUFS Error" 1
    control "Inject VIDIOC_STREAMON Error" 1
    control "Inject VIDIOC_QBUF Error" 1
    lost_and_back
}

scenario_a_camera_that_stops_delivering() {
    at_work
    control "Percentage of Dropped Buffers" 100
    await_state 30 stale
    await_state 30 camera_lost
    still_runs
    control "Percentage of Dropped Buffers" 0
    await_state 60 streaming 2
    more_labels 2
    still_runs
}
