//! `[[model]]`: the models.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::job::ModelName;
use crate::plan::{KvType, Placement, Profile, Strategy};

use super::model_file::ModelFile;
use super::section::Section;
use super::tree::Value;
use super::value;

/// Each has a process, memory and a retained document of its own.
pub(super) const MODELS_MAX: usize = 16;
/// Every placement with every precision.
const LADDER_MAX: usize = 9;
const GOLDEN_MAX: usize = 4096;

/// A model and how to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What requests call it.
    pub name: ModelName,
    /// The files with its weights, 1 to 8, each in another path. Their precision is what their headers say.
    pub files: Vec<ModelFile>,
    /// Whether it serves requests that name no model.
    pub default: bool,
    /// Whether it stays loaded however long it is idle and however short memory is for others.
    pub pinned: bool,
    /// Where it has to run for the node to be as it should be.
    pub expect: Expect,
    /// The strategies to try, best first: 1 to 9 different ones. None is the built-in ladder.
    pub ladder: Option<Vec<Strategy>>,
    /// Whether lower precisions that no file has are made from a higher one.
    pub derive: bool,
    /// Tokens of context for each sequence.
    pub context: u32,
    /// The least context that it may be squeezed to; at most `context`.
    pub min_context: u32,
    /// Jobs that run at once.
    pub sequences: u32,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Threads that compute.
    pub threads: u32,
    /// What its classification head says of a text, if it has one.
    pub classification: Classification,
    /// A prompt that the model must answer before it serves.
    pub golden_prompt: Option<String>,
    /// A regular expression for that answer; only with a prompt. The engine compiles it: here it is only text.
    pub golden_expect: Option<String>,
}

/// Where a model has to run for its operator to be content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Wherever it can.
    Any,
    /// On a GPU: anywhere else it serves, and the node is degraded.
    Gpu,
}

/// What a classification head says of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classification {
    /// One of the classes is the right one: their scores have the sum 1.
    SingleLabel,
    /// It may be of several classes: each has a score of its own.
    MultiLabel,
}

const KV_TYPES: [(&str, KvType); 3] = [("f16", KvType::F16), ("q8_0", KvType::Q8_0), ("q4_0", KvType::Q4_0)];
const EXPECTATIONS: [(&str, Expect); 2] = [("any", Expect::Any), ("gpu", Expect::Gpu)];
const CLASSIFICATIONS: [(&str, Classification); 2] =
    [("single_label", Classification::SingleLabel), ("multi_label", Classification::MultiLabel)];
const CONTEXT: RangeInclusive<u32> = 256..=1_048_576;
const CONTEXT_DEFAULT: u32 = 2048;
const KV_TYPE_DEFAULT: KvType = KvType::F16;
/// The default of `min_context`, where `context` is not smaller: less holds no conversation.
const MIN_CONTEXT: u32 = 512;

/// What one model has to know of those before it.
#[derive(Default)]
struct Others {
    names: BTreeSet<String>,
    has_default: bool,
}

impl Model {
    /// A model of one file with the default of every setting: what a configuration makes of a single table with no other
    /// keys than these.
    pub fn of_file(name: ModelName, path: PathBuf, profile: &Profile) -> Self {
        Self {
            name,
            files: vec![ModelFile { path, sha256: None }],
            default: true,
            pinned: false,
            expect: Expect::Any,
            ladder: None,
            derive: false,
            context: CONTEXT_DEFAULT,
            min_context: MIN_CONTEXT,
            sequences: profile.sequences,
            kv_type: KV_TYPE_DEFAULT,
            threads: profile.threads,
            classification: Classification::SingleLabel,
            golden_prompt: None,
            golden_expect: None,
        }
    }

    /// Reads all of them and sees to it that one is the default.
    pub(super) fn read_all(root: &mut Section<'_, '_, '_>, profile: &Profile) -> Vec<Self> {
        let mut others = Others::default();
        let models = root.tables("model", |section| Self::read(section, profile, &mut others));
        let count = models.len();
        if count > MODELS_MAX {
            root.blame_key("model", format!("there are {count} models; allowed are 0 to {MODELS_MAX}"));
        }
        if count > 1 && !others.has_default {
            root.blame_key("model", format!("there are {count} models and none has default = true; one must"));
        }
        let mut models: Vec<Self> = models.into_iter().flatten().collect();
        if let [only] = models.as_mut_slice() {
            only.default = true;
        }
        models
    }

