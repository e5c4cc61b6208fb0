#!/usr/bin/env bash
# Builds the static ARM binary: target/aarch64-unknown-linux-musl/release/resnetd
# By `cross` where it is installed and a container engine runs, else by Debian's own compiler (README.md says how).
# ROUTE=cross or ROUTE=debian chooses; further arguments go to cargo.
# EMIT=asm leaves the library's assembly instead, target/aarch64-unknown-linux-musl/release/resnetd.s, and EMIT=tests
# the tests of its kernels, target/aarch64-unknown-linux-musl/release/kernel-tests.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-musl
binary=target/$target/release/resnetd
ziglang=0.17.1
case ${EMIT:-program} in
    program) what=(build --bin resnetd) emit=() ;;
    asm) what=(rustc --lib) emit=(-- --emit "asm=$binary.s") ;;
    tests) what=(test --lib --no-run --manifest-path target/kernels/Cargo.toml --target-dir target) emit=() ;;
    *) echo "build.sh: EMIT is 'asm', 'tests' or nothing, not '$EMIT'" >&2; exit 2 ;;
esac

engine_runs() { docker info >/dev/null 2>&1 || podman info >/dev/null 2>&1; }

by_cross() {
    CROSS_CONFIG=cross/Cross.toml cross "${what[@]}" --release --target "$target" "$@" "${emit[@]}"
}

# Everything but apt's packages lies in target/cross.
zig_into_target() {
    local venv=target/cross/venv
    [ "$("$venv/bin/python" -m ziglang version 2>/dev/null)" = "$ziglang" ] && return
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check "ziglang==$ziglang"
}

# bindgen (for the crate v4l) reads the kernel's video header as the target has it: zig carries musl's and Linux's.
bindgen_arguments() {
    local include folder
    include=$(target/cross/venv/bin/python -c 'import os, ziglang; print(os.path.dirname(ziglang.__file__))')/lib/libc/include
    printf '%s' "--target=aarch64-linux-musl -nostdlibinc"
    for folder in aarch64-linux-musl generic-musl aarch64-linux-any any-linux-any; do
        printf ' %s' "-isystem $include/$folder"
    done
}

by_debian() {
    cross/need.sh libclang-dev gcc libc6-dev python3-venv rustc-web cargo-web rust-web-src
    zig_into_target
    export ZIG_GLOBAL_CACHE_DIR=$PWD/target/cross/zig ZIG_LOCAL_CACHE_DIR=$PWD/target/cross/zig
    export CC_aarch64_unknown_linux_musl=$PWD/cross/zig-cc AR_aarch64_unknown_linux_musl=$PWD/cross/zig-ar
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=$PWD/cross/zig-cc
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C target-feature=+crt-static -C link-self-contained=no"
    BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_musl=$(bindgen_arguments)
    export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_musl
    # No rustup toolchain has this target without a download of its standard library. Debian's compiler comes with
    # the sources of its own, which -Zbuild-std compiles: an unstable flag, hence RUSTC_BOOTSTRAP.
    local locked=--locked
    [ "${EMIT:-}" != tests ] || locked= # its lock is a part of the program's
    RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo "${what[@]}" --release $locked \
        -Zbuild-std=std,panic_unwind --target "$target" "$@" "${emit[@]}"
}

if [ "${EMIT:-}" = tests ]; then
    mkdir -p target/kernels
    cp cross/kernels/Cargo.toml cross/kernels/*.rs Cargo.lock target/kernels
fi
if [ -z "${ROUTE:-}" ]; then
    ROUTE=debian
    if command -v cross >/dev/null && engine_runs; then ROUTE=cross; fi
fi
case $ROUTE in
    cross) by_cross "$@" ;;
    debian) by_debian "$@" ;;
    *) echo "build.sh: ROUTE is 'cross' or 'debian', not '$ROUTE'" >&2; exit 2 ;;
esac

if [ "${EMIT:-}" = asm ]; then
    echo "$binary.s: $(wc -l <"$binary.s") lines"
    exit
fi
if [ "${EMIT:-}" = tests ]; then
    newest=$(find "target/$target/release/deps" -name 'kernels-*' -type f -executable -printf '%T@ %p\n' | sort -n | tail -n 1)
    cp "${newest#* }" "target/$target/release/kernel-tests"
    exit
fi
cross/need.sh file
kind=$(file -b "$binary")
case $kind in
    *aarch64*static*linked*) echo "$binary: static, $(($(stat -c %s "$binary") / 1024)) KiB" ;;
    *) echo "build.sh: $binary is not a static ARM program: $kind" >&2; exit 1 ;;
esac
