//! One job of an encoder: its texts, and what has been made of them.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::answers::{broken, embedding, labels, ranking};
use crate::engine::child::link::Shared;
use crate::engine::child::llama::{Model, Pooled, Token};
use crate::engine::protocol::{Answer, EngineJob};
use crate::job::{Encoding, ErrorCode, Finish, Input, JobError, JobId, Output, Task, Usage};

/// What a loaded encoder can do.
pub struct Skills {
    model: Rc<Model>,
    /// What it makes of a whole text.
    gives: Pooled,
    /// The classes of its head, if it has one.
    labels: Rc<[String]>,
    /// Most tokens of a text.
    most: usize,
    /// How many tokens a text without any has.
    empty: usize,
}

/// What becomes of what is computed.
enum Purpose {
    /// The answer is what the one text gives.
    One(Making),
    /// The answer is what each text gives.
    Many(Making),
    /// The first text is a question, and the answer how well the others fit.
    Ranking,
}

/// What is made of one text.
enum Making {
    Embedding(Encoding),
    Labels(Rc<[String]>),
}

/// A job that is not finished.
pub struct Work {
    job: JobId,
    received: Instant,
    purpose: Purpose,
    /// Texts that are not computed yet: their places among all, and their tokens.
    waiting: VecDeque<(usize, Vec<Token>)>,
    /// By the places of the texts; none where one waits.
    vectors: Vec<Option<Result<Vec<f32>, JobError>>>,
    tokens: usize,
}

impl Skills {
    /// Of a model whose context gives this for a text of so many tokens at most.
    pub fn new(model: Rc<Model>, gives: Pooled, most: usize) -> Self {
        let labels = if gives == Pooled::Scores { model.labels().into() } else { Rc::from([]) };
        let empty = model.tokenize_whole("").map_or(0, |tokens| tokens.len());
        Self { model, gives, labels, most, empty }
    }

    /// Tokenizes the texts of a job. One that has more tokens than a step takes, or none, has its error already.
    pub fn begin(&self, job: EngineJob, received: Instant, shared: &Shared) -> Result<Work, JobError> {
        let EngineJob { id: job, task, .. } = job;
        let (purpose, texts) = self.purpose(task)?;
        let (waiting, vectors) = (VecDeque::new(), Vec::with_capacity(texts.len()));
        let mut work = Work { job, received, purpose, waiting, vectors, tokens: 0 };
        for (place, text) in texts.iter().enumerate() {
            // Many long texts take the tokenizer a while.
            shared.progress();
            match self.tokens(text) {
                Ok(tokens) => {
                    work.tokens += tokens.len();
                    work.waiting.push_back((place, tokens));
                    work.vectors.push(None);
                }
                Err(error) => work.vectors.push(Some(Err(error))),
            }
        }
        Ok(work)
    }

    fn purpose(&self, task: Task) -> Result<(Purpose, Vec<String>), JobError> {
        let name = task.name();
        let purpose = match (task, self.gives) {
            (Task::Embed { input, encoding }, Pooled::Embedding) => of_each(input, Making::Embedding(encoding)),
            (Task::Rerank { question, mut documents }, Pooled::Embedding) => {
                documents.insert(0, question);
                (Purpose::Ranking, documents)
            }
            (Task::Classify { input }, Pooled::Scores) if self.labels.len() > 1 => {
                of_each(input, Making::Labels(Rc::clone(&self.labels)))
            }
            (_, gives) => {
                let what = match gives {
                    Pooled::Nothing => "an encoder whose file names no pooling",
                    Pooled::Embedding => "an encoder that makes embeddings",
                    Pooled::Scores if self.labels.len() > 1 => "a classifier",
                    Pooled::Scores => "a classifier with a single class",
                };
                let text = format!("the model is {what}: it can't do the task \"{name}\"");
                return Err(JobError::new(ErrorCode::InvalidRequest, text));
            }
        };
        Ok(purpose)
    }

    fn tokens(&self, text: &str) -> Result<Vec<Token>, JobError> {
        let blank =
            || JobError::new(ErrorCode::InvalidRequest, "the text is empty, or has nothing that the model knows");
        if text.trim().is_empty() {
            return Err(blank());
        }
        let tokens = self.model.tokenize_whole(text);
        let tokens = tokens.map_err(|error| JobError::new(ErrorCode::EngineFailed, error.to_string()))?;
        match tokens.len() {
            count if count <= self.empty => Err(blank()),
            count if count > self.most => {
                let text = format!("the text has {count} tokens; the model takes {} at once", self.most);
                Err(JobError::new(ErrorCode::ContextOverflow, text))
            }
            _ => Ok(tokens),
        }
    }
}

fn of_each(input: Input, making: Making) -> (Purpose, Vec<String>) {
    match input {
        Input::One(text) => (Purpose::One(making), vec![text]),
        Input::Many(texts) => (Purpose::Many(making), texts),
    }
}

impl Making {
    fn make(&self, values: &[f32]) -> Result<Output, JobError> {
        match self {
            Self::Embedding(encoding) => embedding(values, *encoding),
            Self::Labels(names) => labels(values, names),
        }
    }
}

impl Work {
    /// Which job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The tokens of the n-th text that is not computed yet.
    pub fn waiting(&self, n: usize) -> Option<&[Token]> {
        self.waiting.get(n).map(|(_, tokens)| tokens.as_slice())
    }

    /// The first text that waits has been computed.
    pub fn computed(&mut self, values: Option<&[f32]>) {
        let Some((place, _)) = self.waiting.pop_front() else { return };
        self.vectors[place] = Some(values.map(<[f32]>::to_vec).ok_or_else(broken));
    }

    /// Whether no text waits.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The answer, once no text waits.
    pub fn finish(self) -> Result<Answer, JobError> {
        let mut vectors = self.vectors.into_iter().flatten();
        let output = match self.purpose {
            Purpose::One(making) => making.make(&first(&mut vectors)?)?,
            Purpose::Many(making) => {
                Output::Each(vectors.map(|vector| vector.and_then(|values| making.make(&values))).collect())
            }
            Purpose::Ranking => {
                let question = first(&mut vectors)?;
                let documents = vectors.enumerate().map(|(index, document)| {
                    document.map_err(|JobError { code, message, .. }| {
                        JobError::new(code, format!("documents[{index}]: {message}"))
                    })
                });
                ranking(&question, &documents.collect::<Result<Vec<_>, _>>()?)?
            }
        };
        let prompt_tokens = u32::try_from(self.tokens).unwrap_or(u32::MAX);
        Ok(Answer {
            output,
            last_delta: None,
            finish: Finish::Stop,
            usage: Usage { prompt_tokens, cached_tokens: 0, generated_tokens: 0 },
            prefill: self.received.elapsed(),
            decode: Duration::ZERO,
        })
    }
}

/// What was made of the first text, which every job has.
fn first(vectors: &mut impl Iterator<Item = Result<Vec<f32>, JobError>>) -> Result<Vec<f32>, JobError> {
    vectors.next().unwrap_or_else(|| Err(JobError::new(ErrorCode::Internal, "a job without a text")))
}
