//! What the pace of a model lets jobs expect.

use std::time::Duration;

use proptest::prelude::*;

use super::pace::{Ahead, Forecast, Pace, Spent, Work};

/// Two milliseconds for each token of a prompt, ten for each of an answer, which is as long as it may be.
fn spent(work: Work) -> Spent {
    let (prefill, decode) = (2 * work.prompt.max(1), 10 * (work.answer - 1));
    let [prefill, decode] = [prefill, decode].map(Duration::from_millis);
    Spent { prompt: work.prompt, answer: work.answer, prefill, decode }
}

fn measured(jobs: usize) -> Pace {
    let mut pace = Pace::default();
    let work = Work { prompt: 100, answer: 101 };
    (0..jobs).for_each(|_| pace.add(work, &spent(work)));
    pace
}

const DAY: Duration = Duration::from_hours(24);

fn waiting(jobs: usize, work: Work) -> Vec<Ahead> {
    vec![Ahead { work, ran: Duration::ZERO, left: DAY }; jobs]
}

fn forecast(pace: &Pace, work: Work, ahead: &[Ahead], sequences: usize) -> Forecast {
    pace.forecast(work, ahead.iter().copied(), ahead.iter().copied(), sequences).unwrap()
}

const WORK: Work = Work { prompt: 100, answer: 101 };

#[test]
fn nothing_is_known_before_anything_was_measured_and_nothing_is_sure_at_first() {
    assert_eq!(Pace::default().of_running(WORK, Duration::ZERO), None);
    for jobs in [1, 3, 4] {
        let forecast = forecast(&measured(jobs), WORK, &waiting(9, WORK), 1);
        // Each takes 200 ms for its prompt and 1000 ms for its answer.
        let expected = Duration::from_secs(12);
        assert!(forecast.end.abs_diff(expected) < Duration::from_millis(1), "{forecast:?}");
        assert!(forecast.start.abs_diff(expected * 9 / 10) < Duration::from_millis(1), "{forecast:?}");
        assert_eq!(forecast.first_token > Duration::ZERO, jobs == 4, "{forecast:?}");
    }
}

#[test]
fn the_last_ones_ahead_run_beside_it_and_it_may_all_go_faster() {
    // A half of 200 ms and of 1000 ms.
    let (prompt, answer) = (100, 500);
    for (ahead, sequences, expected) in
        [(9, 1, 9 * (prompt + answer) + prompt), (10, 4, (7 * (prompt + answer) + prompt) / 4)]
    {
        let forecast = forecast(&measured(40), WORK, &waiting(ahead, WORK), sequences);
        let off = forecast.first_token.abs_diff(Duration::from_millis(expected));
        assert!(off < Duration::from_millis(10), "{forecast:?} {expected}");
    }
}

#[test]
fn the_fastest_of_late_counts_for_what_is_sure() {
    let mut pace = measured(40);
    let slow = Spent { prefill: Duration::from_secs(20), ..spent(WORK) };
    let own = |pace: &Pace| forecast(pace, WORK, &waiting(1, WORK), 1).own;
    let before = own(&pace);
    pace.add(WORK, &slow);
    assert!(own(&pace) < 5 * before, "one that was slow says little");
    pace.add(WORK, &spent(WORK));
    assert_eq!(own(&pace), before);
    (0..400).for_each(|_| pace.add(WORK, &slow));
    assert!(own(&pace) > 80 * before, "{:?}", own(&pace));
}

#[test]
fn what_has_run_is_not_waited_for_again() {
    let pace = measured(40);
    let ran = |millis| Ahead { work: WORK, ran: Duration::from_millis(millis), left: DAY };
    let [early, late, over] = [0, 1000, 5000].map(|millis| forecast(&pace, WORK, &[ran(millis)], 1));
    assert!(early.start.abs_diff(late.start + Duration::from_secs(1)) < Duration::from_millis(1));
    assert_eq!((over.start, over.first_token), (Duration::ZERO, over.own));
}

#[test]
fn short_prompts_say_little_of_long_ones() {
    let mut pace = Pace::default();
    let short = Work { prompt: 2, answer: 11 };
    for _ in 0..40 {
        pace.add(short, &Spent { prefill: Duration::from_millis(30), ..spent(short) });
    }
    let long = Work { prompt: 50_000, answer: 11 };
    let forecast = forecast(&pace, long, &waiting(1, short), 1);
    assert!(forecast.own <= Duration::from_millis(30), "{forecast:?}");
}

