//! The same with each of several inputs: each has an output or an error of its own.

use super::{Order, PartOf, Place, StepKey, What};
use crate::job::{JobError, Output, Task};

#[derive(Debug)]
pub(super) struct Each {
    items: Vec<Item>,
    /// The first that may not have begun.
    next: usize,
}

#[derive(Debug)]
enum Item {
    Waiting(Task),
    Running,
    Ended(Result<Output, JobError>),
}

impl Each {
    pub fn new(items: &[Result<Task, JobError>]) -> Self {
        let item = |item: &Result<Task, JobError>| match item {
            Ok(task) => Item::Waiting(task.clone()),
            Err(error) => Item::Ended(Err(error.clone())),
        };
        Self { items: items.iter().map(item).collect(), next: 0 }
    }

    pub fn next(&mut self) -> Option<(Place, Order)> {
        while let Some(item) = self.items.get_mut(self.next) {
            let index = self.next;
            self.next += 1;
            if !matches!(item, Item::Waiting(_)) {
                continue;
            }
            if let Item::Waiting(task) = std::mem::replace(item, Item::Running) {
                let text = PartOf::Input(u32::try_from(index).unwrap_or(u32::MAX));
                let order = Order { key: StepKey(index.to_string()), what: What::Ready(task), text };
                return Some(((index, 0), order));
            }
        }
        None
    }

    pub fn ended(&mut self, (index, _): Place, result: Result<Output, JobError>) {
        self.items[index] = Item::Ended(result);
    }

    pub fn end(&mut self) -> Option<Result<Output, JobError>> {
        if !self.items.iter().all(|item| matches!(item, Item::Ended(_))) {
            return None;
        }
        let ended = |item| if let Item::Ended(result) = item { Some(result) } else { None };
        Some(Ok(Output::Each(std::mem::take(&mut self.items).into_iter().filter_map(ended).collect())))
    }
}
