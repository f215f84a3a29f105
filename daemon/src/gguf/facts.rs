//! What the rest of promptd wants to know of a model.

use serde::{Deserialize, Serialize};

use super::hyper::{HYBRID, Hyper, RECURRENT};
use super::{Gguf, GgufError, TensorType, experts, file_type};
use crate::job::Precision;

/// Architectures that llama.cpp gives no memory of earlier tokens: encoders and diffusion models.
const WITHOUT_CACHE: &[&str] = &[
    "bert",
    "clef",
    "dream",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "llada",
    "llada-moe",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "rnd1",
    "wavtokenizer-dec",
];

/// Architectures that look ahead even if the file does not say so.
const NOT_CAUSAL: &[&str] = &["dream", "gemma-embedding", "llada", "llada-moe", "rnd1"];

/// Layers of gemma3n that have keys and values of their own; the number is in llama.cpp's source, not in the file.
const GEMMA3N_OWN_LAYERS: usize = 20;

/// llama.cpp's name for the matrix of a classification head: of whole texts, or of tokens where nothing is pooled.
pub const HEAD_WEIGHT: &str = "cls.output.weight";
/// What is added to its outputs.
pub const HEAD_BIAS: &str = "cls.output.bias";

/// A model in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// The name that its makers gave it.
    pub name: Option<String>,
    /// Such as `llama`.
    pub architecture: String,
    /// How it was quantised, such as `Q4_1` or `Q4_K_M`.
    pub file_type: String,
    /// The rung of the ladder that it stands on.
    pub precision: Precision,
    /// Number of parameters.
    pub parameters: u64,
    /// Bytes of weights by type, most first.
    pub weights: Vec<TypeBytes>,
    /// Layers.
    pub n_layer: u32,
    /// Width of the embedding.
    pub n_embd: u32,
    /// Width of the widest feed-forward network; with experts, of all that one token passes through.
    pub n_ff: u32,
    /// Attention heads of the layer with the most of them; 0 if there is no attention.
    pub n_head: u32,
    /// Heads whose keys and values are cached, for each layer; 0 for a layer that caches none.
    pub n_head_kv: Vec<u32>,
    /// Width of one head's keys.
    pub key_length: u32,
    /// Width of one head's values.
    pub value_length: u32,
    /// Longest context that it was trained for.
    pub n_ctx_train: u32,
    /// Tokens in the vocabulary.
    pub n_vocab: u32,
    /// How far attention looks back in the layers with a sliding window, if there are any.
    pub sliding_window: Option<u32>,
    /// What it remembers of earlier tokens.
    pub cache: Cache,
    /// Whether it brings a chat template.
    pub chat_template: bool,
    /// How token embeddings become one, if the file says so.
    pub pooling: Option<Pooling>,
    /// Outputs of its classification head that have names; 0 if there is no such head.
    pub n_labels: u32,
    /// Whether tokens see only earlier ones.
    pub causal: bool,
}

/// Weights of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeBytes {
    /// The type.
    pub kind: TensorType,
    /// Bytes of all tensors of this type.
    pub bytes: u64,
}

/// What a context keeps of earlier tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cache {
    /// Nothing: an encoder.
    None,
    /// Keys and values of every token.
    Attention,
    /// A state of fixed size.
    Recurrent,
    /// Keys and values in some layers, a state in others.
    Hybrid,
}

/// How the embeddings of tokens become one. Numbers as in llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// Not at all.
    None,
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The last one.
    Last,
    /// A classification head.
    Rank,
}

impl ModelFacts {
    /// Bytes of all weights.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.iter().map(|weights| weights.bytes).sum()
    }
}

impl Gguf {
    /// Gathers the facts.
    pub fn facts(&self) -> Result<ModelFacts, GgufError> {
        let hyper = Hyper::of(self)?;
        let weights = self.weights();
        let most = weights.first().ok_or(GgufError::NoTensors)?.kind;
        let heads = hyper.heads()?;
        let default = hyper.default_head()?;
        let width = |suffix: &str| -> Result<u32, GgufError> {
            let windowed = hyper.u32(&format!("{suffix}_swa"))?.unwrap_or_default();
            Ok(hyper.u32(suffix)?.unwrap_or(default).max(windowed))
        };
        let (key_length, value_length) = (width("attention.key_length")?, width("attention.value_length")?);
        let cache = cache_of(&hyper);
        let pooling = hyper.u32("pooling_type")?.and_then(pooling_of);
        let causal = self.exact_bool(&hyper.key("attention.causal"))?;
        Ok(ModelFacts {
            name: self.exact_str("general.name")?.map(str::to_owned),
            architecture: hyper.architecture.to_owned(),
            file_type: self.file_type(most)?,
            precision: most.precision(),
            parameters: self.tensors().iter().map(super::Tensor::elements).fold(0, u64::saturating_add),
            weights,
            n_layer: hyper.layers,
            n_embd: hyper.embedding()?,
            n_ff: feed_forward(&hyper)?,
            n_head: heads.iter().copied().max().unwrap_or_default(),
            n_head_kv: cached_heads(&hyper, cache, heads)?,
            key_length,
            value_length,
            n_ctx_train: hyper.u32("context_length")?.unwrap_or_default(),
            n_vocab: self.vocabulary_size(),
            sliding_window: hyper.window().and_then(|window| u32::try_from(window).ok()),
            cache,
            chat_template: self.has_chat_template(),
            pooling,
            n_labels: self.labels_of(&hyper),
            causal: causal.unwrap_or(true) && !hyper.is_one_of(NOT_CAUSAL),
        })
    }

