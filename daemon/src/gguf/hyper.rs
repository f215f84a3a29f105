//! The architecture's own keys.

use super::error::excerpt;
use super::exact::{missing, out_of_range};
use super::{Gguf, GgufError};

/// llama.cpp's `LLAMA_MAX_LAYERS`.
const LAYERS_MAX: u32 = 512;

/// Widest embedding; the widest models known have 20,480.
const EMBEDDING_MAX: u32 = 1 << 18;

/// Longest name of an architecture.
const ARCHITECTURE_MAX: usize = 64;

/// Architectures that keep a running state instead of keys and values.
pub(super) const RECURRENT: &[&str] = &["arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7"];

/// Architectures that mix both kinds of layer.
pub(super) const HYBRID: &[&str] = &[
    "bailingmoe3",
    "deepseek4",
    "falcon-h1",
    "glm5-next",
    "granitehybrid",
    "jamba",
    "kimi-k3",
    "kimi-linear",
    "lfm2",
    "lfm2moe",
    "minimax-01",
    "nemotron_h",
    "nemotron_h_moe",
    "plamo2",
    "qwen35",
    "qwen35moe",
    "qwen3next",
    "qwen4exp",
];

/// The architecture's own keys, read as llama.cpp reads them.
pub(super) struct Hyper<'a> {
    /// The header they stand in.
    pub(super) gguf: &'a Gguf,
    /// Name of the architecture.
    pub(super) architecture: &'a str,
    /// Number of layers.
    pub(super) layers: u32,
}

impl<'a> Hyper<'a> {
    /// Finds the architecture and the number of its layers.
    pub(super) fn of(gguf: &'a Gguf) -> Result<Self, GgufError> {
        const KEY: &str = "general.architecture";
        let architecture = gguf.exact_str(KEY)?.ok_or_else(|| missing(KEY))?;
        let sane = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if architecture.is_empty() || architecture.len() > ARCHITECTURE_MAX || !architecture.chars().all(sane) {
            let shown = excerpt(architecture.as_bytes());
            return Err(out_of_range(KEY, format!("'{shown}'"), "1 to 64 letters, digits, '-' and '_'"));
        }
        if architecture == "clip" {
            return Err(out_of_range(KEY, "'clip', an image projector", "a language model or an encoder"));
        }
        let mut hyper = Self { gguf, architecture, layers: 0 };
        hyper.layers = hyper.required("block_count", LAYERS_MAX)?;
        Ok(hyper)
    }

    /// The full name of one of the architecture's keys.
    pub(super) fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    /// A number that may be missing.
    pub(super) fn u32(&self, suffix: &str) -> Result<Option<u32>, GgufError> {
        self.gguf.exact_u32(&self.key(suffix))
    }

    /// A number for each layer, which may be missing.
    pub(super) fn per_layer(&self, suffix: &str) -> Result<Option<Vec<u32>>, GgufError> {
        self.gguf.per_layer(&self.key(suffix), self.layers)
    }

    /// A number from 1 to `most` that must be there.
    pub(super) fn required(&self, suffix: &str, most: u32) -> Result<u32, GgufError> {
        self.positive(suffix, most)?.ok_or_else(|| missing(&self.key(suffix)))
    }

    /// A number from 1 to `most` that may be missing.
    pub(super) fn positive(&self, suffix: &str, most: u32) -> Result<Option<u32>, GgufError> {
        let value = self.u32(suffix)?;
        match value {
            Some(value) if value == 0 || value > most => {
                Err(out_of_range(&self.key(suffix), value, format!("1 to {most}")))
            }
            other => Ok(other),
        }
    }

    /// A number up to `most` that may be missing.
    pub(super) fn at_most(&self, suffix: &str, most: u32) -> Result<Option<u32>, GgufError> {
        let value = self.u32(suffix)?;
        match value {
            Some(value) if value > most => Err(out_of_range(&self.key(suffix), value, format!("0 to {most}"))),
            other => Ok(other),
        }
    }

    /// How far attention looks back in the layers that have a window.
    pub(super) fn window(&self) -> Option<u64> {
        self.gguf.u64(&self.key("attention.sliding_window")).filter(|window| *window > 0)
    }

    /// Attention heads of each layer; empty for a model that says nothing of them.
    pub(super) fn heads(&self) -> Result<Vec<u32>, GgufError> {
        Ok(self.per_layer("attention.head_count")?.unwrap_or_default())
    }

    /// Whether the architecture is one of these.
    pub(super) fn is_one_of(&self, names: &[&str]) -> bool {
        names.contains(&self.architecture)
    }

    /// Width of the embedding.
    pub(super) fn embedding(&self) -> Result<u32, GgufError> {
        self.required("embedding_length", EMBEDDING_MAX)
    }

    /// Width of one head's keys and values where the file does not say it.
    pub(super) fn default_head(&self) -> Result<u32, GgufError> {
        let embedding = self.embedding()?;
        Ok(self.heads()?.first().and_then(|heads| embedding.checked_div(*heads)).unwrap_or_default())
    }
}
