//! Sizes as people read them.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A size in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// As `376.5 MiB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut unit = 1024_u128;
        let mut tenths = 0;
        for name in UNITS {
            tenths = (u128::from(self.0) * 10 + unit / 2) / unit;
            // A value that would be shown as 1024.0 belongs to the next unit.
            if tenths < 10_240 {
                return f.pad(&format!("{}.{} {name}", tenths / 10, tenths % 10));
            }
            unit *= 1024;
        }
        // Not reached: 2^64 is 16 EiB.
        f.pad(&format!("{} EiB", tenths / 10))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (394_788_864, "376.5 MiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(format!("[{:>10}]", Bytes(1024)), "[   1.0 KiB]");
    }

    #[test]
    fn is_a_plain_number_in_json() {
        assert_eq!(serde_json::to_string(&Bytes(1536)).unwrap(), "1536");
    }

    proptest! {
        #[test]
        fn is_never_far_off(bytes in any::<u64>()) {
            let text = Bytes(bytes).to_string();
            let (number, unit) = text.split_once(' ').unwrap();
            let power = UNITS.iter().position(|name| *name == unit).map_or(0, |index| index + 1);
            let shown = number.parse::<f64>().unwrap() * 1024_f64.powi(i32::try_from(power).unwrap());
            prop_assert!((shown - bytes as f64).abs() <= bytes as f64 * 0.05);
        }
    }
}
