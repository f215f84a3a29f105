use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::task::read_step;

const BOUNDS: Bounds = Bounds { texts: 10_000, outputs: 10_000, items: 8 };

fn pipeline(steps: &Value, output: Option<Value>, input: Value) -> Result<Run, PipelineError> {
    let step = |step: &Value| read_step(step.as_object().unwrap().clone()).unwrap();
    let steps = steps.as_array().unwrap().iter().map(step).collect();
    let fields = Map::from_iter([("input".to_owned(), input)]);
    Run::pipeline(&Pipeline { steps, output, fields }, BOUNDS)
}

/// What a step answers: the error that is named, or its fields in reverse order of their names, as text.
fn answer(order: &Order, errors: &BTreeSet<String>) -> Result<Output, JobError> {
    match &order.what {
        _ if errors.contains(order.key.as_str()) => Err(JobError::new(ErrorCode::EngineFailed, "broken")),
        What::Asked { fields, .. } => Ok(Output::Json(Value::Object(fields.clone()).to_string())),
        What::Ready(task) => Ok(Output::Text(format!("{} bytes", task.bytes()))),
    }
}

fn value(output: &Output) -> Value {
    match output {
        Output::Json(text) => serde_json::from_str(text).unwrap(),
        Output::Text(text) => json!(text),
        _ => Value::Null,
    }
}

/// Does all steps, one after the other; gives their names in order and the end.
fn done(mut run: Run, errors: &[&str]) -> (Vec<String>, Result<Output, JobError>) {
    let errors = errors.iter().map(ToString::to_string).collect();
    let mut names = Vec::new();
    let mut open = VecDeque::new();
    loop {
        match run.step() {
            Next::Begin(order) => {
                names.push(order.key.to_string());
                open.push_back(order);
            }
            Next::Wait => {
                let order = open.pop_front().expect("it waits for nothing");
                run.ended(&order.key, answer(&order, &errors), value);
            }
            Next::End(end) => return (names, end),
        }
    }
}

fn output(steps: &Value, output: Option<Value>, input: Value) -> Value {
    let (_, end) = done(pipeline(steps, output, input).unwrap(), &[]);
    value(&end.unwrap())
}

fn refused(steps: &Value) -> String {
    pipeline(steps, None, Value::Null).unwrap_err().to_string()
}

#[test]
fn steps_see_what_others_give_and_keep_its_type() {
    let steps = json!([
        { "name": "a", "task": "generate", "input": "About {{ input.topic }}.", "number": "{{ input.count }}" },
        { "name": "b", "task": "generate", "input": "{{ steps.a.output.input|upper }}", "list": ["{{ [1, input.count] }}", 7] },
    ]);
    let input = json!({ "topic": "pumps", "count": 3 });
    assert_eq!(output(&steps, None, input.clone()), json!({ "input": "ABOUT PUMPS.", "list": [[1, 3], 7] }));
    let of = json!({ "n": "{{ steps.a.output.number }}", "text": "{{ steps.b.output.list[1] }} x" });
    assert_eq!(output(&steps, Some(of), input.clone()), json!({ "n": 3, "text": "7 x" }));
    let (_, end) = done(pipeline(&steps, Some(json!("{{ steps.a.output.input }}")), input).unwrap(), &[]);
    assert_eq!(end.unwrap(), Output::Text("About pumps.".into()));
}

#[test]
fn conditions_and_items() {
    let steps = json!([
        { "name": "none", "task": "generate", "when": "input|length > 5", "input": "x" },
        { "name": "each", "task": "generate", "for_each": "input", "input": "{{ index }}: {{ item }}" },
        { "name": "empty", "task": "generate", "for_each": "[]", "input": "{{ item }}" },
    ]);
    let of = json!([
        "{{ steps.none.skipped }}",
        "{{ steps.none.output }}",
        "{{ steps.each.output }}",
        "{{ steps.empty.output }}"
    ]);
    let expected = json!([true, null, [{ "input": "0: p" }, { "input": "1: q" }], []]);
    assert_eq!(output(&steps, Some(of), json!(["p", "q"])), expected);
}

