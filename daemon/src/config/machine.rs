//! What the defaults take from the machine: its name, the folders that systemd made for the service, and what suits it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::job::NodeName;
use crate::plan::Profile;

/// promptd's own id in systemd's scheme of application-specific machine ids. Never changes: nodes would change names.
const APPLICATION: [u8; 16] =
    [0x46, 0x19, 0x4f, 0x70, 0xc9, 0x9f, 0x49, 0xad, 0x8c, 0x22, 0x2e, 0x21, 0xb8, 0xeb, 0xb2, 0x25];

/// Bytes of host name that leave room for `-` and six digits in a name of 64.
const HOSTNAME_MAX: usize = 57;

/// Where state is kept when systemd names no folder: what it names for `StateDirectory=promptd`.
const STATE_DIRECTORY: &str = "/var/lib/promptd";
/// The same for what lasts as long as the daemon runs, and `RuntimeDirectory=promptd`.
const RUNTIME_DIRECTORY: &str = "/run/promptd";

/// What tells one machine from another, and where a service has its folders on it.
#[derive(Default)]
pub(super) struct Machine {
    /// The host name, as the kernel has it.
    pub(super) hostname: String,
    /// `/etc/machine-id`, where there is a usable one.
    pub(super) id: Option<[u8; 16]>,
    /// `$STATE_DIRECTORY`, as it is set.
    pub(super) state_directory: Option<OsString>,
    /// `$RUNTIME_DIRECTORY`, as it is set.
    pub(super) runtime_directory: Option<OsString>,
    /// What suits it.
    pub(super) profile: Profile,
}

impl Machine {
    /// The machine that this process runs on, which somebody else has looked at.
    pub(super) fn this(profile: &Profile) -> Self {
        Self {
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            id: fs::read_to_string("/etc/machine-id").ok().and_then(|text| parse_id(text.trim_end())),
            state_directory: env::var_os("STATE_DIRECTORY"),
            runtime_directory: env::var_os("RUNTIME_DIRECTORY"),
            profile: profile.clone(),
        }
    }

    /// `<hostname>-<6 hex digits>`. The digits tell cloned SD cards apart, and a hash because the machine id itself
    /// is confidential. Without an id the host name alone.
    pub(super) fn node_name(&self) -> NodeName {
        let host = sanitise(&self.hostname);
        let name = match &self.id {
            Some(id) => {
                let [first, second, third, ..] = application_specific(id);
                format!("{host}-{first:02x}{second:02x}{third:02x}")
            }
            None => host,
        };
        NodeName::new(name).expect("sanitised")
    }

    /// The folder for what must last.
    pub(super) fn state_dir(&self) -> PathBuf {
        first_folder(self.state_directory.as_deref()).unwrap_or(Path::new(STATE_DIRECTORY)).to_owned()
    }

    /// The socket for the local command line.
    pub(super) fn control_socket(&self) -> PathBuf {
        let folder = first_folder(self.runtime_directory.as_deref()).unwrap_or(Path::new(RUNTIME_DIRECTORY));
        folder.join("control.sock")
    }
}

/// systemd separates several folders by colons, and all of them are absolute. Anything else was set by somebody else.
fn first_folder(variable: Option<&OsStr>) -> Option<&Path> {
    let first = variable?.as_bytes().split(|byte| *byte == b':').next()?;
    Some(Path::new(OsStr::from_bytes(first))).filter(|folder| folder.is_absolute())
}

/// As `sd_id128_get_machine_app_specific`: HMAC-SHA256 of the application's id under the machine's. systemd goes on to
/// stamp a UUID version on bytes 6 and 8, which are not used here.
fn application_specific(machine: &[u8; 16]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(machine).expect("HMAC takes keys of any length");
    mac.update(&APPLICATION);
    mac.finalize().into_bytes().into()
}

/// 32 hex digits. systemd writes `uninitialized` on first boot, and all zeros is no id.
fn parse_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let id = u128::from_str_radix(text, 16).ok()?;
    (id != 0).then(|| id.to_be_bytes())
}

fn sanitise(hostname: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let clean: String = hostname.chars().map(|c| if allowed(c) { c } else { '-' }).take(HOSTNAME_MAX).collect();
    match clean.trim_matches('-') {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest;

    use super::*;

    fn machine(hostname: &str, id: Option<&str>) -> Machine {
        Machine { hostname: hostname.to_owned(), id: id.and_then(parse_id), ..Machine::default() }
    }

    #[test]
    fn gives_what_systemd_gives() {
        // Computed by Python's hmac; `systemd-id128 machine-id --app-specific=…` gives the same digits on a machine
        // with that id.
        let name = machine("gw1", Some("00112233445566778899aabbccddeeff")).node_name();
        assert_eq!(name.as_str(), "gw1-cbd653");
    }

    #[test]
    fn follows_the_definition_of_hmac() {
        let id: [u8; 16] = std::array::from_fn(|index| u8::try_from(index * 17).unwrap());
        let mut padded = [0; 64];
        padded[..16].copy_from_slice(&id);
        let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(APPLICATION).finalize();
        let outer = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
        assert_eq!(application_specific(&id)[..], outer[..]);
    }

    #[test]
    fn makes_a_name_of_any_host_name() {
        let id = None;
        assert_eq!(machine("gw1.example.org", id).node_name().as_str(), "gw1.example.org");
        assert_eq!(machine("(none)", id).node_name().as_str(), "none");
        assert_eq!(machine("küche/1", id).node_name().as_str(), "k-che-1");
        assert_eq!(machine("", id).node_name().as_str(), "node");
        let long = machine(&"x".repeat(200), Some("00112233445566778899aabbccddeeff")).node_name();
        assert_eq!(long.as_str().len(), 64);
    }

    #[test]
    fn takes_only_a_real_machine_id() {
        assert_eq!(
            parse_id("000102030405060708090A0b0c0d0e0f"),
            Some(std::array::from_fn(|index| u8::try_from(index).unwrap()))
        );
        for text in ["", "uninitialized", "00000000000000000000000000000000", "+0102030405060708090a0b0c0d0e0f1"] {
            assert_eq!(parse_id(text), None, "{text}");
        }
    }

    #[test]
    fn takes_the_first_folder_of_systemd() {
        let folders = |variable: Option<&str>| {
            let variable = variable.map(OsString::from);
            let machine =
                Machine { state_directory: variable.clone(), runtime_directory: variable, ..Machine::default() };
            (machine.state_dir().display().to_string(), machine.control_socket().display().to_string())
        };
        let pair = |state: &str, socket: &str| (state.to_owned(), socket.to_owned());
        assert_eq!(folders(Some("/srv/p")), pair("/srv/p", "/srv/p/control.sock"));
        assert_eq!(folders(Some("/a b:/c:/d")), pair("/a b", "/a b/control.sock"));
        for unusable in [None, Some(""), Some(":/c"), Some("relative"), Some("../up:/c")] {
            let packaged = pair("/var/lib/promptd", "/run/promptd/control.sock");
            assert_eq!(folders(unusable), packaged, "{unusable:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(hostname in any::<String>(), id in any::<Option<[u8; 16]>>(), folders in any::<Vec<u8>>()) {
            let variable = Some(OsStr::from_bytes(&folders).to_owned());
            let machine =
                Machine { hostname, id, state_directory: variable.clone(), runtime_directory: variable, ..Machine::default() };
            machine.node_name();
            prop_assert!(machine.state_dir().is_absolute() && machine.control_socket().is_absolute());
        }
    }
}
