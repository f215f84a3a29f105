//! The files of a configuration, as text.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{ConfigError, Place};

/// Most bytes of all files together: far more than anybody writes, and little to hold and to keep.
pub(super) const TEXT_MAX: usize = 1024 * 1024;

/// The folders with a file for each task and for each pipeline, and the arrays of tables that their keys belong to.
const DEFINITIONS: [(&str, &str); 2] = [("tasks.d", "task"), ("pipelines.d", "pipeline")];

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its content.
    pub(super) text: String,
}

impl Source {
    /// The place of the character that starts at or covers byte `offset`.
    pub(super) fn place(&self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        // An editor does not show a byte order mark.
        let column = before[line_start..].chars().filter(|character| *character != '\u{feff}').count() + 1;
        Place { file: self.path.clone(), line: before.matches('\n').count() + 1, column }
    }

    /// What the file defines and its name, if it lies where definitions do: a `task` or a `pipeline`.
    pub(super) fn definition(&self) -> Option<(&'static str, &str)> {
        let folder = self.folder().file_name()?;
        let (_, kind) = DEFINITIONS.into_iter().find(|(name, _)| folder == *name)?;
        Some((kind, self.path.file_stem()?.to_str()?))
    }

    /// The folder that relative paths in this file start from.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// Reads the main file and its drop-in files, in the order of their effect.
pub(super) fn read(main: &Path) -> Result<Vec<Source>, ConfigError> {
    let mut paths = vec![main.to_owned()];
    for folder in ["conf.d"].into_iter().chain(DEFINITIONS.map(|(folder, _)| folder)) {
        let folder = main.parent().unwrap_or(Path::new("")).join(folder);
        paths.extend(drop_ins(&folder).map_err(|source| ConfigError::Unreadable { path: folder, source })?);
    }
    let mut room = TEXT_MAX;
    let mut sources = Vec::new();
    for path in paths {
        match read_text(&path, room) {
            Ok(text) => {
                room -= text.len();
                sources.push(Source { path, text });
            }
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        }
    }
    Ok(sources)
}

/// Reads one file, whose place in a folder says nothing of it.
pub(super) fn read_alone(path: &Path) -> Result<Source, ConfigError> {
    let text = read_text(path, TEXT_MAX).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    Ok(Source { path: path.file_name().map(PathBuf::from).unwrap_or_default(), text })
}

/// As `read_to_string`, but at most `room` bytes, and it says where the text stops being UTF-8.
fn read_text(path: &Path, room: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(room as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > room {
        let text = format!("the files of the configuration have more than {TEXT_MAX} bytes together, the limit");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = String::from_utf8_lossy(valid).matches('\n').count() + 1;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {line} is not UTF-8"))
    })
}

/// What `*.toml` means to a shell: hidden files are left out.
fn drop_ins(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
        if path.extension() == Some(OsStr::new("toml")) && !hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source { path: "x.toml".into(), text: "\u{feff}a = 1\nä = \"ö\"\n".to_owned() };
        let place = |needle: &str| {
            let place = source.place(source.text.find(needle).unwrap());
            (place.line, place.column)
        };
        assert_eq!(place("a"), (1, 1));
        assert_eq!(place("1"), (1, 5));
        assert_eq!(place("ä"), (2, 1));
        assert_eq!(place("\"ö"), (2, 5));
        assert_eq!(source.place(usize::MAX).line, 3);
    }

    #[test]
    fn reads_only_so_much() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promptd.toml");
        fs::write(&path, "#".repeat(TEXT_MAX)).unwrap();
        assert_eq!(read(&path).unwrap()[0].text.len(), TEXT_MAX);
        fs::create_dir(folder.path().join("conf.d")).unwrap();
        fs::write(folder.path().join("conf.d/1.toml"), "#").unwrap();
        let error = read(&path).err().unwrap().to_string();
        assert!(error.contains("conf.d/1.toml: ") && error.ends_with("more than 1048576 bytes together, the limit"));
        let error = read(Path::new("/dev/zero")).err().unwrap().to_string();
        assert!(error.contains("the limit"), "{error}");
    }

    #[test]
    fn names_the_line_that_is_not_utf8() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promptd.toml");
        fs::write(&path, b"# one\n# two \xff\n").unwrap();
        let error = read(&path).err().unwrap().to_string();
        assert_eq!(error, format!("cannot read {}: line 2 is not UTF-8", path.display()));
    }
}
