//! The output of a job as the interface has it.

use std::borrow::Cow;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::job::{Embedding, Encoding, Found, JobError, Output, TokenLogprob};

use super::reply::ErrorBody;

/// Writes an output into a reply.
pub(super) struct OutputBody<'a>(pub &'a Output);

impl Serialize for OutputBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Output::Text(text) => serializer.serialize_str(text),
            // The engine has held it to a schema; what is no JSON all the same is a text.
            Output::Json(text) => match serde_json::from_str::<Value>(text) {
                Ok(value) => value.serialize(serializer),
                Err(_) => serializer.serialize_str(text),
            },
            Output::Embedding(embedding) => EmbeddingBody::from(embedding).serialize(serializer),
            Output::Labels(labels) => labels.serialize(serializer),
            Output::Found(found) => FoundBody::from(found).serialize(serializer),
            Output::Entities(entities) => entities.serialize(serializer),
            Output::Ranking(documents) => documents.serialize(serializer),
            Output::Each(outputs) => serializer.collect_seq(outputs.iter().map(Item::from)),
        }
    }
}

/// Which of these it is follows from the task; what a schema asks for can be any value.
impl JsonSchema for OutputBody<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Output".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "What the task gives: a text, or the value of a schema; other tasks as `allOf` says." })
    }
}

/// What a context tells about a question; without a text, it does not tell.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Found")]
pub(super) struct FoundBody<'a> {
    /// The part that answers it, as it stands in the context.
    text: Option<&'a str>,
    /// Where it begins, in Unicode code points from the start of the context.
    start: Option<usize>,
    /// Where it ends: the first code point that is not part of it.
    end: Option<usize>,
    /// How sure that is, 0 to 1.
    score: f32,
}

impl<'a> From<&'a Found> for FoundBody<'a> {
    fn from(Found { part, score }: &'a Found) -> Self {
        let part = part.as_ref();
        Self {
            text: part.map(|part| part.text.as_str()),
            start: part.map(|part| part.start),
            end: part.map(|part| part.end),
            score: *score,
        }
    }
}

/// An embedding: a vector of length 1.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Embedding")]
pub(super) struct EmbeddingBody<'a> {
    /// How many numbers it has.
    dim: usize,
    /// How they are written.
    encoding: Encoding,
    /// The numbers.
    data: Numbers<'a>,
}

/// The numbers of an embedding.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum Numbers<'a> {
    /// 32-bit little-endian floats in base64.
    Base64(String),
    /// As they are.
    Array(&'a [f32]),
}

impl<'a> From<&'a Embedding> for EmbeddingBody<'a> {
    fn from(Embedding { values, encoding }: &'a Embedding) -> Self {
        let data = match encoding {
            Encoding::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                Numbers::Base64(STANDARD.encode(bytes))
            }
            Encoding::Array => Numbers::Array(values),
        };
        Self { dim: values.len(), encoding: *encoding, data }
    }
}

/// What one of many inputs gives.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Item<'a> {
    /// What it gives, as it would alone.
    Output(OutputBody<'a>),
    /// Why it gives nothing.
    Error(ErrorBody<'a>),
}

impl<'a> From<&'a Result<Output, JobError>> for Item<'a> {
    fn from(result: &'a Result<Output, JobError>) -> Self {
        match result {
            Ok(output) => Self::Output(OutputBody(output)),
            Err(error) => Self::Error(error.into()),
        }
    }
}

/// An output as JSON, as templates see it.
pub fn output_value(output: &Output) -> Value {
    serde_json::to_value(OutputBody(output)).unwrap_or_default()
}

/// Bytes of an output: of its text, or of its JSON.
pub fn output_bytes(output: &Output) -> usize {
    match output {
        Output::Text(text) | Output::Json(text) => text.len(),
        output => json_bytes(&OutputBody(output)),
    }
}

/// Bytes of the JSON that tells how likely tokens were.
pub fn logprobs_bytes(logprobs: &[TokenLogprob]) -> usize {
    if logprobs.is_empty() { 0 } else { json_bytes(logprobs) }
}

fn json_bytes(value: &(impl Serialize + ?Sized)) -> usize {
    let mut count = Count(0);
    // Only maps with keys that are no strings can fail, and there are none.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Counts what is written to it.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
