//! The status page: one document without anything from elsewhere, which reads `/status.json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page.
pub const STATUS_PAGE: &str = include_str!("page.html");

/// What a browser may do with it, as a Content-Security-Policy: run its own script and style, known by their hashes, and ask
/// this server.
pub fn status_page_policy() -> String {
    let hash = |tag: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside(tag).unwrap_or_default())));
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        hash("script"),
        hash("style")
    )
}

/// What stands in the only element of this kind.
fn inside(tag: &str) -> Option<&'static str> {
    let (_, rest) = STATUS_PAGE.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_script_and_one_style_and_nothing_from_elsewhere() {
        for tag in ["script", "style"] {
            assert_eq!(STATUS_PAGE.matches(&format!("<{tag}")).count(), 1, "{tag}");
            assert!(inside(tag).is_some_and(|text| text.len() > 100), "{tag}");
        }
        for outside in ["src=", "@import", "url(", "style=\"", "onclick", "innerHTML"] {
            assert!(!STATUS_PAGE.contains(outside), "{outside}");
        }
        // The namespace of SVG is a name, and nothing is fetched from it.
        assert_eq!(STATUS_PAGE.matches("://").count(), 1);
    }

    #[test]
    fn the_policy_allows_nothing_but_that() {
        let policy = status_page_policy();
        assert_eq!(policy.matches("'sha256-").count(), 2, "{policy}");
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    }
}
