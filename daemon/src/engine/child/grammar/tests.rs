//! Grammars over a vocabulary of single bytes.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::build::Builder;
use super::*;
use crate::engine::child::spans::{answer as found, entities};
use crate::job::{Constraint, Entity, JobId, Part};
use crate::task::check_schema;

/// The token that ends an answer.
const END: Token = 256;

fn vocabulary() -> Vocabulary {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    words.push(Vec::new());
    Vocabulary { words, ends: vec![END.unsigned_abs()] }
}

fn builder() -> Builder {
    Builder::new(vocabulary()).unwrap()
}

fn build(constraint: Constraint) -> Result<Grammar, GrammarError> {
    builder().build(&Recipe::Constraint(constraint))
}

fn schema(schema: &Value) -> Result<Grammar, GrammarError> {
    build(Constraint::Schema(schema.to_string()))
}

/// Whether a whole text may come; the mask is asked for each byte of it.
fn allows(mut grammar: Grammar, text: &str) -> bool {
    let logits = vec![0.0; 257];
    let mut complete = false;
    for byte in text.bytes() {
        if complete || grammar.mask(&logits).unwrap()[usize::from(byte)].is_infinite() {
            return false;
        }
        complete = grammar.take(Token::from(byte)).unwrap();
    }
    complete || grammar.mask(&logits).unwrap()[256].is_finite() && grammar.take(END).unwrap()
}

