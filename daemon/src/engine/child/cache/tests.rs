use std::time::Duration;

use super::*;
use crate::job::TaskName;

fn session(client: u64, session: u64) -> SessionUse {
    SessionUse { number: SessionNumber { client, session }, keep: Duration::from_mins(1) }
}

/// Who has no session and uses no task of the operator's.
const ANYBODY: Asker<'static> = Asker { session: None, instructions: None };

fn of(session: SessionUse) -> Asker<'static> {
    Asker { session: Some(session.number), ..ANYBODY }
}

fn set_openings(cache: &mut Cache, openings: &[&[Token]]) {
    cache.set_openings(openings.iter().map(|tokens| (None, tokens.to_vec())).collect());
}

fn state(bytes: usize) -> State {
    Arc::new(vec![0; bytes])
}

/// With the openings 1 2 3 4 and 1 2 9, of which the first is kept.
fn cache(rule: Rule) -> Cache {
    let mut cache = Cache::new(100, rule);
    set_openings(&mut cache, &[&[1, 2, 3, 4], &[1, 2, 9], &[1, 2, 9], &[]]);
    cache.keep_opening(&[1, 2, 3, 4], Some(state(40)));
    cache
}

fn length(found: Option<(State, usize)>) -> usize {
    found.map_or(0, |(_, length)| length)
}

#[test]
fn a_prompt_gets_what_it_begins_with_and_computes_one_token_at_least() {
    let mut cache = cache(Rule::InPart(1));
    for (prompt, expected) in [(&[1, 2, 3, 4, 5][..], 4), (&[1, 2, 3, 4], 3), (&[1, 2, 7], 2), (&[7, 2], 0), (&[1], 0)]
    {
        assert_eq!(length(cache.find(prompt, ANYBODY)), expected, "{prompt:?}");
    }
}

#[test]
fn what_cannot_go_back_is_used_as_a_whole_or_not() {
    let mut cache = cache(Rule::AsWhole(1));
    for (prompt, expected) in [(&[1, 2, 3, 4, 5][..], 4), (&[1, 2, 3, 4], 0), (&[1, 2, 3, 7], 0)] {
        assert_eq!(length(cache.find(prompt, ANYBODY)), expected, "{prompt:?}");
    }
}

#[test]
fn on_a_grid_only_whole_chunks_are_used() {
    let mut cache = Cache::new(100, Rule::InPart(2));
    set_openings(&mut cache, &[&[1, 2, 3, 4, 5], &[6]]);
    assert_eq!(cache.missing(&[1, 2, 3, 4, 5, 6], ANYBODY), Some(&[1, 2, 3, 4][..]), "cut to the grid");
    assert_eq!(cache.missing(&[6, 7], ANYBODY), None, "less than a chunk is nothing");
    cache.keep_opening(&[1, 2, 3, 4], Some(state(1)));
    assert_eq!(length(cache.find(&[1, 2, 3, 9], ANYBODY)), 2);
    assert_eq!(length(cache.find(&[1, 2, 3, 4], ANYBODY)), 2);
}

#[test]
fn what_cannot_go_back_ends_on_the_grid_too() {
    let mut cache = Cache::new(100, Rule::AsWhole(2));
    set_openings(&mut cache, &[&[1, 2, 3]]);
    assert_eq!(cache.missing(&[1, 2, 3, 4], ANYBODY), Some(&[1, 2][..]));
    cache.keep_opening(&[1, 2], Some(state(1)));
    assert_eq!(length(cache.find(&[1, 2, 3, 4], ANYBODY)), 2);
}

#[test]
fn an_opening_is_written_once_even_if_there_is_no_room_for_two() {
    let mut cache = cache(Rule::InPart(1));
    for expected in [true, false] {
        for tokens in [&[1, 2, 3, 4][..], &[1, 2, 9]] {
            cache.keep_opening(tokens, Some(state(60)));
            assert_eq!((cache.write(tokens), cache.bytes()), (expected, 60));
        }
    }
    set_openings(&mut cache, &[&[1, 2, 9]]);
    assert!(
        !cache.write(&[1, 2, 9]) && !cache.write(&[1, 2, 3, 4]),
        "also after a reload, and nothing that is no opening"
    );
}

#[test]
fn the_longest_opening_is_the_one_that_is_missing_and_one_that_cannot_be_kept_is_not() {
    let mut cache = cache(Rule::InPart(1));
    assert_eq!(cache.missing(&[1, 2, 3, 4, 5], ANYBODY), None, "it is there");
    assert_eq!(cache.missing(&[1, 2, 9, 9], ANYBODY), Some(&[1, 2, 9][..]));
    assert_eq!(cache.missing(&[1, 2, 9], ANYBODY), None, "one token is left to compute");
    cache.keep_opening(&[1, 2, 9], Some(state(101)));
    assert_eq!(cache.missing(&[1, 2, 9, 9], ANYBODY), None, "larger than all that may be kept");
    cache.clear();
    assert_eq!(
        (cache.bytes(), cache.missing(&[1, 2, 3, 4, 5], ANYBODY)),
        (0, Some(&[1, 2, 3, 4][..])),
        "computed again"
    );
}

