//! One definition.

use std::fmt;
use std::sync::Arc;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value};

use super::template::Template;
use super::{COMMON_FIELDS, DefinitionError};
use crate::job::{Constraint, ErrorCode, JobError, Message, ModelName, Role, TaskName};

/// Longest message about a value that does not fit the schema.
const MESSAGE_MAX: usize = 300;

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
    schema: Validator,
    /// Names of the fields of a request, sorted.
    fields: Vec<String>,
}

impl Definition {
    /// Checks and compiles a definition: its templates are templates over fields of its schema, and its schema is one.
    pub fn new(parts: Parts) -> Result<Self, DefinitionError> {
        let fields = fields_of(&parts.input)?;
        let compile = |key, source: &str| -> Result<Template, DefinitionError> {
            let template = Template::new(source).map_err(|reason| DefinitionError::Template { key, reason })?;
            match template.fields().into_iter().find(|name| !fields.contains(name)) {
                None => Ok(template),
                Some(name) => {
                    let reason = format!("uses {name:?}, which is no field of input.properties");
                    Err(DefinitionError::Template { key, reason })
                }
            }
        };
        let system = parts.system.as_deref().map(|source| compile("system", source)).transpose()?;
        let prompt = compile("prompt", &parts.prompt)?;
        let schema = jsonschema::draft202012::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&parts.input)
            .map_err(|error| DefinitionError::Schema(format!("is no JSON Schema: {error}")))?;
        Ok(Self { compiled: Arc::new(Compiled { system, prompt, schema, fields }), parts })
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
        &self.compiled.fields
    }

    /// The conversation for a request with these fields, whose messages have no more than so many bytes together.
    pub fn conversation(&self, fields: &Map<String, Value>, most: usize) -> Result<Vec<Message>, JobError> {
        let instance = Value::Object(fields.clone());
        // To look for errors costs more than to look whether there is one.
        if !self.compiled.schema.is_valid(&instance)
            && let Err(error) = self.compiled.schema.validate(&instance)
        {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { String::new() } else { format!("field \"{}\": ", &path[1..]) };
            let mut message = format!("{place}{}", error.masked());
            message.truncate(message.floor_char_boundary(MESSAGE_MAX));
            return Err(JobError::new(ErrorCode::InvalidRequest, message));
        }
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

/// The fields that a schema names. One that allows any would let a misspelt field through.
fn fields_of(schema: &Value) -> Result<Vec<String>, DefinitionError> {
    let properties = schema.get("properties").and_then(Value::as_object).filter(|properties| !properties.is_empty());
    let Some(properties) = properties else {
        return Err(DefinitionError::Schema("names no field: input.properties is missing or empty".to_owned()));
    };
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    if let Some(unknown) = required.filter_map(Value::as_str).find(|name| !properties.contains_key(*name)) {
        return Err(DefinitionError::Schema(format!("requires {unknown:?}, which is none of input.properties")));
    }
    if refers(schema) {
        // Schemas that refer to each other can take time without bound.
        return Err(DefinitionError::Schema("uses $ref, which is not supported here: write it out".to_owned()));
    }
    if let Some(name) = properties.keys().find(|name| COMMON_FIELDS.contains(&name.as_str()) || name.starts_with("x_"))
    {
        return Err(DefinitionError::Schema(format!("has {name:?} in input.properties, a field that every task has")));
    }
    let mut fields: Vec<String> = properties.keys().cloned().collect();
    fields.sort_unstable();
    Ok(fields)
}

/// Whether a schema refers to another one, or to a part of itself.
fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(keys) => {
            keys.iter().any(|(key, value)| ["$ref", "$dynamicRef"].contains(&key.as_str()) || refers(value))
        }
        Value::Array(items) => items.iter().any(refers),
        _ => false,
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
