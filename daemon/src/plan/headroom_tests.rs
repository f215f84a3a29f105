//! Headroom from limits, and what lacks for a need.

use proptest::prelude::*;

use super::*;
use crate::plan::{DeviceNeed, HostNeed, Percent};

const MIB: u64 = 1 << 20;

fn mib(count: u64) -> Bytes {
    Bytes(count * MIB)
}

fn limit(name: &str, total: u64, available: u64) -> MemoryLimit {
    MemoryLimit { name: name.to_owned(), total: mib(total), available: mib(available) }
}

fn tenth() -> Reserve {
    Reserve::Percent(Percent::from_tenths(100).unwrap())
}

fn known(bytes: u64, limit: &str) -> HostHeadroom {
    HostHeadroom::Known { bytes: mib(bytes), limit: limit.to_owned() }
}

/// A need whose host part, margin included, is so many MiB; as much of it as the margin leaves.
fn need(host: u64, device: u64) -> Need {
    let kv = Bytes((host * MIB - 4 * MIB) / 51 * 50);
    let need =
        Need::new(HostNeed { kv, ..HostNeed::default() }, DeviceNeed { weights: mib(device), ..DeviceNeed::default() });
    assert!(need.host() <= mib(host) && need.host().0 > host * MIB - 100);
    need
}

fn device(kind: DeviceKind, free: u64) -> DeviceMemory {
    DeviceMemory { kind, total: mib(8192), free: mib(free) }
}

#[test]
fn the_tightest_limit_sets_it() {
    let host = limit("host", 8000, 3000);
    let group = limit("cgroup /a", 1000, 500);
    let of = |limits: &[MemoryLimit], budget| Headroom::of(limits, tenth(), budget, None).host;
    assert_eq!(of(std::slice::from_ref(&host), None), known(2200, "host"));
    assert_eq!(of(&[host.clone(), group.clone()], None), known(400, "cgroup /a"));
    let budget = |total, used| Some(Budget { total: mib(total), used: mib(used) });
    assert_eq!(of(&[host.clone(), group.clone()], budget(600, 300)), known(300, "memory.budget"));
    assert_eq!(of(&[host.clone(), group], budget(600, 100)), known(400, "cgroup /a"));
    assert_eq!(of(&[host], budget(600, 700)), known(0, "memory.budget"));
    assert_eq!(of(&[limit("host", 1000, 50)], None), known(0, "host"));
}

#[test]
fn nothing_known_is_no_headroom_of_nothing() {
    let headroom = Headroom::of(&[], tenth(), None, None);
    assert_eq!(headroom.host, HostHeadroom::Unknown);
    assert_eq!(headroom.shortage(&need(100_000, 0)), None);
    // A GPU's memory is checked all the same.
    let headroom = Headroom::of(&[], tenth(), None, Some(device(DeviceKind::Discrete, 1000)));
    assert_eq!(headroom.shortage(&need(10, 745)).unwrap().limit, "GPU");
    // A budget is a limit.
    let budget = Budget { total: mib(50), used: mib(0) };
    assert_eq!(Headroom::of(&[], tenth(), Some(budget), None).host, known(50, "memory.budget"));
}

#[test]
fn a_discrete_gpu_is_counted_beside_the_host() {
    let headroom = Headroom::of(&[limit("host", 1000, 200)], tenth(), None, Some(device(DeviceKind::Discrete, 1256)));
    assert_eq!(headroom.shortage(&need(100, 1000)), None);
    let device = Shortage { need: mib(1001), headroom: mib(1000), limit: "GPU".to_owned() };
    assert_eq!(headroom.shortage(&need(100, 1001)), Some(device));
    assert_eq!(headroom.shortage(&need(101, 1000)).unwrap().limit, "host");
    // The one that lacks most is named.
    assert_eq!(headroom.shortage(&need(105, 1002)).unwrap().limit, "host");
    assert_eq!(headroom.shortage(&need(105, 1050)).unwrap().limit, "GPU");
}

#[test]
fn unified_memory_is_counted_once() {
    let headroom = Headroom::of(&[limit("host", 1000, 500)], tenth(), None, Some(device(DeviceKind::Unified, 1)));
    assert_eq!(headroom.shortage(&need(100, 300)), None);
    let shortage = headroom.shortage(&need(100, 301)).unwrap();
    assert_eq!((shortage.headroom, shortage.limit.as_str()), (mib(400), "host"));
    assert!(shortage.missing() <= mib(1));
}

#[test]
fn no_gpu_holds_nothing() {
    let headroom = Headroom::of(&[limit("host", 1000, 500)], tenth(), None, None);
    let shortage = headroom.shortage(&need(100, 1)).unwrap();
    assert_eq!(shortage, Shortage { need: mib(1), headroom: Bytes(0), limit: "no GPU".to_owned() });
}

proptest! {
    #[test]
    fn no_limit_is_exceeded(
        limits in prop::collection::vec((any::<u64>(), any::<u64>()), 0..5),
        reserve in any::<u64>(),
        budget in prop::option::of((any::<u64>(), any::<u64>())),
    ) {
        let reserve = Reserve::Bytes(Bytes(reserve));
        let limits = limits.into_iter().map(|(total, available)| {
            MemoryLimit { name: "x".to_owned(), total: Bytes(total), available: Bytes(available) }
        });
        let limits = limits.collect::<Vec<_>>();
        let budget = budget.map(|(total, used)| Budget { total: Bytes(total), used: Bytes(used) });
        match Headroom::of(&limits, reserve, budget, None).host {
            HostHeadroom::Unknown => prop_assert!(limits.is_empty() && budget.is_none()),
            HostHeadroom::Known { bytes, limit } => {
                for limit in &limits {
                    let kept = reserve.of(limit.total).0;
                    prop_assert!(bytes.0 == 0 || bytes.0 + kept <= limit.available.0);
                }
                if let Some(budget) = budget {
                    prop_assert!(bytes.0 == 0 || bytes.0 + budget.used.0 <= budget.total.0);
                }
                prop_assert_eq!(limit == "memory.budget", budget.is_some() && (limits.is_empty() || limit != "x"));
            }
        }
    }
}
