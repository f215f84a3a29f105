//! The classification head that is applied to each token: llama.cpp computes such heads for whole texts only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use thiserror::Error;

use super::tag::Tag;
use crate::engine::child::llama::{Model, numbers};
use crate::gguf::{Gguf, GgufError, HEAD_BIAS, HEAD_WEIGHT, Tensor};

/// Largest head in bytes; one of 1000 classes on 1024 numbers has 4 MB.
const HEAD_MAX: u64 = 64 * 1024 * 1024;

/// Why a head cannot be used.
#[derive(Debug, Error)]
pub enum HeadError {
    /// The file could not be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file is not what was checked.
    #[error(transparent)]
    Malformed(#[from] GgufError),
    /// It has not the shape of a head of this model.
    #[error("the tensor {name} has the shape {found:?}; the model and its labels need {expected:?}")]
    Shape {
        /// Which tensor.
        name: &'static str,
        /// Its dimensions.
        found: [u64; 4],
        /// What they must be.
        expected: [u64; 4],
    },
    /// It is larger than any.
    #[error("the tensor {name} has {found} bytes; the limit is {HEAD_MAX}")]
    TooLarge {
        /// Which tensor.
        name: &'static str,
        /// Its size.
        found: u64,
    },
    /// Its numbers are of a type that cannot be converted.
    #[error("the tensor {name} has the type {kind}, of which no numbers can be made")]
    Type {
        /// Which tensor.
        name: &'static str,
        /// Its type.
        kind: &'static str,
    },
    /// Words can't be told from tokens.
    #[error("a head for tokens needs a WordPiece vocabulary")]
    NotWordPiece,
}

/// A linear layer, and what its outputs mean.
pub struct Head {
    /// For each class the weights of an embedding's numbers.
    weight: Vec<f32>,
    /// Added to each output.
    bias: Vec<f32>,
    /// The classes, in the order of the outputs.
    pub tags: Vec<Tag>,
}

impl Head {
    /// Reads the head of a model that pools nothing, if its file has one.
    pub fn read(model: &Model, file: &OwnedFd) -> Result<Option<Self>, HeadError> {
        let file = File::from(file.as_fd().try_clone_to_owned()?);
        let gguf = Gguf::read(&file, file.metadata()?.len())?;
        let Some(weight) = gguf.tensor(HEAD_WEIGHT) else { return Ok(None) };
        if !model.cuts_words() {
            return Err(HeadError::NotWordPiece);
        }
        let tags: Vec<Tag> = model.labels().iter().map(|label| Tag::of(label)).collect();
        let (width, classes) = (model.n_embd_out() as u64, tags.len() as u64);
        let weight = values(&file, HEAD_WEIGHT, weight, [width, classes, 1, 1])?;
        let bias = match gguf.tensor(HEAD_BIAS) {
            Some(bias) => values(&file, HEAD_BIAS, bias, [classes, 1, 1, 1])?,
            None => vec![0.0; tags.len()],
        };
        Ok(Some(Self { weight, bias, tags }))
    }

    /// The probabilities of the classes for a token's embedding; none if they are no numbers.
    pub fn probabilities(&self, embedding: &[f32]) -> Option<Vec<f32>> {
        let rows = self.weight.chunks_exact(embedding.len().max(1));
        let sum = |(row, bias): (&[f32], &f32)| row.iter().zip(embedding).map(|(a, b)| a * b).sum::<f32>() + bias;
        super::answers::softmax(&rows.zip(&self.bias).map(sum).collect::<Vec<f32>>())
    }
}

fn values(file: &File, name: &'static str, tensor: &Tensor, expected: [u64; 4]) -> Result<Vec<f32>, HeadError> {
    if tensor.shape != expected {
        return Err(HeadError::Shape { name, found: tensor.shape, expected });
    }
    let bytes = tensor.bytes;
    let size = usize::try_from(bytes).ok().filter(|_| bytes <= HEAD_MAX);
    let mut data = vec![0; size.ok_or(HeadError::TooLarge { name, found: bytes })?];
    file.read_exact_at(&mut data, tensor.offset)?;
    let count = usize::try_from(tensor.elements()).unwrap_or(usize::MAX);
    numbers(tensor.kind, &data, count).ok_or(HeadError::Type { name, kind: tensor.kind.name() })
}
