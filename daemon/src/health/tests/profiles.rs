//! The profile of every board below `tests/fixtures/health`.

use super::super::profile::facts;
use super::tree::{BOARDS, roots};
use crate::plan::Profile;

fn profile(tree: &str) -> Profile {
    Profile::of(&facts(&roots(tree), u32::MAX))
}

#[test]
fn each_board_gets_its_own() {
    let found = BOARDS.map(|board| {
        let Profile { name, threads, sequences, .. } = profile(board);
        (name, threads, sequences)
    });
    let expected = [
        ("orin-nano-8gb", 5, 4),
        ("orin-nano-8gb", 5, 4),
        ("orin-nx-16gb", 7, 8),
        ("agx-orin", 11, 8),
        ("raspberry-pi-4", 4, 2),
        ("raspberry-pi-5", 4, 4),
        // Two big cores of four threads, and four little ones.
        ("x86", 2, 4),
        ("x86", 4, 4),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_container_still_gets_one() {
    let profile = profile("docker-v2");
    assert_eq!(profile.name, "other");
    assert!(profile.why.iter().any(|why| why == "threads: cores of unknown sort"), "{profile:?}");
}
