//! What suits a machine where its operator has said nothing.
//!
//! The numbers are starting points: whoever measures better ones on a machine of theirs writes them into the configuration,
//! which always wins.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Bytes, Percent};

/// What a profile is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineFacts {
    /// The family of the machine.
    pub family: Family,
    /// Its memory, as its kernel counts it: some less than what is built in. None if unknown.
    pub memory: Option<Bytes>,
    /// Its cores. None if unknown.
    pub cores: Option<Cores>,
    /// Most threads that this process may run at once, by the limits of its cgroups.
    pub parallelism: u32,
}

/// Families of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// NVIDIA Jetson Orin Nano.
    OrinNano,
    /// NVIDIA Jetson Orin NX.
    OrinNx,
    /// NVIDIA Jetson AGX Orin.
    AgxOrin,
    /// Another NVIDIA Jetson, or one that does not tell which.
    Jetson,
    /// Raspberry Pi 4, 400 or Compute Module 4.
    RaspberryPi4,
    /// Raspberry Pi 5, 500 or Compute Module 5.
    RaspberryPi5,
    /// Another Raspberry Pi.
    RaspberryPi,
    /// A PC or a gateway like one.
    X86,
    /// Anything else.
    Other,
}

/// Cores of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    /// Processors as the kernel counts them: little ones and second threads of a core as well.
    pub logical: u32,
    /// Big cores, each once.
    pub big: u32,
}

impl Cores {
    /// Whether a core of this speed is a big one where the fastest has that. Equal cores differ by up to a tenth in the
    /// clock that they may reach, and little ones are below four fifths.
    pub fn is_big(speed: u64, fastest: u64) -> bool {
        u128::from(speed) * 5 >= u128::from(fastest) * 4
    }
}

/// What suits a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Profile {
    /// Its name, such as `orin-nano-8gb`.
    pub name: &'static str,
    /// What stays available to others, of the machine's memory and of each limit that its cgroups set.
    pub reserve: Percent,
    /// Threads that compute.
    pub threads: u32,
    /// Jobs of a model that run at once.
    pub sequences: u32,
    /// How far promptd keeps from the temperatures at which the hardware acts.
    pub heat: HeatMargins,
    /// The reasons, one sentence each.
    pub why: Vec<String>,
}

/// How far promptd keeps from the temperatures at which the hardware acts. All in degrees Celsius.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HeatMargins {
    /// So far below its passive limit promptd begins to slow down.
    pub soft: u8,
    /// So far below its critical limit promptd pauses.
    pub hard: u8,
    /// Where the firmware slows the processor down without telling in a trip point; then the lower one counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive: Option<u8>,
    /// Where the firmware slows down everything, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critical: Option<u8>,
}

/// Kernels count up to a tenth less than what is built in; the limits lie well below the sizes that are sold.
const GIB: u64 = 1 << 30;
const TINY: Bytes = Bytes(GIB + GIB / 2);
const SMALL: Bytes = Bytes(4 * GIB + GIB / 2);
const MIDDLE: Bytes = Bytes(10 * GIB);

/// The hardware acts within seconds when it gets hotter, and a model adds a few degrees within such a time. At its end stands
/// a pause, which needs less room.
const MARGINS: HeatMargins = HeatMargins { soft: 10, hard: 5, passive: None, critical: None };

/// Raspberry Pi documentation, "Frequency management and thermal control": from 80 °C on the firmware throttles the cores, at
/// 85 °C the GPU as well. The trip point says 110 °C. Made for passive cooling, these boards run warm: half the margin.
const PI_MARGINS: HeatMargins = HeatMargins { soft: 5, hard: 2, passive: Some(80), critical: Some(85) };

/// More cores than this can lack one.
const CORES_FEW: u32 = 4;

/// The configuration's own bound.
const THREADS_MAX: u32 = 512;

