//! `promptd run-pipeline`.

use std::io::{Read, Write, stderr, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::value_parser;
use promptd::config::read_pipeline;
use promptd::job::{ModelName, RequestId};
use serde_json::{Map, Value, json};

use super::Failure;
use super::answer::follow;
use super::client::{Client, Target};
use super::exit::Code;
use super::prompting::field;

/// Have a running daemon do the steps of a pipeline over MQTT, as a file of pipelines.d/ says them.
///
/// The node need not have the file: this is for trying it, before it is given to the node as one of its own.
#[derive(Debug, clap::Args)]
pub struct RunPipeline {
    /// The file, as it would stand in pipelines.d/.
    file: PathBuf,
    /// What the templates see as `input`: JSON, or else text; "-" reads it from standard input.
    #[arg(long, value_name = "TEXT")]
    input: Option<String>,
    /// Another field that the templates see; its value is JSON, or else text. May be given several times.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = field)]
    set: Vec<(String, Value)>,
    /// The model of steps that name none; the node's default one otherwise.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    #[command(flatten)]
    target: Target,
    /// Longest time for all steps, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = value_parser!(u64).range(1..=604_800))]
    timeout: u64,
    /// Print the result as JSON, as devices get it.
    #[arg(long)]
    json: bool,
}

impl RunPipeline {
    /// Asks, tells how far it is, and prints what comes of it.
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        runtime.block_on(self.ask())
    }

    async fn ask(self) -> Result<(), Failure> {
        let id = RequestId::new(format!("pipeline-{:016x}", fastrand::u64(..))).map_err(Failure::software)?;
        let request = self.request(&id).map_err(|e| Failure::new(Code::Data, e))?;
        let mut client = Client::connect(&self.target).await?;
        client.send("pipeline", &request).await.map_err(Failure::unavailable)?;
        let result = follow(&mut client, &id, Duration::from_secs(self.timeout), show_step).await?;
        self.show_result(&result).map_err(Failure::software)
    }

    fn request(&self, id: &RequestId) -> anyhow::Result<Value> {
        let mut file = read_pipeline(&self.file)?;
        // What a request leaves out is nothing to the templates.
        let declared = file.pointer("/input/properties").and_then(Value::as_object);
        let declared = declared.into_iter().flat_map(Map::keys).filter(|name| *name != "input");
        let mut fields: Map<String, Value> = declared.map(|name| (name.clone(), Value::Null)).collect();
        fields.extend(self.set.iter().cloned());
        let mut request = json!({
            "id": id, "steps": file["steps"].take(), "fields": fields, "ack": true, "parts": true,
            "deadline_ms": self.timeout.saturating_mul(1000),
        });
        let model = self.model.as_ref().map(|model| json!(model));
        let optional = [
            ("input", self.input()?),
            ("model", model.or_else(|| file.get("model").cloned())),
            ("output", file.get("output").cloned()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                request[name] = value;
            }
        }
        Ok(request)
    }

    fn input(&self) -> anyhow::Result<Option<Value>> {
        let text = match self.input.as_deref() {
            None => return Ok(None),
            Some("-") => {
                let mut text = String::new();
                stdin().read_to_string(&mut text).context("cannot read the input from standard input")?;
                text
            }
            Some(text) => text.to_owned(),
        };
        Ok(Some(serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    fn show_result(&self, result: &Value) -> std::io::Result<()> {
        let mut out = stdout().lock();
        match (&result["output"], self.json) {
            (Value::String(text), false) => writeln!(out, "{text}"),
            (output, false) => writeln!(out, "{output:#}"),
            (_, true) => writeln!(out, "{result}"),
        }
    }
}

fn show_step(progress: &Value) -> std::io::Result<()> {
    if progress["event"] != "progress" {
        return Ok(());
    }
    let [step, state] = ["step", "state"].map(|field| progress[field].as_str().unwrap_or("?"));
    match progress["code"].as_str() {
        Some(code) => writeln!(stderr(), "[{step}: {state}, {code}]"),
        None => writeln!(stderr(), "[{step}: {state}]"),
    }
}
