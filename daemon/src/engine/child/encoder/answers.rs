//! From what the model has computed to what a client gets.

use crate::job::{Embedding, Encoding, ErrorCode, JobError, Labelled, Output, Ranked};

/// An embedding.
pub fn embedding(values: &[f32], encoding: Encoding) -> Result<Output, JobError> {
    let values = normalised(values).ok_or_else(broken)?;
    Ok(Output::Embedding(Embedding { values, encoding }))
}

/// How the outputs of a classification head become scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    /// One class is the right one: the scores have the sum 1 (softmax).
    OfOne,
    /// Each class is likely or not by itself (sigmoid).
    OfEach,
}

/// Classes by falling score, from the outputs of a classification head in the order of the labels.
pub fn labels(outputs: &[f32], labels: &[String], scores: Scores) -> Result<Output, JobError> {
    let scores = match scores {
        Scores::OfOne => softmax(outputs),
        Scores::OfEach => sigmoid(outputs),
    };
    let scores = scores.ok_or_else(broken)?;
    let named = labels.iter().cloned().zip(scores).map(|(label, score)| Labelled { label, score });
    let mut named: Vec<Labelled> = named.collect();
    named.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(Output::Labels(named))
}

/// Documents by falling score, from the embeddings of the question and of the documents.
pub fn ranking(question: &[f32], documents: &[Vec<f32>]) -> Result<Output, JobError> {
    let question = normalised(question).ok_or_else(broken)?;
    let ranked = documents.iter().enumerate().map(|(index, document)| {
        let document = normalised(document).ok_or_else(broken)?;
        Ok(Ranked { index, score: cosine(&question, &document) })
    });
    let mut ranked = ranked.collect::<Result<Vec<_>, _>>()?;
    // Those that fit equally well stay in their order.
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(Output::Ranking(ranked))
}

/// What a client gets for values that are none.
pub fn broken() -> JobError {
    JobError::new(ErrorCode::EngineFailed, "the model computed values that are no numbers")
}

/// The vector with length 1; none if it has no direction.
fn normalised(values: &[f32]) -> Option<Vec<f32>> {
    let square: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let length = square.sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
    let scaled = |value: &f32| (f64::from(*value) / length) as f32;
    (length.is_normal()).then(|| values.iter().map(scaled).collect())
}

/// Of two vectors of length 1.
#[expect(clippy::cast_possible_truncation, reason = "at most 1")]
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let sum: f64 = one.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sum.clamp(-1.0, 1.0) as f32
}

/// Probabilities; none if the outputs are no numbers.
pub fn softmax(outputs: &[f32]) -> Option<Vec<f32>> {
    let most = outputs.iter().copied().max_by(f32::total_cmp).filter(|_| outputs.iter().all(|o| o.is_finite()))?;
    let powers: Vec<f64> = outputs.iter().map(|&output| (f64::from(output) - f64::from(most)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
    Some(powers.iter().map(|power| (power / sum) as f32).collect())
}

/// Probabilities, each by itself; none if the outputs are no numbers.
fn sigmoid(outputs: &[f32]) -> Option<Vec<f32>> {
    #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
    let one = |output: &f32| (1.0 / (1.0 + (-f64::from(*output)).exp())) as f32;
    outputs.iter().all(|output| output.is_finite()).then(|| outputs.iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_get_length_one_and_those_without_a_direction_are_none() {
        assert_eq!(normalised(&[3.0, -4.0]), Some(vec![0.6, -0.8]));
        // Their squares are larger than an f32 can be.
        let far = 2_f32.powi(100);
        assert_eq!(normalised(&[3.0 * far, 4.0 * far]), Some(vec![0.6, 0.8]));
        for values in [&[0.0, 0.0][..], &[], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
            assert_eq!(normalised(values), None, "{values:?}");
            assert_eq!(embedding(values, Encoding::Array), Err(broken()));
            assert_eq!(ranking(&[1.0, 0.0], &[values.to_vec()]), Err(broken()));
        }
    }

    #[test]
    fn the_likeliest_class_comes_first_and_scores_have_the_sum_one() {
        let names = ["cold", "warm", "hot"].map(str::to_owned);
        let Output::Labels(found) = labels(&[-1000.0, 700.0, 700.0 + 3_f32.ln()], &names, Scores::OfOne).unwrap()
        else {
            panic!()
        };
        let scores: Vec<f32> = found.iter().map(|found| (found.score * 1000.0).round()).collect();
        assert_eq!(found.iter().map(|found| found.label.as_str()).collect::<Vec<_>>(), ["hot", "warm", "cold"]);
        assert_eq!(scores, [750.0, 250.0, 0.0]);
        for scores in [Scores::OfOne, Scores::OfEach] {
            assert_eq!(labels(&[f32::NAN, 1.0, 0.0], &names, scores), Err(broken()));
            assert_eq!(labels(&[f32::INFINITY, 1.0, 0.0], &names, scores), Err(broken()));
        }
    }

    #[test]
    fn classes_can_have_scores_of_their_own() {
        let names = ["cold", "windy", "dry"].map(str::to_owned);
        let Output::Labels(found) = labels(&[-1000.0, 3_f32.ln(), 0.0], &names, Scores::OfEach).unwrap() else {
            panic!()
        };
        let scores: Vec<f32> = found.iter().map(|found| (found.score * 1000.0).round()).collect();
        assert_eq!(found.iter().map(|found| found.label.as_str()).collect::<Vec<_>>(), ["windy", "dry", "cold"]);
        assert_eq!(scores, [750.0, 500.0, 0.0]);
    }

    #[test]
    fn documents_are_ranked_by_their_direction_alone() {
        let documents = [vec![0.0, 2.0], vec![9.0, 9.0], vec![-3.0, 0.0], vec![5.0, 0.0], vec![1.0, 0.0]];
        let Output::Ranking(ranked) = ranking(&[2.0, 0.0], &documents).unwrap() else { panic!() };
        assert_eq!(ranked.iter().map(|ranked| ranked.index).collect::<Vec<_>>(), [3, 4, 1, 0, 2]);
        assert!((ranked[0].score - 1.0).abs() < 1e-6 && (ranked[4].score + 1.0).abs() < 1e-6, "{ranked:?}");
    }
}
