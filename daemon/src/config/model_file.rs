//! `[[model.files]]`: the files of a model.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::section::Section;
use super::value;

/// Room for each precision, and for several within one: `q4_K_M` beside `q5_K_M`.
const FILES_MAX: usize = 8;

/// A GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it is. A relative path in a file has been put behind the folder of that file.
    pub path: PathBuf,
    /// What its content must hash to.
    pub sha256: Option<[u8; 32]>,
}

impl ModelFile {
    /// Reads all of them, at least one. None if not one can be used.
    pub(super) fn read_all(section: &mut Section<'_, '_, '_>) -> Option<Vec<Self>> {
        if !section.is_set("files") {
            section.problem("files", "is missing: write files = [{ path = \"/path/to/model.gguf\" }]");
        }
        if let Some(count) = section.array_len("files").filter(|count| !(1..=FILES_MAX).contains(count)) {
            section.blame_key("files", format!("there are {count} files; allowed are 1 to {FILES_MAX}"));
        }
        let mut earlier = BTreeSet::new();
        let files = section.tables("files", |section| Self::read(section, &mut earlier));
        let files: Vec<Self> = files.into_iter().flatten().collect();
        (!files.is_empty()).then_some(files)
    }

    fn read(section: &mut Section<'_, '_, '_>, earlier: &mut BTreeSet<PathBuf>) -> Option<Self> {
        let folder = section.folder_of("path");
        let path = section.required("path", |value| {
            let path = value::path(value, folder)?;
            if earlier.insert(path.clone()) { Ok(path) } else { Err("is the path of an earlier file".to_owned()) }
        });
        let sha256 = section.optional("sha256", |value| sha256(value::text(value)?));
        Some(Self { path: path?, sha256 })
    }
}

/// Reads a hash as sha256sum prints it.
pub fn sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "must be 64 hexadecimal digits".to_owned();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| wrong())?;
    }
    Ok(digest)
}
