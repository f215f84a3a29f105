//! Runs on a page that needs nothing but itself.

use std::collections::BTreeSet;
use std::fmt::Write;

use promptd::plan::Bytes;

use super::chart::{Series, escape, legend, lines, short};
use super::figures::{Measured, MqttReport, Percentiles, Run, StreamsReport};

const STYLE: &str = include_str!("page.css");

/// The page. Runs are shown in this order.
pub fn page(runs: &[Run]) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>promptd bench</title><style>{STYLE}</style>\
         <h1>promptd bench</h1>"
    );
    out.push_str(&machines(runs));
    let entries = entries(runs);
    if !entries.is_empty() {
        out.push_str(&streams(&entries));
        out.push_str(&prompts(&entries));
        out.push_str(&facts(&entries));
    }
    out.push_str(&others(runs));
    out.push_str("</html>\n");
    out
}

/// Who was measured in which run, under a name that no other has.
struct Entry<'a> {
    name: String,
    measured: &'a Measured,
}

fn entries(runs: &[Run]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        for measured in &run.report.measured {
            let file = measured.name.rsplit('/').find(|part| !part.is_empty()).unwrap_or(&measured.name);
            let name = if runs.len() > 1 { format!("{file} ({})", number + 1) } else { file.to_owned() };
            entries.push(Entry { name, measured });
        }
    }
    entries
}

fn machines(runs: &[Run]) -> String {
    let rows = runs.iter().enumerate().map(|(number, run)| {
        let host = &run.machine;
        let machine = [&host.board, &host.cpu].into_iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        let memory = host.memory_bytes.map_or_else(String::new, |bytes| Bytes(bytes).to_string());
        vec![(number + 1).to_string(), run.at.clone(), run.version.clone(), machine, host.cores.to_string(), memory]
    });
    table(&["run", "at", "version", "machine", "cores", "memory"], rows)
}

/// What a plot shows.
type Figure = fn(&StreamsReport) -> f64;

fn streams(entries: &[Entry<'_>]) -> String {
    let figures: [(&str, &str, Figure); 4] = [
        ("Tokens a second, all streams together", "tok/s", |r| r.total_tokens_per_second),
        ("Tokens a second of one answer, after its first token", "tok/s", |r| r.decode_tokens_per_second),
        ("Time to the first token, median", "ms", |r| r.time_to_first_token_ms.p50),
        ("Time to the last token, 95th percentile", "ms", |r| r.latency_ms.p95),
    ];
    let counts: BTreeSet<u32> = entries.iter().flat_map(|e| &e.measured.streams).map(|r| r.streams).collect();
    if counts.is_empty() {
        return String::new();
    }
    let categories: Vec<String> = counts.iter().map(u32::to_string).collect();
    let mut out = String::from("<h2>Answers at once</h2><div class=\"plots\">");
    for (title, unit, figure) in figures {
        let series = |entry: &Entry<'_>| {
            let value = |streams| entry.measured.streams.iter().find(|r| r.streams == streams).map(figure);
            Series { name: entry.name.clone(), values: counts.iter().map(|&count| value(count)).collect() }
        };
        out.push_str(&plot(title, unit, "streams", &categories, &entries.iter().map(series).collect::<Vec<_>>()));
    }
    out.push_str("</div>");
    let rows =
        entries.iter().flat_map(|entry| entry.measured.streams.iter().map(move |r| (entry, r))).map(|(entry, r)| {
            let mut row = vec![entry.name.clone(), r.streams.to_string(), r.prompt_tokens.to_string()];
            row.extend([r.decode_tokens_per_second, r.total_tokens_per_second].map(short));
            row.extend(percentiles(r.time_to_first_token_ms));
            row.extend(percentiles(r.latency_ms));
            row
        });
    let heads = [
        "",
        "streams",
        "prompt tokens",
        "decode tok/s",
        "total tok/s",
        "first token p50 ms",
        "p95",
        "p99",
        "last token p50 ms",
        "p95",
        "p99",
    ];
    out + &table(&heads, rows)
}

