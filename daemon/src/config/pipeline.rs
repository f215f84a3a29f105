//! `[[pipeline]]`: pipelines that have names. A file `pipelines.d/NAME.toml` holds the keys of the one that is called NAME.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::Map;

use super::Limits;
use super::section::Section;
use super::task::{changed, json_of, read_description, read_input, read_name};
use super::tree::{self, At};
use super::{Config, ConfigError, source, value};
use crate::job::{ModelName, PipelineStep, Task, TaskName};
use crate::task::{DEFINITIONS_MAX, Definition, InvalidPipeline, PipelineDefinition, PipelineParts, read_step};

/// Reads every definition. `names` are those of the tasks.
pub(super) fn read_all(
    root: &mut Section<'_, '_, '_>,
    limits: &Limits,
    tasks: &[Definition],
    names: &mut BTreeSet<TaskName>,
) -> Vec<PipelineDefinition> {
    let mut count = 0;
    let definitions = root.tables("pipeline", |section| {
        count += 1;
        if count > DEFINITIONS_MAX {
            section.problem("name", format!("is pipeline {count} of at most {DEFINITIONS_MAX}"));
        }
        read(section, limits, tasks, names)
    });
    definitions.into_iter().flatten().collect()
}

/// The keys of a file that defines a pipeline, as JSON, for who sends them in a request. Whoever gets it checks what they say.
pub fn read_pipeline(path: &Path) -> Result<serde_json::Value, ConfigError> {
    let source = source::read_alone(path)?;
    let tables = tree::parse_all(&[source])?;
    let entries = tables.iter().flatten().map(|entry| Ok((entry.key.clone(), json_of(&entry.item.value)?)));
    let invalid = |reason: String| ConfigError::Unreadable { path: path.to_owned(), source: io::Error::other(reason) };
    entries.collect::<Result<Map<_, _>, String>>().map(serde_json::Value::Object).map_err(invalid)
}

/// The tasks and pipelines that are there in only one of the two, or are not the same, as keys.
pub(super) fn changed_definitions(old: &Config, new: &Config) -> Vec<String> {
    let differs =
        |pipeline: &&PipelineDefinition| !(old.pipelines.contains(pipeline) && new.pipelines.contains(pipeline));
    let pipelines = old.pipelines.iter().chain(&new.pipelines).filter(differs).map(PipelineDefinition::name);
    let pipelines: BTreeSet<&TaskName> = pipelines.collect();
    let tasks = changed(&old.tasks, &new.tasks).into_iter().map(|name| format!("task[{name}]"));
    tasks.chain(pipelines.into_iter().map(|name| format!("pipeline[{name}]"))).collect()
}

fn read(
    section: &mut Section<'_, '_, '_>,
    limits: &Limits,
    tasks: &[Definition],
    names: &mut BTreeSet<TaskName>,
) -> Option<PipelineDefinition> {
    let name = read_name(section, names);
    let description = read_description(section);
    let input = read_input(section);
    let model =
        section.optional("model", |value| ModelName::new(value::text(value)?).map_err(|error| error.to_string()));
    let output = section.optional("output", json_of);
    if !section.is_set("steps") {
        section.problem("steps", "is missing");
    }
    let steps = section.tables("steps", |section| step(section, tasks));
    if steps.len() > limits.pipeline_steps {
        let (count, most) = (steps.len(), limits.pipeline_steps);
        section.problem("steps", format!("are {count}; allowed are 1 to {most} (limits.pipeline_steps)"));
    }
    let (places, steps): (Vec<_>, Vec<_>) = steps.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
    let parts = PipelineParts { name: name?, description, input: input?, model, steps, output };
    match PipelineDefinition::new(parts) {
        Ok(definition) => Some(definition),
        Err(InvalidPipeline::Schema(error)) => {
            section.blame_key(error.key(), error.to_string());
            None
        }
        Err(InvalidPipeline::Steps(error)) => {
            let at = error.step.as_ref().and_then(|(place, _)| places.get(*place).copied()).flatten();
            section.blame_at(at.or_else(|| section.at()), "steps", error.to_string());
            None
        }
    }
}

fn step(section: &mut Section<'_, '_, '_>, tasks: &[Definition]) -> Option<(Option<At>, PipelineStep)> {
    let at = section.at();
    let keys = section.everything()?;
    let entries = keys.iter().map(|entry| Ok((entry.key.clone(), json_of(&entry.item.value)?)));
    let read = entries.collect::<Result<Map<_, _>, String>>().and_then(read_step).and_then(|step| {
        let of_interface = Task::NAMES.contains(&step.task.as_str()) && step.task.as_str() != "pipeline";
        if of_interface || tasks.iter().any(|task| *task.name() == step.task) {
            Ok(step)
        } else {
            Err(format!("names the task \"{}\", which is none that a step can do", step.task))
        }
    });
    match read {
        Ok(step) => Some((at, step)),
        Err(reason) => {
            section.blame_all(reason);
            None
        }
    }
}
