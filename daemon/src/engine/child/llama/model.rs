//! Weights, vocabulary and what a model says of itself.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

use llama_cpp_sys_2 as sys;

use super::{Backend, LlamaError, Token};
use crate::engine::child::grammar::Vocabulary;
use crate::engine::child::logs;
use crate::engine::protocol::ModelKind;
use crate::plan::{GpuLayers, Tuning};

/// Weights and vocabulary.
pub struct Model {
    pub(super) raw: NonNull<sys::llama_model>,
    kind: ModelKind,
}

impl Model {
    /// Loads a model file. The closure gets the share that is read, 0 to 1, and says whether to go on.
    pub fn load(
        _backend: &Backend,
        path: &CStr,
        kind: ModelKind,
        layers: GpuLayers,
        tuning: Tuning,
        mut progress: impl FnMut(f32) -> bool,
    ) -> Result<Self, LlamaError> {
        extern "C" fn report<F: FnMut(f32) -> bool>(share: f32, closure: *mut c_void) -> bool {
            // SAFETY: the pointer below, to a closure that outlives the load, on the thread that called it.
            let closure = unsafe { &mut *closure.cast::<F>() };
            closure(share)
        }
        // Names the type of the closure, which has no name of its own.
        fn reporter<F: FnMut(f32) -> bool>(_: &F) -> unsafe extern "C" fn(f32, *mut c_void) -> bool {
            report::<F>
        }
        let mut params = model_params(layers, tuning);
        params.progress_callback = Some(reporter(&progress));
        params.progress_callback_user_data = (&raw mut progress).cast();
        // SAFETY: the path is a C string; the parameters point to `progress`, which outlives the call.
        let raw = unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) };
        NonNull::new(raw).map(|raw| Self { raw, kind }).ok_or_else(refused)
    }

    /// Reads header and vocabulary, and decides which device would hold which weights, without memory for them. A context
    /// of such a model can only be measured.
    pub fn dry(
        _backend: &Backend,
        path: &CStr,
        kind: ModelKind,
        layers: GpuLayers,
        tuning: Tuning,
    ) -> Result<Self, LlamaError> {
        let mut params = model_params(layers, tuning);
        params.no_alloc = true;
        // There is nothing to map, and llama.cpp aborts if it should.
        params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
        // SAFETY: the path is a C string.
        let raw = unsafe { sys::llama_model_load_from_file(path.as_ptr(), params) };
        NonNull::new(raw).map(|raw| Self { raw, kind }).ok_or_else(refused)
    }

    fn vocab(&self) -> *const sys::llama_vocab {
        // SAFETY: the model is alive; the vocabulary lives as long as it.
        unsafe { sys::llama_model_get_vocab(self.raw.as_ptr()) }
    }

    /// Such as `llama 134M Q4_1`.
    pub fn description(&self) -> String {
        let mut buffer = [0u8; 256];
        // SAFETY: the buffer's length is passed; llama.cpp ends the text within it.
        unsafe { sys::llama_model_desc(self.raw.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        CStr::from_bytes_until_nul(&buffer).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether the end of a sequence can be removed from memory; recurrent states can't go back.
    pub fn can_rewind(&self) -> bool {
        let model = self.raw.as_ptr();
        // SAFETY: the model is alive.
        unsafe { !sys::llama_model_is_recurrent(model) && !sys::llama_model_is_hybrid(model) }
    }

    /// Whether some of its layers attend only to a window of the last tokens.
    pub fn has_window(&self) -> bool {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_n_swa(self.raw.as_ptr()) > 0 }
    }

    /// Whether it generates text, or makes embeddings of it.
    pub fn generates(&self) -> bool {
        self.kind == ModelKind::Decoder
    }

    /// Such a model needs an encoder's context beside the decoder's.
    pub fn has_encoder(&self) -> bool {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_has_encoder(self.raw.as_ptr()) }
    }

    /// The chat template of the file, if there is one.
    pub fn chat_template(&self) -> Option<String> {
        // SAFETY: without a name the text belongs to the model, which is alive.
        let text = unsafe { sys::llama_model_chat_template(self.raw.as_ptr(), ptr::null()) };
        // SAFETY: not null, a C string of the model.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    }

    /// Number of tokens in the vocabulary.
    pub fn n_vocab(&self) -> usize {
        // SAFETY: the vocabulary is alive.
        unsafe { sys::llama_vocab_n_tokens(self.vocab()) }.unsigned_abs() as usize
    }

    /// Width of the embedding.
    pub fn n_embd(&self) -> usize {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_n_embd(self.raw.as_ptr()) }.unsigned_abs() as usize
    }

    /// Width of the embeddings that it gives.
    pub fn n_embd_out(&self) -> usize {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_n_embd_out(self.raw.as_ptr()) }.unsigned_abs() as usize
    }

    /// Scores that its classification head gives, if it has one.
    pub fn n_scores(&self) -> usize {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_n_cls_out(self.raw.as_ptr()) as usize }
    }

    /// The classes of those scores. One without a name is called as Hugging Face calls it.
    pub fn labels(&self) -> Vec<String> {
        let label = |index: usize| {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            // SAFETY: the model is alive, and so is the text, if it has one.
            let text = unsafe { sys::llama_model_cls_label(self.raw.as_ptr(), number) };
            if text.is_null() {
                return format!("LABEL_{index}");
            }
            // SAFETY: not null, a C string of the model.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        (0..self.n_scores()).map(label).collect()
    }

    /// Whether its tokenizer is `WordPiece`, which cuts each word for itself.
    pub fn cuts_words(&self) -> bool {
        // SAFETY: the vocabulary is alive.
        unsafe { sys::llama_vocab_type(self.vocab()) == sys::LLAMA_VOCAB_TYPE_WPM }
    }

    /// Longest context that it was trained with.
    pub fn trained_context(&self) -> u32 {
        // SAFETY: the model is alive.
        unsafe { sys::llama_model_n_ctx_train(self.raw.as_ptr()) }.unsigned_abs()
    }

    /// The token that begins a text, if the model wants one.
    pub fn bos(&self) -> Option<Token> {
        // SAFETY: the vocabulary is alive.
        unsafe { sys::llama_vocab_get_add_bos(self.vocab()).then(|| sys::llama_vocab_bos(self.vocab())) }
            .filter(|token| *token >= 0)
    }

    /// The texts of the beginning and the end of a sequence, as templates know them.
    pub fn bos_eos_text(&self) -> (String, String) {
        // SAFETY: the vocabulary is alive.
        let (bos, eos) = unsafe { (sys::llama_vocab_bos(self.vocab()), sys::llama_vocab_eos(self.vocab())) };
        (self.token_text(bos), self.token_text(eos))
    }

    /// Whether a token ends the generation.
    pub fn is_end(&self, token: Token) -> bool {
        // SAFETY: the vocabulary is alive; an unknown token is answered with false.
        unsafe { sys::llama_vocab_is_eog(self.vocab(), token) }
    }

    fn token_text(&self, token: Token) -> String {
        if token < 0 || token.unsigned_abs() as usize >= self.n_vocab() {
            return String::new();
        }
        // SAFETY: the token is in range; the text lives as long as the vocabulary.
        unsafe { CStr::from_ptr(sys::llama_vocab_get_text(self.vocab(), token)) }.to_string_lossy().into_owned()
    }

    /// The control tokens of the vocabulary, with their texts and whether they swallow blanks on their left and right.
    pub fn control_tokens(&self) -> Vec<ControlToken> {
        let wanted = sys::LLAMA_TOKEN_ATTR_CONTROL | sys::LLAMA_TOKEN_ATTR_UNKNOWN;
        let count = Token::try_from(self.n_vocab()).unwrap_or(Token::MAX);
        (0..count)
            .filter_map(|token| {
                // SAFETY: the token is in range.
                let attributes = unsafe { sys::llama_vocab_get_attr(self.vocab(), token) };
                let text =
                    (attributes & wanted != 0).then(|| self.token_text(token)).filter(|text| !text.is_empty())?;
                Some(ControlToken {
                    token,
                    text,
                    strips_left: attributes & sys::LLAMA_TOKEN_ATTR_LSTRIP != 0,
                    strips_right: attributes & sys::LLAMA_TOKEN_ATTR_RSTRIP != 0,
                })
            })
            .collect()
    }

    /// Bytes of the longest token: no text has fewer tokens than its length divided by this.
    pub fn longest_token(&self) -> usize {
        let count = Token::try_from(self.n_vocab()).unwrap_or(Token::MAX);
        (0..count).map(|token| self.token_text(token).len()).max().unwrap_or(1).max(1)
    }

    /// The bytes of each token as they come in an answer, and the tokens that end one.
    pub fn vocabulary(&self) -> Vocabulary {
        let count = Token::try_from(self.n_vocab()).unwrap_or(Token::MAX);
        let mut vocabulary = Vocabulary::default();
        for token in 0..count {
            let mut word = Vec::new();
            if self.is_end(token) {
                vocabulary.ends.push(token.unsigned_abs());
            } else {
                self.append_piece(token, &mut word);
            }
            vocabulary.words.push(word);
        }
        vocabulary
    }

    /// Tokens of a plain text, in which nothing is taken for a control token.
    pub fn tokenize(&self, text: &str) -> Result<Vec<Token>, LlamaError> {
        self.tokens(text, false)
    }

    /// The same with the tokens that begin and end a text of its own, as the model was trained with them.
    pub fn tokenize_whole(&self, text: &str) -> Result<Vec<Token>, LlamaError> {
        self.tokens(text, true)
    }

    fn tokens(&self, text: &str, whole: bool) -> Result<Vec<Token>, LlamaError> {
        let failed = || LlamaError::Tokenize(text.len());
        let length = i32::try_from(text.len()).map_err(|_| failed())?;
        // A token is at least a byte; a blank may be put before the text, and one token at each end.
        let mut tokens = vec![0; text.len() + 4];
        let capacity = i32::try_from(tokens.len()).map_err(|_| failed())?;
        // SAFETY: both buffers are passed with their lengths.
        let count = unsafe {
            sys::llama_tokenize(self.vocab(), text.as_ptr().cast(), length, tokens.as_mut_ptr(), capacity, whole, false)
        };
        tokens.truncate(usize::try_from(count).map_err(|_| failed())?);
        Ok(tokens)
    }

    /// Appends the bytes of a token; control tokens have none.
    pub fn append_piece(&self, token: Token, bytes: &mut Vec<u8>) {
        let mut buffer = [0u8; 128];
        // SAFETY: the buffer is passed with its length.
        let length =
            unsafe { sys::llama_token_to_piece(self.vocab(), token, buffer.as_mut_ptr().cast(), 128, 0, false) };
        if let Ok(length) = usize::try_from(length) {
            bytes.extend_from_slice(&buffer[..length.min(buffer.len())]);
            return;
        }
        // Negative: the length that is needed.
        let mut long = vec![0u8; length.unsigned_abs() as usize];
        let capacity = i32::try_from(long.len()).unwrap_or(0);
        // SAFETY: as above.
        let length =
            unsafe { sys::llama_token_to_piece(self.vocab(), token, long.as_mut_ptr().cast(), capacity, 0, false) };
        long.truncate(usize::try_from(length).unwrap_or(0));
        bytes.append(&mut long);
    }
}

/// llama.cpp tells why only in its log.
fn refused() -> LlamaError {
    LlamaError::Model(logs::first_error().unwrap_or("its log tells why"))
}

fn model_params(layers: GpuLayers, tuning: Tuning) -> sys::llama_model_params {
    // SAFETY: plain data.
    let mut params = unsafe { sys::llama_model_default_params() };
    params.n_gpu_layers = match layers {
        GpuLayers::None => 0,
        GpuLayers::Some(count) => i32::try_from(count).unwrap_or(i32::MAX),
        GpuLayers::All => -1,
    };
    params.use_extra_bufts = tuning.repack;
    if !tuning.map {
        params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
    }
    params
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: made by llama_model_load_from_file; every context holds an `Rc` of it, so none is left.
        unsafe { sys::llama_model_free(self.raw.as_ptr()) };
    }
}

/// A token that steers the model, such as `<|im_end|>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlToken {
    /// Its number.
    pub token: Token,
    /// How it is written.
    pub text: String,
    /// Swallows blanks before it.
    pub strips_left: bool,
    /// Swallows blanks after it.
    pub strips_right: bool,
}
