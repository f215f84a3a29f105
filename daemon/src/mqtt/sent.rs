//! When a request was sent, by its client's clock.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::fields::{Fields, invalid};
use crate::job::{ErrorCode, JobError, shown};

/// Clocks that time servers set differ by less, so that what is further ahead is wrong.
const AHEAD_MAX: Duration = Duration::from_secs(10);

/// What time a request has.
pub(super) struct Timing {
    /// Time from receipt.
    pub deadline: Duration,
    /// Why that is none, if it passed on the way.
    pub overdue: Option<JobError>,
}

/// When a request was sent.
pub(super) struct Sent {
    at: Timestamp,
    /// Its own deadline, which counts from then; the node's counts from receipt.
    deadline: Option<Duration>,
}

impl Sent {
    /// Reads it of a request with this deadline. UTC, so that there is one way to write it.
    pub fn read(fields: &mut Fields, deadline: Option<Duration>) -> Result<Option<Self>, JobError> {
        let Some(text) = fields.text("sent_at")? else { return Ok(None) };
        let is_utc = text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T');
        let at = text.parse().ok().filter(|_| is_utc).ok_or_else(|| {
            let wanted = "a time in UTC as RFC 3339 writes it, such as \"2026-01-31T12:00:00Z\"";
            invalid(format!("field \"sent_at\" is {}; wanted is {wanted}", shown(&text)))
        })?;
        Ok(Some(Self { at, deadline }))
    }

    /// What time it has left when it is received, by a clock that is right. `otherwise`: its deadline, if it has none of its own.
    pub fn timing(&self, received: SystemTime, otherwise: Duration) -> Result<Timing, JobError> {
        let ahead = SystemTime::from(self.at).duration_since(received).unwrap_or_default();
        if ahead > AHEAD_MAX {
            let (ahead, most) = (ahead.as_secs_f64(), AHEAD_MAX.as_secs());
            let text = format!("field \"sent_at\" is {ahead:.0} s ahead of this node's clock; allowed are {most} s");
            return Err(invalid(text));
        }
        let Some(deadline) = self.deadline else { return Ok(Timing::whole(otherwise)) };
        // What is a little ahead was sent now.
        let age = received.duration_since(self.at.into()).unwrap_or_default();
        let left = deadline.saturating_sub(age);
        let overdue = left.is_zero().then(|| {
            let (age, most) = (age.as_millis(), deadline.as_millis());
            let text = format!("the request came {age} ms after its sent_at; its deadline_ms is {most}");
            JobError::new(ErrorCode::DeadlineExceeded, text)
        });
        Ok(Timing { deadline: left, overdue })
    }
}

impl Timing {
    /// All of the deadline.
    pub fn whole(deadline: Duration) -> Self {
        Self { deadline, overdue: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn read(text: &str, deadline: Option<Duration>) -> Result<Sent, JobError> {
        let map = Map::from_iter([("sent_at".to_owned(), Value::from(text))]);
        Sent::read(&mut Fields::new(map), deadline).map(Option::unwrap)
    }

    /// What is left of a minute, or of a deadline of its own, when this many seconds have passed.
    fn left(passed: f64, deadline: Option<Duration>) -> Result<(Duration, Option<String>), String> {
        let sent = read("2026-01-31T12:00:00Z", deadline).unwrap();
        let received = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_769_860_800.0 + passed);
        let timing = sent.timing(received, 60 * SECOND).map_err(|error| error.message)?;
        Ok((timing.deadline, timing.overdue.map(|error| error.message)))
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(read("2026-01-31T12:00:00Z", None).unwrap().at.as_second(), 1_769_860_800);
        assert_eq!(read("2026-01-31T12:00:00.250Z", None).unwrap().at.as_millisecond(), 1_769_860_800_250);
        assert!(Sent::read(&mut Fields::new(Map::new()), None).unwrap().is_none());
        for wrong in [
            "",
            "yesterday",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T13:00:00+01:00",
            "2026-02-30T12:00:00Z",
            "20260131T120000Z",
            "1769860800",
        ] {
            let message = read(wrong, None).err().unwrap().message;
            assert!(message.starts_with(&format!("field \"sent_at\" is {wrong:?}; wanted is")), "{message}");
        }
    }

    #[test]
    fn the_deadline_counts_from_then() {
        let five = Some(5 * SECOND);
        assert_eq!(left(0.0, five), Ok((5 * SECOND, None)));
        assert_eq!(left(2.0, five), Ok((3 * SECOND, None)));
        assert_eq!(left(-10.0, five), Ok((5 * SECOND, None)), "clocks differ");
        let late = "the request came 5000 ms after its sent_at; its deadline_ms is 5000";
        assert_eq!(left(5.0, five), Ok((Duration::ZERO, Some(late.to_owned()))));
        assert_eq!(left(1e6, None), Ok((60 * SECOND, None)), "the node's own counts from receipt");
        let ahead = "field \"sent_at\" is 11 s ahead of this node's clock; allowed are 10 s";
        for deadline in [five, None] {
            assert_eq!(left(-11.0, deadline), Err(ahead.to_owned()));
        }
    }
}
