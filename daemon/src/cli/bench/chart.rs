//! Plots as SVG, drawn without help from elsewhere.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
/// Room for the numbers on the left, and for the categories below.
const LEFT: f64 = 56.0;
const BOTTOM: f64 = 34.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;

/// Grid lines above the axis.
const LINES: u32 = 4;

/// Colours that those who see few of them can tell apart (Okabe and Ito, 2008).
pub const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b8a800"];

/// One line of a plot; a value for each category, if there is one.
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// In the order of the categories.
    pub values: Vec<Option<f64>>,
}

/// Lines over categories, from zero on.
pub fn lines(categories: &[String], series: &[Series], unit: &str) -> String {
    let top = nice(series.iter().flat_map(|s| &s.values).flatten().fold(0.0, |a: f64, b| a.max(*b)));
    let step = (WIDTH - LEFT - RIGHT) / categories.len().max(1) as f64;
    let x = |index: usize| LEFT + step * (index as f64 + 0.5);
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    let mut out = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    for line in 0..=LINES {
        let value = top * f64::from(line) / f64::from(LINES);
        let at = y(value);
        let right = WIDTH - RIGHT;
        let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>");
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    for (index, category) in categories.iter().enumerate() {
        let (at, bottom, category) = (x(index), HEIGHT - BOTTOM + 18.0, escape(category));
        let _ = write!(out, "<text x=\"{at:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{category}</text>");
    }
    for (number, Series { name, values }) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<(f64, f64, f64)> =
            values.iter().enumerate().filter_map(|(index, value)| Some((x(index), y((*value)?), (*value)?))).collect();
        let path: Vec<String> = points.iter().map(|(x, y, _)| format!("{x:.1} {y:.1}")).collect();
        let _ = write!(out, "<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" d=\"M{}\"/>", path.join("L"));
        for (x, y, value) in points {
            let (name, value) = (escape(name), short(value));
            let _ = write!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"><title>{name}: {value} {unit}</title></circle>"
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// A legend of the same names and colours.
pub fn legend(series: &[Series]) -> String {
    let mut out = String::from("<ul class=\"legend\">");
    for (number, Series { name, .. }) in series.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let _ = write!(out, "<li><i style=\"background:{colour}\"></i>{}</li>", escape(name));
    }
    out.push_str("</ul>");
    out
}

/// Text that is no markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number with as many digits as are worth reading.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// The end of an axis that holds a value: one, two or five times a power of ten, times what makes it close.
fn nice(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let step = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0].into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_just_above_what_it_shows() {
        for (value, end) in [(0.0, 1.0), (0.7, 0.8), (1.0, 1.0), (97.3, 100.0), (101.0, 150.0), (f64::NAN, 1.0)] {
            assert!((nice(value) - end).abs() < 1e-9, "{value}: {}", nice(value));
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let series = [Series { name: "a<b".to_owned(), values: vec![Some(1.0), None, Some(3.0)] }];
        let categories = ["1", "2", "3"].map(str::to_owned);
        let plot = lines(&categories, &series, "tok/s");
        assert_eq!(plot.matches("<circle").count(), 2);
        assert!(plot.contains("a&lt;b: 3.00 tok/s") && !plot.contains("NaN"), "{plot}");
        assert_eq!(lines(&[], &[], "").matches("NaN").count(), 0);
    }
}