fn prompts(entries: &[Entry<'_>]) -> String {
    let lengths: BTreeSet<u32> = entries.iter().flat_map(|e| &e.measured.prompts).map(|r| r.words).collect();
    if lengths.is_empty() {
        return String::new();
    }
    let categories: Vec<String> = lengths.iter().map(u32::to_string).collect();
    let series = |entry: &Entry<'_>| {
        let value = |words| {
            let report = entry.measured.prompts.iter().find(|r| r.words == words)?;
            Some(report.time_to_first_token_ms.p50)
        };
        Series { name: entry.name.clone(), values: lengths.iter().map(|&words| value(words)).collect() }
    };
    let series: Vec<Series> = entries.iter().map(series).collect();
    let plot = plot("Time to the first token, median", "ms", "words of the prompt", &categories, &series);
    let rows =
        entries.iter().flat_map(|entry| entry.measured.prompts.iter().map(move |r| (entry, r))).map(|(entry, r)| {
            let mut row = vec![entry.name.clone(), r.words.to_string(), r.prompt_tokens.to_string()];
            row.extend(percentiles(r.time_to_first_token_ms));
            row
        });
    let heads = ["", "words", "tokens", "first token p50 ms", "p95", "p99"];
    format!("<h2>Prompts, one at a time</h2><div class=\"plots\">{plot}</div>{}", table(&heads, rows))
}

