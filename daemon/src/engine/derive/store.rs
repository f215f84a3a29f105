//! The folder of derived models: pairs of a model and the document that vouches for it.
//!
//! The document comes first and the model last, each by its rename: at any moment a pair is whole, or lacks its model, or is
//! unfinished, and [`clean`] removes all but the first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::partial::{SUFFIX, remove_abandoned, write_whole};
use super::{DeriveError, Derived, FileType};
use crate::job::Precision;
use crate::plan::Bytes;

/// Longest document that is read; ours have half a kilobyte.
const DOCUMENT_MAX: u64 = 16 * 1024;

/// Digits of the source's SHA-256 in a name.
const DIGITS: usize = 16;

/// Where llama.cpp comes from. A test holds it against the manifest.
pub(in crate::engine) const LLAMA: &str = "llama-cpp-sys-2 0.1.161";

const MODEL: &str = ".gguf";
const DOCUMENT: &str = ".json";

/// What is known of a derived model; stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// SHA-256 of the file that it was made from, lower-case hex.
    pub source_sha256: String,
    /// The rung that it was made for.
    pub precision: Precision,
    /// What it is.
    pub file_type: FileType,
    /// Its SHA-256, lower-case hex.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// Version of promptd that made it.
    pub promptd: String,
    /// Build of llama.cpp that made it.
    pub llama: String,
}

impl Origin {
    /// Of a model that this build makes.
    pub(super) fn new(source_sha256: &str, precision: Precision, made: &Derived) -> Self {
        Self {
            source_sha256: source_sha256.to_owned(),
            precision,
            file_type: made.file_type,
            sha256: made.sha256.clone(),
            size: made.size,
            promptd: env!("CARGO_PKG_VERSION").to_owned(),
            llama: LLAMA.to_owned(),
        }
    }

    /// Writes the document of a model.
    pub(super) fn write(&self, model: &Path) -> Result<(), DeriveError> {
        let path = model.with_extension("json");
        let failed = |error: serde_json::Error| DeriveError::File { path: path.clone(), source: error.into() };
        write_whole(&path, &serde_json::to_vec_pretty(self).map_err(failed)?)
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.take(DOCUMENT_MAX).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// Where the derived model lies or will lie.
pub(super) fn model_path(folder: &Path, source_sha256: &str, precision: Precision) -> PathBuf {
    let digits = source_sha256.get(..DIGITS).unwrap_or(source_sha256);
    folder.join(format!("{digits}-{precision}{MODEL}"))
}

/// The model that was derived from this source, if it is there in whole. Its hash is not computed here: open it with
/// [`Derived::sha256`] as the expected one.
pub fn find(folder: &Path, source_sha256: &str, precision: Precision) -> Option<Derived> {
    let path = model_path(folder, source_sha256, precision);
    let origin = whole(&path)?;
    // Names have only some digits of the hash.
    let is_it = origin.source_sha256 == source_sha256 && origin.precision == precision;
    is_it.then_some(Derived { path, sha256: origin.sha256, size: origin.size, file_type: origin.file_type })
}

/// The document of a model that has its size.
fn whole(model: &Path) -> Option<Origin> {
    let origin = Origin::read(&model.with_extension("json")).ok()?;
    let size = fs::symlink_metadata(model).ok().filter(fs::Metadata::is_file)?.len();
    (size == origin.size).then_some(origin)
}

/// Removes what a crash has left: unfinished files, models without a document, documents without a model, models that are
/// shorter or longer than they should be; and whole ones that `keep` does not want. What another process writes just now,
/// and files that are not ours, stay. Gives what was removed.
pub fn clean(folder: &Path, keep: impl Fn(&Origin) -> bool) -> Result<Vec<PathBuf>, DeriveError> {
    let mut removed = Vec::new();
    for stem in stems(folder)? {
        let of_stem = |end: &str| folder.join(format!("{stem}{end}"));
        let unfinished = [MODEL, DOCUMENT].map(|end| of_stem(&format!("{end}{SUFFIX}")));
        let mut busy = false;
        for path in unfinished {
            let existed = path.exists();
            let free = remove_abandoned(&path).map_err(|source| DeriveError::File { path: path.clone(), source })?;
            busy |= !free;
            removed.extend((existed && free).then_some(path));
        }
        let model = of_stem(MODEL);
        if !busy && !whole(&model).is_some_and(|origin| keep(&origin)) {
            removed.extend(remove(&model)?);
        }
    }
    Ok(removed)
}

/// Removes a model and its document, the document first: a model alone is never taken for whole.
pub(super) fn remove(model: &Path) -> Result<Vec<PathBuf>, DeriveError> {
    let mut removed = Vec::new();
    for path in [model.with_extension("json"), model.to_owned()] {
        match fs::remove_file(&path) {
            Ok(()) => removed.push(path),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(DeriveError::File { path, source }),
        }
    }
    Ok(removed)
}

/// What the models in a folder have together.
pub(super) fn used(folder: &Path) -> Result<Bytes, DeriveError> {
    let failed = |source| DeriveError::File { path: folder.to_owned(), source };
    let mut used = 0_u64;
    for entry in fs::read_dir(folder).map_err(failed)? {
        // A file may go while the folder is read.
        let size = entry.map_err(failed)?.metadata().map_or(0, |metadata| metadata.len());
        used = used.saturating_add(size);
    }
    Ok(Bytes(used))
}

/// The names without their ends of everything in the folder that is ours.
fn stems(folder: &Path) -> Result<BTreeSet<String>, DeriveError> {
    let failed = |source| DeriveError::File { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(failed)?,
    };
    let mut stems = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        stems.extend(name.to_str().and_then(stem_of).map(str::to_owned));
    }
    Ok(stems)
}

/// `0123456789abcdef-int8` of a file that has such a name and one of our ends.
fn stem_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(SUFFIX).unwrap_or(name);
    let stem = name.strip_suffix(MODEL).or_else(|| name.strip_suffix(DOCUMENT))?;
    let (digits, precision) = stem.split_once('-')?;
    let is_hash = digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_hash && Precision::parse(precision).is_some()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::derive::partial::{PRIVATE, Partial};

