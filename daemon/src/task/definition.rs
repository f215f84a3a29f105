//! One definition.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::DefinitionError;
use super::fields::Schema;
use super::opening::opening;
use super::template::Template;
use crate::job::{Constraint, ErrorCode, JobError, Long, Message, ModelName, Role, Task, TaskName};

/// What a definition is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Its name, the `<task>` segment of topics.
    pub name: TaskName,
    /// What it does, in a line.
    pub description: String,
    /// A template for the system's message; none leaves it out.
    pub system: Option<String>,
    /// A template for the user's message.
    pub prompt: String,
    /// JSON Schema 2020-12 of the fields that a request gives.
    pub input: Value,
    /// What a request leaves open.
    pub defaults: Defaults,
    /// The text that is worked on in parts if the context does not hold it.
    pub long: Option<LongField>,
}

/// A field whose text may be longer than the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongField {
    /// Its name.
    pub field: String,
    /// What stands between the answers to its parts when one is made of them.
    pub join: String,
}

/// What a definition says in the place of a request that does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// The model; none is the node's default one.
    pub model: Option<ModelName>,
    /// Most tokens of the answer; none is the node's default.
    pub max_tokens: Option<u32>,
    /// As in llama.cpp; none is greedy.
    pub temperature: Option<f32>,
    /// As in llama.cpp; none is 1.
    pub repeat_penalty: Option<f32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// The form of the answer.
    pub form: Form,
}

/// What form the answers of a task have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Form {
    /// A text; a request may ask for another form.
    #[default]
    Text,
    /// This one, for every request.
    Fixed(Constraint),
    /// The one that a request asks for, as it must.
    Requested,
}

/// A definition that can be used.
#[derive(Clone)]
pub struct Definition {
    parts: Parts,
    compiled: Arc<Compiled>,
}

struct Compiled {
    system: Option<Template>,
    prompt: Template,
    schema: Schema,
}

impl Definition {
    /// Checks and compiles a definition: its templates are templates over fields of its schema, and its schema is one.
    pub fn new(parts: Parts) -> Result<Self, DefinitionError> {
        let schema = Schema::new(&parts.input)?;
        let compile = |key, source: &str| -> Result<Template, DefinitionError> {
            let template = Template::new(source).map_err(|reason| DefinitionError::Template { key, reason })?;
            match template.fields().into_iter().find(|name| !schema.fields().contains(name)) {
                None => Ok(template),
                Some(name) => {
                    let reason = format!("uses {name:?}, which is no field of input.properties");
                    Err(DefinitionError::Template { key, reason })
                }
            }
        };
        let system = parts.system.as_deref().map(|source| compile("system", source)).transpose()?;
        let prompt = compile("prompt", &parts.prompt)?;
        let unknown = |long: &&LongField| !schema.fields().contains(&long.field);
        if let Some(LongField { field, .. }) = parts.long.as_ref().filter(unknown) {
            return Err(DefinitionError::Long(format!("names the field {field:?}, which is none of input.properties")));
        }
        Ok(Self { compiled: Arc::new(Compiled { system, prompt, schema }), parts })
    }

    /// What it is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Its name.
    pub fn name(&self) -> &TaskName {
        &self.parts.name
    }

    /// The fields that a request may give besides those of every task, sorted.
    pub fn fields(&self) -> &[String] {
        self.compiled.schema.fields()
    }

    /// What every conversation begins with that is made of it: whole messages, and the beginning of the last one.
    pub fn opening(&self) -> Vec<Message> {
        let system = self.parts.system.iter().map(|source| (Role::System, source.trim()));
        opening(system.chain([(Role::User, self.parts.prompt.trim())]))
    }

    /// The task for a request with these fields, whose messages have no more than so many bytes together.
    pub fn task(&self, fields: Map<String, Value>, most: usize) -> Result<Task, JobError> {
        let messages = self.conversation(&fields, most)?;
        match &self.parts.long {
            Some(LongField { field, join }) if fields.get(field).is_some_and(Value::is_string) => {
                let (definition, field, join) = (self.name().clone(), field.clone(), join.clone());
                Ok(Task::Long { messages, long: Box::new(Long { definition, fields, field, join, depth: 0 }) })
            }
            _ => Ok(Task::Chat { messages }),
        }
    }

    /// The conversation for a request with these fields, whose messages have no more than so many bytes together.
    pub fn conversation(&self, fields: &Map<String, Value>, most: usize) -> Result<Vec<Message>, JobError> {
        self.compiled.schema.check(fields)?;
        let (mut messages, mut room) = (Vec::new(), most);
        for (role, template) in
            [(Role::System, self.compiled.system.as_ref()), (Role::User, Some(&self.compiled.prompt))]
        {
            let Some(template) = template else { continue };
            messages.push(Message { role, content: template.render(fields, room)?.trim().to_owned() });
            room -= messages.last().map_or(0, |message: &Message| message.content.len());
        }
        match messages.last() {
            Some(last) if last.content.is_empty() => {
                let text = format!("the template of the task {} makes an empty prompt of this request", self.name());
                Err(JobError::new(ErrorCode::InvalidRequest, text))
            }
            _ => Ok(messages),
        }
    }
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Definition({})", self.parts.name)
    }
}

/// What is compiled follows from the parts.
impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Definition {}
