//! Topics and filters, by the rules of MQTT 5.

use super::tree::Value;
use super::value;

/// The longest string of MQTT.
const FILTER_MAX: usize = 65_535;
/// Leaves ample room for node, client and id behind it, and keeps topics readable.
const ROOT_MAX: usize = 128;

/// A topic that all others start with.
pub(super) fn root(value: &Value) -> Result<String, String> {
    let text = value::line(value, ROOT_MAX)?;
    if text.contains(['+', '#']) {
        return Err("must not contain the wildcards '+' and '#'".to_owned());
    }
    if text.starts_with('$') {
        return Err("must not start with '$': such topics belong to the broker".to_owned());
    }
    if text.split('/').any(str::is_empty) {
        return Err("must not contain an empty level: no '/' at the ends, no '//'".to_owned());
    }
    Ok(text.to_owned())
}

/// A filter that reply topics are matched with.
pub(super) fn filter(value: &Value) -> Result<String, String> {
    let text = value::line(value, FILTER_MAX)?;
    if text.starts_with('$') {
        return Err("must not start with '$': replies never go there".to_owned());
    }
    let mut levels = text.split('/').peekable();
    while let Some(level) = levels.next() {
        if level.contains('#') && (level.len() > 1 || levels.peek().is_some()) {
            return Err("'#' must be the whole last level".to_owned());
        }
        if level.contains('+') && level.len() > 1 {
            return Err("'+' must be a whole level".to_owned());
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn roots() {
        for good in ["promptd", "site 1/promptd", "küche", &"x".repeat(128)] {
            assert_eq!(root(&value(good)), Ok(good.to_owned()));
        }
        for bad in ["", "/", "/promptd", "promptd/", "a//b", "a/+", "#", "$SYS", "a\0", "a\nb", &"x".repeat(129)] {
            assert!(root(&value(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn filters() {
        for good in ["#", "+", "a/b", "a/+/b", "a/#", "+/+/#", "/", "/a", "a//b", "a/$b"] {
            assert_eq!(filter(&value(good)), Ok(good.to_owned()));
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "##", "$share/g/a", "$SYS/#", "a\0", &"x".repeat(65_536)] {
            assert!(filter(&value(bad)).is_err(), "{bad:?}");
        }
    }
}
