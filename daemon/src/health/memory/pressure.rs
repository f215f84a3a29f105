//! Pressure stall information: how long tasks waited for memory.

use std::path::Path;

use super::super::file::text;

/// Shares of the last ten seconds, in percent from 0 to 100 (Documentation/accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Psi {
    /// In which at least one task waited for memory.
    pub some_avg10: f32,
    /// In which every task that had something to do waited for memory.
    pub full_avg10: f32,
}

impl Psi {
    pub(super) fn read(path: &Path) -> Option<Self> {
        Self::parse(&text(path)?)
    }

    fn parse(text: &str) -> Option<Self> {
        Some(Self { some_avg10: avg10(text, "some")?, full_avg10: avg10(text, "full")? })
    }
}

/// `avg10` of a line such as `some avg10=0.12 avg60=0.00 avg300=0.00 total=1234`.
fn avg10(text: &str, kind: &str) -> Option<f32> {
    let fields = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
    let percent: f32 = fields.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()?;
    // Not a number is in no range.
    (0.0..=100.0).contains(&percent).then_some(percent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_lines_count() {
        let text = "some avg10=12.34 avg60=1.00 avg300=0.10 total=99\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(Psi::parse(text), Some(Psi { some_avg10: 12.34, full_avg10: 0.5 }));
        for wrong in [
            "",
            "some avg10=1.00 avg60=0.00 avg300=0.00 total=0\n",
            &text.replace("12.34", "NaN"),
            &text.replace("12.34", "-1"),
            &text.replace("12.34", "100.1"),
            &text.replace("0.50", "inf"),
            &text.replace("avg10", "avg11"),
            &text.replace("full ", "fullest "),
        ] {
            assert_eq!(Psi::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_unknown_or_a_percentage(text in "(some|full)? ?(avg10=)?[-0-9.einfa]{0,9}\n?(full avg10=[0-9.]{0,5})?") {
            if let Some(psi) = Psi::parse(&text) {
                prop_assert!((0.0..=100.0).contains(&psi.some_avg10) && (0.0..=100.0).contains(&psi.full_avg10));
            }
        }
    }
}
