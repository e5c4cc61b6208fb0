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
    child=$(members | sed -n 's/ ffmpeg$//p')
    [ -n "$child" ] || fail "there is no ffmpeg in the service: $(members | tr '\n' ' ')"
    kill -9 "$child"
    await_state 30 camera_lost
    await_state 90 streaming 2
    before=$(labels)
    await_labels 60 $((before + 2))
    child=$(members | sed -n 's/ ffmpeg$//p')
    systemctl stop resnetd
    ! runs "$child" || fail "the child outlives the service"
}
