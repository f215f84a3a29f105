//! The user that the daemon runs as, and what that user may do with a file.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, getxattr};
use rustix::process::{Gid, getegid, geteuid, getgroups};

/// The user of the packaged service.
const SERVICE: &str = "promptd";

/// Who may do everything.
const ROOT: u32 = 0;

/// Where an access control list stands, acl(5): it counts besides owner, group and mode.
const LIST: &str = "system.posix_acl_access";

/// Where users and groups are listed. Those that only a directory service knows go by their numbers.
const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// What is wanted of a file or folder: a bit of its mode, of the three for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// To read it.
    Read = 0o4,
    /// To change it.
    Write = 0o2,
    /// To go through a folder.
    Pass = 0o1,
}

impl From<Want> for Access {
    fn from(want: Want) -> Self {
        match want {
            Want::Read => Self::READ_OK,
            Want::Write => Self::WRITE_OK,
            Want::Pass => Self::EXEC_OK,
        }
    }
}

/// A user with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name, or the number where there is none.
    pub name: String,
    uid: u32,
    gids: Vec<u32>,
}

impl Account {
    /// Whom the daemon runs as: the owner of its control socket. Without one: the packaged service's user if root asks and
    /// there is one, else whoever asks.
    pub fn of_daemon(control_socket: &Path) -> Self {
        let owner = fs::symlink_metadata(control_socket).ok().map(|found| found.uid());
        let own = geteuid().as_raw();
        match owner {
            Some(uid) if uid != own => Self::listed(|user| user.uid == uid).unwrap_or_else(|| Self::unlisted(uid)),
            None if own == ROOT => Self::listed(|user| user.name == SERVICE).unwrap_or_else(Self::this),
            _ => Self::this(),
        }
    }

    /// Whom this process runs as.
    pub fn this() -> Self {
        let uid = geteuid().as_raw();
        let groups = getgroups().unwrap_or_default();
        let gids = groups.into_iter().chain([getegid()]).map(Gid::as_raw).collect();
        let name = Self::listed(|user| user.uid == uid).map_or_else(|| uid.to_string(), |user| user.name);
        Self { name, uid, gids }
    }

    fn unlisted(uid: u32) -> Self {
        Self { name: uid.to_string(), uid, gids: Vec::new() }
    }

    fn listed(wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        find(&fs::read_to_string(USERS).ok()?, &fs::read_to_string(GROUPS).unwrap_or_default(), wanted)
    }

    /// Whether it is the packaged service's user, from which the unit hides some folders.
    pub fn is_service(&self) -> bool {
        self.name == SERVICE
    }

    /// What keeps this user from a file: a folder on the way, or the file itself. None if nothing does; about another user
    /// than this process' that is known by owner, group and mode, and what has an access control list is believed to let
    /// everybody in. An error if it isn't there, or this process may not look.
    pub fn kept_from(&self, path: &Path, want: Want) -> io::Result<Option<PathBuf>> {
        let path = fs::canonicalize(path)?;
        if self.uid == geteuid().as_raw() {
            return Ok(access(&path, want.into()).is_err().then_some(path));
        }
        let mut folders: Vec<&Path> = path.ancestors().skip(1).collect();
        folders.reverse();
        for folder in folders {
            if !self.may(folder, Want::Pass)? {
                return Ok(Some(folder.to_owned()));
            }
        }
        Ok((!self.may(&path, want)?).then_some(path))
    }

    fn may(&self, path: &Path, want: Want) -> io::Result<bool> {
        let found = fs::metadata(path)?;
        let listed = || getxattr(path, LIST, &mut [0_u8; 0]).is_ok_and(|size| size > 0);
        Ok(self.may_by(found.uid(), found.gid(), found.mode(), want) || listed())
    }

