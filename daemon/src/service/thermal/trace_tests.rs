//! The thermal governor's laws, on temperatures that come and go at random, and on a simulated machine that it governs.

use proptest::prelude::*;

use super::*;

const SETTINGS: ThermalSettings =
    ThermalSettings { soft: Some(75.0), hard: Some(85.0), margin: 5.0, hysteresis: 3.0, board: Trips::NONE };

/// What happens between two readings: milliseconds that pass, the temperature if it can be read, and whether the hardware
/// holds itself back.
type Turn = (u64, Option<f32>, bool);

fn reading(celsius: Option<f32>, throttled: bool) -> HealthReading {
    let zone = |celsius| Temperature { zone: "cpu".to_owned(), celsius, passive: None, critical: None };
    HealthReading {
        temperatures: celsius.map(zone).into_iter().collect(),
        throttling: Throttling { capped: Some(throttled), ..Throttling::default() },
        ..HealthReading::default()
    }
}

/// Temperatures that stand, tremble, rise and fall.
fn any_trace() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (prop_oneof![9 => 900_u64..1100, 1 => 100_u64..31_000], -1_f32..1.0, prop::bool::weighted(0.95));
    let phase = (
        prop_oneof![3 => 70_f32..90.0, 1 => 20_f32..120.0],
        prop_oneof![2 => Just(0_f32), 1 => -3_f32..3.0],
        prop_oneof![2 => Just(0_f32), 1 => 0_f32..5.0],
        prop::bool::weighted(0.1),
        prop::collection::vec(turn, 1..40),
    );
    let phase = phase.prop_map(|(start, slope, noise, throttled, turns)| {
        let (mut celsius, mut trace) = (start, Vec::new());
        for (ms, tremble, readable) in turns {
            celsius = (celsius + slope * ms as f32 / 1000.0).clamp(0.0, 130.0);
            trace.push((ms, readable.then_some(celsius + noise * tremble), throttled));
        }
        trace
    });
    prop::collection::vec(phase, 1..12).prop_map(|phases| phases.concat())
}

/// A governor after a trace, and each change of its level.
fn after(trace: &[Turn]) -> (Instant, ThermalGovernor, Vec<(Instant, Heat, Heat)>) {
    let (mut now, mut governor, mut changes) = (Instant::now(), ThermalGovernor::new(SETTINGS), Vec::new());
    for (ms, celsius, throttled) in trace {
        now += Duration::from_millis(*ms);
        if let Some(before) = governor.observe(now, &reading(*celsius, *throttled)) {
            changes.push((now, before, governor.heat()));
        }
    }
    (now, governor, changes)
}

proptest! {
    #[test]
    fn it_never_flaps(trace in any_trace()) {
        let (_, _, changes) = after(&trace);
        for pair in changes.windows(2) {
            let [(before, _, _), (at, from, to)] = pair else { unreachable!() };
            prop_assert!(to > from || *at - *before >= DWELL, "falls from {from} to {to} too soon");
        }
    }

    #[test]
    fn nothing_computes_above_the_hard_limit(trace in any_trace()) {
        let (mut now, mut governor) = (Instant::now(), ThermalGovernor::new(SETTINGS));
        let mut hot_since = None;
        for (ms, celsius, throttled) in trace {
            now += Duration::from_millis(ms);
            governor.observe(now, &reading(celsius, throttled));
            let duty = governor.duty();
            let is_hot = celsius.is_some_and(|celsius| celsius >= 85.0);
            hot_since = if is_hot { hot_since.or(Some(now)) } else { None };
            let confirmed = hot_since.is_some_and(|since| now - since >= CONFIRM);
            prop_assert!(!confirmed || duty == Duty::PAUSE);
            // And the less the nearer it is.
            if let Some(celsius) = celsius.filter(|celsius| *celsius >= 75.0) {
                let most = 100.0 - 90.0 * (celsius.min(85.0) - 75.0) / 10.0;
                prop_assert!(f32::from(duty.percent()) <= most + 0.1, "{duty:?} at {celsius}");
            }
            prop_assert_eq!(duty == Duty::PAUSE, governor.heat() == Heat::Hard);
            prop_assert_eq!(governor.cause().is_some(), governor.heat() > Heat::Normal);
            let refusal = governor.refusal(now);
            prop_assert_eq!(refusal.is_some(), governor.heat() == Heat::Hard);
            prop_assert!(refusal.is_none_or(|wait| (RETRY_MIN..=RETRY_MAX).contains(&wait)));
        }
    }

    #[test]
    fn all_is_well_once_it_is_cool(trace in any_trace()) {
        let (mut now, mut governor, _) = after(&trace);
        // A fall may lead to the level between, which stands for its time as well.
        for _ in 0..2 * DWELL.as_secs() + 2 {
            now += Duration::from_secs(1);
            governor.observe(now, &reading(Some(60.0), false));
        }
        prop_assert_eq!((governor.heat(), governor.duty()), (Heat::Normal, Duty::FULL));
    }

    /// A machine that would get too hot at full load finds the load at which it does not.
    #[test]
    fn a_machine_that_is_governed_goes_on_below_its_hard_limit(
        ambient in 20_f32..45.0, full in 90_f32..140.0, seconds in 20_f32..200.0, jump in 0_f32..4.0,
    ) {
        let (mut now, mut governor) = (Instant::now(), ThermalGovernor::new(SETTINGS));
        let (mut case, mut work, mut changes) = (ambient, 0.0, 0);
        let mut hottest = f32::MIN;
        for second in 0..1800_u32 {
            now += Duration::from_secs(1);
            let duty = f32::from(governor.duty().percent()) / 100.0;
            case += (ambient + (full - ambient) * duty - case) / seconds;
            // The chip is hotter than what is around it while it computes.
            let celsius = case + jump * duty;
            changes += u32::from(governor.observe(now, &reading(Some(celsius), false)).is_some());
            hottest = hottest.max(celsius);
            work += if second >= 900 { duty / 900.0 } else { 0.0 };
        }
        prop_assert!(hottest < 85.0, "{hottest}");
        prop_assert_eq!(changes, 1, "it paces, and stays with that");
        let possible = (75.0 - ambient - jump) / (full - ambient);
        prop_assert!(work > possible * 0.9, "computes {work} of the time, {possible} would do");
    }
}
