//! The files for TLS, and how long they last.

use std::time::{Duration, SystemTime};

use super::{Check, Finding, RELOAD};
use crate::config::Mqtt;
use crate::mqtt::{CertificateFile, certificates as read};

/// With less time left, whoever renews a certificate should have done it.
const SOON_DAYS: u64 = 30;

/// Looks at the files that the configuration names; nothing without TLS. Blocks for as long as the files take.
pub fn certificates(config: &Mqtt, now: SystemTime) -> Vec<Finding> {
    config.tls.iter().flat_map(|tls| read(tls, now)).map(|file| judge(&file, now)).collect()
}

fn judge(file: &CertificateFile, now: SystemTime) -> Finding {
    let path = file.path.display();
    if !file.problems.is_empty() {
        let remedy = "put the right file there; it is read again for the next connection";
        return Finding::fail(Check::Certificates, file.problems.join("; "), remedy);
    }
    let left = file.expires.map(|expires| expires.duration_since(now).unwrap_or_default());
    let Some(days) = left.map(|left| left.as_secs() / Duration::from_hours(24).as_secs()) else {
        return Finding::pass(Check::Certificates, format!("{path} is in order"));
    };
    let what = format!("{path} ({}) lasts {days} more days", file.subject.as_deref().unwrap_or("no subject"));
    if days >= SOON_DAYS {
        return Finding::pass(Check::Certificates, what);
    }
    Finding::warn(Check::Certificates, what, format!("renew it, then {RELOAD}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use crate::mqtt::CertificateKind;

    #[test]
    fn what_ends_soon_or_is_broken_shows() {
        let now = SystemTime::now();
        let level = |days: u64, problems: &[&str]| {
            let file = CertificateFile {
                kind: CertificateKind::Client,
                path: "/etc/promptd/node.pem".into(),
                subject: Some("CN=gw".to_owned()),
                expires: Some(now + Duration::from_hours(24 * days)),
                problems: problems.iter().map(|&problem| problem.to_owned()).collect(),
            };
            judge(&file, now).level()
        };
        assert_eq!(level(31, &[]), Level::Pass);
        assert_eq!(level(3, &[]), Level::Warn);
        assert_eq!(level(31, &["mqtt.cert_file: it has expired"]), Level::Fail);
    }
}
