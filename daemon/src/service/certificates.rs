//! How long the certificates of the link to the broker last: in `info`, and in the log when it is not for long any more.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::driver::Driver;
use crate::config::Tls;
use crate::mqtt::{CertificateFile, CertificateKind, certificates};
use crate::telemetry::TlsDates;

/// With less time left, whoever renews a certificate should have done it.
const SOON: Duration = Duration::from_hours(30 * 24);

/// How often the files are looked at while a connection lasts, which may be for months.
const LOOK_EVERY: Duration = Duration::from_hours(24);

/// What was said about the certificates so far.
#[derive(Debug)]
pub(super) struct CertificateWatch {
    /// When the files are looked at next.
    next: Instant,
    authorities: Term,
    client: Term,
}

/// How much time a certificate has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Term {
    Long,
    Short,
    Over,
}

impl Term {
    fn of(expires: SystemTime, now: SystemTime) -> Self {
        match expires.duration_since(now) {
            Err(_) => Self::Over,
            Ok(left) if left < SOON => Self::Short,
            Ok(_) => Self::Long,
        }
    }
}

impl CertificateWatch {
    /// Nothing was said yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, authorities: Term::Long, client: Term::Long }
    }

    fn look(&mut self, tls: &Tls, now: SystemTime) -> TlsDates {
        let mut dates = TlsDates::default();
        for file in certificates(tls, now) {
            match file.kind {
                CertificateKind::Authorities => {
                    dates.ca_expires = file.expires;
                    self.authorities = tell(self.authorities, &file, now);
                }
                CertificateKind::Client => {
                    dates.client_cert_expires = file.expires;
                    self.client = tell(self.client, &file, now);
                }
                CertificateKind::Key => {}
            }
        }
        dates
    }
}

/// Says when it has become worse; a new certificate starts anew. A file that cannot be read changes nothing here: the next
/// connect tells what is wrong with it.
fn tell(before: Term, file: &CertificateFile, now: SystemTime) -> Term {
    let Some(expires) = file.expires else { return before };
    let term = Term::of(expires, now);
    if term > before {
        let (key, path) = (file.kind.key(), file.path.display());
        let date = Timestamp::try_from(expires).unwrap_or(Timestamp::MAX);
        if term == Term::Over {
            tracing::error!("a certificate of {key} has expired on {date:.0}: {path}");
        } else {
            let days = expires.duration_since(now).unwrap_or_default().as_secs() / (24 * 3600);
            tracing::warn!("a certificate of {key} expires in {days} days, on {date:.0}: {path}");
        }
    }
    term
}

impl Driver {
    /// Looks at the files for TLS, and publishes when they end if that has changed.
    pub(super) fn look_at_certificates(&mut self) {
        self.certificates.next = Instant::now() + LOOK_EVERY;
        let tls = self.config.mqtt.tls.as_ref();
        let dates = tls.map(|tls| self.certificates.look(tls, SystemTime::now()));
        if self.board.set_tls_dates(dates) {
            self.board.publish_info(&self.link, &self.topics, &self.config);
        }
    }

    /// When they have to be looked at again.
    pub(super) fn next_look_at_certificates(&self) -> Option<Instant> {
        self.config.mqtt.tls.as_ref().map(|_| self.certificates.next)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn each_step_to_the_worse_is_told_once() {
        let now = UNIX_EPOCH + Duration::from_hours(20_000 * 24);
        let file = |left: Duration| CertificateFile {
            kind: CertificateKind::Client,
            path: "/c".into(),
            subject: None,
            expires: Some(now + left),
            problems: Vec::new(),
        };
        let hour = Duration::from_hours(1);
        let less = Duration::from_hours(30 * 24 - 1);
        let mut term = Term::Long;
        for (left, expected) in [(SOON, Term::Long), (less, Term::Short), (SOON, Term::Long)] {
            term = tell(term, &file(left), now);
            assert_eq!(term, expected);
        }
        let over = CertificateFile { expires: Some(now - hour), ..file(SOON) };
        assert_eq!(tell(Term::Short, &over, now), Term::Over);
        let unreadable = CertificateFile { expires: None, ..file(SOON) };
        assert_eq!(tell(Term::Short, &unreadable, now), Term::Short, "nothing is known, so nothing is told again");
    }
}
