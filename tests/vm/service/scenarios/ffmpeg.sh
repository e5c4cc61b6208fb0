# Cameras behind another program.
# shellcheck shell=dash

# The example's drop-in, with a moving test picture where the network camera would be.
scenario_ffmpeg_as_a_child() {
    command -v ffmpeg >out || skip "the machine has no ffmpeg"
    configured $TINY "exec:ffmpeg -nostdin -loglevel warning -re -f lavfi -i testsrc=size=320x240:rate=5 -vf format=yuv420p -f yuv4mpegpipe -"
    mkdir -p $DROP_INS
    cp /usr/share/doc/resnetd/examples/rtsp/rtsp.conf $DROP_INS/scenario.conf
    systemctl daemon-reload
    started
    await_labels 90 3
    child=$(pgrep -x ffmpeg) || fail "there is no ffmpeg"
    kill -9 "$child"
    await_state 30 camera_lost
    await_state 90 streaming 2
    before=$(labels)
    await_labels 60 $((before + 2))
    systemctl stop resnetd
    ! pgrep -x ffmpeg >out || fail "the child outlives the service"
    changed
}
