//! The retained documents: the last payload for each topic.

use bytes::Bytes;

use super::Publication;
use super::fault::Blame;
use super::suspicion::Suspicion;

struct Document {
    topic: String,
    payload: Bytes,
    due: bool,
    suspicion: Suspicion,
}

/// Every retained document, in the order in which they first came. They are never removed, so that an index stays.
#[derive(Default)]
pub(super) struct Documents(Vec<Document>);

impl Documents {
    /// Sent if it changed.
    pub fn set(&mut self, topic: String, payload: Bytes) {
        let document = Document { topic, payload, due: true, suspicion: Suspicion::default() };
        match self.0.iter_mut().find(|known| known.topic == document.topic) {
            Some(known) if known.payload == document.payload => {}
            Some(known) => *known = document,
            None => self.0.push(document),
        }
    }

    /// After a connect: the broker may have lost them, and the will has overwritten one.
    pub fn republish(&mut self) {
        for document in self.0.iter_mut().filter(|document| !document.suspicion.is_guilty()) {
            document.due = true;
        }
    }

    /// The first that is to be sent.
    pub fn due(&self) -> Option<usize> {
        self.0.iter().position(|document| document.due)
    }

    pub fn is_suspect(&self, index: usize) -> bool {
        self.0[index].suspicion.is_suspect()
    }

    pub fn topic(&self, index: usize) -> &str {
        &self.0[index].topic
    }

    /// The document to send, which is no longer due.
    pub fn take(&mut self, index: usize) -> Publication {
        let document = &mut self.0[index];
        document.due = false;
        let (topic, payload) = (document.topic.clone(), document.payload.clone());
        Publication { topic, payload, content_type: None, correlation: None }
    }

    /// The broker has taken or refused it.
    pub fn acknowledged(&mut self, index: usize) {
        self.0[index].suspicion = Suspicion::default();
    }

    /// The connection ended before. False: it is what ends connections, and is sent again only when it has changed.
    pub fn lost(&mut self, index: usize, blame: Blame, alone: bool) -> bool {
        let document = &mut self.0[index];
        document.suspicion.add(blame, alone);
        document.due = !document.suspicion.is_guilty();
        document.due
    }
}
