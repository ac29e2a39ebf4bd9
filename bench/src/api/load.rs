//! Load: as fast as some callers can (closed), and at a stated rate (open).
//!
//! Closed, every caller asks again as soon as it was answered; that gives the highest rate. Open, requests
//! are due at fixed times whatever became of those before, and latency counts from when a request was due,
//! not from when somebody was free to send it: a server that stalls is charged for everything that was due
//! meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// Somebody who makes requests, one after the other. `nth` counts the requests of all callers together.
pub(super) trait Caller: Send + 'static {
    fn call(&mut self, nth: u64) -> impl Future<Output = Result<()>> + Send;
}

/// What came of it. Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Load {
    /// Answers in a second.
    pub(super) rate: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

/// Every caller as fast as it can, for a while.
pub(super) async fn closed<C: Caller>(callers: Vec<C>, time: Duration) -> Result<Load> {
    let began = Instant::now();
    run(callers, move |_| {
        let now = Instant::now();
        (now < began + time).then_some(now)
    })
    .await
}

/// `rate` requests in a second, for a while.
pub(super) async fn open<C: Caller>(callers: Vec<C>, rate: f64, time: Duration) -> Result<Load> {
    let began = Instant::now();
    run(callers, move |nth| {
        let due = began + Duration::from_secs_f64(nth as f64 / rate);
        (due < began + time).then_some(due)
    })
    .await
}

/// `due` says when the nth request is to be made, or that there are no more.
async fn run<C: Caller>(
    callers: Vec<C>,
    due: impl Fn(u64) -> Option<Instant> + Clone + Send + 'static,
) -> Result<Load> {
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let tasks: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            let (next, due) = (Arc::clone(&next), due.clone());
            tokio::spawn(async move {
                let mut took = Vec::new();
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    let Some(due) = due(nth) else {
                        return Ok::<_, anyhow::Error>(took);
                    };
                    if due > Instant::now() {
                        tokio::time::sleep_until(due.into()).await;
                    }
                    caller.call(nth).await?;
                    took.push(due.elapsed());
                }
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    let wall = began.elapsed();
    took.sort_unstable();
    let at = |part: f64| {
        let place = (took.len() as f64 * part) as usize;
        let latency = took.get(place.min(took.len().saturating_sub(1)));
        latency.copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    Ok(Load {
        rate: took.len() as f64 / wall.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once, but for the first one.
    struct Stalls;

    impl Caller for Stalls {
        async fn call(&mut self, nth: u64) -> Result<()> {
            if nth == 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_was_due_during_a_stall_is_late_and_closed_load_does_not_see_it() {
        let time = Duration::from_millis(400);
        let open = open(vec![Stalls], 100.0, time).await.unwrap();
        assert!(open.p50 > 5.0, "{open:?}");
        let closed = closed(vec![Stalls], time).await.unwrap();
        assert!(closed.p99 < 5.0, "{closed:?}");
    }
}
