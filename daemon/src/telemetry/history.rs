//! The last hour in a few numbers, for the charts of the status page.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::snapshot::Snapshot;

/// Time between two points.
const STEP: Duration = Duration::from_secs(10);

/// An hour.
const POINTS_MAX: usize = 360;

/// What the charts show at one moment; what is not known leaves a gap.
#[derive(Debug, Clone, Copy)]
struct Point {
    at: Instant,
    tokens_per_second: f64,
    waiting: usize,
    running: usize,
    memory_available: Option<u64>,
    celsius: Option<f32>,
    watts: Option<f32>,
}

/// The points, oldest first.
#[derive(Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    since: Since,
}

/// What was seen since the last point: a burst between two points must not be lost.
#[derive(Debug, Clone, Copy, Default)]
struct Since {
    looks: u32,
    tokens_per_second: f64,
    waiting: usize,
    running: usize,
}

impl History {
    /// Takes a moment. With it, a point is made of all since the last one: of tokens the mean, of jobs the most.
    pub fn keep(&mut self, now: Instant, snapshot: &Snapshot) {
        self.since.looks += 1;
        self.since.tokens_per_second += snapshot.tokens_per_second;
        self.since.waiting = self.since.waiting.max(snapshot.jobs.waiting);
        self.since.running = self.since.running.max(snapshot.jobs.running);
        if self.points.back().is_some_and(|last| now.saturating_duration_since(last.at) < STEP) {
            return;
        }
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        let Since { looks, tokens_per_second, waiting, running } = std::mem::take(&mut self.since);
        self.points.push_back(Point {
            at: now,
            tokens_per_second: tokens_per_second / f64::from(looks),
            waiting,
            running,
            memory_available: snapshot.tightest().map(|limit| limit.available.0),
            celsius: snapshot.health.hottest().map(|zone| zone.celsius),
            watts: snapshot.health.watts(),
        });
    }

    /// A column for each number, and how many seconds ago each point was.
    pub fn columns(&self, now: Instant) -> Value {
        let column = |value: &dyn Fn(&Point) -> Value| self.points.iter().map(value).collect::<Vec<_>>();
        let tenths = |number: f64| (number * 10.0).round() / 10.0;
        json!({
            "seconds_ago": column(&|point| now.saturating_duration_since(point.at).as_secs().into()),
            "tokens_per_second": column(&|point| tenths(point.tokens_per_second).into()),
            "waiting": column(&|point| point.waiting.into()),
            "running": column(&|point| point.running.into()),
            "memory_available_bytes": column(&|point| point.memory_available.into()),
            "celsius": column(&|point| point.celsius.map(|celsius| tenths(celsius.into())).into()),
            "watts": column(&|point| point.watts.map(|watts| tenths(watts.into())).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::example;

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let (start, snapshot) = (Instant::now(), example::snapshot());
        let mut history = History::default();
        let last = start + Duration::from_hours(2);
        for second in 0..=2 * 3600 {
            history.keep(start + Duration::from_secs(second), &snapshot);
        }
        let columns = history.columns(last);
        let ago = columns["seconds_ago"].as_array().unwrap();
        assert_eq!((ago.len(), &ago[0], &ago[POINTS_MAX - 1]), (POINTS_MAX, &json!(3590), &json!(0)));
        for (name, column) in columns.as_object().unwrap() {
            assert_eq!(column.as_array().unwrap().len(), POINTS_MAX, "{name}");
        }
        assert_eq!(columns["celsius"][0], 61.5);
    }

    #[test]
    fn a_burst_between_two_points_is_seen() {
        let (start, mut snapshot) = (Instant::now(), example::snapshot());
        let mut history = History::default();
        let mut look = |second, tokens_per_second, running| {
            snapshot.tokens_per_second = tokens_per_second;
            snapshot.jobs.running = running;
            history.keep(start + Duration::from_secs(second), &snapshot);
        };
        for (second, tokens, running) in
            [(0, 0.0, 0), (2, 40.0, 3), (4, 0.0, 0), (6, 0.0, 0), (8, 0.0, 0), (10, 0.0, 0)]
        {
            look(second, tokens, running);
        }
        let columns = history.columns(start);
        assert_eq!((&columns["tokens_per_second"], &columns["running"]), (&json!([0.0, 8.0]), &json!([0, 3])));
    }

    #[test]
    fn what_is_unknown_is_a_gap() {
        let now = Instant::now();
        let mut history = History::default();
        history.keep(now, &example::bare());
        let columns = history.columns(now);
        assert_eq!((&columns["celsius"], &columns["watts"]), (&json!([null]), &json!([null])));
        assert_eq!(columns["waiting"], json!([0]));
    }
}
