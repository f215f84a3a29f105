//! KV cache, batches and decode steps.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;
use thiserror::Error;

use super::{LlamaError, Model, Token};
use crate::engine::child::link::Shared;
use crate::plan::{KvType, LoadShape};

/// llama.cpp's own limit, `LLAMA_MAX_SEQ`.
const SEQUENCES_MAX: u32 = 256;

/// How a decode step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoded {
    /// Logits are there.
    Done,
    /// The abort callback ended it. Parts of the batch may be in the KV cache.
    Aborted,
}

/// What an encoder makes of a whole sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    /// Nothing: it has only embeddings of tokens.
    Nothing,
    /// One embedding.
    Embedding,
    /// The outputs of a classification head.
    Scores,
}

/// A decode step that failed; the code is llama.cpp's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("llama_decode returned {0}")]
pub struct DecodeFailed(i32);

/// How to make a context.
#[derive(Debug, Clone, Copy)]
pub struct ContextParams {
    /// Tokens for each sequence, sequences, and the type of the KV cache.
    pub shape: LoadShape,
    /// Most tokens in one batch.
    pub batch: u32,
    /// Threads that compute.
    pub threads: u32,
    /// Off makes the output independent of the load; a quantized KV cache needs it.
    pub flash_attention: bool,
}

/// The KV cache and compute buffers.
pub struct Context {
    pub(super) raw: NonNull<sys::llama_context>,
    /// None for an encoder, which remembers nothing.
    memory: Option<NonNull<sys::llama_memory_i>>,
    n_vocab: usize,
    n_batch: usize,
    n_sequences: u32,
    /// Whether a copy between sequences waits for the next step, which is when llama.cpp makes it.
    copies_wait: bool,
    /// Polled by llama.cpp while it computes; must outlive the context.
    _shared: Arc<Shared>,
    model: Rc<Model>,
}

impl Context {
    /// Allocates the KV cache and compute buffers.
    pub fn new(model: &Rc<Model>, params: ContextParams, shared: &Arc<Shared>) -> Result<Self, LlamaError> {
        extern "C" fn should_abort(shared: *mut c_void) -> bool {
            // SAFETY: points into the `Arc` that the context holds.
            unsafe { &*shared.cast::<Shared>() }.should_abort()
        }
        let threads = i32::try_from(params.threads).unwrap_or(i32::MAX);
        // SAFETY: plain data.
        let mut raw = unsafe { sys::llama_context_default_params() };
        let LoadShape { context: tokens, sequences, kv_type } = params.shape;
        raw.n_batch = params.batch;
        raw.n_ubatch = params.batch;
        if model.generates() {
            raw.n_ctx = tokens.saturating_mul(sequences);
            raw.n_seq_max = sequences;
            raw.kv_unified = false;
            // Logits are wanted for one token of each sequence; room for a whole batch would cost 5 to 20 times the memory.
            raw.n_outputs_max = sequences;
        } else {
            // Without a memory a sequence is no more than a text of a step, and there may be as many as it has tokens.
            raw.n_ctx = params.batch;
            raw.n_seq_max = params.batch.min(SEQUENCES_MAX);
            raw.kv_unified = true;
            raw.embeddings = true;
        }
        raw.n_threads = threads;
        raw.n_threads_batch = threads;
        raw.type_k = type_number(kv_type);
        raw.type_v = type_number(kv_type);
        raw.flash_attn_type =
            if params.flash_attention { sys::LLAMA_FLASH_ATTN_TYPE_AUTO } else { sys::LLAMA_FLASH_ATTN_TYPE_DISABLED };
        raw.no_perf = true;
        raw.abort_callback = Some(should_abort);
        raw.abort_callback_data = Arc::as_ptr(shared).cast_mut().cast();
        // SAFETY: the model is alive and kept alive by the `Rc`; the callback's data by the `Arc`.
        let context = unsafe { sys::llama_init_from_model(model.raw.as_ptr(), raw) };
        let failed = LlamaError::Context { context: tokens, sequences };
        let context = NonNull::new(context).ok_or(failed)?;
        // SAFETY: the context was made above.
        let (memory, n_batch, n_sequences) = unsafe {
            let raw = context.as_ptr();
            (sys::llama_get_memory(raw), sys::llama_n_batch(raw) as usize, sys::llama_n_seq_max(raw))
        };
        let n_vocab = model.n_vocab();
        Ok(Self {
            raw: context,
            memory: NonNull::new(memory),
            n_vocab,
            n_batch,
            n_sequences,
            copies_wait: false,
            _shared: Arc::clone(shared),
            model: Rc::clone(model),
        })
    }

