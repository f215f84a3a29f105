//! From a task to tokens, in such a way that only the template can write control tokens.
//!
//! The rendered prompt is cut at the control tokens in it, and what lies between them is tokenized as plain text. Before
//! that, every control token in the client's text has been broken by a mark that no text contains (a Unicode
//! noncharacter); the marks are taken out again after the cut. So `<|im_end|>` typed by a user stays seven plain tokens,
//! and a prompt without such tricks is tokenized exactly as Hugging Face's tokenizers would.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use thiserror::Error;

use super::asks;
use super::llama::{ControlToken, LlamaError, Model, Token};
use super::template::{ChatTemplate, TemplateError};
use crate::engine::protocol::Opening;
use crate::job::{Input, Message, Role, Task};

/// Why a task has no prompt.
#[derive(Debug, Error)]
pub enum PromptError {
    /// A conversation needs a template.
    #[error("the model has no chat template; use the task \"generate\"")]
    NoTemplate,
    /// It is none for a model that generates text.
    #[error("the model generates text: it can't do the task \"{0}\"")]
    Task(&'static str),
    /// One at a time takes all of its attention.
    #[error("the model generates text: with \"types\", it takes one \"input\" and not \"inputs\"")]
    ManyInputs,
    /// The template refuses the conversation.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenize(#[from] LlamaError),
    /// The texts contain all 32 noncharacters.
    #[error("the text contains every Unicode noncharacter from U+FDD0 to U+FDEF")]
    NoMark,
}

/// Makes prompts for one model.
pub struct Prompter {
    template: Option<ChatTemplate>,
    control: ControlTokens,
    bos: Option<Token>,
}

impl Prompter {
    /// Takes the model's own template; one that fails is reported and not used.
    pub fn new(model: &Model) -> Self {
        let (bos, eos) = model.bos_eos_text();
        let template = model.chat_template().and_then(|source| match ChatTemplate::new(&source, bos, eos) {
            Ok(template) => Some(template),
            Err(e) => {
                tracing::warn!("{e}; prompts go to the model as they are");
                None
            }
        });
        Self { template, control: ControlTokens::new(model.control_tokens()), bos: model.bos() }
    }

    /// Whether the model's template is used.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Whether prompts begin otherwise on another day.
    pub fn is_dated(&self) -> bool {
        self.template.as_ref().is_some_and(ChatTemplate::is_dated)
    }

    /// The tokens of a task's prompt.
    pub fn tokens(&self, model: &Model, task: &Task) -> Result<Vec<Token>, PromptError> {
        match (task, &self.template) {
            (Task::Generate { prompt }, None) => self.raw(model, prompt),
            (Task::Chat { .. } | Task::Long { .. }, None) => Err(PromptError::NoTemplate),
            (Task::Generate { prompt }, Some(template)) => {
                let message = Message { role: Role::User, content: prompt.clone() };
                self.conversation(model, template, &[message])
            }
            (Task::Chat { messages } | Task::Long { messages, .. }, Some(template)) => {
                self.conversation(model, template, messages)
            }
            (Task::Classify { input: Input::One(text), labels }, _) if !labels.is_empty() => {
                self.ask(model, &asks::classify(labels, text))
            }
            (Task::Extract { input: Input::One(text), types }, _) if !types.is_empty() => {
                self.ask(model, &asks::extract(types, text))
            }
            (Task::Extract { input: Input::Many(_), types }, _) if !types.is_empty() => Err(PromptError::ManyInputs),
            (Task::Answer { question, context }, _) => self.ask(model, &asks::answer(question, context)),
            (
                Task::Embed { .. }
                | Task::Classify { .. }
                | Task::Extract { .. }
                | Task::Rerank { .. }
                | Task::Each { .. }
                | Task::Pipeline(_),
                _,
            ) => Err(PromptError::Task(task.name())),
        }
    }

    /// What we ask, which a model without a template reads as the beginning of a document.
    pub fn ask(&self, model: &Model, messages: &[Message]) -> Result<Vec<Token>, PromptError> {
        if let Some(template) = &self.template {
            return self.conversation(model, template, messages);
        }
        let texts: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        self.raw(model, &format!("{}\n\n", texts.join("\n\n")))
    }

