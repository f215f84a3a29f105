//! What a loaded encoder can do, and what of it a job asks for.

use std::rc::Rc;
use std::time::Instant;

use super::answers::{Scores, broken, embedding, labels};
use super::entities::entities;
use super::head::Head;
use super::tag::Tag;
use super::words::{Tokenized, windows};
use super::work::{Piece, Text, Work};
use crate::engine::child::link::Shared;
use crate::engine::child::llama::{Context, LlamaError, Model, Pooled, Token};
use crate::engine::protocol::EngineJob;
use crate::job::{Encoding, ErrorCode, Input, JobError, Output, Task};

/// What a loaded encoder can do.
pub struct Skills {
    model: Rc<Model>,
    /// What it makes of a text.
    gives: Gives,
    /// Most tokens of a text.
    most: usize,
    /// The tokens before and after every text.
    around: (Vec<Token>, Vec<Token>),
}

/// What an encoder makes of a text.
enum Gives {
    /// Nothing.
    Nothing,
    /// One embedding.
    Embedding,
    /// How well each of these classes fits.
    Scores(Rc<[String]>, Scores),
    /// The classes of its tokens.
    Tags(Rc<Head>),
}

/// What becomes of what is computed.
pub enum Purpose {
    /// The answer is what the one text gives.
    One(Making),
    /// The answer is what each text gives.
    Many(Making),
    /// The first text is a question, and the answer how well the others fit.
    Ranking,
}

/// What is made of one text.
pub enum Making {
    /// Its embedding.
    Embedding(Encoding),
    /// Its class.
    Labels(Rc<[String]>, Scores),
    /// What it names, of these types.
    Entities(Rc<Head>, Vec<String>),
}

impl Skills {
    /// Of a model and its context. The head is for the tokens of a model that pools none; with `multi_label` a text may be of several
    /// classes.
    pub fn new(model: Rc<Model>, context: &Context, head: Option<Head>, multi_label: bool) -> Self {
        let scores = if multi_label { Scores::OfEach } else { Scores::OfOne };
        let gives = match (context.gives(), head) {
            (Pooled::Embedding, _) => Gives::Embedding,
            (Pooled::Scores, _) => Gives::Scores(model.labels().into(), scores),
            (Pooled::Nothing, Some(head)) => Gives::Tags(Rc::new(head)),
            (Pooled::Nothing, None) => Gives::Nothing,
        };
        // What a text without any words has: CLS before, SEP behind.
        let mut before = model.tokenize_whole("").unwrap_or_default();
        let behind = before.split_off(before.len().min(1));
        Self { model, gives, most: context.n_batch(), around: (before, behind) }
    }

    /// What has been computed of a piece, whose tokens stand in the batch from `first` on as this sequence.
    pub fn computed(&self, context: &Context, sequence: usize, first: usize, tokens: usize) -> Option<Vec<f32>> {
        let Gives::Tags(head) = &self.gives else { return context.pooled(sequence).map(<[f32]>::to_vec) };
        let mut values = Vec::with_capacity(tokens * head.tags.len());
        for index in first..first + tokens {
            values.append(&mut head.probabilities(context.token_embedding(index)?)?);
        }
        Some(values)
    }

    /// Tokenizes the texts of a job. One that has more tokens than a step takes, or none, has its error already.
    pub fn begin(&self, job: EngineJob, received: Instant, shared: &Shared) -> Result<Work, JobError> {
        let EngineJob { id: job, task, .. } = job;
        let (purpose, texts) = self.purpose(task)?;
        let by_words = matches!(&purpose, Purpose::One(Making::Entities(..)) | Purpose::Many(Making::Entities(..)));
        let mut work = Work::new(job, received, purpose);
        for text in texts {
            // Many long texts take the tokenizer a while.
            shared.progress();
            let cut = if by_words { self.windows(text, shared) } else { self.whole(&text) };
            work.add(cut);
        }
        Ok(work)
    }