    /// How many threads compute from the next step on.
    pub fn set_threads(&mut self, threads: u32) {
        let threads = i32::try_from(threads).unwrap_or(i32::MAX);
        // SAFETY: the context is alive, and nothing is computed now.
        unsafe { sys::llama_set_n_threads(self.raw.as_ptr(), threads, threads) };
    }

    /// Tokens for each sequence, as llama.cpp rounded them.
    pub fn tokens_per_sequence(&self) -> usize {
        // SAFETY: the context is alive.
        unsafe { sys::llama_n_ctx_seq(self.raw.as_ptr()) as usize }
    }

    /// Most tokens in one batch.
    pub fn n_batch(&self) -> usize {
        self.n_batch
    }

    /// Bytes of the buffer from which outputs are read: logits for one token of each sequence, or an embedding of each
    /// token. Beside embeddings llama.cpp always makes room for logits, which nobody reads (`output_reserve`).
    pub fn output_bytes(&self) -> usize {
        let (outputs, width) = if self.model.generates() {
            (self.n_sequences(), self.n_vocab)
        } else {
            (self.n_batch, self.n_vocab + self.model.n_embd())
        };
        outputs * width * size_of::<f32>()
    }

    /// Sequences.
    pub fn n_sequences(&self) -> usize {
        self.n_sequences as usize
    }

    /// Computes a batch.
    pub fn decode(&mut self, batch: &mut Batch) -> Result<Decoded, DecodeFailed> {
        // More tokens than n_batch, or an unknown sequence, would abort the process; an empty batch is an error anyway.
        let fits = !batch.tokens.is_empty()
            && batch.tokens.len() <= self.n_batch
            && batch.sequences.iter().all(|s| s[0] >= 0 && s[0].unsigned_abs() < self.n_sequences);
        if !fits {
            return Err(DecodeFailed(-1));
        }
        let mut sequences: Vec<*mut i32> = batch.sequences.iter_mut().map(|s| s.as_mut_ptr()).collect();
        let raw = sys::llama_batch {
            n_tokens: i32::try_from(batch.tokens.len()).unwrap_or(0),
            token: batch.tokens.as_mut_ptr(),
            embd: ptr::null_mut(),
            pos: batch.positions.as_mut_ptr(),
            n_seq_id: batch.counts.as_mut_ptr(),
            seq_id: sequences.as_mut_ptr(),
            logits: batch.outputs.as_mut_ptr(),
        };
        self.copies_wait = false;
        // SAFETY: five arrays of n_tokens elements each, alive for the call; sizes and sequences were checked.
        match unsafe { sys::llama_decode(self.raw.as_ptr(), raw) } {
            0 => Ok(Decoded::Done),
            2 => Ok(Decoded::Aborted),
            code => Err(DecodeFailed(code)),
        }
    }

    /// Computes tokens at the beginning of one empty sequence.
    pub fn decode_alone(&mut self, tokens: &[Token], sequence: usize) -> Result<Decoded, DecodeFailed> {
        let mut batch = Batch::default();
        for (position, &token) in tokens.iter().enumerate() {
            batch.add(token, position, sequence, position + 1 == tokens.len());
        }
        self.decode(&mut batch)
    }

