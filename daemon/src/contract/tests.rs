//! The committed files are what the types say, and the examples are what the schemas say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use super::*;
use crate::job::ErrorCode;
use crate::telemetry::API_VERSION;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/api/v1")
}

#[test]
fn the_committed_files_are_what_the_types_say() {
    let generated: BTreeMap<String, String> = files().into_iter().map(|file| (file.name, file.text)).collect();
    let committed = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let committed: BTreeMap<String, String> = committed
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    let names: BTreeSet<&String> = generated.keys().chain(committed.keys()).collect();
    let differs: Vec<_> = names.into_iter().filter(|name| generated.get(*name) != committed.get(*name)).collect();
    assert!(
        differs.is_empty(),
        "the interface is not what config/api/v1 says: {differs:?}. If it shall change, run `make api`, and see that fields were \
         only added"
    );
}

#[test]
fn every_schema_is_one_and_says_what_it_is() {
    for schema in schemas() {
        let checked = jsonschema::draft202012::meta::validate(&schema.schema);
        assert!(checked.is_ok(), "{}: {:?}", schema.name, checked.err());
        assert!(schema.description().len() > 10, "{} has no description", schema.name);
        assert!(jsonschema::draft202012::new(&schema.schema).is_ok(), "{}", schema.name);
    }
}

#[test]
fn the_yaml_says_what_the_document_says() {
    let text = fs::read_to_string(folder().join("asyncapi.yaml")).unwrap();
    let read = YamlLoader::load_from_str(&text).unwrap();
    assert_eq!(read.len(), 1);
    let (read, written) = (format!("{:#}", json_of(&read[0])), format!("{:#}", topics()));
    let differs = read.lines().zip(written.lines()).find(|(read, written)| read != written);
    assert!(read == written, "{differs:?}");
}

fn json_of(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(text) => json!(text.parse::<f64>().unwrap()),
        Yaml::Integer(number) => json!(number),
        Yaml::String(text) => json!(text),
        Yaml::Boolean(flag) => json!(flag),
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(keys) => {
            keys.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), json_of(value))).collect()
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => panic!("{yaml:?}"),
    }
}

/// By AsyncAPI's own schema, which `tests/fixtures/asyncapi` has.
#[test]
fn the_document_is_asyncapi() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/asyncapi/3.0.0.json");
    let schema: Value = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    let wrong: Vec<String> =
        validator.iter_errors(&topics()).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut broken = topics();
    broken["operations"]["takeRequest"]["action"] = json!("publish");
    assert!(!validator.is_valid(&broken), "the schema refuses what is wrong");
}

#[test]
fn the_version_is_the_one_that_info_tells() {
    let (major, minor) = API_VERSION.split_once('.').unwrap();
    assert!(major == "1" && minor.parse::<u32>().is_ok(), "{API_VERSION}");
    assert_eq!(topics()["info"]["version"], API_VERSION);
}

#[test]
fn every_example_fits_its_schema_and_every_schema_of_a_message_has_one() {
    let topics = topics();
    let names: BTreeSet<_> = schemas().into_iter().map(|schema| schema.name).collect();
    let messages: BTreeSet<_> = sent_and_published();
    assert_eq!(names, messages, "a message without an example, or an example of none");
    for NamedSchema { name, schema } in schemas() {
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let examples = topics["components"]["messages"][&name]["examples"].as_array().unwrap();
        for example in examples {
            let checked = validator.validate(&example["payload"]);
            assert!(checked.is_ok(), "{name}, {}: {}", example["name"], checked.err().unwrap());
        }
    }
}

fn sent_and_published() -> BTreeSet<String> {
    let sent = examples::sent_examples().into_iter().map(|example| example.message);
    sent.chain(published::published_examples().into_iter().map(|(message, ..)| message)).map(str::to_owned).collect()
}

#[test]
fn what_is_expected_of_an_example_is_a_result_a_text_or_a_code() {
    let codes: BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).chain(["result", "text"]).collect();
    for example in examples::sent_examples() {
        assert!(codes.contains(example.answer), "{}: {}", example.name, example.answer);
    }
}

#[test]
fn every_reference_within_the_document_leads_somewhere() {
    let topics = topics();
    let files: BTreeSet<String> = files().into_iter().map(|file| format!("./{}", file.name)).collect();
    let mut references = Vec::new();
    collect(&topics, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        let leads = match reference.strip_prefix('#') {
            Some(pointer) => topics.pointer(pointer).is_some(),
            None => files.contains(reference),
        };
        assert!(leads, "{reference}");
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(keys) => {
            references.extend(keys.get("$ref").and_then(Value::as_str));
            keys.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

#[test]
fn the_topics_are_those_that_the_node_uses() {
    let topics = topics();
    let addresses =
        topics["channels"].as_object().unwrap().values().map(|channel| channel["address"].as_str().unwrap());
    let own = crate::mqtt::Topics::new("promptd", &crate::job::NodeName::new("gw").unwrap()).unwrap();
    let (client, id) = ("cam".parse().unwrap(), "7".parse().unwrap());
    let used = [
        own.request("chat", &client),
        own.cancel(&client),
        own.response(&client, &id),
        own.availability(),
        own.status(),
        own.info(),
        own.model(&"main".parse().unwrap()),
        own.health(),
        own.telemetry(),
        own.event(),
        own.job(&client, &id),
    ];
    let fits = |topic: &str, address: &str| {
        let (topic, address): (Vec<_>, Vec<_>) = (topic.split('/').collect(), address.split('/').collect());
        topic.len() == address.len()
            && topic.iter().zip(address).all(|(level, asked)| asked.starts_with('{') || *level == asked)
    };
    let addresses: Vec<&str> = addresses.collect();
    for topic in used {
        assert!(addresses.iter().any(|address| fits(&topic, address)), "{topic}");
    }
    let retained = topics["operations"].as_object().unwrap().values();
    let retained = retained.filter(|operation| operation["bindings"]["mqtt"]["retain"] == json!(true)).count();
    assert_eq!(retained, 5, "availability, status, info, model, health");
}
