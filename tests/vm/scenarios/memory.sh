# A limit on memory decides which model runs.
# shellcheck shell=dash

# limited MIB NAME: resnetd with two models in a control group of its own, until it has told which one runs.
limited() {
    local group=/sys/fs/cgroup/$2
    mkdir "$group" || fail "no control group can be made"
    echo "$1M" >"$group/memory.max" || fail "memory is not counted by control groups"
    (
        sh -c "echo \$\$ >$group/cgroup.procs && RESNETD_LOG=info exec resnetd run --threads 1 --socket $PWD/socket \
            --model /models/resnet101.nnef.tar --model /models/synthetic50.nnef.tar --source demo:" >>"$2.log" 2>&1
    ) &
    soon 90 grep -q "labels on" "$2.log" || fail "it did not start in $1 MiB: $(tail -n 1 "$2.log")"
    resnetd watch --json --socket "$PWD/socket" >"$2.seen" 2>>watch.log &
    await 60 1 '"type":"classification"' "$2.seen" "a label"
    grep -q '^oom_kill 0' "$group/memory.events" || fail "something was killed for its memory"
    kill "$(head -n 1 "$group/cgroup.procs")"
    soon 20 no_process_in "$group" || fail "it does not end"
}

no_process_in() { [ -z "$(cat "$1/cgroup.procs")" ]; }

runs_model() { grep '"type":"model"' "$1.seen" | grep -q "\"model\":{\"name\":\"$2"; }

scenario_a_memory_limit_that_only_resnet50_fits_makes_it_run() {
    mount -t cgroup2 none /sys/fs/cgroup || fail "there are no control groups"
    echo +memory >/sys/fs/cgroup/cgroup.subtree_control || fail "memory cannot be counted"
    limited 84 narrow
    runs_model narrow resnet50 || fail "another model runs in the narrow group"
    grep -q 'resnet101.nnef.tar: it takes .* MiB of memory' narrow.log || fail "the log does not say why"
    limited 200 wide
    runs_model wide resnet101 || fail "ResNet101 does not run where it fits"
}