impl Profile {
    /// What suits a machine.
    pub fn of(facts: &MachineFacts) -> Self {
        let (reserve, reserve_why) = reserve(facts.memory);
        let (threads, threads_why) = threads(facts);
        let (sequences, sequences_why) = sequences(facts);
        let is_pi = matches!(facts.family, Family::RaspberryPi | Family::RaspberryPi4 | Family::RaspberryPi5);
        let memory =
            facts.memory.map_or_else(|| "memory of unknown size".to_owned(), |bytes| format!("{bytes} of memory"));
        let mut why =
            vec![format!("the machine is {} with {memory}", facts.family.words()), threads_why, sequences_why];
        why.push(format!("reserve: {reserve_why}"));
        if is_pi {
            why.push("heat: the firmware throttles from 80 °C on".to_owned());
        }
        let heat = if is_pi { PI_MARGINS } else { MARGINS };
        Self { name: name(facts), reserve, threads, sequences, heat, why }
    }
}

/// That of a machine of which nothing is known.
impl Default for Profile {
    fn default() -> Self {
        Self::of(&MachineFacts { family: Family::Other, memory: None, cores: None, parallelism: 1 })
    }
}

impl Family {
    fn words(self) -> &'static str {
        match self {
            Self::OrinNano => "a Jetson Orin Nano",
            Self::OrinNx => "a Jetson Orin NX",
            Self::AgxOrin => "a Jetson AGX Orin",
            Self::Jetson => "a Jetson",
            Self::RaspberryPi4 => "a Raspberry Pi 4",
            Self::RaspberryPi5 => "a Raspberry Pi 5",
            Self::RaspberryPi => "a Raspberry Pi",
            Self::X86 => "an x86 computer",
            Self::Other => "of no known family",
        }
    }
}

fn name(facts: &MachineFacts) -> &'static str {
    let below = |limit: Bytes| facts.memory.is_some_and(|memory| memory < limit);
    match facts.family {
        Family::OrinNano if below(SMALL) => "orin-nano-4gb",
        Family::OrinNano => "orin-nano-8gb",
        Family::OrinNx if below(MIDDLE) => "orin-nx-8gb",
        Family::OrinNx => "orin-nx-16gb",
        Family::AgxOrin => "agx-orin",
        Family::Jetson => "jetson",
        Family::RaspberryPi4 => "raspberry-pi-4",
        Family::RaspberryPi5 => "raspberry-pi-5",
        Family::RaspberryPi => "raspberry-pi",
        Family::X86 => "x86",
        Family::Other => "other",
    }
}

/// What the system itself needs at times does not shrink with the memory.
fn reserve(memory: Option<Bytes>) -> (Percent, &'static str) {
    match memory {
        Some(memory) if memory < TINY => {
            (percent::<200>(), "a fifth, because the system needs that much of little memory")
        }
        Some(memory) if memory < SMALL => {
            (percent::<150>(), "more than a tenth, because the system needs that much of small memory")
        }
        _ => (percent::<100>(), "a tenth"),
    }
}

/// In tenths.
const fn percent<const TENTHS: u16>() -> Percent {
    const { Percent::from_tenths(TENTHS).expect("at most all") }
}

/// One for each big core. A second thread of a core adds nothing to arithmetic that fills it, and a little core makes the
/// others wait for its share. The threads wait for each other at every step: a core that another program takes holds all of
/// them up, so that one is left to the others where it costs little and they have no other.
fn threads(facts: &MachineFacts) -> (u32, String) {
    let parallelism = facts.parallelism.clamp(1, THREADS_MAX);
    let (threads, why) = match facts.cores {
        None => (parallelism, "cores of unknown sort".to_owned()),
        Some(Cores { logical, big }) if logical > big => {
            (big, format!("{big} big cores of {logical} processors, the rest is left to other programs"))
        }
        Some(Cores { big, .. }) if big > CORES_FEW => (big - 1, format!("{big} cores, one is left to other programs")),
        Some(Cores { big, .. }) => (big, format!("{big} cores")),
    };
    let threads = threads.max(1);
    if threads > parallelism {
        return (parallelism, format!("threads: {why}; this process may use {parallelism}"));
    }
    (threads, format!("threads: {why}"))
}

