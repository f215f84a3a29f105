//! Which requests are answered at all.

use std::net::IpAddr;

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Method, Request};

use super::Page;

/// The answer to a request that gets no page.
pub(super) fn objection<B>(request: &Request<B>) -> Option<Page> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(Page::text(405, "only GET and HEAD are answered"));
    }
    let host = match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse().ok()),
    };
    match host {
        None => Some(Page::text(400, "the request names no host")),
        Some(host) if is_local(&host) => None,
        // A page of the web has brought a browser here under a name of its own.
        Some(_) => Some(Page::text(421, "this server answers to localhost and to loopback addresses")),
    }
}

fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, uri: &str, host: Option<&str>) -> Option<u16> {
        let request = Request::builder().method(method).uri(uri);
        let request = host.into_iter().fold(request, |request, host| request.header(HOST, host));
        objection(&request.body(()).unwrap()).map(|page| page.status)
    }

    #[test]
    fn only_this_machine_s_own_names_are_answered() {
        for host in ["localhost", "LOCALHOST:9471", "127.0.0.1", "127.0.0.1:9471", "127.1.2.3:1", "[::1]", "[::1]:9471"]
        {
            assert_eq!(status(Method::GET, "/metrics", Some(host)), None, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:9471", "192.168.1.1", "[::2]:9471", "127.0.0.1.evil.example"]
        {
            assert_eq!(status(Method::GET, "/metrics", Some(host)), Some(421), "{host}");
        }
        assert_eq!(status(Method::GET, "/metrics", None), Some(400));
        assert_eq!(status(Method::GET, "/metrics", Some("")), Some(400));
        assert_eq!(status(Method::GET, "http://evil.example/metrics", Some("localhost")), Some(421));
    }

    #[test]
    fn nothing_can_be_changed() {
        assert_eq!(status(Method::HEAD, "/", Some("localhost")), None);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT] {
            assert_eq!(status(method, "/", Some("localhost")), Some(405));
        }
    }
}