    const SOURCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    /// A pair with a model of four bytes.
    fn pair(folder: &Path, precision: Precision) -> PathBuf {
        let path = model_path(folder, SOURCE, precision);
        let made = Derived { path: path.clone(), sha256: "ff".repeat(32), size: 4, file_type: FileType::Q8_0 };
        Origin::new(SOURCE, precision, &made).write(&path).unwrap();
        fs::write(&path, "GGUF").unwrap();
        path
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn finds_a_whole_pair_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = pair(folder.path(), Precision::Int8);
        let found = find(folder.path(), SOURCE, Precision::Int8).unwrap();
        assert_eq!((&found.path, found.size, found.file_type), (&path, 4, FileType::Q8_0));
        assert_eq!(find(folder.path(), SOURCE, Precision::Int4), None);
        // The same sixteen digits, another file.
        assert_eq!(find(folder.path(), &format!("{}{}", &SOURCE[..16], "0".repeat(48)), Precision::Int8), None);
        fs::write(&path, "GGU").unwrap();
        assert_eq!(find(folder.path(), SOURCE, Precision::Int8), None, "truncated");
    }

    #[test]
    fn cleans_what_a_crash_at_any_point_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let whole = pair(folder.path(), Precision::Int8);
        fs::write(folder.path().join("notes.txt"), "not ours").unwrap();
        fs::write(folder.path().join("other-int8.gguf"), "not ours").unwrap();
        let before = names(folder.path());
        assert_eq!(clean(folder.path(), |_| true).unwrap(), Vec::<PathBuf>::new());
        let broken = |name: &str| {
            let path = model_path(folder.path(), &SOURCE.replace('0', "1"), Precision::Int4);
            let path = path.with_extension(name);
            fs::write(&path, "{}").unwrap();
            path
        };
        for left in [
            vec!["gguf.partial"],
            vec!["json.partial", "gguf.partial"],
            vec!["json", "gguf.partial"],
            vec!["gguf"],
            vec!["json"],
        ] {
            let mut paths: Vec<PathBuf> = left.iter().map(|name| broken(name)).collect();
            let mut removed = clean(folder.path(), |_| true).unwrap();
            paths.sort();
            removed.sort();
            assert_eq!(removed, paths);
            assert_eq!(names(folder.path()), before);
        }
        fs::write(&whole, "GGU").unwrap();
        assert_eq!(clean(folder.path(), |_| true).unwrap(), [whole.with_extension("json"), whole], "truncated");
        assert_eq!(names(folder.path()), ["notes.txt", "other-int8.gguf"]);
    }

    #[test]
    fn leaves_what_is_being_written_and_removes_what_nobody_wants() {
        let folder = tempfile::tempdir().unwrap();
        let path = pair(folder.path(), Precision::Int8);
        fs::remove_file(&path).unwrap();
        let partial = Partial::create(&path, PRIVATE).unwrap();
        assert_eq!(clean(folder.path(), |_| true).unwrap(), Vec::<PathBuf>::new(), "its document is there already");
        partial.rename().unwrap();
        fs::write(&path, "GGUF").unwrap();
        assert_eq!(clean(folder.path(), |_| true).unwrap(), Vec::<PathBuf>::new());
        let removed = clean(folder.path(), |origin| origin.source_sha256 != SOURCE).unwrap();
        assert_eq!(removed.len(), 2);
        assert_eq!(clean(&folder.path().join("missing"), |_| true).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_manifest_pins_the_build_that_documents_name() {
        let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
        let (name, version) = LLAMA.split_once(' ').unwrap();
        assert!(manifest.contains(&format!("{name} = {{ version = \"={version}\"")), "{LLAMA}");
    }
}
