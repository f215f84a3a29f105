//! `promptd schema`.

use std::fmt::Write as _;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use promptd::contract::{ASYNCAPI, files, schemas, topics, yaml};
use serde_json::{Value, json};

use super::Failure;
use super::exit::Code;

/// What is listed of the document of the topics.
const TOPICS: &str = "Every topic, who sends what on it and how, with examples, as AsyncAPI 3.";

/// Print the contract of the interface: JSON Schemas of every message, and an AsyncAPI document of the topics.
///
/// Without a name it lists the schemas. What it prints is the interface of this very program; operators' own tasks are told by
/// `promptd tasks`.
#[derive(Debug, clap::Args)]
pub struct Schema {
    /// The schema to print, such as `request-chat`, or `asyncapi` for the document of the topics.
    #[arg(conflicts_with = "dir")]
    name: Option<String>,
    /// Write every file of the contract into this folder; it is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print JSON: the list, or the document of the topics, which is YAML else.
    #[arg(long, conflicts_with = "dir")]
    json: bool,
}

impl Schema {
    /// Prints or writes.
    pub fn execute(&self) -> Result<(), Failure> {
        let text = match (&self.dir, self.name.as_deref()) {
            (Some(folder), _) => {
                let written = write_all(folder).with_context(|| format!("cannot write into {}", folder.display()));
                return written.map_err(Failure::software);
            }
            (None, None) => self.list(),
            (None, Some(ASYNCAPI)) if self.json => format!("{:#}\n", topics()),
            (None, Some(ASYNCAPI)) => yaml(&topics()),
            (None, Some(name)) => one(name)?,
        };
        stdout().lock().write_all(text.as_bytes()).map_err(Failure::software)
    }

    fn list(&self) -> String {
        let schemas = schemas();
        let schemas = schemas.iter().map(|schema| (schema.name.as_str(), schema.description()));
        let all: Vec<_> = std::iter::once((ASYNCAPI, TOPICS)).chain(schemas).collect();
        if self.json {
            let list = all.iter().map(|(name, description)| json!({ "name": name, "description": description }));
            return format!("{:#}\n", Value::Array(list.collect()));
        }
        let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        all.iter().fold(String::new(), |mut text, (name, description)| {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{name:width$}  {description}");
            text
        })
    }
}

fn one(name: &str) -> Result<String, Failure> {
    let schemas = schemas();
    let found = schemas.iter().find(|schema| schema.name == name || schema.file() == name);
    found.map(promptd::contract::NamedSchema::text).ok_or_else(|| {
        let known: Vec<&str> = schemas.iter().map(|schema| schema.name.as_str()).collect();
        Failure::new(Code::Failed, anyhow!("no schema {name:?}; known are {ASYNCAPI}, {}", known.join(", ")))
    })
}

fn write_all(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    files().into_iter().try_for_each(|file| fs::write(folder.join(file.name), file.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(name: Option<&str>, json: bool) -> Schema {
        Schema { name: name.map(str::to_owned), dir: None, json }
    }

    #[test]
    fn lists_what_it_prints() {
        let list: Value = serde_json::from_str(&schema(None, true).list()).unwrap();
        let names = list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap());
        let names: Vec<&str> = names.collect();
        assert!(names.contains(&"request-chat") && names.contains(&"result"), "{names:?}");
        let text = schema(None, false).list();
        assert_eq!(names[0], ASYNCAPI);
        for name in names.into_iter().skip(1) {
            let printed: Value = serde_json::from_str(&one(name).unwrap()).unwrap();
            assert_eq!(printed["title"], name);
            assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
        }
        assert_eq!(one("result.json").unwrap(), one("result").unwrap());
    }

    #[test]
    fn a_schema_that_is_not_there_is_named_and_so_are_the_others() {
        let failure = one("request-paint").unwrap_err();
        let text = failure.text();
        assert_eq!(failure.code, Code::Failed);
        assert!(
            text.contains("\"request-paint\"") && text.contains("asyncapi") && text.contains("request-chat"),
            "{text}"
        );
    }

    #[test]
    fn writes_every_file_and_names_a_folder_that_it_cannot_make() {
        let folder = tempfile::tempdir().unwrap();
        Schema { name: None, dir: Some(folder.path().join("a/b")), json: false }.execute().unwrap();
        for file in files() {
            assert_eq!(
                fs::read_to_string(folder.path().join("a/b").join(&file.name)).unwrap(),
                file.text,
                "{}",
                file.name
            );
        }
        let below = folder.path().join("a/b/result.json/c");
        let failure = Schema { name: None, dir: Some(below.clone()), json: false }.execute().unwrap_err();
        assert!(failure.text().contains(&below.display().to_string()), "{}", failure.text());
    }
}
