//! Small shell scripts as children: what they write, how they end and what is left of them.

use std::fs;
use std::path::Path;

use super::*;

/// One JPEG in form, of 64x48, for `printf`.
const JPEG: &str = r"\377\330\377\300\000\012\010\000\060\000\100\001\001\021\377\332\000\010\001\001\000\000\077\000abc\377\331";
/// Longer than anything here should take, so that a hang is a failure.
const LONG: Duration = Duration::from_secs(20);
const TURN: Duration = Duration::from_millis(50);

fn quick(command: &str) -> Exec {
    let short = Duration::from_millis(20);
    Exec::with(
        command,
        Backoff::between(short, short),
        Duration::from_secs(60),
    )
}

/// The next event that is no timeout.
fn event(exec: &mut Exec) -> Event {
    let mut frame = Frame::empty();
    let end = Instant::now() + LONG;
    loop {
        let event = exec.next(&mut frame, TURN);
        if event != Event::Timeout {
            return event;
        }
        assert!(Instant::now() < end, "nothing happened: {:?}", exec.state);
    }
}

fn lost(exec: &mut Exec) -> String {
    let mut why = None;
    wait_until(|| {
        if let Event::Lost(reason) = event(exec) {
            why = Some(reason);
        }
        why.is_some()
    });
    why.unwrap()
}

fn frame_comes(exec: &mut Exec) {
    wait_until(|| event(exec) == Event::Frame);
}

fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "it never came to pass");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The number that a child wrote to a file, once it has.
fn pid_in(path: &Path) -> String {
    let written = || fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
    wait_until(written);
    fs::read_to_string(path).unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn the_output_of_a_command_becomes_frames() {
    let mut exec = quick(&format!("printf '{JPEG}'; sleep 60"));
    let mut frame = Frame::empty();
    wait_until(|| exec.next(&mut frame, TURN) == Event::Frame);
    assert_eq!((frame.width, frame.height), (64, 48));
    assert!(frame.captured.elapsed() < LONG);
}

#[test]
fn a_command_that_ends_is_a_lost_camera_with_its_last_words_and_is_started_again() {
    let mut exec = quick(&format!(
        "printf '{JPEG}'; echo 'no camera at 1:2' >&2; exit 3"
    ));
    for _ in 0..3 {
        frame_comes(&mut exec);
        let why = lost(&mut exec);
        assert_eq!(
            why,
            "printf ended with exit status 3; its last words: no camera at 1:2"
        );
    }
}

#[test]
fn the_signal_that_killed_it_is_told() {
    assert_eq!(
        lost(&mut quick("kill -9 $$;")),
        "kill was killed by signal 9"
    );
}

#[test]
fn pauses_between_starts_grow() {
    let mut exec = Exec::with_pauses("false", Duration::from_millis(40), Duration::from_secs(60));
    let begin = Instant::now();
    let mut starts = 0;
    let mut frame = Frame::empty();
    let mut was_running = false;
    while starts < 4 {
        exec.next(&mut frame, Duration::from_millis(5));
        let running = !matches!(exec.state, State::Paused(_));
        starts += u32::from(running && !was_running);
        was_running = running;
        assert!(begin.elapsed() < LONG);
    }
    // 40 + 80 + 160
    assert!(
        begin.elapsed() >= Duration::from_millis(280),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn the_callers_timeout_is_kept_whatever_the_child_does() {
    for command in [
        "sleep 60",
        "trap '' TERM; exec >&-; sleep 60",
        "yes",
        "false",
        "cat /dev/zero >&2",
    ] {
        let mut exec = quick(command);
        let mut frame = Frame::empty();
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            let begin = Instant::now();
            exec.next(&mut frame, TURN);
            assert!(begin.elapsed() < TURN + Duration::from_secs(1), "{command}");
        }
    }
}

#[test]
fn a_silent_child_is_ended_even_if_it_does_not_want_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let command = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 1; done",
        file.display()
    );
    let short = Duration::from_millis(20);
    let mut exec = Exec::with(&command, Backoff::between(LONG, LONG), short);
    assert!(lost(&mut exec).contains("no frame for 0 seconds"));
    assert!(!is_running(&pid_in(&file)));
}

#[test]
fn output_of_another_kind_is_said_to_be_that() {
    let mut exec = Exec::with(
        "printf '\\0\\0\\0\\001gH'; sleep 60",
        Backoff::between(LONG, LONG),
        Duration::from_millis(500),
    );
    let why = lost(&mut exec);
    assert!(
        why.contains("neither MJPEG nor Y4M") && why.contains("--codec mjpeg"),
        "{why}"
    );
    let mut exec = quick("echo 'YUV4MPEG2 W4 H4 C444'; sleep 60");
    assert!(lost(&mut exec).contains("-pix_fmt yuv420p"));
}

#[test]
fn a_killed_shell_is_a_lost_camera_even_if_its_children_write_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let command = format!(
        "echo $$ > {}; while printf '{JPEG}'; do sleep 0.02; done | cat",
        file.display()
    );
    let mut exec = quick(&command);
    frame_comes(&mut exec);
    let shell = pid_in(&file)
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(shell.unwrap(), Signal::KILL).unwrap();
    assert_eq!(lost(&mut exec), "echo was killed by signal 9");
}

#[test]
fn dropping_it_ends_the_child_and_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    let command = format!(
        "sleep 60 & echo $! > {}; echo $$ > {}; printf '{JPEG}'; wait",
        first.display(),
        second.display()
    );
    let mut exec = quick(&command);
    frame_comes(&mut exec);
    let (first, second) = (pid_in(&first), pid_in(&second));
    assert!(is_running(&first) && is_running(&second));
    drop(exec);
    // Who killed the grandchild need not be who reaps it.
    wait_until(|| !is_running(&first) && !is_running(&second));
}

#[test]
fn a_child_gets_no_descriptors_but_its_own_three() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("list");
    // One that would be inherited.
    let open = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    // No redirection while it looks: the shell keeps a descriptor of its own for that.
    let command = format!(
        "for n in $(seq 3 300); do [ -e /proc/$$/fd/$n ] && more=\"$more $n\"; done
         echo \"more:$more\" > {}; printf '{JPEG}'; sleep 60",
        file.display()
    );
    let mut exec = quick(&command);
    frame_comes(&mut exec);
    assert_eq!(fs::read_to_string(&file).unwrap(), "more:\n");
}

#[test]
fn hundreds_of_restarts_leak_no_descriptor_and_no_zombie() {
    let mut exec = Exec::with(
        "true",
        Backoff::between(Duration::ZERO, Duration::ZERO),
        LONG,
    );
    let mut frame = Frame::empty();
    let before = descriptors();
    let mut losses = 0;
    while losses < 300 {
        losses += u32::from(matches!(exec.next(&mut frame, TURN), Event::Lost(_)));
    }
    // Other tests of this process open and close descriptors meanwhile.
    let after = descriptors();
    assert!(after < before + 50, "{before} descriptors, then {after}");
    let children = fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let children: usize = children.map(|list| list.split_whitespace().count()).sum();
    assert!(children < 50, "{children} children are left");
}
