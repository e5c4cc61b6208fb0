# A camera that is taken away while it streams, and comes back.
# shellcheck shell=dash

# Keeps the smoothed label of before the loss for a minute, so that a smoother that was not reset shows.
slow_smoothing() { echo "smoothing_ms = 60000" >slow.toml; }

# What must hold of `seen` after a loss and a return.
came_back_clean() {
    still_runs
    # No label while it is away, and the first one afterwards is of a picture taken after the loss.
    awk '
        function number(key) { match($0, "\"" key "\":[0-9.]+"); return substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) }
        /"state":"camera_lost"/ { away = 1; lost = number("timestamp") }
        /"state":"streaming"/ { away = 0 }
        /"type":"classification"/ { if (away || number("timestamp") < lost) { print; stale = 1 } }
        END { exit stale }' seen >stale || fail "a stale label: $(head -n 1 stale | cut -c 1-120)"
    # The first smoothed label is the first frame's own.
    awk '/"state":"camera_lost"/ { lost = 1 } /"type":"classification"/ && lost { print; exit }' seen >first
    own=$(sed 's/.*"predictions":\[{"class":"\([^"]*\)","class_id":[0-9]*,"confidence":\([0-9.]*\)}.*/\1 \2/' first)
    smoothed=$(sed 's/.*"top":"\([^"]*\)","confidence":\([0-9.]*\).*/\1 \2/' first)
    [ -n "$own" ] && [ "$own" = "$smoothed" ] || fail "smoothing went on: $smoothed, but the frame is $own"
}

scenario_unplugged_and_back() {
    slow_smoothing
    still 0
    daemon --config slow.toml
    await_labels 60 3
    vmtool open "$CAMERA" 10 >open & # while somebody has it open, vivid stays unplugged
    soon 10 grep -q open open || fail "the camera cannot be opened"
    control "Test Pattern" 2
    control "Disconnect" 1
    await_state 20 camera_lost
    ! vmtool control "$CAMERA" >/dev/null 2>&1 || fail "the camera is still there"
    await_state 60 streaming 2
    before=$(grep -c '"type":"classification"' seen)
    await_labels 30 $((before + 3))
    came_back_clean
    case $(states) in
        *"streaming camera_lost streaming ") ;;
        *) fail "the states were $(states)" ;;
    esac
}

# Its node goes too, and then the driver.
scenario_driver_removed_and_back() {
    slow_smoothing
    still 0
    daemon --config slow.toml
    await_labels 60 3
    control "Test Pattern" 2
    echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind
    await_state 20 camera_lost
    [ ! -e "$CAMERA" ] || fail "$CAMERA is still there"
    soon 20 rmmod vivid || fail "something keeps the driver"
    sleep 2
    still_runs
    load_cameras || fail "the driver cannot be loaded again"
    still 2
    await_state 60 streaming 2
    before=$(grep -c '"type":"classification"' seen)
    await_labels 30 $((before + 3))
    came_back_clean
}
