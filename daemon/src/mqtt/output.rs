//! The output of a job as the interface has it.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeStruct;
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
            Output::Embedding(embedding) => write_embedding(embedding, serializer),
            Output::Labels(labels) => labels.serialize(serializer),
            Output::Found(found) => write_found(found, serializer),
            Output::Entities(entities) => entities.serialize(serializer),
            Output::Ranking(documents) => documents.serialize(serializer),
            Output::Each(outputs) => serializer.collect_seq(outputs.iter().map(Item::from)),
        }
    }
}

fn write_found<S: Serializer>(found: &Found, serializer: S) -> Result<S::Ok, S::Error> {
    let mut body = serializer.serialize_struct("Found", 4)?;
    body.serialize_field("text", &found.part.as_ref().map(|part| &part.text))?;
    body.serialize_field("start", &found.part.as_ref().map(|part| part.start))?;
    body.serialize_field("end", &found.part.as_ref().map(|part| part.end))?;
    body.serialize_field("score", &found.score)?;
    body.end()
}

fn write_embedding<S: Serializer>(embedding: &Embedding, serializer: S) -> Result<S::Ok, S::Error> {
    let Embedding { values, encoding } = embedding;
    let mut body = serializer.serialize_struct("Embedding", 3)?;
    body.serialize_field("dim", &values.len())?;
    body.serialize_field("encoding", encoding.as_str())?;
    match encoding {
        Encoding::Base64 => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            body.serialize_field("data", &STANDARD.encode(bytes))?;
        }
        Encoding::Array => body.serialize_field("data", values)?,
    }
    body.end()
}

/// What one of many inputs gives.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Item<'a> {
    Output(OutputBody<'a>),
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
