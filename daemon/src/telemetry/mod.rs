//! What the fleet sees: the documents of the retained topics.

mod documents;
mod state;

pub use documents::{
    DOCUMENT_MAX, Documents, InfoLimits, ModelDocument, ModelEvent, ModelMemory, ModelStage, RejectedStrategy,
    TaskInfo, TlsDates, json,
};
pub use state::NodeState;
