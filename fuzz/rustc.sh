#!/usr/bin/env bash
# The compiler of fuzz builds (RUSTC_WRAPPER): only what reads foreign bytes itself gets counters and debug assertions.
# With them the whole of tract takes many minutes and gigabytes to compile, and the fuzzer would study matrices.
set -euo pipefail

compiler=$1
shift
name=
for ((i = 1; i < $#; i++)); do
    [[ ${!i} != --crate-name ]] || { next=$((i + 1)) && name=${!next}; }
done
case $name in
resnetd* | bundle | config | graph | http | jpeg | mjpeg | picture | pixels | uri | watch | y4m) ;;
image | zune_* | png | fdeflate | miniz_oxide | toml* | winnow | serde_json | tar | httparse | base64) ;;
*)
    kept=()
    for argument; do
        [[ $argument == -C*sanco* || $argument == -Cllvm-args=* || $argument == -Cdebug-assertions ||
            $argument == -Ccodegen-units=1 ]] || kept+=("$argument")
    done
    set -- "${kept[@]}"
    ;;
esac
exec "$compiler" "$@"
