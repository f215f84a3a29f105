//! Where a model comes from.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use reqwest::Url;

use super::download::Download;

/// Bytes that are read of a file at once.
const CHUNK: usize = 1024 * 1024;

/// Longest name that is taken over from the source.
const NAME_MAX: usize = 128;

/// A file, or what a web server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// On this machine.
    File(PathBuf),
    /// `http://` or `https://`.
    Web(Url),
}

impl Source {
    /// Reads what the operator has written.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("http" | "https", _)) => Url::parse(text).map(Self::Web).map_err(|e| format!("no usable URL: {e}")),
            Some((scheme, _)) => {
                Err(format!("{scheme}:// is no way to fetch a model; write http://, https:// or a path"))
            }
            None => Ok(Self::File(text.into())),
        }
    }

    /// Whether somebody on the way could exchange the content.
    pub fn is_open_to_others(&self) -> bool {
        matches!(self, Self::Web(url) if url.scheme() == "http")
    }

    /// The name that the file has there, if it is one that a model can have here.
    pub fn file_name(&self) -> Option<String> {
        let name = match self {
            Self::File(path) => path.file_name()?.to_str()?,
            Self::Web(url) => url.path_segments()?.next_back()?,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let usable = name.len() <= NAME_MAX && name.chars().all(plain) && !name.starts_with('.');
        (usable && Path::new(name).extension().is_some_and(|e| e == "gguf")).then(|| name.to_owned())
    }

    /// Opens it.
    pub async fn open(&self) -> anyhow::Result<Content> {
        match self {
            Self::Web(url) => Ok(Content::Web(Box::new(Download::start(url.clone()).await?))),
            Self::File(path) => {
                let shown = path.display();
                let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
                let metadata = file.metadata().with_context(|| format!("cannot open {shown}"))?;
                if !metadata.is_file() {
                    return Err(anyhow!("{shown} is not a regular file"));
                }
                Ok(Content::File { file, size: metadata.len(), buffer: vec![0; CHUNK] })
            }
        }
    }
}

/// What is being read.
pub enum Content {
    /// Of a file.
    File {
        /// Open.
        file: File,
        /// Its size in bytes when it was opened.
        size: u64,
        /// Holds what was read last.
        buffer: Vec<u8>,
    },
    /// Of a web server.
    Web(Box<Download>),
}

impl Content {
    /// Its size in bytes, where the source tells.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File { size, .. } => Some(*size),
            Self::Web(download) => download.size(),
        }
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        match self {
            Self::Web(download) => download.next().await,
            Self::File { file, buffer, .. } => {
                // A signal is looked at between two reads.
                tokio::task::yield_now().await;
                let read = file.read(buffer).context("cannot read the file")?;
                Ok((read > 0).then(|| Bytes::copy_from_slice(&buffer[..read])))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_over_names_that_are_plain() {
        for (source, name) in [
            ("/tmp/SmolLM2-135M.Q4_1.gguf", Some("SmolLM2-135M.Q4_1.gguf")),
            ("https://models.example/a/b/m.gguf?download=true#x", Some("m.gguf")),
            ("https://models.example/a%20b.gguf", None),
            ("https://models.example/", None),
            ("model.bin", None),
            (".gguf", None),
            ("a b.gguf", None),
        ] {
            assert_eq!(Source::parse(source).unwrap().file_name().as_deref(), name, "{source}");
        }
    }

    #[test]
    fn only_known_ways() {
        assert!(Source::parse("ftp://x/m.gguf").unwrap_err().contains("ftp://"));
        assert!(Source::parse("https://").is_err());
        assert!(Source::parse("http://x/m.gguf").unwrap().is_open_to_others());
        assert!(!Source::parse("https://x/m.gguf").unwrap().is_open_to_others());
    }
}