    /// The kernel's rule: the first of owner, group and others that fits decides.
    fn may_by(&self, owner: u32, group: u32, mode: u32, want: Want) -> bool {
        let shift = if self.uid == owner {
            6
        } else if self.gids.contains(&group) {
            3
        } else {
            0
        };
        self.uid == ROOT || mode >> shift & want as u32 != 0
    }
}

/// A user in lines of passwd(5) with its groups in lines of group(5).
fn find(users: &str, groups: &str, wanted: impl Fn(&Account) -> bool) -> Option<Account> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let mut ids = fields.skip(1).map(str::parse);
        let (uid, gid) = (ids.next()?.ok()?, ids.next()?.ok()?);
        Some(Account { name, uid, gids: vec![gid] })
    };
    let mut found = users.lines().filter_map(user).find(wanted)?;
    let member = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let (gid, members) = (fields.next()?.parse().ok()?, fields.next()?);
        members.split(',').any(|member| member == found.name).then_some(gid)
    };
    let more: Vec<u32> = groups.lines().filter_map(member).collect();
    found.gids.extend(more);
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn promptd() -> Account {
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\npromptd:x:997:996::/var/lib/promptd:/bin/false\n";
        let groups = "root:x:0:\nrender:x:105:alice,promptd\nvideo:x:44:promptdx\nodd\n";
        find(users, groups, |user| user.name == SERVICE).unwrap()
    }

    #[test]
    fn users_have_their_groups() {
        assert_eq!(promptd(), Account { name: SERVICE.to_owned(), uid: 997, gids: vec![996, 105] });
        assert_eq!(find("", "", |_| true), None);
        assert!(Account::listed(|user| user.uid == ROOT).is_some());
    }

    #[test]
    fn the_first_of_owner_group_and_others_decides() {
        for (owner, group, mode, want, expected) in [
            (997, 0, 0o400, Want::Read, true),
            (997, 0, 0o077, Want::Read, false),
            (0, 105, 0o040, Want::Read, true),
            (0, 105, 0o707, Want::Read, false),
            (0, 0, 0o004, Want::Read, true),
            (0, 0, 0o770, Want::Read, false),
            (0, 996, 0o660, Want::Write, true),
            (0, 0, 0o755, Want::Write, false),
            (0, 0, 0o711, Want::Pass, true),
            (0, 0, 0o710, Want::Pass, false),
        ] {
            assert_eq!(promptd().may_by(owner, group, mode, want), expected, "{owner}:{group} {mode:o} {want:?}");
        }
        assert!(Account::unlisted(ROOT).may_by(5, 5, 0, Want::Write));
    }

    #[test]
    fn a_folder_on_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().canonicalize().unwrap().join("inner");
        fs::create_dir(&inner).unwrap();
        let file = inner.join("model.gguf");
        fs::write(&file, "").unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        set(folder.path(), 0o755);
        set(&inner, 0o755);
        set(&file, 0o644);
        let stranger = Account::unlisted(u32::MAX - 1);
        assert_eq!(stranger.kept_from(&file, Want::Read).unwrap(), None);
        assert_eq!(stranger.kept_from(&file, Want::Write).unwrap(), Some(file.clone()));
        set(&file, 0o600);
        assert_eq!(stranger.kept_from(&file, Want::Read).unwrap(), Some(file.clone()));
        set(&inner, 0o700);
        assert_eq!(stranger.kept_from(&file, Want::Read).unwrap(), Some(inner));
        assert_eq!(Account::this().kept_from(&file, Want::Read).unwrap(), None);
        assert!(stranger.kept_from(&folder.path().join("missing"), Want::Read).is_err());
    }

    #[test]
    fn without_a_socket_root_asks_for_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = Account::of_daemon(&folder.path().join("control.sock"));
        let service = Account::listed(|user| user.name == SERVICE).filter(|_| geteuid().is_root());
        assert_eq!(nobody, service.unwrap_or_else(Account::this));
        fs::write(folder.path().join("control.sock"), "").unwrap();
        assert_eq!(Account::of_daemon(&folder.path().join("control.sock")), Account::this());
    }
}
