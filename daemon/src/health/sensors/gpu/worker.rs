//! Asks in a thread of its own, so that a driver that hangs takes nobody along.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// Readings for which the last answer stands when no other comes.
const PATIENCE: u32 = 5;

/// A thread that answers one question at a time.
#[derive(Debug)]
pub(super) struct Worker<T> {
    questions: SyncSender<()>,
    answers: Receiver<T>,
    last: Option<T>,
    /// Readings since the question that is not answered yet.
    waiting: Option<u32>,
    over: bool,
}

impl<T: Clone + Send + 'static> Worker<T> {
    /// Starts it; none if there can be no more threads. `work` asks once for each item that it is given and hands over the
    /// answer; when it returns, the worker is over.
    pub(super) fn start(name: &str, work: impl FnOnce(Receiver<()>, SyncSender<T>) + Send + 'static) -> Option<Self> {
        // One question at a time: neither side ever waits for a place.
        let ((questions, asked), (answer, answers)) = (sync_channel(1), sync_channel(1));
        thread::Builder::new().name(name.to_owned()).spawn(move || work(asked, answer)).ok()?;
        Some(Self { questions, answers, last: None, waiting: None, over: false })
    }

    /// Asks, unless the question before has not been answered yet.
    pub(super) fn ask(&mut self) {
        if self.waiting.is_none() {
            self.over |= self.questions.try_send(()).is_err();
            self.waiting = Some(0);
        }
    }

    /// The latest answer, if it is not too old. Never waits.
    pub(super) fn latest(&mut self) -> Option<T> {
        match self.answers.try_recv() {
            Ok(answer) => (self.last, self.waiting) = (Some(answer), None),
            Err(TryRecvError::Empty) => self.waiting = self.waiting.map(|readings| readings.saturating_add(1)),
            Err(TryRecvError::Disconnected) => self.over = true,
        }
        if self.over || self.waiting.is_some_and(|readings| readings > PATIENCE) {
            self.last = None;
        }
        self.last.clone()
    }

    /// Whether it will never answer again.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Asks until it hears what it waits for.
    fn until(worker: &mut Worker<u32>, wanted: impl Fn(Option<u32>, bool) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = worker.latest();
            worker.ask();
            if wanted(answer, worker.is_over()) {
                return;
            }
            assert!(Instant::now() < end, "{answer:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn answers_come_later() {
        let mut worker = Worker::start("counts", |asked, answer| {
            for number in asked.iter().scan(0, |count, ()| {
                *count += 1;
                Some(*count)
            }) {
                answer.send(number).unwrap();
            }
        })
        .unwrap();
        assert_eq!(worker.latest(), None, "nothing was asked");
        until(&mut worker, |answer, _| answer == Some(3));
    }

    #[test]
    fn one_that_hangs_is_waited_for_by_nobody() {
        let (release, hangs) = sync_channel::<()>(1);
        let mut worker = Worker::start("hangs", move |asked, answer| {
            asked.recv().unwrap();
            answer.send(7).unwrap();
            let _ = hangs.recv();
            for () in &asked {
                answer.send(8).unwrap();
            }
        })
        .unwrap();
        until(&mut worker, |answer, _| answer == Some(7));
        // Its answer stands for a while, then nothing is known.
        let stands = (0..100).filter(|_| worker.latest() == Some(7)).count();
        assert_eq!(stands, PATIENCE as usize);
        assert!(!worker.is_over());
        drop(release);
        until(&mut worker, |answer, _| answer == Some(8));
    }

    #[test]
    fn one_that_gives_up_or_panics_is_over() {
        let mut gives_up = Worker::start("gives up", |_, _: SyncSender<u32>| {}).unwrap();
        until(&mut gives_up, |answer, over| over && answer.is_none());
        let mut panics = Worker::start("panics", |asked, answer: SyncSender<u32>| {
            asked.recv().unwrap();
            drop(answer);
            panic!("as tests may");
        })
        .unwrap();
        until(&mut panics, |answer, over| over && answer.is_none());
    }
}
