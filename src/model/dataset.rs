//! Labelled pictures: a folder of folders or a tar archive of one, each folder a class (torchvision's
//! `ImageFolder`). Pictures are read one at a time; only their places are kept.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::ModelError;
use super::foreign;
use super::import::onnx::shown;
use crate::plain_file;

/// No photograph is larger.
const MAX_PICTURE: u64 = 64 << 20;
/// How much of a file tells what it is.
const FRONT: u64 = 32;
/// Of findings so many are named.
const NAMED: usize = 5;
/// Formats of pictures that are not read.
const OTHER_FORMATS: [&str; 11] = [
    "webp", "gif", "bmp", "tif", "tiff", "heic", "heif", "avif", "jxl", "jp2", "ppm",
];
/// More pictures than ImageNet has are a mistake.
const MAX_PICTURES: usize = 2_000_000;

#[derive(Debug)]
pub struct Dataset {
    pub path: PathBuf,
    items: Vec<Item>,
    /// Where a folder is read: those in it, whether there are pictures in them or not.
    folders: BTreeSet<String>,
    /// One of those that has folders in it.
    nested: Option<String>,
    /// Pictures of formats that are not read.
    others: Vec<PathBuf>,
    archive: Option<File>,
}

#[derive(Debug)]
struct Item {
    /// Empty for a picture that lies in no class's folder.
    class: String,
    name: PathBuf,
    /// In the archive, where there is one.
    offset: u64,
    size: u64,
}

