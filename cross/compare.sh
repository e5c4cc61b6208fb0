#!/usr/bin/env bash
# Runs the ARM build under QEMU, on cores with the int8 matrix multiplication, with the dot product and with neither: the kernels' unit tests, and
# then the program, whose output for two generated pictures is compared with what this machine's build prints: equal
# byte for byte, or it fails.
set -euo pipefail
cd "$(dirname "$0")/.."

arm=target/aarch64-unknown-linux-musl/release/resnetd
[ -x "$arm" ] || { echo "compare.sh: there is no $arm; run make cross" >&2; exit 1; }
model=${MODEL:-models/resnet50-imagenette.nnef.tar}
cross/need.sh qemu-user-static python3

# The profile and features of `make test`, whose build is then at hand.
cargo build --quiet --features tools --bin resnetd
native=target/debug/resnetd

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 cross/make_png.py "$work"
classify=(classify --json --logits --model "$model" "$work/shapes.png" "$work/noise.png")

"$native" "${classify[@]}" >"$work/native.json"
lines=$(wc -l <"$work/native.json")
[ "$lines" = 2 ] || { echo "compare.sh: expected a line for each of 2 pictures, got $lines" >&2; exit 1; }

EMIT=tests cross/build.sh

passed=0 failed=0
declare -A isas=([max]=neon,dotprod,i8mm [cortex-a76]=neon,dotprod [cortex-a72]=neon)
for cpu in "${!isas[@]}"; do
    if RESNETD_REQUIRE_ISA=${isas[$cpu]} timeout 900 qemu-aarch64-static -cpu "$cpu" "$(dirname "$arm")/kernel-tests" kernels::; then
        echo "ok   $cpu passes the kernels' tests"
        passed=$((passed + 1))
    else
        echo "FAIL $cpu fails the kernels' tests"
        failed=$((failed + 1))
    fi
    if timeout 900 qemu-aarch64-static -cpu "$cpu" "$arm" "${classify[@]}" >"$work/$cpu.json" &&
        cmp "$work/native.json" "$work/$cpu.json"; then
        echo "ok   $cpu prints what $(uname -m) prints"
        passed=$((passed + 1))
    else
        echo "FAIL $cpu differs from $(uname -m)"
        diff "$work/native.json" "$work/$cpu.json" | cut -c 1-300 || true
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
