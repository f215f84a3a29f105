//! `promptd doctor`.

mod ask;
mod look;
mod show;

use std::io::{IsTerminal, Write, stdout};
use std::time::SystemTime;

use anyhow::anyhow;
use promptd::config::{Config, ConfigError};
use promptd::doctor::{self, Finding, Level};
use promptd::health::{Roots, clock, profile};

use self::look::Look;
use super::exit::Code;
use super::{ConfigFile, Failure};

/// Find out what is wrong with this node and what to do about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It connects to the broker beside the daemon, with the daemon's credentials and the client id <mqtt.client_id>-doctor, asks \
the daemon over its control socket, and looks at this machine. It changes nothing; no retained topic is written. Run it as \
root, or as a member of the group promptd.

Exit codes: 0 nothing failed (warnings are no failures), 1 something failed")]
pub struct Doctor {
    #[command(flatten)]
    file: ConfigFile,
    /// Take the time for what is slow: hash the models' files, and measure each strategy in a dry run.
    #[arg(long)]
    deep: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// Looks and prints.
    pub fn execute(self) -> Result<(), Failure> {
        let (node, mut findings) = match self.file.read() {
            Ok((loaded, invalid)) => {
                let mut findings = doctor::configuration(&loaded.files(), invalid.as_ref());
                let node = loaded.config.node.name.to_string();
                findings.extend(Look { loaded: &loaded, deep: self.deep }.everything()?);
                (node, findings)
            }
            Err(error) => without_configuration(&error)?,
        };
        findings.sort_by_key(|finding| finding.check);
        let out = stdout();
        let text = if self.json {
            show::json(&node, &findings)
        } else {
            show::text(
                &findings,
                out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            )
        };
        out.lock().write_all(text.as_bytes()).map_err(Failure::software)?;
        match findings.iter().filter(|finding| finding.level() == Level::Fail).count() {
            0 => Ok(()),
            count => Err(Failure::new(Code::Failed, anyhow!("{count} failed"))),
        }
    }
}

/// A configuration that can't even be parsed names no broker, no models and no folders: only the machine is left.
fn without_configuration(error: &ConfigError) -> Result<(String, Vec<Finding>), Failure> {
    let mut findings = doctor::configuration(&[], Some(error));
    findings.extend(doctor::clock(clock(&Roots::this(), SystemTime::now())));
    let defaults = Config::defaults(&profile());
    findings.extend(look::computing(&defaults)?);
    Ok((defaults.node.name.to_string(), findings))
}
