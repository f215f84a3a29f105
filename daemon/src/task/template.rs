//! Templates over the fields of a request.

use std::io::{self, Write};

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value};

use crate::job::{ErrorCode, JobError};

/// Instructions that one rendering may take: a loop over every field of the largest request, and far from a second.
const FUEL: u64 = 1_000_000;

/// Calls within calls: templates have no use for more, and each takes stack.
const DEPTH_MAX: usize = 16;

/// A template that has been compiled.
#[derive(Debug)]
pub(super) struct Template {
    environment: Environment<'static>,
}

impl Template {
    /// Compiles a template; what is wrong with it comes back as text, with the line.
    pub(super) fn new(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(DEPTH_MAX);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // A namespace can hold itself: nothing that walks through it would end.
        environment.remove_global("namespace");
        environment.add_template_owned("prompt", source.to_owned()).map_err(|error| described(&error))?;
        Ok(Self { environment })
    }

    /// The names of fields that it looks at, sorted.
    pub(super) fn fields(&self) -> Vec<String> {
        let functions: Vec<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let template = self.environment.get_template("prompt");
        let names = template.map(|template| template.undeclared_variables(false)).unwrap_or_default();
        let mut names: Vec<String> = names.into_iter().filter(|name| !functions.contains(&name.as_str())).collect();
        names.sort_unstable();
        names
    }

    /// The text for the fields of a request, at most so many bytes.
    pub(super) fn render(&self, fields: &Map<String, Value>, most: usize) -> Result<String, JobError> {
        let invalid = |text: String| JobError::new(ErrorCode::InvalidRequest, text);
        let template = self.environment.get_template("prompt").map_err(|error| invalid(described(&error)))?;
        let mut text = Bounded { bytes: Vec::new(), most };
        match template.render_captured_to(Serde(fields), &mut text) {
            Ok(_) => Ok(String::from_utf8_lossy(&text.bytes).into_owned()),
            Err(error) if error.kind() == ErrorKind::WriteFailure => {
                let message =
                    format!("the task's template makes more than {most} bytes of this request (limits.request)");
                Err(JobError::new(ErrorCode::TooLarge, message))
            }
            Err(error) => Err(invalid(format!("the task's template fails: {}", described(&error)))),
        }
    }
}

/// The kind, the template's own words and the line; minijinja's full report would quote the request.
pub(super) fn described(error: &Error) -> String {
    let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
    match error.detail() {
        Some(detail) => format!("{}: {detail}{line}", error.kind()),
        None => format!("{}{line}", error.kind()),
    }
}

/// Collects no more than it may.
pub(super) struct Bounded {
    pub(super) bytes: Vec<u8>,
    pub(super) most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
