//! What encoders are compared with: the same models computed in 32 bits by `tests/tools/embed_reference.sh`.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// A text and what is made of it.
pub struct Reference {
    pub text: String,
    pub tokens: u64,
    /// Its embedding.
    pub numbers: Vec<f32>,
    /// How likely it is negative and positive.
    pub classes: [f64; 2],
}

/// All of them. Without words of more than 100 letters and without Devanagari: there llama.cpp's tokenizer does other than that of
/// Hugging Face.
pub fn references() -> Vec<Reference> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/embeddings/reference.json");
    let all: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let one = |entry: &Value| Reference {
        text: entry["text"].as_str().unwrap().to_owned(),
        tokens: entry["tokens"].as_u64().unwrap(),
        numbers: floats(entry["embedding"].as_str().unwrap()),
        classes: serde_json::from_value(entry["classes"].clone()).unwrap(),
    };
    all.iter().map(one).collect()
}

/// The numbers of an embedding in a reply.
pub fn numbers(output: &Value) -> Vec<f32> {
    let data = &output["data"];
    let numbers: Vec<f32> = match output["encoding"].as_str().unwrap() {
        "array" => serde_json::from_value(data.clone()).unwrap(),
        _ => floats(data.as_str().unwrap()),
    };
    assert_eq!(output["dim"], numbers.len());
    numbers
}

fn floats(base64: &str) -> Vec<f32> {
    let bytes = STANDARD.decode(base64).unwrap();
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The cosine, for vectors of length 1.
pub fn dot(one: &[f32], other: &[f32]) -> f64 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
