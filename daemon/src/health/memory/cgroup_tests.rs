//! Limits, cache that counts as free, and events, in cgroups made of plain files.

use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1024 * 1024;

/// A tree of cgroups in plain files; the first is this process' own.
struct Tree {
    folder: TempDir,
    lineage: Lineage,
}

impl Tree {
    fn new(version: Version) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = [("/a/b", "a/b"), ("/a", "a"), ("/", "")];
        let level = |(name, below): (&str, &str)| Level { name: name.to_owned(), folder: folder.path().join(below) };
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        Self { lineage: Lineage { version, levels: paths.map(level).into() }, folder }
    }

    fn write(&self, group: &str, files: &[(&str, &str)]) -> &Self {
        for (file, text) in files {
            std::fs::write(self.path(group).join(file), text).unwrap();
        }
        self
    }

    fn path(&self, group: &str) -> PathBuf {
        self.folder.path().join(group)
    }

    fn read(&self) -> Reading {
        Reading::of(&self.lineage)
    }
}

fn stat(inactive: u64, active: u64) -> String {
    format!("anon 1\ninactive_anon 9\ninactive_file {inactive}\nactive_file {active}\n")
}

#[test]
fn every_limit_on_the_path_counts() {
    let tree = Tree::new(Version::V2);
    tree.write("a/b", &[("memory.max", "max\n"), ("memory.high", "max\n"), ("memory.current", "1\n")]);
    assert_eq!(tree.read().limited, []);
    tree.write("a", &[("memory.max", "400\n"), ("memory.high", "300\n"), ("memory.current", "200\n")])
        .write("a", &[("memory.stat", &stat(20, 10))])
        .write("a/b", &[("memory.high", "100\n")]);
    let file = Some(FileCache { inactive: 20, active: 10 });
    let reading = tree.read();
    assert_eq!(
        reading.limited,
        [
            CgroupMemory { path: "/a/b".into(), own: true, limit: 100, usage: 1, file: None, high: Some(100) },
            CgroupMemory { path: "/a".into(), own: false, limit: 300, usage: 200, file, high: Some(300) },
        ]
    );
    assert!(reading.unreadable.is_empty());
    // Set at run time, it counts at once: 0 is a limit.
    tree.write("a/b", &[("memory.max", "0\n"), ("memory.high", "max\n")]);
    assert_eq!(tree.read().limited[0].limit, 0);
}

