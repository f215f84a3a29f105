//! What the thermal governor does in each case.

use super::*;

const S: Duration = Duration::from_secs(1);

const SETTINGS: ThermalSettings =
    ThermalSettings { soft: None, hard: None, margin: 5.0, hysteresis: 3.0, board: Trips::NONE };

/// A zone with the limits 75 and 85.
fn zone(name: &str, celsius: f32) -> Temperature {
    Temperature { zone: name.to_owned(), celsius, passive: Some(80.0), critical: Some(90.0) }
}

fn at(celsius: f32) -> HealthReading {
    HealthReading { temperatures: vec![zone("cpu", celsius)], ..HealthReading::default() }
}

/// A cool machine that says this about being slowed down.
fn slowed(throttling: Throttling) -> HealthReading {
    HealthReading { throttling, ..at(50.0) }
}

/// A governor and its clock.
struct Bench {
    now: Instant,
    governor: ThermalGovernor,
}

impl Bench {
    /// One that has been cool for a while.
    fn new() -> Self {
        let mut bench = Self { now: Instant::now(), governor: ThermalGovernor::new(SETTINGS) };
        assert_eq!(bench.run(S * 20, &at(50.0)), (Heat::Normal, 100));
        bench
    }

    /// One more reading, a second after the last.
    fn next(&mut self, reading: &HealthReading) -> (Heat, u8) {
        self.now += S;
        let before = self.governor.heat();
        let changed = self.governor.observe(self.now, reading);
        assert_eq!(changed, (self.governor.heat() != before).then_some(before));
        (self.governor.heat(), self.governor.duty().percent())
    }

    /// The same reading for a while.
    fn run(&mut self, time: Duration, reading: &HealthReading) -> (Heat, u8) {
        let end = self.now + time;
        while self.now < end {
            self.next(reading);
        }
        (self.governor.heat(), self.governor.duty().percent())
    }

    /// How many of these readings it takes until the level is so.
    fn seconds(&mut self, reading: &HealthReading, heat: Heat) -> usize {
        (1..100).find(|_| self.next(reading).0 == heat).unwrap()
    }

    fn cause(&self) -> String {
        self.governor.cause().map(ToString::to_string).unwrap_or_default()
    }
}

#[test]
fn it_computes_the_less_the_hotter_it_is() {
    for (celsius, expected) in [
        (74.9, (Heat::Normal, 100)),
        (75.0, (Heat::Soft, 100)),
        (76.0, (Heat::Soft, 90)),
        (80.0, (Heat::Soft, 55)),
        (84.9, (Heat::Soft, 10)),
        // The first reading above the limit may be a mistake.
        (85.0, (Heat::Soft, 10)),
    ] {
        assert_eq!(Bench::new().next(&at(celsius)), expected, "{celsius}");
    }
    let mut bench = Bench::new();
    bench.next(&at(85.0));
    assert_eq!(bench.next(&at(85.0)), (Heat::Hard, 0));
    assert_eq!(bench.cause(), "cpu is at 85.0 °C, its limit is 85.0 °C");
}

#[test]
fn the_share_falls_at_once_and_comes_back_slowly() {
    let mut bench = Bench::new();
    assert_eq!(bench.next(&at(83.0)), (Heat::Soft, 25));
    assert_eq!(bench.next(&at(76.0)), (Heat::Soft, 30));
    assert_eq!(bench.run(S * 3, &at(76.0)), (Heat::Soft, 45));
    assert_eq!(bench.next(&at(82.0)), (Heat::Soft, 35));
    assert_eq!(bench.run(S * 60, &at(76.0)), (Heat::Soft, 90));
}

#[test]
fn a_single_reading_pauses_nothing() {
    let mut bench = Bench::new();
    for _ in 0..10 {
        assert_eq!(bench.next(&at(100.0)), (Heat::Soft, 10));
        assert_eq!(bench.next(&at(80.0)).0, Heat::Soft);
    }
}