#[test]
fn an_error_ends_the_pipeline_or_does_not() {
    let steps = |on_error: &str| {
        let mut a = json!({ "name": "a", "task": "generate", "input": "x", "on_error": on_error });
        if on_error == "default" {
            a["default"] = json!("fallback");
        }
        json!([a, { "name": "b", "task": "generate", "input": "{{ steps.a.output }} {{ steps.a.error.code }}" }])
    };
    let run = |on_error| done(pipeline(&steps(on_error), None, Value::Null).unwrap(), &["a"]);
    let (names, end) = run("fail");
    let error = end.unwrap_err();
    assert_eq!((names, error.code), (vec!["a".to_owned()], ErrorCode::StepFailed));
    assert_eq!(error.message, "step \"a\": engine_failed: broken");
    assert_eq!(value(&run("skip").1.unwrap()), json!({ "input": "None engine_failed" }));
    assert_eq!(value(&run("default").1.unwrap()), json!({ "input": "fallback engine_failed" }));
}

#[test]
fn what_can_not_be_done_is_refused_before() {
    let step = |name: &str, input: &str| json!({ "name": name, "task": "generate", "input": input });
    for (steps, expected) in [
        (json!([]), "\"steps\" is empty"),
        (json!([step("a", "x"), step("a", "y")]), "step \"a\": has the name of another step"),
        (json!([step("a", "{{ steps.b.output }}"), step("b", "{{ steps.a.output }}")]), "step \"a\": waits for itself"),
        (json!([step("a", "{{ steps.a.output }}")]), "waits for itself"),
        (json!([step("a", "{{ steps.c.output }}")]), "looks at \"steps.c\", which is no step"),
        (json!([step("a", "{{ steps }}")]), "looks at all \"steps\""),
        (json!([step("a", "{{ item }}")]), "looks at \"item\", which only fields of a step with \"for_each\" have"),
        (json!([step("a", "{{ other }}")]), "looks at \"other\"; there are input, steps"),
        (json!([step("a", "{% if %}")]), "step \"a\": field \"input\": syntax error"),
        (json!([step("a", "{% include 'a' %}")]), "unknown statement include"),
        (json!([{ "name": "a", "task": "generate", "when": "1 +" }]), "\"when\": syntax error"),
        (json!([{ "name": "a", "task": "generate", "needs": ["z"] }]), "needs \"z\", which is no step"),
        (json!([step("a", &"{{ input }}".repeat(2000))]), "a text has 22000 bytes; allowed are 0 to 16384"),
    ] {
        let said = refused(&steps);
        assert!(said.contains(expected), "{said}");
    }
    for (step, expected) in [
        (json!({ "task": "generate" }), "needs a \"name\""),
        (json!({ "name": "a" }), "needs a \"task\""),
        (json!({ "name": "a-b", "task": "generate" }), "has a name that is none"),
        (json!({ "name": "a", "task": "generate", "reply_to": "x" }), "has the field \"reply_to\""),
        (json!({ "name": "a", "task": "generate", "on_error": "default" }), "needs a \"default\""),
        (json!({ "name": "a", "task": "generate", "on_error": "retry" }), "\"on_error\" is none of"),
    ] {
        let said = read_step(step.as_object().unwrap().clone()).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn bombs_are_clean_errors() {
    let end = |input: &str, given: Value| {
        let steps = json!([{ "name": "a", "task": "generate", "input": input }]);
        done(pipeline(&steps, None, given).unwrap(), &[]).1.unwrap_err().message
    };
    let long = json!("x".repeat(6000));
    assert!(end("{{ input }} {{ input }}", long.clone()).contains("more than 10000 bytes (limits.request)"));
    assert!(end("{{ [input, input] }}", long).contains("more than 10000 bytes"));
    for bomb in [
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% macro m(a, n) %}{{ m([a, a]|string * 2000, n - 1) if n else a|length }}{% endmacro %}{{ m('x', 2) }}",
        "{{ ('x' * 90000000)|length }}",
        "{{ (input|list)|join('y' * 1000000)|length }}",
    ] {
        let said = end(bomb, json!("x".repeat(1000)));
        assert!(said.contains("fuel") || said.contains("too large"), "{bomb}: {said}");
    }
    assert!(end("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", json!("")).contains("recursion"));
    let steps = json!([{ "name": "a", "task": "generate", "for_each": "range(1000000)|list", "input": "{{ item }}" }]);
    let said = done(pipeline(&steps, None, Value::Null).unwrap(), &[]).1.unwrap_err().message;
    assert!(said.contains("fuel") || said.contains("too many elements") || said.contains("limits"), "{said}");
    let steps = json!([{ "name": "a", "task": "generate", "for_each": "range(9)", "input": "{{ item }}" }]);
    let said = done(pipeline(&steps, None, Value::Null).unwrap(), &[]).1.unwrap_err().message;
    assert!(said.contains("gives 9 items; allowed are 0 to 8 (limits.for_each)"), "{said}");
    let steps = json!([{ "name": "a", "task": "generate", "for_each": "range(3)", "input": "{{ input }}" }]);
    let said = done(pipeline(&steps, None, json!("x".repeat(4000))).unwrap(), &[]).1.unwrap_err().message;
    assert!(said.contains("the outputs of all steps have more than 10000 bytes together"), "{said}");
}

#[test]
fn no_value_holds_itself_or_is_too_deep() {
    let end = |input: &str| {
        let steps = json!([{ "name": "a", "task": "generate", "input": input }]);
        match pipeline(&steps, None, Value::Null) {
            Ok(run) => done(run, &[]).1.unwrap_err().message,
            Err(error) => error.to_string(),
        }
    };
    for bomb in [
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns|tojson }}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% for i in range(20000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    ] {
        let said = end(bomb);
        assert!(said.contains("looks at \"namespace\""), "{said}");
    }
}

