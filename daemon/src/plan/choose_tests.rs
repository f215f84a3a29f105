//! The choice, and its laws.

use proptest::prelude::*;
use proptest::strategy::Strategy as _;

use super::{Strategy, *};
use crate::plan::{DeviceKind, DeviceMemory, DeviceNeed, HostNeed, KvType};

const MIB: u64 = 1 << 20;

/// An option that needs so many MiB, the margin not counted.
fn option(context: u32, host: u64, device: u64) -> LoadOption {
    let host = HostNeed { kv: Bytes(host * MIB), ..HostNeed::default() };
    let device = DeviceNeed { weights: Bytes(device * MIB), ..DeviceNeed::default() };
    let shape = LoadShape { context, sequences: 1, kv_type: KvType::F16 };
    LoadOption { shape, gpu_layers: GpuLayers::None, need: Need::new(host, device) }
}

fn candidate(strategy: &str, options: Vec<LoadOption>) -> Candidate {
    Candidate { strategy: Strategy::parse(strategy).unwrap(), options: Ok(options) }
}

fn headroom(host: u64) -> Headroom {
    Headroom { host: HostHeadroom::Known { bytes: Bytes(host * MIB), limit: "cgroup /x".to_owned() }, device: None }
}

fn three() -> [Candidate; 3] {
    let failed = Candidate { options: Err("its file is gone".to_owned()), ..candidate("cpu:f16", vec![]) };
    [
        failed,
        candidate("cpu:int8", vec![option(2048, 300, 0), option(512, 200, 0)]),
        candidate("cpu:int4", vec![option(2048, 150, 0), option(512, 100, 0)]),
    ]
}

fn texts(choice: &Choice) -> Vec<String> {
    choice.rejected.iter().map(ToString::to_string).collect()
}

#[test]
fn it_squeezes_before_it_steps() {
    let chosen = |host| choose(&three(), &headroom(host)).chosen.map(|chosen| (chosen.rank, chosen.squeezed));
    let rank = |candidate, option| Rank { candidate, option };
    assert_eq!(chosen(1000), Some((rank(1, 0), false)));
    assert_eq!(chosen(250), Some((rank(1, 1), true)));
    assert_eq!(chosen(180), Some((rank(2, 0), false)));
    assert_eq!(chosen(120), Some((rank(2, 1), true)));
    assert_eq!(chosen(50), None);
}

#[test]
fn every_better_strategy_is_rejected_with_its_numbers() {
    let choice = choose(&three(), &headroom(180));
    let [failed, large] =
        ["cpu:f16 can't be tried: its file is gone", "cpu:int8 needs 208.0 MiB; 180.0 MiB are available (cgroup /x)"];
    assert_eq!(texts(&choice), [failed, large]);
    let choice = choose(&three(), &headroom(1));
    assert_eq!(texts(&choice)[2], "cpu:int4 needs 106.0 MiB; 1.0 MiB are available (cgroup /x)");
    assert_eq!(choose(&[], &headroom(1)), Choice { chosen: None, rejected: vec![] });
    let empty = choose(&[candidate("cpu:int8", vec![])], &headroom(1000));
    assert_eq!(texts(&empty), ["cpu:int8 can't be tried: there is no way to carry it out"]);
}

#[test]
fn worse_is_the_next_that_fits() {
    let worse = |host, candidate, option| {
        let choice = choose_worse(&three(), &headroom(host), Rank { candidate, option });
        (choice.chosen.as_ref().map(|chosen| (chosen.rank.candidate, chosen.rank.option)), texts(&choice))
    };
    let (chosen, rejected) = worse(1000, 1, 0);
    assert_eq!(chosen, Some((1, 1)));
    assert_eq!(rejected, ["cpu:f16 can't be tried: its file is gone"]);
    let (chosen, rejected) = worse(1000, 1, 1);
    assert_eq!(chosen, Some((2, 0)));
    assert_eq!(rejected[1], "cpu:int8 had to give memory back");
    let (chosen, rejected) = worse(130, 1, 0);
    assert_eq!(chosen, Some((2, 1)));
    assert!(rejected[1].starts_with("cpu:int8 needs 208.0 MiB"), "{rejected:?}");
    assert_eq!(worse(1000, 2, 1).0, None);
}

#[test]
fn an_unknown_host_takes_the_first_and_says_so() {
    let unknown = Headroom { host: HostHeadroom::Unknown, device: None };
    let chosen = choose(&three(), &unknown).chosen.unwrap();
    assert_eq!(chosen.rank, Rank { candidate: 1, option: 0 });
    assert!(chosen.assumed);
    assert!(!choose(&three(), &headroom(1000)).chosen.unwrap().assumed);
}

fn any_headroom() -> impl proptest::strategy::Strategy<Value = Headroom> {
    let kind = prop_oneof![Just(DeviceKind::Discrete), Just(DeviceKind::Unified)];
    let device = prop::option::of((kind, 0_u64..1500));
    (prop::option::weighted(0.9, 0_u64..1500), device).prop_map(|(host, device)| Headroom {
        host: host.map_or(HostHeadroom::Unknown, |host| headroom(host).host),
        device: device.map(|(kind, free)| DeviceMemory { kind, total: Bytes(2000 * MIB), free: Bytes(free * MIB) }),
    })
}

