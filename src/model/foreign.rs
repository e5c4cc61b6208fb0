//! What a file is that we do not read, told by how it begins, so that a message can say what to do instead.

/// How a kind of file begins, at which byte, and what it is.
const KINDS: [(usize, &[u8], &str); 14] = [
    (0, b"\x1f\x8b", "compressed (gzip); unpack it first"),
    (0, b"BZh", "compressed (bzip2); unpack it first"),
    (0, b"\xfd7zXZ\0", "compressed (xz); unpack it first"),
    (
        0,
        b"\x28\xb5\x2f\xfd",
        "compressed (Zstandard); unpack it first",
    ),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (0, b"PK\x03\x04", "a zip archive; unpack it first"),
    (
        0,
        b"version https://git-lfs",
        "a pointer of Git LFS in place of the file; fetch the file itself by `git lfs pull`",
    ),
    (0, b"<!doctype html", WEB_PAGE),
    (0, b"<html", WEB_PAGE),
    (
        0,
        b"\x89HDF\r\n",
        "an HDF5 file (Keras); export it as ONNX, with tf2onnx for instance",
    ),
    (
        4,
        b"TFL3",
        "a TensorFlow Lite file; export the network as ONNX instead",
    ),
    (0, b"\xff\xd8\xff", PICTURE),
    (0, b"\x89PNG\r\n", PICTURE),
    (8, b"WEBPVP8", "a picture (WebP); convert it to JPEG or PNG"),
];

const WEB_PAGE: &str = "a web page, perhaps that of the file; download the file itself";

const PICTURE: &str =
    "a picture; wanted is a network, a folder of pictures or a tar archive of one";

/// What `bytes`, the front of a file, are known as, with what to do about it.
#[must_use]
pub fn kind(bytes: &[u8]) -> Option<&'static str> {
    let begins = |(at, with, _): &&(usize, &[u8], &str)| {
        let there = bytes.get(*at..*at + with.len());
        there.is_some_and(|there| there.eq_ignore_ascii_case(with))
    };
    KINDS.iter().find(begins).map(|(.., what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_told_by_its_first_bytes() {
        let said = |bytes: &[u8]| kind(bytes).unwrap_or_default();
        assert!(said(b"\x1f\x8b\x08\0").starts_with("compressed (gzip)"));
        assert!(said(b"<HTML><body>").contains("web page"));
        assert!(said(b"\x1c\0\0\0TFL3").contains("TensorFlow Lite"));
        assert!(said(b"version https://git-lfs.github.com/spec/v1").contains("git lfs pull"));
        assert_eq!(kind(b""), None);
        assert_eq!(kind(b"\x08\x08\x12\x07pytorch"), None);
    }
}
