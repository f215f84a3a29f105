//! The report as people read it.

use std::path::Path;

use promptd::plan::{Bytes, GpuLayers, HostNeed};

use super::report::{
    Content, ContextEstimates, Estimates, FileReport, GpuReport, Header, Limits, Outcome, Report, ReserveReport,
    SEQUENCES, StrategyReport, Way,
};
use super::table::table;

/// What stands for a number that is not there.
const NOTHING: &str = "-";

/// Everything, in blocks with an empty line between them.
pub fn text(report: &Report) -> String {
    let files = report.files.iter().map(file);
    let rest =
        [ladder(report), parts(report), limits(report), report.estimates.as_ref().map(estimates).unwrap_or_default()];
    let blocks: Vec<String> = files.chain(rest).filter(|block| !block.is_empty()).collect();
    blocks.join("\n")
}

fn file(file: &FileReport) -> String {
    let path = shown(&file.path);
    match &file.content {
        Content::Unusable { error } => format!("{path}\n  can't be used: {}\n", clean(error)),
        Content::Model(header) => {
            let name = header.name.as_deref().map_or_else(|| path.clone(), clean);
            let Header { rung, vocabulary, trained_context, .. } = header;
            let (architecture, file_type) = (clean(&header.architecture), clean(&header.file_type));
            let millions = header.parameters as f64 / 1e6;
            format!(
                "{name}\n  {architecture} with {millions:.0} M parameters in {file_type} (rung {rung}), {vocabulary} \
                 tokens of vocabulary, trained with {trained_context} tokens of context\n  {path}\n"
            )
        }
    }
}

/// The strategies, each with what becomes of it.
fn ladder(report: &Report) -> String {
    let heading = row("strategy".to_owned(), ["sequences × context", "KV", "need", "available", "verdict"]);
    let step = |strategy: &StrategyReport| ladder_row(strategy, report);
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(report.strategies.iter().map(step)).collect();
    let nothing = if report.chosen.is_none() { "nothing fits: the model could not be loaded here now\n" } else { "" };
    table(&rows, 3..5) + nothing
}

fn ladder_row(strategy: &StrategyReport, report: &Report) -> Vec<String> {
    let StrategyReport { strategy, outcome } = strategy;
    let Some(way) = outcome.way() else {
        let [shape, kv_type, need, available] = [NOTHING; 4].map(str::to_owned);
        return row(strategy.to_string(), [shape, kv_type, need, available, verdict(outcome)]);
    };
    let layers =
        if let GpuLayers::Some(layers) = way.gpu_layers { format!(", {layers} layers") } else { String::new() };
    let shape = format!("{} × {}", way.shape.sequences, way.shape.context);
    let [need, available] = compared(way, report);
    row(format!("{strategy}{layers}"), [shape, way.shape.kv_type.to_string(), need, available, verdict(outcome)])
}

/// What must be free and what there is, of the host, and of a GPU with memory of its own where some is needed.
fn compared(way: &Way, report: &Report) -> [String; 2] {
    let host = report.limits.available.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
    let gpu = report.gpu.as_ref().and_then(|gpu| gpu.available);
    match gpu.filter(|_| way.device > Bytes(0)) {
        Some(gpu) => [format!("{} + {} GPU", way.host, way.device), format!("{host} + {gpu} GPU")],
        None => [way.total.to_string(), host],
    }
}

fn verdict(outcome: &Outcome) -> String {
    let less = |way: &Way| if way.squeezed { ", with less than is wanted" } else { "" };
    match outcome {
        Outcome::Chosen(way) => format!("would be used{}", less(way)),
        Outcome::Fits(way) => format!("fits{}", less(way)),
        Outcome::TooLarge { needed, available, limit, .. } => {
            format!("too large: needs {needed} of {available} ({})", clean(limit))
        }
        Outcome::Impossible { reason } => format!("can't be tried: {}", clean(reason)),
    }
}

/// What each need is made of. Without a GPU there is no column for it.
fn parts(report: &Report) -> String {
    let how = if report.measured { "measured in a dry run" } else { "estimated" };
    let mut names = vec!["weights", "repacked", "KV", "output", "compute", "process", "margin", "GPU", "together"];
    names.retain(|name| *name != "GPU" || report.gpu.is_some());
    let way = |strategy: &StrategyReport| Some(parts_row(strategy, strategy.outcome.way()?, report.gpu.is_some()));
    let mut rows: Vec<Vec<String>> = report.strategies.iter().filter_map(way).collect();
    if rows.is_empty() {
        return String::new();
    }
    rows.insert(0, row(format!("need, {how}"), names));
    table(&rows, 1..rows[0].len())
}

fn parts_row(strategy: &StrategyReport, way: &Way, with_gpu: bool) -> Vec<String> {
    let HostNeed { weights, repack, kv, output, compute, process } = way.need.parts();
    let host = [weights, repack, kv, output, compute, process, way.need.margin()];
    let rest = with_gpu.then_some(way.device).into_iter().chain([way.total]);
    row(strategy.strategy.to_string(), host.into_iter().chain(rest))
}

fn limits(report: &Report) -> String {
    let Limits { available, limit, reserve, budget } = &report.limits;
    let most = match (available, limit) {
        (Some(available), Some(limit)) => {
            format!("{available} of the host's memory may be taken (limit: {})", clean(limit))
        }
        _ => "how much of the host's memory is available can't be read: enough is assumed".to_owned(),
    };
    let reserve = match reserve {
        ReserveReport::Bytes(bytes) => bytes.to_string(),
        ReserveReport::Share(share) => share.to_string(),
    };
    let budget = budget.map_or_else(|| "no budget is set".to_owned(), |budget| format!("the budget is {budget}"));
    let gpu = report.gpu.as_ref().map(gpu).unwrap_or_default();
    format!("{most}; {reserve} of host and cgroups stays free; {budget}\n{gpu}")
}

fn gpu(gpu: &GpuReport) -> String {
    let GpuReport { backend, name, description, total, available, .. } = gpu;
    let memory = match available {
        Some(available) => format!("{available} of its {total} may be taken"),
        None => "it shares the host's memory".to_owned(),
    };
    format!("GPU {} ({}, back end {backend}): {memory}\n", clean(description), clean(name))
}

fn estimates(estimates: &Estimates) -> String {
    let Estimates { rung, kv_type, state_on_top, contexts, .. } = estimates;
    let remark = if *state_on_top { "; the state of its recurrent layers comes on top" } else { "" };
    let heading = SEQUENCES
        .map(|sequences| if sequences == 1 { "1 sequence".to_owned() } else { format!("{sequences} sequences") });
    let line =
        |line: &ContextEstimates| row(line.context.to_string(), line.totals.each_ref().map(|estimate| estimate.total));
    let rows: Vec<Vec<String>> =
        std::iter::once(row("context".to_owned(), heading)).chain(contexts.iter().map(line)).collect();
    format!(
        "other shapes of {rung} on the CPU, KV cache {kv_type}, estimated{remark}:\n{}",
        table(&rows, 1..SEQUENCES.len() + 1)
    )
}

fn row(first: String, rest: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    std::iter::once(first).chain(rest.into_iter().map(|cell| cell.to_string())).collect()
}

fn shown(path: &Path) -> String {
    clean(&path.to_string_lossy())
}

/// Without control characters: names in a model's file may hold any, and a terminal would obey them.
fn clean(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}
