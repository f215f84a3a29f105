//! The interface as a contract that machines can check: JSON Schemas of everything on the wire, and an AsyncAPI document of the topics.
//!
//! All of it is made of the types that are written, of the fields that the parser reads, and of the definitions of tasks. The files in
//! `config/api/v1` are what [`files`] gives; a test compares them.

mod asyncapi;
mod channels;
mod control;
mod examples;
#[cfg(test)]
mod parser_tests;
mod published;
mod schemas;
#[cfg(test)]
mod tests;

pub use schemas::{NamedSchema, schemas};

use serde_json::Value;

/// The name of the document of the topics, without `.yaml`.
pub const ASYNCAPI: &str = "asyncapi";

/// A file of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractFile {
    /// Its name in the folder.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Every file of the contract.
pub fn files() -> Vec<ContractFile> {
    let schemas = schemas();
    let topics = ContractFile { name: format!("{ASYNCAPI}.yaml"), text: yaml(&asyncapi::asyncapi(&schemas)) };
    let files = schemas.iter().map(|schema| ContractFile { name: schema.file(), text: schema.text() });
    std::iter::once(topics).chain(files).collect()
}

/// The document of the topics.
pub fn topics() -> Value {
    asyncapi::asyncapi(&schemas())
}

/// As YAML 1.2; texts that older readers take for something else are quoted.
pub fn yaml(document: &Value) -> String {
    // Only maps with keys that are no strings can fail, and there are none.
    serde_saphyr::to_string(document).unwrap_or_default()
}