    fn purpose(&self, task: Task) -> Result<(Purpose, Vec<String>), JobError> {
        let name = task.name();
        let purpose = match (task, &self.gives) {
            (Task::Embed { input, encoding }, Gives::Embedding) => of_each(input, Making::Embedding(encoding)),
            (Task::Rerank { question, mut documents }, Gives::Embedding) => {
                documents.insert(0, question);
                (Purpose::Ranking, documents)
            }
            (Task::Classify { input, .. }, Gives::Scores(labels, scores)) if labels.len() > 1 => {
                of_each(input, Making::Labels(Rc::clone(labels), *scores))
            }
            (Task::Extract { input, types }, Gives::Tags(head)) => {
                check_types(&types, &head.tags)?;
                of_each(input, Making::Entities(Rc::clone(head), types))
            }
            (_, gives) => {
                let what = match gives {
                    Gives::Nothing => "an encoder whose file names neither pooling nor a head",
                    Gives::Embedding => "an encoder that makes embeddings",
                    Gives::Scores(labels, _) if labels.len() > 1 => "a classifier",
                    Gives::Scores(..) => "a classifier with a single class",
                    Gives::Tags(_) => "a classifier of tokens",
                };
                let text = format!("the model is {what}: it can't do the task \"{name}\"");
                return Err(JobError::new(ErrorCode::InvalidRequest, text));
            }
        };
        Ok(purpose)
    }

    /// A text that is computed at once.
    fn whole(&self, text: &str) -> Result<(Text, Vec<Piece>), JobError> {
        if text.trim().is_empty() {
            return Err(blank());
        }
        let tokens = self.model.tokenize_whole(text).map_err(|error| untokenized(&error))?;
        match tokens.len() {
            count if count <= self.empty() => Err(blank()),
            count if count > self.most => {
                let text = format!("the text has {count} tokens; the model takes {} at once", self.most);
                Err(JobError::new(ErrorCode::ContextOverflow, text))
            }
            _ => Ok((Text::whole(), vec![Piece { tokens, kept: 0..0 }])),
        }
    }

    /// A text of which each token counts; a long one is computed in several windows.
    fn windows(&self, text: String, shared: &Shared) -> Result<(Text, Vec<Piece>), JobError> {
        let words = Tokenized::of(&self.model, text, || shared.progress()).map_err(|error| untokenized(&error))?;
        if words.tokens.is_empty() {
            return Err(blank());
        }
        let (before, behind) = &self.around;
        let pieces = windows(words.tokens.len(), self.most.saturating_sub(self.empty())).into_iter().map(|window| {
            let inner = &words.tokens[window.tokens.clone()];
            let shift = |place: usize| place - window.tokens.start + before.len();
            let kept = shift(window.kept.start)..shift(window.kept.end);
            Piece { tokens: [before.as_slice(), inner, behind].concat(), kept }
        });
        let pieces = pieces.collect();
        Ok((Text::of_words(words), pieces))
    }

    /// How many tokens a text without any has.
    fn empty(&self) -> usize {
        self.around.0.len() + self.around.1.len()
    }
}

fn of_each(input: Input, making: Making) -> (Purpose, Vec<String>) {
    match input {
        Input::One(text) => (Purpose::One(making), vec![text]),
        Input::Many(texts) => (Purpose::Many(making), texts),
    }
}

/// What the model knows nothing of can't be found.
fn check_types(types: &[String], tags: &[Tag]) -> Result<(), JobError> {
    let known = |wanted: &&String| tags.iter().any(|tag| tag.kind() == Some(wanted.as_str()));
    let Some(unknown) = types.iter().find(|wanted| !known(wanted)) else { return Ok(()) };
    let mut kinds: Vec<&str> = tags.iter().filter_map(Tag::kind).collect();
    kinds.dedup();
    let text = format!("field \"types\": the model knows no type {unknown:?}; it knows {}", kinds.join(", "));
    Err(JobError::new(ErrorCode::InvalidRequest, text))
}

fn blank() -> JobError {
    JobError::new(ErrorCode::InvalidRequest, "the text is empty, or has nothing that the model knows")
}

fn untokenized(error: &LlamaError) -> JobError {
    JobError::new(ErrorCode::EngineFailed, error.to_string())
}

impl Making {
    /// The output for a text of which everything is computed.
    pub fn make(&self, text: &Text) -> Result<Output, JobError> {
        match self {
            Self::Embedding(encoding) => embedding(&text.values, *encoding),
            Self::Labels(names, scores) => labels(&text.values, names, *scores),
            Self::Entities(head, types) => {
                let words = text.words.as_ref().ok_or_else(broken)?;
                Ok(Output::Entities(entities(words, &head.tags, &text.values, types)))
            }
        }
    }
}
