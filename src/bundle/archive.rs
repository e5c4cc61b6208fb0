//! The tar archive itself: where each entry lies, and writing one whose bytes depend on nothing but
//! its contents.

use std::io::Cursor;
use std::ops::Range;

use super::check::Reason;

/// Entries in an archive: a ResNet152 has 155 layers of three tensors.
const MAX_ENTRIES: usize = 4096;
/// 1 January 1980: some programs dislike times before.
const MTIME: u64 = 315_532_800;

/// One file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub range: Range<usize>,
}

/// Finds the entries without reading their contents. Only plain files are accepted.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>, Reason> {
    if bytes.len() < 512 || &bytes[257..262] != b"ustar" {
        return Err(Reason::Foreign("it is no tar archive".into()));
    }
    let damaged = |e: std::io::Error| Reason::Damaged(e.to_string());
    let mut archive = tar::Archive::new(Cursor::new(bytes));
    let mut found: Vec<Entry> = Vec::new();
    // raw: entries that would name or enlarge the next one are refused, not obeyed
    for entry in archive.entries_with_seek().map_err(damaged)?.raw(true) {
        let entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() {
            return Err(Reason::Refused(format!("{name:?} is no plain file")));
        }
        let start = usize::try_from(entry.raw_file_position());
        let size = usize::try_from(entry.header().size().map_err(damaged)?);
        let range = start
            .ok()
            .zip(size.ok())
            .and_then(|(s, n)| Some(s..s.checked_add(n)?));
        let Some(range) = range.filter(|r| r.end <= bytes.len()) else {
            return Err(Reason::Damaged(format!(
                "{name} ends behind the end of the file"
            )));
        };
        if found.iter().any(|e| e.name == name) {
            return Err(Reason::Refused(format!("{name} is there twice")));
        }
        if found.len() == MAX_ENTRIES {
            return Err(Reason::Refused(format!("more than {MAX_ENTRIES} entries")));
        }
        found.push(Entry { name, range });
    }
    Ok(found)
}

/// Writes an archive of `contents` in their order.
pub fn write(contents: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(MTIME);
        // memory cannot fail to be written; a name too long is refused when the result is read back
        builder.append_data(&mut header, name, &data[..]).ok();
    }
    builder.into_inner().unwrap_or_default()
}