#[test]
fn the_deepest_values_fit_into_the_stack() {
    let deeper = format!("{{% set x = {}x{} %}}", "[".repeat(10), "]".repeat(10)).repeat(450);
    let end = move |write: &str, calls: u32| {
        let deep = format!(
            "{{% macro m(x, n) %}}{deeper}{{{{ m(x, n - 1) if n else {write} }}}}{{% endmacro %}}{{{{ m(1, {calls}) }}}}"
        );
        let steps = json!([{ "name": "a", "task": "generate", "input": deep }]);
        done(pipeline(&steps, None, Value::Null).unwrap(), &[]).1
    };
    let tried = move || {
        for write in ["x|tojson", "x", "x|length"] {
            assert!(end(write, 0).is_ok());
            // Either is right, as long as there is an end.
            drop(end(write, 1));
            assert!(end(write, 2).unwrap_err().message.contains("recursion limit"));
        }
    };
    // As the driver's thread has it.
    std::thread::Builder::new().stack_size(8 << 20).spawn(tried).unwrap().join().unwrap();
}

#[test]
fn all_templates_of_a_job_share_their_fuel() {
    let costly = "{% for i in range(4000) %}{% endfor %}";
    let texts: Vec<&str> = std::iter::repeat_n(costly, 100).collect();
    let steps = json!([
        { "name": "a", "task": "generate", "for_each": "range(8)", "input": texts, "on_error": "skip" },
        { "name": "b", "task": "generate", "input": "{{ 1 }}" },
    ]);
    let said = done(pipeline(&steps, None, Value::Null).unwrap(), &[]).1.unwrap_err().message;
    assert!(said.contains("step \"b\": invalid_request: all templates together take more than 4000000"), "{said}");
}

#[test]
fn signs_for_blanks_are_no_part_of_expressions() {
    let steps = json!([{ "name": "a", "task": "generate", "input": "{{- input }}", "b": "{{+ input -}}", "c": "{{ -input }}" }]);
    assert_eq!(output(&steps, None, json!(3)), json!({ "input": "3", "b": "3", "c": -3 }));
}

#[test]
fn steps_for_the_same_model_go_one_after_the_other() {
    let step = |name: &str, model: &str| json!({ "name": name, "task": "generate", "model": model, "input": "x" });
    let steps = json!([step("a1", "a"), step("b1", "b"), step("a2", "a"), step("b2", "b")]);
    let (names, _) = done(pipeline(&steps, None, Value::Null).unwrap(), &[]);
    assert_eq!(names, ["a1", "a2", "b1", "b2"]);
}

