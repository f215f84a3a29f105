//! The figures and how they are shown.

use std::io::Write;

use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The engine by itself.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub engine: Option<EngineReport>,
    /// The task of an encoder.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<TasksReport>,
    /// The engine beside busy programs.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub busy: Option<BusyReport>,
    /// A node over MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttReport>,
    /// The tasks of a node over MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_tasks: Option<NodeTasksReport>,
}

/// The engine by itself.
#[derive(Debug, Serialize)]
pub struct EngineReport {
    /// What llama.cpp calls the model.
    pub model: String,
    /// The file.
    pub file: String,
    /// Threads that computed.
    pub threads: u32,
    /// CPU features of the back end.
    pub cpu_features: String,
    /// Seconds from the start of the process to the passed golden prompt.
    pub load_seconds: f64,
    /// Largest resident memory of the engine process, bytes.
    pub peak_memory_bytes: Option<u64>,
    /// One for each number of streams.
    pub results: Vec<StreamsReport>,
}

/// Medians over the rounds at one number of streams.
#[derive(Debug, Serialize)]
pub struct StreamsReport {
    /// Answers at once.
    pub streams: u32,
    /// Tokens of each prompt, template included.
    pub prompt_tokens: u32,
    /// Tokens a second of one answer, after its first token.
    pub decode_tokens_per_second: f64,
    /// Tokens a second of all answers together, prompts included in the time.
    pub total_tokens_per_second: f64,
    /// From the request to the first token.
    pub time_to_first_token_ms: Percentiles,
}

/// The engine beside busy programs, one answer at a time.
#[derive(Debug, Serialize)]
pub struct BusyReport {
    /// The file.
    pub file: String,
    /// How many programs were busy.
    pub busy: u32,
    /// One for each number of threads, and the number that the engine finds.
    pub results: Vec<ThreadsReport>,
}

/// Medians over the rounds with one number of threads, prompts included.
#[derive(Debug, Serialize)]
pub struct ThreadsReport {
    /// How many.
    pub threads: String,
    /// While nothing else computed.
    pub alone_tokens_per_second: f64,
    /// Beside the busy programs.
    pub beside_tokens_per_second: f64,
}

/// The task of an encoder.
#[derive(Debug, Serialize)]
pub struct TasksReport {
    /// What llama.cpp calls the model.
    pub model: String,
    /// The file.
    pub file: String,
    /// Threads that computed.
    pub threads: u32,
    /// CPU features of the back end.
    pub cpu_features: String,
    /// The task that was measured.
    pub task: &'static str,
    /// Texts of a round.
    pub texts: u32,
    /// One for each length of texts.
    pub results: Vec<TextsReport>,
}

/// Medians over the rounds with texts of one length, in texts a second.
#[derive(Debug, Serialize)]
pub struct TextsReport {
    /// Words of a text.
    pub words: u32,
    /// Tokens of a text.
    pub tokens: u32,
    /// Each alone, when the one before it was answered.
    pub one_by_one_per_second: f64,
    /// Each a request, as many at once as the engine takes.
    pub together_per_second: f64,
    /// Many in a request.
    pub inputs_per_second: f64,
    /// By how much many in a request are faster than one by one.
    pub speed_up: f64,
}

/// What MQTT adds.
#[derive(Debug, Serialize)]
pub struct MqttReport {
    /// Requests that were measured.
    pub requests: usize,
    /// From the request's publication to its answer.
    pub round_trip_ms: Percentiles,
    /// The node's own account of the same requests.
    pub node_total_ms: Percentiles,
    /// The difference, request by request.
    pub added_ms: Percentiles,
}

/// The tasks of a node over MQTT.
#[derive(Debug, Default, Serialize)]
pub struct NodeTasksReport {
    /// Those that were measured.
    pub tasks: Vec<TaskReport>,
    /// Those that the node refused, and why.
    pub refused: Vec<(String, String)>,
}

/// One task of a node.
#[derive(Debug, Serialize)]
pub struct TaskReport {
    /// Which.
    pub task: String,
    /// Texts of a round.
    pub texts: usize,
    /// From a request's publication to its answer, one by one.
    pub latency_ms: Percentiles,
    /// Texts a second, each alone, when the one before it was answered.
    pub one_by_one_per_second: f64,
    /// Texts a second, each a request, 32 at once.
    pub together_per_second: f64,
    /// Texts a second, 64 in a request; none if the task takes one only.
    pub inputs_per_second: Option<f64>,
    /// By how much the faster of the two is faster than one by one.
    pub speed_up: f64,
}

