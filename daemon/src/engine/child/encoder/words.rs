//! The words of a text with their tokens, and the windows in which a long text is computed.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::engine::child::llama::{LlamaError, Model, Token};

/// What `WordPiece` takes for a word: a punctuation mark, an ASCII symbol or a Chinese character alone, and everything between
/// them and blanks. As in `llm_tokenizer_wpm_session` in llama-vocab.cpp.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    const ALONE: &str = r"\p{P}$+<=>^`|~\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b920}-\x{2ceaf}\x{2f800}-\x{2fa1f}";
    Regex::new(&format!(r"[{ALONE}]|[^\s{ALONE}]+")).expect("a constant")
});

/// Tokenized between blanks.
static BETWEEN_BLANKS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\S+").expect("a constant"));

/// Most tokens that a window shares with the next one: more than nearly everything that has a name.
const OVERLAP_MAX: usize = 64;

/// A word and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it stands in the text, in bytes.
    pub place: Range<usize>,
    /// Its tokens among all.
    pub tokens: Range<usize>,
}

/// A text, word by word.
pub struct Tokenized {
    /// The text.
    pub text: String,
    /// Its words; those of which the model knows nothing are left out.
    pub words: Vec<Word>,
    /// The tokens of all words.
    pub tokens: Vec<Token>,
}

impl Tokenized {
    /// Cuts a text so that its words have the tokens that the whole text has.
    pub fn of(model: &Model, text: String, mut progress: impl FnMut()) -> Result<Self, LlamaError> {
        let whole = model.tokenize(&text)?;
        progress();
        let mut words = Self { text, words: Vec::new(), tokens: Vec::with_capacity(whole.len()) };
        words.cut(model, &WORDS, &mut progress)?;
        if words.tokens != whole {
            // The model's idea of punctuation is another one; of blanks it is the same.
            words.cut(model, &BETWEEN_BLANKS, &mut progress)?;
        }
        Ok(words)
    }

    fn cut(&mut self, model: &Model, pattern: &Regex, progress: &mut impl FnMut()) -> Result<(), LlamaError> {
        self.words.clear();
        self.tokens.clear();
        for found in pattern.find_iter(&self.text) {
            let first = self.tokens.len();
            self.tokens.extend(model.tokenize(found.as_str())?);
            if self.tokens.len() > first {
                self.words.push(Word { place: found.range(), tokens: first..self.tokens.len() });
            }
            if self.words.len().is_multiple_of(1024) {
                progress();
            }
        }
        Ok(())
    }
}

/// A part of a text that is computed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its tokens among all.
    pub tokens: Range<usize>,
    /// Those for which it speaks: they are farther from its ends than from those of its neighbours.
    pub kept: Range<usize>,
}

/// The windows of so many tokens that cover a text. Neighbours overlap, so that each token is seen with what surrounds it.
pub fn windows(tokens: usize, most: usize) -> Vec<Window> {
    let most = most.max(1);
    let overlap = OVERLAP_MAX.min(most / 4);
    let (mut windows, mut start, mut kept) = (Vec::new(), 0, 0);
    while kept < tokens {
        let end = tokens.min(start + most);
        let kept_end = if end == tokens { end } else { end - overlap / 2 };
        windows.push(Window { tokens: start..end, kept: kept..kept_end });
        (start, kept) = (end - overlap, kept_end);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_wordpiece() {
        let cut = |text| WORDS.find_iter(text).map(|found| found.as_str()).collect::<Vec<_>>();
        assert_eq!(cut(" Don't\tpay $5.20\n"), ["Don", "'", "t", "pay", "$", "5", ".", "20"]);
        assert_eq!(cut("a@b.org 東京へ"), ["a", "@", "b", ".", "org", "東", "京", "へ"]);
        assert_eq!(cut("naïve 👩‍🚀 «שלום»"), ["naïve", "👩‍🚀", "«", "שלום", "»"]);
        assert_eq!(cut(" \u{a0}\u{2003} "), [""; 0]);
    }

    #[test]
    fn windows_cover_every_token_once_and_overlap() {
        assert_eq!(windows(0, 10), []);
        assert_eq!(windows(10, 10), [Window { tokens: 0..10, kept: 0..10 }]);
        assert_eq!(windows(20, 12), [Window { tokens: 0..12, kept: 0..11 }, Window { tokens: 9..20, kept: 11..20 }]);
        for most in [1, 2, 3, 5, 64, 510] {
            for tokens in 1..1200 {
                let windows = windows(tokens, most);
                let mut next = 0;
                for window in &windows {
                    assert_eq!(window.kept.start, next, "{tokens} in {most}");
                    assert!(window.kept.start >= window.tokens.start && window.kept.end <= window.tokens.end);
                    assert!(!window.kept.is_empty() && window.tokens.len() <= most);
                    next = window.kept.end;
                }
                assert_eq!(next, tokens, "{tokens} in {most}");
            }
        }
        let long = windows(5000, 510);
        assert!(long.windows(2).all(|pair| pair[0].tokens.end - pair[1].tokens.start == OVERLAP_MAX));
    }
}
