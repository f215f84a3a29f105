//! Memory and boards in the trees below `tests/fixtures/health`, whose README says where each comes from.

use super::super::*;
use super::tree::roots;
use crate::plan::{Bytes, MemoryLimit};

const MIB: u64 = 1024 * 1024;

fn read(tree: &str) -> MemoryReading {
    let reading = MemorySensors::discover(roots(tree)).read();
    assert_eq!(reading.unreadable, Vec::<String>::new(), "{tree}");
    reading
}

fn host(tree: &str) -> HostMemory {
    read(tree).host.unwrap()
}

/// What limits, as name, total and available, in MiB.
fn limits(tree: &str, kept: u64) -> Vec<(String, u64, u64)> {
    let mib =
        |MemoryLimit { name, total: Bytes(total), available: Bytes(available) }| (name, total / MIB, available / MIB);
    read(tree).limits(kept * MIB).into_iter().map(mib).collect()
}

fn tegra(module: &str) -> BoardKind {
    BoardKind::Tegra { soc: Some("tegra234".to_owned()), module: Some(module.to_owned()) }
}

#[test]
fn orin_nano_with_jetpack_5_has_cgroups_of_version_1() {
    let expected = [("host".into(), 7276, 5096), ("cgroup /system.slice/promptd.service".into(), 4096, 3696)];
    assert_eq!(limits("orin-nano-jetpack5", 0), expected);
    // 700 MiB of weights leave 100 MiB of the cgroup's 800 MiB of cache.
    let expected = [("host".into(), 7276, 4396), ("cgroup /system.slice/promptd.service".into(), 4096, 2996)];
    assert_eq!(limits("orin-nano-jetpack5", 700), expected);
    let reading = read("orin-nano-jetpack5");
    assert_eq!(reading.psi, None);
    let events = MemoryEvents { max: Some(17), oom_kill: Some(0), ..MemoryEvents::default() };
    assert_eq!(reading.events, events);
    assert_eq!(host("orin-nano-jetpack5").nvmap_used, Some(421_868 << 10));

    let board = Board::detect(&roots("orin-nano-jetpack5"));
    assert_eq!(board.model.as_deref(), Some("NVIDIA Orin Nano Developer Kit"));
    assert_eq!((&board.kind, board.l4t.as_deref()), (&tegra("p3767-0003"), Some("35.4.1")));
    assert!(board.unified_memory && !board.container);
}

#[test]
fn orin_nano_with_jetpack_6_is_nearly_full() {
    assert_eq!(limits("orin-nano-jetpack6", 0), [("host".into(), 7620, 797)]);
    assert_eq!(limits("orin-nano-jetpack6", 500), [("host".into(), 7620, 297)]);
    assert_eq!(limits("orin-nano-jetpack6", 800), [("host".into(), 7620, 0)]);
    let reading = read("orin-nano-jetpack6");
    assert_eq!(reading.psi, Some(Psi { some_avg10: 3.27, full_avg10: 1.04 }));
    assert_eq!(reading.host.unwrap().swap_free, Some(2_150_400 << 10));

    let board = Board::detect(&roots("orin-nano-jetpack6"));
    assert_eq!((&board.kind, board.l4t.as_deref()), (&tegra("p3767-0005"), Some("36.4.7")));
    assert!(board.model.is_some_and(|model| model.ends_with("Developer Kit Super")));
    assert!(board.unified_memory);
}

#[test]
fn orin_nx_has_a_limit_on_the_users_slice() {
    let service = "cgroup /user.slice/user-1000.slice/user@1000.service/app.slice/promptd.service";
    let expected = [
        ("host".into(), 15_654, 12_800),
        (service.into(), 10_240, 10_240 - 2048 + 1600),
        ("cgroup /user.slice/user-1000.slice".into(), 12_288, 12_288 - 2900 + 1700),
    ];
    assert_eq!(limits("orin-nx-jetpack6", 0), expected);
    let reading = read("orin-nx-jetpack6");
    assert_eq!(reading.cgroups[0].high, Some(10_240 * MIB));
    assert_eq!(reading.psi, Some(Psi { some_avg10: 0.1, full_avg10: 0.05 }), "its own, not the machine's");
    assert_eq!(Board::detect(&roots("orin-nx-jetpack6")).kind, tegra("p3767-0000"));
}

