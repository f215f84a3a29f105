//! The number of a group.

use std::fs;

/// Where groups are listed. Those that only a directory service knows are not seen: asking it takes the C library's name
/// service, which may load and run anything. The package's own group is always listed here.
const GROUPS: &str = "/etc/group";

/// The number of the group of this name, if there is one.
pub(super) fn group_id(name: &str) -> Option<u32> {
    find(&fs::read_to_string(GROUPS).ok()?, name)
}

/// In lines of `name:password:number:members`, as group(5) has them.
fn find(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_groups_by_their_whole_name() {
        let groups = "root:x:0:\nbroken\n\nprompt:x:12:a,b\npromptd:x:997:\npromptd:x:998:\nodd:x:many:\n+::\n";
        for (name, id) in
            [("root", Some(0)), ("promptd", Some(997)), ("prompt", Some(12)), ("odd", None), ("broken", None)]
        {
            assert_eq!(find(groups, name), id, "{name}");
        }
        assert_eq!(find(groups, "promptds"), None);
        assert_eq!(group_id("root"), Some(0));
    }
}
