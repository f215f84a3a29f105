//! What the fleet sees: the documents of the retained topics.

mod documents;
mod info;
mod state;

pub use documents::{
    DOCUMENT_MAX, Documents, ModelDocument, ModelEvent, ModelMemory, ModelStage, NodeEvent, RejectedStrategy, json,
};
pub use info::{InfoLimits, NodeInfo, SelfTest, TaskInfo, TlsDates, timestamp};
pub use state::NodeState;
