//! The program where the machine sets a limit: no room for the socket, no descriptors left, no memory for the model; and
//! that ten thousand subscribers leave nothing behind.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::alone;
use crate::harness::wait_until;
use crate::process::{Daemon, command, folder};

#[test]
fn ten_thousand_subscribers_leave_no_descriptor_and_no_memory_behind() {
    let _alone = alone();
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "");
    let witness = daemon.connect();
    daemon.until_label(&witness);
    rounds(&daemon, 1000);
    wait_until(|| daemon.descriptors() < 20);
    let (descriptors, memory) = (daemon.descriptors(), daemon.memory());
    rounds(&daemon, 9000);
    wait_until(|| daemon.descriptors() <= descriptors);
    let growth = daemon.memory().saturating_sub(memory);
    println!(
        "{descriptors} descriptors and {memory} KiB after 1,000 rounds, {growth} KiB more after 10,000"
    );
    // a scene that is rendered for the first time in between takes some hundred
    assert!(
        growth < 2048,
        "{growth} KiB more after 9,000 further subscribers"
    );
    // who never read all that time still is a subscriber, and others are served
    daemon.until_label(&daemon.connect());
    drop(witness);
}

/// Subscribers who leave in every way there is.
fn rounds(daemon: &Daemon, count: usize) {
    for round in 0..count {
        let mut stream = daemon.connect();
        match round % 5 {
            0 => {}
            1 => drop(stream.read(&mut [0; 10]).unwrap()),
            2 => drop(stream.write(b"hello?\n")),
            3 => stream.shutdown(Shutdown::Write).unwrap(),
            _ => stream.shutdown(Shutdown::Both).unwrap(),
        }
    }
}

#[test]
fn more_subscribers_than_descriptors_wait_and_cost_nothing() {
    let _alone = alone();
    let folder = folder();
    let daemon = Daemon::start(folder.path(), "ulimit -n 32");
    let first = daemon.connect();
    daemon.until_label(&first);
    let many: Vec<UnixStream> = (0..60).map(|_| daemon.connect()).collect();
    // or more, with what this process had open beyond the limit
    wait_until(|| daemon.descriptors() >= 32);
    let before = daemon.publishing();
    thread::sleep(Duration::from_secs(2));
    let spent = daemon.publishing() - before;
    println!("{spent} hundredths of a second for publishing, in 2 s without descriptors");
    assert!(
        spent < 60,
        "it turns in circles: {spent} hundredths of a second in 2 s"
    );
    daemon.until_label(&first);
    drop(many);
    daemon.until_label(&daemon.connect());
}

/// What mounts: a namespace of one's own, for root or for a user where the system allows that.
fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-rm"]];
    ways.into_iter().find(|way| {
        let mut test = Command::new(way[0]);
        test.args(&way[1..])
            .args(["mount", "-t", "tmpfs", "none", "/mnt"]);
        test.output().is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_full_run_directory_is_named_and_harms_nobody_who_runs() {
    let Some(namespace) = namespace() else {
        eprintln!("SKIPPED: this system lets nobody mount here, so no full /run can be made");
        return;
    };
    let folder = folder();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let full = |when: &str, then: &str| {
        let socket = run.join("s");
        let daemon = command(folder.path(), "", &socket);
        let mut all = Command::new(namespace[0]);
        all.args(&namespace[1..])
            .args(["sh", "-c", &script(&run, when, then), "sh"]);
        all.args(daemon.get_args().skip(3)).output().unwrap()
    };
    // no inode left for the socket
    let refused = full("fill", "\"$@\"");
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(6), "{message}");
    assert!(message.contains("No space left on device"), "{message}");
    assert!(
        message.contains("free some room") && message.contains("run/s"),
        "{message}"
    );
    // it was made before the room ran out: nothing else is needed
    let later = full(
        "",
        "\"$@\" --frames 40 & daemon=$!; while [ ! -e s ]; do sleep 0.05; done; fill; wait $daemon",
    );
    let message = String::from_utf8_lossy(&later.stderr);
    assert!(later.status.success(), "{message}");
}

/// A small file system, and the word that fills it with files.
fn script(run: &Path, when: &str, then: &str) -> String {
    let run = run.display();
    let fill = "fill() { i=0; while touch x$i 2>&-; do i=$((i + 1)); done; }";
    format!(
        "mount -t tmpfs -o nr_inodes=8 none {run} && cd {run} || exit 99\n{fill}\n{when}\n{then}"
    )
}

#[test]
fn too_little_memory_for_the_model_is_said_in_one_line() {
    let folder = folder();
    let run = |kib: u64| {
        let shell = format!("ulimit -v {kib}");
        let mut command = command(folder.path(), &shell, &folder.path().join("s"));
        command.args(["--frames", "1"]).output().unwrap()
    };
    let mut refusals = 0;
    // from hardly enough for the program itself to plenty
    for mib in (24..=96).step_by(12).chain([1024]) {
        let output = run(mib << 10);
        let message = String::from_utf8_lossy(&output.stderr);
        println!(
            "{mib} MiB: {:?} {}",
            output.status,
            message.lines().last().unwrap_or_default()
        );
        if mib == 1024 {
            assert!(output.status.success(), "{message}");
        }
        refusals += u32::from(output.status.code() == Some(4) && message.contains("memory"));
    }
    assert!(refusals > 0);
}
