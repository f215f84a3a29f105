//! A node's `health`, for the page of that node.

use serde_json::Value;

use super::numbers::Numbers;
use super::text::{plain, size, word};

/// Most lines that are kept: a document has a few dozen sensors.
const LINES_MAX: usize = 64;

/// What the sensors say.
#[derive(Debug, Default, PartialEq)]
pub struct Health {
    /// What the table of nodes shows of it.
    pub numbers: Numbers,
    /// A line for each sensor: its name, and what it says.
    pub lines: Vec<[String; 2]>,
}

impl Health {
    /// Reads a document. What is odd in it is left out.
    pub fn of(document: &Value) -> Self {
        let mut lines = Vec::new();
        for limit in list(&document["memory"]["limits"]) {
            lines.extend(line("memory", &limit["name"], rooms(limit, "available_bytes")));
        }
        lines.extend(rooms(&document["memory"]["swap"], "free_bytes").map(|text| own("swap", text)));
        lines.extend(document["memory"]["pressure"].as_f64().map(|share| own("memory pressure", percent(share))));
        for zone in list(&document["temperatures"]) {
            lines.extend(line("heat", &zone["zone"], zone["celsius"].as_f64().map(|celsius| heat(celsius, zone))));
        }
        lines.extend(throttling(&document["throttling"]));
        lines.extend(watts(&document["power"]).map(|text| own("power", text)));
        for rail in list(&document["power"]["rails"]) {
            lines.extend(line("power", &rail["rail"], watts(rail)));
        }
        for fan in list(&document["fans"]) {
            lines.extend(line("fan", &fan["fan"], fan_speed(fan)));
        }
        lines.extend(processor(&document["cpu"]).map(|text| own("cpu", text)));
        lines.extend(processor(&document["gpu"]).map(|text| own("gpu", text)));
        lines.extend(rooms(&document["gpu"]["memory"], "free_bytes").map(|text| own("gpu memory", text)));
        lines.extend(rooms(&document["disk"], "free_bytes").map(|text| own("disk", text)));
        for (name, level) in document["governors"].as_object().into_iter().flatten() {
            lines.extend(word(level).map(|level| own(&format!("governor {}", plain(name)), level)));
        }
        lines.truncate(LINES_MAX);
        Self { numbers: Numbers::of_health(document), lines }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn own(name: &str, text: String) -> [String; 2] {
    [name.to_owned(), text]
}

fn line(kind: &str, name: &Value, text: Option<String>) -> Option<[String; 2]> {
    Some([format!("{kind} {}", word(name)?), text?])
}

fn rooms(room: &Value, left: &str) -> Option<String> {
    let (left, total) = (room[left].as_u64()?, room["total_bytes"].as_u64()?);
    Some(format!("{} of {} left", size(left), size(total)))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn heat(celsius: f64, zone: &Value) -> String {
    let limit = |name: &str| zone[name].as_f64().map(|limit| format!(", {name} at {limit:.0} °C")).unwrap_or_default();
    format!("{celsius:.1} °C{}{}", limit("passive"), limit("critical"))
}

fn throttling(throttling: &Value) -> Option<[String; 2]> {
    let mut causes: Vec<String> = list(&throttling["cooling"]).filter_map(word).collect();
    for (name, cause) in [("under_voltage", "too little voltage"), ("capped", "capped clocks")] {
        causes.extend(throttling[name].as_bool().filter(|is_so| *is_so).map(|_| cause.to_owned()));
    }
    let text = match (throttling["throttled"].as_bool()?, causes.is_empty()) {
        (true, false) => format!("yes: {}", causes.join(", ")),
        (true, true) => "yes".to_owned(),
        (false, _) => "no".to_owned(),
    };
    Some(own("throttled", text))
}

fn watts(of: &Value) -> Option<String> {
    of["watts"].as_f64().map(|watts| format!("{watts:.1} W"))
}

fn fan_speed(fan: &Value) -> Option<String> {
    let rpm = fan["rpm"].as_u64().map(|rpm| format!("{rpm} rpm"));
    let power = fan["power"].as_f64().map(percent);
    let said: Vec<String> = [rpm, power].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn processor(processor: &Value) -> Option<String> {
    let clock = |name: &str| processor[name].as_f64().map(|hertz| format!("{:.2} GHz", hertz / 1e9));
    let load = processor["load"].as_f64().map(|load| format!("{} busy", percent(load)));
    let clock = match (clock("clock_hz"), clock("clock_max_hz")) {
        (Some(now), Some(max)) => Some(format!("{now} of {max}")),
        (now, _) => now,
    };
    let said: Vec<String> = [word(&processor["name"]), load, clock].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_sensor_has_a_line() {
        let document = json!({
            "memory": { "limits": [{ "name": "host", "total_bytes": 8_589_934_592_u64, "available_bytes": 1_073_741_824 }], "pressure": 0.02 },
            "temperatures": [{ "zone": "tj\u{1b}[1m", "celsius": 61.5, "passive": 95.0, "critical": 99.0 }, { "zone": "odd" }],
            "throttling": { "throttled": true, "cooling": ["cpufreq"], "under_voltage": true, "capped": false },
            "power": { "watts": 11.4, "rails": [{ "rail": "VDD_IN", "watts": 11.4 }] },
            "fans": [{ "fan": "pwm-fan", "rpm": 2400, "power": 0.4 }, { "fan": "mute" }],
            "cpu": { "load": 0.5, "clock_hz": 1_500_000_000, "clock_max_hz": 2_000_000_000 },
            "gpu": { "name": "Orin", "load": 0.9 },
            "disk": { "total_bytes": 64_000_000_000_u64, "free_bytes": 32_000_000_000_u64 },
            "governors": { "memory": "normal", "thermal": 7 },
        });
        let lines: Vec<String> =
            Health::of(&document).lines.iter().map(|[name, text]| format!("{name}: {text}")).collect();
        let expected = [
            "memory host: 1.0G of 8.0G left",
            "memory pressure: 2 %",
            "heat tj\u{fffd}[1m: 61.5 °C, passive at 95 °C, critical at 99 °C",
            "throttled: yes: cpufreq, too little voltage",
            "power: 11.4 W",
            "power VDD_IN: 11.4 W",
            "fan pwm-fan: 2400 rpm, 40 %",
            "cpu: 50 % busy, 1.50 GHz of 2.00 GHz",
            "gpu: Orin, 90 % busy",
            "disk: 30G of 60G left",
            "governor memory: normal",
        ];
        assert_eq!(lines, expected);
        assert_eq!(Health::of(&json!({ "uptime_s": 0 })).lines, Vec::<[String; 2]>::new());
    }
}
