# The unit as it is shipped: start, stop, who may read, what the fence lets through.
# shellcheck shell=dash

scenario_user_and_group_are_made_by_sysusers() {
    getent passwd resnetd >out || fail "there is no user resnetd"
    getent group resnetd >>out || fail "there is no group resnetd"
    id -nG resnetd >>out
    grep -qw video out || fail "the user is not in the group video"
    [ "$(stat -c %G "$CAMERA")" = video ] || fail "the camera does not belong to the group video"
}

# With the bundle and the configuration that come with it.
scenario_ready_once_it_serves() {
    mark
    [ "$(property Type)" = notify ] || fail "it is no service that notifies"
    systemctl start --no-block resnetd
    while state=$(property ActiveState) && [ "$state" != active ]; do
        echo "$state" >>states
        [ "$state" != failed ] && [ "$(wc -l <states)" -lt 300 ] || fail "it does not start: $(journal | tail -n 3)"
        # systemd may have said so since.
        ! as member resnetd watch --json --socket $SOCKET 2>/dev/null | head -n 1 | grep -q hello || active ||
            soon 5 active || fail "it serves and is not ready"
    done
    as member resnetd watch --json 2>watch.log | head -n 1 >seen
    grep -q '"type":"hello".*resnet50' seen || fail "it was ready and did not serve"
    grep -q activating states || fail "it was ready at once"
}

# While it computes a label of ResNet50, which takes seconds here.
scenario_stop_is_clean_and_quick() {
    active || fail "it does not run"
    mark
    before=$(now_ms)
    systemctl stop resnetd
    took=$(($(now_ms) - before))
    [ "$(property Result)" = success ] || fail "the result is $(property Result)"
    [ "$(property ExecMainStatus)" = 0 ] || fail "it ended with $(property ExecMainStatus)"
    [ ! -e $SOCKET ] || fail "its socket is left"
    [ $took -lt 9000 ] || fail "it took $took ms"
    figure "stopped after $took ms"
}

scenario_socket_belongs_to_the_group() {
    serving
    [ "$(stat -c '%a %U %G' $SOCKET)" = "660 resnetd resnetd" ] || fail "it is $(stat -c '%a %U %G' $SOCKET)"
    [ "$(stat -c '%a %U %G' /var/lib/resnetd)" = "750 resnetd resnetd" ] || fail "the state is $(stat -c '%a %U %G' /var/lib/resnetd)"
}

scenario_members_read_and_strangers_do_not() {
    serving
    timeout 60 setpriv --reuid stranger --regid stranger --init-groups resnetd watch --json >stranger 2>&1
    code=$?
    [ $code = 6 ] || fail "a stranger's code is $code, not 6"
    grep -qi 'permission' stranger || fail "a stranger is not told why"
    ! grep -q '"type"' stranger || fail "a stranger read something"
}

scenario_labels_from_the_camera_in_the_sandbox() {
    serving
    grep -q '"image":{"width":320,"height":180}' seen || fail "they are not of the camera's size"
    status=/proc/$(property MainPID)/status
    for line in 'NoNewPrivs:.1' 'Seccomp:.2' 'CapEff:.0000000000000000' 'CapBnd:.0000000000000000'; do
        grep -q "^$line" "$status" || fail "the sandbox is not as it should be: $(grep "^${line%%:*}" "$status")"
    done
    [ "$(stat -c %U "/proc/$(property MainPID)")" = resnetd ] || fail "it runs as $(stat -c %U "/proc/$(property MainPID)")"
}

scenario_reload_keeps_subscribers() {
    serving
    pid=$(property MainPID)
    configured $TINY demo:
    systemctl reload resnetd || fail "it does not reload"
    await 30 1 '"image":{"width":640,"height":480}' seen "a label of the other source"
    echo 'nonsense = 1' >>$CONFIG
    systemctl reload resnetd
    soon 20 told nonsense || fail "a mistake in the configuration is not told"
    before=$(labels)
    await_labels 30 $((before + 3))
    configured
    systemctl reload resnetd
    await_labels 30 $(($(labels) + 3))
    # The last line may tell a change, which has no size.
    grep '"type":"classification"' seen | tail -n 1 | grep -q '"width":320' || fail "the first source did not return"
    [ "$(property MainPID)" = "$pid" ] || fail "it was restarted"
    # Greeted once more, with the new cameras and model, but on the same connection.
    ! [ -s watch.log ] && runs "$SUBSCRIBER" || fail "the subscriber was cut off"
}

scenario_security_figure() {
    systemd-analyze --no-pager security resnetd >out 2>&1
    figure=$(sed -n 's/.*Overall exposure level for resnetd.service: \([0-9.]*\).*/\1/p' out)
    [ -n "$figure" ] || fail "systemd-analyze gives none"
    figure "systemd-analyze security resnetd: $figure"
    [ "$(echo "$figure" | tr -d .)" -le 16 ] || fail "it is $figure, above 1.6"
}
