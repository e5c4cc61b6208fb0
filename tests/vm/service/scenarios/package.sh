# The Debian package, in place of what `make install` has put here. The last scenarios: the purge leaves nothing.
# shellcheck shell=dash

packaged() { [ -e /packages/1.deb ] || skip "there is no package for arm64 in target/debian; make deb makes it"; }

install_package() {
    dpkg -i "$1" >dpkg.log 2>&1 </dev/null || fail "dpkg -i ends with $?: $(tail -n 2 dpkg.log)"
}

scenario_package_installs_and_starts() {
    packaged
    systemctl stop resnetd.socket resnetd.service
    changed
    rm -rf /usr/bin/resnetd /usr/lib/systemd/system/resnetd.* /usr/lib/sysusers.d/resnetd.conf /etc/resnetd /var/lib/resnetd
    rm -rf /usr/share/resnetd /run/resnetd
    userdel resnetd >out 2>&1
    groupdel resnetd >>out 2>&1
    ! getent passwd resnetd >>out || fail "the user from before is still there"
    mark
    install_package /packages/1.deb
    id -nG resnetd | grep -qw video || fail "the package made no user in the group video"
    soon 60 active || fail "the package did not start it: $(journal | tail -n 2)"
    systemctl -q is-enabled resnetd || fail "it is not enabled"
    usermod -aG resnetd member
    attach
    await 30 1 '"type":"hello".*resnet50' seen "the greeting"
}

# What somebody asks for on the page, as the page writes it; what is learned is used from the next start on, once it is accepted.
scenario_lesson_is_taught_by_its_unit() {
    [ -e /packages/model.deb ] || skip "there is no package resnetd-model for arm64 in target/debian; make deb makes it"
    state=/var/lib/resnetd
    configured
    install_package /packages/model.deb
    systemctl -q is-active resnetd-teach.path || fail "nobody waits for lessons"
    as resnetd mkdir -p $state/teach $state/models/taught
    bundle=$state/models/taught/taught-1.nnef.tar
    printf '{"base":"%s","folder":"/vm/labelled","bundle":"%s"}' $TINY $bundle >request
    cp request $state/teach/request.part
    chown resnetd:resnetd $state/teach/request.part
    mv $state/teach/request.part $state/teach/request.json
    soon 120 test -e $state/teach/outcome.json || fail "no outcome: $(journalctl -q -u resnetd-teach -o cat | tail -n 3)"
    grep -q '"error": null' $state/teach/outcome.json || fail "$(cat $state/teach/outcome.json)"
    [ "$(stat -c %U $bundle)" = resnetd ] || fail "the bundle belongs to $(stat -c %U $bundle)"
    soon 20 [ ! -e $state/teach/taken.json ] || fail "the lesson does not end"
    as resnetd ln -s taught/taught-1.nnef.tar $state/models/active
    systemctl restart resnetd
    attach
    await 60 1 '"name":"taught-1"' seen "the taught model"
    await 60 1 '"class":"standing"' seen "a label that was taught"
    rm $state/models/active
    dpkg -P resnetd-model >dpkg.log 2>&1 || fail "dpkg -P: $(tail -n 2 dpkg.log)"
    [ ! -e /etc/systemd/system/multi-user.target.wants/resnetd-teach.path ] || fail "the path unit is still enabled"
}

scenario_package_upgrade_keeps_the_configuration() {
    packaged
    configured
    systemctl restart resnetd
    attach
    await_labels 60 1
    pid=$(property MainPID)
    install_package /packages/2.deb
    dpkg-query -W -f '${Version}' resnetd | grep -q -- '-2$' || fail "the version is $(dpkg-query -W -f '${Version}' resnetd)"
    soon 60 restarted "$pid" || fail "the upgrade did not restart it"
    configuration | cmp -s - $CONFIG || fail "the upgrade changed the configuration"
    attach
    await 30 2 '"type":"hello"' seen "the greeting after the upgrade"
}

scenario_package_purge_leaves_nothing() {
    packaged
    active || fail "it does not run, so that nothing is tried"
    pid=$(property MainPID)
    dpkg -P resnetd >dpkg.log 2>&1 || fail "dpkg -P: $(tail -n 2 dpkg.log)"
    ! runs "$pid" || fail "the service still runs"
    for path in /usr/bin/resnetd /etc/resnetd /var/lib/resnetd /run/resnetd /usr/share/resnetd \
        /etc/systemd/system/multi-user.target.wants/resnetd.service; do
        [ ! -e $path ] && [ ! -L $path ] || fail "$path is left"
    done
    [ "$(property LoadState)" != loaded ] || fail "the unit is still loaded"
    getent passwd resnetd >out || fail "the user went, whose number may then be given to another"
}