impl Dataset {
    /// # Errors
    /// If there is no such folder or archive, or no picture in it.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::find(path, false)
    }

    /// As [`Self::open`], with the pictures that lie beside the classes' folders too; a single picture will do.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_loose(path: &Path) -> Result<Self, ModelError> {
        Self::find(path, true)
    }

    fn find(path: &Path, loose: bool) -> Result<Self, ModelError> {
        let read = |error| ModelError::Read {
            path: path.to_owned(),
            error,
        };
        let mut set = Self {
            path: path.to_owned(),
            items: Vec::new(),
            folders: BTreeSet::new(),
            nested: None,
            others: Vec::new(),
            archive: None,
        };
        let found = fs::metadata(path).map_err(read)?;
        if found.is_dir() {
            set.folder(path, loose).map_err(read)?;
        } else if loose && is_picture(path) {
            set.add(path.to_owned(), String::new(), 0, found.len());
        } else {
            let (file, length) = plain_file::open(path, u64::MAX).map_err(read)?;
            let mut front = vec![0; usize::try_from(length.min(FRONT)).unwrap_or(0)];
            file.read_exact_at(&mut front, 0).map_err(read)?;
            if let Some(kind) = foreign::kind(&front) {
                let path = set.path;
                return Err(ModelError::Foreign { path, kind });
            }
            if let Err(error) = set.tar(&file, loose) {
                let error = shown(&error.to_string());
                return Err(set.error(format!("it cannot be read as a tar archive: {error}")));
            }
            set.archive = Some(file);
        }
        set.items.sort_by(|a, b| a.name.cmp(&b.name));
        set.check(loose)?;
        Ok(set)
    }

    /// There must be pictures, nearly all of them readable.
    fn check(&self, loose: bool) -> Result<(), ModelError> {
        // cameras and telephones leave the same picture as a JPEG beside some
        let read: HashSet<PathBuf> = self
            .items
            .iter()
            .map(|i| i.name.with_extension(""))
            .collect();
        let others = self.others.iter().map(|o| o.with_extension(""));
        let (found, others) = (
            self.items.len(),
            others.filter(|o| !read.contains(o)).count(),
        );
        let formats = format!("pictures of other formats: {others}; convert them to JPEG or PNG");
        if found == 0 {
            let where_ = if loose {
                ""
            } else {
                " in folders, one per class"
            };
            return Err(self.error(match (others, &self.nested) {
                (1.., _) => format!("no JPEG or PNG{where_}, but {formats}"),
                (_, Some(folder)) => format!(
                    "no JPEG or PNG{where_}, but folders in folders: if its folders are the classes, give {}",
                    self.path.join(folder).display()
                ),
                _ => format!("no JPEG or PNG{where_}"),
            }));
        }
        if others * 10 > found + others {
            return Err(self.error(format!("{found} JPEG and PNG, but {formats}")));
        }
        if others > 0 {
            log::warn!(
                "{}: pictures that are neither JPEG nor PNG are left out: {others}",
                self.path.display()
            );
        }
        Ok(())
    }

    fn error(&self, reason: String) -> ModelError {
        ModelError::Dataset {
            path: self.path.clone(),
            reason,
        }
    }

    fn folder(&mut self, root: &Path, loose: bool) -> std::io::Result<()> {
        for class in fs::read_dir(root)? {
            let class = class?.path();
            let name = last(&class);
            if name.starts_with('.') {
                continue; // thumbnails, version control
            }
            if !class.is_dir() {
                if loose {
                    self.file(class, "");
                }
                continue;
            }
            for file in fs::read_dir(&class)? {
                let file = file?;
                if file.file_type()?.is_dir() {
                    self.nested.get_or_insert_with(|| name.clone());
                }
                self.file(file.path(), &name);
            }
            self.folders.insert(name);
        }
        Ok(())
    }

    /// A link is what it leads to; one that leads nowhere is found out when it is read.
    fn file(&mut self, path: PathBuf, class: &str) {
        let size = fs::metadata(&path).map_or(0, |m| m.len());
        self.add(path, class.to_owned(), 0, size);
    }

    fn tar(&mut self, file: &File, loose: bool) -> std::io::Result<()> {
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            if entry.header().entry_type().is_file() {
                let name = entry.path()?.into_owned();
                let class = name.parent().map(last).unwrap_or_default();
                if loose || !class.is_empty() {
                    self.add(name, class, entry.raw_file_position(), entry.size());
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, name: PathBuf, class: String, offset: u64, size: u64) {
        if has_ending(&name, &OTHER_FORMATS) && self.others.len() < MAX_PICTURES {
            self.others.push(name.clone());
        }
        if is_picture(&name) && self.items.len() < MAX_PICTURES {
            self.items.push(Item {
                class,
                name,
                offset,
                size,
            });
        }
    }

    /// The classes' names in order: those of folders, empty ones too.
    #[must_use]
    pub fn folders(&self) -> Vec<&str> {
        let named = self.items.iter().map(|i| &*i.class);
        let all: BTreeSet<&str> = named
            .chain(self.folders.iter().map(|f| &**f))
            .filter(|f| !f.is_empty())
            .collect();
        all.into_iter().collect()
    }

    /// The folder that picture `index` lies in; nothing where it lies beside them.
    #[must_use]
    pub fn folder_of(&self, index: usize) -> Option<&str> {
        Some(&*self.items[index].class).filter(|class| !class.is_empty())
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[must_use]
    pub fn name(&self, index: usize) -> &Path {
        &self.items[index].name
    }

    /// The bytes of picture `index`.
    ///
    /// # Errors
    /// If they cannot be read, or are more than a photograph has.
    pub fn read(&self, index: usize) -> std::io::Result<Vec<u8>> {
        let item = &self.items[index];
        let Some(archive) = &self.archive else {
            return plain_file::read(&item.name, MAX_PICTURE);
        };
        if item.size > MAX_PICTURE {
            return Err(plain_file::too_large(MAX_PICTURE));
        }
        let mut bytes = vec![0; usize::try_from(item.size).unwrap_or(0)];
        archive.read_exact_at(&mut bytes, item.offset)?;
        Ok(bytes)
    }

    /// `count` pictures spread evenly, hence over all classes, none of them among `without` (ascending).
    #[must_use]
    pub fn spread(&self, count: usize, without: &[usize]) -> Vec<usize> {
        let left: Vec<usize> = (0..self.len())
            .filter(|i| without.binary_search(i).is_err())
            .collect();
        let count = count.min(left.len());
        (0..count).map(|i| left[i * left.len() / count]).collect()
    }

    /// The class of every picture as an index into `labels`: by name where folders are named like
    /// labels, else, where there are as many folders as labels, in the folders' order.
    ///
    /// # Errors
    /// If neither holds, or some folders are named like labels and others not.
    pub fn classes(&self, labels: &[String]) -> Result<Vec<usize>, ModelError> {
        let folders: Vec<&str> = self
            .items
            .iter()
            .map(|i| &*i.class)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        if folders.first() == Some(&"") {
            return Err(self.error("some pictures lie in no class's folder".into()));
        }
        let by_name = |folder: &str| labels.iter().position(|l| l == folder);
        let unknown = folders.iter().copied().filter(|f| by_name(f).is_none());
        let unknown: Vec<&str> = unknown.collect();
        let class_of: Box<dyn Fn(&str) -> Option<usize>> = if unknown.is_empty() {
            Box::new(by_name)
        } else if unknown.len() < folders.len() {
            let named: Vec<&str> = unknown.iter().copied().take(NAMED).collect();
            return Err(self.error(format!(
                "of {} folders these are named like no label, all others are: {}{}",
                folders.len(),
                named.join(", "),
                if unknown.len() > NAMED { ", ..." } else { "" }
            )));
        } else if folders.len() == labels.len() {
            log::warn!(
                "{}: no folder is named like a label; they are taken in the labels' order, {:?} as {:?} first",
                self.path.display(),
                folders[0],
                labels[0]
            );
            Box::new(|folder| folders.binary_search(&folder).ok())
        } else {
            let (f, l) = (folders.len(), labels.len());
            return Err(self.error(format!(
                "{f} folders for {l} labels; name the folders like the labels"
            )));
        };
        Ok(self
            .items
            .iter()
            .map(|i| class_of(&i.class).unwrap_or_default())
            .collect())
    }
}

fn last(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// By its name, and not a hidden file: cameras' cards have such beside each picture.
fn is_picture(name: &Path) -> bool {
    has_ending(name, &["jpg", "jpeg", "png"])
}

fn has_ending(name: &Path, endings: &[&str]) -> bool {
    let known = |e: &std::ffi::OsStr| endings.iter().any(|known| e.eq_ignore_ascii_case(known));
    !last(name).starts_with('.') && name.extension().is_some_and(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> Dataset {
        let mut set = Dataset {
            path: PathBuf::from("test"),
            items: Vec::new(),
            folders: BTreeSet::new(),
            nested: None,
            others: Vec::new(),
            archive: None,
        };
        for name in names {
            let name = PathBuf::from(name);
            let class = last(name.parent().unwrap());
            set.add(name, class, 0, 1);
        }
        set
    }

    #[test]
    fn only_pictures_in_folders_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "empty", ".cache"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in [
            "a/1.jpg",
            "a/2.JPEG",
            "a/._2.JPEG",
            "b/3.png",
            "b/notes.txt",
            "4.jpg",
            ".cache/5.jpg",
        ] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let link = folder.path().join("b/linked.jpg");
        std::os::unix::fs::symlink("../a/1.jpg", link).unwrap();
        let set = Dataset::open(folder.path()).unwrap();
        assert_eq!(set.len(), 4);
        assert_eq!(set.folders(), ["a", "b", "empty"]);
        let loose = Dataset::open_loose(folder.path()).unwrap();
        assert_eq!((loose.len(), loose.folder_of(0)), (5, None));
        let one = Dataset::open_loose(&folder.path().join("4.jpg")).unwrap();
        assert_eq!(one.read(0).unwrap(), b"x");
    }

    #[test]
    fn classes_follow_names_or_else_order() {
        let set = made(&["x/1.jpg", "y/2.jpg"]);
        let labels = |names: [&str; 2]| names.map(str::to_owned);
        assert_eq!(set.classes(&labels(["y", "x"])).unwrap(), [1, 0]);
        assert_eq!(set.classes(&labels(["cat", "dog"])).unwrap(), [0, 1]);
        assert!(set.classes(&labels(["x", "dog"])[..1]).is_err());
    }

    #[test]
    fn a_folder_with_a_slip_in_its_name_is_named_and_never_another_class() {
        let set = made(&["a/1.jpg", "golf_ball/2.jpg"]);
        let labels = ["golf ball", "a"].map(str::to_owned);
        let error = set.classes(&labels).unwrap_err().to_string();
        assert!(
            error.ends_with("named like no label, all others are: golf_ball"),
            "{error}"
        );
    }

    #[test]
    fn pictures_of_other_formats_are_told_and_only_a_few_go_unused() {
        let names: Vec<String> = (0..9).map(|i| format!("c/{i}.jpg")).collect();
        let mut set = made(&names.iter().map(|n| &**n).collect::<Vec<_>>());
        set.add("c/9.webp".into(), "c".into(), 0, 1);
        set.add("c/9.txt".into(), "c".into(), 0, 1);
        assert!(set.check(false).is_ok());
        // the same picture twice, as telephones leave it
        set.add("c/1.HEIC".into(), "c".into(), 0, 1);
        assert!(set.check(false).is_ok());
        set.add("c/10.HEIC".into(), "c".into(), 0, 1);
        let error = set.check(false).unwrap_err().to_string();
        assert!(
            error.contains("9 JPEG and PNG, but pictures of other formats: 2"),
            "{error}"
        );
    }

    #[test]
    fn what_holds_no_pictures_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Dataset::open(path).unwrap_err().to_string();
        let packed = folder.path().join("set.tar.gz");
        fs::write(&packed, b"\x1f\x8b\x08\0").unwrap();
        assert!(refused(&packed).contains("compressed (gzip); unpack it first"));
        fs::create_dir_all(folder.path().join("train/class")).unwrap();
        assert!(refused(folder.path()).ends_with("/train"));
    }

    #[test]
    fn held_out_pictures_are_never_calibration_pictures() {
        let names: Vec<String> = (0..100).map(|i| format!("c/{i:03}.jpg")).collect();
        let set = made(&names.iter().map(|n| &**n).collect::<Vec<_>>());
        let first = set.spread(60, &[]);
        let second = set.spread(60, &first);
        assert_eq!((first.len(), second.len()), (60, 40));
        assert!(first.iter().all(|i| !second.contains(i)));
        assert_eq!(set.spread(100, &(0..100).collect::<Vec<_>>()), [0usize; 0]);
    }
}
