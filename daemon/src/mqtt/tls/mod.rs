//! TLS: from the files that the configuration names to what rustls needs.

mod certificates;
mod pem;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, RootCertStore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Fault;
use crate::config::{ClientCertificate, Tls};

pub use certificates::{CertificateFile, CertificateKind, certificates};

/// How long the files may take; they lie on a disk of this machine.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the files as they are now. The system's authorities are hundreds of files, hence not on the caller's thread.
pub(super) async fn connector(tls: &Tls) -> Result<Arc<ClientConfig>, Fault> {
    let tls = tls.clone();
    let reading = spawn_blocking(move || client_config(&tls));
    match timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(config)) => config.map(Arc::new).map_err(Fault::Certificates),
        // It panicked, or the runtime shuts down.
        Ok(Err(_)) => Err(Fault::Crashed),
        Err(_) => Err(Fault::Certificates(format!("they could not be read within {} s", READ_TIMEOUT.as_secs()))),
    }
}

fn client_config(tls: &Tls) -> Result<ClientConfig, String> {
    let roots = match &tls.ca_file {
        Some(path) => pem::certificates(path)
            .and_then(|certificates| roots(path, certificates))
            .map_err(|text| format!("mqtt.ca_file: {text}"))?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots);
    Ok(match &tls.client {
        None => builder.with_no_client_auth(),
        Some(client) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity(client)?))),
    })
}

/// Our certificate with its key.
fn identity(client: &ClientCertificate) -> Result<CertifiedKey, String> {
    let chain = pem::certificates(&client.cert_file).map_err(|text| format!("mqtt.cert_file: {text}"))?;
    let key = pem::key(client)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| unusable(client, &error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// An authority that rustls cannot use would be missed only when it is needed: so none may be.
fn roots(path: &Path, certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        let unusable = |_| format!("certificate {} in {} cannot be read", index + 1, path.display());
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// The public authorities; odd ones among them are left out, as everybody does.
fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this system trusts no authority: install ca-certificates, or set mqtt.ca_file".to_owned());
    }
    Ok(roots)
}

/// Why our certificate and its key cannot be used together.
fn unusable(client: &ClientCertificate, error: &Error) -> String {
    let (cert, key) = (client.cert_file.display(), client.key_credential.display());
    match error {
        Error::InconsistentKeys(_) => format!("mqtt.key_credential: {key} is not the key of the certificate in {cert}"),
        Error::InvalidCertificate(_) => format!("mqtt.cert_file: the first certificate in {cert} cannot be read"),
        _ => format!(
            "mqtt.key_credential: {key} is no usable key; good are RSA from 2048 bits, ECDSA with P-256 or P-384, Ed25519"
        ),
    }
}
