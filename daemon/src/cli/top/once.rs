//! One look at the fleet, as a table or as JSON, for scripts and where there is no terminal.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::columns::COLUMNS;
use super::feed::{Feed, FeedEvent};
use super::fleet::{Fleet, Row, summary};
use super::node::Model;
use crate::cli::fit::table::table;

/// The columns whose texts stand to the right.
const NUMBERS: std::ops::Range<usize> = 4..8;

/// Reads all that the broker has kept, then waits at most `wait` for the numbers of the nodes that are there.
pub async fn gather(feed: &mut Feed, wait: Duration) -> anyhow::Result<Fleet> {
    let mut fleet = Fleet::new(Instant::now());
    loop {
        match next(feed).await? {
            FeedEvent::Complete => break,
            event => event.tell(&mut fleet, Instant::now()),
        }
    }
    let until = tokio::time::Instant::now() + wait;
    while is_waiting(&fleet) {
        let Ok(event) = timeout_at(until, next(feed)).await else { break };
        event?.tell(&mut fleet, Instant::now());
    }
    Ok(fleet)
}

/// One that is no failure.
async fn next(feed: &mut Feed) -> anyhow::Result<FeedEvent> {
    match feed.events.recv().await.context("the connection ended")? {
        FeedEvent::Down(reason) => Err(anyhow!(reason)),
        FeedEvent::Refused { filter, reason } => bail!("the broker refuses {filter}: {reason}"),
        event => Ok(event),
    }
}

fn is_waiting(fleet: &Fleet) -> bool {
    let rows = fleet.rows(Instant::now());
    rows.iter().any(|row| row.node.online == Some(true) && row.node.numbers.is_none())
}

/// A line for each node.
pub fn text(rows: &[Row<'_>]) -> String {
    let heading = COLUMNS.iter().map(|column| column.title.to_owned()).collect();
    let cells = rows.iter().map(|row| COLUMNS.iter().map(|column| (column.cell)(row)).collect());
    table(&std::iter::once(heading).chain(cells).collect::<Vec<Vec<String>>>(), NUMBERS)
}

/// The same, with everything that is known of the models.
pub fn json(rows: &[Row<'_>]) -> Value {
    let together = summary(rows);
    let states = together.conditions.iter().map(|(word, _, count)| (word.clone(), Value::from(*count)));
    json!({
        "summary": {
            "nodes": together.nodes,
            "online": together.online,
            "states": states.collect::<serde_json::Map<_, _>>(),
            "tokens_per_s": together.tokens_per_s,
            "jobs_running": together.jobs_running,
            "jobs_waiting": together.jobs_waiting,
        },
        "nodes": rows.iter().map(node).collect::<Vec<_>>(),
    })
}

fn node(row: &Row<'_>) -> Value {
    let Row { name, node, condition, numbers } = row;
    let status = node.status.as_ref();
    let models = node.models.iter().map(|(name, kept)| model(name.as_str(), &kept.value));
    let known = !matches!(condition, super::condition::Condition::Unknown);
    json!({
        "node": name,
        "state": known.then(|| condition.as_str()),
        "online": node.online,
        "since": status.and_then(|status| status.since.as_deref()),
        "reasons": status.map(|status| status.reasons.as_slice()).unwrap_or_default(),
        "models": models.collect::<Vec<_>>(),
        "tokens_per_s": numbers.tokens_per_s,
        "jobs_running": numbers.jobs_running,
        "jobs_waiting": numbers.jobs_waiting,
        "memory_available_bytes": numbers.memory_available,
        "memory_total_bytes": numbers.memory_total,
        "temperature_max_celsius": numbers.celsius,
        "throttled": numbers.throttled,
        "uptime_s": numbers.uptime.map(|uptime| uptime.as_secs()),
    })
}

fn model(name: &str, model: &Model) -> Value {
    let rejected = model.rejected.iter().map(|rejected| {
        json!({
            "strategy": rejected.strategy, "need": rejected.need, "headroom": rejected.headroom, "reason": rejected.reason,
        })
    });
    json!({
        "name": name, "state": model.state, "strategy": model.strategy, "reason": model.reason,
        "rejected": rejected.collect::<Vec<_>>(),
    })
}