/// By how much can be computed at once, as far as there is memory for it.
fn sequences(facts: &MachineFacts) -> (u32, String) {
    let (wanted, why) = match facts.family {
        Family::AgxOrin => (8, "a large GPU"),
        Family::OrinNx if facts.memory.is_none_or(|memory| memory >= MIDDLE) => (8, "a large GPU"),
        Family::OrinNano | Family::OrinNx | Family::Jetson => (4, "a GPU"),
        Family::RaspberryPi4 => (2, "slow cores"),
        Family::RaspberryPi => (1, "slow cores"),
        Family::RaspberryPi5 | Family::X86 | Family::Other => (4, "several jobs share the reading of the weights"),
    };
    let most = match facts.memory {
        Some(memory) if memory < TINY => 1,
        Some(memory) if memory < SMALL => 2,
        _ => wanted,
    };
    if most < wanted {
        (most, "jobs at once: little memory".to_owned())
    } else {
        (wanted, format!("jobs at once: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(family: Family, gib_tenths: u64, logical: u32, big: u32) -> MachineFacts {
        let memory = Some(Bytes(gib_tenths * GIB / 10));
        MachineFacts { family, memory, cores: Some(Cores { logical, big }), parallelism: 512 }
    }

    #[test]
    fn each_board_has_its_profile() {
        for (facts, name, reserve, threads, sequences) in [
            (facts(Family::OrinNano, 33, 6, 6), "orin-nano-4gb", "15%", 5, 2),
            (facts(Family::OrinNano, 74, 6, 6), "orin-nano-8gb", "10%", 5, 4),
            (facts(Family::OrinNx, 74, 6, 6), "orin-nx-8gb", "10%", 5, 4),
            (facts(Family::OrinNx, 153, 8, 8), "orin-nx-16gb", "10%", 7, 8),
            (facts(Family::AgxOrin, 610, 12, 12), "agx-orin", "10%", 11, 8),
            (facts(Family::Jetson, 39, 4, 4), "jetson", "15%", 4, 2),
            (facts(Family::RaspberryPi4, 37, 4, 4), "raspberry-pi-4", "15%", 4, 2),
            (facts(Family::RaspberryPi4, 9, 4, 4), "raspberry-pi-4", "20%", 4, 1),
            (facts(Family::RaspberryPi5, 79, 4, 4), "raspberry-pi-5", "10%", 4, 4),
            (facts(Family::RaspberryPi, 9, 4, 4), "raspberry-pi", "20%", 4, 1),
            (facts(Family::X86, 156, 8, 4), "x86", "10%", 4, 4),
            (facts(Family::X86, 36, 2, 2), "x86", "15%", 2, 2),
            (facts(Family::Other, 78, 8, 4), "other", "10%", 4, 4),
        ] {
            let profile = Profile::of(&facts);
            assert_eq!((profile.name, profile.reserve.to_string().as_str()), (name, reserve), "{facts:?}");
            assert_eq!((profile.threads, profile.sequences), (threads, sequences), "{facts:?}");
            assert_eq!(profile.heat.passive.is_some(), name.starts_with("raspberry"), "{facts:?}");
        }
    }

    #[test]
    fn a_profile_says_why() {
        let profile = Profile::of(&MachineFacts { parallelism: 2, ..facts(Family::RaspberryPi5, 39, 4, 4) });
        let expected = [
            "the machine is a Raspberry Pi 5 with 3.9 GiB of memory",
            "threads: 4 cores; this process may use 2",
            "jobs at once: little memory",
            "reserve: more than a tenth, because the system needs that much of small memory",
            "heat: the firmware throttles from 80 °C on",
        ];
        assert_eq!(profile.why, expected);
        assert_eq!(profile.threads, 2);
        assert_eq!(Profile::default().why[0], "the machine is of no known family with memory of unknown size");
    }

    proptest! {
        #[test]
        fn any_machine_gets_usable_numbers(memory in any::<Option<u64>>(), logical in any::<u32>(), big in any::<u32>(),
                                           parallelism in any::<u32>(), family in 0..9_usize) {
            let families = [Family::OrinNano, Family::OrinNx, Family::AgxOrin, Family::Jetson, Family::RaspberryPi4,
                            Family::RaspberryPi5, Family::RaspberryPi, Family::X86, Family::Other];
            let cores = Some(Cores { logical, big });
            let facts = MachineFacts { family: families[family], memory: memory.map(Bytes), cores, parallelism };
            let profile = Profile::of(&facts);
            prop_assert!((1..=512).contains(&profile.threads) && profile.threads <= parallelism.max(1));
            prop_assert!((1..=8).contains(&profile.sequences));
            prop_assert!((100..=200).contains(&profile.reserve.tenths()));
            prop_assert!(profile.why.iter().map(String::len).sum::<usize>() < 600);
        }
    }
}