    /// The tokens that every prompt of the template begins with: nothing in them is a client's.
    pub fn common_opening(&self, model: &Model) -> Vec<Token> {
        shared(|text| self.tokens(model, &Task::Generate { prompt: text.to_owned() }))
    }

    /// The tokens with which prompts begin that go on after what we ask.
    pub fn own_openings(&self, model: &Model) -> Vec<Vec<Token>> {
        let asks: [fn(&str) -> Vec<Message>; 3] = [
            |text| asks::classify(&[text.to_owned()], text),
            |text| asks::extract(&[text.to_owned()], text),
            |text| asks::answer(text, text),
        ];
        asks.map(|ask| shared(|text| self.ask(model, &ask(text)))).into()
    }

    /// The tokens with which prompts begin that go on after an operator's opening; none if the template refuses it.
    pub fn opening(&self, model: &Model, opening: &Opening) -> Vec<Token> {
        shared(|text| {
            let mut messages = opening.messages.clone();
            if let Some(last) = messages.last_mut() {
                last.content.push_str(text);
            }
            self.tokens(model, &Task::Chat { messages })
        })
    }

    /// A text without template, as the beginning of a document.
    pub fn raw(&self, model: &Model, text: &str) -> Result<Vec<Token>, PromptError> {
        let mut tokens: Vec<Token> = self.bos.into_iter().collect();
        tokens.extend(model.tokenize(text)?);
        Ok(tokens)
    }

    fn conversation(
        &self,
        model: &Model,
        template: &ChatTemplate,
        messages: &[Message],
    ) -> Result<Vec<Token>, PromptError> {
        let mark = unused_mark(messages)?;
        let broken: Vec<Message> = messages
            .iter()
            .map(|m| Message { role: m.role, content: self.control.disarm(&m.content, mark).into_owned() })
            .collect();
        let rendered = template.render(&broken)?;
        let mut tokens = Vec::new();
        for piece in self.control.cut(&rendered) {
            match piece {
                Piece::Control(token) => tokens.push(token),
                Piece::Plain(text) => {
                    let text = if text.contains(mark) { Cow::Owned(text.replace(mark, "")) } else { text.into() };
                    if !text.is_empty() {
                        tokens.extend(model.tokenize(&text)?);
                    }
                }
            }
        }
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }
}

/// The tokens that two prompts have in common at their beginning, which go on with texts that have none in common.
fn shared(prompt: impl Fn(&str) -> Result<Vec<Token>, PromptError>) -> Vec<Token> {
    let (Ok(mut one), Ok(other)) = (prompt("A"), prompt("0")) else { return Vec::new() };
    one.truncate(shared_length(&one, &other));
    one
}

/// How many tokens two texts have in common at their beginning.
pub fn shared_length(one: &[Token], other: &[Token]) -> usize {
    one.iter().zip(other).take_while(|(a, b)| a == b).count()
}

fn unused_mark(messages: &[Message]) -> Result<char, PromptError> {
    ('\u{fdd0}'..='\u{fdef}')
        .find(|mark| messages.iter().all(|m| !m.content.contains(*mark)))
        .ok_or(PromptError::NoMark)
}

/// The control tokens of a vocabulary, ready to be found in text.
struct ControlTokens {
    tokens: Vec<ControlToken>,
    /// Finds the leftmost, and of several there the longest: `<|end|>` must not hide `<|end|>x`.
    finder: AhoCorasick,
}

#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Control(Token),
    Plain(&'a str),
}

impl ControlTokens {
    fn new(tokens: Vec<ControlToken>) -> Self {
        let texts = tokens.iter().map(|token| &token.text);
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts);
        Self { tokens, finder: finder.expect("a few hundred short texts") }
    }

    /// The first control token in a text at or after a byte, and where it stands.
    fn find(&self, text: &str, from: usize) -> Option<(usize, &ControlToken)> {
        let found = self.finder.find(aho_corasick::Input::new(text).range(from..))?;
        Some((found.start(), &self.tokens[found.pattern().as_usize()]))
    }

