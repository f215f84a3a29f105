//! Where bindings listen and publish.

use super::topic::filter;
use super::tree::Value;
use super::value;

/// As of a reply topic: it is kept with each job.
const PUBLISH_MAX: usize = 1024;

/// No topic has these characters, so that they can stand for `+` and `#` until the levels are known.
const MARKS: [char; 2] = ['\0', '\u{1}'];

/// A topic in which `{1}` stands for what the first wildcard of a filter stands for, `{2}` for the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishTopic {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// Counted from 0.
    Wildcard(usize),
}

impl PublishTopic {
    /// Reads a template. What it may name is checked with the filter: [`PublishTopic::fits`].
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        let text = value::line(value, PUBLISH_MAX)?;
        if text.contains(['+', '#']) {
            return Err("must not contain the wildcards '+' and '#': write {1} for what the first one of subscribe \
                        stands for"
                .to_owned());
        }
        if text.starts_with('$') {
            return Err("must not start with '$': such topics belong to the broker".to_owned());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let number = after.split_once('}').and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest)));
            let Some((number @ 1.., behind)) = number else {
                return Err("a '{' must begin {1}, {2} and so on".to_owned());
            };
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Wildcard(number - 1));
            rest = behind;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a filter has the wildcards that it names, and a `#` among them stands where it can.
    pub(super) fn fits(&self, filter: &str) -> Result<(), String> {
        let wildcards: Vec<&str> = filter.split('/').filter(|level| is_wildcard(level)).collect();
        for part in &self.parts {
            let Part::Wildcard(number) = part else { continue };
            match wildcards.get(*number) {
                None => {
                    let (name, count) = (number + 1, wildcards.len());
                    return Err(format!("{{{name}}} is none of the {count} wildcards of subscribe = {filter:?}"));
                }
                Some(&"#") if !self.text.ends_with(&format!("/{{{}}}", number + 1)) => {
                    let name = number + 1;
                    return Err(format!("{{{name}}} stands for several levels: it must be the whole last level"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// A filter for all topics that it may become with this one.
    pub fn reach(&self, filter: &str) -> String {
        let wildcards: Vec<&str> = filter.split('/').filter(|level| is_wildcard(level)).collect();
        let text: String = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Wildcard(number) if wildcards.get(*number) == Some(&"#") => MARKS[1].to_string(),
                Part::Wildcard(_) => MARKS[0].to_string(),
            })
            .collect();
        let level = |level: &str| match level {
            level if level.contains(MARKS[1]) => "#".to_owned(),
            level if level.contains(MARKS[0]) => "+".to_owned(),
            level => level.to_owned(),
        };
        text.split('/').map(level).collect::<Vec<_>>().join("/")
    }

    /// The topic for a message on `topic`, with what the wildcards stand for there.
    pub fn fill(&self, wildcards: &[&str]) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Wildcard(number) => wildcards.get(*number).copied().unwrap_or_default().to_owned(),
        };
        self.parts.iter().map(part).collect()
    }
}

/// The filter of a binding. What promptd itself publishes or answers is below its root: to listen there would be a loop.
pub(super) fn subscribed(value: &Value, root: &str) -> Result<String, String> {
    let text = filter(value)?;
    if overlap(&text, &format!("{root}/#")) {
        return Err(format!("would take messages below \"{root}\" (mqtt.root), which are promptd's own"));
    }
    Ok(text)
}

/// What the wildcards of a filter stand for in a topic; none if it does not match.
pub fn wildcards<'t>(filter: &str, topic: &'t str) -> Option<Vec<&'t str>> {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return None;
    }
    let mut found = Vec::new();
    let mut rest = Some(topic);
    for wanted in filter.split('/') {
        if wanted == "#" {
            // It stands for its parent as well.
            found.push(rest.unwrap_or_default());
            return Some(found);
        }
        let (level, behind) = match rest?.split_once('/') {
            Some((level, behind)) => (level, Some(behind)),
            None => (rest?, None),
        };
        match wanted {
            "+" => found.push(level),
            _ if wanted == level => {}
            _ => return None,
        }
        rest = behind;
    }
    rest.is_none().then_some(found)
}

/// Whether some topic matches both filters.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    fn overlap(one: &[&str], other: &[&str]) -> bool {
        match (one.split_first(), other.split_first()) {
            (None, None) | (Some((&"#", _)), _) | (_, Some((&"#", _))) => true,
            (Some((a, one)), Some((b, other))) => (*a == "+" || *b == "+" || a == b) && overlap(one, other),
            _ => false,
        }
    }
    let (one, other): (Vec<&str>, Vec<&str>) = (one.split('/').collect(), other.split('/').collect());
    overlap(&one, &other)
}

fn is_wildcard(level: &str) -> bool {
    level == "+" || level == "#"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<PublishTopic, String> {
        PublishTopic::read(&Value::Text(text.to_owned()))
    }

    #[test]
    fn wildcards_are_what_they_stand_for() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", Some(&[][..])),
            ("a/+/c", "a/b/c", Some(&["b"])),
            ("a/+/c", "a//c", Some(&[""])),
            ("a/+", "a/b/c", None),
            ("a/+/c", "a/b", None),
            ("a/#", "a/b/c", Some(&["b/c"])),
            ("a/#", "a", Some(&[""])),
            ("a/#", "b", None),
            ("+/x/#", "y/x/1/2", Some(&["y", "1/2"])),
            ("+/x", "$SYS/x", None),
        ] {
            assert_eq!(wildcards(filter, topic).as_deref(), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn templates_are_filled() {
        for (text, filter, topic, expected, reach) in [
            ("alarms", "cam/+", "cam/7", "alarms", "alarms"),
            ("alarms/{1}", "cam/+", "cam/7", "alarms/7", "alarms/+"),
            ("a-{2}/{1}/x", "+/y/+", "7/y/8", "a-8/7/x", "+/+/x"),
            ("out/{2}", "+/y/#", "7/y/8/9", "out/8/9", "out/#"),
        ] {
            let template = template(text).unwrap();
            assert_eq!(template.fits(filter), Ok(()), "{text}");
            assert_eq!(template.fill(&wildcards(filter, topic).unwrap()), expected);
            assert_eq!(template.reach(filter), reach);
        }
    }

    #[test]
    fn templates_that_can_not_be_filled_are_refused() {
        for text in ["", "a/+", "#", "$SYS/x", "a/{0}", "a/{x}", "a/{1", "a/{}", "a\nb"] {
            assert!(template(text).is_err(), "{text:?}");
        }
        for (text, filter, expected) in [
            ("a/{2}", "cam/+", "{2} is none of the 1 wildcards"),
            ("a/{1}/b", "cam/#", "the whole last level"),
            ("a/x{1}", "cam/#", "the whole last level"),
            ("{1}", "cam/#", "the whole last level"),
        ] {
            let error = template(text).unwrap().fits(filter).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn filters_overlap_where_a_topic_matches_both() {
        for (one, other, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/+", "a/b", true),
            ("a/+/c", "+/b/+", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "b/#", false),
            ("#", "a/b", true),
            ("+/#", "a", true),
        ] {
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
