//! `[[model]]`: the models.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::job::ModelName;
use crate::plan::KvType;

use super::section::Section;
use super::tree::Value;
use super::value;

/// Each has a process, memory and a retained document of its own.
const MODELS_MAX: usize = 16;
const PATH_MAX: usize = 4096;
const GOLDEN_MAX: usize = 4096;

/// A model and how to run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// What requests call it.
    pub name: ModelName,
    /// The file with its weights.
    pub file: ModelFile,
    /// Whether it serves requests that name no model.
    pub default: bool,
    /// Tokens of context for each sequence.
    pub context: u32,
    /// Jobs that run at once.
    pub sequences: u32,
    /// Element type of the KV cache.
    pub kv_type: KvType,
    /// Threads that compute. None leaves it to the engine.
    pub threads: Option<u32>,
    /// A prompt that the model must answer before it serves.
    pub golden_prompt: Option<String>,
    /// A regular expression for that answer; only with a prompt. The engine compiles it: here it is only text.
    pub golden_expect: Option<String>,
}

/// A GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it is. A relative path in a file has been put behind the folder of that file.
    pub path: PathBuf,
    /// What its content must hash to.
    pub sha256: Option<[u8; 32]>,
}

const KV_TYPES: [(&str, KvType); 3] = [("f16", KvType::F16), ("q8_0", KvType::Q8_0), ("q4_0", KvType::Q4_0)];

/// What one model has to know of those before it.
#[derive(Default)]
struct Others {
    names: BTreeSet<String>,
    has_default: bool,
}

impl Model {
    /// Reads all of them and sees to it that one is the default.
    pub(super) fn read_all(root: &mut Section<'_, '_, '_>) -> Vec<Self> {
        let mut others = Others::default();
        let models = root.tables("model", |section| Self::read(section, &mut others));
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

    fn read(section: &mut Section<'_, '_, '_>, others: &mut Others) -> Option<Self> {
        let name = section.required("name", |value| name(value, &mut others.names));
        let default = section.optional("default", |value| match value::flag(value)? {
            true if others.has_default => Err("an earlier model is the default already; only one can be".to_owned()),
            flag => {
                others.has_default |= flag;
                Ok(flag)
            }
        });
        let context = section.number("context", 2048, 256..=1_048_576);
        let sequences = section.number("sequences", 4, 1..=64);
        let kv_type = section.choice("kv_type", KvType::F16, &KV_TYPES);
        let threads = section.optional("threads", |value| value::number(value, &(1..=512)));
        let golden_prompt = section.optional("golden_prompt", golden);
        let golden_expect = section.optional("golden_expect", golden);
        if section.is_set("golden_expect") && !section.is_set("golden_prompt") {
            section.blame_key("golden_expect", "needs golden_prompt beside it");
        }
        let file = file(section)?;
        let default = default.unwrap_or(false);
        Some(Self { name: name?, file, default, context, sequences, kv_type, threads, golden_prompt, golden_expect })
    }
}

fn name(value: &Value, others: &mut BTreeSet<String>) -> Result<ModelName, String> {
    let name = ModelName::new(value::text(value)?).map_err(|error| error.to_string())?;
    if others.insert(name.to_string()) { Ok(name) } else { Err("is the name of an earlier model".to_owned()) }
}

fn file(section: &mut Section<'_, '_, '_>) -> Option<ModelFile> {
    if !section.is_set("files") {
        section.problem("files", "is missing: write files = [{ path = \"/path/to/model.gguf\" }]");
    }
    match section.array_len("files") {
        None | Some(1) => {}
        Some(0) => section.blame_key("files", "is empty; one file is needed"),
        Some(_) => section.blame_key("files", "load strategies over several files come with a later version; name one"),
    }
    section.tables("files", ModelFile::read).pop().flatten()
}

impl ModelFile {
    fn read(section: &mut Section<'_, '_, '_>) -> Option<Self> {
        let path = section.required("path", |value| value::line(value, PATH_MAX).map(PathBuf::from));
        let sha256 = section.optional("sha256", |value| {
            digest(value::text(value)?).ok_or_else(|| "must be 64 hexadecimal digits".to_owned())
        });
        let folder = section.folder_of("path").unwrap_or(Path::new(""));
        Some(Self { path: folder.join(path?), sha256 })
    }
}

fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(digest)
}

fn golden(value: &Value) -> Result<String, String> {
    let text = value::text(value)?;
    match text.len() {
        _ if text.contains('\0') => Err("contains a NUL character".to_owned()),
        1..=GOLDEN_MAX => Ok(text.to_owned()),
        bytes => Err(format!("has {bytes} bytes; allowed are 1 to {GOLDEN_MAX}")),
    }
}
