//! An answer on its way, for `ask`, `chat` and `run-pipeline`.

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::anyhow;
use promptd::job::RequestId;
use serde_json::Value;
use tokio::signal::ctrl_c;

use super::Failure;
use super::client::{Client, refused};
use super::exit::Code;
use super::joining::Joining;

/// Prints the pieces of an answer, and gives the result and what was printed.
pub async fn stream(client: &mut Client, id: &RequestId, timeout: Duration) -> Result<(Value, String), Failure> {
    let mut shown = String::new();
    let show = |reply: &Value| {
        let Some(text) = reply["text"].as_str().filter(|_| reply["event"] == "delta") else { return Ok(()) };
        shown.push_str(text);
        print(text)
    };
    let result = follow(client, id, timeout, show).await?;
    Ok((result, shown))
}

/// Shows what comes before the result of a request, and gives the result. With Ctrl-C the node is told to stop, and its word about
/// that is awaited; not with a second one.
pub async fn follow(
    client: &mut Client,
    id: &RequestId,
    timeout: Duration,
    mut show: impl FnMut(&Value) -> std::io::Result<()>,
) -> Result<Value, Failure> {
    // The node keeps the deadline; this only catches a node that is not there.
    let wait = timeout + Duration::from_secs(5);
    let mut cancelled = false;
    let mut joining = Joining::default();
    loop {
        let reply = tokio::select! {
            reply = client.reply(wait) => reply.map_err(Failure::unavailable)?,
            // The node should not go on for nobody. Its word about it ends the loop; a second Ctrl-C doesn't wait.
            _ = ctrl_c(), if !cancelled => {
                cancelled = true;
                client.cancel(id).await.map_err(Failure::unavailable)?;
                continue;
            }
            _ = ctrl_c(), if cancelled => return Err(Failure::new(Code::Failed, anyhow!("interrupted"))),
        };
        if reply["id"] != id.as_str() {
            continue;
        }
        match reply["event"].as_str() {
            Some("result") => return Ok(reply),
            Some("part") => {
                if let Some(result) = joining.take(&reply).map_err(Failure::unavailable)? {
                    return Ok(result);
                }
            }
            Some("error") => return Err(refused(&reply)),
            _ => show(&reply).map_err(Failure::software)?,
        }
    }
}

/// Prints what is missing of an answer after its pieces: some of them may be lost, the result is complete.
pub fn complete(result: &Value, shown: &str) -> std::io::Result<()> {
    let output = result["output"].as_str().unwrap_or_default();
    match output.strip_prefix(shown) {
        Some(rest) => print(&format!("{rest}\n")),
        None => print(&format!("\n{output}\n")),
    }
}

/// Prints at once.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
