//! A short name of all settings together.

use sha2::{Digest, Sha256};

use super::Config;
use crate::plan::{Profile, Reserve};

impl Config {
    /// 16 hexadecimal digits, the same for the same settings in one version of promptd, whatever files they stand in.
    ///
    /// What follows from the machine is left out: a service and a shell may be allowed different cores of it.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(format!("{:?}", self.without_profile()));
        digest.iter().take(8).fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"))
    }

    fn without_profile(&self) -> Self {
        let (own, none) = (&self.profile, Profile::default());
        let mut config = self.clone();
        for model in &mut config.models {
            replace(&mut model.threads, &own.threads, none.threads);
            replace(&mut model.sequences, &own.sequences, none.sequences);
        }
        replace(&mut config.memory.reserve, &Reserve::Percent(own.reserve), Reserve::Percent(none.reserve));
        config.profile = none;
        config
    }
}

fn replace<T: PartialEq>(value: &mut T, default: &T, other: T) {
    if value == default {
        *value = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Percent;

    fn fingerprint(text: &str, profile: &Profile) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("promptd.toml");
        let model = "[[model]]\nname = 'main'\nfiles = [{ path = '/m.gguf' }]\n";
        std::fs::write(&path, format!("{model}{text}")).unwrap();
        Config::load(&path, profile).unwrap().config.fingerprint()
    }

    #[test]
    fn settings_have_one_and_the_machine_none() {
        let plain = Profile::default();
        let other = Profile { threads: 7, sequences: 2, reserve: Percent::parse("17%").unwrap(), ..plain.clone() };
        let of_both = |text: &str| {
            let prints = [&plain, &other].map(|profile| fingerprint(text, profile));
            assert_eq!(prints[0], prints[1], "{text}");
            prints[0].clone()
        };
        let nothing = of_both("");
        assert_eq!(nothing.len(), 16);
        let set = ["threads = 3", "sequences = 3", "context = 512", "[memory]\nreserve = '30%'"].map(of_both);
        assert!(set.iter().all(|print| *print != nothing), "{set:?}");
    }
}
