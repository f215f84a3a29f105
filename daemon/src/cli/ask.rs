//! `promptd ask`.

use std::io::{Write, stderr};
use std::time::Duration;

use clap::value_parser;
use promptd::job::RequestId;
use serde_json::{Value, json};

use super::Failure;
use super::answer::{complete, print, stream};
use super::client::{Client, Target};
use super::exit::Code;
use super::prompting::Prompting;

/// Ask a running daemon one question over MQTT and print the answer as it is made.
#[derive(Debug, clap::Args)]
pub struct Ask {
    #[command(flatten)]
    prompting: Prompting,
    #[command(flatten)]
    target: Target,
    /// Longest time for the answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = value_parser!(u64).range(1..=604_800))]
    timeout: u64,
    /// Print the result as JSON, as devices get it.
    #[arg(long)]
    json: bool,
}

impl Ask {
    /// Asks and prints.
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        runtime.block_on(self.ask())
    }

    async fn ask(self) -> Result<(), Failure> {
        let id = RequestId::new(format!("ask-{:016x}", fastrand::u64(..))).map_err(Failure::software)?;
        let request = self.request(&id).map_err(|e| Failure::new(Code::Data, e))?;
        let mut client = Client::connect(&self.target).await?;
        client.send(self.prompting.task(), &request).await.map_err(Failure::unavailable)?;
        let (result, shown) = stream(&mut client, &id, Duration::from_secs(self.timeout)).await?;
        self.show_result(&result, &shown).map_err(Failure::software)
    }

    fn request(&self, id: &RequestId) -> anyhow::Result<Value> {
        let mut request = self.prompting.request(id)?;
        request.insert("stream".into(), json!(!self.json));
        request.insert("parts".into(), json!(true));
        request.insert("deadline_ms".into(), json!(self.timeout.saturating_mul(1000)));
        Ok(Value::Object(request))
    }

    fn show_result(&self, result: &Value, shown: &str) -> std::io::Result<()> {
        if self.json {
            return print(&format!("{result}\n"));
        }
        complete(result, shown)?;
        writeln!(stderr(), "{}", summary(result))
    }
}

fn summary(result: &Value) -> String {
    let number = |path: &str| result.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let tokens = number("/usage/generated_tokens");
    let decode = number("/timings/decode_ms");
    let rate = if decode > 0.0 { (tokens - 1.0).max(0.0) * 1000.0 / decode } else { 0.0 };
    format!(
        "[{} {}: {tokens} tokens at {rate:.1}/s, prompt {} tokens in {:.0} ms, queue {:.0} ms, total {:.0} ms, finish {}]",
        result["model"].as_str().unwrap_or("?"),
        result["strategy"].as_str().unwrap_or("?"),
        number("/usage/prompt_tokens"),
        number("/timings/prefill_ms"),
        number("/timings/queue_ms"),
        number("/timings/total_ms"),
        result["finish"].as_str().unwrap_or("?"),
    )
}
