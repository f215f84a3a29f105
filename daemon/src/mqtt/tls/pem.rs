//! Files in PEM form, whole or not at all: one that is half written must not look like one with less in it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ClientCertificate;

/// Most bytes of a file of certificates. All authorities that a Debian trusts have a quarter of a MiB.
const FILE_MAX: u64 = 4 << 20;

/// The certificates of a file: at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("{} has more than {FILE_MAX} bytes", path.display()));
    }
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| format!("{} is damaged: {}", path.display(), damage(&error)))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate in PEM form", path.display()));
    }
    Ok(certificates)
}

/// The private key of our certificate. The error quotes nothing of it.
pub(super) fn key(client: &ClientCertificate) -> Result<PrivateKeyDer<'static>, String> {
    let secret = client.key().map_err(|error| error.to_string())?;
    let text = secret.expose();
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        let problem = match error {
            _ if text.contains("ENCRYPTED") => "is encrypted, and nobody is there to type a passphrase",
            PemError::NoItemsFound => "holds no private key in PEM form",
            _ => "is damaged",
        };
        format!("mqtt.key_credential: {} {problem}", client.key_credential.display())
    })
}

/// The library's own words list bytes.
fn damage(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a certificate has no end",
        PemError::Base64Decode(_) => "a certificate is not base64",
        _ => "it is no PEM",
    }
}

/// A wrong path may lead to a device that never ends.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
