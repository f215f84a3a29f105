//! How large the outcome of a request is expected to be: so much room the journal keeps for it.

use crate::job::{Encoding, ReplyTo, Request, Task};

/// What a reply has around its output at most, without what it echoes of the request.
const REPLY_FRAME: usize = 2048;

/// Bytes of a token in JSON: most have four or five letters, and what is escaped takes more.
const BYTES_PER_TOKEN: usize = 16;

/// Bytes that tell how likely a token was, or an alternative to it.
const LOGPROB_BYTES: usize = 48;

/// Bytes of an embedding of 1024 numbers, more than most models of a size for the edge give.
const BASE64_BYTES: usize = 6 * 1024;
const ARRAY_BYTES: usize = 14 * 1024;

/// Bytes of the classes of one text: two dozen of them.
const LABELS_BYTES: usize = 1024;

/// Bytes of one label of a request with its score.
const LABEL_BYTES: usize = 64;

/// Bytes of what is found in one text: two dozen entities.
const ENTITIES_BYTES: usize = 2048;
/// Bytes around each of many outputs.
const ITEM_FRAME: usize = 32;

/// Bytes of one document's place.
const RANKED_BYTES: usize = 48;

/// Bytes that the outcome of a request is expected to take. One that takes more needs room that is free.
pub(super) fn expected_outcome(request: &Request, reply: &ReplyTo, result_max: usize) -> usize {
    let echo = serde_json::to_vec(&reply.echo).map_or(0, |text| text.len());
    let mark = reply.reference.as_ref().map_or(0, String::len) + reply.correlation.as_ref().map_or(0, Vec::len);
    // Parts have a head besides, which echoes the same.
    let heads = if reply.parts { 2 } else { 1 };
    REPLY_FRAME + reply.topic.len() + heads * (echo + mark) + output(request).min(2 * result_max)
}

fn output(request: &Request) -> usize {
    let (count, each) = match &request.task {
        // What a pipeline gives nobody knows; for most it is one answer.
        Task::Generate { .. } | Task::Chat { .. } | Task::Long { .. } | Task::Pipeline(_) => {
            (request.output.max_tokens as usize, bytes_per_token(request))
        }
        Task::Embed { input, encoding: Encoding::Base64 } => (input.texts().len(), BASE64_BYTES),
        Task::Embed { input, encoding: Encoding::Array } => (input.texts().len(), ARRAY_BYTES),
        Task::Classify { labels, .. } if !labels.is_empty() => (labels.len(), LABEL_BYTES),
        Task::Classify { input, .. } => (input.texts().len(), LABELS_BYTES),
        Task::Answer { .. } => (1, ENTITIES_BYTES),
        Task::Extract { input, .. } => (input.texts().len(), ENTITIES_BYTES),
        Task::Rerank { documents, .. } => (documents.len(), RANKED_BYTES),
        Task::Each { items, .. } => {
            let tokens = request.output.max_tokens as usize;
            (items.len(), tokens.saturating_mul(BYTES_PER_TOKEN).saturating_add(ITEM_FRAME))
        }
    };
    count.saturating_mul(each)
}

fn bytes_per_token(request: &Request) -> usize {
    let told = request.output.logprobs.map_or(0, |alternatives| usize::from(alternatives) + 1);
    BYTES_PER_TOKEN + told * LOGPROB_BYTES
}
