#!/usr/bin/env bash
# Runs every fuzz target, or those that are named, for so many seconds each: fuzz/run.sh 30 [TARGET...]
# What is found lies in target/fuzz/artifacts/TARGET/. Once it is fixed, its input (made small by `cargo fuzz tmin`)
# belongs in fuzz/seeds/TARGET/, where every `make test` tries it again.
#
# Without a sanitizer: what is tried is safe Rust, whose faults are panics, and so the stable compiler suffices. Only
# arithmetic is checked, and debug assertions.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/target/tools/bin:$PATH CARGO_TARGET_DIR=$PWD/target/fuzz RUSTC_WRAPPER=$PWD/fuzz/rustc.sh

version=0.13.1
[[ $(cargo fuzz --version 2>/dev/null) == "cargo-fuzz $version" ]] ||
    cargo install cargo-fuzz --version "$version" --locked --root target/tools

seconds=$1
shift
read -ra targets <<<"${*:-$(cargo fuzz list | tr '\n' ' ')}"
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    mkdir -p "target/fuzz/corpus/$target" "target/fuzz/artifacts/$target"
    cargo fuzz run --sanitizer none "$target" "target/fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="target/fuzz/artifacts/$target/" 2>&1 |
        { grep -E 'panicked|ERROR|SUMMARY|Test unit|number_of_executed|peak_rss|cov:.*DONE|^error|-->' || true; }
done
echo "== all targets passed"
