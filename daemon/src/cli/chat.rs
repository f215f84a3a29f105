//! `promptd chat`.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};
use std::time::Duration;

use anyhow::anyhow;
use clap::value_parser;
use promptd::job::{ModelName, RequestId, SessionName};
use serde_json::{Map, Value, json};
use tokio::signal::ctrl_c;
use tokio::sync::mpsc;

use super::Failure;
use super::answer::{complete, stream};
use super::client::{Client, Target};
use super::exit::Code;

/// Talk with a model over MQTT; the node remembers what was said.
///
/// Each line is a turn of a session, which the node keeps: the same name goes on with it later. `/reset` begins it anew, `/quit`
/// or Ctrl-D ends. Ctrl-C stops an answer; the session forgets that turn.
#[derive(Debug, clap::Args)]
pub struct Chat {
    #[command(flatten)]
    target: Target,
    /// The session to go on with, or to begin; a new one by default.
    #[arg(long, value_name = "NAME")]
    session: Option<SessionName>,
    /// Instructions for the model, for the whole session.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Which model shall answer; the node's default one otherwise.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// Most tokens of an answer.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// 0 takes the most likely token each time.
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Longest time for an answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = value_parser!(u64).range(1..=604_800))]
    timeout: u64,
}

/// What a line asks for.
enum Line {
    Turn(String),
    Reset,
    Quit,
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        match text.trim() {
            "" => None,
            "/reset" => Some(Self::Reset),
            "/quit" => Some(Self::Quit),
            turn => Some(Self::Turn(turn.to_owned())),
        }
    }
}

impl Chat {
    /// Talks until there is nothing more to say.
    pub fn execute(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
        runtime.block_on(self.talk())
    }

    async fn talk(self) -> Result<(), Failure> {
        let name = match &self.session {
            Some(name) => name.clone(),
            None => SessionName::new(format!("chat-{:08x}", fastrand::u32(..))).map_err(Failure::software)?,
        };
        let mut client = Client::connect(&self.target).await?;
        let is_terminal = stdin().is_terminal();
        if is_terminal {
            eprintln!("session {name} (/reset begins it anew, /quit or Ctrl-D ends)");
        }
        let mut lines = lines();
        // Instructions stand at the head of the session until it begins anew.
        let (mut reset, mut instruct) = (false, true);
        loop {
            if is_terminal {
                write!(stderr(), "> ").and_then(|()| stderr().flush()).map_err(Failure::software)?;
            }
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = ctrl_c() => return Ok(()),
            };
            let Some(line) = line else { return Ok(()) };
            match Line::read(&line.map_err(Failure::software)?) {
                None => {}
                Some(Line::Quit) => return Ok(()),
                Some(Line::Reset) => (reset, instruct) = (true, true),
                Some(Line::Turn(text)) => match self.turn(&mut client, &name, &text, reset, instruct).await {
                    Ok(()) => (reset, instruct) = (false, false),
                    // Who sees it can go on.
                    Err(failure) if is_terminal && failure.code == Code::Failed => eprintln!("{}", failure.text()),
                    Err(failure) => return Err(failure),
                },
            }
        }
    }

    async fn turn(
        &self,
        client: &mut Client,
        session: &SessionName,
        text: &str,
        reset: bool,
        instruct: bool,
    ) -> Result<(), Failure> {
        let id = RequestId::new(format!("chat-{:016x}", fastrand::u64(..))).map_err(Failure::software)?;
        let request = self.request(&id, session, text, reset, instruct);
        client.catch_up();
        client.send("chat", &request).await.map_err(Failure::unavailable)?;
        let (result, shown) = stream(client, &id, Duration::from_secs(self.timeout)).await?;
        complete(&result, &shown).map_err(Failure::software)?;
        if let Some(dropped @ 1..) = result["session"]["dropped"].as_u64() {
            writeln!(stderr(), "[the context is full: {dropped} earlier turns were left out]")
                .map_err(Failure::software)?;
        }
        Ok(())
    }

    fn request(&self, id: &RequestId, session: &SessionName, text: &str, reset: bool, instruct: bool) -> Value {
        let mut request = Map::new();
        match self.system.as_ref().filter(|_| instruct) {
            None => request.insert("input".to_owned(), json!(text)),
            Some(system) => request.insert(
                "messages".to_owned(),
                json!([{ "role": "system", "content": system }, { "role": "user", "content": text }]),
            ),
        };
        let fields = [
            ("id", Some(json!(id))),
            ("session", Some(json!(session))),
            ("reset", reset.then_some(json!(true))),
            ("stream", Some(json!(true))),
            ("parts", Some(json!(true))),
            ("deadline_ms", Some(json!(self.timeout.saturating_mul(1000)))),
            ("model", self.model.as_ref().map(|model| json!(model))),
            ("max_tokens", self.max_tokens.map(|most| json!(most))),
            ("temperature", self.temperature.map(|temperature| json!(temperature))),
        ];
        request.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Value::Object(request)
    }
}

/// Lines of standard input. A thread of its own reads them, which nobody waits for at the end.
fn lines() -> mpsc::Receiver<anyhow::Result<String>> {
    let (to, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in stdin().lock().lines() {
            let line = line.map_err(|error| anyhow!("cannot read standard input: {error}"));
            if to.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_turns_or_commands() {
        assert!(matches!(Line::read("/reset \n"), Some(Line::Reset)));
        assert!(matches!(Line::read("/quit"), Some(Line::Quit)));
        assert!(Line::read(" \t").is_none());
        for text in ["/resett", "reset", "a /quit"] {
            assert!(matches!(Line::read(text), Some(Line::Turn(turn)) if turn == text));
        }
    }
}
