//! Requests of tasks that are data.

use serde_json::{Map, Value};

use crate::job::JobError;
use crate::task::{Definition, Form};

use super::RequestLimits;
use super::address::check_address;
use super::body::{Body, check_names};
use super::fields::{Fields, invalid};
use super::inputs::read_each_defined;
use super::kind::{GENERATING, KNOWN};

/// Fields of which the text of `generate` and `chat` is made. A definition says itself what its text is made of.
const TEXTS: [&str; 3] = ["input", "messages", "prompt"];

/// Fields that ask for a form of the answer.
const FORMS: [&str; 3] = ["choices", "regex", "schema"];

/// The fields of a plain text.
pub(super) fn fields_of(text: String) -> Map<String, Value> {
    Map::from_iter([("input".to_owned(), Value::String(text))])
}

/// The fields that a request of such a task has besides its own.
pub(super) fn common_fields(form: &Form) -> impl Iterator<Item = &'static str> {
    let is_fixed = matches!(form, Form::Fixed(_));
    let every = KNOWN.into_iter().chain(GENERATING);
    every.filter(move |name| !(TEXTS.contains(name) || is_fixed && FORMS.contains(name)))
}

/// From a request object.
pub(super) fn read_defined(
    definition: &Definition,
    mut map: Map<String, Value>,
    limits: &RequestLimits,
) -> Result<Body, JobError> {
    let is_own = |name: &str| definition.fields().iter().any(|field| field == name);
    let form = &definition.parts().defaults.form;
    check_names(definition.name().as_str(), &map, |name| {
        is_own(name) || common_fields(form).any(|field| field == name)
    })?;
    let own: Map<String, Value> = definition.fields().iter().filter_map(|name| map.remove_entry(name)).collect();
    let inputs = map.remove("inputs");
    let mut fields = Fields::new(map);
    check_address(&mut fields)?;
    let task = match inputs {
        Some(inputs) => read_each_defined(definition, &own, inputs, limits)?,
        None => definition.task(own, limits.request_bytes)?,
    };
    let defaults = &definition.parts().defaults;
    let mut body = Body::of(task, limits);
    body.model.clone_from(&defaults.model);
    body.sampling.temperature = defaults.temperature.unwrap_or(body.sampling.temperature);
    body.sampling.repeat_penalty = defaults.repeat_penalty.unwrap_or(body.sampling.repeat_penalty);
    body.output.stop.clone_from(&defaults.stop);
    body.output.max_tokens = defaults.max_tokens.map_or(body.output.max_tokens, |most| most.min(limits.max_tokens_cap));
    if let Form::Fixed(constraint) = form {
        body.output.constraint = Some(constraint.clone());
    }
    let body = body.with(fields, limits)?;
    if *form == Form::Requested && body.output.constraint.is_none() {
        return Err(invalid("\"schema\", \"choices\" or \"regex\" is missing: the form of the answer"));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::task::COMMON_FIELDS;

    #[test]
    fn no_definition_takes_over_a_field_of_every_task() {
        let common = KNOWN.iter().chain(&GENERATING).filter(|name| !TEXTS.contains(name));
        assert_eq!(common.collect::<BTreeSet<_>>(), COMMON_FIELDS.iter().collect());
    }
}
