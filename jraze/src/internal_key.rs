//! Does the API server take the internal key? Asked once, when a worker starts.
//!
//! A worker with a wrong key, or a wrong address, finds out when it reports its first sends; until a
//! campaign runs all looks well. So each role asks at its start, by a report for a notification that
//! does not exist: whoever is let in hears that there is none. The role starts all the same (the
//! servers of a rollout come up in any order), and the question is repeated until the answer is good.

use std::time::Duration;

use jraze_openapi::{
    client::{ClientError, InternalClient},
    dto::SentIncrease,
};
use jraze_runtime::{backoff::Backoff, lifecycle::Lifecycle};
use rand::Rng as _;
use uuid::Uuid;

use crate::random;

/// Each question that fails is a line in the log; more of them help nobody.
const AT_LEAST: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60));

/// What the server made of the key.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Taken,
    Refused,
    Unclear,
}

/// Asks until the key is taken or the role stops. `role` names the table of the settings.
pub(crate) async fn check(role: &'static str, api: InternalClient, lifecycle: Lifecycle) {
    let mut rng = random::generator();
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    let nobody = uuid::Builder::from_random_bytes(bytes).into_uuid();
    for attempt in 0.. {
        let error = tokio::select! {
            error = ask(&api, nobody) => error,
            () = lifecycle.stopping().cancelled() => return,
        };
        match judge(error.as_ref()) {
            Answer::Taken => {
                tracing::info!("the API server takes {role}.internal_key");
                return;
            }
            answer => {
                let error = error.map(anyhow::Error::new).map(|error| format!("{error:#}"));
                let error = error.unwrap_or_default();
                if answer == Answer::Refused {
                    tracing::warn!(
                        error,
                        "the API server refuses {role}.internal_key: nothing can be reported with it; \
                         `jraze keys create internal` makes a good one"
                    );
                } else {
                    tracing::warn!(error, "no good answer from {role}.api_url; asking again");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(BACKOFF.delay(attempt, &mut rng).max(AT_LEAST)) => {}
            () = lifecycle.stopping().cancelled() => return,
        }
    }
}

async fn ask(api: &InternalClient, nobody: Uuid) -> Option<ClientError> {
    api.increase_sent(nobody, &SentIncrease::default()).await.err()
}

fn judge(error: Option<&ClientError>) -> Answer {
    match error {
        None => Answer::Taken,
        Some(ClientError::Refused {
            status: 401 | 403, ..
        }) => Answer::Refused,
        Some(ClientError::Refused {
            status: 404, code, ..
        }) if code == "unknown_notification" => Answer::Taken,
        Some(_) => Answer::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use jraze_openapi::client::ClientError;

    use super::{Answer, judge};

    #[test]
    fn only_a_server_that_lets_us_in_can_miss_the_notification() {
        let answer = |status, code: &str| {
            judge(Some(&ClientError::Refused {
                status,
                code: code.into(),
                reason: String::new(),
                retry_after: None,
            }))
        };
        assert_eq!(answer(404, "unknown_notification"), Answer::Taken);
        assert_eq!(
            answer(404, "unreadable_answer"),
            Answer::Unclear,
            "another server"
        );
        assert_eq!(answer(401, "unauthorized"), Answer::Refused);
        assert_eq!(answer(403, "forbidden"), Answer::Refused);
        assert_eq!(answer(503, "unavailable"), Answer::Unclear);
    }
}
