//! Answers as people read them. Fields that are missing or unknown are left out: daemon and command may be of different
//! versions.

use promptd::plan::Bytes;
use serde_json::Value;

/// What stands for a value that is not there.
const NOTHING: &str = "-";

/// `status`: state, since when, and why it is not better.
pub fn status(document: &Value) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    for name in ["state", "since"] {
        if let Some(text) = document[name].as_str() {
            rows.push([name.to_owned(), clean(text)]);
        }
    }
    if let Some(connected) = document["connected"].as_bool() {
        let text = if connected { "connected" } else { "not connected" };
        rows.push(["broker".to_owned(), text.to_owned()]);
    }
    if let Some(text) = heat(&document["heat"]) {
        rows.push(["heat".to_owned(), text]);
    }
    let mut name = "reasons";
    for reason in array(&document["reasons"]).iter().filter_map(Value::as_str) {
        rows.push([std::mem::take(&mut name).to_owned(), clean(reason)]);
    }
    if rows.is_empty() { fields(document) } else { table("", &rows) }
}

/// How hot it is, what that means, and where the limits are.
fn heat(heat: &Value) -> Option<String> {
    let (zone, celsius) = (heat["zone"].as_str()?, heat["celsius"].as_f64()?);
    let (soft, hard) = (heat["soft_celsius"].as_f64()?, heat["hard_celsius"].as_f64()?);
    let duty = 100.0 * heat["duty"].as_f64()?;
    let zone = clean(zone);
    Some(format!("{zone} at {celsius:.1} °C, limits {soft:.0} and {hard:.0} °C; computes {duty:.0} % of the time"))
}

/// Documents of models, or of one: how each runs, then why not better.
pub fn models(output: &Value) -> String {
    let documents = match output {
        Value::Array(documents) => documents.as_slice(),
        document if document["name"].is_string() => std::slice::from_ref(document),
        other => return fields(other),
    };
    let heading = ["model", "state", "strategy", "sequences × context", "estimate", "real", "error"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(heading).chain(documents.iter().map(model_row)).collect();
    documents.iter().fold(table("", &rows), |text, document| text + &model_reasons(document))
}

/// The form of what a task gives, if it is more than a text.
fn form(output: &Value) -> Option<[String; 2]> {
    let text = |key: &str| output[key].as_str().map(clean);
    let choices: Vec<String> = array(&output["enum"]).iter().map(cell).collect();
    let properties: Vec<String> =
        output["properties"].as_object().into_iter().flatten().map(|(name, _)| clean(name)).collect();
    let list = [choices, properties].into_iter().find(|list| !list.is_empty()).map(|list| list.join(", "));
    let what = list.or_else(|| text("pattern")).or_else(|| text("description"));
    let is_more = what.is_some() || text("type").is_some_and(|kind| kind != "string");
    is_more.then(|| [cell(&output["type"]), what.unwrap_or_else(|| NOTHING.to_owned())])
}

/// Tasks: what each does, then the fields of those that are data, and what they give.
pub fn tasks(output: &Value) -> String {
    let mut rows = vec![["task", "field", "type", "what it is"].map(str::to_owned)];
    for task in array(output) {
        rows.push([cell(&task["name"]), String::new(), String::new(), cell(&task["description"])]);
        let schema = &task["input"];
        let required = array(&schema["required"]);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let optional = if required.iter().any(|required| required == name) { "" } else { "?" };
            rows.push([String::new(), clean(name) + optional, cell(&field["type"]), cell(&field["description"])]);
        }
        rows.extend(form(&task["output"]).map(|[kind, what]| [String::new(), "→".to_owned(), kind, what]));
    }
    table("", &rows)
}

/// What a node has found of itself, what is to be done below it.
pub fn findings(output: &Value) -> String {
    let mut rows = Vec::new();
    for finding in array(output) {
        rows.push([cell(&finding["level"]), cell(&finding["check"]), cell(&finding["what"])]);
        if let Some(remedy) = finding["remedy"].as_str() {
            rows.push([String::new(), String::new(), format!("→ {}", clean(remedy))]);
        }
    }
    table("", &rows)
}

