//! What holds for every command.

use std::collections::BTreeMap;

use clap::CommandFactory;

use super::*;

/// Every command that does something, with the names of those above it.
fn commands() -> Vec<(String, clap::Command)> {
    fn below(path: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
        for command in command.get_subcommands() {
            let path = format!("{path} {}", command.get_name());
            below(&path, command, all);
            all.push((path, command.clone()));
        }
    }
    let mut all = Vec::new();
    below("promptd", &Arguments::command(), &mut all);
    all
}

#[test]
fn each_command_has_a_help_of_its_own() {
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for (path, command) in commands() {
        let about = command.get_about().unwrap_or_else(|| panic!("{path} has no help")).to_string();
        if let Some(other) = said.insert(about.clone(), path.clone()) {
            panic!("{path} and {other} have the same help: {about}");
        }
    }
}

#[test]
fn long_helps_are_not_lost() {
    for name in ["run", "submit", "top", "chat", "bench", "quantize", "forget", "reload", "switch"] {
        let path = format!("promptd {name}");
        let (_, command) = commands().into_iter().find(|(known, _)| *known == path).unwrap();
        let long = command.get_long_about().unwrap_or_else(|| panic!("{path} has no long help")).to_string();
        assert!(long.contains("\n\n"), "{path}: {long}");
    }
}

/// For the terminal alone, or without any answer.
const WITHOUT_JSON: [&str; 5] = ["run", "chat", "model", "generate", "engine"];

#[test]
fn programs_can_read_what_every_command_says() {
    for (path, command) in commands() {
        let has = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        let name = path.trim_start_matches("promptd ");
        assert_eq!(has, !WITHOUT_JSON.contains(&name), "{path}");
    }
}

#[test]
fn every_verb_has_a_command_for_any_node() {
    for verb in promptd::job::Control::verbs() {
        let path = format!("promptd {verb}");
        let (_, command) = commands().into_iter().find(|(known, _)| *known == path).unwrap_or_else(|| panic!("{path}"));
        for long in ["broker", "node", "socket", "username", "password-file", "ca-file", "cert-file", "key-file"] {
            let named = |argument: &clap::Arg| {
                argument.get_long_and_visible_aliases().is_some_and(|names| names.contains(&long))
            };
            assert!(command.get_arguments().any(named), "{path} has no --{long}");
        }
    }
}
