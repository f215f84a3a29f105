//! Figures as tables on a terminal.

use std::io::Write;

use super::figures::{
    BusyReport, Measured, NodeTasksReport, Percentiles, PrefixReport, PromptReport, Report, Run, StreamsReport,
    TaskReport, TasksReport, TextsReport, ThreadsReport,
};

impl Run {
    /// Prints tables, or JSON.
    pub fn print(&self, as_json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if as_json { writeln!(out, "{}", serde_json::to_string_pretty(self)?) } else { self.report.print(&mut out) }
    }
}

impl Report {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for measured in &self.measured {
            measured.print(out)?;
        }
        for tasks in &self.tasks {
            tasks.print(out)?;
        }
        for busy in &self.busy {
            busy.print(out)?;
        }
        for prefix in &self.prefix {
            prefix.print(out)?;
        }
        if let Some(tasks) = &self.node_tasks {
            tasks.print(out)?;
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

impl Measured {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.title())?;
        for (what, value) in self.facts() {
            writeln!(out, "  {what}: {value}")?;
        }
        writeln!(out, "streams  decode tok/s  total tok/s  first token p50   p95   p99  latency p50   p95   p99 (ms)")?;
        for result in &self.streams {
            let StreamsReport { streams, decode_tokens_per_second: decode, total_tokens_per_second: total, .. } =
                result;
            let (first, latency) = (result.time_to_first_token_ms, result.latency_ms);
            writeln!(
                out,
                "{streams:>7}  {decode:>12.1}  {total:>11.1}  {:>15.0} {:>5.0} {:>5.0}  {:>11.0} {:>5.0} {:>5.0}",
                first.p50, first.p95, first.p99, latency.p50, latency.p95, latency.p99,
            )?;
        }
        if !self.prompts.is_empty() {
            writeln!(out, "prompt tokens  first token p50   p95 (ms)")?;
        }
        for PromptReport { prompt_tokens, time_to_first_token_ms: first, .. } in &self.prompts {
            writeln!(out, "{prompt_tokens:>13}  {:>15.0} {:>5.0}", first.p50, first.p95)?;
        }
        Ok(())
    }

    /// What it is.
    pub fn title(&self) -> String {
        let model = self.model.as_ref().map(|model| format!(": {model}")).unwrap_or_default();
        let threads = self.threads.map(|threads| format!(" on {threads} threads")).unwrap_or_default();
        format!("{}{model}{threads}", self.name)
    }

    /// What is told of it in one number each, with units.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let load = self
            .load_seconds
            .map(|seconds| ("from the start of the process until it serves", format!("{seconds:.2} s")));
        let memory =
            self.peak_memory_bytes.map(|bytes| ("memory at its peak", promptd::plan::Bytes(bytes).to_string()));
        let heat = self.hottest_celsius.map(|celsius| ("hottest zone", format!("{celsius:.0} °C")));
        let energy =
            self.joules_per_token.map(|joules| ("energy of the board for each token", format!("{joules:.2} J")));
        [load, memory, heat, energy].into_iter().flatten().collect()
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

impl PrefixReport {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "prompts of {} tokens that begin alike, first token (ms)", self.prompt_tokens)?;
        for (when, ms) in
            [("the first time", self.cold_ms), ("again", self.warm_ms), ("after a restart", self.restarted_ms)]
        {
            writeln!(out, "  {when:<16} {ms:>8.0}  {:>6.3} of the first", ms / self.cold_ms)?;
        }
        let Self { clients, clients_cold_seconds: cold, clients_warm_seconds: warm, .. } = self;
        writeln!(out, "{clients} clients at once, 16 tokens each: {cold:.2} s, again {warm:.2} s")
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
            let TaskReport { texts, latency_ms: Percentiles { p50, p95, .. }, one_by_one_per_second: one, .. } = task;
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
