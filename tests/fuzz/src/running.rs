//! Jobs from their beginning to their end, with engines that always have an answer or an error at hand.

use promptd::job::{
    Embedding, Entity, ErrorCode, Found, JobError, Labelled, Output, OutputLimits, Overflow, Part, Ranked, Task,
};
use promptd::mqtt::output_value;
use promptd::task::{Bounds, Next, Order, Run, What};

use crate::Node;

/// Composite tasks in one another: a pipeline whose step has many inputs that are cut.
const DEPTH_MAX: usize = 8;

/// As for a text that is twice as long as the context.
const OVERFLOW: Overflow = Overflow { tokens: 512, context: 256 };

/// Runs a task to its end.
pub fn finish(node: &Node, task: &Task, output: &OutputLimits) {
    let result = outcome(node, task, output, 0);
    if let Err(error) = &result {
        node.check_error(error);
    }
}

fn bounds(node: &Node) -> Bounds {
    let limits = &node.config.limits;
    Bounds { texts: limits.request, outputs: 4 * limits.result, items: limits.for_each }
}

fn outcome(node: &Node, task: &Task, output: &OutputLimits, depth: usize) -> Result<Output, JobError> {
    assert!(depth < DEPTH_MAX, "composite tasks in composite tasks without end");
    let run = match task {
        Task::Each { items, .. } => Run::each(items),
        Task::Pipeline(pipeline) => Run::pipeline(pipeline, bounds(node))
            .map_err(|error| JobError::new(ErrorCode::InvalidRequest, error.to_string()))?,
        // The whole of its parts is no longer cut.
        Task::Long { long, .. } if long.depth == 0 => {
            node.check_job(task, output);
            let definition = node.config.tasks.iter().find(|task| *task.name() == long.definition);
            let definition = definition.expect("the definition that the text was made of");
            Run::long(long, definition, (OVERFLOW, output.max_tokens), bounds(node))?
        }
        single => {
            node.check_job(single, output);
            return answer(single);
        }
    };
    steps(node, run, output, depth)
}

/// Ends the steps that wait, the last one first, whenever there is nothing to begin.
fn steps(node: &Node, mut run: Run, output: &OutputLimits, depth: usize) -> Result<Output, JobError> {
    let mut waiting: Vec<Box<Order>> = Vec::new();
    loop {
        match run.step() {
            Next::Begin(order) => waiting.push(order),
            Next::Wait => {
                let order = waiting.pop().expect("a run that waits for nothing");
                let result = match order.what {
                    What::Ready(task) => outcome(node, &task, output, depth + 1),
                    What::Asked { task, fields, .. } => node
                        .reader
                        .read_step(&task, fields)
                        .and_then(|step| outcome(node, &step.task, &step.output, depth + 1)),
                };
                if let Err(error) = &result {
                    node.check_error(error);
                }
                run.ended(&order.key, result, output_value);
            }
            Next::End(result) => return result,
        }
    }
}

/// Something that an engine could give, chosen by the length of what it was asked.
fn answer(task: &Task) -> Result<Output, JobError> {
    if task.bytes() % 7 == 3 {
        return Err(JobError::new(ErrorCode::EngineFailed, "the engine failed"));
    }
    Ok(match task {
        Task::Generate { prompt } => Output::Text(prompt.clone()),
        Task::Chat { messages } | Task::Long { messages, .. } => {
            Output::Json(serde_json::json!({ "said": messages.last().map(|last| &last.content) }).to_string())
        }
        Task::Embed { encoding, .. } => Output::Embedding(Embedding { values: vec![0.5; 4], encoding: *encoding }),
        Task::Classify { labels, .. } => {
            let label = |label: &String| Labelled { label: label.clone(), score: 0.5 };
            Output::Labels(labels.iter().map(label).collect())
        }
        Task::Extract { input, types } => {
            let text = &input.texts()[0];
            let end = text.chars().count().min(3);
            let kind = types.first().cloned().unwrap_or_default();
            Output::Entities(vec![Entity { text: text.chars().take(end).collect(), kind, start: 0, end, score: 0.5 }])
        }
        Task::Answer { context, .. } => {
            let part = Part { text: context.clone(), start: 0, end: context.chars().count() };
            Output::Found(Found { part: Some(part), score: 0.5 })
        }
        Task::Rerank { documents, .. } => {
            Output::Ranking((0..documents.len()).map(|index| Ranked { index, score: 0.5 }).collect())
        }
        Task::Each { .. } | Task::Pipeline(_) => unreachable!("done as several others"),
    })
}
