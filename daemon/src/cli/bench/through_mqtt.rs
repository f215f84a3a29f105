//! A running node over its broker: what a round trip takes beyond the node's own time.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;

use super::Bench;
use super::figures::{MqttReport, Percentiles};
use crate::cli::Failure;
use crate::cli::client::Client;

/// Longest time for one answer of one token.
const REPLY_TIMEOUT: Duration = Duration::from_mins(1);

/// Requests that are not counted: the first ones meet cold caches.
const WARM_UP: u32 = 10;

/// Sends requests one after the other.
pub async fn measure(bench: &Bench) -> Result<MqttReport, Failure> {
    let client = Client::connect(&bench.target).await?;
    exchange(bench, client).await.map_err(Failure::unavailable)
}

async fn exchange(bench: &Bench, mut client: Client) -> anyhow::Result<MqttReport> {
    let (mut round_trips, mut totals, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..WARM_UP + bench.requests {
        let id = format!("bench-{:08x}-{number}", fastrand::u32(..));
        let request = json!({ "id": id, "prompt": "Hi", "max_tokens": 1, "ignore_eos": true });
        let start = Instant::now();
        client.send("generate", &request).await?;
        let reply = loop {
            let reply = client.reply(REPLY_TIMEOUT).await?;
            if reply["id"] == id {
                break reply;
            }
        };
        let round_trip = start.elapsed().as_secs_f64() * 1000.0;
        let Some(total) = reply.pointer("/timings/total_ms").and_then(serde_json::Value::as_f64) else {
            bail!("the node answered {reply}");
        };
        if number >= WARM_UP {
            round_trips.push(round_trip);
            totals.push(total);
            added.push(round_trip - total);
        }
    }
    Ok(MqttReport {
        requests: added.len(),
        round_trip_ms: Percentiles::of(round_trips),
        node_total_ms: Percentiles::of(totals),
        added_ms: Percentiles::of(added),
    })
}
