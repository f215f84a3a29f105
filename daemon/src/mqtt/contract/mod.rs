//! The schemas of what clients send and get: of requests from the lists of fields that the parser has, of replies from the types that
//! are written.
//!
//! A schema never refuses what the parser takes. The parser refuses more, such as blank texts, bytes beyond a limit of the configuration,
//! steps that wait for each other or templates that are none. The tests of the contract hold both against each other.

mod fields;
mod replies;
mod requests;

pub use replies::reply_schemas;
pub use requests::{addressed_fields, request_schemas, sent_object, text_tasks};
