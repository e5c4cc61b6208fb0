//! How the socket comes and goes: made where [`Places`] says or taken over from systemd, a stale one
//! replaced, a live one left alone, and ours removed at the end.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::SocketError;
use super::path::Places;

/// Who may read the labels: the owner and the group.
const MODE: Mode = Mode::from_raw_mode(0o660);
/// The group whose members may, where the system has it.
const GROUP: &str = "resnetd";
/// `sun_path`, its closing zero excluded.
const LONGEST_PATH: usize = 107;
const BACKLOG: i32 = 64;
const ATTEMPTS: usize = 3;

/// A listening socket. Its file, if we made it, goes with it.
#[derive(Debug)]
pub struct Listener {
    // Dropped first: the file goes while the socket still listens, so that nobody takes it for a stale one.
    file: Option<SocketFile>,
    socket: UnixListener,
}

impl Listener {
    /// The socket at `path`, else the one that systemd hands over, else one where `places` say.
    pub fn open(path: Option<&Path>, places: &Places) -> Result<Self, SocketError> {
        if let Some(path) = path {
            return Self::bind(path);
        }
        match Self::activated()? {
            Some(listener) => Ok(listener),
            None => Self::bind(&places.choose()?),
        }
    }

    /// The path, unless systemd made the socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    pub(super) fn socket(&self) -> &UnixListener {
        &self.socket
    }

    fn bind(path: &Path) -> Result<Self, SocketError> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(SocketError::TooLong {
                path: path.into(),
                limit: LONGEST_PATH,
            });
        }
        let failed = |reason| SocketError::unmade(path, reason);
        let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
        for _ in 0..ATTEMPTS {
            let socket = new_socket().map_err(failed)?;
            match rustix::net::bind(&socket, &address) {
                Ok(()) => return Self::listen(socket, path).map_err(failed),
                Err(Errno::ADDRINUSE) => remove_stale(path, &address)?,
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        Err(SocketError::InUse(path.into()))
    }

    /// Nobody can connect before `listen`, so that the rights are right from the first moment.
    fn listen(socket: OwnedFd, path: &Path) -> io::Result<Self> {
        let file = SocketFile::made(path)?;
        rustix::fs::chmod(path, MODE)?;
        if let Some(group) = group_id(GROUP)
            && let Err(errno) = rustix::fs::chown(path, None, Some(group))
        {
            log::debug!("the socket stays with this user's own group, not `{GROUP}`: {errno}");
        }
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self {
            socket: UnixListener::from(socket),
            file: Some(file),
        })
    }

    fn activated() -> Result<Option<Self>, SocketError> {
        let mut handed_over =
            sd_notify::listen_fds().map_err(|error| SocketError::Activation(error.to_string()))?;
        let Some(number) = handed_over.next() else {
            return Ok(None);
        };
        let socket = take_over(number).map_err(SocketError::Activation)?;
        Ok(Some(Self { socket, file: None }))
    }
}

/// The descriptor that systemd passed, if it is a listening Unix stream socket.
#[allow(unsafe_code)]
fn take_over(number: RawFd) -> Result<UnixListener, String> {
    // SAFETY: `listen_fds` found LISTEN_PID to be this process and has just set the descriptor's
    // close-on-exec flag, so it is open; by that protocol it is ours, and `open` runs once per process.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let is_listening = rustix::net::sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX)
        && rustix::net::sockopt::socket_type(&socket) == Ok(SocketType::STREAM)
        && rustix::net::sockopt::socket_acceptconn(&socket) == Ok(true);
    if !is_listening {
        return Err(format!(
            "descriptor {number} is no listening Unix stream socket"
        ));
    }
    let socket = UnixListener::from(socket);
    socket
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    Ok(socket)
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Removes what a daemon that died has left at `path`; an error if anything else is there.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let failed = |reason| SocketError::unmade(path, reason);
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.into()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    let probe = new_socket().map_err(failed)?;
    match rustix::net::connect(probe.as_fd(), address) {
        Err(Errno::CONNREFUSED) => {}
        // EAGAIN: somebody listens and is too busy to accept. EPROTOTYPE: a datagram socket of somebody's.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            return Err(SocketError::InUse(path.into()));
        }
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed(errno.into())),
    }
    log::info!("replacing the stale socket {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The file of a socket that we made; removed when dropped, unless another one has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn made(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.into(),
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

/// Looked up in /etc/group: a static program has no name service.
fn group_id(name: &str) -> Option<Gid> {
    group_in(&fs::read_to_string("/etc/group").ok()?, name)
}

fn group_in(groups: &str, name: &str) -> Option<Gid> {
    let mut fields = groups.lines().map(|line| line.split(':'));
    fields
        .find_map(|mut fields| {
            (fields.next()? == name)
                .then(|| fields.nth(1)?.parse().ok())
                .flatten()
        })
        .map(Gid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    #[test]
    fn the_group_is_found_by_its_whole_name() {
        let groups = "root:x:0:\nresnetd-users:x:7:\nbroken\nresnetd:x:990:pi,web\n";
        assert_eq!(group_in(groups, "resnetd").map(Gid::as_raw), Some(990));
        assert_eq!(group_in(groups, "video"), None);
    }

    #[test]
    fn the_socket_is_for_owner_and_group_and_goes_with_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o660
        );
        UnixStream::connect(&path).unwrap();
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _listener = Listener::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_live_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)));
        assert!(error.to_string().contains(path.to_str().unwrap()));
        UnixStream::connect(&path).unwrap();
        drop(first);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&path),
            Err(SocketError::NotASocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_socket_that_took_our_place_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let ours = Listener::bind(&path).unwrap();
        fs::rename(&path, directory.path().join("moved")).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named_with_the_remedy() {
        let error = Listener::bind(Path::new("/nonexistent/s"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/s") && error.contains("--socket"),
            "{error}"
        );
    }

    #[test]
    fn a_path_that_is_too_long_is_refused() {
        let path = format!("/tmp/{}", "x".repeat(120));
        assert!(matches!(
            Listener::bind(Path::new(&path)),
            Err(SocketError::TooLong { .. })
        ));
    }

    /// Runs in a process of its own: see the next test.
    #[test]
    fn child_takes_the_activation_socket() {
        let Some(expected) = std::env::var_os("RESNETD_TEST_ACTIVATED") else {
            return;
        };
        let listener = Listener::open(None, &Places::from_environment());
        match expected.to_str() {
            Some("socket") => assert_eq!(listener.unwrap().path(), None),
            _ => assert!(matches!(listener, Err(SocketError::Activation(_)))),
        }
    }

    /// As systemd would: the descriptor is number 3, and LISTEN_PID the process that comes of `exec`.
    fn activate_child(descriptor: OwnedFd, expected: &str) {
        let test = format!(
            "{}::child_takes_the_activation_socket",
            module_path!().trim_start_matches("resnetd::")
        );
        let script = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" --exact \"$1\" 3<&0";
        let status = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().unwrap())
            .arg(test)
            .env("RESNETD_TEST_ACTIVATED", expected)
            .stdin(Stdio::from(descriptor))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{expected}");
    }

    #[test]
    fn the_activation_socket_is_used_and_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        activate_child(UnixListener::bind(&path).unwrap().into(), "socket");
        assert!(path.exists());
        activate_child(fs::File::open("/dev/null").unwrap().into(), "error");
    }
}
