//! Where it gets too hot: what the operator says, else what each zone says of itself.

use crate::health::{BoardKind, Temperature};

/// A trip point below is none: firmware of PCs names such ones for sensors that it has made up (`acpitz` with 20.8 °C).
const TRIP_MIN: f32 = 60.0;

/// How far above a soft limit the hard one is, where nothing names one.
const SPAN: f32 = 10.0;

/// Where a Raspberry Pi begins to slow its processor down, and where it does so as far as it can (Raspberry Pi documentation,
/// "Frequency management and thermal control"). The firmware does it by itself: of its trip points Linux knows only where it
/// switches off.
const RASPBERRY_PI: Trips = Trips { passive: Some(80.0), critical: Some(85.0) };

/// By what limits are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThermalSettings {
    /// `thermal.soft_celsius`, for every zone.
    pub soft: Option<f32>,
    /// `thermal.hard_celsius`, for every zone.
    pub hard: Option<f32>,
    /// How far limits lie below trip points. `thermal.margin_celsius`.
    pub margin: f32,
    /// How far below a limit it must be again. `thermal.hysteresis_celsius`.
    pub hysteresis: f32,
    /// What is known of the board besides.
    pub board: Trips,
}

/// Where the hardware slows down, and where that ends; degrees Celsius.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trips {
    passive: Option<f32>,
    critical: Option<f32>,
}

impl Trips {
    /// Of a board that nothing is known of.
    pub const NONE: Self = Self { passive: None, critical: None };

    /// What is known of a board whose zones don't tell.
    pub fn of_board(kind: &BoardKind) -> Self {
        if *kind == BoardKind::RaspberryPi { RASPBERRY_PI } else { Self::NONE }
    }

    /// Those of a zone, and the board's where they are lower.
    fn of_zone(self, zone: &Temperature) -> Self {
        let lower = |zone: Option<f32>, board: Option<f32>| {
            zone.into_iter().filter(|trip| *trip >= TRIP_MIN).chain(board).reduce(f32::min)
        };
        Self { passive: lower(zone.passive, self.passive), critical: lower(zone.critical, self.critical) }
    }
}

/// Where a zone is too hot, degrees Celsius; soft is at most hard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// From here on engines compute a part of the time.
    pub soft: f32,
    /// From here on they pause.
    pub hard: f32,
}

impl ThermalSettings {
    /// The limits of a zone; none if nobody names any.
    pub fn limits(&self, zone: &Temperature) -> Option<Limits> {
        let Trips { passive, critical } = self.board.of_zone(zone);
        let (own_soft, own_hard) = match (passive, critical) {
            // Where the hardware has to slow down it still works: that alone is no reason to pause.
            (Some(passive), Some(critical)) => {
                let hard = (critical - self.margin).max(passive).min(critical);
                (Some(passive.min(critical) - self.margin), Some(hard))
            }
            (Some(passive), None) => (Some(passive - self.margin), Some(passive)),
            (None, Some(critical)) => (Some(critical - 2.0 * self.margin), Some(critical - self.margin)),
            (None, None) => (None, None),
        };
        // Nobody wants to be at the point where the machine switches off.
        let configured = self.hard.map(|hard| critical.map_or(hard, |critical| hard.min(critical)));
        let soft = self.soft.or(own_soft);
        let hard = configured.or(own_hard).or(soft.map(|soft| soft + SPAN))?;
        let soft = soft.filter(|soft| *soft < hard).unwrap_or(hard - self.margin);
        Some(Limits { soft, hard })
    }
}

impl Limits {
    /// The same, lower by so many degrees.
    pub(super) fn lowered(self, by: f32) -> Self {
        Self { soft: self.soft - by, hard: self.hard - by }
    }

    /// How far a temperature is on the way from the soft limit, 0, to the hard one, 1.
    pub(super) fn share(self, celsius: f32) -> f32 {
        // With no way between them it is at the one or the other.
        (celsius - self.soft) / (self.hard - self.soft).max(0.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ThermalSettings =
        ThermalSettings { soft: None, hard: None, margin: 5.0, hysteresis: 3.0, board: Trips::NONE };

    fn limits(settings: ThermalSettings, passive: Option<f32>, critical: Option<f32>) -> Option<(f32, f32)> {
        let zone = Temperature { zone: "zone".to_owned(), celsius: 50.0, passive, critical };
        settings.limits(&zone).map(|limits| (limits.soft, limits.hard))
    }

    #[test]
    fn trip_points_less_a_margin() {
        for (board, passive, critical, expected) in [
            ("Jetson Orin", Some(99.0), Some(104.5), Some((94.0, 99.5))),
            ("Intel, which slows down where its limit is", Some(100.0), Some(100.0), Some((95.0, 100.0))),
            ("far apart", Some(75.0), Some(115.0), Some((70.0, 110.0))),
            ("in the wrong order", Some(100.0), Some(90.0), Some((85.0, 90.0))),
            ("passive only", Some(85.0), None, Some((80.0, 85.0))),
            ("critical only", None, Some(105.0), Some((95.0, 100.0))),
            ("made up", None, Some(20.8), None),
            ("none, such as AMD's", None, None, None),
        ] {
            assert_eq!(limits(SETTINGS, passive, critical), expected, "{board}");
        }
    }

    #[test]
    fn a_raspberry_pi_slows_down_before_its_trip_point() {
        let board = ThermalSettings { board: Trips::of_board(&BoardKind::RaspberryPi), ..SETTINGS };
        assert_eq!(limits(board, None, Some(110.0)), Some((75.0, 80.0)));
        assert_eq!(limits(board, Some(70.0), None), Some((65.0, 80.0)));
        assert_eq!(Trips::of_board(&BoardKind::Other), SETTINGS.board);
    }

    #[test]
    fn the_operator_decides_up_to_where_the_machine_switches_off() {
        let configured = |soft, hard| ThermalSettings { soft, hard, ..SETTINGS };
        let orin = |settings| limits(settings, Some(99.0), Some(104.5));
        assert_eq!(orin(configured(Some(70.0), Some(80.0))), Some((70.0, 80.0)));
        assert_eq!(orin(configured(Some(70.0), None)), Some((70.0, 99.5)));
        assert_eq!(
            orin(configured(None, Some(80.0))),
            Some((75.0, 80.0)),
            "the soft one is no higher than the hard one"
        );
        assert_eq!(orin(configured(Some(110.0), Some(120.0))), Some((99.5, 104.5)));
        let silent = |settings| limits(settings, None, None);
        assert_eq!(silent(configured(Some(70.0), None)), Some((70.0, 80.0)));
        assert_eq!(silent(configured(None, Some(80.0))), Some((75.0, 80.0)));
        let none = ThermalSettings { margin: 0.0, ..configured(None, Some(80.0)) };
        assert_eq!(silent(none), Some((80.0, 80.0)));
    }
}