#[test]
fn raspberry_pi_boots_without_the_memory_controller() {
    assert_eq!(limits("raspberry-pi-5", 0), [("host".into(), 8062, 6016)]);
    let reading = read("raspberry-pi-5");
    assert_eq!((reading.psi, reading.events), (None, MemoryEvents::default()));
    let board = Board::detect(&roots("raspberry-pi-5"));
    assert_eq!(board.kind, BoardKind::RaspberryPi);
    assert_eq!(board.model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
    assert!(!board.unified_memory && !board.container);
    assert_eq!(board.l4t, None);
}

#[test]
fn a_pc_has_no_device_tree() {
    let reading = read("x86-hybrid");
    let host = reading.host.unwrap();
    assert_eq!((host.total, host.nvmap_used), (24_684_096 << 10, None));
    assert_eq!(reading.limits(0).len(), 1, "nothing is limited there: {:?}", reading.cgroups);
    assert!(reading.psi.is_some());
    assert_eq!(reading.events.oom_kill, Some(0));
    let board = Board::detect(&roots("x86-hybrid"));
    assert_eq!((board.model, board.kind), (None, BoardKind::Other));
    assert!(!board.unified_memory && !board.container);
}

#[test]
fn a_docker_container_sees_its_own_limit() {
    let tight = ("cgroup /".to_owned(), 1024, 1024 - 900 + 600);
    assert_eq!(limits("docker-v2", 0)[1..], [tight]);
    assert_eq!(limits("docker-v2", 550)[1..], [("cgroup /".into(), 1024, 1024 - 900 + 50)]);
    let reading = read("docker-v2");
    assert_eq!(reading.psi, Some(Psi { some_avg10: 2.5, full_avg10: 1.25 }));
    let events = MemoryEvents { high: Some(0), max: Some(12), oom: Some(1), oom_kill: Some(1) };
    assert_eq!(reading.events, events);
    // Its own limit is 2 GiB; the one above it, which it can't see, is tighter.
    assert_eq!(limits("docker-v1", 0)[1..], [("cgroup /docker/c0ffee".into(), 1536, 1536 - 600 + 200)]);
    for tree in ["docker-v2", "docker-v1", "kubernetes"] {
        assert!(Board::detect(&roots(tree)).container, "{tree}");
    }
}

#[test]
fn nested_limits_of_kubernetes_all_count() {
    let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123.slice";
    let expected = [
        (format!("cgroup {pod}/cri-containerd-c0ffee.scope"), 3072, 3072 - 1000 + 200),
        // The pod's other container has taken most: this is what binds.
        (format!("cgroup {pod}"), 3584, 3584 - 3200 + 200),
        ("cgroup /kubepods.slice".to_owned(), 15_000, 15_000 - 9000 + 2000),
    ];
    assert_eq!(limits("kubernetes", 0)[1..], expected);
    // Its own, and hits of limits above it; not the kills in other pods.
    let events = MemoryEvents { high: Some(0), max: Some(2 + 4 + 1), oom: Some(0), oom_kill: Some(0) };
    assert_eq!(read("kubernetes").events, events);
}

#[test]
fn a_service_is_held_by_its_softer_limit_and_its_slice() {
    let expected = [
        ("cgroup /edge.slice/promptd.service".into(), 1792, 1792 - 1024 + 464),
        ("cgroup /edge.slice".into(), 3072, 3072 - 2560 + 128),
    ];
    assert_eq!(limits("systemd-service", 0)[1..], expected);
    let events = MemoryEvents { high: Some(5), max: Some(6), oom: Some(0), oom_kill: Some(0) };
    assert_eq!(read("systemd-service").events, events);
}

#[test]
fn a_machine_that_tells_nothing_is_unknown() {
    let empty = tempfile::tempdir().unwrap();
    let reading = MemorySensors::discover(Roots::under(empty.path())).read();
    let expected = MemoryReading {
        host: None,
        cgroups: Vec::new(),
        unreadable: Vec::new(),
        psi: None,
        events: MemoryEvents::default(),
        host_kills: None,
    };
    assert_eq!(reading, expected);
    assert_eq!(reading.limits(0), []);
}