/// Jobs that have not ended.
pub fn jobs(output: &Value) -> String {
    let jobs = array(&output["jobs"]);
    let heading = ["client", "id", "task", "model", "state", "priority", "waited", "time left"].map(str::to_owned);
    let rows = jobs.iter().map(|job| {
        let [client, id, task, model, state, priority] =
            ["client", "id", "task", "model", "state", "priority"].map(|name| cell(&job[name]));
        let [waited, left] = ["age_s", "remaining_s"].map(|name| seconds(job[name].as_f64()));
        [client, id, task, model, state, priority, waited, left]
    });
    let rows: Vec<[String; 8]> = std::iter::once(heading).chain(rows).collect();
    let total = output["total"].as_u64().unwrap_or_default();
    let rest = total.saturating_sub(jobs.len() as u64);
    let more = if rest > 0 { format!("and {rest} more\n") } else { String::new() };
    if jobs.is_empty() { "no job waits or runs\n".to_owned() } else { table("", &rows) + &more }
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| NOTHING.to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// What a reload has brought: a line for each kind of change, then the models. That of one model is its document.
pub fn reload(output: &Value) -> String {
    let Some(documents) = output.get("models") else { return models(output) };
    let kinds = [("changed", "changed"), ("added", "added"), ("removed", "removed"), ("restart", "needs a restart")];
    let rows: Vec<[String; 2]> = kinds
        .into_iter()
        .map(|(kind, name)| [name.to_owned(), array(&output[kind]).iter().map(cell).collect::<Vec<_>>().join(", ")])
        .filter(|[_, items]| !items.is_empty())
        .collect();
    let changes = if rows.is_empty() { "nothing is new in the configuration\n".to_owned() } else { table("", &rows) };
    format!("{changes}\n{}", models(documents))
}

fn model_row(model: &Value) -> [String; 7] {
    let memory = &model["memory"];
    let (estimate, real) = (memory["estimate"].as_u64(), memory["real"].as_u64());
    let state = match model["progress"].as_f64() {
        Some(share) => format!("{} {:.0} %", cell(&model["state"]), share * 100.0),
        None => cell(&model["state"]),
    };
    let shape = match (model["sequences"].as_u64(), model["context"].as_u64()) {
        (Some(sequences), Some(context)) => format!("{sequences} × {context}"),
        _ => NOTHING.to_owned(),
    };
    let error = match (estimate, real) {
        (Some(estimate), Some(real)) if real > 0 => {
            format!("{:+.1} %", (estimate as f64 / real as f64 - 1.0) * 100.0)
        }
        _ => NOTHING.to_owned(),
    };
    [cell(&model["name"]), state, cell(&model["strategy"]), shape, bytes(estimate), bytes(real), error]
}

/// Why a model is not ready, and why it does not run better.
fn model_reasons(model: &Value) -> String {
    let name = cell(&model["name"]);
    let reason = model["reason"].as_str().map(|reason| format!("\n{name}: {}\n", clean(reason))).unwrap_or_default();
    let rejected = array(&model["rejected"]);
    if rejected.is_empty() {
        return reason;
    }
    let heading = ["strategy", "need", "available", "reason"].map(str::to_owned);
    let rows = rejected.iter().map(|rejected| {
        let [need, headroom] = ["need", "headroom"].map(|name| bytes(rejected[name].as_u64()));
        [cell(&rejected["strategy"]), need, headroom, cell(&rejected["reason"])]
    });
    let rows: Vec<[String; 4]> = std::iter::once(heading).chain(rows).collect();
    format!("{reason}\n{name}: rejected\n{}", table("  ", &rows))
}

/// Any document: a line for each field; those of inner ones with their whole names, as in `limits.queue_jobs`.
pub fn fields(document: &Value) -> String {
    let mut rows = Vec::new();
    collect(String::new(), document, &mut rows);
    table("", &rows)
}

fn collect(name: String, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = clean(key);
                collect(if name.is_empty() { key } else { format!("{name}.{key}") }, value, rows);
            }
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() && item["name"].is_null()) => {
            for (index, item) in items.iter().enumerate() {
                collect(format!("{name}[{index}]"), item, rows);
            }
        }
        Value::Array(items) => {
            // Of things that have a name, the name is enough.
            let texts: Vec<String> =
                items.iter().map(|item| cell(if item.is_object() { &item["name"] } else { item })).collect();
            rows.push([name, texts.join(", ")]);
        }
        Value::Null => {}
        value => rows.push([name, cell(value)]),
    }
}

/// Columns as wide as their widest cell; the last is not filled up.
fn table<const N: usize>(indent: &str, rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{indent}{}", cells.join("  ")).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => clean(text),
        other => other.to_string(),
    }
}

fn bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| NOTHING.to_owned(), |bytes| Bytes(bytes).to_string())
}

