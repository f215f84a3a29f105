//! `promptd submit`.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::value_parser;
use promptd::job::{Priority, RequestId};
use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, Target, refused};
use super::exit::Code;
use super::prompting::Prompting;

/// How long a node may take to accept a job.
const WAIT: Duration = Duration::from_secs(30);

/// Give a running daemon a job over MQTT and go on; its answer waits in the node's journal.
///
/// It is accepted when this command ends: from then on it is answered, whatever happens to the node. The answer goes to the
/// client's response topic; `promptd fetch CLIENT` has those published again that nobody has got.
#[derive(Debug, clap::Args)]
pub struct Submit {
    #[command(flatten)]
    prompting: Prompting,
    #[command(flatten)]
    target: Target,
    /// The job's id; to submit it again under the same one does no harm. One is made by default.
    #[arg(long, value_name = "ID")]
    id: Option<RequestId>,
    /// Its class: low, normal or high.
    #[arg(long, value_name = "CLASS", default_value = "normal", value_parser = priority)]
    priority: Priority,
    /// Seconds after which the answer is worthless; the node's default otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=604_800))]
    deadline: Option<u64>,
    /// Print the node's word as JSON.
    #[arg(long)]
    json: bool,
}

fn priority(text: &str) -> Result<Priority, String> {
    serde_json::from_value(json!(text)).map_err(|_| format!("{text:?} is none of low, normal, high"))
}

impl Submit {
    /// Submits, and prints the job's id.
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        runtime.block_on(self.submit())
    }

    async fn submit(self) -> Result<(), Failure> {
        let id = match &self.id {
            Some(id) => id.clone(),
            None => RequestId::new(format!("job-{:016x}", fastrand::u64(..))).map_err(Failure::software)?,
        };
        let request = self.request(&id).map_err(|e| Failure::new(Code::Data, e))?;
        let mut client = Client::connect(&self.target).await?;
        client.send(self.prompting.task(), &request).await.map_err(Failure::unavailable)?;
        loop {
            let reply = client.reply(WAIT).await.map_err(Failure::unavailable)?;
            if reply["id"] != id.as_str() {
                continue;
            }
            match reply["event"].as_str() {
                // One that was submitted before has its answer already.
                Some("accepted" | "result" | "part") => return self.show(&id, &reply).map_err(Failure::software),
                Some("error") => return Err(refused(&reply)),
                _ => {}
            }
        }
    }

    fn request(&self, id: &RequestId) -> anyhow::Result<Value> {
        let mut request = self.prompting.request(id)?;
        request.insert("ack".into(), json!(true));
        request.insert("parts".into(), json!(true));
        request.insert("priority".into(), json!(self.priority));
        request.extend(self.deadline.map(|seconds| ("deadline_ms".to_owned(), json!(seconds.saturating_mul(1000)))));
        Ok(Value::Object(request))
    }

    fn show(&self, id: &RequestId, reply: &Value) -> std::io::Result<()> {
        let mut out = stdout().lock();
        if self.json { writeln!(out, "{reply}") } else { writeln!(out, "{id}") }
    }
}