    /// The logits of the i-th token of the batch that was just decoded; none if they were not asked for.
    pub fn logits(&self, batch: &Batch, index: usize) -> Option<&[f32]> {
        if batch.outputs.get(index) != Some(&1) {
            return None;
        }
        let index = i32::try_from(index).ok()?;
        // SAFETY: logits of this token were asked for, so llama.cpp has them.
        let logits = unsafe { sys::llama_get_logits_ith(self.raw.as_ptr(), index) };
        // SAFETY: n_vocab floats that stay until the next decode, which needs `&mut self`.
        (!logits.is_null()).then(|| unsafe { std::slice::from_raw_parts(logits, self.n_vocab) })
    }

    /// What an encoder made of the first sequence of the batch that was just computed: its pooled embedding, its scores, or
    /// the embedding of its last token, which has this index.
    pub fn embedding(&self, last: usize) -> Option<&[f32]> {
        if self.gives() == Pooled::Nothing { self.token_embedding(last) } else { self.pooled(0) }
    }

    /// The embedding of a token of the batch that an encoder has just computed, by its index, if it pools none.
    pub fn token_embedding(&self, index: usize) -> Option<&[f32]> {
        let index = i32::try_from(index).ok()?;
        // SAFETY: the context is alive; what is not there is answered with null.
        let values = unsafe { sys::llama_get_embeddings_ith(self.raw.as_ptr(), index) };
        // SAFETY: not null: so many floats that stay until the next decode, which needs `&mut self`.
        (!values.is_null()).then(|| unsafe { std::slice::from_raw_parts(values, self.model.n_embd_out()) })
    }

    /// What an encoder makes of a whole sequence.
    pub fn gives(&self) -> Pooled {
        // SAFETY: the context is alive.
        match unsafe { sys::llama_pooling_type(self.raw.as_ptr()) } {
            sys::LLAMA_POOLING_TYPE_MEAN | sys::LLAMA_POOLING_TYPE_CLS | sys::LLAMA_POOLING_TYPE_LAST => {
                Pooled::Embedding
            }
            sys::LLAMA_POOLING_TYPE_RANK => Pooled::Scores,
            _ => Pooled::Nothing,
        }
    }

    /// What an encoder has made of a sequence of the batch that was just computed, if it makes anything of one.
    pub fn pooled(&self, sequence: usize) -> Option<&[f32]> {
        let width = match self.gives() {
            Pooled::Nothing => return None,
            Pooled::Embedding => self.model.n_embd_out(),
            Pooled::Scores => self.model.n_scores(),
        };
        let sequence = i32::try_from(sequence).ok()?;
        // SAFETY: the context is alive; what is not there is answered with null.
        let values = unsafe { sys::llama_get_embeddings_seq(self.raw.as_ptr(), sequence) };
        // SAFETY: not null: so many floats that stay until the next decode, which needs `&mut self`.
        (!values.is_null()).then(|| unsafe { std::slice::from_raw_parts(values, width) })
    }

    /// How many tokens of a sequence are in memory, counted by the last position.
    pub fn length(&self, sequence: usize) -> usize {
        let Some((memory, sequence)) = self.memory_of(sequence) else { return 0 };
        // SAFETY: the sequence is known to the context.
        let last = unsafe { sys::llama_memory_seq_pos_max(memory, sequence) };
        usize::try_from(last + 1).unwrap_or(0)
    }

    /// Forgets everything of a sequence from a position on; false if this memory can't.
    pub fn truncate(&mut self, sequence: usize, length: usize) -> bool {
        let (Some((memory, sequence)), Ok(length)) = (self.memory_of(sequence), i32::try_from(length)) else {
            return false;
        };
        // SAFETY: the sequence is known to the context.
        unsafe { sys::llama_memory_seq_rm(memory, sequence, length, -1) }
    }

    /// Copies a whole sequence over another one.
    pub fn copy(&mut self, from: usize, to: usize) {
        let (Some((memory, from)), Some((_, to))) = (self.memory_of(from), self.memory_of(to)) else { return };
        // SAFETY: both are known to the context; only whole copies are allowed between streams, and this is one.
        unsafe {
            sys::llama_memory_seq_rm(memory, to, -1, -1);
            sys::llama_memory_seq_cp(memory, from, to, -1, -1);
        }
        self.copies_wait = true;
    }

