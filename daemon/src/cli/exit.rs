//! How the process ends: the codes of `sysexits.h`, which systemd and scripts know.

use std::process::ExitCode;

/// Why a command failed, and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// For people.
    pub error: anyhow::Error,
    /// For programs.
    pub code: Code,
}

/// Exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The request was answered with an error.
    Failed = 1,
    /// `EX_DATAERR`: a file is not what it should be.
    Data = 65,
    /// `EX_UNAVAILABLE`: the broker, the daemon or the model can't be reached.
    Unavailable = 69,
    /// `EX_SOFTWARE`: a defect of promptd.
    Software = 70,
    /// `EX_CONFIG`: the configuration; systemd must not restart.
    Configuration = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

impl Failure {
    /// The error and its causes in one line, each said once: many errors quote their cause already.
    pub fn text(&self) -> String {
        self.error.chain().fold(String::new(), |mut text, cause| {
            let cause = cause.to_string();
            if text.is_empty() {
                text = cause;
            } else if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
            text
        })
    }

    /// A failure with a code.
    pub fn new(code: Code, error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), code }
    }

    /// The configuration is wrong.
    pub fn configuration(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Configuration, error)
    }

    /// Something can't be reached.
    pub fn unavailable(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Unavailable, error)
    }

    /// A defect, or an operating system that refuses the ordinary.
    pub fn software(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Code::Software, error)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let quoted = Err::<(), _>(anyhow!("no such file")).context("cannot read x: no such file").unwrap_err();
        assert_eq!(Failure::software(quoted).text(), "cannot read x: no such file");
        let plain = Err::<(), _>(anyhow!("no such file")).context("cannot read x").unwrap_err();
        assert_eq!(Failure::software(plain).text(), "cannot read x: no such file");
    }
}
