//! Requests to encoders, as tables.

use serde_json::{Value, json};

use crate::job::{ClientName, Encoding, ErrorCode, Input, JobError, RequestId, Task};

use super::request_tests::{message, reader};

fn read(task: &str, payload: impl Into<Vec<u8>>) -> Result<Task, JobError> {
    let client = ClientName::new("cam").unwrap();
    let read = reader().read(task, client, &message(payload), || RequestId::new("made").unwrap());
    read.map(|accepted| accepted.request.task).map_err(|rejected| rejected.error)
}

#[test]
fn one_text_or_many_in_either_encoding() {
    let one = |text: &str, encoding| Task::Embed { input: Input::One(text.to_owned()), encoding };
    let many = |texts: &[&str]| Task::Embed {
        input: Input::Many(texts.iter().map(|&text| text.to_owned()).collect()),
        encoding: Encoding::Base64,
    };
    for (payload, task) in [
        ("warm", one("warm", Encoding::Base64)),
        (r#"{"input":"warm"}"#, one("warm", Encoding::Base64)),
        (r#"{"prompt":"warm","encoding":"array"}"#, one("warm", Encoding::Array)),
        (r#"{"input":"warm","encoding":"f32le_base64"}"#, one("warm", Encoding::Base64)),
        // What is wrong with one text is no fault of the others.
        (r#"{"inputs":["warm",""," ","👩‍🚀"]}"#, many(&["warm", "", " ", "👩‍🚀"])),
        (r#"{"inputs":["warm"],"x_line":3,"priority":"low"}"#, many(&["warm"])),
    ] {
        assert_eq!(read("embed", payload).unwrap(), task, "{payload}");
    }
}

#[test]
fn texts_to_classify_and_documents_to_rank() {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    for payload in ["warm", r#"{"input":"warm"}"#] {
        assert_eq!(
            read("classify", payload).unwrap(),
            Task::Classify { input: Input::One("warm".to_owned()), labels: Vec::new() }
        );
    }
    let many = Task::Classify { input: Input::Many(texts(&["warm", ""])), labels: Vec::new() };
    assert_eq!(read("classify", r#"{"inputs":["warm",""]}"#).unwrap(), many);
    let ranking = Task::Rerank { question: "q".to_owned(), documents: texts(&["a", "b"]) };
    assert_eq!(read("rerank", r#"{"input":"q","documents":["a","b"]}"#).unwrap(), ranking);
}

#[test]
fn texts_to_extract_from() {
    let one = |types: &[&str]| Task::Extract {
        input: Input::One("To Rome".to_owned()),
        types: types.iter().map(|&kind| kind.to_owned()).collect(),
    };
    assert_eq!(read("extract", "To Rome").unwrap(), one(&[]));
    let payload = r#"{"input":"To Rome","types":["CITY","boat name"]}"#;
    assert_eq!(read("extract", payload).unwrap(), one(&["CITY", "boat name"]));
    let types = |value: Value| json!({ "input": "To Rome", "types": value }).to_string();
    let many: Vec<String> = (0..65).map(|number| format!("t{number}")).collect();
    for (payload, text) in [
        (types(json!("CITY")), "field \"types\": got a string, wanted an array of strings"),
        (types(json!([])), "field \"types\" has 0 entries; allowed are 1 to 64"),
        (types(json!(many)), "field \"types\" has 65 entries; allowed are 1 to 64"),
        (types(json!(["a", " "])), "field \"types[1]\" has 1 bytes; allowed are 1 to 64, not blank"),
        (types(json!(["a".repeat(65)])), "field \"types[0]\" has 65 bytes; allowed are 1 to 64, not blank"),
        (types(json!(["a", 1])), "field \"types[1]\": got a number, wanted a string"),
        (types(json!(["a", "b", "a"])), "field \"types[2]\" is there twice"),
    ] {
        let error = read("extract", payload).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidRequest, text));
    }
}

#[test]
fn bad_ones_name_field_value_and_limit() {
    let inputs = |value: Value| json!({ "inputs": value }).to_string();
    for (payload, text) in [
        (inputs(json!([])), "field \"inputs\" has 0 texts; allowed are 1 to 4 (limits.inputs)"),
        (inputs(json!(vec!["a"; 5])), "field \"inputs\" has 5 texts; allowed are 1 to 4 (limits.inputs)"),
        (inputs(json!(["a", 7])), "field \"inputs[1]\": got a number, wanted a string"),
        (inputs(json!(["a", null])), "field \"inputs[1]\": got null, wanted a string"),
        (inputs(json!("a")), "field \"inputs\": got a string, wanted an array of strings"),
        (r#"{"id":"7"}"#.to_owned(), "\"input\", \"prompt\" or \"inputs\" is missing"),
        (r#"{"input":" \n"}"#.to_owned(), "field \"input\" is empty"),
        (r#"{"input":"a","inputs":["b"]}"#.to_owned(), "only one of \"input\", \"prompt\" and \"inputs\" may be given"),
        (r#"{"input":"a","encoding":"hex"}"#.to_owned(), "field \"encoding\" is none of \"f32le_base64\", \"array\""),
        (r#"{"input":"a","max_tokens":3}"#.to_owned(), "the task \"embed\" has no field \"max_tokens\""),
        (r#"{"input":"a","messages":[]}"#.to_owned(), "the task \"embed\" has no field \"messages\""),
    ] {
        assert_eq!(read("embed", payload.clone()), Err(JobError::new(ErrorCode::InvalidRequest, text)), "{payload}");
    }
    for (payload, text) in [
        (r#"{"input":"q"}"#, "\"documents\" is missing"),
        (r#"{"documents":["a"]}"#, "\"input\" or \"prompt\" is missing: what the documents shall fit"),
        (r#"{"input":"q","prompt":"q","documents":["a"]}"#, "only one of \"input\" and \"prompt\" may be given"),
        (r#"{"input":"q","documents":[["a"]]}"#, "field \"documents[0]\": got an array, wanted a string"),
        (r#"{"input":"q","documents":[]}"#, "field \"documents\" has 0 texts; allowed are 1 to 4 (limits.inputs)"),
        (r#"{"input":"q","documents":["a"],"encoding":"array"}"#, "the task \"rerank\" has no field \"encoding\""),
        ("plain", "the task \"rerank\" needs a JSON object with \"documents\""),
    ] {
        assert_eq!(read("rerank", payload), Err(JobError::new(ErrorCode::InvalidRequest, text)), "{payload}");
    }
    let text = "the task \"generate\" has no field \"encoding\"";
    let error = read("generate", r#"{"prompt":"a","encoding":"array"}"#).unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidRequest, text));
}
