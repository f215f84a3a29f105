//! What the fleet sees: documents, metrics, and what both are made of.

mod contract;
mod deadband;
mod documents;
mod energy;
mod event;
#[cfg(test)]
mod example;
mod flat;
mod health;
mod history;
mod home_assistant;
mod info;
mod machine;
mod metrics;
mod page;
mod snapshot;
mod state;
mod thin_edge;
#[cfg(test)]
mod topics_tests;

pub use contract::{API_VERSION, TELEMETRY_NUMBERS, document_schemas};
pub use deadband::{HealthPace, HealthWatch};
pub use documents::{DOCUMENT_MAX, Documents, ModelDocument, ModelMemory, ModelStage, RejectedStrategy, Status, json};
pub use energy::EnergyMeter;
pub use event::{EventKind, JobChange, ModelEvent, NodeEvent, job_state};
pub use flat::{telemetry_message, telemetry_numbers};
pub use health::{health_document, health_value};
pub use history::History;
pub use home_assistant::{NodeTopics, home_assistant};
pub use info::{InfoLimits, NodeInfo, SelfTest, TaskInfo, TlsDates, timestamp};
pub use metrics::{EngineFault, EngineMetrics, JobMetrics, JobTotals, Metrics};
pub use page::{STATUS_PAGE, status_page_policy};
pub use snapshot::{Energy, GovernorLevel, JournalReading, LinkReading, ModelReading, OpenJobs, Snapshot};
pub use state::NodeState;
pub use thin_edge::{ServiceHealth, thin_edge};
