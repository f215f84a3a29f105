//! `promptd fit`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use promptd::gguf::{Cache, Gguf, ModelFacts};
use promptd::plan::{Attention, Bytes, ContextShape, KvType, ModelShape, Need};
use serde::Serialize;

use super::Failure;
use super::exit::Code;

/// Tokens that the engine computes at once; its compute buffer grows with it.
const UBATCH: u32 = 512;

/// Numbers of sequences in the table.
const SEQUENCES: [u32; 4] = [1, 4, 8, 16];

/// Contexts in the table, up to what the model was trained with.
const CONTEXTS: [u32; 5] = [512, 2048, 4096, 8192, 32_768];

/// Show what a model file is and how much memory it needs here.
///
/// The numbers come from the file's header alone, so that it is quick for files of any size. Weights and KV cache are
/// exact; the compute buffer is an estimate that errs on the large side.
#[derive(Debug, clap::Args)]
pub struct Fit {
    /// The GGUF file.
    file: PathBuf,
    /// Tokens of context for each sequence.
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    context: u32,
    /// Jobs that run at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    sequences: u32,
    /// Element type of the KV cache: `f16`, `q8_0` or `q4_0`.
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = kv_type)]
    kv_type: KvType,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct FitReport<'a> {
    file: String,
    name: Option<&'a str>,
    architecture: &'a str,
    file_type: &'a str,
    rung: String,
    parameters: u64,
    trained_context: u32,
    vocabulary: u32,
    context: u64,
    sequences: u32,
    kv_type: KvType,
    estimate: &'a Need,
    total: Bytes,
    available: Option<Bytes>,
    fits: Option<bool>,
}

fn kv_type(text: &str) -> Result<KvType, String> {
    let all = [KvType::F16, KvType::Q8_0, KvType::Q4_0];
    all.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| "one of f16, q8_0, q4_0".to_owned())
}

impl Fit {
    /// Reads the header and prints the numbers.
    pub fn execute(self) -> Result<(), Failure> {
        let facts = self.facts().map_err(|e| Failure::new(Code::Data, e))?;
        let model = shape(&facts);
        let context = self.context_shape(self.context, self.sequences);
        let estimate = Need::estimate(&model, &context);
        let available = available();
        let report = FitReport {
            file: self.file.display().to_string(),
            name: facts.name.as_deref(),
            architecture: &facts.architecture,
            file_type: &facts.file_type,
            rung: facts.precision.to_string(),
            parameters: facts.parameters,
            trained_context: facts.n_ctx_train,
            vocabulary: facts.n_vocab,
            context: context.rounded_context(),
            sequences: self.sequences,
            kv_type: self.kv_type,
            total: estimate.total(),
            fits: available.map(|available| estimate.total() <= available),
            estimate: &estimate,
            available,
        };
        self.print(&report, &facts, &model).map_err(Failure::software)
    }

    fn facts(&self) -> anyhow::Result<ModelFacts> {
        let path = self.file.display();
        let file = File::open(&self.file).with_context(|| format!("cannot open {path}"))?;
        let size = file.metadata().with_context(|| format!("cannot read {path}"))?.len();
        let facts = Gguf::read(&file, size).and_then(|gguf| gguf.facts());
        facts.with_context(|| format!("{path} is not a usable GGUF file"))
    }

    fn context_shape(&self, context_per_sequence: u32, sequences: u32) -> ContextShape {
        ContextShape {
            context_per_sequence,
            sequences,
            kv_type: self.kv_type,
            ubatch: UBATCH,
            outputs_max: sequences,
            attention: Attention::Flash,
        }
    }

    fn print(&self, report: &FitReport<'_>, facts: &ModelFacts, model: &ModelShape) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            return writeln!(out, "{}", serde_json::to_string_pretty(report)?);
        }
        let millions = report.parameters as f64 / 1e6;
        writeln!(out, "{}", report.name.unwrap_or(&report.file))?;
        writeln!(
            out,
            "  {} with {millions:.0} M parameters in {} (rung {}), {} tokens of vocabulary, trained with {} tokens of context",
            report.architecture, report.file_type, report.rung, report.vocabulary, report.trained_context
        )?;
        if facts.cache == Cache::Recurrent || facts.cache == Cache::Hybrid {
            writeln!(out, "  the state of its recurrent layers comes on top of these numbers")?;
        }
        writeln!(out, "\n{} sequences of {} tokens, KV cache {}:", report.sequences, report.context, report.kv_type)?;
        let rows = [
            ("weights", report.estimate.parts().weights),
            ("KV cache", report.estimate.parts().kv),
            ("compute", report.estimate.parts().compute),
            ("output", report.estimate.parts().output),
            ("process", report.estimate.parts().process),
            ("together", report.total),
        ];
        for (what, bytes) in rows {
            writeln!(out, "  {what:<10} {:>12}", bytes.to_string())?;
        }
        match report.available {
            Some(available) if report.total <= available => {
                writeln!(out, "  this machine has {available} available: it fits")?;
            }
            Some(available) => writeln!(out, "  this machine has {available} available: it does not fit")?,
            None => writeln!(out, "  how much memory this machine has available cannot be read")?,
        }
        self.print_table(&mut out, facts, model)
    }

    fn print_table(&self, out: &mut impl Write, facts: &ModelFacts, model: &ModelShape) -> std::io::Result<()> {
        write!(out, "\ncontext   ")?;
        for sequences in SEQUENCES {
            write!(out, "{:>14}", format!("{sequences} sequences"))?;
        }
        writeln!(out)?;
        for context in CONTEXTS.into_iter().filter(|&context| context <= facts.n_ctx_train) {
            write!(out, "{context:<10}")?;
            for sequences in SEQUENCES {
                let estimate = Need::estimate(model, &self.context_shape(context, sequences));
                write!(out, "{:>14}", estimate.total().to_string())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn shape(facts: &ModelFacts) -> ModelShape {
    ModelShape {
        weights: facts.weight_bytes(),
        n_vocab: facts.n_vocab,
        output_width: facts.n_vocab,
        n_embd: facts.n_embd,
        n_ff: facts.n_ff,
        n_head: facts.n_head,
        key_length: facts.key_length,
        value_length: facts.value_length,
        kv_heads: facts.n_head_kv.clone(),
        sliding_window: facts.sliding_window.is_some(),
    }
}

/// What the host and this process' cgroup have left; none where that can't be read.
fn available() -> Option<Bytes> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let group = system.cgroup_limits().map_or(u64::MAX, |limits| limits.free_memory);
    Some(Bytes(system.available_memory().min(group)))
}
