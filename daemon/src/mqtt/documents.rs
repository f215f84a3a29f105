//! The retained documents: the last payload for each topic.

use bytes::Bytes;

use super::Publication;
use super::fault::Blame;
use super::suspicion::{Suspicion, Trial};

struct Document {
    topic: String,
    payload: Bytes,
    due: bool,
    /// Grows with each change: they are sent in the order of their last changes.
    turn: u64,
    suspicion: Suspicion,
    /// The broker has removed it: another may take its place.
    gone: bool,
}

/// Every retained document. They are never removed, so that an index stays; only one that the broker has removed leaves its
/// place to the next new one.
#[derive(Default)]
pub(super) struct Documents {
    documents: Vec<Document>,
    turns: u64,
}

impl Documents {
    /// Sent if it changed.
    pub fn set(&mut self, topic: String, payload: Bytes) {
        self.turns += 1;
        let suspicion = Suspicion::default();
        let document = Document { topic, payload, due: true, turn: self.turns, suspicion, gone: false };
        let mut all = self.documents.iter_mut();
        match all.find(|known| known.topic == document.topic) {
            Some(known) if known.payload == document.payload => {}
            Some(known) => *known = document,
            None => match self.documents.iter_mut().find(|known| known.gone) {
                Some(gone) => *gone = document,
                None => self.documents.push(document),
            },
        }
    }

    /// After a connect: the broker may have lost them, and the will has overwritten one.
    pub fn republish(&mut self) {
        for document in self.documents.iter_mut().filter(|document| !document.gone && !document.suspicion.is_guilty()) {
            document.due = true;
        }
    }

    /// The first that is to be sent.
    pub fn due(&self) -> Option<usize> {
        let due = self.documents.iter().enumerate().filter(|(_, document)| document.due);
        due.min_by_key(|(_, document)| document.turn).map(|(index, _)| index)
    }

    pub fn suspicion(&self, index: usize) -> Suspicion {
        self.documents[index].suspicion
    }

    pub fn topic(&self, index: usize) -> &str {
        &self.documents[index].topic
    }

    /// The document to send, which is no longer due.
    pub fn take(&mut self, index: usize) -> Publication {
        let document = &mut self.documents[index];
        document.due = false;
        let (topic, payload) = (document.topic.clone(), document.payload.clone());
        Publication { topic, payload, content_type: None, correlation: None, parts: None }
    }

    /// The broker has taken or refused it.
    pub fn acknowledged(&mut self, index: usize) {
        let document = &mut self.documents[index];
        document.suspicion = Suspicion::default();
        document.gone = document.payload.is_empty() && !document.due;
    }

    /// The connection ended before. False: it is what ends connections, and is sent again only when it has changed.
    pub fn lost(&mut self, index: usize, blame: Blame, trial: Trial) -> bool {
        let document = &mut self.documents[index];
        document.suspicion.add(blame, trial, 0);
        document.due = !document.suspicion.is_guilty();
        document.due
    }
}
