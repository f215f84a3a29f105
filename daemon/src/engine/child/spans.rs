//! Parts of a text that a model has named: from its answer, which a grammar has held to such parts, to their places.

use std::ops::Range;

use serde_json::{Deserializer, Value};

use crate::job::{Entity, Found, Part};

/// Most entities of one answer.
pub const ENTITIES_MAX: usize = 64;

/// How an entity begins in an answer, what stands between its text and its type, and how it ends.
pub const ENTITY: [&str; 3] = [r#"{"text": "#, r#", "type": "#, "}"];

/// What stands between entities.
pub const NEXT: &str = ", ";

/// Where a token of an answer ends, and how likely it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// Bytes of the answer up to here.
    pub end: usize,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// The entities of an answer in the order of the text; of one that was cut, those that are whole. An entity that is named more often
/// than it is there, or that lies in another one, is left out.
pub fn entities(input: &str, answer: &str, marks: &[Mark]) -> Vec<Entity> {
    let mut found: Vec<(Range<usize>, Entity)> = Vec::new();
    let mut at = usize::from(answer.starts_with('['));
    while let Some((text, kind, inner, end)) = next_entity(answer, at) {
        at = if answer[end..].starts_with(NEXT) { end + NEXT.len() } else { end };
        let is_free =
            |place: &Range<usize>| found.iter().all(|(taken, _)| place.end <= taken.start || taken.end <= place.start);
        if let Some(place) = places(input, &text).find(is_free) {
            let Part { text, start, end } = part(input, &place);
            found.push((place, Entity { text, kind, start, end, score: score(marks, &inner) }));
        }
    }
    found.sort_by_key(|(place, _)| place.start);
    found.into_iter().map(|(_, entity)| entity).collect()
}

/// The part of a context that an answer names. One that was cut names none.
pub fn answer(context: &str, answer: &str, marks: &[Mark]) -> Found {
    let text = serde_json::from_str::<Option<String>>(answer).ok().flatten();
    let place = text.and_then(|text| places(context, &text).next());
    Found { part: place.map(|place| part(context, &place)), score: score(marks, &(0..answer.len())) }
}

/// Text, type, the bytes of its text in the answer, and where it ends.
fn next_entity(answer: &str, at: usize) -> Option<(String, String, Range<usize>, usize)> {
    let [before, between, after] = ENTITY;
    let start = at + answer[at..].starts_with(before).then_some(before.len())?;
    let (text, length) = string(&answer[start..])?;
    let end = start + length;
    let next = end + answer[end..].starts_with(between).then_some(between.len())?;
    let (kind, length) = string(&answer[next..])?;
    let last = next + length;
    answer[last..].starts_with(after).then(|| (text, kind, start..end, last + after.len()))
}

/// A JSON string at the beginning of a text, and its length there.
fn string(text: &str) -> Option<(String, usize)> {
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    match values.next()?.ok()? {
        Value::String(string) => Some((string, values.byte_offset())),
        _ => None,
    }
}

/// Where a text is in another one, blanks around it left out; a blank one is nowhere.
fn places<'a>(input: &'a str, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let text = text.trim();
    let matches = if text.is_empty() { None } else { Some(input.match_indices(text)) };
    matches.into_iter().flatten().map(|(start, text)| start..start + text.len())
}

/// A part of a text, with its place in code points.
fn part(input: &str, place: &Range<usize>) -> Part {
    let start = input[..place.start].chars().count();
    let text = input[place.clone()].to_owned();
    let end = start + text.chars().count();
    Part { text, start, end }
}

/// The mean probability of the tokens that have bytes in a range.
fn score(marks: &[Mark], range: &Range<usize>) -> f32 {
    let starts = std::iter::once(0).chain(marks.iter().map(|mark| mark.end));
    let inside = marks.iter().zip(starts).filter(|(mark, start)| *start < range.end && range.start < mark.end);
    let (sum, count) =
        inside.fold((0.0, 0u16), |(sum, count), (mark, _)| (sum + mark.logprob.exp(), count.saturating_add(1)));
    if count == 0 { 0.0 } else { sum / f32::from(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(input: &str, answer: &str) -> Vec<(String, String, usize, usize)> {
        let entities = entities(input, answer, &[]);
        entities.into_iter().map(|Entity { text, kind, start, end, .. }| (text, kind, start, end)).collect()
    }

    fn entity(text: &str, kind: &str, start: usize, end: usize) -> (String, String, usize, usize) {
        (text.to_owned(), kind.to_owned(), start, end)
    }

    #[test]
    fn places_are_in_code_points_and_each_occurrence_counts_once() {
        let input = "🦀 Zoë met Ali. שלום, Zoë! \"x\"";
        let answer = r#"[{"text": "Zoë", "type": "P"}, {"text": "שלום", "type": "W"}, {"text": "Zoë ", "type": "P"}, {"text": "Zoë", "type": "P"}, {"text": "\"x\"", "type": "Q"}]"#;
        let expected = [
            entity("Zoë", "P", 2, 5),
            entity("שלום", "W", 15, 19),
            entity("Zoë", "P", 21, 24),
            entity("\"x\"", "Q", 26, 29),
        ];
        assert_eq!(found(input, answer), expected);
    }

    #[test]
    fn what_is_cut_blank_or_not_in_the_text_is_left_out() {
        let whole = r#"[{"text": "a", "type": "T"}, {"text": "b", "ty"#;
        assert_eq!(found("a b", whole), [entity("a", "T", 0, 1)]);
        assert_eq!(found("a b", r#"[{"text": " ", "type": "T"}, {"text": "c", "type": "T"}]"#), []);
        assert_eq!(
            found("a b", r#"[{"text": "a b", "type": "T"}, {"text": "b", "type": "T"}]"#),
            [entity("a b", "T", 0, 3)]
        );
        assert_eq!((found("a", "[]"), found("a", ""), found("a", "null")), (vec![], vec![], vec![]));
    }

    #[test]
    fn an_answer_is_a_part_or_nothing() {
        let part = |text: &str| answer("It is 5 °C.", text, &[]).part;
        assert_eq!(part("\"5 °C\""), Some(Part { text: "5 °C".to_owned(), start: 6, end: 10 }));
        assert_eq!((part("null"), part("\"5 °"), part("\"6\""), part("\" \"")), (None, None, None, None));
    }

    #[test]
    fn a_score_is_the_mean_of_the_tokens_of_the_part() {
        let marks = [(2, 1.0f32), (4, 0.5), (6, 0.25), (9, 0.9)].map(|(end, p)| Mark { end, logprob: p.ln() });
        assert!((score(&marks, &(3..5)) - 0.375).abs() < 1e-6);
        assert!((score(&marks, &(0..9)) - 0.6625).abs() < 1e-6);
        assert_eq!(score(&[], &(0..9)).to_bits(), 0f32.to_bits());
    }
}
