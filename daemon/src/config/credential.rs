//! Secrets that the configuration names and does not contain.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::tree::Value;
use super::value;

/// The longest password that MQTT can carry; keys are far shorter.
const SECRET_MAX: usize = 65_535;

/// A password or a private key. It has no `Display`, and its `Debug` tells nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Checks what names a credential: a file name, or an absolute path.
pub(super) fn name(value: &Value) -> Result<PathBuf, String> {
    let text = value::line(value, value::PATH_MAX)?;
    if text.starts_with('/') || !(text.contains('/') || text == "." || text == "..") {
        Ok(text.into())
    } else {
        Err("write the name of a file in $CREDENTIALS_DIRECTORY, or an absolute path".to_owned())
    }
}

/// Reads a credential; names without a path are looked up in `folder`.
pub(super) fn read(key: &'static str, name: &Path, folder: Option<&Path>) -> Result<Secret, ConfigError> {
    let fail = |reason: String| ConfigError::Credential { key, reason };
    let path = match folder {
        _ if name.is_absolute() => name.to_owned(),
        Some(folder) => folder.join(name),
        None => {
            let name = name.display();
            return Err(fail(format!(
                "there is no credential {name:?} because $CREDENTIALS_DIRECTORY is not set; \
                 use LoadCredential= in the systemd unit, or write an absolute path"
            )));
        }
    };
    let bytes = read_bounded(&path).map_err(|error| fail(format!("cannot read {}: {error}", path.display())))?;
    if bytes.len() > SECRET_MAX {
        return Err(fail(format!("{} has more than {SECRET_MAX} bytes", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|_| fail(format!("{} is not UTF-8", path.display())))?;
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if secret.is_empty() {
        return Err(fail(format!("{} is empty", path.display())));
    }
    Ok(Secret(secret.to_owned()))
}

/// A wrong path may lead to a device that never ends.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more byte than a secret and its line end may have, to see that it is too long.
    File::open(path)?.take(SECRET_MAX as u64 + 3).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const KEY: &str = "mqtt.password_credential";

    fn secret(content: &[u8]) -> Result<Secret, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("broker"), content).unwrap();
        let path = folder.path().display().to_string();
        read(KEY, Path::new("broker"), Some(folder.path())).map_err(|error| error.to_string().replace(&path, "F"))
    }

    #[test]
    fn strips_one_line_end() {
        for (content, expected) in [("word", "word"), ("word\n", "word"), ("word\r\n", "word"), ("word\n\n", "word\n")]
        {
            assert_eq!(secret(content.as_bytes()).unwrap().expose(), expected);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(secret(b"\n").unwrap_err(), format!("{KEY}: F/broker is empty"));
        assert_eq!(secret(b"\xff").unwrap_err(), format!("{KEY}: F/broker is not UTF-8"));
        assert_eq!(secret(&vec![b'x'; 65_536]).unwrap_err(), format!("{KEY}: F/broker has more than 65535 bytes"));
        assert_eq!(secret(&vec![b'x'; 65_535]).unwrap().expose().len(), 65_535);
        let error = read(KEY, Path::new("/dev/zero"), None).unwrap_err().to_string();
        assert_eq!(error, format!("{KEY}: /dev/zero has more than 65535 bytes"));
        let error = read(KEY, Path::new("broker"), None).unwrap_err().to_string();
        assert!(error.contains("$CREDENTIALS_DIRECTORY is not set"), "{error}");
    }

    #[test]
    fn an_absolute_path_needs_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "word").unwrap();
        assert_eq!(read(KEY, &path, None).unwrap().expose(), "word");
        assert_eq!(read(KEY, &path, Some(Path::new("/nowhere"))).unwrap().expose(), "word");
    }

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", secret(b"word").unwrap()), "***");
    }

    #[test]
    fn names_are_files_or_absolute_paths() {
        for good in ["broker", "/run/secrets/broker", "broker.password", "..x"] {
            assert_eq!(name(&Value::Text(good.to_owned())), Ok(good.into()));
        }
        for bad in ["", ".", "..", "../broker", "a/b", "a\0"] {
            assert!(name(&Value::Text(bad.to_owned())).is_err(), "{bad:?}");
        }
    }
}
