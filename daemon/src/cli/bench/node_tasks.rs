//! The tasks of a running node over its broker: texts one by one, as many requests at once, and many in a request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};

use super::Bench;
use super::figures::{NodeTasksReport, Percentiles, TaskReport};
use super::runner::words;
use crate::cli::Failure;
use crate::cli::client::Client;

/// Longest time until a reply.
const REPLY_TIMEOUT: Duration = Duration::from_mins(5);

/// Words of a text, such as a sensor's message.
const WORDS: u32 = 8;

/// Requests that are open at once.
const AT_ONCE: usize = 32;

/// Texts in a request, as many as `limits.inputs` allows by default.
const INPUTS: usize = 64;

/// A text that is generated takes as long as so many that are only read.
const GENERATED: u32 = 16;

/// A task, and how a request of it looks.
struct Sample {
    task: &'static str,
    /// What tells it from others of the same task.
    way: &'static str,
    generates: bool,
    /// Whether a request may have many texts.
    takes_many: bool,
    /// What stands in a request beside its text.
    fields: fn() -> Value,
}

const SAMPLES: [Sample; 11] = [
    Sample { task: "embed", way: "", generates: false, takes_many: true, fields: || json!({}) },
    Sample { task: "classify", way: "by a head", generates: false, takes_many: true, fields: || json!({}) },
    Sample { task: "extract", way: "by a head", generates: false, takes_many: true, fields: || json!({}) },
    Sample {
        task: "rerank",
        way: "",
        generates: false,
        takes_many: false,
        fields: || json!({ "documents": DOCUMENTS }),
    },
    Sample { task: "generate", way: "", generates: true, takes_many: true, fields: || json!({ "max_tokens": 16 }) },
    Sample { task: "chat", way: "", generates: true, takes_many: true, fields: || json!({ "max_tokens": 16 }) },
    Sample { task: "summarize", way: "", generates: true, takes_many: true, fields: || json!({ "max_tokens": 16 }) },
    Sample {
        task: "translate",
        way: "",
        generates: true,
        takes_many: true,
        fields: || json!({ "target_language": "German", "max_tokens": 16 }),
    },
    Sample {
        task: "classify",
        way: "by labels",
        generates: true,
        takes_many: true,
        fields: || json!({ "labels": ["alarm", "report", "question"] }),
    },
    Sample {
        task: "extract",
        way: "of types",
        generates: true,
        takes_many: true,
        fields: || json!({ "types": ["machine", "number"], "max_tokens": 32 }),
    },
    Sample {
        task: "generate",
        way: "to a schema",
        generates: true,
        takes_many: true,
        fields: || json!({ "schema": { "type": "object", "properties": { "urgent": { "type": "boolean" } }, "required": ["urgent"], "additionalProperties": false } }),
    },
];

const DOCUMENTS: [&str; 4] = ["The pump vibrates.", "The oven is cold.", "It rains.", "Bearing 3 is hot."];

/// Measures every task that the node can do.
pub async fn measure(bench: &Bench) -> Result<NodeTasksReport, Failure> {
    let client = Client::connect(&bench.target).await?;
    let mut node = Node { client, run: fastrand::u32(..), sent: 0 };
    node.measure(bench.texts).await.map_err(Failure::unavailable)
}

struct Node {
    client: Client,
    /// Tells the requests of this run from others.
    run: u32,
    sent: u64,
}

impl Node {
    async fn measure(&mut self, texts: u32) -> anyhow::Result<NodeTasksReport> {
        let mut report = NodeTasksReport::default();
        for sample in &SAMPLES {
            let texts = if sample.generates { texts.div_ceil(GENERATED) } else { texts } as usize;
            // A model may have to be loaded, and the first answer finds cold caches.
            let first = self.exchange(sample, &[1], 1).await?;
            if let Some(error) = first.into_iter().find_map(|reply| refusal(&reply.body)) {
                report.refused.push((named(sample), error));
                continue;
            }
            report.tasks.push(self.task(sample, texts).await?);
        }
        Ok(report)
    }

    async fn task(&mut self, sample: &Sample, texts: usize) -> anyhow::Result<TaskReport> {
        let one_by_one = self.timed(sample, &vec![1; texts], 1).await?;
        let together = self.timed(sample, &vec![1; texts], AT_ONCE).await?;
        let parts: Vec<usize> = (0..texts).step_by(INPUTS).map(|from| INPUTS.min(texts - from)).collect();
        let inputs = if sample.takes_many { self.timed(sample, &parts, 2).await.ok() } else { None };
        let per_second = |measured: &Measured| texts as f64 / measured.time.as_secs_f64();
        let best =
            inputs.as_ref().map_or(per_second(&together), |inputs| per_second(inputs).max(per_second(&together)));
        Ok(TaskReport {
            task: named(sample),
            texts,
            latency_ms: Percentiles::of(one_by_one.latencies.clone()),
            one_by_one_per_second: per_second(&one_by_one),
            together_per_second: per_second(&together),
            inputs_per_second: inputs.as_ref().map(per_second),
            speed_up: best / per_second(&one_by_one),
        })
    }

    async fn timed(&mut self, sample: &Sample, parts: &[usize], at_once: usize) -> anyhow::Result<Measured> {
        let start = Instant::now();
        let replies = self.exchange(sample, parts, at_once).await?;
        let time = start.elapsed();
        if let Some(error) = replies.iter().find_map(|reply| refusal(&reply.body)) {
            bail!("the node answered {error}");
        }
        Ok(Measured { time, latencies: replies.iter().map(|reply| reply.latency_ms).collect() })
    }

    /// Sends a request for each part, with as many texts as it says, and waits for all replies.
    async fn exchange(&mut self, sample: &Sample, parts: &[usize], at_once: usize) -> anyhow::Result<Vec<Reply>> {
        let (mut open, mut left, mut replies) = (HashMap::new(), parts.iter(), Vec::with_capacity(parts.len()));
        while replies.len() < parts.len() {
            if open.len() < at_once
                && let Some(&texts) = left.next()
            {
                let (id, request) = self.request(sample, texts);
                open.insert(id, Instant::now());
                self.client.send(sample.task, &request).await?;
                continue;
            }
            let body = self.client.reply(REPLY_TIMEOUT).await?;
            if let Some(start) = body["id"].as_str().and_then(|id| open.remove(id)) {
                replies.push(Reply { latency_ms: start.elapsed().as_secs_f64() * 1000.0, body });
            }
        }
        Ok(replies)
    }

    fn request(&mut self, sample: &Sample, texts: usize) -> (String, Value) {
        let mut text = || {
            self.sent += 1;
            words(self.sent, WORDS)
        };
        let Value::Object(mut fields) = (sample.fields)() else { return Default::default() };
        if texts == 1 {
            fields.insert("input".to_owned(), text().into());
        } else {
            fields.insert("inputs".to_owned(), (0..texts).map(|_| text()).collect());
        }
        let id = format!("bench-{:08x}-{}", self.run, self.sent);
        fields.insert("id".to_owned(), id.as_str().into());
        (id, Value::Object(fields))
    }
}

struct Measured {
    time: Duration,
    latencies: Vec<f64>,
}

struct Reply {
    latency_ms: f64,
    body: Value,
}

fn named(sample: &Sample) -> String {
    if sample.way.is_empty() { sample.task.to_owned() } else { format!("{} {}", sample.task, sample.way) }
}

/// Why there is no answer, if there is none.
fn refusal(reply: &Value) -> Option<String> {
    let [code, message] = ["code", "message"].map(|field| reply[field].as_str());
    code.map(|code| format!("{code}: {}", message.unwrap_or_default()))
}
