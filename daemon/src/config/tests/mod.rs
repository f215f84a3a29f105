//! Tests of the room as a whole.

mod bindings;
mod bounds;
mod change;
mod defaults;
mod example;
mod fuzz;
mod last_good;
mod load;
mod merge;
mod models;
mod pipelines;
mod policies;
mod problems;
mod tasks;
mod telemetry;
mod tls;

use super::machine::Machine;
use super::source::Source;
use super::{Config, ConfigError};

const MODEL: &str = "[[model]]\nname = \"main\"\nfiles = [{ path = \"/m.gguf\" }]\n";

const BINDING: &str = "[[binding]]\nname = \"b\"\nsubscribe = \"in/+\"\ntask = \"chat\"\npublish = \"out/{1}\"\n";

const POLICY: &str = "[[policy]]\nname = \"all\"\nclients = [\"*\"]\n";

fn machine() -> Machine {
    Machine { hostname: "gw1".to_owned(), ..Machine::default() }
}

/// Files named `/etc/promptd/0.toml`, `/etc/promptd/1.toml` and so on.
fn sources(files: &[&str]) -> Vec<Source> {
    let source = |(index, text): (usize, &&str)| Source {
        path: format!("/etc/promptd/{index}.toml").into(),
        text: (*text).to_owned(),
    };
    files.iter().enumerate().map(source).collect()
}

fn read(files: &[&str]) -> Result<Config, ConfigError> {
    Config::from_sources(&sources(files), &machine())
}

fn good(text: &str) -> Config {
    read(&[text]).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// The problems as text, without the folder of the files.
fn problems(files: &[&str]) -> Vec<String> {
    match read(files) {
        Err(ConfigError::Invalid(problems)) => {
            problems.iter().map(|problem| problem.to_string().replace("/etc/promptd/", "")).collect()
        }
        other => panic!("{files:?}\n{other:?}"),
    }
}
