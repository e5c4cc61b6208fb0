//! The watchdog through silence, loss, panics and bad frames: fed as if nothing were wrong. It is found by the environment,
//! so the daemon runs in a process of its own.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use resnetd::daemon;
use resnetd::frame::PixelFormat;
use resnetd::source::fault::{Fault, Faulty, scripted};

use crate::alone;
use crate::cameras::{BRIGHT, ByBrightness, DARK, lamp};
use crate::fakes::camera;
use crate::harness::options;

const CHILD: &str = "RESNETD_TEST_WATCHED";
/// As a unit would say it.
const WATCHDOG: Duration = Duration::from_secs(4);

/// Runs in a process of its own: see the next test.
#[test]
fn child_that_is_watched() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let silence = [Fault::Silence; 16]; // 4 seconds: each is one wait of the capture thread
    let lost = [Fault::Lost; 16]; // 3 seconds and more: each is followed by a pause
    let plan = [Fault::Torn(300), Fault::None].into_iter().cycle().take(20);
    let plan = plan.chain(silence).chain(lost).chain([Fault::Panic]);
    let frames = lamp([BRIGHT; 40], PixelFormat::Mjpg, false);
    let mut camera = camera(Box::new(Faulty::new(frames, scripted(plan))));
    camera.reopen = Box::new(|| Ok(lamp([DARK; 20], PixelFormat::Mjpg, false)));
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(
        folder.path().join("s"),
        vec![camera],
        Box::new(ByBrightness::new()),
    );
    options.settings.stale_after = Duration::from_millis(500);
    let totals = daemon::run(options, &AtomicBool::new(false)).unwrap();
    assert!(
        totals.over && totals.bad > 0 && totals.classified > 0,
        "{totals:?}"
    );
}

#[test]
fn the_watchdog_is_fed_whatever_the_camera_does() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let notices = UnixDatagram::bind(&path).unwrap();
    notices.set_read_timeout(Some(WATCHDOG)).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "watchdog::child_that_is_watched"])
        .env(CHILD, "1")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut fed, mut ready) = (Vec::new(), false);
    loop {
        let mut notice = [0; 256];
        let Ok(length) = notices.recv(&mut notice) else {
            let _ = child.kill();
            panic!("nothing for {WATCHDOG:?}: systemd would have killed it");
        };
        let notice = String::from_utf8_lossy(&notice[..length]);
        ready |= notice.contains("READY=1");
        if notice.contains("WATCHDOG=1") {
            fed.push(Instant::now());
        }
        if notice.contains("STOPPING=1") {
            break;
        }
    }
    assert!(child.wait().unwrap().success());
    assert!(ready);
    // some eight seconds, fed every one
    assert!(fed.len() >= 6, "fed {} times", fed.len());
    let longest = fed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest < WATCHDOG, "{longest:?}");
}
