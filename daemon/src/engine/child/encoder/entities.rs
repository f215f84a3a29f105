//! From classes of tokens to what a text names.
//!
//! A word has the type that its tokens have on average, begins or goes on as its first token does, and is joined to the one
//! before it if that has the same type and the word goes on, or no blank stands between them: models say of each piece of
//! an address that it begins.

use super::tag::Tag;
use super::words::Tokenized;
use crate::job::Entity;

/// A word that is part of something.
struct Part {
    /// Its number among the words.
    word: usize,
    /// Its type, by its first tag.
    kind: usize,
    begins: bool,
    score: f64,
}

/// What a text names, by the probabilities of the tags for each of its tokens, one token after the other. With `types`, of these types only.
pub fn entities(words: &Tokenized, tags: &[Tag], probabilities: &[f32], types: &[String]) -> Vec<Entity> {
    let mut found: Vec<Vec<Part>> = Vec::new();
    for word in 0..words.words.len() {
        let Some(part) = part(words, word, tags, probabilities) else { continue };
        match found.last_mut() {
            Some(parts) if parts.last().is_some_and(|last| joins(words, last, &part)) => parts.push(part),
            _ => found.push(vec![part]),
        }
    }
    let mut places = Places::of(&words.text);
    let found = found.iter().filter_map(|parts| {
        let (first, last) = (parts.first()?, parts.last()?);
        let kind = tags[first.kind].kind()?;
        let place = words.words[first.word].place.start..words.words[last.word].place.end;
        let sum: f64 = parts.iter().map(|part| part.score).sum();
        #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
        let score = (sum / parts.len() as f64) as f32;
        let wanted = types.is_empty() || types.iter().any(|wanted| wanted == kind);
        wanted.then(|| Entity {
            text: words.text[place.clone()].to_owned(),
            kind: kind.to_owned(),
            start: places.at(place.start),
            end: places.at(place.end),
            score,
        })
    });
    found.collect()
}

fn joins(words: &Tokenized, last: &Part, next: &Part) -> bool {
    let touching = words.words[last.word].place.end == words.words[next.word].place.start;
    last.kind == next.kind && last.word + 1 == next.word && (touching || !next.begins)
}

/// What a word is part of, if it is more likely that than nothing.
fn part(words: &Tokenized, word: usize, tags: &[Tag], probabilities: &[f32]) -> Option<Part> {
    let tokens = &words.words[word].tokens;
    let rows: Vec<&[f32]> = probabilities.chunks_exact(tags.len()).skip(tokens.start).take(tokens.len()).collect();
    let mean = |tag: usize| rows.iter().map(|row| f64::from(row[tag])).sum::<f64>() / rows.len() as f64;
    let mut outside = 0.0;
    // Begin and inside of a type count together.
    let mut kinds: Vec<(usize, f64)> = Vec::new();
    for (number, tag) in tags.iter().enumerate() {
        match kinds.iter_mut().find(|(known, _)| tags[*known].kind() == tag.kind()) {
            _ if *tag == Tag::Outside => outside += mean(number),
            Some((_, sum)) => *sum += mean(number),
            None => kinds.push((number, mean(number))),
        }
    }
    let (kind, score) = kinds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, score)| *score > outside)?;
    let first = rows.first()?;
    let probability = |wanted: &dyn Fn(&Tag) -> bool| -> f32 {
        let of_kind = |tag: &Tag| tag.kind() == tags[kind].kind() && wanted(tag);
        tags.iter().zip(*first).filter(|(tag, _)| of_kind(tag)).map(|(_, probability)| *probability).sum()
    };
    let begins = probability(&|tag| matches!(tag, Tag::Begin(_))) > probability(&|tag| matches!(tag, Tag::Inside(_)));
    Some(Part { word, kind, begins, score })
}