#[test]
fn what_varies_is_not_sure() {
    let mut pace = Pace::default();
    for turn in 0..40 {
        pace.add(WORK, &Spent { answer: if turn % 2 == 0 { 2 } else { 101 }, ..spent(WORK) });
    }
    let forecast = forecast(&pace, WORK, &waiting(9, WORK), 1);
    assert!(forecast.first_token <= Duration::from_secs(2), "prompts alone: {forecast:?}");
}

fn work() -> impl Strategy<Value = Work> {
    (0u64..2000, 1u64..500).prop_map(|(prompt, answer)| Work { prompt, answer })
}

/// As large as those that were measured at most.
fn like() -> impl Strategy<Value = Work> {
    (1u64..=100, 1u64..=101).prop_map(|(prompt, answer)| Work { prompt, answer })
}

fn pace() -> impl Strategy<Value = Pace> {
    let job = (work(), 0u64..5000, 0u64..5000, 0u64..500);
    prop::collection::vec(job, 1..30).prop_map(|jobs| {
        let mut pace = Pace::default();
        for (work, prefill, decode, answer) in jobs {
            let [prefill, decode] = [prefill, decode].map(Duration::from_millis);
            pace.add(work, &Spent { prompt: work.prompt, answer: answer.min(work.answer), prefill, decode });
        }
        pace
    })
}

fn ahead() -> impl Strategy<Value = Vec<Ahead>> {
    let [ran, left] = [3000, 20_000].map(|most| (0u64..most).prop_map(Duration::from_millis));
    prop::collection::vec((work(), ran, left).prop_map(|(work, ran, left)| Ahead { work, ran, left }), 0..30)
}

proptest! {
    /// More work ahead, wherever it is, makes nothing earlier.
    #[test]
    fn grows_with_the_work_ahead(
        pace in pace(), ahead in ahead(), own in work(), more in work(), at in 0usize..30, sequences in 1usize..9,
    ) {
        let before = forecast(&pace, own, &ahead, sequences);
        let mut longer = ahead.clone();
        longer.insert(at.min(ahead.len()), waiting(1, more)[0]);
        let mut larger = ahead;
        for job in larger.iter_mut().skip(at).take(1) {
            job.work.prompt += more.prompt;
            job.work.answer += more.answer;
        }
        for after in [longer, larger] {
            let after = forecast(&pace, own, &after, sequences);
            prop_assert!(after.start >= before.start && after.end >= before.end, "{before:?} {after:?}");
            prop_assert!(after.first_token >= before.first_token, "{before:?} {after:?}");
        }
    }

    /// What is sure is never later than what is likely, and nothing is sure on an idle node.
    #[test]
    fn is_sure_of_less_than_it_expects(pace in pace(), ahead in ahead(), own in work(), sequences in 1usize..9) {
        let idle = forecast(&pace, own, &[], sequences);
        let forecast = forecast(&pace, own, &ahead, sequences);
        prop_assert!(forecast.own <= forecast.first_token && forecast.first_token <= forecast.end, "{forecast:?}");
        prop_assert_eq!((idle.start, idle.first_token), (Duration::ZERO, Duration::ZERO));
    }

    /// Jobs that take half as long as they were measured to take, or end at their deadlines, never let the first token come
    /// before it was said to, whatever their order is.
    #[test]
    fn keeps_its_word(
        ahead in prop::collection::vec((like(), 1u64..5000), 0..20), own in like(), sequences in 1usize..9,
    ) {
        let job = |(work, left): &(Work, u64)| Ahead { left: Duration::from_millis(*left), ..waiting(1, *work)[0] };
        let jobs: Vec<Ahead> = ahead.iter().map(job).collect();
        let forecast = forecast(&measured(40), own, &jobs, sequences);
        let mut free = vec![Duration::ZERO; sequences];
        for Ahead { work, left, .. } in jobs {
            let soonest = free.iter_mut().min().unwrap();
            let Spent { prefill, decode, .. } = spent(work);
            *soonest = (*soonest).max((*soonest + (prefill + decode) / 2).min(left));
        }
        let first_token = *free.iter().min().unwrap() + spent(own).prefill / 2;
        // Floating-point numbers are not exact.
        prop_assert!(forecast.first_token <= first_token + Duration::from_micros(1), "{forecast:?} {first_token:?}");
    }
}
