//! The tar archive itself: walking through one from front to back while everything read is summed up, and
//! writing one whose bytes depend on nothing but its contents.

use std::io::Read;
use std::ops::Range;

use xxhash_rust::xxh3::Xxh3Default;

use super::check::Reason;

/// Entries in an archive: a ResNet152 has 155 layers of three tensors.
const MAX_ENTRIES: usize = 4096;
/// 1 January 1980: some programs dislike times before.
const MTIME: u64 = 315_532_800;
const BLOCK: usize = 512;

/// One file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// Where in the archive its contents lie.
    pub range: Range<u64>,
}

impl Entry {
    /// # Errors
    /// If the size is beyond this machine's memory.
    pub fn size(&self) -> Result<usize, Reason> {
        usize::try_from(self.range.end - self.range.start)
            .map_err(|_| Reason::Refused(format!("{} is too large", self.name)))
    }
}

/// An archive on its way through. Only plain files are accepted, none of them larger than what is left.
pub struct Walk<R> {
    from: R,
    length: u64,
    at: u64,
    /// Where the next header stands.
    next: u64,
    names: Vec<String>,
    hash: Xxh3Default,
}

impl<R: Read> Walk<R> {
    /// `length`: how many bytes `from` has.
    pub fn new(from: R, length: u64) -> Self {
        Self {
            from,
            length,
            at: 0,
            next: 0,
            names: Vec::new(),
            hash: Xxh3Default::new(),
        }
    }

    /// The next entry; what was not read of the one before is passed over. None: the end.
    pub fn next(&mut self) -> Result<Option<Entry>, Reason> {
        self.pass_to(self.next)?;
        if self.at == self.length && self.at > 0 {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let foreign = || Reason::Foreign("it is no tar archive".into());
        if self.length < BLOCK as u64 {
            return Err(foreign());
        }
        self.read(&mut block)?;
        if block == [0; BLOCK] && self.at > BLOCK as u64 {
            return Ok(None);
        }
        if &block[257..262] != b"ustar" {
            let first = self.at == BLOCK as u64;
            let damaged = || Reason::Damaged("a header of its archive is none".into());
            return Err(if first { foreign() } else { damaged() });
        }
        let entry = self.entry(tar::Header::from_byte_slice(&block))?;
        self.next = entry
            .range
            .end
            .next_multiple_of(BLOCK as u64)
            .min(self.length);
        self.names.push(entry.name.clone());
        Ok(Some(entry))
    }

    fn entry(&self, header: &tar::Header) -> Result<Entry, Reason> {
        // the error would quote the bytes, whatever they are
        let damaged = |_| Reason::Damaged("a number in a header of its archive is none".into());
        let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
        let mut unsummed = header.clone();
        unsummed.set_cksum();
        if header.cksum().map_err(damaged)? != unsummed.cksum().map_err(damaged)? {
            return Err(Reason::Damaged(format!(
                "the header of {name:?} is not whole"
            )));
        }
        // entries that would name or enlarge the next one are refused too, not obeyed
        if !header.entry_type().is_file() {
            return Err(Reason::Refused(format!("{name:?} is no plain file")));
        }
        let size = header.size().map_err(damaged)?;
        let end = self.at.checked_add(size).filter(|&end| end <= self.length);
        let Some(end) = end else {
            return Err(Reason::Damaged(format!(
                "{name:?} ends behind the end of the file"
            )));
        };
        if self.names.contains(&name) {
            return Err(Reason::Refused(format!("{name:?} is there twice")));
        }
        if self.names.len() == MAX_ENTRIES {
            return Err(Reason::Refused(format!("more than {MAX_ENTRIES} entries")));
        }
        Ok(Entry {
            name,
            range: self.at..end,
        })
    }

    /// Fills `bytes` and adds them to the sum.
    pub fn read(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        self.read_apart(bytes)?;
        self.hash.update(bytes);
        Ok(())
    }

    /// Fills `bytes` without adding them to the sum.
    pub fn read_apart(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        self.from
            .read_exact(bytes)
            .map_err(|e| Reason::Damaged(format!("byte {} cannot be read: {e}", self.at)))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Adds to the sum.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
    }

    fn pass_to(&mut self, end: u64) -> Result<(), Reason> {
        let mut bytes = [0; 4 * BLOCK];
        while self.at < end {
            let left = usize::try_from(end - self.at).unwrap_or(usize::MAX);
            let length = left.min(bytes.len());
            self.read(&mut bytes[..length])?;
        }
        Ok(())
    }

    /// Reads to the end of the file; the XXH3-128 of all that was added to the sum.
    pub fn finish(mut self) -> Result<String, Reason> {
        self.pass_to(self.length)?;
        Ok(digest(&self.hash))
    }
}

fn digest(hash: &Xxh3Default) -> String {
    format!("{:032x}", hash.digest128())
}

/// The sum of bytes in two parts, as [`Walk::finish`] gives it.
pub fn sum(before: &[u8], after: &[u8]) -> String {
    let mut hash = Xxh3Default::new();
    hash.update(before);
    hash.update(after);
    digest(&hash)
}

/// All entries of an archive in memory.
pub fn entries(bytes: &[u8]) -> Result<Vec<Entry>, Reason> {
    let mut walk = Walk::new(bytes, bytes.len() as u64);
    let mut found = Vec::new();
    while let Some(entry) = walk.next()? {
        found.push(entry);
    }
    Ok(found)
}

/// The contents of an entry of an archive in memory.
pub fn contents<'a>(bytes: &'a [u8], entry: &Entry) -> Option<&'a [u8]> {
    let (start, end) = (entry.range.start, entry.range.end);
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
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