#[test]
fn values_of_a_schema_may_come_and_no_others() {
    let person = json!({
        "type": "object", "required": ["name", "age"], "additionalProperties": false,
        "properties": { "name": { "type": "string", "maxLength": 5 }, "age": { "type": "integer", "minimum": 0, "maximum": 150 } },
    });
    for (text, allowed) in [
        (r#"{"name": "Zoë", "age": 7}"#, true),
        (r#"{"name": "a\"b", "age": 150}"#, true),
        (r#"{"name": "", "age": 151}"#, false),
        (r#"{"name": "toolong", "age": 1}"#, false),
        (r#"{"age": 7, "name": "x"}"#, false),
        (r#"{"name":"x","age":7}"#, false),
        (r#"{"name": "x"}"#, false),
        (r#"{"name": "x", "age": 7} "#, false),
        (r#"{"name": "x", "age": 7, "more": 1}"#, false),
        ("[]", false),
    ] {
        assert_eq!(allows(schema(&person).unwrap(), text), allowed, "{text}");
    }
    let nested = json!({ "type": "array", "items": { "$ref": "#" }, "maxItems": 2 });
    assert!(allows(schema(&nested).unwrap(), "[[], [[]]]") && !allows(schema(&nested).unwrap(), "[[], [], []]"));
}

#[test]
fn choices_and_expressions_match_as_a_whole() {
    let choices =
        || Constraint::Choices(["a", "ab", "a|b", "no/yes", "zwei\nZeilen", "🦀", "(.*)"].map(String::from).into());
    for (text, allowed) in [
        ("a", true),
        ("ab", true),
        ("a|b", true),
        ("no/yes", true),
        ("zwei\nZeilen", true),
        ("🦀", true),
        ("(.*)", true),
        ("b", false),
        ("", false),
        ("abc", false),
    ] {
        assert_eq!(allows(build(choices()).unwrap(), text), allowed, "{text}");
    }
    let regex = |text: &str| build(Constraint::Regex(text.to_owned()));
    assert!(allows(regex(r"\d{2}:\d{2}").unwrap(), "12:30") && !allows(regex(r"\d{2}:\d{2}").unwrap(), "at 12:30"));
    assert!(allows(regex("a/b").unwrap(), "a/b"));
}

#[test]
fn what_cannot_be_a_grammar_is_refused_without_a_quote() {
    let regex = |text: &str| build(Constraint::Regex(text.to_owned())).err();
    for error in [regex("(secret"), regex("secret["), regex(r"\bsecret"), regex("(secret)\\1")] {
        assert!(matches!(&error, Some(GrammarError::Unusable(text)) if !text.contains("secret")), "{error:?}");
    }
    let refused = |value: Value| match schema(&value) {
        Err(GrammarError::Unusable(text)) => text,
        other => panic!("{:?}", other.map(|_| ())),
    };
    let text = refused(json!({ "type": "array", "uniqueItems": true, "contains": { "const": "secret" } }));
    assert_eq!(text, "the schema uses keywords that are not supported: [\"contains\", \"uniqueItems\"]");
    assert_eq!(refused(json!({ "type": "integer", "minimum": 3, "maximum": 2 })), "no value fits the schema");
    let text = refused(json!({ "type": "string", "pattern": "(secret" }));
    assert!(!text.contains("secret"), "{text}");
}

/// What asks for more than any machine has ends, one way or the other, within the limits of building and of a step.
#[test]
fn what_explodes_is_refused_with_the_limit() {
    let mut deep = json!({ "type": "string" });
    for _ in 0..14 {
        deep = json!({ "type": "object", "properties": { "a": deep.clone(), "b": deep } });
    }
    let Err(GrammarError::Unusable(text)) = schema(&deep) else { panic!("two to the power of 14") };
    assert!(text.contains("allowed are 100000 symbols"), "{text}");

    let any = |n: usize| json!({ "anyOf": (0..10).map(|m| json!({ "properties": { format!("p{n}_{m}"): { "type": "string" } } })).collect::<Vec<_>>() });
    let product = json!({ "type": "object", "allOf": (0..8).map(any).collect::<Vec<_>>() });
    let mut built = vec![schema(&product), schema(&json!({ "type": "array", "minItems": 1_000_000 }))];
    eprintln!("{} {:?}", product.to_string().len(), built[0].as_ref().map(|_| ()));
    for expression in
        ["(a|b|ab|ba){100000}", "((((a{99}){99}){99}){99}){99}", "(.*a.*b.*c){1,9999}x", "(a|b)*a(a|b){2000}"]
    {
        built.push(build(Constraint::Regex(expression.to_owned())));
    }
    for grammar in built {
        let steps = || -> Result<(), GrammarError> {
            let mut grammar = grammar?;
            for _ in 0..300 {
                let allowed = grammar.mask(&[0.0; 257])?;
                let token = allowed.iter().position(|logit| logit.is_finite()).unwrap();
                grammar.take(Token::try_from(token).unwrap())?;
            }
            Ok(())
        };
        let ended = steps();
        assert!(matches!(ended, Ok(()) | Err(GrammarError::Unusable(_) | GrammarError::TooComplex)), "{ended:?}");
    }
}

/// Places that each refer to the next one, from within so many schemas.
fn chain(places: usize, depth: usize) -> Value {
    let place = |at: usize| {
        let last = if at + 1 < places { json!({ "$ref": format!("#/$defs/p{}", at + 1) }) } else { json!({}) };
        (format!("p{at}"), (0..depth).fold(last, |inner, _| json!({ "allOf": [inner] })))
    };
    let defs: serde_json::Map<String, Value> = (0..places).map(place).collect();
    json!({ "$ref": "#/$defs/p0", "$defs": defs })
}

/// What the thread makes of a schema.
fn ordered(grammars: &mut Grammars, job: u64, schema: &Value) -> Result<Grammar, GrammarError> {
    grammars.order(JobId(job), Recipe::Constraint(Constraint::Schema(schema.to_string()))).unwrap();
    loop {
        if let Some(built) = grammars.next().unwrap() {
            assert_eq!(built.job, JobId(job));
            return built.grammar;
        }
        std::thread::yield_now();
    }
}

/// More would be built one within the other than any stack holds.
#[test]
fn a_chain_of_references_is_short_or_refused() {
    let mut grammars = Grammars::start(vocabulary()).unwrap();
    let longest = chain(64, 60);
    assert_eq!(check_schema(&longest), Ok(()));
    for (job, schema) in [(0, &chain(60, 1)), (1, &longest)] {
        let built = ordered(&mut grammars, job, schema).map(|grammar| allows(grammar, "[7]"));
        assert!(matches!(built, Ok(true) | Err(GrammarError::Unusable(_))), "{built:?}");
        assert!(job == 1 || built == Ok(true), "{built:?}");
    }
    let reason = check_schema(&chain(400, 1)).unwrap_err();
    assert!(reason.contains("refers to 400 different places"), "{reason}");
}

#[test]
fn a_grammar_that_is_not_there_in_time_is_named() {
    let mut grammars = Grammars::start(vocabulary()).unwrap();
    assert_eq!(grammars.stuck(Duration::ZERO), None);
    let recipe = || Recipe::Constraint(Constraint::Regex("a".to_owned()));
    grammars.order(JobId(1), recipe()).unwrap();
    grammars.order(JobId(2), recipe()).unwrap();
    assert_eq!((grammars.stuck(Duration::ZERO), grammars.stuck(BUILD_MAX)), (Some(JobId(1)), None));
    while grammars.next().unwrap().is_none_or(|built| built.job != JobId(2)) {
        std::thread::yield_now();
    }
    assert_eq!(grammars.stuck(Duration::ZERO), None);
}

/// The largest common multiple that is taken is no work for long.
#[test]
fn multiples_are_held() {
    let multiples = json!({ "type": "integer", "multipleOf": 9973 });
    assert_eq!(check_schema(&multiples), Ok(()));
    assert!(allows(schema(&multiples).unwrap(), "19946") && !allows(schema(&multiples).unwrap(), "19947"));
}

#[test]
fn a_model_that_cannot_write_it_is_no_defect() {
    let mut few = vocabulary();
    few.words[usize::from(b'q')].clear();
    let mut grammar = Builder::new(few).unwrap().build(&Recipe::Constraint(Constraint::Regex("q".to_owned()))).unwrap();
    let error = grammar.mask(&[0.0; 257]).map(|_| ()).unwrap_err();
    assert_eq!((&error, error.code()), (&GrammarError::NoToken, ErrorCode::InvalidSchema));
}

#[test]
fn who_has_sent_a_text_is_told_of_that() {
    let error = GrammarError::TooComplex.of_search();
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    assert!(error.to_string().contains("the text is too long"), "{error}");
    let defect = GrammarError::Failed("x");
    assert_eq!(defect.clone().of_search(), defect);
}

/// One table for all cases.
static BUILDER: LazyLock<Builder> = LazyLock::new(builder);

/// What a model without any sense writes within a grammar: any of the tokens that may come, until nothing can or so many have.
fn wander(recipe: &Recipe, seed: u64, most: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut grammar = BUILDER.build(recipe).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..most {
        let allowed = grammar.mask(&[0.0; 257]).unwrap();
        let tokens: Vec<usize> = (0..257).filter(|&token| allowed[token].is_finite()).collect();
        let token = tokens[random.usize(..tokens.len())];
        let complete = grammar.take(Token::try_from(token).unwrap()).unwrap();
        bytes.extend(u8::try_from(token));
        if complete || token == 256 {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Text with escapes, emoji, marks of direction, and anything else.
    #[test]
    fn no_entity_is_invented(input in "(\\PC|[\"\\\\/\n\t ]|🦀|👩‍🚀|é|[א-ת]|\u{200f}|\u{0001}){1,40}", seed: u64) {
        let types = ["PERSON".to_owned(), "a \"quoted\" type, ה".to_owned()];
        let recipe = Recipe::Entities { input: input.clone(), types: types.to_vec() };
        let answer = wander(&recipe, seed, 400);
        for Entity { text, kind, start, end, .. } in entities(&input, &answer, &[]) {
            let there: String = input.chars().skip(start).take(end - start).collect();
            prop_assert_eq!(&there, &text);
            prop_assert!(!text.trim().is_empty() && types.contains(&kind));
        }
        let answer = wander(&Recipe::Part(input.clone()), seed, 400);
        if let Ok(Some(text)) = serde_json::from_str::<Option<String>>(&answer) {
            prop_assert!(!text.is_empty() && input.contains(&text), "{:?}", text);
        }
        if let Some(Part { text, start, end }) = found(&input, &answer, &[]).part {
            let there: String = input.chars().skip(start).take(end - start).collect();
            prop_assert_eq!(there, text);
        }
    }
}

#[test]
fn a_long_text_makes_a_grammar_too() {
    let input: String = (0..10_000u32).map(|n| char::from_u32(0x4e00 + n * 7 % 5000).unwrap()).collect();
    let mut grammar = BUILDER.build(&Recipe::Part(input.clone())).unwrap();
    let part: String = input.chars().skip(5000).take(200).collect();
    for byte in format!("\"{part}\"").bytes() {
        assert!(grammar.mask(&[0.0; 257]).unwrap()[usize::from(byte)].is_finite());
        grammar.take(Token::from(byte)).unwrap();
    }
}
