//! `promptd ask`.

use std::io::{Write, stderr, stdout};
use std::time::Duration;

use anyhow::anyhow;
use clap::value_parser;
use promptd::job::RequestId;
use serde_json::{Value, json};
use tokio::signal::ctrl_c;

use super::Failure;
use super::client::{Client, Target, refused};
use super::exit::Code;
use super::prompting::Prompting;

/// Ask a running daemon one question.
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
        // The node keeps the deadline; this only catches a node that is not there.
        let wait = Duration::from_secs(self.timeout) + Duration::from_secs(5);
        let mut shown = String::new();
        let mut cancelled = false;
        loop {
            let reply = tokio::select! {
                reply = client.reply(wait) => reply.map_err(Failure::unavailable)?,
                // The node should not go on for nobody. Its word about it ends the loop; a second Ctrl-C doesn't wait.
                _ = ctrl_c(), if !cancelled => {
                    cancelled = true;
                    client.cancel(&id).await.map_err(Failure::unavailable)?;
                    continue;
                }
                _ = ctrl_c(), if cancelled => return Err(Failure::new(Code::Failed, anyhow!("interrupted"))),
            };
            if reply["id"] != id.as_str() {
                continue;
            }
            match reply["event"].as_str() {
                Some("delta") => {
                    if let Some(text) = reply["text"].as_str() {
                        print(text).map_err(Failure::software)?;
                        shown.push_str(text);
                    }
                }
                Some("result") => return self.show_result(&reply, &shown).map_err(Failure::software),
                Some("error") => return Err(refused(&reply)),
                _ => {}
            }
        }
    }

    fn request(&self, id: &RequestId) -> anyhow::Result<Value> {
        let mut request = self.prompting.request(id)?;
        request.insert("stream".into(), json!(!self.json));
        request.insert("deadline_ms".into(), json!(self.timeout.saturating_mul(1000)));
        Ok(Value::Object(request))
    }

    fn show_result(&self, result: &Value, shown: &str) -> std::io::Result<()> {
        if self.json {
            return print(&format!("{result}\n"));
        }
        // Deltas may be lost; the result is complete.
        let output = result["output"].as_str().unwrap_or_default();
        match output.strip_prefix(shown) {
            Some(rest) => print(&format!("{rest}\n"))?,
            None => print(&format!("\n{output}\n"))?,
        }
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

fn print(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