/// Counts code points up to rising places in bytes, in one pass.
struct Places<'a> {
    text: &'a str,
    bytes: usize,
    points: usize,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        Self { text, bytes: 0, points: 0 }
    }

    fn at(&mut self, bytes: usize) -> usize {
        self.points += self.text[self.bytes..bytes].chars().count();
        self.bytes = bytes;
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::Word;
    use super::*;

    const TAGS: [&str; 5] = ["O", "B-CITY", "I-CITY", "B-NAME", "I-NAME"];

    /// Tokenized of one token each, with the number of the tag that is likeliest.
    fn found(text: &str, tagged: &[(&str, usize)], types: &[&str]) -> Vec<(String, String, usize, usize)> {
        let (mut words, mut rows, mut from) = (Vec::new(), Vec::new(), 0);
        for (number, (word, tag)) in tagged.iter().enumerate() {
            let start = from + text[from..].find(word).unwrap();
            from = start + word.len();
            words.push(Word { place: start..from, tokens: number..number + 1 });
            rows.extend((0..TAGS.len()).map(|other| if other == *tag { 0.9 } else { 0.025 }));
        }
        let tags = TAGS.map(Tag::of);
        let words = Tokenized { text: text.to_owned(), words, tokens: vec![0; tagged.len()] };
        let types: Vec<String> = types.iter().map(|&kind| kind.to_owned()).collect();
        let found = entities(&words, &tags, &rows, &types);
        assert!(found.iter().all(|entity| entity.score > 0.9 && entity.score <= 1.0));
        found.into_iter().map(|Entity { text, kind, start, end, .. }| (text, kind, start, end)).collect()
    }

    fn entity(text: &str, kind: &str, start: usize, end: usize) -> (String, String, usize, usize) {
        (text.to_owned(), kind.to_owned(), start, end)
    }

    #[test]
    fn words_of_one_thing_are_joined_and_places_count_characters() {
        let text = "Ärger 👩‍🚀 in New York, Anna";
        let tagged = [("Ärger", 0), ("👩‍🚀", 0), ("in", 0), ("New", 1), ("York", 2), (",", 0), ("Anna", 3)];
        let city = entity("New York", "CITY", 13, 21);
        let name = entity("Anna", "NAME", 23, 27);
        assert_eq!(found(text, &tagged, &[]), [city.clone(), name.clone()]);
        assert_eq!(found(text, &tagged, &["CITY"]), [city]);
        assert_eq!(found(text, &tagged, &["NAME", "other"]), [name]);
        assert_eq!(found(text, &tagged, &["other"]), []);
        let points: Vec<char> = text.chars().collect();
        assert_eq!(points[13..21].iter().collect::<String>(), "New York");
    }

    #[test]
    fn what_begins_is_another_one_unless_it_touches() {
        let two = [("Rome", 1), ("Oslo", 1)];
        assert_eq!(found("Rome Oslo", &two, &[]), [entity("Rome", "CITY", 0, 4), entity("Oslo", "CITY", 5, 9)]);
        let one = [("a", 3), (".", 3), ("b", 3)];
        assert_eq!(found("a.b", &one, &[]), [entity("a.b", "NAME", 0, 3)]);
        let other = [("Rome", 1), ("Anna", 4)];
        assert_eq!(found("RomeAnna", &other, &[]), [entity("Rome", "CITY", 0, 4), entity("Anna", "NAME", 4, 8)]);
        // Inside without a beginning begins.
        assert_eq!(found("to Rome", &[("to", 0), ("Rome", 2)], &[]), [entity("Rome", "CITY", 3, 7)]);
    }

    #[test]
    fn a_word_has_the_type_of_its_tokens_together() {
        let tags = TAGS.map(Tag::of);
        let words = Tokenized {
            text: "Springfield".to_owned(),
            words: vec![Word { place: 0..11, tokens: 0..2 }],
            tokens: vec![0; 2],
        };
        // Alone the first token would be a name.
        let rows = [0.1, 0.2, 0.2, 0.5, 0.0, 0.0, 0.5, 0.4, 0.1, 0.0];
        let found = entities(&words, &tags, &rows, &[]);
        assert_eq!((found.len(), found[0].kind.as_str()), (1, "CITY"));
        assert!((found[0].score - 0.65).abs() < 1e-6, "{found:?}");
    }
}
