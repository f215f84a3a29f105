//! Random lives of many jobs against a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// So few names that they meet.
const NAMES: [&str; 5] = ["c1/a", "c1/b", "c2/a", "c2/b", "c2/c"];

#[derive(Debug, Clone)]
enum Step {
    Accept(usize),
    Start(usize),
    PutBack(usize),
    Finish(usize, usize),
    Delivered(usize),
    Missed(usize),
    Remove(usize),
    Forget(bool),
    Pass(u64),
    Expire,
    Commit,
    Reopen,
    CutOff,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    prop_oneof![
        5 => name().prop_map(Step::Accept),
        3 => name().prop_map(Step::Start),
        2 => name().prop_map(Step::PutBack),
        4 => (name(), 0..9000_usize).prop_map(|(name, size)| Step::Finish(name, size)),
        3 => name().prop_map(Step::Delivered),
        2 => name().prop_map(Step::Missed),
        1 => name().prop_map(Step::Remove),
        1 => any::<bool>().prop_map(Step::Forget),
        2 => (0..5000_u64).prop_map(Step::Pass),
        2 => Just(Step::Expire),
        1 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::CutOff),
    ]
}

/// What the model knows of a job.
#[derive(Debug, Clone)]
struct Expected {
    job: JobId,
    crashes: u32,
    deaths: u32,
    running: bool,
    /// Size, settlement and age of its outcome.
    ended: Option<(usize, Settlement, Duration)>,
}

struct World {
    bench: Bench,
    jobs: BTreeMap<&'static str, Expected>,
}

fn sized(name: &str, size: usize) -> Outcome {
    Outcome { payload: vec![b'o'; size].into(), ..outcome(name) }
}

impl World {
    fn of(&self, name: &str) -> Expected {
        // One that is nobody's.
        let nobody = Expected { job: JobId(u64::MAX >> 1), crashes: 0, deaths: 0, running: false, ended: None };
        self.jobs.get(name).cloned().unwrap_or(nobody)
    }

    fn take(mut self, step: &Step) -> Self {
        let journal = &mut self.bench.journal;
        match *step {
            Step::Accept(name) if self.jobs.contains_key(NAMES[name]) => {
                assert_eq!(accept(journal, JobId(1 << 40), NAMES[name]), Err(Refused::Known));
            }
            Step::Accept(name) => {
                let (job, _) = self.bench.accept(NAMES[name]);
                let fresh = Expected { job, crashes: 0, deaths: 0, running: false, ended: None };
                self.jobs.insert(NAMES[name], fresh);
            }
            Step::Start(name) => self.mark(NAMES[name], 0, true),
            Step::PutBack(name) => self.mark(NAMES[name], 1, false),
            Step::Finish(name, size) => self.finish(NAMES[name], size),
            Step::Delivered(name) => self.settle(NAMES[name], Settlement::Delivered),
            Step::Missed(name) => self.settle(NAMES[name], Settlement::Missed),
            Step::Remove(name) => {
                let removed = journal.remove(self.jobs.get(NAMES[name]).map_or(JobId(0), |job| job.job));
                assert_eq!(removed.is_some(), self.jobs.remove(NAMES[name]).is_some());
            }
            Step::Forget(all) => {
                let forgotten = journal.forget((!all).then_some(&client("c1/a")));
                let before = self.jobs.len();
                self.jobs.retain(|name, job| !(job.is_settled() && (all || name.starts_with("c1"))));
                assert_eq!(forgotten, before - self.jobs.len());
            }
            Step::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
            Step::Expire => {
                let before = self.jobs.len();
                self.jobs.retain(|_, job| !(job.is_settled() && job.ended.is_some_and(|(_, _, age)| age >= KEEP)));
                assert_eq!(self.bench.journal.expire(KEEP), before - self.jobs.len());
            }
            Step::Commit => self.commit(),
            Step::Reopen => return self.restart(Bench::reopen),
            Step::CutOff => {
                self.commit();
                for job in self.jobs.values_mut() {
                    job.deaths += u32::from(job.running);
                }
                return self.restart(Bench::cut_off);
            }
        }
        self
    }