#[test]
fn version_1_tells_limits_that_are_out_of_sight() {
    let tree = Tree::new(Version::V1);
    let unlimited = "9223372036854771712\n";
    let stat = |above: &str| {
        format!("inactive_file 1\nhierarchical_memory_limit {above}\ntotal_inactive_file 30\ntotal_active_file 40\n")
    };
    for group in ["a/b", "a", ""] {
        tree.write(group, &[("memory.limit_in_bytes", unlimited), ("memory.usage_in_bytes", "500\n")])
            .write(group, &[("memory.stat", &stat(unlimited.trim()))]);
    }
    assert_eq!(tree.read().limited, []);
    // Of 16 and of 64 KiB a page.
    for large in ["9223372036854759424\n", "9223372036854710272\n"] {
        tree.write("a", &[("memory.limit_in_bytes", large)]);
        assert_eq!(tree.read().limited, []);
    }
    tree.write("", &[("memory.stat", &stat("600"))]).write("a", &[("memory.limit_in_bytes", "700\n")]);
    let file = Some(FileCache { inactive: 30, active: 40 });
    let group = |path: &str, limit| CgroupMemory { path: path.into(), own: false, limit, usage: 500, file, high: None };
    assert_eq!(tree.read().limited, [group("/a", 700), group("/", 600)]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let tree = Tree::new(Version::V2);
    tree.write("a", &[("memory.max", "400\n"), ("memory.current", "200\n")]);
    let unreadable = |file: &str, text: &str| {
        let path = tree.path("a").join(file);
        let before = std::fs::read(&path).ok();
        tree.write("a", &[(file, text)]);
        let reading = tree.read();
        match before {
            Some(before) => std::fs::write(&path, before).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert_eq!(reading.limited, []);
        reading.unreadable
    };
    for wrong in ["", "\n", "-1\n", "much\n", "18446744073709551616\n", "max max\n"] {
        assert_eq!(unreadable("memory.max", wrong), ["/a"], "{wrong:?}");
        assert_eq!(unreadable("memory.high", wrong), ["/a"], "{wrong:?}");
        assert_eq!(unreadable("memory.current", wrong), ["/a"], "{wrong:?}");
    }
    assert_eq!(tree.read().limited.len(), 1);
    // A limit without usage is no limit that could be judged.
    std::fs::remove_file(tree.path("a").join("memory.current")).unwrap();
    assert_eq!(tree.read().unreadable, ["/a"]);
    // A cgroup that is gone isn't one without a limit.
    std::fs::remove_dir_all(tree.path("a")).unwrap();
    assert_eq!(tree.read().unreadable, ["/a/b", "/a"]);
}

#[test]
fn events_of_others_do_not_count() {
    let tree = Tree::new(Version::V2);
    assert_eq!(tree.read().events, MemoryEvents::default());
    let events = "low 9\nhigh 1\nmax 2\noom 3\noom_kill 4\noom_group_kill 0\n";
    let others = "low 9\nhigh 1000\nmax 1000\noom 1000\noom_kill 1000\n";
    let local = "low 9\nhigh 10\nmax 20\noom 30\noom_kill 40\n";
    tree.write("a/b", &[("memory.events", events), ("memory.events.local", others)])
        .write("a", &[("memory.events", others), ("memory.events.local", local)]);
    let own = MemoryEvents { high: Some(1), max: Some(2), oom: Some(3), oom_kill: Some(4) };
    assert_eq!(tree.read().events, own, "only limits have events");
    tree.write("a", &[("memory.max", "400\n"), ("memory.current", "200\n")]);
    let both = MemoryEvents { high: Some(11), max: Some(22), oom: Some(33), oom_kill: Some(4) };
    assert_eq!(tree.read().events, both);
    // A sum without one of its parts would look as if something had happened when that part comes back.
    tree.write("a", &[("memory.events.local", "high x\n")]);
    assert_eq!(tree.read().events, MemoryEvents::default());
}

#[test]
fn version_1_counts_what_it_can() {
    let tree = Tree::new(Version::V1);
    tree.write("a/b", &[("memory.limit_in_bytes", "100\n"), ("memory.usage_in_bytes", "1\n")])
        .write("a/b", &[("memory.failcnt", "5\n"), ("memory.oom_control", "under_oom 0\noom_kill 6\n")])
        .write("a", &[("memory.limit_in_bytes", "100\n"), ("memory.usage_in_bytes", "1\n")])
        .write(
            "a",
            &[
                ("memory.failcnt", "50\n"),
                ("memory.memsw.failcnt", "500\n"),
                ("memory.oom_control", "under_oom 0\noom_kill 60\n"),
            ],
        );
    let expected = MemoryEvents { max: Some(555), oom_kill: Some(6), ..MemoryEvents::default() };
    assert_eq!(tree.read().events, expected);
}

#[test]
fn cache_is_free_except_what_models_need() {
    let file = Some(FileCache { inactive: 300 * MIB, active: 100 * MIB });
    let group = CgroupMemory { path: "/".into(), own: true, limit: 1000 * MIB, usage: 700 * MIB, file, high: None };
    for (kept, available) in [(0, 700), (100, 600), (150, 550), (390, 310), (400, 300), (5000, 300)] {
        assert_eq!(group.available(kept * MIB), available * MIB, "{kept} MiB are kept");
    }
    let above = CgroupMemory { own: false, ..group.clone() };
    for (kept, available) in [(0, 600), (100, 600), (150, 550), (390, 310), (400, 300), (5000, 300)] {
        assert_eq!(above.available(kept * MIB), available * MIB, "{kept} MiB are kept above");
    }
    assert_eq!(CgroupMemory { file: None, ..group.clone() }.available(0), 300 * MIB, "unknown cache isn't free");
    assert_eq!(CgroupMemory { usage: 1200 * MIB, ..group.clone() }.available(0), 200 * MIB, "above memory.high");
    assert_eq!(CgroupMemory { usage: 1400 * MIB, ..group }.available(0), 0);
}

proptest! {
    #[test]
    fn available_is_between_what_is_unused_and_the_limit(
        limit in any::<u64>(), usage in any::<u64>(), inactive in any::<u64>(), active in any::<u64>(), kept in any::<u64>(),
        own in any::<bool>(),
    ) {
        let file = Some(FileCache { inactive, active });
        let group = CgroupMemory { path: "/".into(), own, limit, usage, file, high: None };
        let available = group.available(kept);
        prop_assert!((limit.saturating_sub(usage)..=limit).contains(&available));
        prop_assert!(group.available(kept.saturating_add(1)) <= available, "to keep more leaves no more");
        let cache = u128::from(inactive) + u128::from(active);
        let taken = u128::from(available.saturating_sub(limit.saturating_sub(usage)));
        prop_assert!(taken + u128::from(kept).min(cache) <= cache.max(u128::from(kept)), "what is kept is not given away");
    }

    #[test]
    fn any_files_are_survived(text in "\\PC{0,20}", number in any::<u64>(), version_2 in any::<bool>()) {
        let tree = Tree::new(if version_2 { Version::V2 } else { Version::V1 });
        let number = number.to_string();
        for (group, text) in [("a/b", &text), ("a", &number)] {
            for file in [
                "memory.max", "memory.high", "memory.current", "memory.stat", "memory.events", "memory.events.local",
                "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.failcnt", "memory.oom_control",
            ] {
                tree.write(group, &[(file, text)]);
            }
        }
        let reading = tree.read();
        prop_assert!(reading.limited.len() + reading.unreadable.len() <= 2);
    }
}
