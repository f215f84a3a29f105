//! What a node serves over HTTP, and what stands in its metrics.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks for a page; none while nobody listens, or if the server goes in the middle of it.
pub fn get(port: u16, path: &str, headers: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A page that must be there.
pub fn page(port: u16, path: &str) -> Answer {
    get(port, path, "").unwrap_or_else(|| panic!("nobody serves {path}"))
}

/// The sum of all series of a metric, or of those with a label such as `code="cancelled"`; none without any.
pub fn sum(metrics: &str, name: &str, label: &str) -> Option<f64> {
    let of_name =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label);
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    metrics.lines().filter(of_name).map(value).reduce(|a, b| a + b)
}
