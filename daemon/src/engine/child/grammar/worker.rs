//! Grammars are built on a thread of their own: sequences that run do not wait for them.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::build::Builder;
use super::{Grammar, GrammarError, Recipe};
use crate::job::JobId;

/// Grammars that may wait to be built: more than there are sequences, and those of jobs that have been cancelled.
const ORDERS: usize = 512;

/// Stack of the thread in bytes. What is nested is built by recursion, up to 6 KiB for each level; only what is used takes memory.
const STACK: usize = 64 << 20;

/// What is needed of a model's vocabulary.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    /// The bytes of each token; none of those that no text contains.
    pub words: Vec<Vec<u8>>,
    /// The tokens that end an answer.
    pub ends: Vec<u32>,
}

/// A grammar, or why there is none.
pub struct Built {
    /// Whose it is.
    pub job: JobId,
    /// What came of it.
    pub grammar: Result<Grammar, GrammarError>,
}

/// The thread that builds grammars. Dropping it ends the thread after the grammar at hand, and gives its tables back.
pub struct Grammars {
    orders: SyncSender<(JobId, Recipe)>,
    built: Receiver<Built>,
    /// Whose grammars are ordered and have not been taken, in their order.
    open: VecDeque<JobId>,
    /// Since when the first of them is awaited.
    since: Instant,
}

impl Grammars {
    /// Starts the thread, which makes its tables first.
    pub fn start(vocabulary: Vocabulary) -> io::Result<Self> {
        let (open, since) = (VecDeque::new(), Instant::now());
        let (orders, inbox) = sync_channel::<(JobId, Recipe)>(ORDERS);
        let (outbox, built) = sync_channel(ORDERS);
        let work = move || {
            let builder = Builder::new(vocabulary);
            while let Ok((job, recipe)) = inbox.recv() {
                let grammar = builder.as_ref().map_err(Clone::clone).and_then(|builder| builder.build(&recipe));
                if outbox.send(Built { job, grammar }).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("grammars".into()).stack_size(STACK).spawn(work)?;
        Ok(Self { orders, built, open, since })
    }

    /// Orders a grammar for a job.
    pub fn order(&mut self, job: JobId, recipe: Recipe) -> Result<(), GrammarError> {
        let sent = self.orders.try_send((job, recipe)).map_err(|error| match error {
            TrySendError::Full(_) => GrammarError::Failed("too many grammars wait to be built"),
            TrySendError::Disconnected(_) => GrammarError::Failed("the thread that builds grammars has ended"),
        });
        if sent.is_ok() {
            if self.open.is_empty() {
                self.since = Instant::now();
            }
            self.open.push_back(job);
        }
        sent
    }

    /// The next one that is built; none if there is none yet.
    pub fn next(&mut self) -> Result<Option<Built>, GrammarError> {
        match self.built.try_recv() {
            Ok(built) => {
                self.open.pop_front();
                self.since = Instant::now();
                Ok(Some(built))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(GrammarError::Failed("the thread that builds grammars has ended")),
        }
    }

    /// Whose grammar is awaited for longer than this, if nothing was there to take just now.
    pub fn stuck(&self, longest: Duration) -> Option<JobId> {
        self.open.front().copied().filter(|_| self.since.elapsed() > longest)
    }
}
