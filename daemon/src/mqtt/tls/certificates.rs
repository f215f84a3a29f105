//! What the files for TLS hold, for those who look after their expiry.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

use super::{identity, pem, roots};
use crate::config::{ClientCertificate, Tls};

/// What a file for TLS is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateKind {
    /// Authorities that may vouch for the broker.
    Authorities,
    /// The certificate that we show to the broker.
    Client,
    /// The private key for it.
    Key,
}

impl CertificateKind {
    /// The configuration's key that names the file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Authorities => "mqtt.ca_file",
            Self::Client => "mqtt.cert_file",
            Self::Key => "mqtt.key_credential",
        }
    }
}

/// A file for TLS, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFile {
    /// What it is there for.
    pub kind: CertificateKind,
    /// The file; for a key perhaps only its name in the credentials folder.
    pub path: PathBuf,
    /// Whom its first certificate names, such as `CN=gateway-1`. None for a key, or if it cannot be read.
    pub subject: Option<String>,
    /// The earliest end among its certificates. None for a key, or if it cannot be read.
    pub expires: Option<SystemTime>,
    /// What is wrong with it; nothing if it is in order. Each begins with [`CertificateKind::key`].
    pub problems: Vec<String>,
}

/// Reads the files that the configuration names, as a connect would at `now`, and tells what they hold and what is wrong
/// with them. The authorities that the system trusts are not among them. Blocks for as long as the files take.
pub fn certificates(tls: &Tls, now: SystemTime) -> Vec<CertificateFile> {
    let authorities = tls.ca_file.as_deref().map(|path| of_certificates(CertificateKind::Authorities, path, now));
    let client = tls.client.as_ref().map(|client| {
        let certificate = of_certificates(CertificateKind::Client, &client.cert_file, now);
        let key = of_key(client, &certificate);
        [certificate, key]
    });
    authorities.into_iter().chain(client.into_iter().flatten()).collect()
}

fn of_certificates(kind: CertificateKind, path: &Path, now: SystemTime) -> CertificateFile {
    let (facts, problem) = match read(kind, path) {
        Ok(facts) => (facts, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let late = facts.iter().filter_map(|facts| facts.out_of_time(now));
    let late = late.map(|problem| format!("{}: {problem}", path.display()));
    CertificateFile {
        kind,
        path: path.to_owned(),
        expires: facts.iter().map(|facts| facts.not_after).min(),
        problems: problem.into_iter().chain(late).map(|problem| format!("{}: {problem}", kind.key())).collect(),
        subject: facts.into_iter().next().map(|facts| facts.subject),
    }
}

fn read(kind: CertificateKind, path: &Path) -> Result<Vec<Facts>, String> {
    let chain = pem::certificates(path)?;
    let facts = chain.iter().enumerate().map(|(index, certificate)| {
        let unreadable = || format!("certificate {} in {} cannot be read", index + 1, path.display());
        Facts::of(certificate).ok_or_else(unreadable)
    });
    let facts = facts.collect::<Result<_, _>>()?;
    if kind == CertificateKind::Authorities {
        roots(path, chain)?;
    }
    Ok(facts)
}

/// A key is tried together with its certificate; if that can't be read, its own problem is enough.
fn of_key(client: &ClientCertificate, certificate: &CertificateFile) -> CertificateFile {
    let problem = match pem::key(client) {
        Ok(_) if certificate.subject.is_none() => None,
        Ok(_) => identity(client).err(),
        Err(problem) => Some(problem),
    };
    CertificateFile {
        kind: CertificateKind::Key,
        path: client.key_credential.clone(),
        subject: None,
        expires: None,
        problems: problem.into_iter().collect(),
    }
}

/// What is read from one certificate.
struct Facts {
    subject: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self {
            subject: parsed.subject().to_string(),
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    fn out_of_time(&self, now: SystemTime) -> Option<String> {
        if self.not_after < now {
            Some(format!("the certificate of {} has expired on {}", self.subject, date(self.not_after)))
        } else if self.not_before > now {
            let from = date(self.not_before);
            Some(format!("the certificate of {} is not valid before {from}; is the clock right?", self.subject))
        } else {
            None
        }
    }
}

/// Seconds since 1970; what lies before is long past all the same.
fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn date(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}
