//! `[thermal]`: how hot the machine may get.

use super::section::Section;
use super::value;

/// How hot the machine may get before promptd computes less, degrees Celsius.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thermal {
    /// From here on it computes only a part of the time. None goes by what each zone says of itself.
    pub soft_celsius: Option<u8>,
    /// From here on it computes nothing. None goes by what each zone says of itself.
    pub hard_celsius: Option<u8>,
    /// How far the limits that zones say of themselves are kept away from.
    pub margin_celsius: u8,
    /// How far below a limit it must be again before that counts no more.
    pub hysteresis_celsius: u8,
}

impl Thermal {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        // Colder than the lowest is a machine that does nothing; hotter than the highest no chip survives.
        let range = 30..=125;
        let thermal = Self {
            soft_celsius: section.optional("soft_celsius", |value| value::number(value, &range)),
            hard_celsius: section.optional("hard_celsius", |value| value::number(value, &range)),
            margin_celsius: section.number("margin_celsius", 5, 0..=30),
            hysteresis_celsius: section.number("hysteresis_celsius", 3, 1..=20),
        };
        if let (Some(soft), Some(hard)) = (thermal.soft_celsius, thermal.hard_celsius) {
            section.report.below(("thermal.soft_celsius", soft), ("thermal.hard_celsius", hard));
        }
        thermal
    }
}