fn facts(entries: &[Entry<'_>]) -> String {
    let rows = entries.iter().map(|Entry { name, measured }| {
        let facts: Vec<String> = measured.facts().into_iter().map(|(what, value)| format!("{what}: {value}")).collect();
        let features = measured.cpu_features.clone().unwrap_or_default();
        vec![name.clone(), measured.title(), facts.join("; "), features]
    });
    let table = table(&["", "model", "figures", "CPU features"], rows);
    format!("<h2>Who was measured</h2><div class=\"text\">{table}</div>")
}

/// What has no plot.
fn others(runs: &[Run]) -> String {
    let mut out = String::new();
    for (number, run) in runs.iter().enumerate() {
        let report = &run.report;
        if let Some(MqttReport { requests, round_trip_ms, node_total_ms, added_ms }) = &report.mqtt {
            let rows = [("round trip", round_trip_ms), ("the node's own time", node_total_ms), ("added", added_ms)];
            let rows = rows.map(|(what, figures)| [vec![what.to_owned()], percentiles(*figures)].concat());
            let _ = write!(out, "<h2>Over MQTT, {requests} requests of one token (run {})</h2>", number + 1);
            out.push_str(&table(&["ms", "p50", "p95", "p99"], rows));
        }
        if let Some(tasks) = &report.node_tasks {
            let rows = tasks.tasks.iter().map(|task| {
                let inputs = task.inputs_per_second.map_or_else(String::new, short);
                let mut row = vec![task.task.clone(), task.texts.to_string()];
                row.extend(percentiles(task.latency_ms));
                row.extend([task.one_by_one_per_second, task.together_per_second].map(short));
                row.extend([inputs, short(task.speed_up)]);
                row
            });
            let _ = write!(out, "<h2>Tasks of a node, texts a second (run {})</h2>", number + 1);
            let heads = [
                "task",
                "texts",
                "latency p50 ms",
                "p95",
                "p99",
                "one by one",
                "32 at once",
                "64 in a request",
                "speed-up",
            ];
            out.push_str(&table(&heads, rows));
        }
        for busy in &report.busy {
            let rows = busy
                .results
                .iter()
                .map(|r| vec![r.threads.clone(), short(r.alone_tokens_per_second), short(r.beside_tokens_per_second)]);
            let _ = write!(out, "<h2>Beside {} busy programs, tokens a second (run {})</h2>", busy.busy, number + 1);
            out.push_str(&table(&["threads", "alone", "beside them"], rows));
        }
        for prefix in &report.prefix {
            let rows = [
                ("first token, the first time (ms)", prefix.cold_ms),
                ("again (ms)", prefix.warm_ms),
                ("after a restart (ms)", prefix.restarted_ms),
                ("all answers at once, the first time (s)", prefix.clients_cold_seconds),
                ("again (s)", prefix.clients_warm_seconds),
            ];
            let title =
                format!("Prompts of {} tokens that begin alike, {} clients", prefix.prompt_tokens, prefix.clients);
            let _ = write!(out, "<h2>{title} (run {})</h2>", number + 1);
            out.push_str(&table(
                &["what", "value"],
                rows.into_iter().map(|(what, value)| vec![what.to_owned(), short(value)]),
            ));
        }
        for tasks in &report.tasks {
            let rows = tasks.results.iter().map(|r| {
                let mut row = vec![r.words.to_string(), r.tokens.to_string()];
                row.extend(
                    [r.one_by_one_per_second, r.together_per_second, r.inputs_per_second, r.speed_up].map(short),
                );
                row
            });
            let title = escape(&format!("{} with {}", tasks.task, tasks.model));
            let _ = write!(out, "<h2>{title}, texts a second (run {})</h2>", number + 1);
            let heads = ["words", "tokens", "one by one", "many clients", "many in a request", "speed-up"];
            out.push_str(&table(&heads, rows));
        }
    }
    out
}

fn plot(title: &str, unit: &str, axis: &str, categories: &[String], series: &[Series]) -> String {
    let (lines, legend) = (lines(categories, series, unit), legend(series));
    format!("<figure><figcaption>{title} ({unit}), by {axis}</figcaption>{lines}{legend}</figure>")
}

fn percentiles(Percentiles { p50, p95, p99 }: Percentiles) -> Vec<String> {
    [p50, p95, p99].map(short).to_vec()
}

fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        let mut row = String::from("<tr>");
        for cell in cells {
            let _ = write!(row, "<{tag}>{cell}</{tag}>");
        }
        row + "</tr>"
    };
    let head = cells("th", &mut heads.iter().map(|head| escape(head)));
    let body: String = rows.into_iter().map(|row| cells("td", &mut row.iter().map(|cell| escape(cell)))).collect();
    format!("<div class=\"wide\"><table>{head}{body}</table></div>")
}

#[cfg(test)]
mod tests {
    use super::super::figures::{PromptReport, Report};
    use super::*;

    fn run(name: &str) -> Run {
        let time = Percentiles { p50: 20.0, p95: 30.0, p99: 31.0 };
        let streams = [1, 8].map(|streams| StreamsReport {
            streams,
            prompt_tokens: 78,
            decode_tokens_per_second: 90.0 / f64::from(streams),
            total_tokens_per_second: 90.0 + f64::from(streams),
            time_to_first_token_ms: time,
            latency_ms: time,
        });
        let prompts = vec![PromptReport { words: 500, prompt_tokens: 531, time_to_first_token_ms: time }];
        let measured = Measured { streams: streams.to_vec(), prompts, ..Measured::named(name) };
        Run::here(Report { measured: vec![measured], ..Report::default() })
    }

    #[test]
    fn a_page_holds_all_and_asks_nobody() {
        let runs = [run("/models/a<1>.gguf"), run("http://127.0.0.1:8080/")];
        let page = page(&runs);
        assert!(page.contains("a&lt;1&gt;.gguf (1)") && page.contains("127.0.0.1:8080 (2)"), "{page}");
        assert_eq!(page.matches("<svg").count(), 5);
        for outside in ["src=", "href=", "url(", "<script", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_run_is_read_as_it_was_printed() {
        let text = serde_json::to_string(&run("m.gguf")).unwrap();
        let again: Run = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
