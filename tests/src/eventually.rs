//! Waiting for something to become true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Asks every 50 ms until `accept` likes the answer, and gives it back.
///
/// # Panics
/// After `within`, with the last answer.
pub async fn eventually<T: Debug>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> T,
    accept: impl Fn(&T) -> bool,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        let answer = ask().await;
        if accept(&answer) {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen within {within:?}; last seen: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
