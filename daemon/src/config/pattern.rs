//! Patterns of clients' names.

use crate::job::ClientName;

use super::tree::Value;
use super::value;

/// As long as a name may be.
const PATTERN_MAX: usize = 64;

/// A client's name in which `*` stands for any text, also for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPattern(String);

impl ClientPattern {
    pub(super) fn read(written: &Value) -> Result<Self, String> {
        let text = value::line(written, PATTERN_MAX)?;
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !".-_*".contains(*c)) {
            Some(character) => {
                Err(format!("contains {character:?}; allowed are letters, digits, '.', '_', '-' and '*' for any text"))
            }
            None => Ok(Self(text.to_owned())),
        }
    }

    /// Whether a client has such a name.
    pub fn matches(&self, client: &ClientName) -> bool {
        matches(&self.0, client.as_str())
    }

    /// Whether every client has such a name.
    pub(super) fn is_all(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether it is just this client's name.
    pub(super) fn is_name(&self, client: &ClientName) -> bool {
        self.0 == client.as_str()
    }
}

/// Parts between two stars are looked for from left to right: the first place of each leaves the most for the next.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        let Some((_, after)) = name.split_once(part) else { return false };
        name = after;
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, names, others) in [
            ("pump", &["pump"][..], &["pump1", "apump", "pum"][..]),
            ("sensor-*", &["sensor-", "sensor-7"], &["sensor", "a-sensor-7"]),
            ("*-cam", &["-cam", "hall-cam"], &["hall-cam2", "cam"]),
            ("*", &["a", "anonymous"], &[]),
            ("a*b*c", &["abc", "aabbcc", "a.b.bc"], &["ac", "acb", "ab"]),
            ("a*a", &["aa", "aba"], &["a"]),
            ("*ab*ab", &["abab", "abxab"], &["ab", "aab"]),
        ] {
            let all = names.iter().map(|name| (name, true)).chain(others.iter().map(|name| (name, false)));
            for (name, expected) in all {
                assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
            }
        }
    }

    /// The meaning itself, at whatever cost.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|skipped| plainly(rest, &name[skipped..])),
            Some((byte, rest)) => name.split_first().is_some_and(|(first, name)| first == byte && plainly(rest, name)),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_meaning(pattern in "[ab*]{1,8}", name in "[ab]{1,10}") {
            prop_assert_eq!(matches(&pattern, &name), plainly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
