//! Sensors of made-up machines, as folders.

use super::*;

/// A machine of files.
fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), files);
    root
}

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }
}

const ZONE: &str = "sys/class/thermal/thermal_zone0/";

fn zone(temperature: &str) -> tempfile::TempDir {
    machine(&[
        (&format!("{ZONE}type"), "cpu-thermal"),
        (&format!("{ZONE}temp"), temperature),
        (&format!("{ZONE}trip_point_0_type"), "active"),
        (&format!("{ZONE}trip_point_0_temp"), "50000"),
        (&format!("{ZONE}trip_point_1_type"), "passive"),
        (&format!("{ZONE}trip_point_1_temp"), "80000"),
        (&format!("{ZONE}trip_point_2_type"), "critical"),
        (&format!("{ZONE}trip_point_2_temp"), "110000"),
    ])
}

fn heat(root: &Path) -> Heat {
    Sensors::below(root).heat().0
}

#[test]
fn heat_is_the_distance_from_where_the_kernel_slows_down() {
    for (temperature, expected) in [
        ("45000", Heat::Cool),
        ("70000", Heat::Cool),
        ("70100", Heat::Warm),
        ("76900", Heat::Warm),
        ("77000", Heat::Hot),
        ("95000", Heat::Hot),
    ] {
        assert_eq!(heat(zone(temperature).path()), expected, "{temperature}");
    }
}

#[test]
fn a_sensor_that_lies_or_is_gone_is_not_known() {
    for temperature in ["0", "200000", "-273000", "", "warm"] {
        assert_eq!(
            heat(zone(temperature).path()),
            Heat::Unknown,
            "{temperature}"
        );
    }
    assert_eq!(heat(machine(&[]).path()), Heat::Unknown);
    let root = zone("79000");
    let mut sensors = Sensors::below(root.path());
    assert_eq!(sensors.heat().0, Heat::Hot);
    fs::remove_dir_all(root.path().join(ZONE)).unwrap();
    assert_eq!(sensors.heat().0, Heat::Unknown);
}

#[test]
fn a_battery_does_not_count_where_there_is_a_processor() {
    let root = zone("45000");
    let other = "sys/class/thermal/thermal_zone1/";
    write(
        root.path(),
        &[
            (&format!("{other}type"), "PMIC-Die"),
            (&format!("{other}temp"), "100000"),
        ],
    );
    assert_eq!(heat(root.path()), Heat::Cool);
}

#[test]
fn a_zone_without_a_passive_limit_has_one_below_its_end() {
    let root = machine(&[
        (&format!("{ZONE}type"), "cpu-thermal"),
        (&format!("{ZONE}temp"), "93000"),
        (&format!("{ZONE}trip_point_0_type"), "critical"),
        (&format!("{ZONE}trip_point_0_temp"), "110000"),
    ]);
    let (heat, why) = Sensors::below(root.path()).heat();
    assert_eq!(heat, Heat::Hot);
    assert_eq!(why, "the processor is warm: 93 degrees, its limit is 95");
}

#[test]
fn a_lowered_clock_is_heat_only_where_it_is_warm() {
    let clock = "sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq";
    for (temperature, expected) in [("40000", Heat::Cool), ("60000", Heat::Hot)] {
        let root = zone(temperature);
        write(root.path(), &[(clock, "1800000")]);
        let mut sensors = Sensors::below(root.path());
        assert_eq!(sensors.heat().0, Heat::Cool);
        write(root.path(), &[(clock, "900000")]);
        let (heat, why) = sensors.heat();
        assert_eq!(heat, expected);
        assert_eq!(heat == Heat::Hot, why.contains("50 %"), "{why}");
    }
}

#[test]
fn the_raspberry_pis_firmware_is_asked() {
    for device in ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"] {
        let flags = format!("sys/devices/platform/{device}/get_throttled");
        for (text, expected) in [
            ("0", Heat::Cool),
            ("50000", Heat::Cool),
            ("4", Heat::Hot),
            ("e0008", Heat::Hot),
            ("?", Heat::Cool),
        ] {
            let root = zone("45000");
            write(root.path(), &[(&flags, text)]);
            assert_eq!(heat(root.path()), expected, "{text}");
        }
    }
}

#[test]
fn memory_is_the_least_that_any_group_leaves() {
    let root = machine(&[
        ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 500 kB"),
        ("proc/self/cgroup", "0::/system.slice/resnetd.service"),
        ("sys/fs/cgroup/system.slice/memory.max", "max"),
        ("sys/fs/cgroup/system.slice/memory.current", "1"),
        (
            "sys/fs/cgroup/system.slice/resnetd.service/memory.max",
            "400000",
        ),
        (
            "sys/fs/cgroup/system.slice/resnetd.service/memory.current",
            "390000",
        ),
        (
            "sys/fs/cgroup/system.slice/resnetd.service/memory.stat",
            "anon 5\ninactive_file 90000",
        ),
    ]);
    let free = |root: &Path| Sensors::below(root).memory().unwrap().free;
    assert_eq!(free(root.path()), 100_000);
    write(
        root.path(),
        &[("sys/fs/cgroup/system.slice/memory.max", "51")],
    );
    assert_eq!(free(root.path()), 50);
    write(root.path(), &[("proc/self/cgroup", "4:cpu:/\n0::/")]);
    assert_eq!(free(root.path()), 512_000);
}

#[test]
fn version_one_of_control_groups_is_read_too() {
    let root = machine(&[
        ("proc/self/cgroup", "9:cpu,cpuacct:/\n7:memory:/a\n0::/"),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000"),
        ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "900"),
    ]);
    assert_eq!(Sensors::below(root.path()).memory().unwrap().free, 100);
}

#[test]
fn waiting_for_memory_and_its_events_are_seen() {
    let pressure =
        |avg10: &str| format!("some avg10={avg10} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00");
    let root = machine(&[
        ("proc/meminfo", "MemAvailable: 500 kB"),
        ("proc/pressure/memory", &pressure("9.99")),
        ("proc/self/cgroup", "0::/"),
        ("sys/fs/cgroup/memory.max", "max"),
        (
            "sys/fs/cgroup/memory.events",
            "low 0\nhigh 7\nmax 3\noom 0\noom_kill 0",
        ),
    ]);
    let mut sensors = Sensors::below(root.path());
    assert!(!sensors.memory().unwrap().stalls);
    write(
        root.path(),
        &[(
            "sys/fs/cgroup/memory.events",
            "low 0\nhigh 8\nmax 9\noom 0\noom_kill 0",
        )],
    );
    assert!(sensors.memory().unwrap().stalls);
    assert!(!sensors.memory().unwrap().stalls);
    write(root.path(), &[("proc/pressure/memory", &pressure("10.00"))]);
    assert!(sensors.memory().unwrap().stalls);
}

#[test]
fn a_kernel_that_does_not_count_memory_is_recognised() {
    let controllers = "sys/fs/cgroup/cgroup.controllers";
    for (text, expected) in [("cpuset cpu io pids", true), ("cpu memory", false)] {
        let root = machine(&[(controllers, text)]);
        assert_eq!(limits_have_no_effect(root.path()), expected, "{text}");
    }
    assert!(!limits_have_no_effect(machine(&[]).path()));
}

#[test]
fn this_machine_can_be_read() {
    let mut sensors = Sensors::below(Path::new("/"));
    assert!(sensors.memory().is_some_and(|memory| memory.free > 0));
    sensors.heat();
}