#[test]
fn a_turn_is_for_its_own_session_only() {
    let mut cache = cache(Rule::InPart(1));
    cache.keep_turn(session(1, 1), vec![1, 2, 3, 4, 5, 6], state(10));
    let prompt = [1, 2, 3, 4, 5, 6, 7];
    assert_eq!(length(cache.find(&prompt, of(session(1, 1)))), 6);
    for other in [ANYBODY, of(session(1, 2)), of(session(2, 1))] {
        assert_eq!(length(cache.find(&prompt, other)), 4, "{other:?}: the operator's part alone");
    }
    cache.keep_turn(session(1, 1), vec![8, 9], state(10));
    assert_eq!(cache.bytes(), 50, "in the place of the turn before");
    cache.keep_turn(session(1, 2), vec![8, 9], state(10));
    cache.keep_turn(session(2, 1), vec![8, 9], state(10));
    cache.forget(1, Some(2));
    assert_eq!(cache.bytes(), 60);
    cache.forget(1, None);
    assert_eq!(cache.bytes(), 50);
    cache.expire(Instant::now());
    assert_eq!(cache.bytes(), 50);
    cache.expire(Instant::now() + Duration::from_secs(61));
    assert_eq!(cache.bytes(), 40, "only what is an operator's does not expire");
}

#[test]
fn the_bound_holds_and_openings_go_last() {
    let mut cache = cache(Rule::InPart(1));
    cache.keep_turn(session(1, 1), vec![5], state(30));
    cache.keep_turn(session(1, 2), vec![5], state(30));
    assert_eq!(cache.bytes(), 100);
    cache.find(&[5, 5], of(session(1, 1))).unwrap();
    cache.keep_turn(session(1, 3), vec![5], state(20));
    assert!(cache.find(&[5, 5], of(session(1, 2))).is_none(), "it was not used for the longest time");
    cache.keep_turn(session(1, 4), vec![5], state(61));
    assert_eq!(cache.bytes(), 90, "no opening is dropped for a turn");
    cache.keep_opening(&[1, 2, 9], Some(state(60)));
    assert_eq!(cache.bytes(), 100, "all turns are dropped for an opening");
    cache.find(&[1, 2, 3, 4, 5], ANYBODY).unwrap();
    set_openings(&mut cache, &[&[1, 2, 3, 4], &[1, 2, 9], &[6]]);
    cache.keep_opening(&[6], Some(state(1)));
    assert_eq!((cache.bytes(), length(cache.find(&[1, 2, 3, 4, 5], ANYBODY))), (41, 4), "what was used last stays");
    set_openings(&mut cache, &[&[6]]);
    assert_eq!(cache.bytes(), 1, "what is no longer an opening is dropped");
}

#[test]
fn a_state_that_is_not_taken_is_dropped() {
    let mut cache = cache(Rule::InPart(1));
    let (bad, _) = cache.find(&[1, 2, 3, 4, 5], ANYBODY).unwrap();
    cache.drop_state(&bad);
    assert!(cache.find(&[1, 2, 3, 4, 5], ANYBODY).is_none());
    assert_eq!(cache.missing(&[1, 2, 3, 4, 5], ANYBODY), Some(&[1, 2, 3, 4][..]), "and computed again");
}

#[test]
fn the_disk_is_looked_at_once_until_memory_was_given_back() {
    let mut cache = cache(Rule::InPart(1));
    let prompt = [1, 2, 3, 4, 5];
    assert_eq!(cache.look(&prompt, ANYBODY), None, "it is in memory");
    cache.clear();
    assert_eq!(cache.look(&prompt, ANYBODY), Some(vec![1, 2, 3, 4]));
    assert_eq!(cache.look(&prompt, ANYBODY), None);
}

#[test]
fn what_a_task_or_step_begins_with_is_found_by_it_and_guessed_by_nobody() {
    let of = |task: &str, step: Option<&str>| Instructions {
        task: TaskName::new(task).unwrap(),
        step: step.map(ToOwned::to_owned),
    };
    // The last two are steps of the same pipeline.
    let [one, two, three, other] =
        [of("one", None), of("two", None), of("flow", Some("three")), of("flow", Some("other"))];
    let mut cache = Cache::new(100, Rule::InPart(1));
    let own = |one: &Instructions, tokens: &[Token]| (Some(one.clone()), tokens.to_vec());
    cache.set_openings(vec![
        own(&one, &[1, 2, 3]),
        own(&two, &[1, 2, 3]),
        own(&three, &[4, 5]),
        (None, vec![4, 5]),
        own(&three, &[6, 7]),
    ]);
    let by = |one| Asker { instructions: Some(one), session: None };
    let prompt = [1, 2, 3, 4];
    assert_eq!((cache.missing(&prompt, ANYBODY), cache.missing(&prompt, by(&three))), (None, None));
    for tokens in [&[1, 2, 3][..], &[4, 5], &[6, 7]] {
        cache.keep_opening(tokens, Some(state(1)));
    }
    assert_eq!([&one, &two, &three].map(|one| length(cache.find(&prompt, by(one)))), [3, 3, 0]);
    assert_eq!((length(cache.find(&prompt, ANYBODY)), length(cache.find(&[4, 5, 6], ANYBODY))), (0, 2));
    for (guess, by_itself) in [([6, 7, 8], 2), ([6, 8, 8], 1)] {
        assert_eq!(length(cache.find(&guess, by(&three))), by_itself);
        assert_eq!(length(cache.find(&guess, by(&other))), 0, "another step of the pipeline");
    }
}