    /// Breaks every control token in a client's text with a mark after its first character. A text that is a part of one,
    /// or begins or ends with one, gets a mark there, so that the template can't complete it.
    fn disarm<'a>(&self, text: &'a str, mark: char) -> Cow<'a, str> {
        let begins = self
            .tokens
            .iter()
            .any(|t| (!text.is_empty() && t.text.contains(text)) || has_tail(&t.text, |tail| text.starts_with(tail)));
        let ends = self.tokens.iter().any(|t| has_head(&t.text, |head| text.ends_with(head)));
        if !begins && !ends && self.find(text, 0).is_none() {
            return text.into();
        }
        let mut out = String::with_capacity(text.len() + 16);
        out.extend(begins.then_some(mark));
        let mut done = 0;
        while let Some((at, _)) = self.find(text, done) {
            let first = text[at..].chars().next().map_or(1, char::len_utf8);
            out.push_str(&text[done..at + first]);
            out.push(mark);
            done = at + first;
        }
        out.push_str(&text[done..]);
        out.extend(ends.then_some(mark));
        out.into()
    }

    fn cut<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        let mut pieces = Vec::new();
        let (mut done, mut strip_next) = (0, false);
        while let Some((at, token)) = self.find(text, done) {
            push_plain(&mut pieces, &text[done..at], strip_next, token.strips_left);
            pieces.push(Piece::Control(token.token));
            strip_next = token.strips_right;
            done = at + token.text.len();
        }
        push_plain(&mut pieces, &text[done..], strip_next, false);
        pieces
    }
}

fn push_plain<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str, strip_start: bool, strip_end: bool) {
    let text = if strip_start { text.trim_start() } else { text };
    let text = if strip_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Plain(text));
    }
}

/// Whether a proper end of the token satisfies the test.
fn has_tail(token: &str, test: impl Fn(&str) -> bool) -> bool {
    token.char_indices().skip(1).any(|(at, _)| test(&token[at..]))
}

/// Whether a proper beginning of the token satisfies the test.
fn has_head(token: &str, test: impl Fn(&str) -> bool) -> bool {
    token.char_indices().skip(1).any(|(at, _)| test(&token[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens() -> ControlTokens {
        let token = |token, text: &str, strips_left, strips_right| ControlToken {
            token,
            text: text.into(),
            strips_left,
            strips_right,
        };
        ControlTokens::new(vec![
            token(1, "<|im_start|>", false, false),
            token(2, "<|im_end|>", false, false),
            token(3, "<|im_end|>x", false, false),
            token(4, "[strip]", true, true),
        ])
    }

    #[test]
    fn cuts_at_control_tokens_longest_first() {
        let tokens = tokens();
        let pieces = tokens.cut("a<|im_end|>x<|im_start|>b [strip] c");
        let expected = [
            Piece::Plain("a"),
            Piece::Control(3),
            Piece::Control(1),
            Piece::Plain("b"),
            Piece::Control(4),
            Piece::Plain("c"),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn control_tokens_of_a_client_are_broken_and_plain_text_is_untouched() {
        let tokens = tokens();
        assert!(matches!(tokens.disarm("a < b", '#'), Cow::Borrowed("a < b")));
        assert_eq!(tokens.disarm("a<|im_end|>b", '#'), "a<#|im_end|>b");
    }

    #[test]
    fn a_template_cannot_complete_a_part_of_one() {
        let tokens = tokens();
        assert_eq!(tokens.disarm("im_end|>", '#'), "#im_end|>");
        assert_eq!(tokens.disarm("text <|im", '#'), "text <|im#");
        assert_eq!(tokens.disarm("im_end", '#'), "#im_end");
    }

    proptest! {
        #[test]
        fn no_text_brings_a_control_token_through(
            text in "(<\\|im_end\\|>|<\\|im_start\\|>|<\\||im_end|\\|>|x| |\\[strip\\]){0,8}",
            before in "(<\\|im_start\\|>|<\\||<){0,2}", after in "(\\|>|im_end\\|>|>){0,2}",
        ) {
            prop_assume!(!text.is_empty());
            let tokens = tokens();
            let mark = '\u{fdd0}';
            let own = |t: &str| tokens.cut(t).iter().filter(|p| matches!(p, Piece::Control(_))).count();
            let rendered = format!("{before}{}{after}", tokens.disarm(&text, mark));
            // Only what the template itself wrote is left; a part of a token at its border stays a part.
            prop_assert_eq!(own(&rendered), own(&before) + own(&after));
            prop_assert_eq!(tokens.disarm(&text, mark).replace(mark, ""), text);
        }
    }
}
