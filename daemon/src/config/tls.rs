//! The files of a TLS connection.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::credential::{self, Secret};
use super::error::ConfigError;
use super::section::Section;
use super::url::{BrokerUrl, Scheme};
use super::value;

/// Bytes of a file that count for whether it has changed: more than any system's list of authorities has.
const HASHED_MAX: u64 = 4 * 1024 * 1024;

/// The files of a TLS connection. They are read anew for each, so that what was replaced is seen without a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that may vouch for the broker, in PEM form; without it, those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for brokers that want to know.
    pub client: Option<ClientCertificate>,
}

/// A certificate of our own and its key: there is never one without the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate in PEM form, and behind it those that lead to its authority.
    pub cert_file: PathBuf,
    /// The file with the private key in PEM form: absolute, or a name in systemd's credentials folder.
    pub key_credential: PathBuf,
}

impl Tls {
    /// Reads the keys. `url` is none if the one that was written cannot be used: nothing follows from it then.
    pub(super) fn read(section: &mut Section<'_, '_, '_>, url: Option<&BrokerUrl>) -> Option<Self> {
        let [ca_file, cert_file] = ["ca_file", "cert_file"].map(|key| {
            let folder = section.folder_of(key);
            section.optional(key, |file| value::path(file, folder))
        });
        let key_credential = section.optional("key_credential", credential::name);
        let plain = url.is_some_and(|url| url.scheme == Scheme::Mqtt);
        if plain {
            for key in ["ca_file", "cert_file", "key_credential"] {
                section.blame_key(key, "is for TLS: write mqtt.url with mqtts:// in front");
            }
            return None;
        }
        for (key, other) in [("cert_file", "key_credential"), ("key_credential", "cert_file")] {
            if !section.is_set(other) {
                section.blame_key(key, format!("needs mqtt.{other} beside it"));
            }
        }
        let pair = cert_file.zip(key_credential);
        let client = pair.map(|(cert_file, key_credential)| ClientCertificate { cert_file, key_credential });
        url.map(|_| Self { ca_file, client })
    }
}

impl Tls {
    /// Adds what stands in the files now to a hash.
    pub(super) fn hash_files(&self, hash: &mut Sha256) -> Result<(), ConfigError> {
        let certificate = self.client.as_ref().map(|client| &client.cert_file);
        for path in self.ca_file.iter().chain(certificate) {
            let mut content = Vec::new();
            let read = File::open(path).and_then(|file| file.take(HASHED_MAX).read_to_end(&mut content));
            read.map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            hash.update(Sha256::digest(content));
        }
        if let Some(client) = &self.client {
            hash.update(Sha256::digest(client.key()?.expose()));
        }
        Ok(())
    }
}

impl ClientCertificate {
    /// Reads the private key from its file, each time anew. Where a name without a path is looked up, see
    /// [`Mqtt::password`](super::Mqtt::password).
    pub fn key(&self) -> Result<Secret, ConfigError> {
        let folder = env::var_os("CREDENTIALS_DIRECTORY");
        credential::read("mqtt.key_credential", &self.key_credential, folder.as_deref().map(Path::new))
    }
}
