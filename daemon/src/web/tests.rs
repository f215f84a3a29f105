use std::io::{Read, Write};
use std::net::TcpStream as Std;
use std::sync::Arc;

use super::*;

fn server() -> WebServer {
    let pages: Pages = Arc::new(|ask| match ask.path {
        "/" => Page::new("text/html; charset=utf-8", "the page"),
        "/accept" => Page::text(200, ask.accept),
        _ => Page::missing(),
    });
    WebServer::bind("127.0.0.1:0".parse().unwrap(), pages).unwrap()
}

/// Sends bytes and reads until the server closes.
async fn exchange(server: &WebServer, request: impl Into<Vec<u8>>) -> String {
    let (address, request) = (server.address(), request.into());
    let talk = move || {
        let mut stream = Std::connect(address).unwrap();
        // A server that has refused reads no more.
        let _ = stream.write_all(&request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

async fn get(server: &WebServer, path: &str) -> String {
    exchange(server, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/x\r\n\r\n")).await
}

#[tokio::test]
async fn pages_come_with_what_keeps_browsers_in_check() {
    let server = server();
    let page = get(&server, "/").await;
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\nthe page"), "{page}");
    for header in [
        "content-type: text/html; charset=utf-8",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "connection: close",
        "content-length: 8",
    ] {
        assert!(page.contains(&format!("\r\n{header}\r\n")), "{header}: {page}");
    }
    assert!(get(&server, "/accept?a=b").await.ends_with("\r\n\r\ntext/x\n"), "a query is no part of the path");
    assert!(get(&server, "/other").await.starts_with("HTTP/1.1 404 "));
    let head = exchange(&server, "HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(head.contains("\r\ncontent-length: 8\r\n") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn what_is_not_for_us_is_refused() {
    let server = server();
    let status = |answer: String| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let post = exchange(&server, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc").await;
    assert_eq!(status(post), "405");
    assert_eq!(status(exchange(&server, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n").await), "421");
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    assert_eq!(status(exchange(&server, long).await), "431");
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(status(exchange(&server, many).await), "431");
    for garbage in ["\0\0\0\0", "hello\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let answer = exchange(&server, garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{garbage:?}: {answer}");
    }
    assert!(get(&server, "/").await.starts_with("HTTP/1.1 200"), "it goes on serving");
}

#[tokio::test]
async fn those_who_say_nothing_keep_nobody_out_for_long() {
    let server = server();
    let address = server.address();
    let silent: Vec<Std> = (0..100).map(|_| Std::connect(address).unwrap()).collect();
    // As soon as the first ones are given up, there is room again.
    let mut turn = tokio::time::interval(std::time::Duration::from_millis(50));
    while !get(&server, "/").await.starts_with("HTTP/1.1 200") {
        turn.tick().await;
    }
    drop(silent);
}

#[tokio::test]
async fn an_address_that_others_reach_or_that_is_taken_is_refused() {
    let pages: Pages = Arc::new(|_| Page::missing());
    let open = WebServer::bind("0.0.0.0:0".parse().unwrap(), pages.clone());
    assert!(matches!(open, Err(WebError::NotLoopback(_))));
    let first = WebServer::bind("127.0.0.1:0".parse().unwrap(), pages.clone()).unwrap();
    let second = WebServer::bind(first.address(), pages);
    assert!(second.unwrap_err().to_string().starts_with(&format!("cannot listen on {}", first.address())));
}
