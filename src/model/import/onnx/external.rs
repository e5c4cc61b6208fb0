//! Tensors that an ONNX file keeps in files beside it. A file may name only plain files in its own folder or below,
//! reached without a link that leads out, and no more bytes are read than its tensors need.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{GraphProto, TensorProto};

use super::error::{OnnxError, shown};
use crate::plain_file;

/// As for the file itself.
const MOST: u64 = super::LARGEST_FILE;

/// Reads what the tensors of `graph` keep elsewhere into their own data.
///
/// # Errors
/// If a tensor names a file that it may not, or that does not hold what it says.
pub fn fetch(model: &Path, graph: &mut GraphProto) -> Result<(), OnnxError> {
    let mut left = MOST;
    for node in &mut graph.node {
        for tensor in node.attribute.iter_mut().filter_map(|a| a.t.as_mut()) {
            fetch_one(model, tensor, &mut left)?;
        }
    }
    for tensor in &mut graph.initializer {
        fetch_one(model, tensor, &mut left)?;
    }
    Ok(())
}

fn fetch_one(model: &Path, tensor: &mut TensorProto, left: &mut u64) -> Result<(), OnnxError> {
    if tensor.data_location != Some(DataLocation::External as i32) {
        return Ok(());
    }
    let bytes = read(model, tensor, left).map_err(|r| OnnxError::tensor(&tensor.name, r))?;
    tensor.raw_data = bytes;
    tensor.external_data.clear();
    tensor.data_location = None;
    Ok(())
}

fn read(model: &Path, tensor: &TensorProto, left: &mut u64) -> Result<Vec<u8>, String> {
    let entry = |key: &str| {
        let found = tensor.external_data.iter().find(|e| e.key == key);
        found.map(|e| e.value.as_str())
    };
    let number = |key: &str| {
        let parse = |v: &str| {
            v.parse::<u64>()
                .map_err(|_| format!("its {key} {} is no number", shown(v)))
        };
        entry(key).map(parse).transpose()
    };
    let location = entry("location").ok_or("it is kept elsewhere, and not said where")?;
    let path = within(model, location)?;
    let unreadable = |error: std::io::Error| format!("its data in {}: {error}", shown(location));
    let (mut file, size) = plain_file::open(&path, MOST).map_err(unreadable)?;
    let offset = number("offset")?.unwrap_or(0);
    let rest = size.saturating_sub(offset);
    let length = number("length")?.unwrap_or(rest);
    if length > rest || offset > size {
        return Err(format!(
            "its data, {length} bytes from {offset}, lies beyond the {size} bytes of {}",
            shown(location)
        ));
    }
    *left = left
        .checked_sub(length)
        .ok_or("all tensors together are too large")?;
    slice(&mut file, offset, length).map_err(unreadable)
}

fn slice(file: &mut File, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    let expected = usize::try_from(length).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(expected)?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file that `location` names, if that lies in the model's folder.
fn within(model: &Path, location: &str) -> Result<PathBuf, String> {
    let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    let outside = || {
        let place = shown(location);
        format!(
            "its data in {place:?} is not in the model's own folder; put the file there and name it without a path"
        )
    };
    if !Path::new(location).components().all(plain) || location.contains('\0') {
        return Err(outside());
    }
    let folder = model.parent().filter(|f| !f.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let real = |path: &Path| {
        let missing = |error| format!("its data in {}: {error}", shown(location));
        path.canonicalize().map_err(missing)
    };
    let (folder, path) = (real(folder)?, real(&folder.join(location))?);
    if path.starts_with(folder) {
        Ok(path)
    } else {
        Err(outside())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tract_onnx::pb::StringStringEntryProto;

    fn external(entries: &[(&str, &str)]) -> TensorProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: (*key).into(),
            value: (*value).into(),
        };
        TensorProto {
            name: "w".into(),
            external_data: entries.iter().map(entry).collect(),
            data_location: Some(DataLocation::External as i32),
            ..TensorProto::default()
        }
    }

    fn attempt(model: &Path, entries: &[(&str, &str)]) -> Result<Vec<u8>, String> {
        let mut tensor = external(entries);
        fetch_one(model, &mut tensor, &mut 1000).map_err(|e| e.to_string())?;
        assert_eq!(tensor.data_location, None);
        Ok(tensor.raw_data)
    }

    #[test]
    fn a_piece_of_a_file_beside_the_model_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.onnx");
        fs::write(folder.path().join("m.data"), b"0123456789").unwrap();
        let read = |entries: &[(&str, &str)]| attempt(&model, entries);
        assert_eq!(read(&[("location", "m.data")]).unwrap(), b"0123456789");
        let piece = [("location", "./m.data"), ("offset", "3"), ("length", "2")];
        assert_eq!(read(&piece).unwrap(), b"34");
    }

    #[test]
    fn files_elsewhere_and_beyond_their_end_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(folder.path().join("secret"), b"secret").unwrap();
        fs::write(inner.join("large"), vec![0; 2000]).unwrap();
        symlink("../secret", inner.join("link")).unwrap();
        symlink("..", inner.join("up")).unwrap();
        let model = inner.join("m.onnx");
        let absolute = folder.path().join("secret");
        let absolute = absolute.to_str().unwrap();
        for location in [
            "../secret",
            "link",
            "up/secret",
            "/dev/zero",
            absolute,
            "inner/../../secret",
        ] {
            let error = attempt(&model, &[("location", location)]).unwrap_err();
            assert!(error.contains("own folder"), "{location}: {error}");
            assert!(error.starts_with("tensor w: "), "{error}");
        }
        let refused = |entries: &[(&str, &str)]| attempt(&model, entries).unwrap_err();
        assert!(refused(&[("location", "absent")]).contains("absent"));
        assert!(refused(&[("location", ".")]).contains("plain file"));
        assert!(refused(&[("location", "large")]).contains("too large"));
        assert!(refused(&[]).contains("not said where"));
        let beyond = |offset, length| {
            refused(&[
                ("location", "large"),
                ("offset", offset),
                ("length", length),
            ])
        };
        assert!(beyond("1999", "2").contains("beyond"));
        assert!(beyond("2001", "0").contains("beyond"));
        assert!(beyond("18446744073709551615", "18446744073709551615").contains("beyond"));
        assert!(beyond("-1", "2").contains("no number"));
    }
}