#[test]
fn a_level_falls_below_its_limit_by_the_hysteresis_and_not_at_once() {
    let mut bench = Bench::new();
    bench.run(S * 2, &at(86.0));
    assert_eq!(bench.run(S * 60, &at(82.1)), (Heat::Hard, 0), "within the hysteresis");
    // Better for 5 s.
    assert_eq!(bench.seconds(&at(81.9), Heat::Soft), 6);
    assert_eq!(bench.governor.duty().percent(), 10, "it begins slowly");
    assert_eq!(bench.cause(), "cpu is at 81.9 °C, its limit is 75.0 °C");
    assert_eq!(bench.run(S * 60, &at(72.1)), (Heat::Soft, 100));
    assert_eq!(bench.seconds(&at(71.9), Heat::Normal), 6);
    assert_eq!(bench.cause(), "");
    // What was better only for a moment begins anew, and no level stands for less than 10 s.
    let mut bench = Bench::new();
    bench.next(&at(76.0));
    assert_eq!(bench.seconds(&at(50.0), Heat::Normal), 10);
}

#[test]
fn it_falls_straight_to_the_worst_of_that_time() {
    let mut bench = Bench::new();
    bench.run(S * 20, &at(90.0));
    bench.next(&at(76.0));
    bench.run(S * 4, &at(50.0));
    assert_eq!(bench.next(&at(50.0)), (Heat::Soft, 10));
    assert_eq!(bench.seconds(&at(50.0), Heat::Normal), 10);
    bench.run(S * 20, &at(90.0));
    assert_eq!(bench.seconds(&at(50.0), Heat::Normal), 6);
}

#[test]
fn each_zone_has_its_own_limits() {
    let mut bench = Bench::new();
    let cool_gpu = Temperature { passive: Some(70.0), critical: None, ..zone("gpu", 69.0) };
    let reading = HealthReading { temperatures: vec![zone("cpu", 74.0), cool_gpu], ..HealthReading::default() };
    // 65 and 70.
    assert_eq!(bench.next(&reading), (Heat::Soft, 25));
    assert_eq!(bench.cause(), "gpu is at 69.0 °C, its limit is 65.0 °C");
    assert_eq!(bench.governor.nearest().unwrap().name, "gpu");
}

#[test]
fn what_will_soon_be_too_hot_counts_now() {
    let mut bench = Bench::new();
    // By 3 degrees a second: the limit is 10 s away from 55 on, but a rise must show for 6 s.
    let heats: Vec<(Heat, u8)> = [53.0, 56.0, 59.0, 62.0, 65.0].map(|celsius| bench.next(&at(celsius))).to_vec();
    assert!(heats.iter().all(|heat| *heat == (Heat::Normal, 100)), "{heats:?}");
    assert_eq!(bench.next(&at(68.0)), (Heat::Soft, 60));
    assert_eq!(bench.cause(), "cpu is at 68.0 °C and rises by 3.0 °C/s, its limit is 85.0 °C");
    assert_eq!(bench.next(&at(71.0)), (Heat::Soft, 50));
    // It levels out: the share comes back.
    assert_eq!(bench.run(S * 20, &at(72.0)), (Heat::Soft, 100));
    // A chip that begins to compute jumps, and no more.
    let mut bench = Bench::new();
    assert_eq!(bench.run(S * 20, &at(74.0)), (Heat::Normal, 100));
    // What is far from its limit may rise.
    let mut bench = Bench::new();
    for celsius in 50..75_u8 {
        assert_eq!(bench.next(&at(f32::from(celsius))), (Heat::Normal, 100), "{celsius}");
    }
}

