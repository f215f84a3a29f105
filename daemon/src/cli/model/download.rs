//! A download that goes on where it broke.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest silence of the server.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// Attempts in a row that bring nothing before the download is given up.
const ATTEMPTS_MAX: u32 = 6;

/// Wait before the second attempt; it doubles with each.
const WAIT: Duration = Duration::from_secs(1);

/// A file of a web server that is being read.
pub struct Download {
    client: Client,
    url: Url,
    response: Response,
    /// Tells whether the server still has the same file. Without one nothing can be resumed.
    tag: Option<HeaderValue>,
    size: Option<u64>,
    at: u64,
    /// Attempts since the last byte came.
    attempts: u32,
}

impl Download {
    /// Asks for the file. Proxies are taken from the environment, as curl does.
    pub async fn start(url: Url) -> anyhow::Result<Self> {
        // Another part of this process may have chosen it before: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("promptd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // Who was asked for by https:// must not send us elsewhere without it.
            .https_only(url.scheme() == "https")
            .build()
            .map_err(plain)?;
        let response = client.get(url.clone()).send().await.map_err(plain).context("cannot download the model")?;
        if !response.status().is_success() {
            bail!("cannot download the model: the server answers {}", response.status());
        }
        // A weak tag names what reads alike, not what is equal byte by byte.
        let tag = response.headers().get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        let size = response.content_length();
        Ok(Self { client, url, response, tag, size, at: 0, attempts: 0 })
    }

    /// Its size in bytes, if the server tells.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            let broken = match self.response.chunk().await {
                Ok(Some(bytes)) => {
                    self.at += bytes.len() as u64;
                    self.attempts = 0;
                    return Ok(Some(bytes));
                }
                Ok(None) if self.size.is_none_or(|size| self.at >= size) => return Ok(None),
                Ok(None) => anyhow!("the server ended the connection"),
                Err(error) => plain(error),
            };
            self.resume(broken).await?;
        }
    }

    /// Asks for the rest, a few times.
    async fn resume(&mut self, mut broken: anyhow::Error) -> anyhow::Result<()> {
        let Some(tag) = self.tag.clone() else {
            return Err(broken.context(format!("the download broke after {} bytes", self.at)));
        };
        loop {
            self.attempts += 1;
            if self.attempts >= ATTEMPTS_MAX {
                let text =
                    format!("the download broke after {} bytes; {ATTEMPTS_MAX} attempts brought nothing", self.at);
                return Err(broken.context(text));
            }
            tokio::time::sleep(WAIT * 2_u32.pow(self.attempts - 1)).await;
            let rest = self.client.get(self.url.clone()).header(RANGE, format!("bytes={}-", self.at));
            match rest.header(IF_RANGE, tag.clone()).send().await {
                Ok(response) if response.status() == StatusCode::PARTIAL_CONTENT => {
                    self.must_continue(&response)?;
                    self.response = response;
                    return Ok(());
                }
                Ok(response) if response.status().is_server_error() => {
                    broken = anyhow!("the server answers {}", response.status());
                }
                Ok(response) if response.status().is_success() => {
                    bail!("the file changed on the server, or it cannot resume downloads: begin again")
                }
                Ok(response) => bail!("the download broke, and the server answers {}", response.status()),
                Err(error) => broken = plain(error),
            }
        }
    }

    fn must_continue(&self, response: &Response) -> anyhow::Result<()> {
        let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok()).unwrap_or_default();
        if range.starts_with(&format!("bytes {}-", self.at)) {
            return Ok(());
        }
        bail!("the server was asked for the rest from byte {} and sends \"{}\"", self.at, range.escape_default())
    }
}

/// An error without the address, which may hold a password.
fn plain(error: reqwest::Error) -> anyhow::Error {
    error.without_url().into()
}