    /// Bytes by type, most first.
    fn weights(&self) -> Vec<TypeBytes> {
        let mut weights: Vec<TypeBytes> = Vec::new();
        for tensor in self.tensors() {
            match weights.iter_mut().find(|entry| entry.kind == tensor.kind) {
                Some(entry) => entry.bytes += tensor.bytes,
                None => weights.push(TypeBytes { kind: tensor.kind, bytes: tensor.bytes }),
            }
        }
        weights.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
        weights
    }

    fn file_type(&self, most: TensorType) -> Result<String, GgufError> {
        let code = self.exact_u32("general.file_type")?;
        Ok(code.and_then(file_type::name).unwrap_or(most.name()).to_owned())
    }

    fn vocabulary_size(&self) -> u32 {
        // The reader admits at most a million tokens.
        self.array("tokenizer.ggml.tokens").and_then(|tokens| u32::try_from(tokens.len).ok()).unwrap_or_default()
    }

    fn labels_of(&self, hyper: &Hyper<'_>) -> u32 {
        if self.tensor(HEAD_WEIGHT).is_none() {
            return 0;
        }
        let labels = self.array(&hyper.key("classifier.output_labels"));
        labels.and_then(|labels| u32::try_from(labels.len).ok()).unwrap_or_default()
    }

    fn has_chat_template(&self) -> bool {
        self.str("tokenizer.chat_template").is_some_and(|template| !template.is_empty())
    }
}

fn cache_of(hyper: &Hyper<'_>) -> Cache {
    if hyper.is_one_of(WITHOUT_CACHE) {
        Cache::None
    } else if hyper.is_one_of(RECURRENT) {
        Cache::Recurrent
    } else if hyper.is_one_of(HYBRID) {
        Cache::Hybrid
    } else {
        Cache::Attention
    }
}

fn cached_heads(hyper: &Hyper<'_>, cache: Cache, heads: Vec<u32>) -> Result<Vec<u32>, GgufError> {
    let layers = hyper.layers as usize;
    if matches!(cache, Cache::None | Cache::Recurrent) {
        return Ok(vec![0; layers]);
    }
    let mut cached = hyper.per_layer("attention.head_count_kv")?.unwrap_or(heads);
    cached.resize(layers, 0);
    let predictors = hyper.u32("nextn_predict_layers")?.unwrap_or_default() as usize;
    let own = match hyper.architecture {
        "gemma3n" => GEMMA3N_OWN_LAYERS,
        "gemma4" => layers - hyper.u32("attention.shared_kv_layers")?.unwrap_or_default().min(hyper.layers) as usize,
        // Layers that predict further tokens are not used, unless there are no others.
        _ if predictors < layers => layers - predictors,
        _ => layers,
    };
    cached.iter_mut().skip(own).for_each(|heads| *heads = 0);
    Ok(cached)
}

fn feed_forward(hyper: &Hyper<'_>) -> Result<u32, GgufError> {
    let widest = |widths: Option<Vec<u32>>| widths.unwrap_or_default().into_iter().max().unwrap_or_default();
    let dense = widest(hyper.per_layer("feed_forward_length")?);
    // Some architectures have other types here; a width that cannot be read counts for nothing.
    let lenient = |suffix: &str| widest(hyper.per_layer(suffix).unwrap_or_default());
    let expert = lenient("expert_feed_forward_length");
    let shared = lenient("expert_shared_feed_forward_length");
    let expert = if expert == 0 { dense } else { expert };
    Ok(expert.saturating_mul(experts::used(hyper)?).saturating_add(shared).max(dense))
}

fn pooling_of(code: u32) -> Option<Pooling> {
    match code {
        0 => Some(Pooling::None),
        1 => Some(Pooling::Mean),
        2 => Some(Pooling::Cls),
        3 => Some(Pooling::Last),
        4 => Some(Pooling::Rank),
        _ => None,
    }
}
