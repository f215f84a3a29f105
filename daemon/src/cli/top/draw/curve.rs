//! A curve in one line of text.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last numbers as bars, the highest at full height; as many as fit into `width`.
pub fn curve(numbers: &[f64], width: usize) -> String {
    let shown = &numbers[numbers.len().saturating_sub(width)..];
    let highest = shown.iter().copied().filter(|number| number.is_finite()).fold(0.0, f64::max);
    let bar = |number: &f64| {
        let share = if highest > 0.0 { number / highest } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let height = (share.clamp(0.0, 1.0) * (BARS.len() - 1) as f64).round() as usize;
        BARS[height]
    };
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_last_numbers_against_the_highest() {
        assert_eq!(curve(&[9.0, 0.0, 1.0, 2.0], 3), "▁▅█");
        assert_eq!(curve(&[0.0, 0.0], 10), "▁▁");
        assert_eq!(curve(&[-5.0, f64::NAN, f64::INFINITY], 10).chars().count(), 3);
        assert_eq!(curve(&[], 10), "");
        assert_eq!(curve(&[1.0], 0), "");
    }
}
