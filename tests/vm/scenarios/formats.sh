# Every pixel format that resnetd claims, from 320x240 to 1920x1080: four cameras at once, each in one size.
# The HDMI input of each has a scaler, so that any size is to be had.
# shellcheck shell=dash

FIRST=5
REFERENCES=/tmp/references

sized() {
    number=$FIRST
    for size in 320x240 640x480 1280x720 1920x1080; do
        CAMERA=/dev/video$number
        "$@" "$size" || return 1
        number=$((number + 1))
    done
}

# The labels of the still picture from a file, the same for all scenarios.
reference() {
    vmtool input "$CAMERA" 1 || fail "$CAMERA has no HDMI input"
    still 0
    file=$REFERENCES/$1.$like
    [ ! -s "$file" ] || return 0
    mkdir -p "$REFERENCES"
    vmtool picture "$CAMERA" "$like" "$1" "$1.png" || fail "no picture of $1 could be taken"
    resnetd classify --json --model "$TINY" "$1.png" 2>>classify.log | scores >"$file"
    [ -s "$file" ] || fail "the picture of $1 was not classified"
}

camera() { printf '[[camera]]\nname = "%s"\nsource = "v4l2:%s?size=%s&format=%s"\n' "$1" "$CAMERA" "$1" "$format" >>config.toml; }

seen_of() { grep "\"type\":\"classification\",\"camera\":\"$1\"" seen >"$1.seen"; }

all_seen() { sized seen_of; }

# The largest difference of a class's score between two lines of scores; a class that only one names counts for what it
# has there, less what the other may have left out.
difference() {
    cat "$1" "$2" | awk '
        NR == 1 { for (i = 1; i < NF; i += 2) a[$i] = $(i + 1); least = $NF }
        NR == 2 { for (i = 1; i < NF; i += 2) {
            d = $(i + 1) - ($i in a ? a[$i] : least)
            if (d < 0) d = -d
            if (d > worst) worst = d } }
        END { printf "%.4f", worst }'
}

same() {
    grep -q "\"image\":{\"width\":${1%x*},\"height\":${1#*x}}" "$1.seen" || fail "no picture of $1: $(head -n 1 "$1.seen" | cut -c 1-200)"
    scores <"$1.seen" | tail -n 1 >"$1.camera"
    file=$REFERENCES/$1.$like
    far=$(difference "$1.camera" "$file")
    echo "$format $1: scores differ by $far" | tee -a /tmp/differences
    awk "BEGIN { exit !($far <= $bound) }" || fail "$1: the scores differ by $far: $(cat "$1.camera"), and in the file $(cat "$file")"
}

# in_format FOURCC BOUND [LIKE]: the scores are within BOUND of those of a file of the same picture. Colours lose a little
# in YUV and in 16 bits; red and blue, or U and V, exchanged move this network's scores by 0.08 and more.
in_format() {
    format=$1 bound=$2 like=${3:-RGB3}
    sized reference
    : >config.toml
    sized camera
    RESNETD_LOG=info resnetd run --config config.toml --model "$TINY" --socket "$PWD/socket" --threads 1 >log 2>&1 &
    DAEMON=$!
    subscribe
    soon 60 all_seen || fail "no labels of $size within 60 s"
    still_runs
    kill "$DAEMON"
    wait "$DAEMON" || fail "the daemon ended with $?"
    sized same
}

scenario_format_rgb3() { in_format RGB3 0; }
scenario_format_bgr3() { in_format BGR3 0; }
scenario_format_grey() { in_format GREY 0 GREY; }
scenario_format_rgbp() { in_format RGBP 0.05; }
scenario_format_yuyv() { in_format YUYV 0.05; }
scenario_format_yvyu() { in_format YVYU 0.05; }
scenario_format_uyvy() { in_format UYVY 0.05; }
scenario_format_nv12() { in_format NV12 0.05; }
scenario_format_nv21() { in_format NV21 0.05; }
scenario_format_yu12() { in_format YU12 0.05; }
scenario_format_yv12() { in_format YV12 0.05; }
scenario_format_mjpg() { skip "vivid has no MJPG; tests/cli.rs and the tests of the sources mjpeg: and exec: read JPEG frames"; }
