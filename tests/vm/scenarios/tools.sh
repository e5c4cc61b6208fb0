# `devices` and `doctor`, with a camera and without.
# shellcheck shell=dash

scenario_doctor_without_a_camera_says_so() {
    resnetd doctor >out 2>&1
    grep -qi 'camera' out || fail "it does not speak of a camera"
    grep -q -- '--source demo:' out || fail "it names no remedy"
    resnetd devices >devices 2>&1 || fail "devices ended with $?"
    grep -q '^no camera' devices || fail "devices does not say that there is none"
}

scenario_a_start_without_a_camera_says_so() {
    resnetd run --model "$TINY" --socket "$PWD/socket" --source v4l2:/dev/video0 >out 2>&1
    code=$?
    [ $code = 5 ] || fail "the exit code is $code, not 5"
    grep -q 'no such camera' out || fail "the message does not say so"
}

scenario_devices_lists_the_camera() {
    resnetd devices >out 2>&1 || fail "it ended with $?"
    grep -q "^$CAMERA.*vivid" out || fail "$CAMERA is not in the table"
    for format in YUYV NV12 RGB3 BGR3 GREY; do
        grep -q "^  $format  .*640x360" out || fail "no 640x360 in $format"
    done
    resnetd devices --json >json 2>&1 || fail "--json ended with $?"
    grep -q "\"path\":\"$CAMERA\"" json || fail "$CAMERA is not in the JSON"
}

scenario_devices_explains_a_multi_planar_node() {
    resnetd devices >out 2>&1 || fail "it ended with $?"
    grep -A 1 "^$MULTI_PLANAR" out | grep -q 'multi-planar.*; use' || fail "no remedy: $(grep -A 1 "^$MULTI_PLANAR" out)"
}

scenario_doctor_shows_the_camera() {
    resnetd doctor >out 2>&1
    grep -q "$CAMERA .*vivid.*, usable" out || fail "$CAMERA is not shown as usable"
}
