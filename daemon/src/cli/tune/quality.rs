//! How much a model in fewer bits differs from the most exact one, in what it expects of a text.

use promptd::engine::protocol::TuneReport;
use serde::Serialize;

/// Over all places of the text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quality {
    /// Share of the places where both expect the same token.
    pub top1_agreement: f64,
    /// Mean Kullback-Leibler divergence from the exact one, nats: of the tokens that it finds likeliest, and all others as
    /// one. By the data-processing inequality that is never more than over the whole vocabulary.
    pub kl_divergence: f64,
}

impl Quality {
    /// Of a file beside the most exact one, which has told which tokens it finds likeliest.
    pub fn of(exact: &TuneReport, other: &TuneReport) -> Self {
        let places = || exact.places.iter().zip(&other.places);
        let count = places().count().max(1) as f64;
        let agree = places().filter(|(exact, other)| exact.best == other.best).count() as f64;
        let divergence: f64 = places().map(|(exact, other)| divergence(&exact.logprobs, &other.logprobs)).sum();
        Self { top1_agreement: agree / count, kl_divergence: divergence / count }
    }
}

/// Of one place; both tell of the same tokens.
fn divergence(exact: &[(i32, f32)], other: &[(i32, f32)]) -> f64 {
    let (mut sum, mut rest_exact, mut rest_other) = (0.0, 1.0, 1.0);
    for ((_, exact), (_, other)) in exact.iter().zip(other) {
        let (exact, other) = (f64::from(*exact), f64::from(*other));
        sum += exact.exp() * (exact - other);
        rest_exact -= exact.exp();
        rest_other -= other.exp();
    }
    // Rounded sums may miss zero.
    let [rest_exact, rest_other] = [rest_exact, rest_other].map(|rest: f64| rest.max(1e-12));
    f64::max(sum + rest_exact * (rest_exact / rest_other).ln(), 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(of: &[f32]) -> Vec<(i32, f32)> {
        of.iter().zip(0..).map(|(p, token)| (token, p.ln())).collect()
    }

    #[test]
    fn equal_expectations_do_not_diverge() {
        let exact = places(&[0.5, 0.25, 0.125]);
        assert!(divergence(&exact, &exact) < 1e-9);
    }

    #[test]
    fn it_is_what_the_formula_says() {
        // 0.5 ln(0.5/0.25) + 0.25 ln(0.25/0.25) + 0.25 ln(0.25/0.5)
        let expected = 0.5 * 2_f64.ln() - 0.25 * 2_f64.ln();
        assert!((divergence(&places(&[0.5, 0.25]), &places(&[0.25, 0.25])) - expected).abs() < 1e-6);
    }
}