    /// What is in memory of a sequence, to be restored later; none if there is no room for so many bytes or it cannot be told apart
    /// from what is not there: before a copy has been made, without any token, and of models that attend to a window of the
    /// last tokens, where llama.cpp leaves out what has left it.
    pub fn save(&self, sequence: usize, room: impl FnOnce(usize) -> bool) -> Option<Vec<u8>> {
        if self.copies_wait || self.length(sequence) == 0 || self.model.has_window() {
            return None;
        }
        let (_, sequence) = self.memory_of(sequence)?;
        // SAFETY: the sequence is known to the context; nothing is computed meanwhile.
        let size = unsafe { sys::llama_state_seq_get_size(self.raw.as_ptr(), sequence) };
        if !room(size) {
            return None;
        }
        let mut state = vec![0; size];
        // SAFETY: the buffer has the size that is told; llama.cpp writes no more.
        let written = unsafe { sys::llama_state_seq_get_data(self.raw.as_ptr(), state.as_mut_ptr(), size, sequence) };
        // 0 is a failure.
        (written == size && size > 0).then_some(state)
    }

    /// Whether a copy between sequences waits for the next step: until then nothing can be saved or restored.
    pub fn copies_wait(&self) -> bool {
        self.copies_wait
    }

    /// Puts back what [`Context::save`] gave, into any sequence of the same context; false if that failed or a copy waits,
    /// which would be made over it. The sequence is then empty.
    pub fn restore(&mut self, sequence: usize, state: &[u8]) -> bool {
        let Some((_, number)) = self.memory_of(sequence) else { return false };
        if !self.truncate(sequence, 0) || self.copies_wait {
            return false;
        }
        // SAFETY: the sequence is known to the context, the buffer is as long as told and comes from the same context.
        let read = unsafe { sys::llama_state_seq_set_data(self.raw.as_ptr(), state.as_ptr(), state.len(), number) };
        let restored = read == state.len();
        if !restored {
            self.truncate(sequence, 0);
        }
        restored
    }

    /// The memory, where there is any, and the number of a sequence that it knows.
    fn memory_of(&self, sequence: usize) -> Option<(sys::llama_memory_t, i32)> {
        let sequence = i32::try_from(sequence).ok().filter(|s| s.unsigned_abs() < self.n_sequences)?;
        Some((self.memory?.as_ptr(), sequence))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by llama_init_from_model, freed once.
        unsafe { sys::llama_free(self.raw.as_ptr()) };
    }
}

/// Tokens to compute in one step. Add them by rising sequence: llama.cpp computes neighbours together.
#[derive(Default)]
pub struct Batch {
    tokens: Vec<Token>,
    positions: Vec<i32>,
    sequences: Vec<[i32; 1]>,
    counts: Vec<i32>,
    outputs: Vec<i8>,
}

impl Batch {
    /// Empties it for the next step.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.counts.clear();
        self.outputs.clear();
    }

    /// How many tokens are in it.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Adds a token and gives its index; with `output`, its logits can be read afterwards.
    pub fn add(&mut self, token: Token, position: usize, sequence: usize, output: bool) -> usize {
        self.tokens.push(token);
        // Values that do not fit are refused by `decode`.
        self.positions.push(i32::try_from(position).unwrap_or(-1));
        self.sequences.push([i32::try_from(sequence).unwrap_or(-1)]);
        self.counts.push(1);
        self.outputs.push(i8::from(output));
        self.tokens.len() - 1
    }
}

fn type_number(kv_type: KvType) -> sys::ggml_type {
    match kv_type {
        KvType::F16 => sys::GGML_TYPE_F16,
        KvType::Q8_0 => sys::GGML_TYPE_Q8_0,
        KvType::Q4_0 => sys::GGML_TYPE_Q4_0,
    }
}
