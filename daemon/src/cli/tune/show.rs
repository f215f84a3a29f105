//! What was found, for people and for programs.

use std::fmt::Write;

use promptd::plan::Tuning;
use serde_json::{Value, json};

use super::Found;
use super::search::{Trial, Tried, word};

/// A table, and how each file runs best.
pub fn text(machine: &str, found: &[Found]) -> String {
    let mut out = format!("{machine}\n");
    let _ = writeln!(
        out,
        "{:<44} {:>9} {:>9} {:>9} {:>10} {:>9} {:>8}",
        "file", "prompt/s", "answer/s", "together", "memory", "same", "KL"
    );
    for Found { file, best, quality, .. } in found {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let report = &best.report;
        let (same, divergence) = quality.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |quality| (format!("{:.1} %", quality.top1_agreement * 100.0), format!("{:.4}", quality.kl_divergence)),
        );
        let _ = writeln!(
            out,
            "{name:<44} {:>9.1} {:>9.1} {:>9.1} {:>10} {same:>9} {divergence:>8}",
            report.prefill,
            report.decode,
            report.together,
            report.memory.host().to_string(),
        );
    }
    for Found { file, before, best, tried, .. } in found {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let gain = before.seconds() / best.seconds();
        let _ = writeln!(out, "\n{name}: {}", settings(best.threads, best.tuning));
        if !tried.is_empty() {
            let _ = writeln!(out, "  {gain:.2} times as fast as with {}", settings(before.threads, before.tuning));
        }
        for Tried { threads, tuning, outcome } in tried {
            let settings = settings(*threads, *tuning);
            let _ = match outcome {
                Ok(trial) => writeln!(out, "  {:>5.2} of that speed: {settings}", best.seconds() / trial.seconds()),
                Err(reason) => writeln!(out, "  failed: {settings}: {reason}"),
            };
        }
    }
    out
}

fn settings(threads: u32, tuning: Tuning) -> String {
    let Tuning { flash_attention, batch, repack, map } = tuning;
    let [flash_attention, repack, map] = [flash_attention, repack, map].map(word);
    format!("{threads} threads, steps of {batch}, flash attention {flash_attention}, repacked {repack}, mapped {map}")
}

/// Everything.
pub fn json(machine: &str, found: &[Found]) -> String {
    let file = |found: &Found| {
        json!({
            "file": found.file.path, "sha256": found.file.sha256, "precision": found.file.facts.file_type,
            "quality": found.quality, "before": trial(&found.before), "best": trial(&found.best),
            "tried": found.tried.iter().map(tried).collect::<Vec<_>>(),
        })
    };
    let all = json!({ "machine": machine, "files": found.iter().map(file).collect::<Vec<_>>() });
    format!("{all:#}\n")
}

fn tried(tried: &Tried) -> Value {
    match &tried.outcome {
        Ok(outcome) => trial(outcome),
        Err(reason) => json!({ "threads": tried.threads, "tuning": tried.tuning, "error": reason }),
    }
}

fn trial(trial: &Trial) -> Value {
    let report = &trial.report;
    json!({
        "threads": trial.threads, "tuning": trial.tuning, "load_seconds": report.load.as_secs_f64(),
        "prompt_tokens_per_second": report.prefill, "answer_tokens_per_second": report.decode,
        "together_tokens_per_second": report.together, "memory_bytes": report.memory.host().0,
    })
}
