//! Reading a file that somebody named: only plain files, and only up to a limit. A pipe would make us
//! wait for ever, and a device may have no end. And writing one that takes another's place at once. What the bytes mean is
//! for the caller.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The bytes of a plain file that holds at most `limit`.
///
/// # Errors
/// If it cannot be read, is no plain file or is larger.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(path, limit, &mut bytes)?;
    Ok(bytes)
}

/// As [`read`], for a text.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        io::Error::new(ErrorKind::InvalidData, format!("not UTF-8 at byte {at}"))
    })
}

/// As [`read`], into a buffer that is used again; what was in it goes.
///
/// # Errors
/// As [`read`].
pub fn read_into(path: &Path, limit: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.clear();
    let (file, length) = open(path, limit)?;
    let expected = usize::try_from(length).map_err(|_| too_large(limit))?;
    bytes.try_reserve_exact(expected)?;
    // It may grow while it is read.
    let read = file.take(limit.saturating_add(1)).read_to_end(bytes)?;
    if read as u64 > limit {
        return Err(too_large(limit));
    }
    Ok(())
}

/// Opens a plain file that holds at most `limit` bytes, for who reads it piece by piece, and tells how many it
/// holds now.
///
/// # Errors
/// If it cannot be opened, is no plain file or is larger.
pub fn open(path: &Path, limit: u64) -> io::Result<(File, u64)> {
    // NONBLOCK: opening a pipe that nobody writes to would wait; plain files do not know it.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_plain());
    }
    if metadata.len() > limit {
        return Err(too_large(limit));
    }
    Ok((file, metadata.len()))
}

/// Writes a file beside its place, to the disk, and renames it: nobody ever sees half of one, also after a power cut. A link is
/// followed, also one that leads to nothing yet; permissions stay as they were.
///
/// # Errors
/// If it cannot be written, or something else than a plain file is there; what was there before is there still.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = &target(path);
    let there = fs::metadata(path).ok();
    if there.as_ref().is_some_and(|there| !there.is_file()) {
        return Err(not_plain());
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let write = || {
        let mut file = File::create(&partial)?;
        if let Some(there) = &there {
            file.set_permissions(there.permissions())?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&partial); // what there is of it
    })
}

/// Where a path leads to.
fn target(path: &Path) -> PathBuf {
    let found = fs::canonicalize(path).ok();
    // a link to what is not there yet
    let named = || Some(path.parent()?.join(fs::read_link(path).ok()?));
    found.or_else(named).unwrap_or_else(|| path.to_owned())
}

fn not_plain() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        "not a plain file (a folder, pipe or device)",
    )
}

/// The error of a file that holds more than `limit` bytes.
#[must_use]
pub fn too_large(limit: u64) -> io::Error {
    io::Error::new(
        ErrorKind::FileTooLarge,
        format!("larger than {limit} bytes"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn refusal(path: &Path) -> String {
        read(path, 100).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, [7; 100]).unwrap();
        let mut bytes = vec![1, 2, 3];
        read_into(&path, 100, &mut bytes).unwrap();
        assert_eq!(bytes, [7; 100]);
        fs::write(&path, [7; 101]).unwrap();
        assert_eq!(refusal(&path), "larger than 100 bytes");
    }

    #[test]
    fn a_file_that_hides_its_size_is_bounded_too() {
        assert_eq!(
            refusal(Path::new("/proc/self/maps")),
            "larger than 100 bytes"
        );
    }

    #[test]
    fn a_file_takes_the_place_of_another_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "two");
        assert!(replace(folder.path(), b"three").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!folder.path().with_extension("partial").exists());
    }

    #[test]
    fn a_link_is_written_through_and_a_pipe_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [path, link, pipe] = ["f", "link", "pipe"].map(|name| folder.path().join(name));
        fs::write(&path, "one").unwrap();
        std::os::unix::fs::symlink("f", &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "two");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        replace(&link, b"three").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        replace(&link, b"four").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "four");
        assert!(link.is_symlink());
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let error = replace(&pipe, b"three").unwrap_err().to_string();
        assert!(error.contains("not a plain file"), "{error}");
        assert!(!fs::metadata(&pipe).unwrap().is_file());
    }

    #[test]
    fn a_text_is_utf_8() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "é").unwrap();
        assert_eq!(read_text(&path, 100).unwrap(), "é");
        fs::write(&path, b"ab\xff").unwrap();
        let error = read_text(&path, 100).unwrap_err().to_string();
        assert_eq!(error, "not UTF-8 at byte 2");
    }

    #[test]
    fn what_may_never_end_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let error = refusal(path);
            assert!(error.contains("not a plain file"), "{error}");
        }
    }
}
