# Whether the way through the camera changes the labels.
# shellcheck shell=dash

# The predictions of a line of JSON, of the daemon or of `classify`.
predictions() { sed 's/.*"predictions":\(\[[^]]*\]\).*/\1/'; }

scenario_labels_of_a_still_picture_equal_those_of_its_file() {
    vmtool input "$CAMERA" 0 || fail "no input 0"
    earlier=
    for pattern in 0 2 6; do
        still $pattern
        vmtool picture "$CAMERA" 640x360 still.png || fail "no picture could be taken"
        resnetd classify --json --model "$TINY" still.png 2>classify.log | predictions >file
        [ -s file ] || fail "the file was not classified"
        [ "$(cat file)" != "$earlier" ] || fail "two pictures have the same labels, which proves nothing"
        earlier=$(cat file)
        QUERY="?size=640x360&format=RGB3&fps=10"
        daemon
        await_labels 30 3
        kill "$DAEMON"
        wait "$DAEMON" || fail "the daemon ended with $?"
        grep '"type":"classification"' seen | predictions | sort -u >camera
        cmp -s camera file || fail "pattern $pattern: $(head -c 150 camera) instead of $(head -c 150 file)"
        rm seen log
    done
}