    fn read(section: &mut Section<'_, '_, '_>, profile: &Profile, others: &mut Others) -> Option<Self> {
        let name = section.required("name", |value| name(value, &mut others.names));
        let default = section.optional("default", |value| match value::flag(value)? {
            true if others.has_default => Err("an earlier model is the default already; only one can be".to_owned()),
            flag => {
                others.has_default |= flag;
                Ok(flag)
            }
        });
        let context = section.number("context", CONTEXT_DEFAULT, CONTEXT);
        let ladder = ladder(section);
        let golden_prompt = section.optional("golden_prompt", golden);
        let golden_expect = section.optional("golden_expect", golden);
        if section.is_set("golden_expect") && !section.is_set("golden_prompt") {
            section.blame_key("golden_expect", "needs golden_prompt beside it");
        }
        // What may be missing stands at the end: every other key has been looked at by then.
        Some(Self {
            default: default.unwrap_or(false),
            pinned: section.flag("pinned", false),
            expect: expect(section, ladder.as_deref()),
            ladder,
            derive: section.flag("derive", false),
            context,
            min_context: min_context(section, context),
            sequences: section.number("sequences", profile.sequences, 1..=64),
            kv_type: section.choice("kv_type", KV_TYPE_DEFAULT, &KV_TYPES),
            threads: section.number("threads", profile.threads, 1..=512),
            classification: section.choice("classification", Classification::SingleLabel, &CLASSIFICATIONS),
            golden_prompt,
            golden_expect,
            files: ModelFile::read_all(section)?,
            name: name?,
        })
    }
}

fn name(value: &Value, others: &mut BTreeSet<String>) -> Result<ModelName, String> {
    let name = ModelName::new(value::text(value)?).map_err(|error| error.to_string())?;
    if others.insert(name.to_string()) { Ok(name) } else { Err("is the name of an earlier model".to_owned()) }
}

fn ladder(section: &mut Section<'_, '_, '_>) -> Option<Vec<Strategy>> {
    let mut earlier = BTreeSet::new();
    let ladder = section.list("ladder", LADDER_MAX, |value| {
        let strategy = Strategy::parse(value::text(value)?)?;
        if earlier.insert(strategy) { Ok(strategy) } else { Err("stands in the ladder already".to_owned()) }
    });
    if section.array_len("ladder") == Some(0) {
        section.blame_key("ladder", format!("is empty; name 1 to {LADDER_MAX} strategies, or leave it out"));
    }
    (!ladder.is_empty()).then_some(ladder)
}

fn expect(section: &mut Section<'_, '_, '_>, ladder: Option<&[Strategy]>) -> Expect {
    let expect = section.choice("expect", Expect::Any, &EXPECTATIONS);
    // A ladder with an entry that was refused may have meant a GPU by it.
    let whole = ladder.filter(|ladder| section.array_len("ladder") == Some(ladder.len()));
    let never = whole.is_some_and(|ladder| ladder.iter().all(|strategy| strategy.placement == Placement::Cpu));
    if expect == Expect::Gpu && never {
        section.blame_key("expect", "the ladder names only strategies on the CPU");
    }
    expect
}

fn min_context(section: &mut Section<'_, '_, '_>, context: u32) -> u32 {
    let min_context = section.number("min_context", MIN_CONTEXT.min(context), CONTEXT);
    let (low, high) = (section.path_of("min_context"), section.path_of("context"));
    section.report.at_most((&low, min_context), (&high, context));
    min_context
}

fn golden(value: &Value) -> Result<String, String> {
    let text = value::text(value)?;
    match text.len() {
        _ if text.contains('\0') => Err("contains a NUL character".to_owned()),
        1..=GOLDEN_MAX => Ok(text.to_owned()),
        bytes => Err(format!("has {bytes} bytes; allowed are 1 to {GOLDEN_MAX}")),
    }
}
