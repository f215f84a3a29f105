//! What is asked, for `ask` and `submit`.

use std::io::{IsTerminal, Read, stdin};

use anyhow::Context;
use promptd::job::{ModelName, RequestId};
use serde_json::{Map, Value, json};

/// A question and how it shall be answered.
#[derive(Debug, clap::Args)]
pub struct Prompting {
    /// The question; standard input if it is left out or "-".
    prompt: Option<String>,
    /// Which model shall answer; the node's default one otherwise.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// Instructions that come before the question.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
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

impl Prompting {
    /// The task that answers it.
    pub fn task(&self) -> &'static str {
        if self.system.is_some() { "chat" } else { "generate" }
    }

    /// The request; reads the question from standard input if it does not stand on the command line.
    pub fn request(&self, id: &RequestId) -> anyhow::Result<Map<String, Value>> {
        let prompt = self.prompt()?;
        let mut request = Map::new();
        request.insert("id".into(), json!(id));
        match &self.system {
            None => request.insert("prompt".into(), json!(prompt)),
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
