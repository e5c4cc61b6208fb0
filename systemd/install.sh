#!/usr/bin/env bash
# Installs what was built, or removes it again: install.sh [install|uninstall]. Builds nothing, starts nothing.
#   DESTDIR  a folder in front of every path: a package's, or a mounted SD card
#   PREFIX   where the program lives (/usr)
#   BINARY   the program (target/release/resnetd); resnetd-model beside it is installed if it is there
#   PAGES    the manual pages and completions that `make pages` makes (target/pages); left out where they are missing
# A changed /etc/resnetd/resnetd.toml is never touched.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr}
binary=${BINARY:-target/release/resnetd}
pages=${PAGES:-target/pages}
config=/etc/resnetd/resnetd.toml
doc=$prefix/share/doc/resnetd

# MODE SOURCE TARGET
files() {
    local file
    echo "755 $binary $prefix/bin/resnetd"
    if [ -f "$binary-model" ] || [ -f "${DESTDIR:-}$prefix/bin/resnetd-model" ]; then
        echo "755 $binary-model $prefix/bin/resnetd-model"
        for file in systemd/resnetd-teach.*; do
            echo "644 $file $prefix/lib/systemd/system/${file##*/}"
        done
    fi
    echo "644 systemd/resnetd.service $prefix/lib/systemd/system/resnetd.service"
    echo "644 systemd/resnetd.socket $prefix/lib/systemd/system/resnetd.socket"
    echo "644 systemd/resnetd.sysusers $prefix/lib/sysusers.d/resnetd.conf"
    echo "644 models/resnet50-imagenette.nnef.tar $prefix/share/resnetd/models/resnet50-imagenette.nnef.tar"
    for file in README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE docs/{EXIT_CODES,PAGE,METRICS,MQTT,TEACHING}.md docs/teach.jpg; do
        echo "644 $file $doc/${file##*/}"
    done
    while read -r file; do
        echo "644 $file $doc/${file#systemd/}"
    done < <(find systemd/examples examples/nginx examples/prometheus -type f | sort)
    for file in "$pages"/man/*.1; do
        [ ! -f "$file" ] || echo "644 $file $prefix/share/man/man1/${file##*/}"
    done
    for file in resnetd resnetd-model; do
        [ -f "$pages/completions/$file.bash" ] || continue
        echo "644 $pages/completions/$file.bash $prefix/share/bash-completion/completions/$file"
        echo "644 $pages/completions/_$file $prefix/share/zsh/vendor-completions/_$file"
        echo "644 $pages/completions/$file.fish $prefix/share/fish/vendor_completions.d/$file.fish"
    done
}

install_all() {
    [ -x "$binary" ] || { echo "install.sh: there is no $binary; run cargo build --release, or make cross and name it by BINARY=" >&2; exit 1; }
    [ -d "$pages" ] || echo "install.sh: without manual pages and completions; make pages makes them" >&2
    files | while read -r mode from to; do
        install -D -m "$mode" "$from" "${DESTDIR:-}$to"
    done
    [ "$prefix" = /usr ] || sed -i "s,/usr/bin/resnetd,$prefix/bin/resnetd," "${DESTDIR:-}$prefix"/lib/systemd/system/resnetd*.service
    if [ ! -e "${DESTDIR:-}$config" ]; then
        install -D -m 644 systemd/resnetd.toml "${DESTDIR:-}$config"
    fi
    [ -f "$binary-model" ] && taught=" resnetd-teach.path" || taught=
    [ -n "${DESTDIR:-}" ] || cat <<END2
Installed. Now the user and group, and the start${taught:+, also of what waits for lessons from the page}:
    systemd-sysusers && systemctl daemon-reload && systemctl enable --now resnetd$taught
END2
}

# What is left is what somebody changed or made: the configuration, and /var/lib/resnetd.
uninstall_all() {
    files | while read -r _ _ to; do
        rm -f "${DESTDIR:-}$to"
        rmdir -p --ignore-fail-on-non-empty "$(dirname "${DESTDIR:-}$to")" 2>/dev/null || true
    done
    if cmp -s systemd/resnetd.toml "${DESTDIR:-}$config"; then
        rm "${DESTDIR:-}$config"
        rmdir --ignore-fail-on-non-empty "${DESTDIR:-}${config%/*}"
    fi
}

case ${1:-install} in
    install) install_all ;;
    uninstall) uninstall_all ;;
    *) echo "install.sh: install or uninstall, not '$1'" >&2; exit 2 ;;
esac
