//! The way of a message through a node, as the driver goes it.

use std::path::Path;

use promptd::config::{Config, wildcards};
use promptd::engine::protocol::{EngineJob, FRAME_MAX};
use promptd::job::{ClientName, Control, JobError, JobId, ReplyTo, Request, RequestId};
use promptd::mqtt::{
    Accepted, AcceptedControl, InboundMessage, InboundTopic, JsonLimits, Rejected, Replies, RequestReader, Topics,
    parse_cancel, parse_object,
};
use promptd::plan::Profile;
use promptd::service::request_reader;

use crate::running;

/// Longest message about what is wrong, in bytes. It may name a few of the client's own words and lists of the operator's.
const MESSAGE_MAX: usize = 1024;

/// What a node reads messages with.
pub struct Node {
    /// `node/promptd.toml`.
    pub config: Config,
    /// What reads.
    pub reader: RequestReader,
    topics: Topics,
    replies: Replies,
}

impl Node {
    /// The node of `node/promptd.toml`.
    pub fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/promptd.toml");
        let config = Config::load(&path, &Profile::default()).expect("the node's configuration is good").config;
        let topics = Topics::new(&config.mqtt.root, &config.node.name).expect("its topics are good");
        let reader = request_reader(&config, &topics).expect("its filters are good");
        Self { replies: Replies::new(config.node.name.clone()), config, reader, topics }
    }

    /// What the topics of its own begin with.
    pub fn base(&self) -> String {
        format!("{}/{}", self.config.mqtt.root, self.config.node.name)
    }

    /// Takes a message as the driver does, and checks what comes of it.
    pub fn take(&self, message: &InboundMessage) {
        match self.topics.classify(&message.topic) {
            Ok(InboundTopic::Request { task, client }) if task == "fetch" => {
                self.control(&client, self.reader.read_fetch(&client, message, made_id));
            }
            Ok(InboundTopic::Request { task, client }) => {
                let read = || self.reader.read(&task, client.clone(), message, made_id);
                let first = read();
                assert!(first == read(), "the same message, read twice, is not the same request");
                self.read(&client, first);
            }
            Ok(InboundTopic::Control { verb }) => {
                let operator = ClientName::new("control").expect("a name");
                self.control(&operator, self.reader.read_control(&verb, message, made_id));
            }
            Ok(InboundTopic::Cancel { .. }) => drop(parse_cancel(&message.payload)),
            Ok(InboundTopic::Other) => self.bound(message),
            Err(error) => assert!(error.to_string().len() <= MESSAGE_MAX),
        }
    }

    fn bound(&self, message: &InboundMessage) {
        for binding in &self.config.bindings {
            let Some(wildcards) = wildcards(&binding.subscribe, &message.topic) else { continue };
            let read = self.reader.read_bound(binding, &wildcards, message, made_id);
            let reply = read.as_ref().map_or_else(|rejected| &rejected.reply, |accepted| &accepted.reply);
            let (errors, published) = (reply.errors, binding.publish.reach(&binding.subscribe));
            if errors || read.is_ok() {
                assert!(
                    promptd::config::wildcards(&published, &reply.topic).is_some(),
                    "published elsewhere: {}",
                    reply.topic
                );
            }
            match read {
                Ok(accepted) => self.accepted(&accepted.request),
                Err(rejected) => self.refused(&rejected),
            }
        }
    }

    fn read(&self, client: &ClientName, read: Result<Accepted, Box<Rejected>>) {
        match read {
            Ok(Accepted { request, reply, .. }) => {
                assert!(request.client == *client && request.deadline <= self.config.limits.deadline_cap);
                assert!((1..=self.config.limits.max_tokens_cap).contains(&request.output.max_tokens));
                self.check_reply(client, &request.id, &reply);
                self.accepted(&request);
            }
            Err(rejected) => {
                self.check_reply(client, &rejected.id, &rejected.reply);
                self.refused(&rejected);
            }
        }
    }

    fn control(&self, client: &ClientName, read: Result<AcceptedControl, Box<Rejected>>) {
        match read {
            Ok(AcceptedControl { id, control, reply }) => {
                assert!(Control::verbs().any(|verb| verb == control.verb()));
                self.check_reply(client, &id, &reply);
            }
            Err(rejected) => {
                self.check_reply(client, &rejected.id, &rejected.reply);
                self.refused(&rejected);
            }
        }
    }

    /// Nobody has promptd publish where they may not.
    fn check_reply(&self, client: &ClientName, id: &RequestId, reply: &ReplyTo) {
        let own = reply.topic == self.topics.response(client, id);
        assert!(own || self.reader.reply_policy.check(client, &reply.topic).is_ok(), "a reply to {}", reply.topic);
    }

    fn refused(&self, Rejected { id, reply, error }: &Rejected) {
        self.check_error(error);
        let published = self.replies.error(id, error, reply);
        let json = parse_object(&published.payload, JsonLimits { depth: 64 });
        assert!(json.is_ok() || published.payload.starts_with(b"error: "));
    }

    /// An error that can be told.
    pub(crate) fn check_error(&self, error: &JobError) {
        assert!(
            !error.message.is_empty() && error.message.len() <= MESSAGE_MAX,
            "{} bytes: {error}",
            error.message.len()
        );
    }

    fn accepted(&self, request: &Request) {
        running::finish(self, &request.task, &request.output);
    }

    /// A job as an engine gets it.
    pub(crate) fn check_job(&self, task: &promptd::job::Task, output: &promptd::job::OutputLimits) {
        let job = EngineJob {
            id: JobId(1),
            task: task.for_engine(),
            memory: 0..0,
            instructions: None,
            session: None,
            sampling: promptd::job::Sampling::default(),
            output: output.clone(),
            stream: false,
        };
        let frame = postcard::to_stdvec(&job).expect("a job can be written");
        assert!(frame.len() < FRAME_MAX);
        assert!(postcard::from_bytes::<EngineJob>(&frame).expect("a job can be read") == job);
    }
}

impl Default for Node {
    fn default() -> Self {
        Self::new()
    }
}

fn made_id() -> RequestId {
    RequestId::new("made").expect("a name")
}
