//! A web server with one file, which can break off as real ones do.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What the server has, and how it behaves.
pub struct Served {
    pub content: Vec<u8>,
    /// Names the version of the content.
    pub tag: &'static str,
    /// The same for all requests but the first.
    pub later_tag: &'static str,
    /// After so many bytes of one answer the connection is cut.
    pub cut_after: usize,
}

/// Serves on loopback until the test ends.
pub struct Web {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Web {
    pub fn start(mut served: Served) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                // A client that goes away early is no defect.
                let _ = stream.and_then(|stream| answer(&stream, &served));
                served.tag = served.later_tag;
            }
        });
        Self { port, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: &TcpStream, served: &Served) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let (mut from, mut same) = (0, true);
    for line in lines {
        let line = line?.to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("range", range)) => {
                from = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap();
            }
            Some(("if-range", tag)) => same = tag == served.tag,
            Some(_) => {}
            None => break,
        }
    }
    if !request.contains(".gguf") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let size = served.content.len();
    let from = if same { from } else { 0 };
    let body = &served.content[from..];
    let head = if from > 0 {
        format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\n", size - 1)
    } else {
        "HTTP/1.1 200 OK\r\n".to_owned()
    };
    let head = format!("{head}ETag: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", served.tag, body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..body.len().min(served.cut_after)])
}