#[test]
fn inputs_have_answers_of_their_own_in_their_order() {
    let task = |prompt: &str| Ok(Task::Generate { prompt: prompt.into() });
    let bad = JobError::new(ErrorCode::InvalidRequest, "bad");
    let run = Run::each(&[task("one"), Err(bad.clone()), task("three")]);
    let (names, end) = done(run, &["2"]);
    assert_eq!(names, ["0", "2"]);
    let broken = JobError::new(ErrorCode::EngineFailed, "broken");
    assert_eq!(end, Ok(Output::Each(vec![Ok(Output::Text("3 bytes".into())), Err(bad), Err(broken)])));
}

/// Steps, of which each may need earlier ones, be done for several items, and fail.
fn shapes() -> impl Strategy<Value = Vec<(Vec<prop::sample::Index>, Option<usize>, u8, bool)>> {
    let step = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        prop::option::of(0_usize..8),
        0_u8..3,
        any::<bool>(),
    );
    prop::collection::vec(step, 1..12)
}

proptest! {
    /// In whatever order steps end, and whichever fail: each begins once, after those that it needs, not too many at once, and the
    /// whole ends once.
    #[test]
    fn a_run_ends_once_and_no_step_begins_twice(shape in shapes(), order in prop::collection::vec(any::<prop::sample::Index>(), 100)) {
        let mut steps = Vec::new();
        let mut needs = BTreeMap::new();
        let mut errors = BTreeSet::new();
        for (place, (before, items, on_error, fails)) in shape.iter().enumerate() {
            let before: Vec<String> =
                before.iter().filter(|_| place > 0).map(|index| format!("s{}", index.index(place))).collect();
            let name = format!("s{place}");
            let mut step = json!({ "name": name, "task": "generate", "input": "x", "needs": before });
            step["on_error"] = json!(["fail", "skip", "default"][usize::from(*on_error)]);
            if *on_error == 2 {
                step["default"] = json!(0);
            }
            if let Some(items) = items {
                step["for_each"] = json!(format!("range({items})"));
            }
            if *fails {
                errors.insert(items.map_or_else(|| name.clone(), |_| format!("{name}/0")));
            }
            needs.insert(name, before);
            steps.push(step);
        }
        let mut run = pipeline(&json!(steps), None, Value::Null).unwrap();
        let (mut begun, mut settled) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<Order> = Vec::new();
        let mut picks = order.iter().cycle();
        let end = loop {
            let next = run.step();
            settled.extend(run.progress().into_iter().filter(|news| news.state != StepState::Running).map(|news| news.step.to_string()));
            match next {
                Next::Begin(order) => {
                    prop_assert!(begun.insert(order.key.clone()), "{} begins twice", order.key);
                    let step = order.key.as_str().split('/').next().unwrap();
                    prop_assert!(needs[step].iter().all(|need| settled.contains(need)));
                    open.push(*order);
                    prop_assert!(open.len() <= PARALLEL);
                }
                Next::Wait => {
                    prop_assert!(!open.is_empty(), "it waits for nothing");
                    let order = open.swap_remove(picks.next().unwrap().index(open.len()));
                    let result = answer(&order, &errors);
                    run.ended(&order.key, result.clone(), value);
                    run.ended(&order.key, result, value);
                }
                Next::End(end) => break end,
            }
        };
        if end.is_ok() {
            prop_assert!(open.is_empty());
        }
        prop_assert_eq!(run.step(), Next::Wait, "it ends once");
    }
}

#[test]
fn templates_look_into_arrays_by_what_steps_have_found() {
    let steps = json!([
        { "name": "best", "task": "generate", "best": [{ "index": 1, "score": 0.5 }, { "index": 0, "score": -0.1 }] },
        { "name": "said", "task": "generate",
          "context": "{% for place in steps.best.output.best[:3] %}{{ input[place.index] }}\n\n{% endfor %}" },
    ]);
    assert_eq!(output(&steps, None, json!(["a", "b"])), json!({ "context": "b\n\na\n\n" }));
}
