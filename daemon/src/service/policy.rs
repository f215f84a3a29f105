//! What the policy of a client says to one of its requests.

use crate::config::Policy;
use crate::job::{ErrorCode, JobError, ModelName, Priority, Request, Task};
use crate::mqtt::Asked;
use crate::queue::OverRate;

/// Refuses what a client asks for above its policy. Where it leaves something to the default, that is lowered instead.
pub(super) fn apply(
    policy: &Policy,
    request: &mut Request,
    asked: Asked,
    model: Option<&ModelName>,
) -> Result<(), JobError> {
    let task = request.task_name();
    if let Some(tasks) = policy.tasks.as_ref().filter(|tasks| !tasks.iter().any(|allowed| allowed == task)) {
        return Err(forbidden(policy, "tasks", format_args!("the task {task} is none of {}", tasks.join(", "))));
    }
    if let Some(model) = model {
        check_model(policy, model)?;
    }
    check_steps(policy, request)?;
    if let Some(cap) = policy.priority {
        if let Some(wanted) = asked.priority.filter(|wanted| *wanted > cap) {
            let text = format_args!("priority {} is above {}", word(wanted), word(cap));
            return Err(forbidden(policy, "priority", text));
        }
        request.priority = request.priority.min(cap);
    }
    if let Some(cap) = policy.max_tokens {
        if let Some(wanted) = asked.max_tokens.filter(|wanted| *wanted > cap) {
            return Err(forbidden(policy, "max_tokens", format_args!("max_tokens {wanted} is above {cap}")));
        }
        request.output.max_tokens = request.output.max_tokens.min(cap);
    }
    Ok(())
}

/// Refuses steps that a client may not ask for. Those of an operator's pipeline are the operator's business.
fn check_steps(policy: &Policy, request: &Request) -> Result<(), JobError> {
    let Task::Pipeline(pipeline) = &request.task else { return Ok(()) };
    for step in pipeline.steps.iter().filter(|_| request.defined.is_none()) {
        let task = step.task.as_str();
        if let Some(tasks) = policy.tasks.as_ref().filter(|tasks| !tasks.iter().any(|allowed| allowed == task)) {
            let text = format_args!("the task {task} of the step {} is none of {}", step.name, tasks.join(", "));
            return Err(forbidden(policy, "tasks", text));
        }
        if let Some(model) = &step.model {
            check_model(policy, model)?;
        }
    }
    Ok(())
}

/// Refuses a model that a client may not use.
pub(super) fn check_model(policy: &Policy, model: &ModelName) -> Result<(), JobError> {
    let Some(models) = policy.models.as_ref().filter(|models| !models.contains(model)) else { return Ok(()) };
    let allowed: Vec<&str> = models.iter().map(ModelName::as_str).collect();
    Err(forbidden(policy, "models", format_args!("the model {model} is none of {}", allowed.join(", "))))
}

fn forbidden(policy: &Policy, key: &str, text: std::fmt::Arguments<'_>) -> JobError {
    JobError::new(ErrorCode::Forbidden, format!("{text} ({})", key_of(policy, key)))
}

/// The client may have no session.
pub(super) fn no_sessions(policy: &Policy) -> JobError {
    forbidden(policy, "sessions", format_args!("this client may have no session"))
}

/// The client has as many jobs waiting as it may have.
pub(super) fn too_many_jobs(policy: &Policy, most: usize) -> JobError {
    let text = format!("{most} jobs of this client are waiting; that is its limit ({})", key_of(policy, "queue_jobs"));
    JobError::new(ErrorCode::RateLimited, text)
}

/// The client has used its tokens. To ask again is no use where they would never be enough.
pub(super) fn too_many_tokens(policy: &Policy, over: OverRate) -> JobError {
    let text = format!("{over} ({})", key_of(policy, "tokens_per_minute"));
    match over {
        OverRate::Never { .. } => JobError::new(ErrorCode::Forbidden, text),
        OverRate::Later { after, .. } => JobError::new(ErrorCode::RateLimited, text).retry_after(after),
    }
}

fn key_of(policy: &Policy, key: &str) -> String {
    format!("policy[{}].{key}", policy.name)
}

fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{ClientName, OutputLimits, PolicyName, RequestId, Sampling, Task};

    fn request() -> Request {
        Request {
            id: RequestId::new("1").unwrap(),
            client: ClientName::new("cam").unwrap(),
            defined: None,
            task: Task::Generate { prompt: "p".to_owned() },
            model: None,
            session: None,
            sampling: Sampling::default(),
            output: OutputLimits::tokens(256),
            priority: Priority::Normal,
            deadline: Duration::from_mins(1),
            stream: false,
            ack: false,
        }
    }

    fn policy() -> Policy {
        Policy {
            name: PolicyName::new("cams").unwrap(),
            clients: Vec::new(),
            tasks: None,
            models: None,
            priority: None,
            max_tokens: None,
            queue_jobs: None,
            tokens_per_minute: None,
            sessions: None,
        }
    }

    /// The request as it is let in, or the message of the refusal.
    fn applied(policy: &Policy, asked: Asked) -> Result<Request, String> {
        let mut request = request();
        request.priority = asked.priority.unwrap_or_default();
        request.output.max_tokens = asked.max_tokens.unwrap_or(256);
        match apply(policy, &mut request, asked, Some(&ModelName::new("main").unwrap())) {
            Ok(()) => Ok(request),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Forbidden);
                Err(error.message)
            }
        }
    }

    #[test]
    fn what_is_asked_for_above_a_cap_is_forbidden_and_names_it() {
        let nothing = Asked::default();
        let chat = Policy { tasks: Some(vec!["chat".to_owned()]), ..policy() };
        assert_eq!(applied(&chat, nothing).unwrap_err(), "the task generate is none of chat (policy[cams].tasks)");
        let small = Policy { models: Some(vec![ModelName::new("small").unwrap()]), ..policy() };
        assert_eq!(applied(&small, nothing).unwrap_err(), "the model main is none of small (policy[cams].models)");
        let low = Policy { priority: Some(Priority::Low), ..policy() };
        let high = Asked { priority: Some(Priority::High), ..nothing };
        assert_eq!(applied(&low, high).unwrap_err(), "priority high is above low (policy[cams].priority)");
        let short = Policy { max_tokens: Some(8), ..policy() };
        let long = Asked { max_tokens: Some(9), ..nothing };
        assert_eq!(applied(&short, long).unwrap_err(), "max_tokens 9 is above 8 (policy[cams].max_tokens)");
    }

    #[test]
    fn defaults_are_lowered_and_what_is_within_the_caps_is_left_alone() {
        let capped = Policy {
            tasks: Some(vec!["generate".to_owned()]),
            models: Some(vec![ModelName::new("main").unwrap()]),
            priority: Some(Priority::Low),
            max_tokens: Some(8),
            ..policy()
        };
        let lowered = applied(&capped, Asked::default()).unwrap();
        assert_eq!((lowered.priority, lowered.output.max_tokens), (Priority::Low, 8));
        let asked = Asked { priority: Some(Priority::Low), max_tokens: Some(7) };
        let kept = applied(&capped, asked).unwrap();
        assert_eq!((kept.priority, kept.output.max_tokens), (Priority::Low, 7));
        // A cap above the default raises nothing.
        let generous = Policy { priority: Some(Priority::High), max_tokens: Some(1000), ..policy() };
        assert_eq!(applied(&generous, Asked::default()), Ok(request()));
    }

    #[test]
    fn only_what_may_fit_later_is_worth_another_try() {
        let never = too_many_tokens(&policy(), OverRate::Never { tokens: 9, per_minute: 8 });
        let text = "the job may use 9 tokens, and no more than 8 are allowed at once (policy[cams].tokens_per_minute)";
        assert_eq!(never, JobError::new(ErrorCode::Forbidden, text));
        let after = Duration::from_secs(7);
        let later = too_many_tokens(&policy(), OverRate::Later { tokens: 9, left: 1, per_minute: 60, after });
        assert_eq!((later.code, later.retry_after), (ErrorCode::RateLimited, Some(after)));
        assert!(later.message.contains("1 are left of 60 a minute"), "{later}");
        let jobs = too_many_jobs(&policy(), 3).message;
        assert_eq!(jobs, "3 jobs of this client are waiting; that is its limit (policy[cams].queue_jobs)");
    }
}
