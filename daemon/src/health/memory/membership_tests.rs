//! Where cgroups are found, for the ways that hosts and containers mount them.

use proptest::prelude::*;

use super::*;

const V2_HOST: &str = "22 1 0:21 / /proc rw - proc proc rw\n\
                       30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const HYBRID: &str = "31 30 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      33 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      34 31 0:30 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";

/// What is found, as `V2 /name=/its/folder /=/its/folder`.
fn shown(lineage: Option<&Lineage>) -> String {
    lineage.map_or("none".to_owned(), |lineage| {
        let levels = lineage.levels.iter().map(|level| format!(" {}={}", level.name, level.folder.display()));
        format!("{:?}{}", lineage.version, levels.collect::<String>())
    })
}

fn memory(cgroup: &str, mountinfo: &str) -> String {
    shown(Lineage::of_memory(cgroup, mountinfo, &Roots::default()).as_ref())
}

#[test]
fn a_service_sees_its_slice_and_the_root() {
    let expected = "V2 /system.slice/promptd.service=/sys/fs/cgroup/system.slice/promptd.service \
                    /system.slice=/sys/fs/cgroup/system.slice /=/sys/fs/cgroup";
    assert_eq!(memory("0::/system.slice/promptd.service\n", V2_HOST), expected);
}

#[test]
fn version_1_wins_where_it_has_the_memory_controller() {
    let cgroup = "11:cpu,cpuacct:/\n9:memory:/a:b\n0::/u\n";
    assert_eq!(memory(cgroup, HYBRID), "V1 /a:b=/sys/fs/cgroup/memory/a:b /=/sys/fs/cgroup/memory");
    let unified = "V2 /u=/sys/fs/cgroup/unified/u /=/sys/fs/cgroup/unified";
    assert_eq!(shown(Lineage::of(Version::V2, cgroup, HYBRID, &Roots::default()).as_ref()), unified);
    // Without the controller, version 2 has it.
    assert_eq!(memory("11:cpu,cpuacct:/\n0::/u\n", HYBRID), unified);
}

#[test]
fn a_container_sees_no_more_than_its_own() {
    let own = V2_HOST.replace("0:26 / ", "0:26 /docker/x ");
    // With a namespace of its own: everything is relative to it.
    assert_eq!(memory("0::/\n", V2_HOST), "V2 /=/sys/fs/cgroup");
    // Without one: the mount's root is the container.
    assert_eq!(memory("0::/docker/x\n", &own), "V2 /docker/x=/sys/fs/cgroup");
    let below = "V2 /docker/x/init=/sys/fs/cgroup/init /docker/x=/sys/fs/cgroup";
    assert_eq!(memory("0::/docker/x/init\n", &own), below);
    // A name that only begins alike is another container's; what is mounted is still the best guess.
    assert_eq!(memory("0::/docker/xy\n", &own), "V2 /docker/x=/sys/fs/cgroup");
}

#[test]
fn namespaces_and_mounts_that_do_not_match() {
    let above = V2_HOST.replace("0:26 / ", "0:26 /../.. ");
    let sibling = V2_HOST.replace("0:26 / ", "0:26 /.. ");
    // The mount is of a namespace above ours: our name in it is unknown.
    assert_eq!(memory("0::/\n", &above), "V2 /../..=/sys/fs/cgroup");
    // We left our namespace: to where the mount shows, or to where it doesn't.
    assert_eq!(memory("0::/../other\n", &sibling), "V2 /../other=/sys/fs/cgroup/other /..=/sys/fs/cgroup");
    assert_eq!(memory("0::/../other\n", V2_HOST), "none");
    assert_eq!(memory("0::/a/../../../etc\n", V2_HOST), "none", "never out of the mount");
}

#[test]
fn of_several_mounts_the_widest_that_is_not_hidden_counts() {
    let narrow = "40 30 0:26 /a /run/a rw - cgroup2 cgroup2 rw\n";
    let wide = "V2 /a=/sys/fs/cgroup/a /=/sys/fs/cgroup";
    assert_eq!(memory("0::/a\n", &format!("{narrow}{V2_HOST}")), wide);
    assert_eq!(memory("0::/a\n", &format!("{V2_HOST}{narrow}")), wide);
    let over = "41 30 0:26 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    assert_eq!(memory("0::/a\n", &format!("{V2_HOST}{over}")), "V2 /a=/sys/fs/cgroup");
}

#[test]
fn odd_names_are_read_as_the_kernel_writes_them() {
    let mountinfo = "34 31 0:30 /my\\040pod /mnt/c\\134g\\040x rw - cgroup cgroup rw,memory\n";
    assert_eq!(memory("4:memory:/my pod\n", mountinfo), "V1 /my pod=/mnt/c\\g x");
    assert_eq!(unescape("a\\04"), "a\\04");
    assert_eq!(unescape("a\\777b\\"), "a\\777b\\");
}

#[test]
fn what_is_not_there_is_not_found() {
    for (cgroup, mountinfo) in [
        ("", V2_HOST),
        ("0::/a\n", ""),
        ("0::/a\n", "30 23 0:26 / /sys/fs/cgroup"),
        ("4:memory:/a\n", V2_HOST),
        ("4:memory_extra:/a\n", HYBRID),
        ("0::a\n", HYBRID),
        ("1::/a\n", V2_HOST),
    ] {
        assert_eq!(memory(cgroup, mountinfo), "none", "{cgroup:?} {mountinfo:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(cgroup in any::<String>(), mountinfo in any::<String>()) {
        prop_assert_eq!(Lineage::of_memory(&cgroup, &mountinfo, &Roots::default()), None);
    }

    #[test]
    fn levels_lead_up_to_the_mount(
        path in "(/[a-z.]{0,3}){0,80}",
        root in "(/|(/[a-z.]{1,3}){0,3})",
        point in "/sys(/[a-z]{1,3}){0,2}",
    ) {
        let mountinfo = format!("34 31 0:30 {root} {point} rw - cgroup2 none rw\n");
        let found = Lineage::of_memory(&format!("0::/{path}\n"), &mountinfo, &Roots::default());
        let Some(lineage) = found else { return Ok(()) };
        prop_assert!((1..=LEVELS_MAX).contains(&lineage.levels.len()));
        for level in &lineage.levels {
            prop_assert!(level.folder.starts_with(&point), "{:?} is outside", level.folder);
            prop_assert!(level.folder.components().all(|part| part.as_os_str() != ".."));
        }
        for pair in lineage.levels.windows(2) {
            prop_assert_eq!(pair[0].folder.parent(), Some(pair[1].folder.as_path()));
        }
    }
}
