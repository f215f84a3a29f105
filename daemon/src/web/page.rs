//! What is asked for, and what it gets.

use std::sync::Arc;

use bytes::Bytes;

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The path of the URL, without a query.
    pub path: &'a str,
    /// The content types that the reader wants, as its `Accept` says; empty if it says nothing.
    pub accept: &'a str,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTTP's status code.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// What a browser may do with it, as a Content-Security-Policy; by default nothing.
    pub policy: String,
    /// The content.
    pub body: Bytes,
}

/// Makes the pages. Must answer at once.
pub type Pages = Arc<dyn Fn(&Ask<'_>) -> Page + Send + Sync>;

impl Page {
    /// A page that is there.
    pub fn new(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let policy = "default-src 'none'; frame-ancestors 'none'".to_owned();
        Self { status: 200, content_type, policy, body: body.into() }
    }

    /// A line of text with a status.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self { status, ..Self::new("text/plain; charset=utf-8", text + "\n") }
    }

    /// There is no such page.
    pub fn missing() -> Self {
        Self::text(404, "no such page")
    }
}
