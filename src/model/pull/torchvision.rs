//! torchvision's ImageNet weights: their names, their files and the size that pictures were resized to for them.

use std::env;
use std::path::{Path, PathBuf};

use super::fetch::{self, Request};
use super::{MAX_WEIGHTS, Weights};
use crate::model::error::ModelError;

/// Another server than PyTorch's, as a URL without the file's name.
const SERVER_VARIABLE: &str = "RESNETD_TORCHVISION_URL";
const SERVER: &str = "https://download.pytorch.org/models";

/// Name, the first digits of the file's SHA-256, which stand in its name, and the shorter side of pictures. The first
/// version (V1) was trained long ago; the second (V2) by a newer recipe.
const KNOWN: [(&str, &str, u32); 17] = [
    ("resnet18-v1", "f37072fd", 256),
    ("resnet34-v1", "b627a593", 256),
    ("resnet50-v1", "0676ba61", 256),
    ("resnet50-v2", "11ad3fa6", 232),
    ("resnet101-v1", "63fe2227", 256),
    ("resnet101-v2", "cd907fc2", 232),
    ("resnet152-v1", "394f9c45", 256),
    ("resnet152-v2", "f82ba261", 232),
    ("resnext50_32x4d-v1", "7cdf4587", 256),
    ("resnext50_32x4d-v2", "1a0047aa", 232),
    ("resnext101_32x8d-v1", "8ba56ff5", 256),
    ("resnext101_32x8d-v2", "110c445d", 232),
    ("resnext101_64x4d-v1", "173b62eb", 232),
    ("wide_resnet50_2-v1", "95faca4d", 256),
    ("wide_resnet50_2-v2", "9ba9bcbe", 232),
    ("wide_resnet101_2-v1", "32ee1156", 256),
    ("wide_resnet101_2-v2", "d733dc28", 232),
];

pub fn weights(name: &str) -> Result<Weights, ModelError> {
    let (name, sum, resize) = find(name)?;
    let network = name.rsplit_once('-').map_or(name, |(network, _)| network);
    let server = env::var(SERVER_VARIABLE).unwrap_or_else(|_| SERVER.into());
    Ok(Weights {
        path: file(&server, &cache()?, &format!("{network}-{sum}.pth"), sum)?,
        config: None,
        resize: Some(resize),
    })
}

/// The file in `cache`, or from `server`; its SHA-256 must begin with `sum` in either.
fn file(server: &str, cache: &Path, name: &str, sum: &str) -> Result<PathBuf, ModelError> {
    let path = cache.join(name);
    if !fetch::holds(&path, sum) {
        let request = Request {
            url: format!("{}/{name}", server.trim_end_matches('/')),
            token: None,
            limit: MAX_WEIGHTS,
        };
        fetch::fetch(&request, cache)?.keep(&path, Some(sum))?;
    }
    Ok(path)
}

/// Where programs keep what they can fetch again (the XDG base directories).
fn cache() -> Result<PathBuf, ModelError> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let stated = env::var_os("XDG_CACHE_HOME").and_then(|path| absolute(path.into()));
    let folder = stated.or_else(|| Some(absolute(env::home_dir()?)?.join(".cache")));
    folder
        .map(|folder| folder.join("resnetd"))
        .ok_or(ModelError::NoCache("XDG_CACHE_HOME"))
}

/// The weights of a name; the newest of a network's name alone.
fn find(name: &str) -> Result<(&'static str, &'static str, u32), ModelError> {
    let wanted =
        |known: &str| known == name || known.rsplit_once('-').is_some_and(|(n, _)| n == name);
    let found = KNOWN.iter().rev().find(|(known, ..)| wanted(known));
    found.copied().ok_or_else(|| ModelError::UnknownWeights {
        name: format!("torchvision/{name}"),
        known: KNOWN.map(|(known, ..)| known).join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fetch::tests::{Answer, serve};
    use super::*;
    use std::fs;

    #[test]
    fn a_network_alone_means_its_newest_weights() {
        assert_eq!(find("resnet50").unwrap().1, "11ad3fa6");
        assert_eq!(find("resnet50-v1").unwrap().1, "0676ba61");
        assert_eq!(find("resnet18").unwrap().1, "f37072fd");
        assert_eq!(find("wide_resnet50_2").unwrap().1, "9ba9bcbe");
        let message = find("resnet51").unwrap_err().to_string();
        assert!(message.contains("torchvision/resnet51") && message.contains("resnet152-v2"));
    }

    #[test]
    fn weights_are_fetched_once_and_their_sum_is_looked_at_each_time() {
        let cache = tempfile::tempdir().unwrap();
        let server = serve(vec![("/models/x.pth", Answer::bytes(b"weights"))]);
        let url = format!("{}/models/", server.url);
        let sum = "9a129038"; // of these seven bytes
        let path = file(&url, cache.path(), "x.pth", sum).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"weights");
        file("http://nowhere.invalid", cache.path(), "x.pth", sum).unwrap();
        fs::write(&path, "damaged").unwrap();
        file(&url, cache.path(), "x.pth", sum).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"weights");
    }

    #[test]
    fn a_wrong_sum_leaves_no_file() {
        let cache = tempfile::tempdir().unwrap();
        let server = serve(vec![("/x.pth", Answer::bytes(b"something else"))]);
        let message = file(&server.url, cache.path(), "x.pth", "9a129038")
            .unwrap_err()
            .to_string();
        assert!(message.contains("9a129038"), "{message}");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }
}
