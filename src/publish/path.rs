//! Where the socket is when nobody says: the daemon takes the first place where it may write, `watch`
//! the first where somebody listens, in the same order.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::SocketError;

const NAME: &str = "resnetd.sock";

/// The directories that are looked at.
#[derive(Debug, Clone)]
pub struct Places {
    /// The service's own (systemd's `RuntimeDirectory=`): `/run/resnetd`.
    pub system: PathBuf,
    /// `$XDG_RUNTIME_DIR`, if it is set.
    pub session: Option<PathBuf>,
    /// Where a directory of the user's own is made if nothing else is left: `/tmp`.
    pub temporary: PathBuf,
    pub uid: u32,
}

impl Places {
    #[must_use]
    pub fn from_environment() -> Self {
        let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self {
            system: "/run/resnetd".into(),
            session: session.filter(|path| path.is_absolute()),
            temporary: "/tmp".into(),
            uid: rustix::process::getuid().as_raw(),
        }
    }

    fn own(&self) -> PathBuf {
        self.temporary.join(format!("resnetd-{}", self.uid))
    }

    /// Where a daemon of this user makes its socket. Makes the directory if it must.
    pub fn choose(&self) -> Result<PathBuf, SocketError> {
        if is_writable(&self.system) || make_system_directory(&self.system) {
            return Ok(self.system.join(NAME));
        }
        if let Some(session) = self.session.as_deref().filter(|path| is_writable(path)) {
            return Ok(session.join(NAME));
        }
        let own = self.own();
        let path = own.join(NAME);
        match fs::DirBuilder::new().mode(0o700).create(&own) {
            Err(reason) if reason.kind() != ErrorKind::AlreadyExists => {
                Err(SocketError::unmade(&path, reason))
            }
            _ if self.is_private(&own) => Ok(path),
            _ => Err(SocketError::UnsafeDirectory(own)),
        }
    }

    /// Where [`Self::choose`] would make it, without making anything.
    #[must_use]
    pub fn expected(&self) -> PathBuf {
        let parent = self.system.parent().unwrap_or(&self.system);
        if is_writable(&self.system) || (!self.system.exists() && is_writable(parent)) {
            return self.system.join(NAME);
        }
        let session = self.session.clone().filter(|path| is_writable(path));
        session.unwrap_or_else(|| self.own()).join(NAME)
    }

    /// Where a client looks, in this order.
    #[must_use]
    pub fn candidates(&self) -> Vec<PathBuf> {
        let mut found = vec![self.system.join(NAME)];
        found.extend(self.session.as_ref().map(|session| session.join(NAME)));
        // Anybody may make this directory; only our own is to be believed.
        found.extend(
            Some(self.own())
                .filter(|own| self.is_private(own))
                .map(|own| own.join(NAME)),
        );
        found
    }

    /// Nobody but the user can have put anything there.
    fn is_private(&self, directory: &Path) -> bool {
        fs::symlink_metadata(directory)
            .is_ok_and(|meta| meta.is_dir() && meta.uid() == self.uid && meta.mode() & 0o077 == 0)
    }
}

fn is_writable(directory: &Path) -> bool {
    directory.is_dir() && rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Makes `/run/resnetd` for root, when no service manager has.
fn make_system_directory(directory: &Path) -> bool {
    let made: io::Result<()> = fs::DirBuilder::new().mode(0o755).create(directory);
    made.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn places(root: &Path) -> Places {
        let uid = rustix::process::getuid().as_raw();
        Places {
            system: root.join("absent/resnetd"),
            session: None,
            temporary: root.into(),
            uid,
        }
    }

    #[test]
    fn the_order_is_system_session_own() {
        let root = tempfile::tempdir().unwrap();
        let mut places = places(root.path());
        let own = places.own();
        assert_eq!(places.expected(), own.join(NAME));
        assert!(!own.exists(), "to ask is not to make");
        assert_eq!(places.choose().unwrap(), own.join(NAME));
        assert_eq!(
            fs::metadata(&own).unwrap().permissions().mode() & 0o777,
            0o700
        );

        let session = root.path().join("session");
        fs::create_dir(&session).unwrap();
        places.session = Some(session.clone());
        assert_eq!(places.expected(), session.join(NAME));
        assert_eq!(places.choose().unwrap(), session.join(NAME));

        fs::create_dir(root.path().join("absent")).unwrap();
        assert_eq!(places.choose().unwrap(), places.system.join(NAME));
        assert_eq!(
            places.candidates(),
            [places.system.join(NAME), session.join(NAME), own.join(NAME)]
        );
    }

    #[test]
    fn a_directory_that_others_may_enter_is_not_trusted() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        fs::create_dir(places.own()).unwrap();
        fs::set_permissions(places.own(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            places.choose(),
            Err(SocketError::UnsafeDirectory(_))
        ));
        assert_eq!(places.candidates(), [places.system.join(NAME)]);
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let elsewhere = root.path().join("elsewhere");
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&elsewhere)
            .unwrap();
        symlink(&elsewhere, places.own()).unwrap();
        assert!(matches!(
            places.choose(),
            Err(SocketError::UnsafeDirectory(_))
        ));
    }
}
