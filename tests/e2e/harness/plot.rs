//! Curves over time as SVG and CSV: what happened under pressure, to look at.

use std::fmt::Write;
use std::path::{Path, PathBuf};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 160.0;
const LEFT: f64 = 70.0;

/// One quantity over time.
pub struct Panel {
    /// What it is, with its unit.
    pub title: &'static str,
    /// Seconds and values.
    pub points: Vec<(f64, f64)>,
    /// Names of values; without them numbers are shown.
    pub names: Vec<String>,
}

/// Writes `<name>.svg` and `<name>.csv` beside the test binaries' other output; gives the path of the former. All panels
/// have the same times; `marks` are moments with a name.
pub fn write(name: &str, panels: &[Panel], marks: &[(f64, String)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(folder.join(format!("{name}.csv")), csv(panels)).unwrap();
    let path = folder.join(format!("{name}.svg"));
    std::fs::write(&path, svg(panels, marks)).unwrap();
    path
}

fn csv(panels: &[Panel]) -> String {
    let titles: Vec<&str> = panels.iter().map(|panel| panel.title).collect();
    let mut text = format!("seconds,{}\n", titles.join(","));
    for (row, (at, _)) in panels[0].points.iter().enumerate() {
        let values: Vec<String> = panels.iter().map(|panel| panel.points[row].1.to_string()).collect();
        let _ = writeln!(text, "{at:.2},{}", values.join(","));
    }
    text
}

fn svg(panels: &[Panel], marks: &[(f64, String)]) -> String {
    let end = panels[0].points.last().map_or(1.0, |(at, _)| *at).max(1.0);
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - 10.0);
    let height = (HEIGHT + 30.0) * panels.len() as f64 + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let top = 30.0 + (HEIGHT + 30.0) * number as f64;
        let most = panel.points.iter().map(|(_, value)| *value).fold(1.0, f64::max);
        let y = |value: f64| top + HEIGHT - value / most * HEIGHT;
        let points: Vec<String> =
            panel.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let _ = writeln!(
            svg,
            "<text x=\"{LEFT}\" y=\"{:.1}\" font-weight=\"bold\">{}</text>\n<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" \
             height=\"{HEIGHT}\" fill=\"none\" stroke=\"silver\"/>\n<polyline points=\"{}\" fill=\"none\" \
             stroke=\"steelblue\" stroke-width=\"1.5\"/>",
            top - 4.0,
            panel.title,
            WIDTH - LEFT - 10.0,
            points.join(" ")
        );
        let numbers = [0.0, most / 2.0, most].map(|value| (value, format!("{value:.0}")));
        let names = panel.names.iter().enumerate().map(|(value, name)| (value as f64, name.clone()));
        let labels: Vec<_> = if panel.names.is_empty() { numbers.to_vec() } else { names.collect() };
        for (value, label) in labels {
            let _ =
                writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 4.0, y(value));
        }
    }
    for (number, (at, name)) in marks.iter().enumerate() {
        let (x, bottom) = (x(*at), height - 30.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"30\" y2=\"{bottom}\" stroke=\"firebrick\" stroke-dasharray=\"4\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" fill=\"firebrick\">{name}</text>",
            bottom + 12.0 * (number % 2 + 1) as f64
        );
    }
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">0 s to {end:.1} s</text>\n</svg>", height - 2.0);
    svg
}