/// Of a set of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 95th.
    pub p95: f64,
}

impl Percentiles {
    /// By nearest rank; of no samples, zero.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (samples.len() * percent).div_ceil(100).max(1) - 1;
            samples.get(rank).copied().unwrap_or(0.0)
        };
        Self { p50: at(50), p95: at(95) }
    }
}

impl Report {
    /// Prints a table, or JSON.
    pub fn print(&self, as_json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if as_json {
            return writeln!(out, "{}", serde_json::to_string_pretty(self)?);
        }
        if let Some(engine) = &self.engine {
            engine.print(&mut out)?;
        }
        if let Some(tasks) = &self.tasks {
            tasks.print(&mut out)?;
        }
        if let Some(busy) = &self.busy {
            busy.print(&mut out)?;
        }
        if let Some(tasks) = &self.node_tasks {
            tasks.print(&mut out)?;
        }
        if let Some(mqtt) = &self.mqtt {
            writeln!(out, "over MQTT, {} one-token requests (ms)      p50      p95", mqtt.requests)?;
            for (what, figures) in
                [("round trip", mqtt.round_trip_ms), ("node's own time", mqtt.node_total_ms), ("added", mqtt.added_ms)]
            {
                writeln!(out, "  {what:<38} {:>8.2} {:>8.2}", figures.p50, figures.p95)?;
            }
        }
        Ok(())
    }
}

impl EngineReport {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{} on {} threads, loaded in {:.2} s", self.model, self.threads, self.load_seconds)?;
        if let Some(bytes) = self.peak_memory_bytes {
            writeln!(out, "engine process: {} at its peak", promptd::plan::Bytes(bytes))?;
        }
        writeln!(out, "streams  decode tok/s  total tok/s  first token p50   p95 (ms)")?;
        for result in &self.results {
            writeln!(
                out,
                "{:>7}  {:>12.1}  {:>11.1}  {:>15.0}  {:>9.0}",
                result.streams,
                result.decode_tokens_per_second,
                result.total_tokens_per_second,
                result.time_to_first_token_ms.p50,
                result.time_to_first_token_ms.p95,
            )?;
        }
        Ok(())
    }
}

impl BusyReport {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "threads          alone tok/s  beside {} busy programs", self.busy)?;
        for ThreadsReport { threads, alone_tokens_per_second: alone, beside_tokens_per_second: beside } in &self.results
        {
            writeln!(out, "{threads:<16} {alone:>11.1}  {beside:>22.1}")?;
        }
        Ok(())
    }
}

impl TasksReport {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{} on {} threads, {} of {} texts, texts/s", self.model, self.threads, self.task, self.texts)?;
        writeln!(out, "words  tokens  one by one  many clients  many in a request  speed-up")?;
        for result in &self.results {
            let TextsReport { words, tokens, speed_up, .. } = result;
            let (one, together, inputs) =
                (result.one_by_one_per_second, result.together_per_second, result.inputs_per_second);
            writeln!(out, "{words:>5}  {tokens:>6}  {one:>10.1}  {together:>12.1}  {inputs:>17.1}  {speed_up:>7.1}x")?;
        }
        Ok(())
    }
}

impl NodeTasksReport {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "task                   texts  latency p50   p95 (ms)  one by one  32 at once  64 in a request  speed-up"
        )?;
        for task in &self.tasks {
            let TaskReport { texts, latency_ms: Percentiles { p50, p95 }, one_by_one_per_second: one, .. } = task;
            let (together, speed_up) = (task.together_per_second, task.speed_up);
            let inputs = task.inputs_per_second.map_or_else(|| "-".to_owned(), |inputs| format!("{inputs:.1}"));
            let name = &task.task;
            writeln!(
                out,
                "{name:<22} {texts:>5}  {p50:>11.1}  {p95:>9.1}  {one:>10.1}  {together:>10.1}  {inputs:>15}  {speed_up:>7.1}x"
            )?;
        }
        for (task, reason) in &self.refused {
            writeln!(out, "{task:<22} not measured: {reason}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(samples), Percentiles { p50: 50.0, p95: 95.0 });
        assert_eq!(Percentiles::of(vec![3.0]), Percentiles { p50: 3.0, p95: 3.0 });
        assert_eq!(Percentiles::of(Vec::new()), Percentiles { p50: 0.0, p95: 0.0 });
    }
}
