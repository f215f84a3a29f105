//! A child that does one thing and ends: a dry run, a quantization.

use std::time::Duration;

use tokio::time::timeout;

use super::EngineError;
use super::connection::{Connection, Launch};
use super::protocol::{FromChild, ToChild};

/// Starts a child, gives it one order and waits for its answer. May be given up: the child then dies.
pub(super) async fn run(
    launch: Launch<'_>,
    order: &ToChild,
    longest: Duration,
    mut progress: impl FnMut(f32),
) -> Result<FromChild, EngineError> {
    let work = async {
        let mut connection = Connection::open(launch).await?;
        let answer = match connection.send(order).await {
            Ok(()) => answer(&mut connection, &mut progress).await,
            Err(error) => Err(error),
        };
        let answer = match answer {
            Err(error) => Err(connection.explain(error).await),
            answer => answer,
        };
        connection.end().await;
        answer
    };
    timeout(longest, work).await.map_err(|_| EngineError::Overdue(longest))?
}

async fn answer(connection: &mut Connection, progress: &mut impl FnMut(f32)) -> Result<FromChild, EngineError> {
    loop {
        match connection.receive().await? {
            FromChild::LoadProgress(share) => progress(share),
            FromChild::LoadFailed(reason) => return Err(EngineError::Refused(reason)),
            message => return Ok(message),
        }
    }
}
