//! Which strategies are tried for a model, and in which order.

use super::{Placement, Strategy};
use crate::job::Precision;

/// What GPUs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// None, or no back end for them.
    None,
    /// One that shares the host's memory.
    Unified,
    /// One with memory of its own.
    Discrete,
}

impl Devices {
    fn can(self, placement: Placement) -> bool {
        match placement {
            Placement::Cpu => true,
            Placement::Gpu => self != Self::None,
            // On unified memory it frees nothing.
            Placement::Partial => self == Self::Discrete,
        }
    }
}

/// The ladder of a model that has none of its own. On a GPU 16 bits come first; on the CPU, where speed is what memory
/// bandwidth gives, 8 bits do, and 16 are for those who ask for them.
const DEFAULT: [Strategy; 7] = [
    Strategy::new(Placement::Gpu, Precision::F16),
    Strategy::new(Placement::Gpu, Precision::Int8),
    Strategy::new(Placement::Gpu, Precision::Int4),
    Strategy::new(Placement::Partial, Precision::Int8),
    Strategy::new(Placement::Partial, Precision::Int4),
    Strategy::new(Placement::Cpu, Precision::Int8),
    Strategy::new(Placement::Cpu, Precision::Int4),
];

/// The strategies to try, best first: those of the `configured` ladder, or of the default one, for which there is a file
/// (or can be) and a device.
///
/// If nothing is left of a configured ladder, or no step on the CPU of the default one, all `precisions` on the CPU are
/// its end, most exact first: whoever has only a file in 16 bits wants it to run. It is empty only if `precisions` is.
pub fn ladder(configured: Option<&[Strategy]>, precisions: &[Precision], devices: Devices) -> Vec<Strategy> {
    let possible = |strategy: &Strategy| precisions.contains(&strategy.precision) && devices.can(strategy.placement);
    let all = configured.unwrap_or(&DEFAULT);
    let mut steps = Vec::with_capacity(all.len());
    for strategy in all.iter().copied().filter(possible) {
        if !steps.contains(&strategy) {
            steps.push(strategy);
        }
    }
    let on_cpu = |strategy: &Strategy| strategy.placement == Placement::Cpu;
    let ends = if configured.is_some() { !steps.is_empty() } else { steps.iter().any(on_cpu) };
    if !ends {
        let existing = Precision::ALL.into_iter().filter(|precision| precisions.contains(precision));
        steps.extend(existing.map(|precision| Strategy::new(Placement::Cpu, precision)));
    }
    steps
}

/// The precisions that a ladder names, most exact first: those worth deriving.
pub fn wanted_precisions(configured: Option<&[Strategy]>) -> Vec<Precision> {
    let steps = configured.unwrap_or(&DEFAULT);
    let named = |precision: &Precision| steps.iter().any(|strategy| strategy.precision == *precision);
    Precision::ALL.into_iter().filter(named).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::{select, subsequence};
    use proptest::strategy::Strategy as _;

    use super::{Strategy, *};

    fn read(text: &str) -> Vec<Strategy> {
        text.split_whitespace().map(|step| Strategy::parse(step).unwrap()).collect()
    }

    #[test]
    fn the_default_is_cut_to_files_and_devices() {
        use Precision::{F16, Int4, Int8};
        let all = [F16, Int8, Int4];
        for (precisions, devices, expected) in [
            (&all[..], Devices::None, "cpu:int8 cpu:int4"),
            (&all, Devices::Unified, "gpu:f16 gpu:int8 gpu:int4 cpu:int8 cpu:int4"),
            (&all, Devices::Discrete, "gpu:f16 gpu:int8 gpu:int4 partial:int8 partial:int4 cpu:int8 cpu:int4"),
            (&[Int4], Devices::None, "cpu:int4"),
            (&[Int4, F16], Devices::Unified, "gpu:f16 gpu:int4 cpu:int4"),
            (&[], Devices::Discrete, ""),
            // Only a file in 16 bits.
            (&[F16], Devices::None, "cpu:f16"),
            (&[F16], Devices::Discrete, "gpu:f16 cpu:f16"),
        ] {
            assert_eq!(ladder(None, precisions, devices), read(expected), "{precisions:?} {devices:?}");
        }
    }

    #[test]
    fn a_configured_ladder_keeps_its_order() {
        let configured = read("cpu:int4 partial:int8 gpu:int8 cpu:int4 cpu:f16");
        let cut = |precisions: &[Precision], devices| ladder(Some(&configured), precisions, devices);
        assert_eq!(cut(&Precision::ALL, Devices::Discrete), read("cpu:int4 partial:int8 gpu:int8 cpu:f16"));
        assert_eq!(cut(&Precision::ALL, Devices::Unified), read("cpu:int4 gpu:int8 cpu:f16"));
        assert_eq!(cut(&[Precision::Int8], Devices::Unified), read("gpu:int8"));
        assert_eq!(cut(&[Precision::Int8], Devices::None), read("cpu:int8"));
        let gpu = read("gpu:int8");
        let existing = [Precision::Int4, Precision::F16];
        assert_eq!(ladder(Some(&gpu), &existing, Devices::Discrete), read("cpu:f16 cpu:int4"));
    }

    #[test]
    fn what_a_ladder_names_is_worth_deriving() {
        assert_eq!(wanted_precisions(None), Precision::ALL);
        assert_eq!(wanted_precisions(Some(&read("cpu:int4 gpu:int4 cpu:f16"))), [Precision::F16, Precision::Int4]);
    }

    proptest! {
        #[test]
        fn every_step_is_possible_and_comes_once(
            configured in prop::option::of(prop::collection::vec(select(DEFAULT.to_vec()), 0..9)),
            precisions in subsequence(Precision::ALL.to_vec(), 0..=3).prop_shuffle(),
            devices in select(vec![Devices::None, Devices::Unified, Devices::Discrete]),
        ) {
            let steps = ladder(configured.as_deref(), &precisions, devices);
            prop_assert_eq!(steps.is_empty(), precisions.is_empty());
            for (index, step) in steps.iter().enumerate() {
                prop_assert!(precisions.contains(&step.precision) && devices.can(step.placement));
                prop_assert!(!steps[..index].contains(step));
            }
        }
    }
}
