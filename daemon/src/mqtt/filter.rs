//! Topic texts and topic filters. An own matcher, because rumqttc's never matches `$` topics and does not check its input.

use std::str::FromStr;

use super::TopicError;

/// Longest filter or topic that MQTT can carry.
const TEXT_MAX: usize = 65_535;
/// mosquitto disconnects whoever publishes to a topic of more than 200 levels; nobody needs half of them.
const LEVELS_MAX: usize = 100;

/// A valid MQTT topic filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicFilter(String);

impl TopicFilter {
    /// Checks that wildcards fill whole levels, that `#` comes last, and that brokers take the text.
    pub fn new(text: impl Into<String>) -> Result<Self, TopicError> {
        let text = text.into();
        check_text("filter", &text, TEXT_MAX)?;
        let mut levels = text.split('/').rev();
        let last = levels.next().unwrap_or_default();
        let alone = |level: &str| level.len() == 1 || !level.contains(['+', '#']);
        if alone(last) && levels.all(|level| alone(level) && level != "#") {
            Ok(Self(text))
        } else {
            Err(TopicError::Filter { filter: text })
        }
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a broker would deliver a message on `topic` to a subscriber of this filter.
    pub fn matches(&self, topic: &str) -> bool {
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for wanted in self.0.split('/') {
            // Before the next level is taken: `a/#` also stands for its parent `a`.
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl FromStr for TopicFilter {
    type Err = TopicError;
    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::new(text)
    }
}

/// Checks a topic that promptd will publish to. Stricter than MQTT: mosquitto answers a publication to a topic with
/// control characters or too many levels by closing the connection, so that one such topic would take the node down.
pub(super) fn check_topic(what: &'static str, text: &str, max: usize) -> Result<(), TopicError> {
    check_text(what, text, max)?;
    if text.contains(['+', '#']) {
        return Err(TopicError::Wildcard { what });
    }
    Ok(())
}

/// [`check_topic`] with MQTT's own length limit.
pub(super) fn is_topic(text: &str) -> bool {
    check_topic("topic", text, TEXT_MAX).is_ok()
}

fn check_text(what: &'static str, text: &str, max: usize) -> Result<(), TopicError> {
    if text.is_empty() || text.len() > max {
        return Err(TopicError::Length { what, length: text.len(), max });
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() || is_non_character(*c)) {
        return Err(TopicError::Character { what, code: bad.into() });
    }
    let levels = text.split('/').count();
    if levels > LEVELS_MAX {
        return Err(TopicError::Levels { what, levels, max: LEVELS_MAX });
    }
    Ok(())
}

/// Unicode's non-characters: U+FDD0 to U+FDEF and the last two of each plane.
fn is_non_character(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn knows_valid_filters() {
        for good in ["a", "/", "+", "#", "a/+", "+/a", "a/+/b", "a/#", "+/+/#", "/a", "a/", "a//b", "$SYS/#", "ä/+"] {
            assert!(TopicFilter::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "a+", "+a", "a/b#", "#/a", "a/#/b", "##", "++", "a/++", "a\0b", "a\u{1}b", "a\u{85}", "a\u{FFFF}"]
        {
            assert!(TopicFilter::new(bad).is_err(), "{bad:?}");
        }
        assert!(TopicFilter::new("x".repeat(65_535)).is_ok());
        assert!(TopicFilter::new("x".repeat(65_536)).is_err());
        assert!(TopicFilter::new("a/".repeat(99) + "a").is_ok());
        assert!(TopicFilter::new("a/".repeat(100) + "a").is_err());
    }

    #[test]
    fn matches_as_brokers_do() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/b/c", "a/b", false),
            ("a/+", "a/b", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("a/+", "a/b/c", false),
            ("+", "a", true),
            ("+", "/a", false),
            ("+/+", "/a", true),
            ("/+", "/a", true),
            ("a/+/c", "a//c", true),
            ("#", "a/b/c", true),
            ("#", "/", true),
            ("a/#", "a", true),
            ("a/#", "a/", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("a/b/#", "a", false),
            ("+/#", "a", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("a/#", "a/$x", true),
            ("ä/+", "ä/é", true),
        ] {
            assert_eq!(TopicFilter::new(filter).unwrap().matches(topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn refuses_topics_that_make_mosquitto_disconnect() {
        for bad in ["a/\u{1}b", "a/\u{7f}b", "a/\u{85}b", "a/\u{fdd0}", "a/\u{ffff}", "a/\u{1fffe}", "a/+", "#", ""] {
            assert!(check_topic("topic", bad, 1024).is_err(), "{bad:?}");
        }
        for good in ["a", "a//b", "/", "a/\u{200b}", "a/\u{feff}b"] {
            assert!(check_topic("topic", good, 1024).is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(filter in "\\PC{0,12}|[ab+#/$]{0,12}", topic in "\\PC{0,12}|[ab+#/$]{0,12}") {
            if let Ok(filter) = TopicFilter::new(filter) {
                filter.matches(&topic);
            }
        }

        #[test]
        fn a_topic_without_wildcards_matches_itself(topic in "[ab/$é]{1,12}") {
            prop_assert!(TopicFilter::new(topic.clone()).unwrap().matches(&topic));
            let parent = TopicFilter::new(format!("{topic}/#")).unwrap();
            let below = format!("{topic}/x");
            prop_assert!(parent.matches(&topic) && parent.matches(&below));
        }
    }
}
