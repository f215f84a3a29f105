//! What encoders work on and what they give.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a task needs of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ability {
    /// It goes on with text.
    Generate,
    /// It makes an embedding of text.
    Embed,
    /// It says which class a text is of.
    Classify,
    /// It says of each part of a text what it names.
    Extract,
}

impl Ability {
    /// What such a model does, as a sentence about it goes on.
    pub fn does(self) -> &'static str {
        match self {
            Self::Generate => "generates text",
            Self::Embed => "makes embeddings",
            Self::Classify => "has a classification head",
            Self::Extract => "has a head for tokens",
        }
    }
}

/// What a task is done with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A text, whose answer or error is the job's.
    One(String),
    /// Texts, at least one; each has an answer or an error of its own.
    Many(Vec<String>),
}

impl Input {
    /// All texts, in their order.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }

    /// Bytes of all texts together.
    pub fn bytes(&self) -> usize {
        self.texts().iter().map(String::len).sum()
    }
}

/// Sizes only: texts of clients do not belong in logs.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} texts of {} bytes", self.texts().len(), self.bytes())
    }
}

/// How the numbers of an embedding are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// 32-bit little-endian floats in base64: a third of the size, and exact.
    #[default]
    #[serde(rename = "f32le_base64")]
    Base64,
    /// An array of numbers.
    #[serde(rename = "array")]
    Array,
}

impl Encoding {
    /// As requests and replies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "f32le_base64",
            Self::Array => "array",
        }
    }
}

/// The place of a text among all texts, as a model sees it. Similar texts are near each other.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// A vector of length 1.
    pub values: Vec<f32>,
    /// How it is written.
    pub encoding: Encoding,
}

/// A class and how likely it is the one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Labelled {
    /// The class, as the model's file calls it.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
}

/// A part of a text that names something.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    /// The part, as it stands in the text.
    pub text: String,
    /// What it names, such as `CITY`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it begins, in Unicode code points from the start of the text.
    pub start: usize,
    /// Where it ends: the first code point that is not part of it.
    pub end: usize,
    /// How sure that is, 0 to 1.
    pub score: f32,
}

/// A part of a text, and where it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The part, as it stands in the text.
    pub text: String,
    /// Where it begins, in Unicode code points from the start of the text.
    pub start: usize,
    /// Where it ends: the first code point that is not part of it.
    pub end: usize,
}

/// What a context tells about a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The part that answers it; none if the context does not tell.
    pub part: Option<Part>,
    /// How sure that is, 0 to 1.
    pub score: f32,
}

/// Most labels of which one request may ask which fits.
pub const LABELS_MAX: usize = 64;
/// Longest label in bytes.
pub const LABEL_BYTES_MAX: usize = 256;

/// Most types of entities that one request may ask for.
pub const ENTITY_TYPES_MAX: usize = 64;
/// Longest name of a type of entities in bytes.
pub const ENTITY_TYPE_BYTES_MAX: usize = 64;

/// A document and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ranked {
    /// Its place in the request, from 0.
    pub index: usize,
    /// The cosine of the angle between its embedding and the question's: -1 to 1.
    pub score: f32,
}

/// Its place and type only: texts of clients do not belong in logs.
impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entity({} at {}..{})", self.kind, self.start, self.end)
    }
}

/// Its place only, as above.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({}..{})", self.start, self.end)
    }
}

/// The size only: embeddings tell much of their text.
impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding({} values)", self.values.len())
    }
}
