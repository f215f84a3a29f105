//! Findings as people and programs read them.

use promptd::doctor::{Finding, Level};
use serde_json::json;

use crate::cli::node::show::clean;

/// Ends a colour.
const PLAIN: &str = "\u{1b}[0m";

/// A line for each finding, its remedy below it, and the sum.
pub fn text(findings: &[Finding], colours: bool) -> String {
    let width = findings.iter().map(|finding| finding.check.as_str().len()).max().unwrap_or(0);
    let blocks: String = findings.iter().map(|finding| block(finding, width, colours)).collect();
    let [pass, warn, fail] = counts(findings);
    format!("{blocks}\n{pass} pass, {warn} warn, {fail} fail\n")
}

fn block(finding: &Finding, width: usize, colours: bool) -> String {
    let (level, check) = (finding.level(), finding.check.as_str());
    let word = level.as_str();
    let word = if colours { format!("{}{word}{PLAIN}", colour(level)) } else { word.to_owned() };
    let indent = " ".repeat(width + 8);
    let what = lines(&finding.what, &indent);
    let remedy = finding.remedy().map(|remedy| format!("{indent}→ {}\n", lines(remedy, &indent))).unwrap_or_default();
    format!("{word}  {check:<width$}  {what}\n{remedy}")
}

/// Later lines stand below the first. Nothing in them can steer a terminal.
fn lines(text: &str, indent: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join(&format!("\n{indent}"))
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Pass => "\u{1b}[32m",
        Level::Warn => "\u{1b}[33m",
        Level::Fail => "\u{1b}[31m",
    }
}

/// The same for programs.
pub fn json(node: &str, findings: &[Finding]) -> String {
    let [pass, warn, fail] = counts(findings);
    let document = json!({ "node": node, "pass": pass, "warn": warn, "fail": fail, "findings": findings });
    format!("{document:#}\n")
}

fn counts(findings: &[Finding]) -> [usize; 3] {
    [Level::Pass, Level::Warn, Level::Fail].map(|level| findings.iter().filter(|found| found.level() == level).count())
}

#[cfg(test)]
mod tests {
    use promptd::doctor::Check;
    use serde_json::Value;

    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::pass(Check::Configuration, "valid"),
            Finding::fail(Check::Broker, "refused\u{1b}[2J\nby name", "start it"),
        ]
    }

    #[test]
    fn people_read_a_table() {
        let expected = "\
pass  configuration  valid
fail  broker         refused\u{fffd}[2J
                     by name
                     → start it

1 pass, 0 warn, 1 fail
";
        assert_eq!(text(&findings(), false), expected);
        assert!(text(&findings(), true).starts_with("\u{1b}[32mpass\u{1b}[0m  configuration"));
    }

    #[test]
    fn programs_read_json() {
        let value: Value = serde_json::from_str(&json("gw", &findings())).unwrap();
        assert_eq!((&value["node"], &value["fail"]), (&json!("gw"), &json!(1)));
        assert_eq!(value["findings"][1]["remedy"], "start it");
    }
}
