//! Stopping in good order.
//!
//! A [`Lifecycle`] is made once in `main` and passed in. It holds two stop signals and knows every
//! task that still works:
//!
//! 1. *soft stop*: take no new work, finish or hand back what is in flight. First SIGINT/SIGTERM.
//! 2. *hard stop*: drop it, now. Second signal, or the end of the grace period.
//!
//! Long-running code listens to [`Lifecycle::stopping`]; only a loop that owns work worth
//! interrupting looks at [`Lifecycle::aborting`] too. Whatever was dropped at a hard stop must be
//! found again by the next process through its lease; nothing may rely on the grace period.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The two stop signals of a process and the tasks that must end before it may.
///
/// Clones share the same signals and tasks.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    /// The same, for those who ask before each of a million sends: a token takes a lock for an answer.
    is_soft: Arc<AtomicBool>,
    hard: CancellationToken,
    tasks: TaskTracker,
}

/// How a [`Lifecycle::drain`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every task finished by itself.
    Clean,
    /// The grace period ended, or a second signal came, while tasks were still working.
    Forced,
}

impl Lifecycle {
    /// A running process: no signal given, no task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Given when no new work may be taken.
    pub fn stopping(&self) -> &CancellationToken {
        &self.soft
    }

    /// Whether [`Lifecycle::stopping`] was given.
    pub fn is_stopping(&self) -> bool {
        self.is_soft.load(Ordering::Acquire)
    }

    /// Given when work in flight must be dropped.
    pub fn aborting(&self) -> &CancellationToken {
        &self.hard
    }

    /// Gives the soft stop. Harmless when it was given before.
    pub fn stop(&self) {
        self.is_soft.store(true, Ordering::Release);
        self.soft.cancel();
    }

    /// Gives both stops.
    pub fn abort(&self) {
        self.stop();
        self.hard.cancel();
    }

    /// Spawns a task that [`Lifecycle::drain`] waits for. It must end soon after
    /// [`Lifecycle::stopping`]; at the hard stop it is dropped wherever it waits.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let hard = self.hard.clone();
        self.tasks
            .spawn(async move { hard.run_until_cancelled_owned(task).await })
    }

    /// Waits for the soft stop, then for every task, at most `grace` long; after that the hard
    /// stop is given and the tasks' end is awaited, which is immediate.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.soft.cancelled().await;
        self.tasks.close();
        let finished = tokio::select! {
            finished = timeout(grace, self.tasks.wait()) => finished.is_ok(),
            () = self.hard.cancelled() => false,
        };
        if finished {
            return Drained::Clean;
        }
        self.abort();
        self.tasks.wait().await;
        Drained::Forced
    }

    /// Turns SIGINT and SIGTERM into the soft stop, and the second one of either into the hard
    /// stop. Listens until the hard stop.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    pub fn listen_for_signals(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};

        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let lifecycle = self.clone();
        // Not one of the tracked tasks: it outlives the drain to hear the second signal.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                    () = lifecycle.hard.cancelled() => return,
                };
                if lifecycle.soft.is_cancelled() {
                    tracing::warn!(signal = name, "second signal, dropping work in flight");
                    lifecycle.abort();
                } else {
                    tracing::info!(signal = name, "stopping, a second signal drops work in flight");
                    lifecycle.stop();
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use super::{Drained, Lifecycle};

    #[tokio::test(start_paused = true)]
    async fn a_soft_stop_lets_work_in_flight_finish() {
        let lifecycle = Lifecycle::new();
        let finished = Arc::new(AtomicBool::new(false));
        let (stopping, flag) = (lifecycle.stopping().clone(), Arc::clone(&finished));
        lifecycle.spawn(async move {
            stopping.cancelled().await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            flag.store(true, Ordering::SeqCst);
        });
        assert!(!lifecycle.is_stopping());
        lifecycle.stop();
        assert!(lifecycle.is_stopping());
        assert_eq!(lifecycle.drain(Duration::from_secs(10)).await, Drained::Clean);
        assert!(finished.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_grace_period_drops_what_still_works() {
        let lifecycle = Lifecycle::new();
        let task = lifecycle.spawn(std::future::pending::<()>());
        lifecycle.stop();
        assert_eq!(lifecycle.drain(Duration::from_secs(1)).await, Drained::Forced);
        assert!(lifecycle.aborting().is_cancelled());
        assert_eq!(task.await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hard_stop_does_not_wait_for_the_grace_period() {
        let lifecycle = Lifecycle::new();
        lifecycle.spawn(std::future::pending::<()>());
        lifecycle.abort();
        let started = tokio::time::Instant::now();
        assert_eq!(lifecycle.drain(Duration::from_secs(3600)).await, Drained::Forced);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn draining_waits_until_somebody_stops_the_process() {
        let lifecycle = Lifecycle::new();
        let drain = lifecycle.drain(Duration::from_secs(1));
        tokio::pin!(drain);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), &mut drain)
                .await
                .is_err()
        );
        lifecycle.stop();
        assert_eq!(drain.await, Drained::Clean);
    }
}
