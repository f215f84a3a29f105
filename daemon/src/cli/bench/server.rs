//! A server to compare with, such as llama-server: chat completions over HTTP, streamed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::contestant::Sample;

/// Longest silence of the server: a long prompt on a small machine.
const READ_TIMEOUT: Duration = Duration::from_mins(5);

/// Most bytes of a line. The last one carries figures.
const LINE_MAX: usize = 256 * 1024;

/// A server and how to reach it.
pub struct Server {
    client: Client,
    url: Url,
}

impl Server {
    /// At this address, such as `http://127.0.0.1:8080`.
    pub fn new(base: &Url) -> anyhow::Result<Self> {
        // Another part of this process may have chosen it before: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().read_timeout(READ_TIMEOUT).tcp_nodelay(true).build()?;
        let base = base.as_str().trim_end_matches('/').trim_end_matches("/v1");
        Ok(Self { client, url: Url::parse(&format!("{base}/v1/chat/completions"))? })
    }

    /// Has it answer a prompt with so many tokens.
    pub async fn answer(&self, prompt: &str, tokens: u32) -> anyhow::Result<Sample> {
        // The last two are llama-server's own: answers of equal length, and no prompt from its cache.
        let body = json!({
            "messages": [{ "role": "user", "content": prompt }], "max_tokens": tokens, "temperature": 0,
            "stream": true, "stream_options": { "include_usage": true }, "ignore_eos": true, "cache_prompt": false,
        });
        let start = Instant::now();
        let request = self.client.post(self.url.clone()).header("content-type", "application/json");
        let mut response = request.body(body.to_string()).send().await?;
        if !response.status().is_success() {
            bail!("{} answers {}", self.url, response.status());
        }
        let mut answer = Stream { start, first: None, last: None, usage: None, line: Vec::new() };
        while let Some(bytes) = response.chunk().await? {
            answer.take(&bytes)?;
        }
        answer.sample().with_context(|| format!("{} sent no whole answer", self.url))
    }
}

/// An answer as it comes, event by event.
struct Stream {
    start: Instant,
    first: Option<Duration>,
    last: Option<Duration>,
    usage: Option<(u32, u32)>,
    line: Vec<u8>,
}

impl Stream {
    fn take(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        for &byte in bytes {
            if byte != b'\n' {
                ensure!(self.line.len() < LINE_MAX, "the server sent a line of more than {LINE_MAX} bytes");
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if let Some(data) = line.strip_prefix(b"data: ")
                && let Ok(event) = serde_json::from_slice(data)
            {
                self.event(&event);
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Value) {
        if event.pointer("/choices/0/delta/content").is_some_and(Value::is_string) {
            self.last = Some(self.start.elapsed());
            self.first = self.first.or(self.last);
        }
        let tokens = |which| u32::try_from(event["usage"][which].as_u64()?).ok();
        if let (Some(prompt), Some(answer)) = (tokens("prompt_tokens"), tokens("completion_tokens")) {
            self.usage = Some((prompt, answer));
        }
    }

    fn sample(self) -> Option<Sample> {
        let (prompt_tokens, tokens) = self.usage?;
        Some(Sample { prompt_tokens, tokens, first: self.first?, total: self.last? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_however_it_is_cut() {
        let text = concat!(
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\r\n\r\n: a comment\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":31,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
        );
        for size in [1, 7, 1000] {
            let mut stream = Stream { start: Instant::now(), first: None, last: None, usage: None, line: Vec::new() };
            text.as_bytes().chunks(size).for_each(|piece| stream.take(piece).unwrap());
            let sample = stream.sample().unwrap();
            assert_eq!((sample.prompt_tokens, sample.tokens), (31, 2));
        }
    }

    #[test]
    fn half_an_answer_is_none_and_a_flood_is_an_error() {
        let mut stream = Stream { start: Instant::now(), first: None, last: None, usage: None, line: Vec::new() };
        stream.take(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n").unwrap();
        assert!(stream.sample().is_none());
        let mut stream = Stream { start: Instant::now(), first: None, last: None, usage: None, line: Vec::new() };
        assert!(stream.take(&vec![b'x'; LINE_MAX + 1]).is_err());
    }
}
