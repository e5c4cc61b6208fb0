//! Weights of the model hub, by OWNER/NAME. The crate hf-hub knows where its server is (`HF_ENDPOINT`), where files
//! are kept (`HF_HOME`, the same folders that Python's huggingface_hub uses) and the user's token; what lies there
//! already is used without a network. The fetching itself is [`super::fetch`]'s: hf-hub's own has no bound on size or
//! time, trusts the server's headers as file names, and panics where they are strange.

use std::env;
use std::fs;
use std::path::PathBuf;

use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Cache, Repo};

use super::fetch::{self, Fetched, Request};
use super::{MAX_WEIGHTS, Weights};
use crate::model::error::ModelError;
use crate::plain_file;

/// The weights' file, the first that the hub has.
const FILES: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
const CONFIG: &str = "config.json";
const MAX_CONFIG: u64 = 4 << 20;
/// The branch that is fetched, and the name of a version whose server names none.
const BRANCH: &str = "main";

pub fn weights(name: &str) -> Result<Weights, ModelError> {
    if !is_name(name) {
        return Err(ModelError::UnknownWeights {
            name: name.to_owned(),
            known: "torchvision/resnet50-v2 and its siblings".into(),
        });
    }
    if env::var_os("HF_HOME").is_none() && env::home_dir().is_none() {
        return Err(ModelError::NoCache("HF_HOME"));
    }
    let repo = Repo::model(name.to_owned());
    let hub = Hub {
        cache: Cache::from_env(),
        repo,
    };
    Ok(Weights {
        path: hub.weights()?,
        config: hub.config()?,
        resize: None,
    })
}

/// `OWNER/NAME` of plain characters.
fn is_name(name: &str) -> bool {
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        !part.is_empty() && part.len() <= 96 && !part.starts_with('.') && part.chars().all(plain)
    };
    name.split_once('/')
        .is_some_and(|(owner, name)| part(owner) && part(name))
}

fn is_missing(error: &ModelError) -> bool {
    matches!(error, ModelError::Fetch { reason, .. } if reason.contains("404"))
}

struct Hub {
    cache: Cache,
    repo: Repo,
}

impl Hub {
    /// Whichever of the files is here, else the first that the hub has.
    fn weights(&self) -> Result<PathBuf, ModelError> {
        let cached = self.cache.repo(self.repo.clone());
        if let Some(path) = FILES.iter().find_map(|name| cached.get(name)) {
            return Ok(path);
        }
        match self.file(FILES[0], MAX_WEIGHTS) {
            Err(error) if is_missing(&error) => self.file(FILES[1], MAX_WEIGHTS),
            other => other,
        }
    }

    /// The configuration; nothing where the repository has none, now or when the hub was last asked.
    fn config(&self) -> Result<Option<PathBuf>, ModelError> {
        let error = match self.file(CONFIG, MAX_CONFIG) {
            Ok(path) => return Ok(Some(path)),
            Err(error) => error,
        };
        let mark = self.mark_of_absence(CONFIG);
        if is_missing(&error) {
            if let Some(mark) = mark.filter(|mark| !mark.exists())
                && let Err(error) = mark
                    .parent()
                    .map_or(Ok(()), fs::create_dir_all)
                    .and_then(|()| fs::write(&mark, b""))
            {
                log::debug!("{}: {error}", mark.display());
            }
            return Ok(None);
        }
        if mark.is_some_and(|mark| mark.exists()) {
            return Ok(None);
        }
        Err(error)
    }

    /// The empty file that says of another one that the repository does not have it; Python's library writes the same.
    fn mark_of_absence(&self, name: &str) -> Option<PathBuf> {
        let root = self.cache.path().join(self.repo.folder_name());
        let commit = plain_file::read_text(&root.join("refs").join(BRANCH), 64).ok()?;
        let commit = commit.trim();
        let known = is_hex(commit) || commit == BRANCH;
        known.then(|| root.join(".no_exist").join(commit).join(name))
    }

    /// A file of the repository: from the cache, or from the hub.
    fn file(&self, name: &str, limit: u64) -> Result<PathBuf, ModelError> {
        let cached = self.cache.repo(self.repo.clone());
        if let Some(path) = cached.get(name) {
            return Ok(path);
        }
        let api = ApiBuilder::from_env().with_progress(false).build();
        let api = api.map_err(|error| ModelError::Fetch {
            url: name.to_owned(),
            reason: error.to_string(),
        })?;
        let request = Request {
            url: api.repo(self.repo.clone()).url(name),
            token: self.cache.token(),
            limit,
        };
        if env::var("HF_HUB_OFFLINE").is_ok_and(|value| !["", "0"].contains(&&*value)) {
            return Err(ModelError::Fetch {
                url: request.url,
                reason: "HF_HUB_OFFLINE is set, and it is not in the cache".into(),
            });
        }
        let fetched = fetch::fetch(&request, self.cache.path())?;
        let commit = header(&fetched, "x-repo-commit").filter(|commit| is_hex(commit));
        let commit = commit.unwrap_or_else(|| BRANCH.to_owned());
        // of large files the hub states the SHA-256
        let sum = header(&fetched, "x-linked-etag").map(|tag| tag.trim_matches('"').to_owned());
        let sum = sum.filter(|sum| sum.len() == 64 && is_hex(sum));
        let path = cached.pointer_path(&commit).join(name);
        fetched.keep(&path, sum.as_deref())?;
        cached
            .create_ref(&commit)
            .map_err(|error| ModelError::Write {
                path: path.clone(),
                error,
            })?;
        Ok(path)
    }
}

fn header(fetched: &Fetched, name: &str) -> Option<String> {
    let value = fetched.headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_an_owner_and_leads_nowhere_else() {
        assert!(is_name("timm/resnet50.a1_in1k") && is_name("some-body/my_net-2"));
        for name in [
            "resnet50", "a/b/c", "../x", "a/..", "/a", "a/", "a/b?c", "a b/c", "a/.git",
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
