//! What the configuration says of a model that was brought here: one file of conf.d for each.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use promptd::job::ModelName;

/// A model's own file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    path: PathBuf,
}

impl Entry {
    /// The one of a model, beside the configuration `main`.
    pub fn of(main: &Path, name: &ModelName) -> Self {
        let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
        Self { path: folder.join(format!("model-{name}.toml")) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now, if it exists.
    pub fn read(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Writes it, or takes it away: at once, so that no half of it is ever read.
    pub fn put(&self, text: Option<&str>) -> io::Result<()> {
        let Some(text) = text else {
            return fs::remove_file(&self.path);
        };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // Hidden, and without the ending that the configuration is read by.
        let unfinished = folder.join(format!(".{}.new", self.path.file_name().unwrap_or_default().display()));
        let written = fs::File::create(&unfinished)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .and_then(|()| fs::File::open(folder)?.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

/// The text of an entry.
pub fn text(name: &ModelName, file: &Path, sha256: &str) -> String {
    // TOML's basic strings escape what JSON's do.
    let path = serde_json::Value::from(file.to_string_lossy()).to_string();
    format!(
        "# Written by `promptd model add`; `promptd model remove {name}` takes it away. Other keys of this model go into\n\
         # another file of this folder, under the same name.\n\
         [[model]]\n\
         name = \"{name}\"\n\
         files = [{{ path = {path}, sha256 = \"{sha256}\" }}]\n"
    )
}

#[cfg(test)]
mod tests {
    use promptd::config::Config;
    use promptd::plan::Profile;

    use super::*;

    #[test]
    fn is_read_as_part_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("promptd.toml");
        fs::write(&main, "").unwrap();
        let name = ModelName::new("main").unwrap();
        let entry = Entry::of(&main, &name);
        assert_eq!(entry.read().unwrap(), None);
        let file = Path::new("/var/lib/promptd/models/a \"quoted\" \\ name.gguf");
        let sha256 = "0f".repeat(32);
        entry.put(Some(&text(&name, file, &sha256))).unwrap();
        let config = Config::load(&main, &Profile::default()).unwrap().config;
        assert_eq!((config.models[0].name.as_str(), config.models[0].files[0].path.as_path()), ("main", file));
        assert_eq!(config.models[0].files[0].sha256, Some([0x0f; 32]));
        entry.put(None).unwrap();
        assert!(Config::load(&main, &Profile::default()).unwrap().config.models.is_empty());
    }
}