fn any_candidates() -> impl proptest::strategy::Strategy<Value = Vec<Candidate>> {
    let options = prop::collection::vec((1_u32..5000, 0_u64..1000, 0_u64..1000), 0..6);
    let options = options.prop_map(|all| all.into_iter().map(|(context, host, device)| option(context, host, device)));
    let options = prop::option::weighted(0.9, options.prop_map(Iterator::collect));
    let candidate = (options, 0_usize..4).prop_map(|(options, strategy)| Candidate {
        strategy: Strategy::parse(["gpu:f16", "gpu:int8", "cpu:int8", "cpu:int4"][strategy]).unwrap(),
        options: options.ok_or_else(|| "no file".to_owned()),
    });
    prop::collection::vec(candidate, 0..6)
}

/// Whether the need is covered, said anew: the choice must agree with this.
fn fits(need: &Need, headroom: &Headroom) -> bool {
    let host = match &headroom.host {
        HostHeadroom::Known { bytes, .. } => bytes.0,
        HostHeadroom::Unknown => u64::MAX,
    };
    match headroom.device {
        None => need.host().0 <= host && need.device().0 == 0,
        Some(DeviceMemory { kind: DeviceKind::Unified, .. }) => need.host().0 + need.device().0 <= host,
        Some(DeviceMemory { free, .. }) => need.host().0 <= host && need.device().0 <= free.0.saturating_sub(256 * MIB),
    }
}

/// All options with their ranks, best first.
fn ranked(candidates: &[Candidate]) -> Vec<(Rank, LoadOption)> {
    let mut all = Vec::new();
    for (candidate, Candidate { options, .. }) in candidates.iter().enumerate() {
        for (option, load) in options.iter().flatten().enumerate() {
            all.push((Rank { candidate, option }, *load));
        }
    }
    all
}

proptest! {
    #[test]
    fn the_first_that_fits_is_chosen(candidates in any_candidates(), headroom in any_headroom()) {
        let expected = ranked(&candidates).into_iter().find(|(_, option)| fits(&option.need, &headroom));
        let choice = choose(&candidates, &headroom);
        let chosen = choice.chosen.as_ref().map(|chosen| (chosen.rank, chosen.option));
        prop_assert_eq!(chosen, expected);
        if let Some(chosen) = choice.chosen {
            let candidate = &candidates[chosen.rank.candidate];
            prop_assert_eq!(chosen.strategy, candidate.strategy);
            prop_assert_eq!(chosen.squeezed, candidate.options.as_ref().unwrap()[0].shape != chosen.option.shape);
            prop_assert_eq!(chosen.assumed, headroom.host == HostHeadroom::Unknown);
        }
    }

    #[test]
    fn the_rejected_are_those_before_the_chosen(candidates in any_candidates(), headroom in any_headroom()) {
        let choice = choose(&candidates, &headroom);
        let before = choice.chosen.map_or(candidates.len(), |chosen| chosen.rank.candidate);
        prop_assert_eq!(choice.rejected.len(), before);
        for (rejection, candidate) in choice.rejected.iter().zip(&candidates) {
            prop_assert_eq!(rejection.strategy, candidate.strategy);
            match (&rejection.why, &candidate.options) {
                (Why::TooLarge { need, headroom, .. }, Ok(options)) => {
                    prop_assert!(need > headroom);
                    let has = |option: &LoadOption| [option.need.host(), option.need.device(), option.need.total()].contains(need);
                    prop_assert!(options.iter().any(has));
                }
                (Why::Failed(reason), Err(expected)) => prop_assert_eq!(reason, expected),
                (Why::Failed(_), Ok(options)) => prop_assert!(options.is_empty()),
                (why, _) => prop_assert!(false, "{:?}", why),
            }
        }
    }

    #[test]
    fn more_headroom_is_never_worse(
        candidates in any_candidates(),
        headroom in any_headroom(),
        more in (0_u64..500, 0_u64..500),
    ) {
        let mut larger = headroom.clone();
        if let HostHeadroom::Known { bytes, .. } = &mut larger.host {
            bytes.0 += more.0 * MIB;
        }
        if let Some(device) = &mut larger.device {
            device.free.0 += more.1 * MIB;
        }
        let rank = |headroom| choose(&candidates, headroom).chosen.map(|chosen| chosen.rank);
        if let Some(rank_of_less) = rank(&headroom) {
            prop_assert!(rank(&larger).is_some_and(|rank| rank <= rank_of_less));
        }
    }

    #[test]
    fn stepping_down_meets_every_option_that_fits_once(candidates in any_candidates(), headroom in any_headroom()) {
        let mut met: Vec<Rank> = Vec::new();
        let mut choice = choose(&candidates, &headroom);
        while let Some(chosen) = choice.chosen {
            prop_assert!(met.last().is_none_or(|last| *last < chosen.rank), "{:?} comes again", chosen.rank);
            met.push(chosen.rank);
            prop_assert_eq!(choice.rejected.len(), chosen.rank.candidate);
            choice = choose_worse(&candidates, &headroom, chosen.rank);
        }
        prop_assert_eq!(choice.rejected.len(), candidates.len());
        let fitting = ranked(&candidates).into_iter().filter(|(_, option)| fits(&option.need, &headroom));
        prop_assert_eq!(met, fitting.map(|(rank, _)| rank).collect::<Vec<_>>());
    }
}
