#!/usr/bin/env bash
# Builds the Debian packages resnetd and resnetd-model into target/debian/, for this machine and for arm64.
#   ONLY=native or ONLY=arm  one of the two
#   REVISION=2               the package's revision, for packages made anew of the same version (1)
#   PREBUILT=1               take the programs as they lie in target/
#   OUT=FOLDER               where the packages go (target/debian)
# lintian has the last word: an error ends with code 1. Overrides and their reasons are beside this file.
set -euo pipefail
cd "$(dirname "$0")/../.."

arm=aarch64-unknown-linux-musl
cargo_deb=3.8.0
out=target/debian

tools() {
    cross/need.sh dpkg-dev file lintian man-db
    [ "$(target/tools/bin/cargo-deb --version 2>/dev/null)" = "$cargo_deb" ] ||
        cargo install --quiet cargo-deb --version "$cargo_deb" --locked --root target/tools
}

# What Debian wants to read: which change is the last one, and whose code is in the programs.
documents() {
    local version date
    version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    date=$(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}")
    mkdir -p "$out"
    cat >"$out/changelog" <<END2
resnetd ($version-${REVISION:-1}) unstable; urgency=medium

  * Version $version; CHANGELOG.md in the source tells what is new.

 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)  $date
END2
    cargo tree --locked --features tools --edges normal --prefix none --format '{p}  {l}' |
        sed 's/ (\/[^)]*)//; s/ (\*)$//; s/ (proc-macro)//' | sort -u >"$out/crates.txt"
}

# resnetd is built last and without the workshop's feature, so that what lies there afterwards is what ships.
programs_native() {
    cargo build --release --locked --features tools --bin resnetd-model
    cargo build --release --locked --bin resnetd
}

programs_arm() {
    cross/build.sh --bin resnetd-model --features tools
    cross/build.sh
}

# package VARIANT [--target T]
package() {
    local made
    made=$(target/tools/bin/cargo-deb --quiet --no-build --no-strip --deb-revision "${REVISION:-1}" --output "${OUT:-$out}/" --variant "$@")
    echo "$made: $(($(stat -c %s "$made") / 1024)) KiB"
    lintian --fail-on error --suppress-tags "$(tolerated)" --allow-root "$made"
}

# No bug of an archive's tracker is closed by these packages, which are in none.
tolerated() { echo initial-upload-closes-no-bugs; }

tools
make --no-print-directory pages
documents
if [ "${ONLY:-native}" = native ]; then
    [ -n "${PREBUILT:-}" ] || programs_native
    package device
    package model
fi
if [ "${ONLY:-arm}" = arm ] && [ "$(dpkg --print-architecture)" != arm64 ]; then
    [ -n "${PREBUILT:-}" ] || programs_arm
    package device --target "$arm"
    package model --target "$arm"
fi
