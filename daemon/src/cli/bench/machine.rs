//! What the machine's sensors tell while something is measured.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use promptd::health::{HealthSensors, Roots};

/// How often sensors are read: reading some takes milliseconds.
const TURN: Duration = Duration::from_millis(250);

/// What was seen.
#[derive(Debug, Default, Clone, Copy)]
pub struct Seen {
    /// The hottest zone, if there is any.
    pub hottest_celsius: Option<f64>,
    /// What the board has used, if it tells.
    pub joules: Option<f64>,
}

/// Reads sensors on a thread of its own.
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watch {
    /// Starts to look.
    pub fn start() -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("sensors".into()).spawn(move || look(&until))?;
        Ok(Self { over, thread })
    }

    /// Looks once more, and tells.
    pub fn stop(self) -> Seen {
        self.over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_default()
    }
}

fn look(over: &AtomicBool) -> Seen {
    let mut sensors = HealthSensors::discover(Roots::this(), Path::new("/"));
    let (mut seen, mut last) = (Seen::default(), Instant::now());
    loop {
        let is_over = over.load(Ordering::Relaxed);
        let reading = sensors.read();
        if let Some(zone) = reading.hottest() {
            let celsius = f64::from(zone.celsius);
            seen.hottest_celsius = Some(seen.hottest_celsius.map_or(celsius, |hottest| hottest.max(celsius)));
        }
        let time = last.elapsed();
        last = Instant::now();
        if let Some(watts) = reading.watts() {
            *seen.joules.get_or_insert(0.0) += f64::from(watts) * time.as_secs_f64();
        }
        if is_over {
            return seen;
        }
        std::thread::park_timeout(TURN);
    }
}
