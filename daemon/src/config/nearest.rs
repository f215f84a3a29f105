//! Which key an operator may have meant.

/// Longer words are no typing errors, and comparing costs the product of the lengths.
const WORD_MAX: usize = 64;

/// The candidate most like `word`, if one is like it at all.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .iter()
        .map(|candidate| (score(&word, candidate), *candidate))
        .filter(|(score, candidate)| *score <= 1.max(candidate.len().max(word.len()) / 3))
        .min_by_key(|(score, _)| *score)
        .map(|(_, candidate)| candidate)
}

/// Few steps for a few typing errors, and one for a name that was cut off or extended.
fn score(word: &str, candidate: &str) -> usize {
    let extended = word.len().min(candidate.len()) >= 3 && (word.starts_with(candidate) || candidate.starts_with(word));
    let steps = distance(word, candidate);
    if extended { steps.min(1) } else { steps }
}

/// How many insertions, removals, replacements and swaps of neighbours lead from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    let mut previous = None;
    for (row, character) in from.chars().enumerate() {
        let mut line = vec![row + 1];
        for column in 0..to.len() {
            let replaced = last[column] + usize::from(to[column] != character);
            let mut best = replaced.min(last[column + 1] + 1).min(line[column] + 1);
            if column > 0 && previous == Some(to[column]) && to[column - 1] == character {
                best = best.min(before_last[column - 1] + 1);
            }
            line.push(best);
        }
        before_last = std::mem::replace(&mut last, line);
        previous = Some(character);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 6] = ["request", "result", "deadline", "deadline_cap", "max_tokens", "password_credential"];

    #[test]
    fn finds_what_was_meant() {
        for (word, meant) in [
            ("requst", "request"),
            ("reqeust", "request"),
            ("requests", "request"),
            ("Request", "request"),
            ("max-tokens", "max_tokens"),
            ("maxtokens", "max_tokens"),
            ("dead_line", "deadline"),
            ("password", "password_credential"),
        ] {
            assert_eq!(nearest(word, &KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn is_silent_when_nothing_is_like_it() {
        for word in ["", "x", "temperature", &"request".repeat(20)] {
            assert_eq!(nearest(word, &KEYS), None, "{word}");
        }
    }

    #[test]
    fn measures() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