    fn mark(&mut self, name: &'static str, crashes: u32, running: bool) {
        let Expected { job, crashes: before, ended, .. } = self.of(name);
        let journal = &self.bench.journal;
        let ticket = if running { journal.start(job, before) } else { journal.put_back(job, before + crashes) };
        assert_eq!(ticket.is_some(), self.jobs.contains_key(name) && ended.is_none());
        if ticket.is_some() {
            self.jobs.insert(name, Expected { crashes: before + crashes, running, ..self.of(name) });
        }
    }

    fn finish(&mut self, name: &'static str, size: usize) {
        let expected = self.of(name);
        let ticket = self.bench.journal.finish(expected.job, sized(name, size)).unwrap();
        assert_eq!(ticket.is_some(), self.jobs.contains_key(name) && expected.ended.is_none());
        if ticket.is_some() {
            let ended = Some((size, Settlement::Unsettled, Duration::ZERO));
            self.jobs.insert(name, Expected { ended, running: false, ..expected });
        }
    }

    fn settle(&mut self, name: &'static str, settlement: Settlement) {
        let expected = self.of(name);
        let journal = &mut self.bench.journal;
        if settlement == Settlement::Delivered {
            journal.delivered(expected.job);
        } else {
            journal.missed(expected.job);
        }
        if let Some((size, _, age)) = expected.ended {
            self.jobs.insert(name, Expected { ended: Some((size, settlement, age)), ..expected });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.bench.clock.pass(time);
        for (_, _, age) in self.jobs.values_mut().filter_map(|job| job.ended.as_mut()) {
            *age += time;
        }
    }

    /// Waits until everything is written: what is put in last comes last.
    fn commit(&mut self) {
        let (job, _) = self.bench.accept("last/job");
        let ticket = self.bench.journal.remove(job).unwrap();
        self.bench.commit(ticket);
    }

    fn restart(self, restart: impl FnOnce(Bench) -> (Bench, Recovery)) -> Self {
        let Self { bench, mut jobs } = self;
        let (bench, recovery) = restart(bench);
        let open: Vec<_> = recovery.open.iter().map(|open| (open.job, open.crashes, open.deaths)).collect();
        let mut expected: Vec<_> = jobs.values().filter(|job| job.ended.is_none()).collect();
        expected.sort_by_key(|job| job.job);
        assert_eq!(open, expected.iter().map(|job| (job.job, job.crashes, job.deaths)).collect::<Vec<_>>());
        let is_unsettled = |job: &&Expected| matches!(job.ended, Some((_, Settlement::Unsettled, _)));
        let mut unsettled: Vec<JobId> = jobs.values().filter(is_unsettled).map(|job| job.job).collect();
        unsettled.sort();
        assert_eq!(recovery.unsettled, unsettled);
        for job in jobs.values_mut() {
            job.running = false;
        }
        Self { bench, jobs }
    }

    /// Everything that can be asked.
    fn check(mut self) {
        for name in NAMES {
            let found = self.bench.journal.find(&client(name), &id(name));
            let expected = self.jobs.get(name);
            assert_eq!(found.as_ref().map(|known| known.job), expected.map(|job| job.job));
            let settlement = expected.and_then(|job| job.ended.map(|(_, settlement, _)| settlement));
            assert_eq!(found.as_ref().and_then(|known| known.ended), settlement);
            let Some(Expected { job, ended, .. }) = expected.cloned() else { continue };
            let outcome = ended.map(|(size, ..)| sized(name, size));
            self.commit();
            assert_eq!(self.bench.fetched(job), outcome);
        }
        let missed = |(_, job): &(&&str, &Expected)| matches!(job.ended, Some((_, Settlement::Missed, _)));
        let of_client = self.jobs.iter().filter(|(name, _)| name.starts_with("c2")).filter(missed);
        let mut expected: Vec<JobId> = of_client.map(|(_, job)| job.job).collect();
        expected.sort();
        assert_eq!(self.bench.journal.missed_of(&client("c2/a")), expected);
    }
}

impl Expected {
    fn is_settled(&self) -> bool {
        matches!(self.ended, Some((_, Settlement::Delivered | Settlement::Missed, _)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_journal_does_what_the_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let world = World { bench: Bench::new(), jobs: BTreeMap::new() };
        steps.iter().fold(world, World::take).check();
    }
}
