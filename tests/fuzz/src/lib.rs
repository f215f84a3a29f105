//! What the fuzz targets share: a node without a broker and without models, and the messages that come to it.

mod message;
mod node;
mod running;

pub use message::message;
pub use node::Node;
