//! Builds grammars for one vocabulary.

use std::sync::Arc;

use llguidance::api::ParserLimits;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use super::{BUILD_FUEL, Grammar, GrammarError, ROW_ITEMS, Recipe, STATES, STEP_FUEL, STEP_ITEMS, SYMBOLS, Vocabulary};

/// Bytes of the longest token that the tables take.
const WORD_MAX: usize = 1000;

/// Longest list of keywords that is told in bytes.
const KEYS_MAX: usize = 200;

/// The tables that all grammars of a model share.
pub(super) struct Builder {
    factory: ParserFactory,
}

impl Builder {
    /// Makes the tables: about 150 ms and 17 MB for 49 000 tokens.
    pub(super) fn new(vocabulary: Vocabulary) -> Result<Self, GrammarError> {
        let Vocabulary { mut words, ends } = vocabulary;
        for word in words.iter_mut().filter(|word| word.len() > WORD_MAX) {
            word.clear();
        }
        let failed = |_| GrammarError::Failed("its tables cannot be made of this vocabulary");
        let count = u32::try_from(words.len()).map_err(|_| GrammarError::Failed("the vocabulary is too large"))?;
        let ends: Vec<u32> = ends.into_iter().filter(|&end| end < count).collect();
        let info = TokRxInfo::new(count, ends.first().copied().unwrap_or(INVALID_TOKEN));
        let mut trie = TokTrie::from(&info, &words);
        if !ends.is_empty() {
            trie = trie.with_eos_tokens(&ends);
        }
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&environment, InferenceCapabilities::default(), &slices).map_err(failed)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_items_in_row: ROW_ITEMS,
            initial_lexer_fuel: BUILD_FUEL,
            step_lexer_fuel: STEP_FUEL,
            step_max_items: STEP_ITEMS,
            max_lexer_states: STATES,
            max_grammar_size: SYMBOLS,
            precompute_large_lexemes: true,
            // They quote what was written.
            verbose_errors: false,
        };
        Ok(Self { factory })
    }

    /// Builds one grammar.
    pub(super) fn build(&self, recipe: &Recipe) -> Result<Grammar, GrammarError> {
        let searches = recipe.searches();
        let parser = self.factory.create_parser(recipe.grammar()?).map_err(|error| {
            let refusal = refusal(&format!("{error:#}"));
            if searches { refusal.of_search() } else { refusal }
        })?;
        let matcher = Matcher::new(Ok(parser));
        if matcher.is_error() {
            return Err(GrammarError::Failed("its parser does not start"));
        }
        Ok(Grammar { matcher, searches, masked: Vec::new() })
    }
}

/// What is told of an error of llguidance, whose own words may quote the schema.
fn refusal(text: &str) -> GrammarError {
    const KEYS: &str = "Unimplemented keys: ";
    let told = if let Some(at) = text.find(KEYS) {
        let keys = text[at + KEYS.len()..].lines().next().unwrap_or_default();
        format!("the schema uses keywords that are not supported{}", words_of(keys))
    } else if text.contains("Unsatisfiable") {
        "no value fits the schema".to_owned()
    } else if super::names(text, &super::LIMITS) {
        format!(
            "the constraint is too large: allowed are {SYMBOLS} symbols of grammar and {BUILD_FUEL} steps for its lexer"
        )
    } else {
        "the constraint cannot be made into a grammar: it is malformed, or uses what is not supported".to_owned()
    };
    GrammarError::Unusable(told)
}

/// A list of JSON Schema's keywords, to be told. Anything else may be a client's.
fn words_of(keys: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphabetic() || br#"$"[], "#.contains(&byte);
    let proper = keys.len() <= KEYS_MAX && keys.bytes().all(plain);
    if proper { format!(": {keys}") } else { String::new() }
}
