//! `[telemetry]`: what is told about the machine, how often, and to whom.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::plan::Percent;

use super::section::Section;
use super::tree::Value;
use super::unit::{Span, percent};
use super::value;

/// The default, or `interval` if that is shorter.
const STREAM_INTERVAL: Duration = Duration::from_secs(10);

/// What is told about the machine besides its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// How often the numbers are published.
    pub interval: Duration,
    /// The same while jobs run; at most `interval`.
    pub stream_interval: Duration,
    /// Shortest time between two documents about the machine's health.
    pub health_min_interval: Duration,
    /// Longest time between them; at least `health_min_interval`.
    pub health_max_interval: Duration,
    /// Which changes are worth a new one.
    pub deadbands: Deadbands,
    /// The loopback address on which metrics and the status page are served. None serves nothing.
    pub http: Option<SocketAddr>,
    /// The file that `node_exporter`'s textfile collector reads; its name ends in `.prom`. None writes none.
    pub textfile: Option<PathBuf>,
    /// Whether Home Assistant is told how to show this node.
    pub home_assistant: bool,
    /// Whether thin-edge.io is told how this service is.
    pub thin_edge: bool,
}

/// Changes that are too small to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadbands {
    /// Of a temperature, degrees Celsius.
    pub celsius: u16,
    /// Of memory or disk, of the whole of it.
    pub share: Percent,
    /// Of the board's power, watts.
    pub watts: u16,
}

impl Telemetry {
    pub(super) fn read(section: &mut Section<'_, '_, '_>) -> Self {
        let folder = section.folder_of("textfile");
        let often = Span::seconds(1)..=Span::hours(1);
        let interval = section.span("interval", Span::minutes(1), often.clone());
        let stream_interval = section.optional("stream_interval", |value| value::span(value, &often));
        let telemetry = Self {
            interval,
            stream_interval: stream_interval.map_or(interval.min(STREAM_INTERVAL), |span| span.0),
            health_min_interval: section.span(
                "health_min_interval",
                Span::seconds(10),
                Span::seconds(1)..=Span::hours(1),
            ),
            health_max_interval: section.span(
                "health_max_interval",
                Span::minutes(5),
                Span::seconds(1)..=Span::days(1),
            ),
            deadbands: section.table("deadbands", Deadbands::read),
            http: section.optional("http", loopback),
            textfile: section.optional("textfile", |value| prom(value::path(value, folder)?)),
            home_assistant: section.flag("home_assistant", false),
            thin_edge: section.flag("thin_edge", false),
        };
        section.report.at_most(
            ("telemetry.stream_interval", Span(telemetry.stream_interval)),
            ("telemetry.interval", Span(telemetry.interval)),
        );
        section.report.at_most(
            ("telemetry.health_min_interval", Span(telemetry.health_min_interval)),
            ("telemetry.health_max_interval", Span(telemetry.health_max_interval)),
        );
        telemetry
    }
}

impl Deadbands {
    fn read(section: &mut Section<'_, '_, '_>) -> Self {
        Self {
            celsius: section.number("celsius", 2, 1..=50),
            share: section.percent("share", percent(2), percent(1)..=percent(50)),
            watts: section.number("watts", 2, 1..=1000),
        }
    }
}

/// Whoever reaches the port is answered: without a login, that must be nobody from another machine.
fn loopback(value: &Value) -> Result<SocketAddr, String> {
    const FORMS: &str = "write a loopback address with its port, such as \"127.0.0.1:9471\" or \"[::1]:9471\"";
    let address: SocketAddr = value::text(value)?.parse().map_err(|_| FORMS)?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{FORMS}: there is no login, so that a proxy must stand in front of it for other machines"
        ));
    }
    if address.port() == 0 {
        return Err("the port 0 is no port that anybody could find; allowed are 1 to 65535".to_owned());
    }
    Ok(address)
}

/// The collector reads no others.
fn prom(path: PathBuf) -> Result<PathBuf, String> {
    match path.extension() {
        Some(extension) if extension == "prom" => Ok(path),
        _ => Err("must end in \".prom\": the collector reads no other files".to_owned()),
    }
}
