//! What `llama-vocab.cpp` asserts of a vocabulary, when it is loaded and later at some text.

use super::exact::{missing, out_of_range};
use super::header::Skimmed;
use super::tokens::Tokens;
use super::{Gguf, GgufError, ValueType};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";

/// Keys of special tokens; ids beyond the vocabulary are ignored by llama.cpp with a warning.
const SPECIAL: &[&str] = &[
    "bos",
    "eos",
    "eot",
    "eom",
    "unknown",
    "seperator",
    "padding",
    "mask",
    "fim_pre",
    "fim_suf",
    "fim_mid",
    "fim_pad",
    "fim_rep",
    "fim_sep",
    "prefix",
    "suffix",
    "middle",
];

/// Keys that are true or false.
const SWITCHES: &[&str] = &[
    "add_bos_token",
    "add_eos_token",
    "add_sep_token",
    "add_space_prefix",
    "remove_extra_whitespaces",
    "normalizer.lowercase",
    "normalizer.strip_accents",
];

/// How a kind of tokenizer begins and ends a text, as long as the file does not say it: with which token, and whether.
struct Ends {
    bos: Option<u32>,
    eos: Option<u32>,
    sep: Option<u32>,
    add_bos: bool,
    add_eos: bool,
    add_sep: bool,
}

impl Ends {
    /// llama.cpp's defaults for one kind of tokenizer; none for a kind that adds nothing.
    fn of(kind: &str) -> Option<Self> {
        let nothing = Self { bos: None, eos: None, sep: None, add_bos: false, add_eos: false, add_sep: false };
        match kind {
            "llama" => Some(Self { bos: Some(1), eos: Some(2), add_bos: true, ..nothing }),
            "bert" => Some(Self { bos: Some(101), sep: Some(102), add_bos: true, add_sep: true, ..nothing }),
            // Some pre-tokenizers add a BOS by themselves; 11 is there unless the vocabulary is a toy.
            "gpt2" | "hybriddna" | "whitespace" => Some(Self { bos: Some(11), eos: Some(11), ..nothing }),
            "t5" => Some(Self { eos: Some(1), add_eos: true, ..nothing }),
            "plamo2" => Some(Self { bos: Some(1), eos: Some(2), ..nothing }),
            "gemma4" => Some(Self { add_bos: true, ..nothing }),
            _ => None,
        }
    }
}

/// Checks the tokenizer's keys against each other and against the tokens.
pub(super) fn check(gguf: &Gguf, skimmed: &Skimmed) -> Result<(), GgufError> {
    let kind = gguf.exact_str(MODEL)?.ok_or_else(|| missing(MODEL))?;
    if ["none", "no_vocab"].contains(&kind) {
        return Err(unusable(format!("'{MODEL}' is '{kind}', so that no text can be read")));
    }
    let count = check_tokens(gguf, skimmed)?;
    check_companions(gguf, kind, count)?;
    for name in SPECIAL {
        gguf.exact_u32(&format!("tokenizer.ggml.{name}_token_id"))?;
    }
    for name in SWITCHES {
        gguf.exact_bool(&format!("tokenizer.ggml.{name}"))?;
    }
    if kind == "bert" && skimmed.byte_typed {
        return Err(unusable("a token has the type BYTE, which a 'bert' vocabulary cannot have".to_owned()));
    }
    if let (Some(tokens), "llama") = (&skimmed.tokens, kind) {
        check_bytes(tokens)?;
    }
    check_ends(gguf, kind, count)
}

/// The tokens themselves; returns how many there are.
fn check_tokens(gguf: &Gguf, skimmed: &Skimmed) -> Result<u64, GgufError> {
    let count = gguf.array_of(TOKENS, &[ValueType::Str], "an array of str")?.ok_or_else(|| missing(TOKENS))?;
    if count == 0 {
        return Err(out_of_range(TOKENS, "0 elements long", "at least 1 element"));
    }
    if let Some((first, second)) = skimmed.tokens.as_ref().and_then(|tokens| tokens.twins) {
        return Err(unusable(format!("of {count} tokens, {first} and {second} are the same")));
    }
    Ok(count)
}

/// The arrays that go with the tokens.
fn check_companions(gguf: &Gguf, kind: &str, count: u64) -> Result<(), GgufError> {
    const MERGES: &str = "tokenizer.ggml.merges";
    let companions: [(&str, &[ValueType], &str); 2] = [
        ("tokenizer.ggml.scores", &[ValueType::F32, ValueType::I32], "an array of f32 or i32"),
        ("tokenizer.ggml.token_type", &[ValueType::I32], "an array of i32"),
    ];
    for (key, elements, expected) in companions {
        if let Some(len) = gguf.array_of(key, elements, expected)?.filter(|len| *len < count) {
            return Err(out_of_range(key, format!("{len} elements long"), format!("{count} elements, one a token")));
        }
    }
    let merges = gguf.array_of(MERGES, &[ValueType::Str], "an array of str")?;
    let needed = match kind {
        "gpt2" | "hybriddna" | "whitespace" => gguf.str("tokenizer.ggml.pre") != Some("kimi-k2"),
        other => other == "gemma4",
    };
    if needed && merges.is_none() {
        return Err(missing(MERGES));
    }
    gguf.exact_str("tokenizer.ggml.pre")?;
    gguf.exact_u32("tokenizer.ggml.token_type_count")?;
    gguf.array_of("tokenizer.ggml.suppress_tokens", &[ValueType::I32], "an array of i32")?;
    let bytes = [ValueType::I8, ValueType::U8];
    gguf.array_of("tokenizer.ggml.precompiled_charsmap", &bytes, "an array of i8 or u8")?;
    Ok(())
}

/// A tokenizer of the kind `llama` writes text that it has no token for as bytes, and throws where a byte has no token:
/// through C, that ends the process. So every byte that can be in UTF-8 text needs one.
fn check_bytes(tokens: &Tokens) -> Result<(), GgufError> {
    let possible = |byte: &u8| !matches!(byte, 0xc0 | 0xc1 | 0xf5..);
    match (0..=u8::MAX).filter(possible).find(|byte| !tokens.has_byte(*byte)) {
        Some(byte) => Err(unusable(format!("it has no token '<0x{byte:02X}>', so that some texts cannot be read"))),
        None => Ok(()),
    }
}

/// A token that is to be added to every text must exist.
fn check_ends(gguf: &Gguf, kind: &str, count: u64) -> Result<(), GgufError> {
    let Some(ends) = Ends::of(kind) else { return Ok(()) };
    let switch = |name: &str, default: bool| match kind {
        // These two add theirs whatever the file says.
        "bert" if name != "eos" => true,
        "gemma4" if name == "bos" => true,
        _ => gguf.bool(&format!("tokenizer.ggml.add_{name}_token")).unwrap_or(default),
    };
    let ends = [
        ("bos", "bos", ends.bos, switch("bos", ends.add_bos)),
        ("eos", "eos", ends.eos, switch("eos", ends.add_eos) && kind != "bert"),
        ("sep", "seperator", ends.sep, switch("sep", ends.add_sep) && kind == "bert"),
    ];
    for (name, key, default, added) in ends {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let usable = |id: &u64| *id < count;
        let id = gguf.u64(&key).filter(usable).or(default.map(u64::from).filter(usable));
        if added && id.is_none() {
            let problem = format!("every text gets a {name} token, but '{key}' names none of the {count} tokens");
            return Err(unusable(problem));
        }
    }
    Ok(())
}

fn unusable(problem: String) -> GgufError {
    GgufError::Vocabulary { problem }
}
