//! What is asked, for `ask` and `submit`.

use std::io::{IsTerminal, Read, stdin};

use anyhow::Context;
use promptd::job::{ModelName, RequestId, TaskName};
use serde_json::{Map, Value, json};

// A question and how it shall be answered.
#[derive(Debug, clap::Args)]
pub struct Prompting {
    /// The question; standard input if it is left out or "-".
    prompt: Option<String>,
    /// Which model shall answer; the node's default one otherwise.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// Instructions that come before the question.
    #[arg(long, value_name = "TEXT", conflicts_with = "task")]
    system: Option<String>,
    /// The task, of those that `promptd tasks` shows: the question is its "input". By default it is answered as it is.
    #[arg(long, value_name = "NAME")]
    task: Option<TaskName>,
    /// Another field of the task; its value is JSON, or else text. May be given several times.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = field, requires = "task")]
    set: Vec<(String, Value)>,
    /// Most tokens of the answer.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// 0 takes the most likely token each time.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Same seed, same answer.
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// A text that ends the answer; may be given several times.
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

/// A number, an array and the like are written as JSON; anything else is text, for which nobody needs to write quotes.
pub(super) fn field(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write FIELD=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| json!(value))))
}

impl Prompting {
    /// The task that answers it.
    pub fn task(&self) -> &str {
        match (&self.task, &self.system) {
            (Some(task), _) => task.as_str(),
            (None, Some(_)) => "chat",
            (None, None) => "generate",
        }
    }

    /// The request; reads the question from standard input if it does not stand on the command line.
    pub fn request(&self, id: &RequestId) -> anyhow::Result<Map<String, Value>> {
        let prompt = self.prompt()?;
        let mut request = Map::new();
        request.insert("id".into(), json!(id));
        match &self.system {
            None => request.insert("input".into(), json!(prompt)),
            Some(system) => request.insert(
                "messages".into(),
                json!([{ "role": "system", "content": system }, { "role": "user", "content": prompt }]),
            ),
        };
        let optional = [
            ("model", self.model.as_ref().map(|v| json!(v))),
            ("max_tokens", self.max_tokens.map(|v| json!(v))),
            ("temperature", self.temperature.map(|v| json!(v))),
            ("seed", self.seed.map(|v| json!(v))),
            ("stop", (!self.stop.is_empty()).then(|| json!(self.stop))),
        ];
        request.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        request.extend(self.set.iter().cloned());
        Ok(request)
    }

    fn prompt(&self) -> anyhow::Result<String> {
        match self.prompt.as_deref() {
            Some(prompt) if prompt != "-" => Ok(prompt.to_owned()),
            _ => {
                if stdin().is_terminal() {
                    eprintln!("(type the question, then Ctrl-D)");
                }
                let mut text = String::new();
                stdin().read_to_string(&mut text).context("cannot read the question from standard input")?;
                Ok(text)
            }
        }
    }
}
