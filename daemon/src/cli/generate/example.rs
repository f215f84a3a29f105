//! What is made of the example configuration: the one of a fresh installation, and promptd.toml(5).

use clap_mangen::roff::{Roff, bold, roman};

/// Every key with its prose, default and bounds; `config::tests::example` proves that.
const EXAMPLE: &str = include_str!("../../../../config/promptd.toml");

/// Stands above the first model that is commented out.
const NO_MODEL_YET: &str =
    "# There is none yet: remove the '#' in front of [[model]], name, [[model.files]] and path, and write yours.";

/// A line of the example.
enum Line<'a> {
    Blank,
    Prose(&'a str),
    Section {
        /// `[section]` or `[[section]]`, with the brackets.
        name: &'a str,
        /// One that an operator may add.
        commented: bool,
    },
    Key {
        name: &'a str,
        value: &'a str,
        /// Shows a default; one that must be written has no '#' in front.
        commented: bool,
    },
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Self {
        let (commented, rest) = line.strip_prefix('#').map_or((false, line), |rest| (true, rest));
        if rest.is_empty() && !commented {
            Line::Blank
        } else if commented && !rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') {
            Line::Prose(rest.trim_start())
        } else if let Some((name, value)) = rest.split_once(" = ") {
            Line::Key { name, value, commented }
        } else {
            Line::Section { name: rest, commented }
        }
    }
}

/// The example with all that it sets commented out: every setting has its default, and there is no model.
pub fn setting_nothing() -> String {
    let mut text = String::new();
    let mut told = false;
    for line in EXAMPLE.lines() {
        match Line::read(line) {
            Line::Section { name, commented: false } if name.starts_with("[[") => {
                if !std::mem::replace(&mut told, true) {
                    text += NO_MODEL_YET;
                    text.push('\n');
                }
                text.push('#');
            }
            Line::Key { commented: false, .. } => text.push('#'),
            Line::Blank | Line::Prose(_) | Line::Section { .. } | Line::Key { .. } => {}
        }
        text += line;
        text.push('\n');
    }
    text
}

/// promptd.toml(5): the prose of each key below it.
pub fn man_page() -> String {
    let mut page = Roff::new();
    let version = concat!("promptd ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["promptd.toml", "5", "", version]);
    page.control("SH", ["NAME"]);
    page.text([roman("promptd.toml - the configuration of promptd")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([roman("/etc/promptd/promptd.toml, /etc/promptd/conf.d/*.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    let mut prose = Vec::new();
    for line in EXAMPLE.lines().map(Line::read) {
        match line {
            Line::Prose(text) => prose.push(text),
            // The prose at the head of the file belongs to nothing but the file.
            Line::Blank => paragraphs(&mut page, &mut prose),
            Line::Section { name, .. } => {
                page.control("SS", [name]);
                paragraphs(&mut page, &mut prose);
            }
            Line::Key { name, value, .. } => {
                page.control("TP", []);
                page.text([bold(name), roman(format!(" = {value}"))]);
                paragraphs(&mut page, &mut prose);
            }
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("promptd"), roman("(1), "), bold("promptd-check"), roman("(1)")]);
    page.to_roff()
}

/// Writes the lines of prose; what tells when to change a key begins a line.
fn paragraphs(page: &mut Roff, prose: &mut Vec<&str>) {
    for text in prose.drain(..) {
        if text.is_empty() {
            page.control("PP", []);
        } else {
            if text.starts_with("Change it:") {
                page.control("br", []);
            }
            page.text([roman(text)]);
        }
    }
}