#[test]
fn hardware_that_holds_itself_back_is_a_reason() {
    let cooling = vec!["cpufreq-cpu0".to_owned(), "gpu-throttle-alert".to_owned()];
    let all =
        Throttling { cooling, has_cooling: true, under_voltage: Some(true), capped: Some(true), over_current: None };
    let mut bench = Bench::new();
    assert_eq!(bench.next(&slowed(all)), (Heat::Soft, 75));
    assert_eq!(
        bench.cause(),
        "the hardware holds itself back: too little voltage, the firmware caps clocks, cpufreq-cpu0, gpu-throttle-alert"
    );
    assert_eq!(bench.seconds(&at(50.0), Heat::Normal), 10);
    let fine =
        Throttling { under_voltage: Some(false), capped: Some(false), over_current: Some(7), ..Throttling::default() };
    assert_eq!(bench.run(S * 5, &slowed(fine.clone())), (Heat::Normal, 100), "it has happened before we came");
    let over_current = |count| slowed(Throttling { over_current: count, ..fine.clone() });
    assert_eq!(bench.next(&over_current(None)), (Heat::Normal, 100));
    assert_eq!(bench.next(&over_current(Some(8))), (Heat::Soft, 75));
    assert_eq!(bench.cause(), "the hardware holds itself back: too much current");
    assert_eq!(bench.seconds(&over_current(Some(8)), Heat::Normal), 10);
    // A counter that starts anew is no event.
    assert_eq!(bench.next(&over_current(Some(0))), (Heat::Normal, 100));
}

#[test]
fn what_cannot_be_read_limits_nothing() {
    let mut bench = Bench { now: Instant::now(), governor: ThermalGovernor::new(SETTINGS) };
    assert_eq!(bench.run(S * 20, &HealthReading::default()), (Heat::Normal, 100));
    let silent = Temperature { passive: None, critical: None, ..zone("cpu", 120.0) };
    let reading = HealthReading { temperatures: vec![silent, zone("nan", f32::NAN)], ..HealthReading::default() };
    assert_eq!(bench.run(S * 20, &reading), (Heat::Normal, 100));
    assert_eq!((bench.governor.nearest(), bench.governor.refusal(bench.now)), (None, None));
    // A sensor that says nothing for a moment ends no pause; one that has gone does.
    let mut bench = Bench::new();
    bench.run(S * 20, &at(90.0));
    bench.run(S * 4, &HealthReading::default());
    assert_eq!(bench.next(&at(90.0)), (Heat::Hard, 0));
    assert_eq!(bench.seconds(&HealthReading::default(), Heat::Normal), 6);
}

#[test]
fn who_is_refused_is_told_when_it_will_be_cooler() {
    let mut bench = Bench::new();
    bench.next(&at(80.0));
    assert_eq!(bench.governor.refusal(bench.now), None);
    // Nobody knows how fast it cools down.
    bench.run(S * 20, &at(90.0));
    assert_eq!(bench.governor.refusal(bench.now), Some(RETRY_UNKNOWN + HOLD));
    for celsius in [89.0, 88.0, 87.0, 86.0] {
        bench.next(&at(celsius));
    }
    // 4 degrees in 12 s, and 4 to go; then it must be better for 5 s.
    let told = bench.governor.refusal(bench.now).unwrap();
    assert!((told.as_secs_f32() - 17.0).abs() < 0.1, "{told:?}");
    bench.run(S * 3, &at(80.0));
    assert_eq!(bench.governor.refusal(bench.now), Some(S * 3));
    // It cools down by next to nothing.
    bench.run(S * 20, &at(90.0));
    bench.next(&at(89.9));
    assert_eq!(bench.governor.refusal(bench.now), Some(RETRY_MAX));
}

#[test]
fn other_limits_hold_from_the_next_reading_on() {
    let mut bench = Bench::new();
    assert_eq!(bench.next(&at(70.0)), (Heat::Normal, 100));
    bench.governor.set(ThermalSettings { soft: Some(60.0), hard: Some(65.0), ..SETTINGS });
    assert_eq!(bench.run(S * 2, &at(70.0)), (Heat::Hard, 0));
    bench.governor.set(SETTINGS);
    assert_eq!(bench.seconds(&at(70.0), Heat::Normal), 10);
}
