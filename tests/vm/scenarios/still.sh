# Whether the way through the camera changes the labels: in every format, and with the network that ships.
# shellcheck shell=dash

# The scores of lines of JSON, the daemon's or `classify`'s: `7 0.3185 8 0.1705 ...`, as the daemon rounds them.
scores() {
    sed -n 's/.*"predictions":\[\([^]]*\)\].*/\1/p' |
        sed 's/"class":"[^"]*",//g; s/[{}"]//g; s/class_id:\([0-9]*\),confidence:/\1 /g' |
        awk -F, '{ for (i = 1; i <= NF; i++) { split($i, one, " "); printf "%s %.4f ", one[1], one[2] } print "" }'
}

# labels_equal_those_of_the_file SIZE COUNT: the camera's still picture, classified from a file and through the daemon.
labels_equal_those_of_the_file() {
    vmtool picture "$CAMERA" RGB3 "$1" still.png || fail "no picture could be taken"
    resnetd classify --json --model "$MODEL" still.png 2>classify.log | scores >file
    [ -s file ] || fail "the file was not classified"
    QUERY="?size=$1&format=RGB3&fps=5"
    daemon
    await_labels 60 "$2"
    kill "$DAEMON"
    wait "$DAEMON" || fail "the daemon ended with $?"
    scores <seen | sort -u >camera
    cmp -s camera file || fail "$(cat camera), and in the file $(cat file)"
    rm seen log
}

scenario_labels_of_a_still_picture_equal_those_of_its_file() {
    earlier=
    MODEL=$TINY
    for pattern in 0 2 6; do
        still $pattern
        labels_equal_those_of_the_file 640x360 2
        [ "$(cat file)" != "$earlier" ] || fail "two pictures have the same labels, which proves nothing"
        earlier=$(cat file)
    done
}

# The network that ships, once.
scenario_resnet50_runs() {
    still 0
    MODEL=/models/resnet50.nnef.tar
    labels_equal_those_of_the_file 640x360 1
}