/// Without control characters: names in a model's file may hold any, and a terminal would obey them.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_has_its_reasons_one_a_line() {
        let document = json!({"state": "degraded", "reasons": ["main: a GPU is expected", "big: no file"],
            "since": "2025-06-15T15:06:40Z", "boot": "b", "epoch": 1});
        assert_eq!(
            status(&document),
            "state    degraded\nsince    2025-06-15T15:06:40Z\nreasons  main: a GPU is expected\n         big: no file\n"
        );
        assert_eq!(status(&json!({"state": "ready", "reasons": []})), "state  ready\n");
        let heat = json!({"level": "soft", "duty": 0.55, "zone": "cpu-thermal", "celsius": 72.5, "soft_celsius": 65.0,
            "hard_celsius": 80.0});
        assert_eq!(
            status(&json!({"state": "throttled", "heat": heat})),
            "state  throttled\nheat   cpu-thermal at 72.5 °C, limits 65 and 80 °C; computes 55 % of the time\n"
        );
        let unknown = json!({"level": "normal", "duty": 1.0, "zone": null, "celsius": null});
        assert_eq!(status(&json!({"state": "ready", "heat": unknown})), "state  ready\n");
        assert_eq!(status(&json!({"later": 1})), "later  1\n");
        assert_eq!(status(&Value::Null), "");
    }

    #[test]
    fn models_are_a_table_and_then_why_not_better() {
        let documents = json!([
            {"name": "main", "state": "ready", "strategy": "cpu:int8", "context": 2048, "sequences": 4,
             "memory": {"estimate": 212_965_785, "real": 207_618_048, "error": 0.0258}, "later": {},
             "rejected": [
                {"strategy": "gpu:f16", "reason": "there is no GPU"},
                {"strategy": "cpu:f16", "need": 314_572_800, "headroom": 262_144_000, "reason": "too large"}]},
            {"name": "b", "state": "loading", "progress": 0.426},
            {"name": "gone", "state": "unavailable", "reason": "no file of\u{1b}[2J this name", "memory": null},
        ]);
        let expected = "\
model  state         strategy  sequences × context  estimate   real       error
main   ready         cpu:int8  4 × 2048             203.1 MiB  198.0 MiB  +2.6 %
b      loading 43 %  -         -                    -          -          -
gone   unavailable   -         -                    -          -          -

main: rejected
  strategy  need       available  reason
  gpu:f16   -          -          there is no GPU
  cpu:f16   300.0 MiB  250.0 MiB  too large

gone: no file of\u{fffd}[2J this name
";
        assert_eq!(models(&documents), expected);
        let one = models(&documents[1]);
        assert!(one.contains("loading 43 %") && one.lines().count() == 2, "{one}");
        assert_eq!(models(&json!([])).lines().count(), 1);
        assert_eq!(models(&json!({"forgotten": 2})), "forgotten  2\n");
    }

    #[test]
    fn a_reload_tells_what_is_new_and_then_the_models() {
        let output = json!({"changed": ["limits.result", "mqtt.url"], "added": ["big"], "removed": [],
            "restart": ["node.name"], "models": [{"name": "big", "state": "ready"}]});
        let shown = reload(&output);
        let expected = "\
changed          limits.result, mqtt.url
added            big
needs a restart  node.name

model  state  strategy";
        assert!(shown.starts_with(expected) && shown.contains("\nbig    ready"), "{shown}");
        let nothing = json!({"changed": [], "added": [], "removed": [], "restart": [], "models": []});
        assert!(reload(&nothing).starts_with("nothing is new in the configuration\n\nmodel  state"));
        // Of one model only.
        assert!(reload(&json!({"name": "big", "state": "ready"})).contains("\nbig    ready"));
    }

    #[test]
    fn odd_documents_are_shown_as_far_as_they_can_be() {
        let odd = json!([{"name": 7, "state": [], "context": "x", "sequences": -1, "rejected": {"a": 1},
            "memory": {"estimate": 1, "real": 0}}, null, "text"]);
        let shown = models(&odd);
        assert!(shown.contains("1 B") && shown.lines().count() == 4, "{shown}");
    }

    #[test]
    fn any_document_is_a_line_for_each_field() {
        let info = json!({"node": "gw1", "tasks": [{"name": "chat"}, {"name": "generate"}], "models": ["a", "b"],
            "limits": {"request_bytes": 262_144, "inner": {"x": true}}, "labels": {}, "none": null,
            "odd": [{"a": 1}, 2]});
        let expected = "\
limits.inner.x        true
limits.request_bytes  262144
models                a, b
node                  gw1
odd[0].a              1
odd[1]                2
tasks                 chat, generate
";
        // Without the feature that keeps their order, fields come by name.
        let mut lines: Vec<String> = fields(&info).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, expected.lines().collect::<Vec<_>>());
    }
}
