#!/usr/bin/env bash
# Runs the tests of the AVX512-VNNI kernels where the processor lacks it: under Bochs as an Ice Lake, on Debian's
# kernel, with the tests as its only program. Some ten minutes; everything but packages lies in target/avx512.
set -euo pipefail
cd "$(dirname "$0")/.."

work=target/avx512
patience=3600

if [ "$(uname -m)" != x86_64 ]; then
    echo "avx512.sh: SKIPPED: the AVX512-VNNI kernels are built by an x86-64 machine's compiler" >&2
    exit 0
elif grep -qw avx512_vnni /proc/cpuinfo; then
    echo "avx512.sh: SKIPPED: this processor has AVX512-VNNI; RESNETD_REQUIRE_ISA=avx512vnni make test runs its kernels" >&2
    exit 0
fi

cross/need.sh gcc libc6-dev binutils cpio xorriso isolinux syslinux-common bochs bochs-term bochsbios vgabios

# Static, of the versions that the project's lock file names, and in release: the code as it is shipped.
build() {
    mkdir -p "$work"
    cp cross/kernels/Cargo.toml cross/kernels/*.rs Cargo.lock "$work"
    local cargo=(--release --quiet --manifest-path "$work/Cargo.toml" --target-dir "$work/cargo")
    cargo+=(--target "$(rustc -vV | sed -n 's/^host: //p')")
    export RUSTFLAGS="-C target-feature=+crt-static"
    rm -rf "$work/root" && mkdir "$work/root"
    cargo build "${cargo[@]}" --bin init --message-format json | executable | xargs -I{} strip -o "$work/root/init" {}
    cargo test "${cargo[@]}" --lib --no-run --message-format json | executable | xargs -I{} strip -o "$work/root/tests" {}
}

executable() { sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'; }

# Unpacked, not installed: it is none of this machine's business.
linux() {
    [ ! -f "$work/linux" ] || return 0
    local package
    package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
    rm -rf "$work/package" && mkdir "$work/package"
    (cd "$work/package" && apt-get -q download "$package" && dpkg -x ./*.deb .)
    cp "$work"/package/boot/vmlinuz-* "$work/linux"
    rm -r "$work/package"
}

# What is cleared are features in which Bochs 2.7 and Linux disagree: sizes of saved registers that do not add up, so
# that Linux would do without AVX, and fast string instructions, with which it ends in a loop of page faults.
disc() {
    local iso=$work/iso
    rm -rf "$iso" && mkdir "$iso"
    cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/linux" "$iso"
    (cd "$work/root" && find . | cpio --quiet -o -H newc) | gzip -1 >"$iso/initrd"
    cat >"$iso/isolinux.cfg" <<END
DEFAULT tests
PROMPT 0
LABEL tests
  KERNEL linux
  APPEND initrd=initrd console=ttyS0 quiet panic=-1 reboot=t mitigations=off clearcpuid=pku,xsaves,xsavec,erms,fsrm RESNETD_REQUIRE_ISA=avx512vnni -- kernels::tests kernels::probe --test-threads=1
END
    xorriso -as mkisofs -quiet -o "$work/disc.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table "$iso" 2>/dev/null
}

machine() {
    cat <<END
config_interface: textconfig
display_library: term
cpu: model=corei7_icelake_u, ips=100000000, reset_on_triple_fault=0
clock: sync=none
memory: guest=256, host=256
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial.txt
log: $work/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
END
}

build
linux
disc
machine >"$work/bochsrc"
echo continue >"$work/commands" # Debian's Bochs begins in its debugger
rm -f "$work/serial.txt"
TERM=vt100 timeout "$patience" bochs -q -f "$work/bochsrc" -rc "$work/commands" >"$work/bochs.txt" 2>&1 </dev/null || true
tr -d '\r' <"$work/serial.txt" | grep -v '^\[' || true
if ! grep -q 'EMULATED: passed' "$work/serial.txt" || ! grep -q 'test result: ok. [1-9]' "$work/serial.txt"; then
    echo "avx512.sh: the tests did not pass; $work/serial.txt and bochs.log there have the rest" >&2
    exit 1
fi
